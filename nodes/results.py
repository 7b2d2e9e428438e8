"""Tool results as versioned JSON, and back: what the ledger stores is what every delivery gives, the first one too.

The gate always delivers ``decode(encode(result))``. What a tool can mean to LangGraph survives: text and JSON values,
tuples of content and artifact, messages, ``Command`` with messages, ``Send`` and goto, dates, decimals, ids, bytes.
Any other object is kept as what the model would have seen of it, its text; where it is data rather than content (an
artifact, a state update) sets stay sets, and dataclasses and Pydantic models are kept by field, as dicts. There is no
pickle: a row is never code.

``encode`` raises for no content and no size: a settle that fails would lose an effect that happened.
"""

import dataclasses
import json
from typing import Any, Final

import orjson
from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.messages.tool import ToolOutputMixin
from langgraph.types import Command, Overwrite, Send

from langgraph_control.errors import SchemaMismatch
from langgraph_control.nodes.result_forms import Forms, left_out, restore, unread

__all__ = ["RESULT_BYTES_MAX", "decode", "encode", "readdress", "with_note"]

RESULT_BYTES_MAX: Final = 16 * 1024 * 1024
_PART_BYTES_MAX: Final = 64 * 1024  # in a result over the limit, texts longer than this give way
_VERSION: Final = 1


def encode(result: object) -> bytes:
    """Return the bytes to store for what a tool returned. Never raises.

    Over 16 MiB the long texts in it give way to a note with their size and SHA-256; if that is not enough, all of it.

    Args:
        result: what the tool's function returned: a value, a (content, artifact) tuple, messages, a command.
    """
    stored = _stored(result, text_bytes_max=None)
    if len(stored) <= RESULT_BYTES_MAX:
        return stored
    shortened = _stored(result, text_bytes_max=_PART_BYTES_MAX)
    if len(shortened) <= RESULT_BYTES_MAX:
        return shortened
    return _dump(left_out(type(result).__name__, stored))


def decode(stored: bytes) -> Any:
    """Return what is delivered for stored bytes. Tool messages that answer the call have an empty ``tool_call_id``.

    Args:
        stored: what :func:`encode` returned.

    Raises:
        SchemaMismatch: a newer release wrote them (code ``result_format_unknown``). Update; the effect is recorded.
    """
    envelope = orjson.loads(stored)
    if envelope.get("version") != _VERSION:
        raise SchemaMismatch(
            "A stored result has a format that this release does not know.",
            safe="Its effect is recorded and is not repeated.",
            todo="Update langgraph-control to the release that wrote it.",
            code="result_format_unknown",
        )
    return restore(envelope["result"])


def readdress(result: Any, tool_call_id: str | None) -> Any:
    """Return a decoded result whose tool messages answer this call, without ids of their own.

    ``add_messages`` replaces a message that comes back with an old id, and a model refuses an answer to a call it did
    not make: both are set at each delivery.

    Args:
        result: what :func:`decode` returned.
        tool_call_id: the call that is answered now; None outside tool calls.
    """
    if tool_call_id is None:
        return result
    if isinstance(result, ToolMessage):
        if result.tool_call_id:
            return result
        return result.model_copy(update={"tool_call_id": tool_call_id, "id": None})
    if isinstance(result, Command):
        update, goto = readdress(result.update, tool_call_id), readdress(result.goto, tool_call_id)
        return dataclasses.replace(result, update=update, goto=goto)
    if isinstance(result, Send):
        return Send(result.node, readdress(result.arg, tool_call_id), timeout=result.timeout)
    if isinstance(result, Overwrite):
        return Overwrite(readdress(result.value, tool_call_id))
    if isinstance(result, dict):
        return {key: readdress(item, tool_call_id) for key, item in result.items()}
    if isinstance(result, (list, tuple)):
        return type(result)(readdress(item, tool_call_id) for item in result)
    return result


def with_note(result: Any, note: str) -> Any:
    """Return a result for a tool call with a line before it that the model is told, too.

    Args:
        result: what the tool returned, readdressed.
        note: the line.
    """
    match result:
        case str():
            return f"{note}\n{result}"
        case ToolMessage():
            said = result.content
            content = f"{note}\n{said}" if isinstance(said, str) else [{"type": "text", "text": note}, *said]
            return result.model_copy(update={"content": content})
        case Command():
            return dataclasses.replace(result, update=_with_note_inside(result.update, note))
        case (content, artifact) if isinstance(result, tuple):
            return with_note(content, note), artifact
        case _:
            return f"{note}\n{orjson.dumps(result, default=str, option=orjson.OPT_NON_STR_KEYS).decode()}"


def _with_note_inside(update: Any, note: str) -> Any:
    """The first tool message of a state update speaks for the call."""
    messages = update.get("messages") if isinstance(update, dict) else None
    if not isinstance(messages, list):
        return update
    first = next((number for number, one in enumerate(messages) if isinstance(one, ToolMessage)), None)
    if first is None:
        return update
    return {**update, "messages": [with_note(one, note) if at == first else one for at, one in enumerate(messages)]}


def _stored(result: object, *, text_bytes_max: int | None) -> bytes:
    forms = Forms(_text_of, text_bytes_max=text_bytes_max)
    try:
        form = _form(result, forms)
        forms.unaddress()
        stored = _dump(form)
        if forms.rebuilt:
            decode(stored)  # found out now, while there is another way to store it, not at delivery
        return stored  # noqa: TRY300 - all of it may raise
    except Exception:  # noqa: BLE001 - an object may raise anything while it is read, and its effect has happened
        return _dump(unread(result))


def _form(result: object, forms: Forms) -> Any:
    if isinstance(result, tuple) and len(result) == 2:  # noqa: PLR2004 - response_format="content_and_artifact"
        content, artifact = result
        return {"$tuple": [forms.content(content), forms.data(artifact)]}
    if isinstance(result, (ToolOutputMixin, BaseMessage)):
        return forms.data(result)
    if isinstance(result, list) and result and all(isinstance(item, ToolOutputMixin) for item in result):
        return forms.data(result)
    return forms.content(result)


def _text_of(value: object) -> str:
    """What LangChain would show the model of a value that is no message content."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except Exception:  # noqa: BLE001 - LangChain's own rule: JSON where it can be, else the object's text
        try:
            return str.__str__(str(value))
        except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
            return unread(value)


def _dump(form: Any) -> bytes:
    return orjson.dumps({"version": _VERSION, "result": form})
