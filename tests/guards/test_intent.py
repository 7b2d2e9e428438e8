"""A change that cannot be stated is not done, and the model learns exactly what is missing."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.intent import Lack, Missing, ask_for, is_placeholder, missing_pieces

CALL: dict[str, Any] = {"order_id": "4711", "amount": 50, "reason": "arrived broken"}


def lacks(changes: dict[str, Any], intent: str | None = "ticket/4711") -> list[tuple[str, str]]:
    """What a refund with these changes lacks, as (field, code)."""
    missing = missing_pieces(
        intent=intent, arguments=CALL | changes, explained_by=["reason"], target_named_by=["order_id"]
    )
    return [(piece.field, piece.why.value) for piece in missing]


def test_a_whole_call_lacks_nothing() -> None:
    """An ordinary refund can be stated."""
    assert lacks({}) == []


@pytest.mark.parametrize("intent", [None, "", "  ", "TBD", "<ticket>"])
def test_a_write_without_intent_is_not_done(intent: str | None) -> None:
    """Neither nothing nor a placeholder says which request a change belongs to."""
    assert lacks({}, intent=intent) == [("intent", "no_intent")]


@pytest.mark.parametrize("blank", [None, "", " \n"])
def test_explanation_and_target_say_something(blank: str | None) -> None:
    """A blank reason explains nothing and a blank id names no record."""
    assert lacks({"reason": blank}) == [("reason", "no_explanation")]
    assert lacks({"order_id": blank}) == [("order_id", "no_target")]


def test_an_argument_left_out_is_missing_too() -> None:
    """The check does not rely on the tool's schema."""
    missing = missing_pieces(intent="t/1", arguments={}, explained_by=["reason"], target_named_by=["order_id"])
    assert missing == (
        Missing(field="order_id", why=Lack.NO_TARGET),
        Missing(field="reason", why=Lack.NO_EXPLANATION),
    )


def test_zero_and_false_are_values() -> None:
    """Only absence and blank text are nothing."""
    assert missing_pieces(intent="t/1", arguments={"id": 0, "sure": False}, target_named_by=["id", "sure"]) == ()


PLACEHOLDERS = [
    *("TBD", "tba", " TODO ", "FixMe", "???", "N/A", "unknown", "placeholder", "\uff34\uff22\uff24", "xxx"),
    *("<order id>", "<ORDER_ID>", "{{x}}", "{{ order.id }}", "${ORDER_ID}"),
    *("your_order_id_here", "YOUR_ORDER_ID", "insert-amount-here", "enter_name", "order_id_here"),
]
VALUES = [
    *("", "4711", "ord_4711", "none", "null", "test", "?", "na", "A", "Unknown charge on my card"),
    *(
        "TODO: call the customer back",
        "<ana@acme.example>",
        "<https://acme.example/o/1>",
        "a < b and b > c",
        "{}",
        "$5",
    ),
    *("your-order-has-shipped", "your_order_shipped", "enter-the-dragon", "kilroy_was_here", "Here", "x" * 5000),
    '{"id": 1}',
]


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_a_value_that_stands_in_for_another_is_found(text: str) -> None:
    """The shapes models use for a value they do not know are no values."""
    assert is_placeholder(text)
    assert lacks({"note": text}) == [("note", "placeholder")]


@pytest.mark.parametrize("text", VALUES)
def test_ordinary_values_are_no_placeholders(text: str) -> None:
    """A whole value must look like a placeholder; texts that mention one, addresses and slugs pass."""
    assert not is_placeholder(text)


def test_placeholders_are_found_inside_lists_and_objects() -> None:
    """The path to the piece is given as the model wrote the arguments."""
    lines = [{"sku": "A-1"}, {"sku": "TBD", "tags": ["ok", "???"]}]
    assert lacks({"lines": lines}) == [("lines[1].sku", "placeholder"), ("lines[1].tags[1]", "placeholder")]


def test_a_schema_that_lists_its_values_is_believed() -> None:
    """`unknown` is a status in many systems; where the schema permits it by name, it passes."""
    arguments = {"status": "unknown", "note": "unknown", "lines": [{"kind": "tbd"}, {"kind": "todo"}]}
    permitted = {"status": {"open", "unknown"}, "lines[].kind": {"tbd"}, "note": {"known"}}
    assert missing_pieces(intent="t/1", arguments=arguments, permitted=permitted) == (
        Missing(field="note", why=Lack.PLACEHOLDER),
        Missing(field="lines[1].kind", why=Lack.PLACEHOLDER),
    )


def test_a_default_is_no_placeholder() -> None:
    """What the tool itself puts where nothing is given, nobody stood in; as a reason or an id it still says nothing."""
    arguments = {"status": "unknown", "reason": "unknown", "order_id": "unknown"}
    missing = missing_pieces(
        intent="t/1",
        arguments=arguments,
        explained_by=["reason"],
        target_named_by=["order_id"],
        at_default=["status", "reason", "order_id"],
    )
    assert {piece.field for piece in missing} == {"reason", "order_id"}


def test_the_model_is_told_which_pieces_and_never_the_values() -> None:
    """One message names every missing piece, so that one further call can be whole."""
    missing = missing_pieces(
        intent="t/1", arguments={"card": "4111", "order_id": "<order 4711>"}, explained_by=["reason"]
    )
    text = ask_for("refund", missing)
    assert text == (
        "refund was called before the change can be stated. "
        "reason is required: say why the change is right; order_id holds a placeholder instead of a value. "
        "Find the missing piece or ask for it, then call again; do not guess"
    )
    assert "4111" not in text
    assert "4711" not in text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_every_call_has_an_answer(arguments: dict[str, Any]) -> None:
    """The check never raises and is deterministic, whatever a model sends."""
    assert missing_pieces(intent="t/1", arguments=arguments) == missing_pieces(intent="t/1", arguments=arguments)


@given(st.text(alphabet=string.digits + "-", min_size=1))
def test_numbers_and_ids_are_never_placeholders(text: str) -> None:
    """No id made of digits is ever held back."""
    assert not is_placeholder(text)
