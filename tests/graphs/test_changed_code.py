"""Runs that wait while the code under them changes: each goes on, is asked for afresh, or says what is in its way."""

import operator
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Self, TypedDict

import pytest
from langchain.agents import create_agent
from langgraph.graph import START, StateGraph
from langgraph.types import Send, interrupt

from langgraph_control import ABSENT, Approvals, Control, Run, reads, writes
from langgraph_control.audit.asking.rows import ApprovalState, RunState
from langgraph_control.audit.names import run_id
from langgraph_control.audit.people.operators import Operators
from tests.support.desk import GO, POLICY, Desk, How, new_trigger
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls


class State(TypedDict):
    """What was done."""

    log: Annotated[list[str], operator.add]


GIVEN: dict[str, Any] = {"log": []}


REFUND = calls(call("refund", order_id="o1", amount="500", call_id="call_1"))


class Shop:
    """A process with one version of the tools; what they do is noted in one place."""

    def __init__(self, database: Database, sent: list[str]) -> None:
        self.control = Control(POLICY, dsn=database.agent)
        self.database = database
        self.sent = sent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()

    def bound(self, *tools: Any, again: Any = "done") -> Any:
        """Return an agent that asks for the refund, and then says something or asks again."""
        script = (REFUND, again, "done")
        return self.control.bind(create_agent(ScriptedModel(script=script), self.control.govern([*tools])), name="shop")

    def looks(self) -> Any:
        """Return a tool that every version has."""

        @reads()
        def look(order_id: str) -> str:
            """Look at an order."""
            return order_id

        return look

    def refund(self, **contract: Any) -> Any:
        """Return the refund under a contract."""

        @writes(**{"key": "order_id", "impact": "money", **contract})
        def refund(order_id: str, amount: Decimal) -> str:
            """Refund an order."""
            self.sent.append(f"{order_id}:{amount}")
            return "refunded"

        return refund

    def run(self, graph: Any) -> Run:
        """Run it."""
        return self.control.run(graph, GO, trigger=new_trigger(), actor="bot")

    def approve(self, run: Run) -> None:
        """Say yes to what a run waits for."""
        with Approvals(self.database.approver("ana")) as approvals:
            for name in run.approvals:
                approvals.approve(name)


@pytest.fixture
def parked(desk_database: Database) -> tuple[Run, list[str]]:
    """A run that waits for people to say yes to a refund, left by the first version; and what is sent."""
    sent: list[str] = []
    with Shop(desk_database, sent) as first:
        return first.run(first.bound(first.looks(), first.refund())), sent


class Deployment:
    """One version of the code after another, each with a Control of its own, as deployments have."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.controls: list[Control] = []

    def version(self, builder: Any) -> Desk:
        """Return a desk that has bound this version of the graph."""
        control = Control(POLICY, dsn=self.database.agent)
        self.controls.append(control)
        control.bind(builder.compile(), name="steps")
        return Desk(database=self.database, control=control)


@pytest.fixture
def deployment(desk_database: Database) -> Iterator[Deployment]:
    """Versions on the desk's ledger."""
    made = Deployment(desk_database)
    yield made
    for control in made.controls:
        control.close()


def steps(*names: str, raising: str = "", asking: str = "") -> Any:
    """Return a chain of steps that note their names."""

    def body(name: str) -> Any:
        def step(_: State) -> dict[str, Any]:
            if name == raising:
                raise KeyError("secret")
            return {"log": [f"{name}:{interrupt(name)}" if name == asking else name]}

        return step

    builder: Any = StateGraph(State)
    builder.add_sequence([(name, body(name)) for name in names])
    builder.add_edge(START, names[0])
    return builder


def graph_of(desk: Desk) -> Any:
    """Return the desk's one graph."""
    return desk.control._ledger.graphs["steps"]


def begun(desk: Desk, how: How) -> Run:
    """Return where a new run stands."""
    return desk.run(graph_of(desk), how, trigger=new_trigger(), given=GIVEN)


def test_a_graph_that_raises_is_blocked_until_it_is_mended(deployment: Deployment, how: How) -> None:
    """The state has the exception's class and no more, the owner, and the way out; mended code goes on from there."""
    broken = deployment.version(steps("first", "second", raising="second"))
    trigger = new_trigger()
    with pytest.raises(KeyError):
        broken.run(graph_of(broken), how, trigger=trigger, given=GIVEN)
    run = broken.control.get(trigger=trigger)
    assert (run.state, run.reason, run.owner) == (RunState.BLOCKED, "the graph raised KeyError", "finance")
    assert run.next_step == f"langgraph-control show {run.id}, then langgraph-control resume {run.id}"
    mended = deployment.version(steps("first", "second"))
    assert mended.resume(run, how).output == {"log": ["first", "second"]}


@pytest.mark.parametrize("left_by", ["a question", "an exception"])
def test_a_step_that_is_gone_blocks_the_run(deployment: Deployment, how: How, left_by: str) -> None:
    """Without the step that comes next a run is not called done: it says which step, and goes on where that is."""
    broken = {"raising": "second"} if left_by == "an exception" else {"asking": "second"}
    old = deployment.version(steps("first", "second", "third", **broken))
    trigger = new_trigger()
    try:
        old.run(graph_of(old), how, trigger=trigger, given=GIVEN)
    except KeyError:
        assert left_by == "an exception"
    renamed = deployment.version(steps("first", "deux", "third"))
    run = renamed.resume(renamed.control.get(trigger=trigger), how)
    assert (run.state, run.reason, run.owner) == (RunState.BLOCKED, "the graph has no step second", "finance")
    assert run.next_step == (
        f"langgraph-control resume {run.id}, with a graph that has the step; or langgraph-control cancel {run.id}"
    )
    assert renamed.resume(run, how).reason == run.reason
    back = deployment.version(steps("first", "second", "third", asking=broken.get("asking", "")))
    questions = back.control.get(run.id).questions
    run = back.resume(run, how, dict.fromkeys(questions, "yes"))
    assert run.output == {"log": ["first", "second:yes" if questions else "second", "third"]}


def test_a_step_that_was_sent_to_and_is_gone_blocks_the_run(deployment: Deployment, how: How) -> None:
    """What fans out to a step that the new code lacks is not dropped without a word."""

    def fanning(worker: str) -> Any:
        builder: Any = StateGraph(State)
        builder.add_node("fan", lambda _: {})
        builder.add_node(worker, lambda state: {"log": [interrupt(state["log"])]})
        builder.add_edge(START, "fan")
        builder.add_conditional_edges("fan", lambda _: [Send(worker, {"log": [name]}) for name in "ab"], [worker])
        return builder

    run = begun(deployment.version(fanning("check")), how)
    assert len(run.questions) == 2
    run = deployment.version(fanning("verify")).resume(run, how)
    assert (run.state, run.reason) == (RunState.BLOCKED, "the graph has no step check")


def test_a_step_that_is_new_changes_nothing_for_a_run_under_way(deployment: Deployment, how: How) -> None:
    """Code with more steps than before goes on with the run it finds."""
    run = begun(deployment.version(steps("first", "second", asking="second")), how)
    (question,) = run.questions
    longer = deployment.version(steps("zero", "first", "second", "third", asking="second"))
    assert longer.resume(run, how, {question: "yes"}).output == {"log": ["first", "second:yes", "third"]}


@pytest.mark.parametrize(
    "contract",
    [{"version": "2"}, {"watch": ["amount"], "read": lambda _: {"amount": 1}}],
    ids=["version", "what is watched"],
)
def test_a_contract_that_means_something_else_is_asked_for_afresh(
    desk_database: Database, parked: tuple[Run, list[str]], contract: dict[str, Any]
) -> None:
    """What people said yes to was another thing: there is a new request, and nothing is sent before it is granted."""
    run, sent = parked
    with Shop(desk_database, sent) as second:
        second.bound(second.looks(), second.refund(**contract))
        second.approve(run)
        again = second.control.resume(run.id)
        assert (again.state, sent) == (RunState.NEEDS_APPROVAL, [])
        assert again.approvals != run.approvals
        second.approve(again)
        assert second.control.resume(run.id).state is RunState.DONE
    assert sent == ["o1:500"]


@pytest.mark.parametrize("approved", [True, False], ids=["approved", "not yet"])
def test_a_write_that_moves_to_another_system_is_asked_for_afresh(desk_database: Database, *, approved: bool) -> None:
    """People were shown the old system: their yes, or the request to them, is closed, and a new one is made."""
    sent: list[str] = []
    with Shop(desk_database, sent) as first:
        run = first.run(first.bound(first.looks(), first.refund(system="bank")))
        if approved:
            first.approve(run)
    with Shop(desk_database, sent) as second, Approvals(desk_database.approver("ana")) as approvals:
        second.bound(second.looks(), second.refund(system="other bank"))
        again = second.control.resume(run.id)
        assert (again.state, sent) == (RunState.NEEDS_APPROVAL, [])
        assert again.approvals != run.approvals
        assert [approvals.get(name).state for name in run.approvals] == [ApprovalState.SUPERSEDED]
        second.approve(again)
        assert second.control.resume(run.id).state is RunState.DONE
    assert sent == ["o1:500"]


@pytest.mark.parametrize(
    "contract", [{"find": lambda _: ABSENT}, {"keyed_for": "24h"}, {"impact": "bulk"}], ids=["find", "key", "impact"]
)
def test_a_contract_that_means_the_same_goes_on_with_its_grant(
    desk_database: Database, parked: tuple[Run, list[str]], contract: dict[str, Any]
) -> None:
    """Another kind or impact of the very same write is decided by the rules as they are now; the grant still fits."""
    run, sent = parked
    with Shop(desk_database, sent) as second:
        second.bound(second.looks(), second.refund(**contract))
        second.approve(run)
        assert second.control.resume(run.id).state is RunState.DONE
    assert sent == ["o1:500"]


def renamed(shop: Shop) -> Any:
    """Return the refund with another name for its amount."""

    @writes(key="order_id", impact="money")
    def refund(order_id: str, euros: Decimal) -> str:
        """Refund an order."""
        shop.sent.append(f"{order_id}:{euros}")
        return "refunded"

    return refund


@pytest.mark.parametrize("what", ["the tool is gone", "an argument has another name"])
@pytest.mark.parametrize("decided", ["before", "after"])
def test_a_call_that_no_longer_fits_is_blocked_and_can_be_cancelled(
    desk_database: Database, parked: tuple[Run, list[str]], what: str, decided: str
) -> None:
    """The graph goes on without it, and the run is not called done: it says what is undecided and what to do."""
    run, sent = parked
    with Shop(desk_database, sent) as second:
        second.bound(second.looks(), *([] if "gone" in what else [renamed(second)]))
        if decided == "before":
            second.approve(run)
        run = second.control.resume(run.id)
        assert (run.state, run.reason) == (RunState.BLOCKED, "the graph ended while refund is undecided")
        assert (run.owner, sent) == ("finance", [])
        assert run.next_step == f"langgraph-control show {run.id}, then langgraph-control cancel {run.id}"
        with Operators(desk_database.approver("ana")) as ana:
            ana.cancel(run_id(run.id), comment="the tool is another now")
        assert (second.control.get(run.id).state, second.control.get(run.id).owner) == (RunState.DONE, "")
    assert sent == []


def test_the_same_change_under_a_new_name_is_decided_by_what_it_is_now(
    desk_database: Database, parked: tuple[Run, list[str]]
) -> None:
    """Told that its call does not fit, a model may ask again: no rule covers that, so the old request is closed."""
    run, sent = parked
    with Shop(desk_database, sent) as second, Approvals(desk_database.approver("ana")) as approvals:
        asked = calls(call("refund", order_id="o1", euros="500", call_id="call_2"))
        second.bound(second.looks(), renamed(second), again=asked)
        assert second.control.resume(run.id).state is RunState.DONE
        assert [approvals.get(name).state for name in run.approvals] == [ApprovalState.WITHDRAWN]
    assert sent == []
