"""LangGraph's threads against the record: threads whose run is gone, and answers that no entry of any run tells of."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_control import ABSENT, writes
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping import reconcile as reconciling
from langgraph_control.audit.keeping.differences import Difference, Kind
from langgraph_control.audit.keeping.erasure import ErasureScope, Selection, erase, retain
from langgraph_control.audit.keeping.reconcile import nothing_outside, reconcile, reconcile_rest
from langgraph_control.audit.names import run_id
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.graphs.control import ledger_of
from langgraph_control.graphs.looking_up import Lookup
from langgraph_control.guards.run_states import RunState
from tests.support.desk import Desk, publish
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls
from tests.support.trails import TrailWriter


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """A desk on a database of its own."""
    publish(database)
    desk = Desk.on(database)
    with desk.control:
        yield desk


def named(desk: Desk, graph: Any = None) -> list[Difference]:
    """Return everything that differs, threads' answers included where there is a graph."""
    outside = nothing_outside if graph is None else Lookup({graph.name: ledger_of(desk.control)})
    with LedgerConnection(desk.database.auditor) as auditor:
        requests = list(reconcile(auditor, outside=outside))
        known = {one for request in requests for one in request.run_ids}
        found = [one for request in requests for one in request.differences]
        return [*found, *reconcile_rest(auditor, known)]


def kinds(found: list[Difference]) -> list[tuple[Kind, UUID]]:
    """Return kinds and runs."""
    return [(one.kind, one.run_id) for one in found]


def forget(database: Database, run: UUID) -> None:
    """Take every row of a run out of the ledger, as only a superuser can."""
    with psycopg.connect(database.admin) as superuser:
        superuser.execute("SET session_replication_role = replica")
        for table in ("waiter", "run_wake", "open_run", "action", "entry", "run_state", "run"):
            superuser.execute(f"DELETE FROM control.{table} WHERE run_id = %s".encode(), (run,))


@pytest.mark.parametrize("page", [1, 500])
def test_a_thread_whose_run_is_gone_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    """A run of which the ledger has no row any more is named by its thread, wherever a page of threads ends."""
    monkeypatch.setattr(reconciling, "PAGE", page)
    graph = talk(desk, *([refund(f"o{place}", "a")] for place in range(3)))
    runs = [run_id(desk.run(graph, trigger=f"ticket/{place}").id) for place in range(3)]
    assert named(desk) == []
    forget(desk.database, runs[1])
    assert kinds(named(desk)) == [(Kind.THREAD_WITHOUT_RUN, runs[1])]


@pytest.mark.parametrize("table", ["checkpoints", "checkpoint_blobs", "checkpoint_writes"])
def test_whichever_rows_of_a_thread_are_left_name_it(desk: Desk, table: str) -> None:
    """Also where two of LangGraph's three tables were cleared."""
    run = run_id(desk.run(desk.refunding(50), trigger="ticket/1").id)
    forget(desk.database, run)
    with psycopg.connect(desk.database.admin) as superuser:
        for other in {"checkpoints", "checkpoint_blobs", "checkpoint_writes"} - {table}:
            superuser.execute(f"DELETE FROM control_checkpoints.{other}".encode())
    assert kinds(named(desk)) == [(Kind.THREAD_WITHOUT_RUN, run)]


def test_a_thread_whose_run_was_erased_or_dropped_is_no_difference(desk: Desk) -> None:
    """Retention and erasure leave the run's row, whichever of its checkpoints they leave."""
    graph = talk(desk, [refund("o1", "a")], [refund("o2", "a")])
    first, second = (run_id(desk.run(graph, trigger=f"ticket/{place}").id) for place in range(2))
    chosen = Selection(scope=ErasureScope.RUN, run_id=first)
    erase(desk.database.admin, chosen, comment="asked for", told=b'"done"')
    chosen = Selection(scope=ErasureScope.RUN, run_id=second)
    assert erase(desk.database.admin, chosen, comment="asked", told=b'"done"', checkpoints=True).threads == 1
    assert named(desk, graph) == []
    with TrailWriter(desk.database) as trail:
        trail.pass_time(days=90)
    assert any(month.kept_for is None for month in retain_all(desk))
    assert named(desk, graph) == []


def retain_all(desk: Desk) -> list[Any]:
    """Drop every month that is over."""
    return list(retain(desk.database.admin, timedelta(0), comment="over", told=b'"done"'))


def test_another_tenants_threads_are_not_named(desk: Desk) -> None:
    """Whose run a tenant's ledger does not have may be another tenant's."""
    desk.run(desk.refunding(50), trigger="ticket/1")
    add_login(desk.database.admin, "other_auditor", role="auditor", tenant="other", create=True)
    with LedgerConnection(desk.database.dsn("other_auditor")) as other:
        assert list(reconcile_rest(other, set())) == []


def test_a_second_answer_of_the_same_tool_is_named(desk: Desk) -> None:
    """An answer that no entry tells of is found by its call, though entries tell of another call of that tool."""
    graph = desk.refunding(50, 60)
    run = desk.run(graph, trigger="ticket/1")
    assert named(desk, graph) == []
    with psycopg.connect(desk.database.admin) as superuser:
        superuser.execute(
            "UPDATE control.entry SET body ="
            " convert_to(replace(convert_from(body, 'UTF8'), '\"call_1\"', '\"call_7\"'), 'UTF8')"
        )
    (found,) = [one for one in named(desk, graph) if one.kind is Kind.CHECKPOINT_WITHOUT_ENTRY]
    assert (found.run_id, found.tool, "call_1" in found.what) == (run_id(run.id), "refund", True)


def talk(desk: Desk, *asked: list[Any]) -> Any:
    """Return a bound agent that makes these calls, one message after the other."""
    script = [part for each in asked for part in (calls(*each), "said")]
    return desk.agent(*script)


def refund(order: str, call_id: str, amount: str = "50") -> Any:
    """Return a call for a refund."""
    return call("refund", order_id=order, amount=amount, call_id=call_id)


def test_a_conversation_is_held_against_all_of_its_runs(desk: Desk) -> None:
    """Runs on one thread account for its answers together; a run that is gone leaves its answers without an entry."""
    graph = talk(desk, [refund("o1", "a")], [refund("o2", "b")], [refund("o3", "c")])
    runs = [run_id(desk.run(graph, trigger=f"ticket/{place}", thread="chat").id) for place in range(3)]
    assert desk.done == ["o1:50", "o2:50", "o3:50"]
    assert named(desk, graph) == []
    forget(desk.database, runs[1])
    found = named(desk, graph)
    assert kinds(found) == [(Kind.CHECKPOINT_WITHOUT_ENTRY, runs[0])]
    assert ("call b" in found[0].what, found[0].tool) == (True, "refund")


def test_a_later_run_on_a_runs_own_thread_opens_nothing_of_the_first(desk: Desk) -> None:
    """A conversation that goes on in a run's own thread makes neither its end nor its answers a difference."""
    graph = talk(desk, [refund("o1", "a")], [refund("o2", "b", amount="500")])
    first = desk.run(graph, trigger="ticket/1")
    second = desk.run(graph, trigger="ticket/2", thread=first.thread)
    assert (first.state, second.state) == (RunState.DONE, RunState.NEEDS_APPROVAL)
    assert named(desk, graph) == []


def test_a_write_that_is_asked_for_again_is_told_by_an_entry_for_each_call(desk: Desk) -> None:
    """Each call that gets a stored result is on record; the same call that is driven again is not, once more."""
    graph = talk(desk, [refund("o1", "a")], [refund("o1", "b")], [refund("o1", "c"), refund("o1", "d")])
    for place in range(3):
        assert desk.run(graph, trigger=f"ticket/{place}", intent="ticket", thread="chat").state is RunState.DONE
    assert desk.done == ["o1:50"]
    assert named(desk, graph) == []


def test_an_answer_that_says_no_is_no_difference(desk: Desk) -> None:
    """A call whose arguments nobody can use was never a write: its answer needs no entry."""
    graph = talk(desk, [call("refund", order_id="o1", amount="much", call_id="a")])
    assert desk.run(graph, trigger="ticket/1").state is RunState.DONE
    assert named(desk, graph) == []


def test_what_code_wrote_is_known_by_its_tool_alone(desk: Desk) -> None:
    """Where a write came from code, its tool's answers are believed: no id ties them to an entry."""
    tool = desk.tool("refund")

    def by_hand(_: MessagesState) -> dict[str, Any]:
        said = tool.invoke({"order_id": "o1", "amount": "50"})
        asked = AIMessage("", tool_calls=[{"name": "refund", "args": {}, "id": "own"}])
        return {"messages": [asked, ToolMessage(said, tool_call_id="own")]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("by_hand", by_hand)
    builder.add_edge(START, "by_hand")
    graph = desk.control.bind(builder.compile(), name="code")
    desk.run(graph, trigger="ticket/1", given={"messages": []})
    assert named(desk, graph) == []


def test_what_was_found_by_reading_back_says_for_which_call(desk: Desk) -> None:
    """Whoever reads a lost answer back is told the result, and the entry says under which call."""
    sent: list[str] = []

    @writes(key="order_id", impact="record", find=lambda action: "sent" if action.args["order_id"] in sent else ABSENT)
    def send(order_id: str) -> str:
        """Send."""
        sent.append(order_id)
        raise TimeoutError("no answer")

    model = ScriptedModel(script=(calls(call("send", order_id="o1", call_id="a")), "sent"))
    graph = desk.control.bind(create_agent(model, desk.control.govern([send])), name="sending")
    run = desk.run(graph, trigger="ticket/1")
    assert (run.state, sent) == (RunState.DONE, ["o1"])
    with LedgerConnection(desk.database.auditor) as auditor:
        entries = [Entry.of(row) for row in auditor.entries(run_id(run.id))]
    assert [one.said("call_id") for one in entries if one.fact("outcome") == "found"] == ["a"]
    assert named(desk, graph) == []
