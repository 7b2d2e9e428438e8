"""Any value as a plain one: what counts as equal becomes equal, what is nested becomes lists and objects.

The rules of what stands for what are told in :mod:`langgraph_control.guards.canonical`.
"""

import dataclasses
import unicodedata
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from math import isfinite
from pathlib import PurePath
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

import orjson
from pydantic import AnyUrl, BaseModel, RootModel
from pydantic_core import MultiHostUrl, Url

from langgraph_control.errors import ArgumentError
from langgraph_control.guards.lifted import Absent, Opaque, decimal_text, lift, merge_number

__all__ = ["Value", "key_text", "normalise", "observed"]

Value: TypeAlias = (
    str
    | int
    | float
    | Decimal
    | bool
    | datetime
    | date
    | time
    | timedelta
    | UUID
    | bytes
    | Absent
    | Opaque
    | list["Value"]
    | dict[str, "Value"]
    | None
)
"""A plain value: what :func:`normalise` and :func:`observed` return."""

_DEPTH_MAX: Final = 64
_VALUES_MAX: Final = 100_000  # a few shared lists inside each other can unfold to more values than memory holds
_NUMBER_BITS_MAX: Final = 2048  # below the smallest limit Python allows itself for reading an int back from text
_NUMBER_DIGITS_MAX: Final = 616
_EXPONENT_MAX: Final = 6144  # that of IEEE 754's decimal128

_AS_TEXT: Final = (PurePath, AnyUrl, Url, MultiHostUrl, IPv4Address, IPv4Network, IPv6Address, IPv6Network)

_Path: TypeAlias = "tuple[_Path | None, str | int]"


def normalise(value: object, *, at: str = "arguments") -> Value:
    """Return the one plain value that stands for all values equal to this one.

    Args:
        value: a call's arguments, or one of them.
        at: what the value is called in an error.

    Raises:
        ArgumentError: the value cannot be canonical (code ``arguments_not_canonical``). The text names the field and
            the value's type, never the value. Nothing was done; pass a value of the kinds listed above.
    """
    return _Walk(_refuse).visit(value, (None, at), 0)


def observed(value: object) -> Value:
    """Return a plain value for anything that was seen: records, results, evidence. Never raises.

    What has no plain form becomes :class:`Opaque`; what is only irregular (NaN, a datetime without zone) is kept.

    Args:
        value: anything.
    """
    try:
        return _Walk(_mark).visit(value, (None, ""), 0)
    except Exception as broken:  # noqa: BLE001 - a mapping or model may raise anything while it is read; evidence must not
        return Opaque(kind=type(value).__name__, why=f"reading it raised {type(broken).__name__}")


class _Refusal(Protocol):
    """What happens to a value without a regular plain form: an error, or something in its place."""

    def __call__(self, path: _Path, value: object, why: str, instead: Callable[[], Value] | None = None) -> Value: ...


def _refuse(path: _Path, value: object, why: str, instead: Callable[[], Value] | None = None) -> Value:  # noqa: ARG001 - the Protocol's shape
    raise ArgumentError(
        f"{_written(path)}: a {type(value).__name__} {why}.",
        todo="Pass text, whole numbers, Decimal, zoned datetimes, lists and objects of them.",
        code="arguments_not_canonical",
    )


def _mark(path: _Path, value: object, why: str, instead: Callable[[], Value] | None = None) -> Value:  # noqa: ARG001 - the Protocol's shape
    return Opaque(kind=type(value).__name__, why=why) if instead is None else instead()


def key_text(key: object) -> str:
    """Return a key as it may stand in an error: short, and on one line.

    Args:
        key: a field's name.
    """
    return str(key)[:40].encode("unicode_escape").decode()


def _written(path: _Path) -> str:
    parts: list[str] = []
    step: _Path | None = path
    while step is not None:
        step, part = step
        parts.append(f"[{part}]" if isinstance(part, int) else ("." if step else "") + key_text(part))
    return "".join(reversed(parts))


class _Walk:
    """One pass over one value; ``refuse`` decides between an error and a mark."""

    __slots__ = ("_left", "_open", "_refuse")

    def __init__(self, refuse: _Refusal) -> None:
        self._refuse = refuse
        self._open: set[int] = set()  # containers above the current value: meeting one again is a cycle
        self._left = _VALUES_MAX

    def visit(self, value: Any, path: _Path, depth: int) -> Value:
        if type(value) is str and value.isascii():  # most of what a model sends
            return value
        if value is None or isinstance(value, (bool, UUID, Absent, Opaque)):
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, (int, float, Decimal)):
            return self._number(value, path)
        if isinstance(value, (datetime, date, time, timedelta)):
            return self._moment(value, path)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        if isinstance(value, Enum):
            return self.visit(value.value, path, depth)
        if isinstance(value, _AS_TEXT):
            return self._text(str(value), path)
        return self._container(value, path, depth)

    def _text(self, text: str, path: _Path) -> Value:
        if text.isascii():
            return str.__str__(text)  # a subclass (StrEnum, a marked string) is its text
        try:
            text.encode()
        except UnicodeEncodeError:
            return self._refuse(path, text, "has a character without a UTF-8 form", lambda: str.__str__(text))
        return unicodedata.normalize("NFC", str.__str__(text))

    def _number(self, number: float | Decimal, path: _Path) -> Value:
        if isinstance(number, int):
            if number.bit_length() > _NUMBER_BITS_MAX:
                return self._refuse(path, number, f"has more than {_NUMBER_BITS_MAX} bits")
            return int.__int__(number)
        if not isfinite(number) if isinstance(number, float) else not number.is_finite():
            return self._refuse(path, number, "is not a finite number", lambda: number)
        if isinstance(number, float):
            return float.__float__(number) or 0.0  # -0.0 equals 0.0
        if len(number.as_tuple().digits) > _NUMBER_DIGITS_MAX or (number and abs(number.adjusted()) > _EXPONENT_MAX):
            return self._refuse(path, number, "has more digits or a larger exponent than a number here may have")
        return Decimal(decimal_text(number))

    def _moment(self, moment: date | time | timedelta, path: _Path) -> Value:
        if isinstance(moment, time) and moment.tzinfo is not None:
            return self._refuse(path, moment, "has a time zone but no day, so it names no moment", moment.isoformat)
        if not isinstance(moment, datetime):
            return moment
        if moment.utcoffset() is None:
            return self._refuse(path, moment, "has no time zone", lambda: moment.replace(tzinfo=None))
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            return self._refuse(path, moment, "lies outside the years 1 to 9999 in UTC", moment.isoformat)

    def _container(self, value: Any, path: _Path, depth: int) -> Value:
        self._left -= 1
        if depth >= _DEPTH_MAX or self._left < 0:
            return self._refuse(path, value, f"is nested deeper than {_DEPTH_MAX} levels or holds too many values")
        if id(value) in self._open:
            return self._refuse(path, value, "contains itself")
        self._open.add(id(value))
        try:
            return self._open_container(value, path, depth + 1)
        finally:
            self._open.discard(id(value))

    def _open_container(self, value: Any, path: _Path, depth: int) -> Value:
        if isinstance(value, Mapping):
            return self._object(value, path, depth)
        if isinstance(value, (list, tuple)):
            return self._list(value, path, depth)
        if isinstance(value, (set, frozenset)):
            items = self._list(list(value), path, depth)
            by_form = {orjson.dumps(lift(item, merge_number), option=orjson.OPT_SORT_KEYS): item for item in items}
            return [by_form[form] for form in sorted(by_form)]
        if isinstance(value, RootModel):
            return self.visit(value.root, path, depth)
        if isinstance(value, BaseModel):
            fields = {name: getattr(value, name) for name in type(value).model_fields}
            return self._object({**fields, **(value.__pydantic_extra__ or {})}, path, depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._object({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, path, depth)
        return self._refuse(path, value, "has no canonical form")

    def _list(self, items: Collection[Any], path: _Path, depth: int) -> list[Value]:
        self._left -= len(items)
        if self._left < 0:
            return [self._refuse(path, items, "holds too many values")]
        return [self.visit(item, (path, index), depth) for index, item in enumerate(items)]

    def _object(self, fields: Mapping[Any, Any], path: _Path, depth: int) -> Value:
        self._left -= len(fields)
        plain: dict[str, Value] = {}
        for key, item in fields.items():
            name = _field(key)
            if name is None or name in plain:
                why = "has a key that is not text" if name is None else "has two keys that are one text in Unicode NFC"
                return self._refuse(path, fields, why, lambda: self._pairs(fields, path, depth))
            plain[name] = self.visit(item, (path, name), depth)
        return plain

    def _pairs(self, fields: Mapping[Any, Any], path: _Path, depth: int) -> Value:
        """An irregular mapping, seen rather than sent: nothing of it is lost."""
        return [[self.visit(key, path, depth), self.visit(item, path, depth)] for key, item in fields.items()]


def _field(key: object) -> str | None:
    if not isinstance(key, str):
        return None
    if key.isascii():
        return str.__str__(key)
    try:
        key.encode()
    except UnicodeEncodeError:
        return None
    return unicodedata.normalize("NFC", str.__str__(key))
