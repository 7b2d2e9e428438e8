"""Two runs of one request on one action: what one run has been told is settled for it, whatever the other does next."""

from decimal import Decimal
from typing import Any

from langgraph.graph import START, MessagesState, StateGraph

from langgraph_control import Run, writes
from langgraph_control.audit.rows import RunState
from langgraph_control.nodes.contracts import NotDone
from tests.support.desk import Desk, new_trigger
from tests.support.scripted_model import call, calls


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
