"""The control subgraph: visible nodes, one task per call, state beyond messages where it is given."""

from decimal import Decimal
from typing import Annotated, Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import InjectedToolCallId
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode
from langgraph.types import Command

from langgraph_control import reads, writes
from langgraph_control.graphs.subgraph import CALL_TOOL, DISPATCH
from tests.support.desk import Desk, How
from tests.support.scripted_model import call, calls


class Wider(MessagesState):
    """Messages and a customer."""

    customer: str


def outer(desk: Desk, tools: Any, schema: type[Any] = MessagesState) -> Any:
    """Return a bound graph whose one node is the control subgraph, or what is given in its place."""
    builder: Any = StateGraph(schema)
    builder.add_node("tools", tools)
    builder.add_edge(START, "tools")
    return desk.control.bind(builder.compile(), name="outer")


def counting(desk: Desk) -> list[Any]:
    """Return a read that counts its calls and a refund."""

    @reads()
    def look(order_id: str) -> str:
        """Look at an order."""
        desk.done.append(f"looked at {order_id}")
        return "an order"

    @writes(key="order_id", impact="money")
    def refund(order_id: str, amount: Decimal) -> str:
        """Refund an order."""
        desk.done.append(f"{order_id}:{amount}")
        return f"refunded {amount}"

    return [look, refund]


TWO_CALLS = {
    "messages": [
        calls(
            call("look", order_id="o1", call_id="call_1"), call("refund", order_id="o1", amount="500", call_id="call_2")
        )
    ]
}


def test_a_parked_call_does_not_rerun_its_sibling(desk: Desk, how: How, trigger: str) -> None:
    """In the subgraph the finished call of the same message stays finished while the other one waits and goes on."""
    graph = outer(desk, desk.control.subgraph(counting(desk)))
    run = desk.run(graph, how, trigger=trigger, given=TWO_CALLS)
    assert desk.done == ["looked at o1"]
    desk.approve(run.approvals)
    run = desk.run(graph, how, trigger=trigger, given=TWO_CALLS)
    assert desk.done == ["looked at o1", "o1:500"]
    assert [message.tool_call_id for message in run.output["messages"][1:]] == ["call_1", "call_2"]


def test_a_tool_node_reruns_it(desk: Desk, trigger: str) -> None:
    """What the subgraph is for: in a plain `ToolNode` both calls are one task, and the read happens again."""
    graph = outer(desk, ToolNode(desk.control.govern(counting(desk))))
    run = desk.run(graph, trigger=trigger, given=TWO_CALLS)
    desk.approve(run.approvals)
    desk.run(graph, trigger=trigger, given=TWO_CALLS)
    assert desk.done.count("looked at o1") > 1
    assert desk.done.count("o1:500") == 1


def test_its_nodes_are_visible(desk: Desk) -> None:
    """The compiled subgraph shows a node that dispatches and one that calls."""
    nodes = desk.control.subgraph(counting(desk)).get_graph().nodes
    assert {DISPATCH, CALL_TOOL} <= set(nodes)


@pytest.mark.parametrize(("schema", "customer"), [(None, "nobody"), (Wider, "Ana, checked")])
def test_state_beyond_messages_needs_the_schema(
    desk: Desk, how: How, trigger: str, schema: type[Any] | None, customer: str
) -> None:
    """With the outer schema a tool reads and writes other channels; without it, it sees messages only."""

    @reads()
    def check(
        state: Annotated[dict[str, Any], InjectedState], call_id: Annotated[str, InjectedToolCallId]
    ) -> Command[Any]:
        """Check the customer."""
        known = state.get("customer", "nobody")
        message = ToolMessage(known, tool_call_id=call_id)
        return Command(update={"messages": [message], **({"customer": f"{known}, checked"} if schema else {})})

    graph = outer(desk, desk.control.subgraph([check], schema), Wider)
    given = {"messages": [calls(call("check"))], "customer": "Ana"}
    run = desk.run(graph, how, trigger=trigger, given=given)
    seen = run.output["customer"] if schema else run.output["messages"][-1].content
    assert seen == customer


def test_without_calls_it_does_nothing(desk: Desk, trigger: str) -> None:
    """A last message without tool calls, or one whose calls are answered, sends nothing."""
    graph = outer(desk, desk.control.subgraph(counting(desk)))
    answered = [calls(call("look", order_id="o1")), ToolMessage("an order", tool_call_id="call_1")]
    run = desk.run(graph, trigger=trigger, given={"messages": answered})
    assert len(run.output["messages"]) == 2
    assert desk.done == []
