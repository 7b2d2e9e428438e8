"""Texts as they are shown to people who decide: nothing in them hides, reverses or passes for something else."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.visible import FOLD_CHARS, Mark, Shown, visible

HIDING = {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}
# Any character, and the ones that are made for disguise more often than chance would draw them.
CHARACTERS = st.one_of(
    st.characters(),
    st.sampled_from(
        "\u202e\u2066\u200b\u200d\u2060\ufeff\u00ad\x1b\x07\x00\r\t\n\u2028\u3164\ufe0f\u0301\u0430\u00a0\U000e0041"
    ),
    st.characters(max_codepoint=127),
)
TEXTS = st.text(CHARACTERS, max_size=80)


def given_back(shown: Shown) -> str:
    """Return the text that pieces stand for."""
    return "".join(
        chr(int(piece.text.removeprefix("U+"), base=16))
        if piece.mark in {Mark.CONTROL, Mark.BIDI, Mark.INVISIBLE}
        else piece.text
        for piece in shown.pieces
    )


@given(TEXTS)
def test_nothing_that_is_shown_hides(text: str) -> None:
    """No character of a shown piece is a control, changes direction, has no width, or is a space of another kind."""
    for piece in visible(text).pieces:
        if piece.mark is Mark.BREAK:
            assert piece.text == "\n"
            continue
        kinds = {unicodedata.category(character) for character in piece.text}
        assert not kinds & HIDING
        assert not any(unicodedata.category(each) == "Zs" and each != " " for each in piece.text)


@given(TEXTS, st.integers(min_value=1, max_value=40))
def test_nothing_is_left_out(text: str, fold_chars: int) -> None:
    """The pieces stand for the whole text, folded or not, and what is folded is counted."""
    shown = visible(text, fold_chars=fold_chars)
    assert given_back(shown).replace("\r", "") == text.replace("\r\n", "\n").replace("\r", "")
    assert shown.rest_chars == 0 or shown.rest_chars < len(text)
    assert bool(shown.rest) == (shown.rest_chars > 0)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200))
def test_ordinary_text_is_one_piece(text: str) -> None:
    """Printable ASCII is shown as it is, in one piece, with nothing said about it."""
    assert [piece.text for piece in visible(text).pieces] == ([text] if text else [])
    assert not visible(text).suspicious


@given(TEXTS)
def test_what_is_flagged_is_explained(text: str) -> None:
    """Whatever is not plain text says what is remarkable about it."""
    assert all(piece.says for piece in visible(text).pieces if piece.mark not in {Mark.TEXT, Mark.BREAK})


@given(st.integers(min_value=FOLD_CHARS * 2, max_value=FOLD_CHARS * 20))
def test_long_text_is_folded(chars: int) -> None:
    """Of an endless word no more than a quarter over the fold is shown at once."""
    shown = visible("x" * chars)
    assert sum(len(piece.text) for piece in shown.head) <= FOLD_CHARS + FOLD_CHARS // 4
    assert shown.rest_chars >= chars - FOLD_CHARS - FOLD_CHARS // 4


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("pay\u202egpj.exe", Mark.BIDI),
        ("pay\u2067gpj", Mark.BIDI),
        ("am\u200bount", Mark.INVISIBLE),
        ("a\u00a0b", Mark.INVISIBLE),
        ("a\u3164b", Mark.INVISIBLE),
        ("tag\U000e0041", Mark.INVISIBLE),
        ("z" + "\u0301" * 9, Mark.INVISIBLE),
        ("\x1b[2J", Mark.CONTROL),
        ("a\rb", Mark.CONTROL),
        ("\ud800", Mark.CONTROL),
        ("p\u0430ypal", Mark.MIXED),
        ("1\u0662", Mark.MIXED),
        ("pay \u0430\u0440\u0440\u04cf\u0435 now", Mark.LOOKALIKE),
        ("\uff50\uff41\uff59", Mark.LOOKALIKE),
        ("\U0001d429ay", Mark.LOOKALIKE),
    ],
)
def test_disguises_are_flagged(text: str, mark: Mark) -> None:
    """Reversed, hidden, mixed and look-alike text is marked as what it is."""
    assert mark in {piece.mark for piece in visible(text).pieces}


@pytest.mark.parametrize(
    "text",
    [
        "Zürich, naïve façade, Łódź, Đà Nẵng",
        "Привет, мир",
        "Παρακαλώ",
        "返金してください、カード1234",
        "שלום",
        "مرحبا",
        "12 m² à 5 €, 20 µg; “fine”… 👍",
        "e\u0301te\u0301",
    ],
)
def test_languages_are_no_disguise(text: str) -> None:
    """Text in any one language, with accents, signs and emoji, is shown without a remark."""
    assert not visible(text).suspicious
