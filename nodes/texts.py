"""Text from outside, made such that every place that keeps it can: no half of a surrogate pair, no NUL."""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["keepable", "keepable_in", "said"]

SAID_CHARS_MAX: Final = 2000


def keepable(text: str) -> str:
    """Return a text as UTF-8 and Postgres can hold it; what they cannot is replaced.

    Args:
        text: any text, from a model, a tool or a provider.
    """
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


def said(by: object) -> str:
    """Return what an exception or a hook says, as a record keeps it. Never raises.

    Args:
        by: an exception, a text, or what was given in a text's place.
    """
    try:
        text = str.__str__(by if isinstance(by, str) else str(by))
        return keepable(text)[:SAID_CHARS_MAX]
    except Exception:  # noqa: BLE001 - a broken __str__ must not lose the settle
        return ""


def keepable_in(value: Any) -> Any:
    """Return JSON primitives with every text in them, names included, made keepable.

    Args:
        value: an object, a list, or a part of one.
    """
    match value:
        case str():
            return keepable(value)
        case Mapping():
            return {keepable_in(name): keepable_in(part) for name, part in value.items()}
        case list() | tuple():
            return [keepable_in(part) for part in value]
        case _:
            return value
