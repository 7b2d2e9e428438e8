"""What a contract redacts is nowhere to be read, however deep it lies, and nothing else is missing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from langgraph_control.guards.canonical import observed_bytes
from langgraph_control.guards.redaction import REDACTED, covered, filled_in, is_path, left_out, paths_inside

NAMES = st.sampled_from(["a", "b", "c"])
RECORDS = st.recursive(
    st.integers(0, 9) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=15,
)
OBJECTS = st.dictionaries(NAMES, RECORDS, max_size=3)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)


class Person(BaseModel):
    """A customer, as a hook may return one."""

    name: str
    iban: str


@dataclass(frozen=True)
class Account:
    """Likewise."""

    owner: str
    iban: str


def found(value: Any, parts: list[str]) -> Iterator[Any]:
    """Yield everything that a path leads to."""
    if isinstance(value, list):
        for item in value:
            yield from found(item, parts)
    elif not parts:
        yield value
    elif isinstance(value, dict) and parts[0] in value:
        # A list at the path's own end is the field itself.
        yield from [value[parts[0]]] if len(parts) == 1 else found(value[parts[0]], parts[1:])


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value that holds no other, with the names that lead to it."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from leaves(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for item in value:
            yield from leaves(item, path)
    else:
        yield path, value


def off_the_path(value: Any, path: str) -> list[tuple[str, Any]]:
    """Return the leaves that a path does not lead to or past, nor stops above."""
    return [
        (at, what)
        for at, what in leaves(value)
        if at and not (f"{at}.".startswith(f"{path}.") or f"{path}.".startswith(f"{at}."))
    ]


@given(OBJECTS, PATHS)
def test_what_a_path_leads_to_is_left_out(record: dict[str, Any], path: str) -> None:
    """Through objects and every element of lists, nothing remains at the end of the path."""
    assert not list(found(left_out(record, [path]), path.split(".")))


@given(OBJECTS, PATHS)
def test_nothing_else_is_left_out(record: dict[str, Any], path: str) -> None:
    """What no path leads to is still there, in its order."""
    assert off_the_path(left_out(record, [path]), path) == off_the_path(record, path)


@given(OBJECTS, PATHS)
def test_what_is_shown_is_marked_at_the_same_places(record: dict[str, Any], path: str) -> None:
    """A card shows a mark wherever the stored payload has nothing, and the rest as it is."""
    shown = {name: covered(name, value, [path]) for name, value in record.items()}
    led_to = list(found(record, path.split(".")))
    assert list(found(shown, path.split("."))) == [REDACTED] * len(led_to)
    assert off_the_path(shown, path) == off_the_path(record, path)


@given(RECORDS, st.lists(PATHS, max_size=3), st.lists(PATHS, max_size=3))
def test_what_some_see_fills_the_marks_of_all(value: Any, hidden: list[str], opened: list[str]) -> None:
    """What is shown to everybody, with what a role sees in place of its marks, is what the role sees."""
    everybody, role = (covered("a", value, paths) for paths in ([*hidden, *opened], hidden))
    assert filled_in(everybody, role) == role


@given(OBJECTS, RECORDS)
def test_only_marks_are_filled(shown: dict[str, Any], part: Any) -> None:
    """Where nothing is hidden, nothing is taken from what is said to be hidden, whatever it holds."""
    assert filled_in(shown, part) == shown


HOLDERS: dict[str, Any] = {
    "a mapping": {"customer": {"iban": "DE00", "name": "Ana"}},
    "a list of mappings": {"customer": [{"iban": "DE00", "name": "Ana"}, {"iban": "DE00", "name": "Bo"}]},
    "lists in lists": {"customer": [[{"iban": "DE00", "name": "Ana"}]]},
    "a model": {"customer": Person(name="Ana", iban="DE00")},
    "a dataclass in a set": {"customer": {Account(owner="Ana", iban="DE00")}},
    "a mapping with a key that is no text": {"customer": {1: 2, "iban": "DE00", "name": "Ana"}},
    "a list of pairs": {"customer": [("iban", "DE00"), ("name", "Ana")]},
    "a name with a dot": {"customer.iban": "DE00", "name": "Ana"},
    "beside a key that is no text": {1: 2, "customer": {"iban": "DE00", "name": "Ana"}},
}


@pytest.mark.parametrize("what", HOLDERS)
def test_every_form_of_record_is_gone_through(what: str) -> None:
    """Whatever holds the field, it is neither stored nor shown, and its neighbours are both."""
    record = HOLDERS[what]
    kept = observed_bytes(left_out(record, ["customer.iban"]))
    shown = observed_bytes([covered(name, value, ["customer.iban"]) for name, value in record.items()])
    assert b"DE00" not in kept + shown
    assert b"Ana" in kept
    assert b"Ana" in shown
    assert REDACTED.encode() in shown


def test_names_are_compared_as_text_is_everywhere() -> None:
    """One name in two Unicode forms is one name."""
    decomposed = "cafe\N{COMBINING ACUTE ACCENT}"
    assert left_out({decomposed: {"iban": "DE00"}}, ["café.iban"]) == {"café": {}}
    assert covered(decomposed, 1, ["café"]) == REDACTED


def test_without_a_path_a_value_is_itself() -> None:
    """Where nothing is redacted, nothing is copied or changed."""
    record = {"customer": Person(name="Ana", iban="DE00")}
    assert left_out(record, ()) is record
    assert covered("customer", record["customer"], ["order.iban"]) is record["customer"]


def test_what_cannot_be_read_is_not_shown() -> None:
    """A record that raises while it is gone through leaves a mark of its type, not an error."""

    class Broken(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError("no")

    assert b"DE00" not in observed_bytes(left_out({"customer": Broken(iban="DE00")}, ["customer.iban"]))


def test_what_is_left_of_a_path() -> None:
    """Inside a field each path is counted from there, and the field itself is the empty one."""
    assert paths_inside("a", ["a", "a.b", "ab", "b.a"]) == {"", "b"}
    assert paths_inside("a.b", ["a.b.c"]) == {"c"}
    assert paths_inside(1, ["1"]) == frozenset()


@pytest.mark.parametrize("text", ["iban", "customer.iban", "x-amz-key", "card number", "$id", "a.$ref", "a1.b2"])
def test_names_joined_by_dots_are_a_path(text: str) -> None:
    """Any names will do, as records have them."""
    assert is_path(text)


@pytest.mark.parametrize(
    "text",
    [".", "a.", ".a", "a..b", " a", "a .b", "$", "$.a", "a[0].b", "a[].b", "a.*.b", "a.0.b", "0", ""],
)
def test_what_would_hide_nothing_is_no_path(text: str) -> None:
    """Empty parts, blanks around them, indexes and wildcards are not taken for names of fields."""
    assert not is_path(text)


def test_a_large_record_is_still_redacted() -> None:
    """Many elements are gone through one by one."""
    record = {"rows": [{"iban": "DE00", "number": number} for number in range(1000)]}
    kept = orjson.loads(observed_bytes(left_out(record, ["rows.iban"])))
    assert kept == {"rows": [{"number": number} for number in range(1000)]}
