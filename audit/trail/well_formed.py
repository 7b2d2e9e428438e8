"""Whether an entry is one that this library writes: its body's bytes, and what it says against the published schemas.

Whoever holds an agent's login can hand any bytes to the ledger as a body; they are chained as they are. What two
readers would read differently, such as a name that stands twice, is found here, and what no function of this version
writes. Made to be asked of every entry there is: :func:`problems` of :mod:`langgraph_control.audit.trail.entry_schemas`
says more, and takes longer.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias

import orjson

from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.entry_forms import COMMON, FORMS, Form, Shape
from langgraph_control.audit.trail.entry_schemas import EVENTS

__all__ = ["not_as_published", "not_canonical"]


def not_canonical(body: bytes) -> str | None:
    """Return why a body is not the one form of what it says, without a word of it; None: it is.

    All writers encode with sorted names. No body at all is what the ledger writes where nobody says anything.

    Args:
        body: as it was hashed.
    """
    if not body:
        return None
    try:
        said = orjson.loads(body)
        again = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # the second: nested deeper than can be written
        return "its body is no JSON that a writer of this library writes"
    if not isinstance(said, dict):
        return "its body is no object"
    if again != body:
        return "its body is not the canonical form of what it says: a name stands twice, or it is spelt otherwise"
    return None


def not_as_published(entry: Entry) -> str | None:
    """Return the first place where an entry is not as the schemas of its events say, without a value; None: it is.

    Further fields are none: a newer version may add some (docs/entries.md). Nor is an entry with an event that only a
    newer version knows.

    Args:
        entry: as it was read.
    """
    if not entry.events or entry.facts["events"] != [*entry.events]:
        return "facts.events: type"
    if not EVENTS.keys() >= {*entry.events}:
        return None
    forms = _forms(entry.events)
    if not forms:
        return "facts.events: enum"
    nearest = ""
    for facts, body in forms:
        fault = facts(entry.facts)
        if fault is None:
            fault = body(entry.body)
            if fault is None:
                return None
            nearest = f"body{fault}"  # the facts are the ledger's own: they tell which form it is
        nearest = nearest or f"facts{fault}"
    return nearest


_Check: TypeAlias = Callable[[Any], str | None]
"""Says where a value is not as a shape says, by the shape's own names, and by which rule: ``.where.graph: type``."""

_KEYWORDS: Final = frozenset(
    {
        *("type", "enum", "pattern", "minimum", "items", "anyOf"),
        *("properties", "required", "additionalProperties", "description", "format"),
    }
)


@lru_cache(maxsize=1000)
def _forms(events: tuple[str, ...]) -> tuple[tuple[_Check, _Check], ...]:
    """The checks of facts and body of each form whose entries may carry these events together."""
    if len({*events}) < len(events):
        return ()
    return tuple(_checks(form.name) for form in FORMS if {*events} <= {*form.events})


@cache
def _checks(name: str) -> tuple[_Check, _Check]:
    form: Form = next(form for form in FORMS if form.name == name)
    return _fields({**COMMON, **form.facts}), _fields(form.body)


def _fields(fields: Mapping[str, Shape]) -> _Check:
    return _object(
        {name.removesuffix("?"): _check(shape) for name, shape in fields.items()},
        required=[name for name in fields if not name.endswith("?")],
        others=None,
    )


def _check(shape: Shape) -> _Check:
    if unknown := shape.keys() - _KEYWORDS:
        raise AssertionError(f"a form uses {unknown}, which nothing here checks")
    if "anyOf" in shape:
        return _any_of([_check(one) for one in shape["anyOf"]])
    if "enum" in shape:
        words = tuple(shape["enum"])
        return lambda value: None if value in words else ": enum"
    kind = shape["type"]
    if kind == "object":
        others = shape.get("additionalProperties")
        return _object(
            {name: _check(one) for name, one in shape.get("properties", {}).items()},
            required=shape.get("required", ()),
            others=_check(others) if isinstance(others, Mapping) else None,
        )
    if kind == "array":
        return _array(_check(shape["items"]))
    if kind == "string":
        return _text(shape.get("pattern"))
    if kind == "integer":
        return _whole(shape.get("minimum"))
    of = {"boolean": bool, "null": type(None)}[kind]
    return lambda value: None if type(value) is of else ": type"


def _object(known: Mapping[str, _Check], *, required: Sequence[str], others: _Check | None) -> _Check:
    def check(value: Any) -> str | None:
        if type(value) is not dict:
            return ": type"
        for name in required:
            if name not in value:
                return f".{name}: required"
        for name, item in value.items():
            one = known.get(name, others)
            if one is not None and (fault := one(item)) is not None:
                return f".{name if name in known else '*'}{fault}"  # another name is the writer's own word
        return None

    return check


def _array(of: _Check) -> _Check:
    def check(value: Any) -> str | None:
        if type(value) is not list:
            return ": type"
        return next((f".*{fault}" for item in value if (fault := of(item)) is not None), None)

    return check


def _any_of(checks: list[_Check]) -> _Check:
    def check(value: Any) -> str | None:
        faults = [fault for one in checks if (fault := one(value)) is not None]
        return faults[0] if len(faults) == len(checks) else None

    return check


def _text(pattern: str | None) -> _Check:
    if pattern is None:
        return lambda value: None if type(value) is str else ": type"
    matches = re.compile(pattern).search

    def check(value: Any) -> str | None:
        if type(value) is not str:
            return ": type"
        return None if matches(value) else ": pattern"

    return check


def _whole(least: int | None) -> _Check:
    def check(value: Any) -> str | None:
        if type(value) is not int and not (type(value) is float and value.is_integer()):  # 2.0 is one, True is none
            return ": type"
        return None if least is None or value >= least else ": minimum"

    return check
