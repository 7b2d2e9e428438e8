"""Patterns with a star: matched in one pass, and nothing else is a pattern."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.globs import glob, glob_problem


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("*@acme.example", "ana@acme.example", True),
        ("*@acme.example", "ana@acme.example.evil", False),
        ("*@acme.example", "@acme.example", True),
        ("refund-*", "refund-", True),
        ("refund-*", "Refund-1", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*c", "a1b2b3c", True),
        ("a*b*c", "a1c2b", False),
        ("a*", "a\nb", True),
        ("abc", "abc", True),
        ("abc", "abcd", False),
    ],
)
def test_a_star_stands_for_any_characters(pattern: str, text: str, fits: bool) -> None:  # noqa: FBT001
    """The whole text has to fit, by character; a star may stand for nothing, and for line ends."""
    assert glob(pattern)(text) is fits


@given(st.text(alphabet="ab*", max_size=8), st.text(alphabet="ab", max_size=12))
def test_it_matches_what_fnmatch_matches(pattern: str, text: str) -> None:
    """For patterns of stars alone the answer is the usual one."""
    assert glob(pattern)(text) == fnmatch.fnmatchcase(text, pattern)


@given(st.text(alphabet="ab*", max_size=5), st.text(alphabet="ab*", max_size=5), st.text(alphabet="ab", max_size=8))
def test_a_pattern_that_fits_another_fits_nothing_else(narrow: str, wide: str, text: str) -> None:
    """Read as a text it tells which of the two takes in more: dead and contradictory rules are found by that."""
    if glob(wide)(narrow) and glob(narrow)(text):
        assert glob(wide)(text)


def test_hostile_texts_take_no_time() -> None:
    """A pattern of many stars against a long text that almost fits is answered at once (the suite has a time limit)."""
    assert not glob("*a" * 100 + "*b*")("a" * 250_000)


@pytest.mark.parametrize("pattern", ["a?", "[ab]*", "a\\*", "{a,b}*", "^a*", "a*$", "a|b*"])
def test_other_wildcards_are_refused(pattern: str) -> None:
    """What would mean something in another language of patterns is no pattern here, and the error says so."""
    assert "only * for any characters" in (glob_problem(pattern) or "")


@pytest.mark.parametrize("pattern", ["abc", "*", "**", "x" * 300 + "*"])
def test_patterns_that_cannot_be_meant_are_refused(pattern: str) -> None:
    """Without a star, with nothing else, or too long."""
    assert glob_problem(pattern) is not None
