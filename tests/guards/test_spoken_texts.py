"""Which texts the ledger takes of people: how long, and of which characters."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from langgraph_control.errors import ArgumentError
from langgraph_control.guards.canonical import canonical_bytes
from langgraph_control.guards.spoken_texts import (
    COMMENT_CHARS_MAX,
    PERSON_CHARS_MAX,
    check_comment,
    check_json,
    check_name,
    check_stand_in,
    storable,
)

TAKEN: list[Callable[[], None]] = [
    lambda: check_comment(None),
    lambda: check_comment(""),
    lambda: check_comment("é" * COMMENT_CHARS_MAX),
    lambda: check_name(None, at="as_"),
    lambda: check_name("", at="as_"),
    lambda: check_name("x" * PERSON_CHARS_MAX, at="as_"),
    lambda: check_stand_in("ana@acme.example"),
    lambda: check_stand_in("Ana Müller"),
    lambda: check_json(canonical_bytes({"a": "\\u0000", "b": "\\"}), at="changes"),
]


@pytest.mark.parametrize("place", range(len(TAKEN)))
def test_what_can_be_kept_passes(place: int) -> None:
    """No comment, the longest one, and names as people have them are taken; the word for a NUL is no NUL."""
    TAKEN[place]()


REFUSED: list[tuple[Callable[[], None], str, str]] = [
    (lambda: check_comment("s" * (COMMENT_CHARS_MAX + 1)), "comment_too_long", "comment: a text of 10,001 characters"),
    (lambda: check_comment("s\x00"), "text_invalid", "comment: a text with a NUL"),
    (lambda: check_comment("s\ud800", at="--comment"), "text_invalid", "--comment: a text that is no UTF-8"),
    (lambda: check_comment(b"s"), "text_invalid", "comment: a value of type bytes"),
    (lambda: check_name("s" * 257, at="as_"), "name_too_long", "as_: a text of 257 characters"),
    (lambda: check_name("", at="target", needed=True), "name_missing", "target: an empty text"),
    (lambda: check_stand_in(None), "text_invalid", "to: a value of type NoneType"),
    (lambda: check_stand_in(""), "no_stand_in", "to: a blank text"),
    (lambda: check_stand_in("  \u2003"), "no_stand_in", "to: a blank text"),
    (lambda: check_stand_in("s\u202e"), "no_stand_in", "to: a text with characters that do not print"),
    (lambda: check_stand_in(" Group:leads"), "no_stand_in", "to: the name of a group"),
    (lambda: check_json(canonical_bytes({"a": "\\\x00"}), at="changes"), "text_invalid", "changes: a text with a NUL"),
]


@pytest.mark.parametrize("place", range(len(REFUSED)))
def test_what_cannot_be_kept_is_refused_by_its_kind(place: int) -> None:
    """The field, the kind of the value and the remedy are named; the value is not."""
    check, code, says = REFUSED[place]
    with pytest.raises(ArgumentError) as refused:
        check()
    assert (refused.value.code, refused.value.what[: len(says)]) == (code, says)
    assert refused.value.safe
    assert refused.value.todo
    assert "ss" not in refused.value.what.replace("passes", "")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("value", ["a\x00b", {"a\x00": 1}, ["\x00"], "\\\\\x00"])
def test_a_nul_is_found_wherever_it_is(value: Any) -> None:
    """In a value, in a name, within a list, behind backslashes: as Postgres reads JSON."""
    data = canonical_bytes({"a": value})
    assert not all(map(storable, texts(orjson.loads(data))))
    with pytest.raises(ArgumentError):
        check_json(data, at="changes")


def texts(value: Any) -> list[str]:
    """Return all texts in a plain value."""
    match value:
        case str():
            return [value]
        case dict():
            return [text for pair in value.items() for part in pair for text in texts(part)]
        case list():
            return [text for part in value for text in texts(part)]
        case _:
            return []
