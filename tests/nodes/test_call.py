"""One governed call: what names it, what an approval binds to, what of it is stored, and what is not."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.canonical import from_canonical
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.policy import Policy
from langgraph_control.nodes.action import ABSENT, Action
from langgraph_control.nodes.call import LEASE_MARGIN_SECONDS, GovernedCall, View, holds, is_missing
from langgraph_control.nodes.contracts import Contract, writes
from langgraph_control.nodes.run_context import RunContext

RUN = RunContext(
    run_id=UUID(int=1),
    token=1,
    tenant="default",
    secret=b"s" * 32,
    trigger="mail/1",
    intent="ticket/4711",
    graph="support",
    thread_id="t1",
    actor="support-bot",
    on_behalf_of=None,
    deadline=None,
    policy=Policy.parse("version: 1\n", source="control.yaml"),
    worker="host:1",
)

ARGS = {"order_id": "o1", "amount": Decimal("12.50"), "note": "the parcel was lost"}


def record(action: Action) -> Mapping[str, Any]:
    """A hook that is never asked here: a call does no I/O."""
    raise AssertionError(action.tool)


def refunding(**more: Any) -> Contract:
    """Return the contract of a refund."""
    return writes(**{"key": "order_id", "impact": "money", "explain": "note", **more})


def called(contract: Contract | None = None, args: Mapping[str, Any] | None = None, **more: Any) -> GovernedCall:
    """Return a call of it."""
    facts: dict[str, Any] = {"tool": "refund", "defaults": {}, "run": RUN, **more}
    return GovernedCall(contract=contract or refunding(), args=ARGS if args is None else args, **facts)


# --- what names it ---


def test_equal_values_have_one_key() -> None:
    """Neither the order of arguments nor the way a number is written makes another action."""
    by_amount = refunding(key=("order_id", "amount"))
    one = called(by_amount, {"order_id": "o1", "amount": Decimal("12.50"), "note": "a"})
    other = called(by_amount, {"note": "a", "amount": Decimal("12.5"), "order_id": "o1"})
    assert one.key == other.key
    assert one.args_hash == other.args_hash


def test_evidence_is_not_identity() -> None:
    """Another call id, thread, worker, run or place in the graph asks for the same action."""
    elsewhere = replace(RUN, run_id=UUID(int=2), token=9, trigger="mail/2", thread_id="t2", worker="host:2")
    again = called(run=elsewhere, call_id="call_9", where={"task_id": "x", "checkpoint_id": "y"})
    assert again.key == called().key
    assert again.digest(View()) == called().digest(View())


@pytest.mark.parametrize(
    "other",
    [
        called(run=replace(RUN, intent="ticket/4712")),
        called(run=replace(RUN, secret=b"t" * 32)),
        called(tool="refund_all"),
        called(args={**ARGS, "order_id": "o2"}),
        called(occurrence=1),
    ],
    ids=["intent", "tenant", "tool", "identifying argument", "occurrence"],
)
def test_each_part_of_the_identity_counts(other: GovernedCall) -> None:
    """Another request, tenant, tool, target or repetition is another action."""
    assert other.key != called().key


def test_an_argument_that_does_not_identify_makes_a_conflict_and_no_new_action() -> None:
    """Another amount for the same order keeps the key and changes the args hash."""
    dearer = called(args={**ARGS, "amount": Decimal(500)})
    assert dearer.key == called().key
    assert dearer.args_hash != called().args_hash


def test_an_argument_left_at_its_default_was_not_given() -> None:
    """A parameter that a release adds with a default does not turn yesterday's call into a conflict."""
    newer = called(args={**ARGS, "currency": "EUR"}, defaults={"currency": "EUR"})
    assert newer.args_hash == called().args_hash


# --- what an approval binds to ---


def test_other_words_are_the_same_request_and_another_digest() -> None:
    """A reason worded anew changes neither key nor args hash nor scope, only what people would see."""
    reworded = called(args={**ARGS, "note": "it never arrived"})
    assert (reworded.key, reworded.args_hash) == (called().key, called().args_hash)
    assert reworded.scope(View()) == called().scope(View())
    assert reworded.digest(View()) != called().digest(View())


@pytest.mark.parametrize(
    "other",
    [
        (called(args={**ARGS, "amount": Decimal(500)}), View(before={"paid": 80})),
        (called(refunding(version="2")), View(before={"paid": 80})),
        (called(), View(before={"paid": 81})),
        (called(), View(before=ABSENT)),
        (called(), View()),
    ],
    ids=["argument", "version", "record", "no record", "no read hook"],
)
def test_what_would_be_done_is_in_scope_and_digest(other: tuple[GovernedCall, View]) -> None:
    """Other arguments, another contract version or another record is another thing to approve."""
    call, view = other
    seen = View(before={"paid": 80})
    assert call.scope(view) != called().scope(seen)
    assert call.digest(view) != called().digest(seen)


def test_only_watched_fields_make_an_approval_stale() -> None:
    """A record may move in fields the contract does not watch; a watched one that moves changes the digest."""
    watching = called(refunding(read=record, watch="paid"))
    first = watching.digest(View(before={"paid": 80, "visits": 1}))
    assert watching.digest(View(before={"paid": 80, "visits": 2})) == first
    assert watching.digest(View(before={"paid": 81, "visits": 1})) != first


@pytest.mark.parametrize(("paid", "other"), [({"paid": 80}, {}), ({}, {"paid": None}), ({}, {"paid": 80})])
def test_a_watched_field_that_comes_or_goes_makes_an_approval_stale(paid: Any, other: Any) -> None:
    """What is not there is another record than what is there, whatever it holds; also beside another watched field."""
    for watch in ("paid", ("open", "paid")):
        watching = called(refunding(read=record, watch=watch))
        seen, now = View(before={"open": 5, **paid}), View(before={"open": 5, **other})
        assert watching.digest(seen) != watching.digest(now)
        assert watching.scope(seen) != watching.scope(now)


def test_an_unread_record_has_no_digest() -> None:
    """Where the read hook failed nothing can be approved or started: there is neither digest nor scope."""
    assert called().digest(View(failed=True)) is None
    assert called().scope(View(failed=True)) is None


# --- what is stored, and what runs from it ---


plain_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.decimals(allow_nan=False, allow_infinity=False, places=3),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.datetimes(timezones=st.just(UTC)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "$b", "c.d"]), inner, max_size=3),
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["order_id", "amount", "lines"]), plain_values), st.none() | plain_values)
def test_a_frozen_call_comes_back_from_its_payload(args: dict[str, Any], before: Any) -> None:
    """Arguments and before-image come back with their values and kinds, so that a repeat runs what was approved."""
    call = called(args=args)
    kept_args, kept_before = call.stored(call.payload(View(before=before)))
    again = called(args=kept_args)
    assert again.args_hash == call.args_hash
    assert again.digest(View(before=kept_before)) == call.digest(View(before=before))


def test_a_missing_record_comes_back_as_missing() -> None:
    """ABSENT survives the payload as itself, and None, no read hook, as None."""
    assert called().stored(called().payload(View(before=ABSENT)))[1] is ABSENT
    assert called().stored(called().payload(View()))[1] is None


def test_a_moment_is_stored_as_its_instant() -> None:
    """What was asked for in one time zone is the same in the payload, whatever zone it was written in."""
    moment = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    call = called(args={"order_id": "o1", "until": moment})
    assert call.stored(call.payload(View()))[0]["until"] == moment


def test_without_a_frozen_payload_this_calls_own_arguments_run() -> None:
    """The first attempt runs from the call itself; its before-image is the gate's own view."""
    args, before = called().stored(None)
    assert args == ARGS
    assert args is not ARGS
    assert before is None


def test_a_redacted_argument_is_not_stored_and_comes_from_the_call() -> None:
    """Neither argument nor record field is in the payload; the value that runs is this call's own."""
    secret = refunding(redact=("iban", "card"))
    call = called(secret, {**ARGS, "iban": "DE00-1"})
    payload = call.payload(View(before={"card": "4111", "paid": 80}))
    assert b"DE00-1" not in payload
    assert b"4111" not in payload
    assert from_canonical(payload)["before"] == {"paid": 80}
    assert call.stored(payload)[0]["iban"] == "DE00-1"


def test_what_a_path_names_is_not_stored_and_comes_from_the_call() -> None:
    """Parts of arguments and record are left out of the payload, in each element of a list; what runs is whole."""
    secret = refunding(redact=("customer.iban", "lines.card", "order.card"))
    customer = {"name": "Ana", "iban": "DE00-1"}
    lines = [{"sku": "a", "card": "4111-1"}, {"sku": "b", "card": "4111-2"}]
    call = called(secret, {**ARGS, "customer": customer, "lines": lines})
    payload = call.payload(View(before={"order": {"paid": 80, "card": "4111-3"}, "lines": lines}))
    assert b"DE00" not in payload
    assert b"4111" not in payload
    kept = from_canonical(payload)
    assert kept["args"] == {**ARGS, "customer": {"name": "Ana"}, "lines": [{"sku": "a"}, {"sku": "b"}]}
    assert kept["before"] == {"order": {"paid": 80}, "lines": [{"sku": "a"}, {"sku": "b"}]}
    assert call.stored(payload)[0] == {**ARGS, "customer": customer, "lines": lines}


def test_a_redacted_part_still_counts() -> None:
    """What a path leaves out is part of what the approval binds to, and another value is another change."""
    secret = refunding(redact="customer.iban")
    one, other = (called(secret, {**ARGS, "customer": {"iban": iban}}) for iban in ("DE00-1", "DE00-2"))
    assert one.args_hash != other.args_hash
    assert one.digest(View()) != other.digest(View())
    records = [View(before={"customer": {"iban": iban}}) for iban in ("DE00-1", "DE00-2")]
    assert one.digest(records[0]) != one.digest(records[1])


def test_a_redacted_argument_still_counts() -> None:
    """What is not written is still part of what the approval binds to: another value is another digest."""
    secret = refunding(redact="iban")
    one, other = (called(secret, {**ARGS, "iban": iban}) for iban in ("DE00-1", "DE00-2"))
    assert one.args_hash != other.args_hash
    assert one.digest(View()) != other.digest(View())


def test_an_entrys_body_holds_no_argument() -> None:
    """What and where are in the hashed body; arguments are in the payload alone, which can be erased."""
    body = called(call_id="call_1").body(verb="allow", target=None)
    assert b"parcel" not in body
    told = orjson.loads(body)
    assert (told["impact"], told["verb"], told["call_id"]) == ("money", "allow", "call_1")
    assert "target" not in told


def test_equal_facts_have_equal_bytes() -> None:
    """The order in which facts are named leaves no trace in a body."""
    assert called().body(verb="allow", at="now") == called().body(at="now", verb="allow")


# --- what can be told without asking ---


@pytest.mark.parametrize(
    ("after", "found", "there"),
    [
        ({"refunded": Decimal("12.50")}, {"refunded": 12.5, "paid": 80}, True),
        ({"refunded": 12}, {"refunded": 12.0}, True),
        ({"refunded": "12"}, {"refunded": 12}, False),
        ({"closed": True}, {"closed": 1}, False),
        ({"closed": None}, {}, False),
        ({"closed": None}, {"closed": None}, True),
        ({"refunded": 12, "closed": True}, {"refunded": 12, "closed": False}, False),
        ({"closed": True}, ABSENT, False),
        ({"closed": True}, None, False),
    ],
)
def test_an_effect_shows_where_every_expected_field_is_there(after: dict[str, Any], found: Any, *, there: bool) -> None:
    """Fields are compared by value as keys are; a missing field is not a null one, and no record has none."""
    assert holds(after, found) is there


def test_already_done_needs_a_stated_goal() -> None:
    """A record is "as wanted" only where expect said what is wanted."""
    assert View(before={"paid": 80}, after={"paid": 80}).already_done
    assert not View(before={"paid": 80}).already_done


def test_no_record_is_not_no_read_hook() -> None:
    """A record that is missing is told apart from one that nobody looked for."""
    assert is_missing(ABSENT)
    assert not is_missing(None)


@pytest.mark.parametrize(
    ("target", "named"),
    [("order_id", ("order_id",)), ("order/{order_id}/{line}", ("order_id", "line")), (record, ()), (None, ())],
)
def test_the_target_names_its_arguments(target: Any, named: tuple[str, ...]) -> None:
    """An argument's name or a template says which arguments must not be blank; a hook says none."""
    assert called(refunding(target=target)).target_arguments == named


def test_the_lease_outlasts_the_attempt() -> None:
    """The ledger keeps the action for the attempt's time and a margin for the settle's way."""
    call = called(refunding(timeout="10s"))
    assert call.lease_ms == (10 + LEASE_MARGIN_SECONDS) * 1000


def test_hooks_see_the_change_and_the_run() -> None:
    """An action has the key as hexadecimal digits, a copy of the arguments, and the facts that are known by then."""
    seen = called().action(attempt=2, before={"paid": 80})
    assert (seen.key, seen.intent, seen.run_id) == (called().key.hex(), "ticket/4711", str(RUN.run_id))
    assert (seen.attempt, seen.before, seen.result) == (2, {"paid": 80}, None)
    assert seen.args == ARGS
    assert seen.args is not ARGS


def test_a_call_has_its_contracts_kind() -> None:
    """What is known after a lost answer is the contract's word, not the call's."""
    assert called(refunding(keyed_for="24h")).kind is Kind.KEYED
    assert called().kind is Kind.BLIND
