"""What runs from a kept digest: this call's own arguments and the words on record, where the digest is of just that."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.audit.asking.ledger import Answer, Claimed
from langgraph_control.guards.canonical import plain_bytes
from langgraph_control.nodes.action import ABSENT
from langgraph_control.nodes.call import RECORD_BYTES_MAX, GovernedCall, View
from langgraph_control.nodes.what_runs import Runs, what_runs
from tests.nodes.test_call import ARGS, called, record, refunding

SEEN = View(before={"paid": 80})


def kept(call: GovernedCall, view: View, *, answer: Answer = Answer.GO, attempts: int = 2) -> Claimed:
    """Return a claim's answer that brings back what an earlier claim of this call stored."""
    return Claimed(
        answer=answer,
        reason="allow",
        state="executing",
        attempts=attempts,
        digest=call.digest(view),
        payload=call.payload(view),
        result=None,
        error=None,
        wait_ms=0,
        absence_counts=False,
        approval_id=None,
        expires_at=None,
        comment=None,
    )


@pytest.mark.parametrize("answer", [Answer.GO, Answer.VERIFY])
def test_what_was_asked_in_other_words_runs_in_those(answer: Answer) -> None:
    """The words on record and the record of then come back, all else being this call's own."""
    first = called(args={**ARGS, "note": "it never arrived"})
    runs = what_runs(called(), View(before={"paid": 0}), kept(first, SEEN, answer=answer))
    assert runs == Runs(args={**ARGS, "note": "it never arrived"}, before={"paid": 80})


@pytest.mark.parametrize("answer", [Answer.GO, Answer.VERIFY])
@pytest.mark.parametrize(
    "poisoned",
    [{**ARGS, "amount": Decimal(999)}, {**ARGS, "also": "o2"}, {"order_id": "o1"}],
    ids=["another value", "one more", "one less"],
)
def test_other_arguments_do_not_run(poisoned: dict[str, Any], answer: Answer) -> None:
    """What is kept with another value, with one more argument or without one, under its own digest: nothing runs."""
    assert what_runs(called(), SEEN, kept(called(args=poisoned), SEEN, answer=answer)) is None


def test_what_the_digest_is_not_of_does_not_run() -> None:
    """Honest arguments beside another digest: what people approved is not known, so nothing runs."""
    assert what_runs(called(), SEEN, replace(kept(called(), SEEN), digest=bytes(32))) is None


def test_a_first_attempt_has_the_record_that_was_just_read() -> None:
    """Before anything was sent, another record than the one read now is not what was approved."""
    assert what_runs(called(), SEEN, kept(called(), View(before={"paid": 0}), attempts=1)) is None
    assert what_runs(called(), SEEN, kept(called(), SEEN, attempts=1)) == Runs(args=ARGS, before=SEEN.before)


def test_a_parameter_that_a_release_added_runs_by_its_default() -> None:
    """The attempt of before did not have it: it is left to the tool's default, as it was, and cannot be smuggled in."""
    newer = called(args={**ARGS, "currency": "EUR"}, defaults={"currency": "EUR"})
    assert what_runs(newer, SEEN, kept(called(), SEEN)) == Runs(args=ARGS, before=SEEN.before)
    other = called(args={**ARGS, "currency": "USD"})
    assert what_runs(newer, SEEN, kept(other, SEEN)) is None


@pytest.mark.parametrize(
    "newer",
    [called(args={**ARGS, "currency": "USD"}, defaults={"currency": "USD"}), called(refunding(version="2"))],
    ids=["default", "version"],
)
def test_what_means_something_else_by_now_is_for_people(newer: GovernedCall) -> None:
    """A default or a version that changed while an attempt is open: what would run is not what was decided."""
    older = called(args={**newer.args, "currency": "EUR"} if "currency" in newer.args else ARGS)
    assert what_runs(newer, SEEN, kept(older, SEEN)) is None


records = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.decimals(), st.text(), st.binary(), st.datetimes()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.frozensets(st.integers() | st.text(), max_size=3),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.dictionaries(st.integers(), inner, max_size=2),
        st.builds(object),
    ),
    max_leaves=8,
)


names = st.sampled_from(["a", "$b", "e\u0301", "\u00e9"]) | st.text(max_size=3)


@given(st.dictionaries(names | st.integers(), records, max_size=4) | st.just(ABSENT), st.booleans())
def test_every_record_that_can_be_read_lets_its_own_write_go_on(before: Any, watched: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever a hook returned, an attempt that it was read for is repeated and read back; nobody need be asked."""
    watch = {"watch": ("a", "$b", "e\u0301")} if watched else {}
    call = called(refunding(read=record, **watch))
    runs = what_runs(call, View(before={"paid": 1}), kept(call, View(before=before)))
    assert runs is not None
    assert runs.args == ARGS


@pytest.mark.parametrize(
    ("contract", "before"),
    [
        ({"redact": "card"}, {"paid": 80, "card": "4111"}),
        ({"redact": "customer.iban"}, {"customer": {"iban": "DE00", "name": "Ana"}}),
        ({"redact": "card", "watch": ("card", "paid")}, {"paid": 80, "card": "4111"}),
        ({"redact": "card", "watch": ("paid", "due")}, {"paid": 80, "card": "4111"}),
        ({}, {"text": "x" * RECORD_BYTES_MAX}),
    ],
    ids=["redacted", "redacted inside", "redacted and watched", "redacted and what is watched not there", "too large"],
)
def test_a_record_that_is_not_wholly_kept_stops_nothing(contract: Mapping[str, Any], before: Any) -> None:
    """Of what is redacted or too large no digest can be made again: the arguments alone are compared."""
    call = called(refunding(read=record, **contract))
    runs = what_runs(call, View(before={"paid": 1}), kept(call, View(before=before)))
    assert runs is not None
    assert runs.args == ARGS
    poisoned = replace(call, args={**ARGS, "amount": Decimal(999)})
    assert what_runs(call, View(before={"paid": 1}), kept(poisoned, View(before=before))) is None


def test_a_redacted_argument_is_this_calls_own() -> None:
    """It is not in what is kept, and what runs with it has the digest all the same."""
    call = called(refunding(redact="iban"), {**ARGS, "iban": "DE00-1"})
    assert what_runs(call, SEEN, kept(call, SEEN)) == Runs(args=dict(call.args), before=SEEN.before)


@given(
    st.binary() | st.builds(plain_bytes, st.dictionaries(st.sampled_from(["args", "before"]), st.none() | st.text()))
)
def test_whatever_is_kept_never_raises(payload: bytes) -> None:
    """Bytes that are no payload of ours leave the call's own arguments, held against the digest."""
    claimed = replace(kept(called(), View()), payload=payload)
    assert what_runs(called(), View(), replace(claimed, digest=bytes(32))) is None
    assert called().stored(payload)[0] == ARGS
