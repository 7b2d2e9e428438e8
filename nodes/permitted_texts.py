"""Texts that a tool's schema permits by name, as an enum or a literal: there they are values, whatever they say."""

import unicodedata
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = ["permitted_texts"]

_DEPTH_MAX: Final = 16  # a schema that refers to itself goes on for ever
_PARTS_MAX: Final = 10_000
_EITHER: Final = ("anyOf", "oneOf", "allOf")


def permitted_texts(schema: object) -> dict[str, frozenset[str]]:
    """Return by a field's path the texts that a schema permits there by name. Never raises.

    Args:
        schema: the JSON Schema of a tool's arguments; anything else permits nothing by name.
    """
    found: defaultdict[str, set[str]] = defaultdict(set)
    left: deque[tuple[object, str, int]] = deque([(schema, "", 0)])
    for _ in range(_PARTS_MAX):
        if not left:
            break
        part, path, depth = left.popleft()
        if isinstance(part, Mapping):
            found[path].update(_named(part))
            inner = _inside(part, schema, path) if depth < _DEPTH_MAX else ()
            left.extend((one, where, depth + 1) for one, where in inner)
    return {path: frozenset(texts) for path, texts in found.items() if texts}


def _named(part: Mapping[Any, Any]) -> Iterator[str]:
    for value in (*_listed(part.get("enum")), part.get("const")):
        if isinstance(value, str):
            yield unicodedata.normalize("NFC", value)


def _inside(part: Mapping[Any, Any], schema: object, path: str) -> Iterator[tuple[object, str]]:
    yield _referred(part.get("$ref"), schema), path
    for either in _EITHER:
        yield from ((branch, path) for branch in _listed(part.get(either)))
    properties = part.get("properties")
    if isinstance(properties, Mapping):
        yield from ((about, f"{path}.{name}" if path else str(name)) for name, about in properties.items())
    yield from ((about, f"{path}[]") for about in (part.get("items"), *_listed(part.get("prefixItems"))))


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _referred(reference: object, schema: object) -> object:
    """What a reference inside the schema leads to."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    found = schema
    for step in reference[2:].split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    return found
