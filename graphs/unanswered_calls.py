"""Tool calls that a run left without an answer when it was ended before its time: the thread's next run answers them.

Model providers refuse a conversation in which a tool call has no answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import StateSnapshot

__all__ = ["answered_first", "unanswered_calls"]

MESSAGES: Final = "messages"

LEFT: Final = (
    "This call has no result: its run was ended before, because a new message came or somebody cancelled it. What"
    " waited for approval was not done. Look before anything is done again."
)


def unanswered_calls(snapshot: StateSnapshot) -> tuple[ToolMessage, ...]:
    """Return answers to the tool calls that a thread's last message made and that have none.

    What a call's step had answered already, and its siblings kept from becoming state, is taken as it is.

    Args:
        snapshot: the root graph's newest state.
    """
    messages = snapshot.values.get(MESSAGES) if isinstance(snapshot.values, Mapping) else None
    if not isinstance(messages, list):
        return ()
    written = {one.tool_call_id: one for one in _written(snapshot)}
    answered: set[str] = set()
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
            continue
        calls = message.tool_calls if isinstance(message, AIMessage) else []
        left = [call for call in calls if call["id"] in written or call["id"] not in answered]
        return tuple(written.get(str(call["id"])) or _answer(call) for call in left)
    return ()


def answered_first(given: Any, answers: Sequence[ToolMessage]) -> Any:
    """Return a graph's input with these answers before its own messages; other inputs as they are.

    Args:
        given: the input.
        answers: from :func:`unanswered_calls`.
    """
    if not answers or not isinstance(given, Mapping) or MESSAGES not in given:
        return given
    own = given[MESSAGES]
    return {**given, MESSAGES: [*answers, *(own if isinstance(own, list) else [own])]}


def _written(snapshot: StateSnapshot) -> Iterator[ToolMessage]:
    """The answers of steps that have ended beside one that had not.

    The snapshot shows them among its messages, and a new input makes LangGraph forget them: they are in no checkpoint.
    """
    for task in snapshot.tasks:
        written = task.result.get(MESSAGES) if isinstance(task.result, Mapping) else None
        yield from (one for one in written or () if isinstance(one, ToolMessage))


def _answer(call: Mapping[str, Any]) -> ToolMessage:
    return ToolMessage(content=LEFT, tool_call_id=str(call["id"]), name=call["name"], status="error")
