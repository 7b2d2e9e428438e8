"""One intended effect has one key; what was meant, and what would be done, each have a hash that nothing else has."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.errors import ArgumentError
from langgraph_control.guards.keys import action_key, args_hash, digest

SECRET = bytes(range(32))


def _key(**changes: Any) -> bytes:
    call: dict[str, Any] = {"intent": "ticket/1", "tool": "refund", "identifying": {"order_id": "o1"}}
    return action_key(changes.pop("secret", SECRET), **{**call, **changes})


def _digest(**changes: Any) -> bytes:
    call: dict[str, Any] = {"tool": "refund", "contract_version": "1", "arguments": {"a": 1}, "before": {"open": 5}}
    return digest(changes.pop("secret", SECRET), **{**call, **changes})


@pytest.mark.parametrize(
    "change",
    [
        {"secret": bytes(32)},
        {"intent": "ticket/2"},
        {"tool": "refund2"},
        {"identifying": {"order_id": "o2"}},
        {"identifying": {"order": "o1"}},
        {"identifying": {}},
        {"occurrence": 1},
    ],
)
def test_each_part_of_an_action_key_counts(change: dict[str, Any]) -> None:
    """Another tenant, intent, tool, argument name, value or occurrence is another action."""
    assert _key(**change) != _key()


@pytest.mark.parametrize(
    "change",
    [
        {"secret": bytes(32)},
        {"tool": "refund2"},
        {"contract_version": "2"},
        {"arguments": {"a": 2}},
        {"arguments": {"a": 1, "b": None}},
        {"before": {"open": 6}},
        {"before": None},
    ],
)
def test_each_part_of_a_digest_counts(change: dict[str, Any]) -> None:
    """Another tenant, tool, version, argument or record is another thing to approve."""
    assert _digest(**change) != _digest()


def test_stored_actions_keep_their_names() -> None:
    """These are the bytes of release 0.1: a change here would rename every action there is."""
    assert _key().hex() == "a0148c339abb1547e66452c91b0fd158a49354630764529a76b614d194a07fc8"
    assert (
        args_hash(SECRET, arguments={"order_id": "o1", "amount": Decimal("12.50")}).hex()
        == "492a6a6ec1315fa5aa32a8e9f7a1bea7ff486edf9f340db94ac23bebb7577034"
    )
    assert _digest().hex() == "33dd0699add95d821aee6b49d3e5d091b93eaa203f089d9344dc51a2462db42c"


def test_equal_values_give_equal_keys_whatever_their_type_or_order() -> None:
    """100, 100.0 and Decimal("100.00") in any order of arguments are one change."""
    keys = {
        _key(identifying={"line": "é", "amount": 100}),
        _key(identifying={"amount": 100.0, "line": "e\u0301"}),
        _key(identifying={"amount": Decimal("100.00"), "line": "é"}),
    }
    assert len(keys) == 1


def test_an_identifying_argument_that_is_none_counts_as_not_given() -> None:
    """An optional identifying parameter added later does not rename yesterday's actions."""
    assert _key(identifying={"order_id": "o1", "line": None}) == _key()


def test_a_new_default_argument_changes_no_args_hash() -> None:
    """An argument equal to its declared default counts as not given."""
    old = args_hash(SECRET, arguments={"order_id": "o1"})
    new = args_hash(SECRET, arguments={"order_id": "o1", "notify": True}, defaults={"notify": True})
    assert new == old
    assert args_hash(SECRET, arguments={"order_id": "o1", "notify": False}, defaults={"notify": True}) != old


VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b"]) | st.lists(st.booleans())
GIVEN = st.dictionaries(st.sampled_from("abcd"), VALUES)


@given(GIVEN, GIVEN)
def test_left_out_or_spelled_out_a_default_names_one_action(
    arguments: dict[str, Any], defaults: dict[str, Any]
) -> None:
    """Whoever calls with the defaults filled in asks for the same action, and for the same change."""
    filled = {**defaults, **arguments}
    named = [
        action_key(SECRET, intent="i", tool="t", identifying=one, defaults=defaults) for one in (arguments, filled)
    ]
    meant = [args_hash(SECRET, arguments=one, defaults=defaults) for one in (arguments, filled)]
    assert named[0] == named[1]
    assert meant[0] == meant[1]


@given(GIVEN, GIVEN)
def test_a_default_of_the_next_release_renames_no_action(left: dict[str, Any], later: dict[str, Any]) -> None:
    """What was left to the default of then is the same action where the default is another one now."""
    both = {name: left.get(name, value) for name, value in later.items()}
    then = action_key(SECRET, intent="i", tool="t", identifying=both, defaults=both)
    assert action_key(SECRET, intent="i", tool="t", identifying=later, defaults=later) == then


def test_a_default_without_a_canonical_form_is_no_obstacle() -> None:
    """Only the call's own arguments have to be canonical."""
    assert args_hash(SECRET, arguments={"a": 1}, defaults={"a": object()}) == args_hash(SECRET, arguments={"a": 1})


def test_free_text_is_in_no_args_hash_but_in_the_digest() -> None:
    """A model that words its reason anew asks for the same change, but an approval covers the wording it was given."""
    one, other = {"a": 1, "reason": "late"}, {"a": 1, "reason": "it came late"}
    assert args_hash(SECRET, arguments=one, free_text=["reason"]) == args_hash(
        SECRET, arguments=other, free_text=["reason"]
    )
    assert _digest(arguments=one) != _digest(arguments=other)


def test_the_three_purposes_never_agree() -> None:
    """A hash for one purpose cannot be passed off as one for another."""
    made = {
        action_key(SECRET, intent="", tool="", identifying={}),
        args_hash(SECRET, arguments={}),
        digest(SECRET, tool="", contract_version="", arguments={}),
    }
    assert len(made) == 3
    assert all(len(value) == 32 for value in made)


@given(st.text(max_size=6), st.text(max_size=6), st.text(max_size=6), st.text(max_size=6))
def test_intent_and_tool_cannot_run_into_each_other(one: str, two: str, three: str, four: str) -> None:
    """Parts are framed by length: moving a letter from one to the next makes another key."""
    first, second = _key(intent=one, tool=two), _key(intent=three, tool=four)
    assert (first == second) == (_key(intent=one) == _key(intent=three) and _key(tool=two) == _key(tool=four))


def test_what_was_seen_of_a_record_never_stops_a_digest() -> None:
    """A record with NaN or foreign objects still has a digest, and another NaN-free record another."""
    assert _digest(before={"x": float("nan")}) == _digest(before={"x": float("nan")})
    assert _digest(before={"x": float("nan"), "o": object()}) != _digest(before={"x": 1})


@pytest.mark.parametrize(
    "make",
    [
        lambda: _key(identifying={"a": object()}),
        lambda: _key(occurrence=-1),
        lambda: args_hash(SECRET, arguments={"a": float("nan")}),
        lambda: _digest(arguments={"a": {1: 2}}),
    ],
)
def test_a_call_that_cannot_be_keyed_is_refused(make: Callable[[], bytes]) -> None:
    """No key is made of a guess."""
    with pytest.raises(ArgumentError):
        make()


def test_a_short_secret_is_refused() -> None:
    """A key under an empty secret would be the same for every tenant."""
    with pytest.raises(ValueError, match="32 bytes"):
        _key(secret=b"")
