"""A JSON Schema for each event of the trail, made from the forms that carry it; published files are written from here.

An instance is one entry as ``{"facts": …, "body": …}``. Version 1. A further optional field keeps the version; a field
that goes away, or means something else, makes the next one.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import orjson
from jsonschema import Draft202012Validator

from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.entry_forms import COMMON, FORMS, Form, Shape

__all__ = ["EVENTS", "VERSION", "problems", "published", "schema_of"]

VERSION: Final = 1

EVENTS: Final[Mapping[str, tuple[Form, ...]]] = MappingProxyType(
    {
        event: tuple(form for form in FORMS if event in form.events)
        for event in sorted({event for form in FORMS for event in form.events})
    }
)
"""Every event, with the forms whose entries may carry it."""


def schema_of(event: str) -> dict[str, Any]:
    """Return the schema of the entries that carry an event.

    Args:
        event: one of :data:`EVENTS`.
    """
    forms = EVENTS[event]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:langgraph-control:entry:{VERSION}:{event}",
        "title": event,
        "description": " Or: ".join(form.about for form in forms),
        "type": "object",
        "required": ["facts", "body"],
        "properties": {
            "facts": {"properties": {"events": {"type": "array", "contains": {"const": event}}}},
        },
        "anyOf": [{"$ref": f"#/$defs/{form.name}"} for form in forms],
        "$defs": {form.name: _form(form) for form in forms},
    }


def problems(entry: Entry) -> tuple[str, ...]:
    """Return what in an entry is not as the schemas of its events say; nothing for a complete one.

    The texts name places and rules, never values.

    Args:
        entry: as it was read.
    """
    if not entry.events:
        return ("it carries no event",)
    instance = {"facts": dict(entry.facts), "body": dict(entry.body)}
    return tuple(
        f"{event}: {said}"
        for event in entry.events
        for said in (_said(event, instance) if event in EVENTS else ("no such event in this version",))
    )


def _said(event: str, instance: dict[str, Any]) -> Iterable[str]:
    if _validator(event).is_valid(instance):
        return
    # The form that is nearest says what is missing; the others are about something else.
    found = [
        [
            f"{'.'.join(map(str, error.absolute_path)) or 'entry'}: {_rule(error.validator, error.schema)}"
            for error in errors
        ]
        for errors in (_form_validator(form.name).iter_errors(instance) for form in EVENTS[event])
    ]
    yield from min(found, key=len)


def _rule(name: object, schema: Any) -> str:
    if name in {"required", "additionalProperties"} and isinstance(schema, Mapping):
        return f"{name} of {', '.join(schema.get('properties', {}))}"
    return str(name)


@cache
def _validator(event: str) -> Draft202012Validator:
    return Draft202012Validator(schema_of(event))


@cache
def _form_validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(_form(next(form for form in FORMS if form.name == name)))


def _form(form: Form) -> dict[str, Any]:
    events = {"type": "array", "items": {"enum": list(form.events)}, "minItems": 1, "uniqueItems": True}
    return {
        "description": form.about,
        "type": "object",
        "required": ["facts", "body"],
        "properties": {
            "facts": _object({"events": events, **COMMON, **form.facts}),
            "body": _object(form.body),
        },
    }


def _object(fields: Mapping[str, Shape]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name.removesuffix("?"): shape for name, shape in fields.items()},
        "required": [name for name in fields if not name.endswith("?")],
        "additionalProperties": False,
    }


def published(event: str) -> bytes:
    """Return an event's schema as its file has it.

    Args:
        event: one of :data:`EVENTS`.
    """
    return orjson.dumps(schema_of(event), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
