"""What no writer of this library writes is found by looking at one entry, and nothing of what it says is told."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.entry_forms import COMMON, FORMS, Form, Shape
from langgraph_control.audit.trail.entry_schemas import EVENTS, schema_of
from langgraph_control.audit.trail.well_formed import not_as_published, not_canonical
from langgraph_control.nodes.call import body_bytes

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_what_the_gate_writes_is_canonical(facts: dict[str, Any]) -> None:
    """Whatever is in a body, the bytes that are written are the one form of what they say."""
    assert not_canonical(body_bytes(facts)) is None


@pytest.mark.parametrize("body", [b"", b"{}", b'{"comment":"\xc3\xa9"}', b'{"a":{"b":[1,2.5,null,true]},"c":"\\n"}'])
def test_what_is_canonical(body: bytes) -> None:
    """Also nothing at all, which the ledger writes where nobody says anything."""
    assert not_canonical(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{ "a" : 1 }',
        b'{"a":1}\n',
        b'{"reasons":["a"],"reasons":["b"]}',
        b'{"a":{"b":1,"b":1}}',
        b'{"b":1,"a":1}',
        b'{"a":NaN}',
        b'{"a":1e400}',
        b'{"a":1.50}',
        b'{"a":18446744073709551616}',
        b'{"a":"\\u00e9"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b"null",
        b"[]",
        b'"a"',
        b"{",
        b'{"a":' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_not_canonical(body: bytes) -> None:
    """Spacing, a name twice, another order, what is no number, another spelling, no object, and nesting without end."""
    assert not_canonical(body) is not None


def entry(facts: Any, body: Any) -> Entry:
    """Return an entry that says this."""
    at = datetime(2026, 3, 2, tzinfo=UTC)
    return Entry.told(seq=1, tenant="acme", at=at, facts=orjson.dumps(facts).decode(), body=orjson.dumps(body))


PATTERNS = {"^[0-9a-f]{64}$": "ab" * 32, "^[0-9a-f]{128}$": "ab" * 64}


def value_of(shape: Shape) -> Any:
    """Return a value that is as a shape says, with all that may be in it."""
    match shape:
        case {"anyOf": kinds}:
            return value_of(kinds[0])
        case {"enum": words}:
            return words[0]
        case {"pattern": pattern}:
            return PATTERNS.get(pattern, "01234567-89ab-cdef-0123-456789abcdef")
        case {"type": "object", "properties": known}:
            return {name: value_of(one) for name, one in known.items()}
        case {"type": "object", "additionalProperties": others}:
            return {"any": value_of(others)}
        case {"items": items}:
            return [value_of(items)]
        case {"type": kind}:
            return {"string": "said", "integer": 7, "boolean": True, "object": {}}[kind]
    raise AssertionError(shape)


def instance(form: Form) -> dict[str, Any]:
    """Return an entry of a form, with every field."""
    facts, body = (
        {name.removesuffix("?"): value_of(shape) for name, shape in fields.items()}
        for fields in ({**COMMON, **form.facts}, form.body)
    )
    return {"facts": {"events": [form.events[0]], **facts}, "body": body}


ODD = (None, True, -1, 2.0, 2.5, "odd", [7], {"odd": 7})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every place inside a value."""
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, name)
        if isinstance(item, dict | list):
            yield from places(item, (*path, name))


def variants(form: Form) -> Iterator[dict[str, Any]]:
    """Yield an entry of a form as it is, and with each place taken out or something odd put there."""
    yield instance(form)
    for path in places(instance(form)):
        if len(path) > 1 and path[:2] != ("facts", "events"):
            for odd in (*ODD, ...):
                made = instance(form)
                holds = made
                for name in path[:-1]:
                    holds = holds[name]
                if odd is ...:
                    del holds[path[-1]]
                else:
                    holds[path[-1]] = odd
                yield made


def opened(schema: Any) -> Any:
    """Return a schema that lets further fields be."""
    if isinstance(schema, dict):
        return {name: opened(one) for name, one in schema.items() if name != "additionalProperties" or one is not False}
    return [opened(one) for one in schema] if isinstance(schema, list) else schema


OPENED = {event: Draft202012Validator(opened(schema_of(event))) for event in EVENTS}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_what_is_found_is_what_the_published_schemas_find(form: Form) -> None:
    """An entry is as published exactly where the schema of its event takes it, further fields let be."""
    taken = [OPENED[form.events[0]].is_valid(made) for made in variants(form)]
    assert [not_as_published(entry(**made)) is None for made in variants(form)] == taken
    assert taken[0]
    assert not all(taken)


def test_further_fields_are_let_be() -> None:
    """A newer version may add some, on every level."""
    made = instance(next(form for form in FORMS if form.name == "claim"))
    made["facts"]["later"] = made["body"]["later"] = made["body"]["where"]["later"] = 7
    assert not_as_published(entry(**made)) is None


def test_an_event_of_a_newer_version_is_not_judged() -> None:
    """What this version does not know it does not call wrong."""
    assert not_as_published(entry({"events": ["run.celebrated"], "with": "cake"}, {"s": 1})) is None


@pytest.mark.parametrize("events", [None, [], 7, ["run.started", 7], ["run.started", "run.finished"]])
def test_events_that_no_function_writes(events: Any) -> None:
    """Without an event, with something else as one, and with two that no commit has together."""
    said = not_as_published(entry({"events": events, "at": 1, "login": "a"}, {}))
    assert said is not None
    assert said.startswith("facts.events: ")
