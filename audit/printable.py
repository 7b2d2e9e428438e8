"""Text from models, records and people, made safe to print: no terminal escapes, no reversed or hidden characters."""

import unicodedata
from typing import Final

__all__ = ["TEXT_CHARS_MAX", "printable"]

TEXT_CHARS_MAX: Final = 500

# Controls (escapes among them), invisible and direction-changing formats, halves of surrogate pairs, line separators.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def printable(text: str, *, chars_max: int = TEXT_CHARS_MAX) -> str:
    r"""Return a text on one line in which every character shows as what it is.

    What a terminal would obey or hide is written as its escape (``\x1b``), so that an attempt can be seen. Spaces and
    line breaks become single spaces.

    Args:
        text: anything.
        chars_max: longer texts are cut, and it is said by how much.
    """
    words = " ".join(text.split())
    shown = "".join(_visible(character) for character in words[:chars_max])
    return shown if len(words) <= chars_max else f"{shown}… ({len(words) - chars_max} characters more)"


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    return character.encode("unicode_escape").decode()
