"""What a request's arguments are in a form's fields, and what comes back from there."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest

from langgraph_control.audit.asking.rows import ApprovalRow, ApprovalState
from langgraph_control.console.changing import changes, editables
from langgraph_control.errors import ArgumentError
from langgraph_control.guards.visible import visible


def asked_with(arguments: Any, *, says: tuple[str, ...] = ()) -> ApprovalRow:
    """A request with these arguments, some of them the model's own words."""
    card = {"what": {"arguments": arguments}, "why": {"model_says": {name: arguments[name] for name in says}}}
    now = datetime.now(UTC)
    return ApprovalRow(
        approval_id=UUID(int=1),
        run_id=UUID(int=2),
        tool="refund",
        digest=b"",
        requirement={},
        card=orjson.dumps(card),
        state=ApprovalState.OPEN,
        requested_at=now,
        expires_at=now,
        execute_by=None,
        closed_at=None,
        comment=None,
        intent="i",
        trigger="t",
        actor="a",
        on_behalf_of=None,
        voters=(),
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [("7", 7), ("true", True), ('{"a": [1, null]}', {"a": [1, None]}), ('"text"', "text"), ("null", None)],
)
def test_values_that_are_no_text_are_json(given: str, kept: Any) -> None:
    """A field of a number, a list or nothing is JSON, and comes back as that."""
    assert changes(asked_with({"n": 5}), {"argument-0": given}) == {"n": kept}


@pytest.mark.parametrize("wrong", ["", "five", "NaN", "Infinity", "{", "[" * 100_000])
def test_what_is_no_json_is_refused(wrong: str) -> None:
    """What cannot be read as JSON changes nothing, and the value is not repeated in the refusal."""
    with pytest.raises(ArgumentError) as refused:
        changes(asked_with({"n": 5}), {"argument-0": wrong})
    assert refused.value.code == "edit_not_json"


TRICKY = ("\n first", "a\r\nb", "\u202egpj", "p\u0430y", "\x1b[31m", "<b>", " ", "", "a\nb", "(redacted) not")


@pytest.mark.parametrize("value", [*TRICKY, 5, 1.5, None, True, [1, "\u200b"], {"a": {"b": "ü"}}])
def test_a_field_that_is_left_alone_changes_nothing(value: Any) -> None:
    """Whatever a value is, its field sent back as a browser does is no change, and hides nothing."""
    (one,) = editables(asked_with({"x": value}))
    assert changes(asked_with({"x": value}), {one.field: one.text}) == {}
    assert not visible(one.text).suspicious


def test_what_is_redacted_or_too_much_has_no_field() -> None:
    """Redacted values, the model's own words and what is too long are not offered, and a made-up field does nothing."""
    values = {"a": "(redacted)", "b": {"c": ["(redacted)"]}, "why": "words", "long": "x" * 5000, "x": "1"}
    row = asked_with(values, says=("why",))
    assert [one.name for one in editables(row)] == ["x"]
    assert changes(row, {f"argument-{place}": "new" for place in range(5)} | {"x": "2"}).keys() == {"x"}
    assert len(editables(asked_with({f"n{place}": "x" for place in range(50)}))) == 30
    seen = orjson.loads(row.card) | {"opened": ["x"]}  # what only this person's role sees: an edit would be stored
    assert editables(replace(row, card=orjson.dumps(seen))) == ()
    odd = orjson.loads(row.card) | {"opened": 5}  # stored by an agent's login
    assert [one.name for one in editables(replace(row, card=orjson.dumps(odd)))] == ["x"]
    assert len(editables(asked_with({f"n{place}": "ü" * 1000 for place in range(50)}))) == 5
