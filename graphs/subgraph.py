"""Control nodes in place of ``ToolNode(tools)``: one task per call, so a parked call never re-runs its siblings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send

__all__ = ["CALL_TOOL", "DISPATCH", "control_subgraph"]

DISPATCH: Final = "dispatch"
CALL_TOOL: Final = "call_tool"


def control_subgraph(
    tools: Sequence[BaseTool], state_schema: type[Any] | None = None
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return a graph that runs the tool calls of the last AI message, each as a task of its own.

    ``dispatch`` sends every call that has no answer yet to ``call_tool``, where the gate is. In a plain ``ToolNode``
    all calls are one task: each time one of them parks, the others run again when it goes on.

    Args:
        tools: governed tools.
        state_schema: the outer graph's state. Without it only ``messages`` get through: what tools write to other
            channels by ``Command``, and what they want injected from them, is lost.
    """
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(state_schema or MessagesState)
    builder.add_node(DISPATCH, _dispatch, destinations=(CALL_TOOL, END))
    builder.add_node(CALL_TOOL, ToolNode(list(tools)))
    builder.add_edge(START, DISPATCH)
    return builder.compile(name="control")


def _dispatch(state: Any) -> Command[Any]:
    messages = state["messages"] if isinstance(state, Mapping) else state.messages
    # Each call by itself: ToolNode reads the state that its tool may want injected from the channels.
    return Command(goto=[Send(CALL_TOOL, [call]) for call in _unanswered(messages)] or END)


def _unanswered(messages: Sequence[BaseMessage]) -> Iterator[ToolCall]:
    """Yield the tool calls of the last AI message that no message after it answers."""
    answered = set()
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
        elif isinstance(message, AIMessage):
            yield from (call for call in message.tool_calls if call["id"] not in answered)
            return
