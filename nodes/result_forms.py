"""The JSON form of everything a tool may mean by its result, and the values those forms stand for."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage, messages_from_dict
from langgraph.types import Command, Overwrite, Send, TimeoutPolicy
from pydantic import BaseModel

from langgraph_control.guards.lifted import (
    PLAIN_TAGS,
    SAFE_INTEGER,
    Absent,
    Json,
    Opaque,
    Tags,
    escaped,
    lift_scalar,
    lift_text,
    lower,
)

__all__ = ["Forms", "Unstorable", "left_out", "restore", "unread"]

_DEPTH_MAX: Final = 64  # each level takes up to three in JSON, and orjson stops at 254
_VALUES_MAX: Final = 1_000_000
_INTEGER_BITS_MAX: Final = 2048  # Python refuses to read much longer ones back from text
_SCALARS: Final = (datetime, date, time, timedelta, UUID, Absent, Opaque)
_MESSAGE_TYPES: Final = frozenset({"human", "ai", "system", "chat", "function", "tool", "remove"})
_CHUNK: Final = "MessageChunk"


class Unstorable(Exception):  # noqa: N818 - control flow inside the codec, never seen outside
    """A value without a form of its own: its text has to do."""


class Endless(Exception):  # noqa: N818 - likewise
    """A value that unfolds to more than can be stored: not even its text may be asked for."""


def left_out(kind: str, content: bytes) -> str:
    """Return the text that stands where content was too large to store.

    Args:
        kind: the content's type, by name.
        content: what is left out.
    """
    commitment = hashlib.sha256(content).hexdigest()
    return f"[{kind} of {len(content)} bytes left out by langgraph-control, sha256 {commitment}]"


def unread(value: object) -> str:
    """Return the text that stands where a value could not be read.

    Args:
        value: the value; only its type is looked at.
    """
    return f"[{type(value).__name__} that langgraph-control could not read]"


class Forms:
    """Writes the forms of one result.

    Args:
        text_of: gives the text of a value without a form. Never raises.
        text_bytes_max: longer texts and bytes are replaced by :func:`left_out`; None: kept.

    ``rebuilt`` tells whether reading the forms back makes objects, whose own checks may refuse.
    """

    __slots__ = ("_addressed", "_answered", "_left", "_open", "_text_bytes_max", "_text_of", "rebuilt")

    def __init__(self, text_of: Callable[[object], str], *, text_bytes_max: int | None = None) -> None:
        self._text_of = text_of
        self._text_bytes_max = text_bytes_max
        self.rebuilt = False
        self._left = _VALUES_MAX
        self._open: set[int] = set()  # containers above the current value: meeting one again is a cycle
        self._addressed: list[dict[str, Json]] = []  # the tool messages met so far
        self._answered: set[str | None] = set()  # calls made by messages of this same result

    def content(self, value: object) -> Json:
        """Return the form of what the model sees: all of it as it is, or all of it as text.

        Args:
            value: what the tool returned, or the content half of it.
        """
        self._left = _VALUES_MAX
        try:
            return self._value(value, 0, strict=True)
        except Endless:
            return unread(value)
        except Unstorable:
            return self._as_text(value)

    def data(self, value: object) -> Json:
        """Return the form of what the program sees: an artifact, a message, a command.

        Args:
            value: anything; what has no form in it is replaced by its text.
        """
        self._left = _VALUES_MAX
        try:
            return self._value(value, 0, strict=False)
        except Endless:
            return unread(value)

    def unaddress(self) -> None:
        """Take id and call id from the tool messages that answer *this* call: both are set afresh at delivery.

        A tool message that answers a call made inside the same result belongs to a history handed over, and keeps them.
        """
        for fields in self._addressed:
            if fields["tool_call_id"] not in self._answered:
                del fields["tool_call_id"]
                fields.pop("id", None)

    def _value(self, value: Any, depth: int, *, strict: bool) -> Json:
        try:
            return self._form(value, depth, strict=strict)
        except Unstorable:
            if strict:
                raise
            return self._as_text(value)

    def _form(self, value: Any, depth: int, *, strict: bool) -> Json:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(str.__str__(value))
        self._spend(1)
        if isinstance(value, (int, float, Decimal)):
            return _number(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._bytes(bytes(value))
        if isinstance(value, _SCALARS):
            return lift_scalar(value)
        if depth > _DEPTH_MAX or id(value) in self._open:
            raise Unstorable
        self._open.add(id(value))
        try:
            return self._container(value, depth + 1, strict=strict)
        finally:
            self._open.discard(id(value))

    def _container(self, value: Any, depth: int, *, strict: bool) -> Json:
        if isinstance(value, dict):
            return self._object(value, depth, strict=strict)
        if isinstance(value, list):
            return [self._value(item, depth, strict=strict) for item in value]
        if isinstance(value, tuple):
            return {"$tuple": [self._value(item, depth, strict=strict) for item in value]}
        return self._thing(value, depth, strict=strict)

    def _object(self, fields: dict[Any, Any], depth: int, *, strict: bool) -> Json:
        items = [(key, self._value(item, depth, strict=strict)) for key, item in fields.items()]
        if all(isinstance(key, str) and isinstance(lift_text(key), str) for key, _ in items):
            return {escaped(str.__str__(key)): form for key, form in items}
        self.rebuilt = True  # a key that was hashable may not be once it is read back
        return {"$dict": [[self._value(key, depth, strict=strict), form] for key, form in items]}

    def _thing(self, value: Any, depth: int, *, strict: bool) -> Json:
        """LangGraph's own objects; then, for data only, what has fields or members."""
        self.rebuilt = True
        match value:
            case BaseMessage() if value.type in _MESSAGE_TYPES or value.type.endswith(_CHUNK):
                return {"$message": self._message(value, depth)}
            case Command():
                return {"$command": self._command(value, depth)}
            case Send():
                timeout = dataclasses.asdict(value.timeout) if value.timeout else None
                return {"$send": self._fields({"node": value.node, "arg": value.arg, "timeout": timeout}, depth)}
            case Overwrite():
                return {"$overwrite": self._value(value.value, depth, strict=False)}
        if strict:
            raise Unstorable
        if isinstance(value, (set, frozenset)):
            members = [self._value(item, depth, strict=False) for item in value]
            return {"$set" if isinstance(value, set) else "$frozenset": sorted(members, key=orjson.dumps)}
        fields = _fields_of(value)
        if fields is None:
            raise Unstorable
        return self._object(fields, depth, strict=False)

    def _message(self, message: BaseMessage, depth: int) -> Json:
        names = [*type(message).model_fields, *(message.__pydantic_extra__ or {})]
        data = {name: item for name in names if name != "type" and (item := getattr(message, name)) is not None}
        form = self._fields(data, depth)
        if isinstance(message, ToolMessage):
            self._addressed.append(form)
        if isinstance(message, AIMessage):
            self._answered.update(call["id"] for call in message.tool_calls)
        return {"type": message.type, "data": form}

    def _command(self, command: Command[Any], depth: int) -> Json:
        update = command.update
        if update is not None and not isinstance(update, (dict, list, tuple)):
            fields = _fields_of(update, given_only=True)
            update = update if fields is None else fields
        named = {"graph": command.graph, "update": update, "resume": command.resume, "goto": command.goto or None}
        return self._fields({name: part for name, part in named.items() if part is not None}, depth)

    def _fields(self, named: Mapping[str, Any], depth: int) -> dict[str, Json]:
        return {name: self._value(part, depth, strict=False) for name, part in named.items()}

    def _as_text(self, value: object) -> Json:
        """The value's text, once it is certain to end: shared lists can unfold to more than memory holds."""
        below = [value]
        while below:
            item = below.pop()
            self._spend(1)
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, (list, tuple, set, frozenset)):
                below.extend(item)
        return self._text(self._text_of(value))

    def _spend(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise Endless

    def _text(self, text: str) -> Json:
        if self._text_bytes_max is not None and len(text) * 4 > self._text_bytes_max:
            content = text.encode("utf-8", "surrogatepass")
            if len(content) > self._text_bytes_max:
                return left_out("text", content)
        return lift_text(text)

    def _bytes(self, content: bytes) -> Json:
        if self._text_bytes_max is not None and len(content) > self._text_bytes_max:
            return left_out("bytes", content)
        return lift_scalar(content)


def _number(number: float | Decimal) -> Json:
    """A number as it was returned, trailing zeros and all: a result is evidence, not identity."""
    if isinstance(number, int):
        if number.bit_length() > _INTEGER_BITS_MAX:
            raise Unstorable
        return int(number) if abs(number) <= SAFE_INTEGER else {"$int": str(int(number))}
    return {"$float": float.__repr__(number)} if isinstance(number, float) else {"$decimal": str(number)}


def _fields_of(value: object, *, given_only: bool = False) -> dict[str, Any] | None:
    if isinstance(value, BaseModel):
        names = value.model_fields_set if given_only else type(value).model_fields
        return {name: getattr(value, name) for name in type(value).model_fields if name in names}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def restore(form: Any) -> Any:
    """Return the value a form stands for.

    Args:
        form: parsed JSON that :class:`Forms` made.

    Raises:
        ArgumentError: code ``stored_form_unknown``: a newer release wrote it. Update.
    """
    return lower(form, _TAGS)


def _named(form: Mapping[str, Any]) -> dict[str, Any]:
    return {name: restore(part) for name, part in form.items()}


def _restore_message(form: Mapping[str, Any]) -> BaseMessage:
    data = _named(form["data"])
    if form["type"] in {"tool", "ToolMessageChunk"}:
        data.setdefault("tool_call_id", "")
    return messages_from_dict([{"type": form["type"], "data": data}])[0]


def _restore_send(form: Mapping[str, Any]) -> Send:
    named = _named(form)
    timeout = named["timeout"]
    return Send(named["node"], named["arg"], timeout=TimeoutPolicy(**timeout) if timeout else None)


_TAGS: Final[Tags] = {
    **PLAIN_TAGS,
    "$tuple": lambda items: tuple(restore(item) for item in items),
    "$set": lambda items: {restore(item) for item in items},
    "$frozenset": lambda items: frozenset(restore(item) for item in items),
    "$dict": lambda pairs: {restore(key): restore(item) for key, item in pairs},
    "$message": _restore_message,
    "$command": lambda form: Command(**_named(form)),
    "$send": _restore_send,
    "$overwrite": lambda form: Overwrite(restore(form)),
}
