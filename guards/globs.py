"""Patterns with ``*`` for any characters: no other wildcard, so that matching a text takes one pass over it."""

from collections.abc import Callable
from typing import Final

__all__ = ["PATTERN_CHARS_MAX", "glob", "glob_problem"]

PATTERN_CHARS_MAX: Final = 256
_OTHER_WILDCARDS: Final = frozenset("?[]{}\\^$|")


def glob_problem(pattern: str) -> str | None:
    """Return what is wrong with a pattern, or None where it can be matched.

    Args:
        pattern: as the policy has it.
    """
    if len(pattern) > PATTERN_CHARS_MAX:
        return f"a pattern has at most {PATTERN_CHARS_MAX} characters"
    if (other := _OTHER_WILDCARDS.intersection(pattern)) != frozenset():
        return f"{min(other)} has no meaning in a pattern, only * for any characters; there are no regular expressions"
    if "*" not in pattern:
        return "this pattern has no *; for the very text write eq"
    if not pattern.strip("*"):
        return "this pattern matches every text; say what it must hold beside *"
    return None


def glob(pattern: str) -> Callable[[str], bool]:
    """Return a function that says whether a whole text matches.

    Args:
        pattern: as the policy has it; without a ``*`` it matches itself.
    """
    first, *others = pattern.split("*")
    if not others:
        return pattern.__eq__
    *middle, last = others
    ends = len(first) + len(last)

    def matches(text: str) -> bool:
        if len(text) < ends or not text.startswith(first) or not text.endswith(last):
            return False
        place, end = len(first), len(text) - len(last)
        for part in middle:
            found = text.find(part, place, end)
            if found < 0:
                return False
            place = found + len(part)
        return True

    return matches
