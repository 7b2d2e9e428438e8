"""Text from models, records and people as pieces that show what they are: nothing hidden, reversed or disguised.

What a terminal or a browser would obey, hide or reorder becomes a piece of its own that names the character. Words that
mix alphabets, or that are made of letters which only look like Latin ones, are flagged. How it looks is the caller's.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from typing import Final

__all__ = ["FOLD_CHARS", "Mark", "Piece", "Shown", "visible"]

FOLD_CHARS: Final = 600
COMBINING_MAX: Final = 3
"""So many marks may stand on one letter; more are a scribble over the lines around it."""


class Mark(StrEnum):
    """What a piece is."""

    TEXT = "text"  # shows as what it is
    BREAK = "break"  # a line break
    CONTROL = "control"  # a control character, or half of a surrogate pair: a terminal may obey it
    BIDI = "bidi"  # changes the direction of the text around it
    INVISIBLE = "invisible"  # has no width, or is a space of another kind
    MIXED = "mixed"  # a word of letters from more than one alphabet
    LOOKALIKE = "lookalike"  # a word of letters that only look like Latin ones, or of styled ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a text.

    Args:
        text: what may be shown: for hidden characters their names, such as ``U+202E``.
        mark: what it is.
        says: what is remarkable about it, in words; "" for ordinary text.
    """

    text: str
    mark: Mark = Mark.TEXT
    says: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A text, ready to show.

    Args:
        head: its beginning; all of it where it is short.
        rest: what is folded away, to be shown on demand.
        rest_chars: how many characters of the text that is.
    """

    head: tuple[Piece, ...]
    rest: tuple[Piece, ...]
    rest_chars: int

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """All of it."""
        return self.head + self.rest

    @property
    def suspicious(self) -> bool:
        """Whether anything in it is hidden, reversed or disguised."""
        return any(piece.mark not in {Mark.TEXT, Mark.BREAK} for piece in self.pieces)


def visible(text: str, *, fold_chars: int = FOLD_CHARS) -> Shown:
    """Return a text as pieces that show what they are.

    Args:
        text: anything, of any length.
        fold_chars: what is longer is folded: nothing is left out, but the rest is shown on demand.
    """
    cut = fold_chars
    # A character and the marks on it stay together, and so does a word that is to be flagged, unless it is endless.
    while cut < min(len(text), fold_chars + fold_chars // 4) and not text[cut].isspace():
        cut += 1
    latin = any(_script(character) == "LATIN" for character in text[:cut])
    return Shown(
        head=tuple(_pieces(text[:cut], latin=latin)),
        rest=tuple(_pieces(text[cut:], latin=latin)),
        rest_chars=max(0, len(text) - cut),
    )


def _pieces(text: str, *, latin: bool) -> Iterator[Piece]:
    plain: list[str] = []
    for is_word, run in groupby(_units(text), key=lambda unit: unit.mark is Mark.TEXT and _in_word(unit.text)):
        units = list(run)
        flagged = _flagged("".join(unit.text for unit in units), latin=latin) if is_word else None
        for piece in [flagged] if flagged is not None else units:
            if piece.mark is Mark.TEXT:
                plain.append(piece.text)
                continue
            if plain:
                yield Piece(text="".join(plain))
                plain.clear()
            yield piece
    if plain:
        yield Piece(text="".join(plain))


def _units(text: str) -> Iterator[Piece]:
    """Each character as a piece of its own."""
    stacked = 0
    for character in text.replace("\r\n", "\n"):
        stacked = stacked + 1 if unicodedata.combining(character) else 0
        if stacked > COMBINING_MAX:
            yield Piece(
                text=_code(character), mark=Mark.INVISIBLE, says=f"one mark of many on a letter: {_name(character)}"
            )
        else:
            yield _unit(character)


@lru_cache(maxsize=4096)
def _unit(character: str) -> Piece:
    if character == "\n":
        return Piece(text="\n", mark=Mark.BREAK)
    kind = unicodedata.category(character)
    if kind in {"Cc", "Cs"}:
        return Piece(text=_code(character), mark=Mark.CONTROL, says=_name(character))
    if character in _BIDI:
        return Piece(text=_code(character), mark=Mark.BIDI, says=f"changes the direction of text: {_name(character)}")
    if kind in {"Cf", "Zl", "Zp", "Co", "Cn"} or _is_ignorable(character):
        return Piece(text=_code(character), mark=Mark.INVISIBLE, says=f"cannot be seen: {_name(character)}")
    if kind == "Zs" and character != " ":
        return Piece(text=_code(character), mark=Mark.INVISIBLE, says=f"a space of another kind: {_name(character)}")
    return Piece(text=character)


_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Unicode's Default_Ignorable_Code_Point beyond the category Cf (DerivedCoreProperties.txt), and the empty Braille cell.
_IGNORABLE: Final = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2065, 0x2065),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0xE0000, 0xE0FFF),
)


def _is_ignorable(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _IGNORABLE)


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"


def _name(character: str) -> str:
    return unicodedata.name(character, _CONTROL_NAMES.get(character, "a character without a name")).lower()


_CONTROL_NAMES: Final = {
    "\0": "null",
    "\a": "bell",
    "\b": "backspace",
    "\t": "tab",
    "\r": "carriage return",
    "\x1b": "escape",
}


# --- words ---

_MIXABLE: Final = frozenset(
    {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "GEORGIAN", "HEBREW", "LISU"}
)
"""Alphabets whose letters pass for one another's. Scripts written together, as in Japanese, are no disguise."""

# Letters that most fonts draw as Latin ones (Unicode UTS 39, confusables.txt): Cyrillic, Greek, Armenian.
_LATIN_LOOKS: Final = frozenset("аеорсухіјѕһԁԛԝѵӏгАВЕКМНОРСТУХІЈЅԌԚԜѴҮαιουνοκρτωχΑΒΕΖΗΙΚΜΝΟΡΤΥΧօսհոց")
_STYLED: Final = ("FULLWIDTH ", "MATHEMATICAL ", "CIRCLED LATIN", "PARENTHESIZED LATIN", "SQUARED LATIN", "NEGATIVE ")


def _in_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM" or character == "_"


def _flagged(word: str, *, latin: bool) -> Piece | None:
    if word.isascii():
        return None
    scripts = {script for character in word if (script := _script(character))}
    if "STYLED" in scripts:
        return Piece(text=word, mark=Mark.LOOKALIKE, says="letters that are styled look-alikes of ordinary ones")
    mixed = scripts & _MIXABLE
    if len(mixed) > 1:
        alphabets = " and ".join(sorted(script.capitalize() for script in mixed))
        return Piece(text=word, mark=Mark.MIXED, says=f"one word in letters of {alphabets}")
    if len({script for script in scripts if script.startswith("DIGITS")}) > 1:
        return Piece(text=word, mark=Mark.MIXED, says="one number in digits of several scripts")
    letters = [character for character in word if character.isalpha()]
    if latin and letters and all(character in _LATIN_LOOKS for character in letters):
        return Piece(
            text=word, mark=Mark.LOOKALIKE, says=f"{mixed.pop().capitalize()} letters that look like Latin ones"
        )
    return None


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    """The alphabet of a letter or digit, by its name; "" for all else."""
    kind = unicodedata.category(character)
    name = unicodedata.name(character, "")
    if name.startswith(_STYLED):
        return "STYLED"
    if kind == "Nd":
        return "DIGITS" if character.isascii() else f"DIGITS {name.partition(' DIGIT ')[0]}"
    return name.partition(" ")[0] if kind[0] == "L" else ""
