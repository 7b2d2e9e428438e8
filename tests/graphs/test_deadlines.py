"""Runs that wait beyond their deadline: each is driven once when it is over, and lands with a person."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

import httpx
import psycopg
import pytest
from langchain.agents import create_agent
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from psycopg import sql

from langgraph_control import Approvals, Run, reads, writes
from langgraph_control.audit.asking.operator_requests import Resolution, Scope
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.asking.wakes import FindDue, Why
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.names import run_id
from langgraph_control.audit.people.operators import Operators
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.sentences import sentence
from langgraph_control.errors import WriteRefused
from tests.support.desk import Desk, How, new_trigger, publish, told
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls
from tests.support.waiting import until
from tests.support.workshop import Workshop, order, read

HALF = timedelta(minutes=30)  # a request of the desk's policy is open for an hour
OVER = (RunState.NEEDS_HUMAN, "deadline_passed", None)


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """A desk on a ledger of its own, whose clock the test sets."""
    publish(database)
    made = Desk.on(database)
    with made.control:
        yield made


def at(database: Database, ahead: timedelta) -> None:
    """Let the ledger's clock be ahead."""
    body = sql.Literal(f"SELECT pg_catalog.clock_timestamp() + interval '{ahead.total_seconds()} s'")
    statement = sql.SQL("CREATE OR REPLACE FUNCTION control.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS {}")
    with psycopg.connect(database.admin) as connection:
        connection.execute(statement.format(body))


def due(desk: Desk, run: Run) -> list[Why]:
    """Return why a run is due now, as a sweep is told."""
    store = Store(desk.database.agent)
    try:
        request = FindDue(graphs=[run.graph], run_ids=[run_id(run.id)], ahead_ms=0, hold_ms=0, limit=10)
        return [found.why for found in store.call(request)]
    finally:
        store.close()


def stands(run: Run) -> tuple[RunState, str, datetime | None]:
    """Return where a run stands, and when it goes on by itself."""
    return run.state, run.reason, run.wake_at


def close_to(moment: datetime | None, ahead: timedelta) -> bool:
    """Whether a moment is so far ahead, give or take what a test takes."""
    return moment is not None and abs(moment - datetime.now(UTC) - ahead) < timedelta(minutes=2)


def test_what_waits_for_people_is_driven_at_its_deadline(desk: Desk, how: How) -> None:
    """At the deadline it becomes due, once; then a person has it, its request is withdrawn, and it is due no more."""
    run = desk.run(desk.refunding(500), how, trigger=new_trigger(), deadline=HALF)
    assert run.state is RunState.NEEDS_APPROVAL
    assert close_to(run.wake_at, HALF)
    assert due(desk, run) == []
    at(desk.database, HALF)
    assert due(desk, run) == [Why.TIMER]
    run = desk.resume(run, how)
    assert stands(run) == OVER
    assert run.owner == "finance"
    assert run.next_step == (
        f"langgraph-control show {run.id}, then langgraph-control resolve {run.id} --give-up,"
        f" or langgraph-control cancel {run.id}"
    )
    with Approvals(desk.database.approver("ana")) as approvals:
        assert approvals.inbox() == ()
    at(desk.database, 2 * HALF)
    assert due(desk, run) == []
    assert desk.done == []


def test_a_grant_after_the_deadline_makes_nothing_go(desk: Desk) -> None:
    """People who say yes to a run whose time is over have said it for nothing, and the run says why."""
    run = desk.run(desk.refunding(500), trigger=new_trigger(), deadline=HALF)
    at(desk.database, HALF)
    desk.approve(run.approvals)
    run = desk.resume(run)
    assert stands(run) == OVER
    assert desk.done == []


def test_a_request_that_another_run_waits_for_stays_open(desk: Desk) -> None:
    """Of two runs that wait for one write, the end of the first one's time takes nothing from the second."""
    trigger = new_trigger()
    asked = calls(call("refund", order_id="o0", amount="500", call_id="call_0"))
    first, second = (
        desk.run(desk.agent(asked, "done", name=name), trigger=f"{trigger}/{name}", intent=trigger, deadline=deadline)
        for name, deadline in (("first", HALF), ("second", None))
    )
    assert first.approvals == second.approvals
    at(desk.database, HALF)
    assert stands(desk.resume(first)) == OVER
    desk.approve(second.approvals)
    assert desk.resume(second).state is RunState.DONE
    assert desk.done == ["o0:500"]
    assert desk.resume(first).state is RunState.DONE  # it is told what the second one's write gave


def test_what_was_asked_before_the_deadline_and_left_after_it_is_looked_at_again(desk: Desk) -> None:
    """A call beside it takes until after the deadline: the run is driven once more, and people are asked no longer."""

    def note(order_id: str) -> str:
        """Note something about an order, slowly."""
        with psycopg.connect(desk.database.admin) as connection:
            for _ in range(200):
                if connection.execute("SELECT FROM control.open_approval").fetchone() is not None:
                    break
                time.sleep(0.05)
        at(desk.database, HALF)
        return f"noted {order_id}"

    tools = desk.control.govern([writes(key="order_id", impact="record", system="bank")(note)])
    asked = calls(call("refund", order_id="o0", amount="500"), call("note", order_id="o1"))
    agent = create_agent(ScriptedModel(script=(asked, "done")), [desk.tool("refund"), *tools])
    run = desk.run(desk.control.bind(agent, name="slow"), trigger=new_trigger(), deadline=HALF)
    assert run.state is RunState.NEEDS_APPROVAL
    assert due(desk, run) == [Why.TIMER]
    run = desk.resume(run)
    assert (stands(run), due(desk, run)) == (OVER, [])
    assert (run.approvals, desk.done) == ((), [])


def test_a_retry_is_not_waited_for_beyond_the_deadline(desk: Desk) -> None:
    """A system that asks for more time than the run has: the run is driven at its deadline, and tries nothing then."""
    sent: list[str] = []

    def note(order_id: str) -> str:
        """Note something about an order."""
        sent.append(order_id)
        request = httpx.Request("POST", "http://bank")
        answer = httpx.Response(429, headers={"retry-after": str(2 * 3600)}, request=request)
        raise httpx.HTTPStatusError("slow down", request=request, response=answer)

    run = desk.run(acting(desk, note), trigger=new_trigger(), deadline=HALF, given={"said": ""})
    assert run.state is RunState.RETRYING
    assert close_to(run.wake_at, HALF)
    at(desk.database, HALF)
    assert due(desk, run) == [Why.TIMER]
    assert stands(desk.resume(run)) == OVER
    assert sent == ["o1"]


def test_a_frozen_run_is_handed_over_at_its_deadline(desk: Desk) -> None:
    """What stands still for a freeze does not go on when that is lifted after the deadline."""
    with Operators(desk.database.approver("ana")) as ana:
        ana.freeze(Scope.TOOL, "refund", comment="wrong amounts")
        run = desk.run(desk.refunding(50), trigger=new_trigger(), deadline=HALF)
        assert (run.state, run.reason, run.owner) == (RunState.BLOCKED, "frozen", "finance")
        at(desk.database, HALF)
        assert due(desk, run) == [Why.TIMER]
        assert stands(desk.resume(run)) == OVER
        ana.unfreeze(Scope.TOOL, "refund", comment="right again")
    assert stands(desk.resume(run)) == OVER
    assert desk.done == []


class Said(TypedDict):
    """What was answered."""

    said: str


def acting(desk: Desk, body: Any) -> Any:
    """Return a graph of one node that calls one governed write."""
    (tool,) = desk.control.govern([writes(key="order_id", impact="record", system="bank")(body)])
    builder: Any = StateGraph(Said)
    builder.add_node("act", lambda _: {"said": str(tool.invoke({"order_id": "o1"}))})
    builder.add_edge(START, "act")
    return desk.control.bind(builder.compile(), name=f"acting {new_trigger()}")


def test_a_question_is_not_waited_for_beyond_the_deadline(desk: Desk, how: How) -> None:
    """At the deadline an unanswered question becomes a person's, and can still be answered."""
    builder: Any = StateGraph(Said)
    builder.add_node("ask", lambda _: {"said": interrupt("Which colour?")})
    builder.add_edge(START, "ask")
    graph = desk.control.bind(builder.compile(), name=f"asking {new_trigger()}")
    run = desk.run(graph, how, trigger=new_trigger(), given={"said": ""}, deadline=HALF)
    assert (run.state, run.owner) == (RunState.WAITING, "support-bot")
    at(desk.database, HALF)
    assert due(desk, run) == [Why.TIMER]
    run = desk.resume(run, how)
    assert stands(run) == OVER
    assert (run.owner, due(desk, run)) == ("finance", [])
    (question,) = run.questions
    assert desk.resume(run, how, {question: "blue"}).output == {"said": "blue"}


def looking(desk: Desk, looked: list[str], late: Callable[[], bool] = lambda: True) -> Any:
    """Return a governed read; once it has been called the run's time is over, where that is wanted."""

    def look(what: str) -> str:
        """Look something up."""
        looked.append(what)
        if late():
            at(desk.database, HALF)
        return f"{what} is open, seen {len(looked)} times"

    (tool,) = desk.control.govern([reads(system="shop")(look)])
    return tool


def test_no_read_begins_after_the_deadline(desk: Desk, how: How) -> None:
    """An agent that only polls stops at its run's deadline; a person has it, and no resume reads."""
    looked: list[str] = []
    asked = [calls(call("look", what="o1", call_id=f"call_{number}")) for number in range(8)]
    agent = create_agent(ScriptedModel(script=(*asked, "done")), [looking(desk, looked)])
    run = desk.run(desk.control.bind(agent, name="polling"), how, trigger=new_trigger(), deadline=HALF)
    for _ in range(2):
        assert (stands(run), run.owner, due(desk, run), looked) == (OVER, "finance", [], ["o1"])
        assert run.next_step == (
            f"langgraph-control show {run.id}, then langgraph-control resolve {run.id} --give-up,"
            f" or langgraph-control cancel {run.id}"
        )
        run = desk.resume(run, how)
    with LedgerConnection(desk.database.auditor) as auditor:
        story = [Entry.of(entry) for entry in auditor.entries(run_id(run.id))]
    refused = {"tool": "look", "kind": "read", "answer": "park", "reason": "deadline_passed"}
    assert [entry.facts.items() >= refused.items() for entry in story if "action.decided" in entry.events] == [True] * 3
    assert "look: not called, stopped: the run's deadline is over" in [sentence(entry)[0] for entry in story]


def test_a_run_whose_deadline_passed_before_it_was_taken_reads_nothing(desk: Desk, how: How) -> None:
    """Whoever takes a run over is told how far its deadline is by the ledger's clock, and not by its own."""
    looked: list[str] = []
    look = looking(desk, looked)
    builder: Any = StateGraph(Said)
    builder.add_node("wait", lambda _: {"said": interrupt("Go on?")})
    builder.add_node("act", lambda _: {"said": look.invoke({"what": "o1"})})
    builder.add_edge(START, "wait").add_edge("wait", "act")
    graph = desk.control.bind(builder.compile(), name=f"told {new_trigger()}")
    run = desk.run(graph, how, trigger=new_trigger(), given={"said": ""}, deadline=HALF)
    (question,) = run.questions
    at(desk.database, HALF)
    # A person who answers the graph's own question wants it to go on, however late it is.
    assert (desk.resume(run, how, {question: "yes"}).state, looked) == (RunState.DONE, ["o1"])
    at(desk.database, timedelta())

    def fail(_: Any) -> Any:
        raise ValueError("once")

    failing: Any = StateGraph(Said)
    steps = [fail]
    failing.add_node("fail", lambda state: steps.pop()(state) if steps else {"said": ""})
    failing.add_node("act", lambda _: {"said": look.invoke({"what": "o2"})})
    failing.add_edge(START, "fail").add_edge("fail", "act")
    graph = desk.control.bind(failing.compile(), name=f"broken off {new_trigger()}")
    trigger = new_trigger()
    with pytest.raises(ValueError, match="once"):
        desk.run(graph, how, trigger=trigger, given={"said": ""}, deadline=HALF)
    at(desk.database, HALF)
    run = desk.run(graph, how, trigger=trigger, given={"said": ""}, deadline=HALF)
    assert (stands(run), looked) == (OVER, ["o1"])


@pytest.mark.parametrize("where", ["in code", "in a delegate"])
def test_a_read_on_the_way_to_what_waits_is_made_after_the_deadline(desk: Desk, how: How, where: str) -> None:
    """What code reads before a write that waits, and a delegate around one, do not keep its request open for ever."""
    looked: list[str] = []
    look, refund = looking(desk, looked, lambda: False), desk.tool("refund")

    def act(_: Any) -> dict[str, Any]:
        look.invoke({"what": "o1"})
        return {"said": str(refund.invoke({"order_id": "o1", "amount": "500"}))}

    builder: Any = StateGraph(Said)
    builder.add_node("act", act)
    builder.add_edge(START, "act")
    inner = builder.compile()

    def ask_another(what: str) -> str:
        """Ask another agent."""
        return str(inner.invoke({"said": what})["said"])

    (delegate,) = desk.control.govern([reads()(ask_another)])
    outer: Any = StateGraph(Said)
    outer.add_node("ask", lambda _: {"said": delegate.invoke({"what": "o1"})})
    outer.add_edge(START, "ask")
    graph = desk.control.bind(
        outer.compile() if where == "in a delegate" else inner, name=f"on the way {new_trigger()}"
    )
    run = desk.run(graph, how, trigger=new_trigger(), given={"said": ""}, deadline=HALF)
    assert run.state is RunState.NEEDS_APPROVAL
    at(desk.database, HALF)
    assert stands(desk.resume(run, how)) == OVER
    with Approvals(desk.database.approver("ana")) as approvals:
        assert approvals.inbox() == ()
    assert (looked, desk.done) == (["o1"] * 2, [])


def test_what_is_left_after_the_deadline_can_be_given_up(desk: Desk) -> None:
    """The next step that is shown is one that works: given up, the model is told, and the run ends."""
    run = desk.run(desk.refunding(500), trigger=new_trigger(), deadline=HALF)
    at(desk.database, HALF)
    run = desk.resume(run)
    with Operators(desk.database.approver("ana")) as ana:
        (action,) = ana.stuck(run_id(run.id))
        ana.resolve(run_id(run.id), action.key, Resolution.GIVE_UP, comment="too late")
    run = desk.resume(run)
    assert run.state is RunState.DONE
    assert "too late" in told(run)[0]
    assert desk.done == []


def test_a_worker_drives_a_run_at_its_deadline(database: Database, tmp_path: Path) -> None:
    """Nobody answers, no retry is due: a worker finds the run whose time is over, and drives it once."""
    publish(database)
    workshop = Workshop.at(tmp_path, database)
    with workshop.control() as client, workshop.worker() as worker:
        run = client.submit("workshop", order(1, amount="500"), trigger=new_trigger(), actor="bot", deadline=HALF)
        until(lambda: client.get(run.id).state is RunState.NEEDS_APPROVAL, seconds=20)
        at(database, HALF)
        until(lambda: client.get(run.id).state is RunState.NEEDS_HUMAN, seconds=20)
        assert stands(client.get(run.id)) == OVER
        worker.says("needs_human (deadline_passed)")
        assert worker.lines.count("driving it") == 2
    assert read(workshop.effects) == []


def test_what_was_rejected_before_the_deadline_is_told_after_it(desk: Desk, how: How) -> None:
    """A step that runs again after the deadline hears of its rejection, and nobody is asked what to do about it."""
    refund = desk.tool("refund")

    def act(_: Any) -> dict[str, Any]:
        try:
            refund.invoke({"order_id": "o1", "amount": "500"})
        except WriteRefused as refused:
            return {"said": f"{refused.code}, {interrupt('which colour?')}"}
        return {"said": "done"}

    builder: Any = StateGraph(Said)
    builder.add_node("act", act)
    builder.add_edge(START, "act")
    graph = desk.control.bind(builder.compile(), name="told")
    run = desk.run(graph, how, trigger=new_trigger(), given={"said": ""}, deadline=HALF)
    desk.reject(run.approvals)
    run = desk.resume(run, how)
    (question,) = run.questions
    at(desk.database, HALF)
    run = desk.resume(run, how, answers={question: "blue"})
    assert (run.state, run.output["said"]) == (RunState.DONE, "rejected, blue")
