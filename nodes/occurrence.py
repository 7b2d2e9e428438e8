"""Which of several equal calls this one is: counted in the message branch the model saw, never in a database.

A branch is replayed as it was, so a call keeps its number over crashes and retries; a counter in a database would give
a repeated call the next number, and the effect would happen again.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool

from langgraph_control.errors import ArgumentError
from langgraph_control.guards.keys import identifying_bytes

__all__ = ["messages_in_sight", "occurrence"]


def messages_in_sight(configurable: Mapping[str, Any]) -> Sequence[Any]:
    """Return the messages of the graph this code runs in; empty where it keeps none under ``messages``.

    Args:
        configurable: of the config in force.
    """
    read = configurable.get("__pregel_read")
    if read is None:
        return ()
    try:
        return read("messages", False) or ()  # noqa: FBT003 - its only form
    except KeyError:
        return ()


def occurrence(
    tool: BaseTool,
    identifying: Mapping[str, Any],
    call_id: str | None,
    messages: Sequence[Any],
    defaults: Mapping[str, Any],
) -> int:
    """Return how many calls with the same identifying arguments come before this one.

    Args:
        tool: the tool as declared.
        identifying: the identifying arguments of this call.
        call_id: this tool call's id.
        messages: the branch the model saw, oldest first.
        defaults: the tool's declared defaults by parameter name.

    Raises:
        ArgumentError: code ``occurrence_unknown``: the call is not in a message, so nothing tells it from an equal one.
    """
    asked = [call for message in messages if isinstance(message, AIMessage) for call in message.tool_calls]
    of_this_tool = [call for call in asked if call["name"] == tool.name]
    # Some models use an id again in a later turn: the newest is this one.
    here = max((place for place, call in enumerate(of_this_tool) if call["id"] == call_id), default=None)
    if here is None or call_id is None:
        raise ArgumentError(
            f"Tool {tool.name} is repeatable, and this call is in no message that the model wrote.",
            todo="Call it through the model's tool call, with `messages` in the graph's state, or declare it without "
            "repeatable=True and put what tells two calls apart into key=.",
            code="occurrence_unknown",
        )
    this = identifying_bytes(identifying, tool=tool.name, defaults=defaults)
    return sum(_of_message(tool, identifying, call["args"], defaults) == this for call in of_this_tool[:here])


def _of_message(
    tool: BaseTool, names: Collection[str], raw: Mapping[str, Any], defaults: Mapping[str, Any]
) -> bytes | None:
    """What a call changes, by value; None for one whose arguments do not fit, which never reached the gate."""
    schema: Any = tool.tool_call_schema
    try:
        if isinstance(schema, dict):
            return identifying_bytes({name: raw.get(name) for name in names}, tool=tool.name, defaults=defaults)
        parsed = (schema.model_validate if hasattr(schema, "model_validate") else schema.parse_obj)(raw)
        values = {name: getattr(parsed, name) for name in names}
        return identifying_bytes(values, tool=tool.name, defaults=defaults)
    except (ValueError, ArgumentError):  # pydantic's ValidationError is a ValueError
        return None
