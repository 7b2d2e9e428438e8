"""What a contract keeps out of the record, or shows to some roles alone: fields, named by the path that leads to them.

A path is a field's name, or names joined by dots from the outside in: ``customer.email``. Lists on the way are gone
through element by element. A field that itself has a dot in its name is found, too, and a list of pairs counts as a
mapping: better a field too many is hidden than one too few.
"""

import unicodedata
from collections.abc import Collection
from typing import Any, Final

from langgraph_control.guards.plain import Value, observed

__all__ = ["REDACTED", "covered", "filled_in", "is_path", "left_out", "paths_inside"]

REDACTED: Final = "(redacted)"

_PAIR: Final = 2
_NOTATION: Final = frozenset("[]*")  # of other path languages: taken for names, they would hide nothing
_GONE: Final = object()


def is_path(text: str) -> bool:
    """Whether a text is a path of field names, and none with indexes or wildcards of another notation.

    Args:
        text: what a contract says.
    """
    parts = text.split(".")
    return parts[0] != "$" and all(
        part and part == part.strip() and _NOTATION.isdisjoint(part) and not part.isdecimal() for part in parts
    )


def paths_inside(name: object, paths: Collection[str]) -> frozenset[str]:
    """Return what is left of the paths inside a field; "" among them means the field itself.

    Args:
        name: the field's name; what is no text is on no path.
        paths: counted from where the field is.
    """
    if not isinstance(name, str):
        return frozenset()
    known = unicodedata.normalize("NFC", name)
    return frozenset(
        path[len(known) + 1 :]
        for path in paths
        if path == known or (path.startswith(known) and path[len(known)] == ".")
    )


def left_out(value: Any, paths: Collection[str]) -> Any:
    """Return a value without the fields the paths lead to. Never raises.

    Args:
        value: arguments, a record, anything that was seen.
        paths: as a contract names them; without any the value is returned as it is.
    """
    return _without(observed(value), paths, _GONE) if paths else value


def covered(name: object, value: Any, paths: Collection[str]) -> Any:
    """Return a field's value with a mark in place of what the paths lead to. Never raises.

    Args:
        name: the field's name.
        value: what it holds.
        paths: as a contract names them.
    """
    left = paths_inside(name, paths)
    if "" in left:
        return REDACTED
    return _without(observed(value), left, REDACTED) if left else value


def filled_in(shown: Any, part: Any) -> Any:
    """Return what is shown, with what a part holds where the marks are. Nothing else is taken from the part.

    Args:
        shown: JSON, with marks in place of what is hidden.
        part: the same JSON with fewer marks; where it is anything else, the marks stay.
    """
    if shown == REDACTED:
        return part
    if isinstance(shown, dict) and isinstance(part, dict):
        return {name: filled_in(value, part[name]) if name in part else value for name, value in shown.items()}
    if isinstance(shown, list) and isinstance(part, list) and len(shown) == len(part):
        return [filled_in(value, other) for value, other in zip(shown, part, strict=True)]
    return shown


def _without(value: Value, paths: Collection[str], instead: Any) -> Any:
    if isinstance(value, dict):
        fields = {name: _field(name, part, paths, instead) for name, part in value.items()}
        return {name: part for name, part in fields.items() if part is not _GONE}
    if isinstance(value, list):
        return [item for item in (_item(item, paths, instead) for item in value) if item is not _GONE]
    return value


def _field(name: object, value: Value, paths: Collection[str], instead: Any) -> Any:
    left = paths_inside(name, paths)
    if "" in left:
        return instead
    return _without(value, left, instead) if left else value


def _item(item: Value, paths: Collection[str], instead: Any) -> Any:
    if isinstance(item, list) and len(item) == _PAIR and paths_inside(item[0], paths):
        part = _field(item[0], item[1], paths, instead)
        return _GONE if part is _GONE else [item[0], part]
    return _without(item, paths, instead)
