"""Two runs of one request on one action: what one run has been told is settled for it, whatever the other does next."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from langchain.agents import create_agent
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_control import Control, ControlError, Policy, Run, writes
from langgraph_control.audit.asking.operator_requests import Resolution
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.names import run_id
from langgraph_control.audit.people.operators import Operators
from langgraph_control.errors import ApprovalRefused, OperationRefused
from langgraph_control.nodes.contracts import Done, NotDone, Unknown
from tests.support.desk import POLICY_TEXT, Desk, How, new_trigger
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls


@pytest.fixture
def operators(desk: Desk) -> Iterator[Operators]:
    """Ana of finance, who owns what the program cannot settle."""
    with Operators(desk.database.approver("ana")) as operators:
        yield operators


def test_a_run_that_was_answered_ends_though_another_tries_again(desk: Desk, trigger: str) -> None:
    """A run whose attempt failed for good ends, also if the other run that waited tries in vain before it does."""
    refusals = iter([False])  # the first for good, all others for the moment

    @writes(
        key="order_id",
        impact="money",
        outcome=lambda _: NotDone(reason="locked", transient=next(refusals, True)),
    )
    def refund(order_id: str, amount: Decimal) -> str:
        """Refund an order."""
        return f"no refund of {amount} for {order_id}"

    (governed,) = desk.control.govern([refund])
    parked: list[Run] = []

    def pay(state: MessagesState) -> dict[str, Any]:
        asked = state["messages"][0].tool_calls[0]  # type: ignore[union-attr]
        return {"messages": [governed.invoke({**asked, "type": "tool_call"})]}

    def meanwhile(state: MessagesState) -> dict[str, Any]:
        if parked:
            desk.control.resume(parked.pop().id)
        return {}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    builder.add_node("pay", pay)
    builder.add_node("meanwhile", meanwhile)
    builder.add_edge(START, "pay")
    builder.add_edge("pay", "meanwhile")
    graph = desk.control.bind(builder.compile(), name="shared")

    def started(delivery: str) -> Run:
        asked = calls(call("refund", order_id="o1", amount="500", call_id=delivery))
        return desk.run(graph, trigger=delivery, intent=trigger, given={"messages": [asked]})

    first, second = started(trigger), started(new_trigger())
    parked.append(first)
    desk.approve(first.approvals)
    ended = desk.control.resume(second.id)
    assert desk.control.get(first.id).state is RunState.NEEDS_HUMAN  # it tried as often as it may: for its owner now
    assert (ended.state, ended.reason) == (RunState.DONE, "")


def test_a_run_whose_action_another_has_taken_up_ends_when_that_is_settled(
    desk: Desk, operators: Operators, trigger: str
) -> None:
    """Over while another run's attempt of its action is open, a run is woken when a person settles it, and is done."""
    outcomes = iter([NotDone(reason="locked", transient=False), Unknown(reason="no answer")])

    @writes(key="order_id", impact="money", outcome=lambda _: next(outcomes, Done()))
    def refund(order_id: str, amount: Decimal) -> str:
        """Refund an order."""
        return f"refunded {amount} for {order_id}"

    (governed,) = desk.control.govern([refund])
    parked: list[Run] = []

    def pay(state: MessagesState) -> dict[str, Any]:
        asked = state["messages"][0].tool_calls[0]  # type: ignore[union-attr]
        return {"messages": [governed.invoke({**asked, "type": "tool_call"})]}

    def meanwhile(state: MessagesState) -> dict[str, Any]:
        if parked:
            desk.control.resume(parked.pop().id)
        return {}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    builder.add_node("pay", pay)
    builder.add_node("meanwhile", meanwhile)
    builder.add_edge(START, "pay")
    builder.add_edge("pay", "meanwhile")
    graph = desk.control.bind(builder.compile(), name="shared")

    def started(delivery: str) -> Run:
        asked = calls(call("refund", order_id="o1", amount="500", call_id=delivery))
        return desk.run(graph, trigger=delivery, intent=trigger, given={"messages": [asked]})

    first, second = started(trigger), started(new_trigger())
    parked.append(second)
    desk.approve(first.approvals)
    over = desk.control.resume(first.id)
    assert (over.state, over.reason) == (RunState.NEEDS_HUMAN, "the graph ended while refund is undecided")
    row = operators.run(second.id)
    (action,) = operators.stuck(row.run_id)
    operators.resolve(row.run_id, action.key, Resolution.DID_NOT, comment="looked at the statement")
    with psycopg.connect(desk.database.admin) as connection:
        woken = connection.execute("SELECT run_id FROM control.run_wake WHERE generation <> seen").fetchall()
    assert {run for (run,) in woken} == {run_id(first.id), run_id(second.id)}
    assert desk.control.resume(first.id).state is RunState.DONE
    assert desk.control.resume(second.id).state is RunState.DONE


def test_who_finds_a_request_expired_wakes_the_others(desk: Desk, trigger: str) -> None:
    """Of two runs that wait for a request, the first back after its time is told; the other is woken, and asks anew."""

    @writes(key="order_id", impact="money")
    def refund(order_id: str, amount: Decimal) -> str:
        """Refund an order."""
        return f"refunded {amount} for {order_id}"

    (governed,) = desk.control.govern([refund])

    def pay(state: MessagesState) -> dict[str, Any]:
        asked = state["messages"][0].tool_calls[0]  # type: ignore[union-attr]
        try:
            return {"messages": [governed.invoke({**asked, "type": "tool_call"})]}
        except ControlError as refused:
            return {"messages": [("ai", str(refused))]}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    builder.add_node("pay", pay)
    builder.add_edge(START, "pay")
    graph = desk.control.bind(builder.compile(), name="shared")

    def started(delivery: str) -> Run:
        asked = calls(call("refund", order_id="o1", amount="500", call_id=delivery))
        return desk.run(graph, trigger=delivery, intent=trigger, given={"messages": [asked]})

    first, second = started(trigger), started(new_trigger())
    with psycopg.connect(desk.database.admin) as connection:
        connection.execute("UPDATE control.approval SET expires_at = clock_timestamp()")
    assert desk.control.resume(first.id).state is RunState.DONE
    with psycopg.connect(desk.database.admin) as connection:
        woken = connection.execute("SELECT run_id FROM control.run_wake WHERE generation <> seen").fetchall()
    assert woken == [(run_id(second.id),)]
    again = desk.control.resume(second.id)
    assert again.state is RunState.NEEDS_APPROVAL
    assert again.approvals != second.approvals


def test_a_cancelled_runs_request_is_asked_anew_by_the_run_that_needs_it(
    desk: Desk, operators: Operators, how: How, trigger: str
) -> None:
    """Of two runs that wait for one request, its own is cancelled: nobody's word ends up behind that run's end."""

    def started(delivery: str) -> Run:
        return desk.run(desk.refunding(500), how, trigger=delivery, intent=trigger)

    first, second = started(trigger), started(new_trigger())
    assert first.approvals == second.approvals
    operators.cancel(run_id(first.id), comment="not wanted")
    with pytest.raises(ApprovalRefused):
        desk.approve(first.approvals)
    with psycopg.connect(desk.database.admin) as connection:
        (woken,) = connection.execute("SELECT run_id FROM control.run_wake WHERE generation <> seen").fetchall()
    assert woken == (run_id(second.id),)
    asked = desk.resume(second, how)
    desk.approve(asked.approvals)
    assert (desk.resume(asked, how).state, desk.done) == (RunState.DONE, ["o0:500"])


def test_what_a_run_has_taken_over_is_settled_before_it_is_cancelled(
    desk: Desk, operators: Operators, trigger: str
) -> None:
    """A run that went on with an ended run's write cannot be cancelled while nobody knows what came of it."""

    @writes(key="order_id", impact="money")
    def refund(order_id: str, amount: Decimal) -> str:
        """Refund an order."""
        raise TimeoutError

    (governed,) = desk.control.govern([refund])

    def started(delivery: str) -> Run:
        asked = calls(call("refund", order_id="o1", amount="500", call_id="call_1"))
        model = ScriptedModel(script=(asked, "done"))
        graph = desk.control.bind(create_agent(model, [governed]), name="shared")
        return desk.run(graph, trigger=delivery, intent=trigger)

    first, second = started(trigger), started(new_trigger())
    operators.cancel(run_id(first.id), comment="not wanted")
    desk.approve(desk.resume(second).approvals)
    assert desk.resume(second).state is RunState.NEEDS_HUMAN
    with pytest.raises(OperationRefused) as refused:
        operators.cancel(run_id(second.id), comment="not wanted")
    assert refused.value.code == "unsettled"


def test_what_is_asked_anew_is_asked_of_those_whom_the_policy_names_first(
    shared_database: Database, how: How, trigger: str
) -> None:
    """A request was put to others, and its run is cancelled: the run that asks anew asks from the beginning."""
    text = POLICY_TEXT.replace(
        "[ana@acme.example, bo@acme.example]}", "[ana@acme.example], support: [bo@acme.example]}"
    )
    policy = Policy.parse(text.replace("deny, not", "{escalate_to: support, within: 1h}, not"), source="control.yaml")
    publish_policy(shared_database.admin, policy)
    with Control(policy, dsn=shared_database.agent) as control:
        desk = Desk(database=shared_database, control=control)
        first, second = (
            desk.run(desk.refunding(500), how, trigger=one, intent=trigger) for one in (trigger, new_trigger())
        )
        with psycopg.connect(desk.database.admin) as connection:
            connection.execute("UPDATE control.approval SET expires_at = clock_timestamp()")
        put_to_others = desk.resume(first, how)
        assert put_to_others.owner == "support"
        with Operators(desk.database.approver("ana")) as operators:
            operators.cancel(run_id(first.id), comment="not wanted")
        assert desk.resume(second, how).owner == "finance"
