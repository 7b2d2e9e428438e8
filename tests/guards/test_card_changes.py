"""What changed between a request and the one that took its place."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.card_changes import card_changes

values = st.one_of(st.none(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2))
cards = st.fixed_dictionaries(
    {},
    optional={
        "what": st.fixed_dictionaries(
            {"arguments": st.dictionaries(st.sampled_from("abc"), values), "version": values}
        ),
        "where": st.dictionaries(st.sampled_from(["system", "target", "link"]), values),
        "diff": st.dictionaries(st.sampled_from("xy"), st.lists(values, min_size=2, max_size=2)),
        "why": values,
    },
)


def test_arguments_record_contract_and_place() -> None:
    """Each is named, with both values; what was added or is gone is said to be."""
    earlier = {
        "what": {"arguments": {"amount": "500", "currency": "EUR"}, "version": "1"},
        "where": {"system": "billing", "target": "o-1"},
        "diff": {"total": ["900", "400"]},
    }
    later = {
        "what": {"arguments": {"amount": "300", "note": "x"}, "version": "2"},
        "where": {"system": "billing", "target": "o-2"},
        "diff": {"total": ["800", "500"]},
    }
    assert [(one.what, one.before, one.after) for one in card_changes(earlier, later)] == [
        ("argument amount", "500", "300"),
        ("argument currency", "EUR", "(not there)"),
        ("argument note", "(not there)", "x"),
        ("contract version", "1", "2"),
        ("record's total", "900", "800"),
        ("target", "o-1", "o-2"),
    ]


def test_the_models_own_words_are_told_as_its_own() -> None:
    """What it wrote to explain itself is no argument, also where it says it in other words now."""

    def card(said: str) -> dict[str, Any]:
        return {"what": {"arguments": {"reason": said}}, "why": {"model_says": {"reason": said}}}

    (change,) = card_changes(card("please"), card("the boss wants it"))
    assert (change.what, change.before, change.after) == ("model says reason", "please", "the boss wants it")


@given(cards)
def test_a_card_does_not_differ_from_itself(card: dict[str, Any]) -> None:
    """Whatever it holds."""
    assert card_changes(card, card) == ()


@given(cards, cards)
def test_differences_are_the_same_in_both_directions(one: dict[str, Any], other: dict[str, Any]) -> None:
    """What is before in one is after in the other."""
    there = [(each.what, each.before, each.after) for each in card_changes(one, other)]
    assert there == [(each.what, each.after, each.before) for each in card_changes(other, one)]
