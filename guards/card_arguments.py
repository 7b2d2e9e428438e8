"""What a card says a tool would be called with, apart from the model's own words: they explain, and prove nothing."""

from collections.abc import Mapping
from typing import Any

__all__ = ["called_with"]


def called_with(card: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments of a card, beside the model's own words.

    Args:
        card: a request's, as it was stored.
    """
    words = _part(_part(card, "why"), "model_says")
    return {name: value for name, value in _part(_part(card, "what"), "arguments").items() if name not in words}


def _part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = whole.get(name)
    return part if isinstance(part, Mapping) else {}
