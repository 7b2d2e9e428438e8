"""Text from models, records and people as one line for a terminal: nothing obeyed, hidden, reversed or disguised.

What is remarkable is found by :mod:`langgraph_control.guards.visible`, as in the console; here it is written out.
"""

from typing import Final

from langgraph_control.guards.visible import Mark, Piece, visible

__all__ = ["TEXT_CHARS_MAX", "hides_nothing", "printable"]

TEXT_CHARS_MAX: Final = 500

_HIDDEN: Final = frozenset({Mark.CONTROL, Mark.BIDI, Mark.INVISIBLE})


def printable(text: str, *, chars_max: int = TEXT_CHARS_MAX) -> str:
    """Return a text on one line in which every character shows as what it is.

    What a terminal would obey, hide or reorder is named (``<U+001B>``); behind a word whose letters pass for others it
    says so. Spaces and line breaks become single spaces.

    Args:
        text: anything.
        chars_max: longer texts are cut, and it is said by how much.
    """
    words = " ".join(text.split())
    head = words[:chars_max]
    plain = head.isascii() and head.isprintable()  # as most texts are; nothing in one is remarkable
    shown = head if plain else "".join(map(_written, visible(head).pieces))
    return shown if len(words) <= chars_max else f"{shown}… ({len(words) - chars_max} characters more)"


def hides_nothing(text: str) -> bool:
    """Return whether a text is on one line and has no character that is obeyed or hidden.

    Args:
        text: anything.
    """
    return " ".join(text.split()) == text and not any(piece.mark in _HIDDEN for piece in visible(text).pieces)


def _written(piece: Piece) -> str:
    if piece.mark is Mark.TEXT:
        return piece.text
    if piece.mark in _HIDDEN:
        return f"<{piece.text}>"
    return " " if piece.mark is Mark.BREAK else f"{piece.text} [{piece.says}]"
