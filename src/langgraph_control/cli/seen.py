"""Text from models, records and people as a terminal shows it: on one line, and with nothing hidden or disguised in it.

What a terminal would obey, hide or reorder is written as its code, ``<U+202E>``; a word that mixes alphabets or is made
of look-alikes is followed by what is remarkable about it, in brackets. Colour only adds to that.
"""

import re
from collections.abc import Iterator
from typing import Final

from rich.text import Text

from langgraph_control.guards.visible import Mark, Piece, visible

__all__ = ["TEXT_CHARS_MAX", "seen", "seen_plain", "suspicious"]

TEXT_CHARS_MAX: Final = 500

_SPACES: Final = re.compile("[ \t\r\n]+")
_HIDDEN: Final = frozenset({Mark.CONTROL, Mark.BIDI, Mark.INVISIBLE})
_MARKED: Final = "bold magenta"


def seen(text: str, *, chars_max: int | None = TEXT_CHARS_MAX, style: str = "") -> Text:
    """Return a text for a terminal.

    Args:
        text: anything.
        chars_max: longer texts are cut, at the end of a word, and it is said by how much; None: nothing is cut.
        style: a colour.
    """
    made = Text(style=style, overflow="fold")
    for part, marked in _parts(text, chars_max):
        made.append(part, style=_MARKED if marked else None)
    return made


def seen_plain(text: str, *, chars_max: int = TEXT_CHARS_MAX) -> str:
    """Return the same without any style.

    Args:
        text: anything.
        chars_max: longer texts are cut, at the end of a word, and it is said by how much.
    """
    return "".join(part for part, _ in _parts(text, chars_max))


def suspicious(text: str) -> bool:
    """Return whether anything in a text is hidden, reversed or disguised.

    Args:
        text: anything.
    """
    return visible(_on_one_line(text)).suspicious


def _parts(text: str, chars_max: int | None) -> Iterator[tuple[str, bool]]:
    shown = visible(_on_one_line(text), fold_chars=len(text) if chars_max is None else chars_max)
    yield from map(_part, shown.head)
    if shown.rest_chars:
        yield f"… ({shown.rest_chars} characters more)", False


def _part(piece: Piece) -> tuple[str, bool]:
    if piece.mark in _HIDDEN:
        return f"<{piece.text}>", True
    return (f"{piece.text} [{piece.says}]", True) if piece.says else (piece.text, False)


def _on_one_line(text: str) -> str:
    return _SPACES.sub(" ", text).strip(" ")
