"""What signals decide by themselves: each row of the table, their order, and what they leave to the rules."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.decisions import Source, Verb
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.policy import Mode, Policy
from langgraph_control.guards.retry_rules import Caps, Named
from langgraph_control.guards.routing import route
from langgraph_control.guards.rules import Rule, Then
from langgraph_control.guards.signal_rows import CONTEXT, RUN_STATE, SYSTEM_STATE
from langgraph_control.guards.signals import (
    NO_CONTEXT,
    NO_PROGRESS,
    NO_SYSTEM_STATE,
    Breaker,
    Context,
    Equal,
    Prior,
    Progress,
    Signals,
    SystemState,
)
from tests.support.policies import NOW, as_strict, calls, policies, policy_of, signals, surroundings

ALLOWED = policy_of(
    [Rule(place="rules[0]", tools=("refund",), then=Then.ALLOW)],
    owners=replace(policy_of([]).owners, default="support"),
    retries=Named(given={"refund": {"attempts": 4}}),
    caps=Caps(tool_calls=100, retry_seconds=3600),
    breakers=Named(given={"billing": {"degraded_seconds": 5, "open_seconds": 20}}),
)
SOON = NOW + timedelta(seconds=90)
PAST = NOW - timedelta(seconds=1)


def decided(kind: Kind = Kind.VERIFIED, policy: Policy = ALLOWED, **around: Any) -> tuple[Verb, float | None]:
    """The verb and the waiting time for a refund that the rules allow."""
    decision = route(replace(signals(), kind=kind, **around), policy)
    return decision.verb, decision.seconds


RUN_STATES = [
    (Kind.VERIFIED, Progress(prior=Prior.UNKNOWN), Verb.VERIFY_FIRST),
    (Kind.BLIND, Progress(prior=Prior.UNKNOWN), Verb.ESCALATE),
    (Kind.KEYED, Progress(prior=Prior.UNKNOWN, attempts=1), Verb.ALLOW),
    (Kind.TRANSACTION, Progress(prior=Prior.UNKNOWN, attempts=1), Verb.ALLOW),
    (Kind.BLIND, Progress(prior=Prior.SUCCEEDED, attempts=1), Verb.DEDUPLICATE),
    (Kind.BLIND, Progress(prior=Prior.NOT_DONE, attempts=3), Verb.ALLOW),
    (Kind.BLIND, Progress(prior=Prior.NOT_DONE, attempts=4), Verb.ESCALATE),
    (Kind.BLIND, Progress(prior=Prior.NOT_DONE, attempts=2, same_failures=2), Verb.ALLOW),
    (Kind.BLIND, Progress(prior=Prior.NOT_DONE, attempts=3, same_failures=3), Verb.ESCALATE),
    (Kind.BLIND, Progress(prior=Prior.NOT_DONE, attempts=1, retrying_seconds=86399), Verb.ALLOW),
    (Kind.BLIND, Progress(prior=Prior.NOT_DONE, attempts=1, retrying_seconds=86400), Verb.ESCALATE),
    (Kind.BLIND, Progress(run_retrying_seconds=3600), Verb.ESCALATE),
    (Kind.BLIND, Progress(tool_calls=99), Verb.ALLOW),
    (Kind.BLIND, Progress(tool_calls=100), Verb.ESCALATE),
    (Kind.BLIND, Progress(deadline=SOON), Verb.ALLOW),
    (Kind.BLIND, Progress(deadline=NOW), Verb.ESCALATE),
    (Kind.BLIND, Progress(frozen=True), Verb.RETRY_LATER),
]


@pytest.mark.parametrize(("kind", "progress", "verb"), RUN_STATES)
def test_what_run_and_action_have_done_so_far(kind: Kind, progress: Progress, verb: Verb) -> None:
    """Unknown outcomes are cleared up first, what is used up or frozen stops, and a keyed effect goes on."""
    assert decided(kind, progress=progress) == (verb, None)


CONTEXTS = [
    (Context(read_failed=True), (Verb.RETRY_LATER, 60)),
    (Context(record_missing=True), (Verb.DENY, None)),
    (Context(already_done=True), (Verb.DEDUPLICATE, None)),
    (Context(changed=True), (Verb.DENY, None)),
    (Context(equal=Equal.UNDER_WAY), (Verb.RETRY_LATER, 60)),
    (Context(equal=Equal.DONE), (Verb.ESCALATE, None)),
]


@pytest.mark.parametrize(("context", "decision"), CONTEXTS)
def test_what_the_record_says(context: Context, decision: tuple[Verb, float | None]) -> None:
    """A record that is unreadable, missing, done, changed, or being changed by others is not simply written to."""
    assert decided(context=context) == decision


def test_a_change_after_an_attempt_may_be_our_own() -> None:
    """Once the action has begun, a changed record says nothing: its own effect changes it."""
    begun = Progress(prior=Prior.NOT_DONE, attempts=1)
    assert decided(context=Context(changed=True), progress=begun) == (Verb.ALLOW, None)


SYSTEM_STATES = [
    (SystemState(rate_limited_until=SOON), (Verb.RETRY_LATER, 90)),
    (SystemState(rate_limited_until=PAST), (Verb.ALLOW, None)),
    (SystemState(rate_limited_until=NOW), (Verb.ALLOW, None)),
    (SystemState(breaker=Breaker.OPEN, open_until=SOON), (Verb.RETRY_LATER, 90)),
    (SystemState(breaker=Breaker.OPEN, open_until=PAST), (Verb.RETRY_LATER, 0)),
    (SystemState(breaker=Breaker.OPEN), (Verb.RETRY_LATER, 20)),
    (SystemState(breaker=Breaker.HALF_OPEN), (Verb.RETRY_LATER, 20)),
    (SystemState(breaker=Breaker.HALF_OPEN, probe=True), (Verb.ALLOW, None)),
    (SystemState(error_rate=1.0, calls=1000), (Verb.ALLOW, None)),  # its breaker's to say
    (SystemState(latency_seconds=5), (Verb.ALLOW, None)),
]


@pytest.mark.parametrize(("state", "decision"), SYSTEM_STATES)
def test_how_the_system_is_doing(state: SystemState, decision: tuple[Verb, float | None]) -> None:
    """A system that asked for rest, is down or is being probed gets no call, and the decision says how long."""
    assert decided(system_state=state) == decision


def test_a_slow_system_gets_no_write_whose_lost_answer_nobody_could_clear_up() -> None:
    """On a degraded system blind writes wait; what can be repeated or read back goes on."""
    slow = SystemState(latency_seconds=5.0)
    assert decided(Kind.BLIND, system_state=slow) == (Verb.RETRY_LATER, 20)
    assert decided(Kind.KEYED, system_state=slow) == (Verb.ALLOW, None)
    assert decided(Kind.BLIND, system_state=SystemState(latency_seconds=4.9)) == (Verb.ALLOW, None)


@pytest.mark.parametrize(
    ("then", "verb"),
    [("allow", Verb.RETRY_LATER), ("approve, by: a", Verb.RETRY_LATER), ("dry_run", Verb.DRY_RUN), ("deny", Verb.DENY)],
)
def test_a_system_holds_back_only_what_would_be_let_through(then: str, verb: Verb) -> None:
    """What the rules would not do anyway is said at once; nobody approves what cannot be done now."""
    policy = Policy.parse(f"version: 1\nroles: {{a: [b]}}\nrules: [{{tool: refund, then: {then}}}]", source="p.yaml")
    decision = route(replace(signals(), system_state=SystemState(rate_limited_until=SOON)), policy)
    assert decision.verb is verb
    assert decision.requirement is None
    assert [match.place for match in decision.heard] == ["rules[0] p.yaml:3"]


@given(policies)
def test_where_nothing_is_known_no_row_applies(policy: Policy) -> None:
    """The shortcut that skips the rows of a neutral signal skips nothing."""
    call = signals()
    neutral = (call.progress, call.context, call.system_state)
    assert neutral == (NO_PROGRESS, NO_CONTEXT, NO_SYSTEM_STATE)
    assert not any(row.holds(call, policy) for row in (*RUN_STATE, *CONTEXT, *SYSTEM_STATE))


@given(policies, calls(), surroundings())
def test_what_is_known_beside_the_rules_never_lets_more_through(
    policy: Policy, call: Signals, around: dict[str, Any]
) -> None:
    """Whatever context, system and progress say, a write that the rules do not let through is not let through."""
    decision = route(replace(call, **around), policy)
    if decision.verb in {Verb.ALLOW, Verb.APPROVE}:
        assert as_strict(decision, route(call, policy))


@given(policies, calls(), surroundings())
def test_an_unknown_outcome_is_never_written_over(policy: Policy, call: Signals, around: dict[str, Any]) -> None:
    """While an effect that is not keyed may have happened, no decision lets the write run, also in observe mode."""
    unknown = replace(around["progress"], prior=Prior.UNKNOWN)
    verb = route(replace(call, **(around | {"progress": unknown})), policy).verb
    if call.kind in {Kind.VERIFIED, Kind.BLIND}:
        assert verb is (Verb.VERIFY_FIRST if call.kind is Kind.VERIFIED else Verb.ESCALATE)


def test_who_owns_what_is_escalated() -> None:
    """A row that escalates names the policy's owner; other writes of the saga that are in effect are told."""
    decision = route(replace(signals(), progress=Progress(deadline=PAST, applied=2)), ALLOWED)
    assert (decision.verb, decision.owner, decision.source) == (Verb.ESCALATE, "support", Source.RUN_STATE)
    assert decision.reasons == ("the run's deadline has passed", "2 other writes of the same saga are in effect")
    denied = route(replace(signals("pay"), progress=Progress(applied=2)), ALLOWED)
    assert denied.reasons[-1] == "2 other writes of the same saga are in effect"
    allowed = route(replace(signals(), progress=Progress(applied=2)), ALLOWED)
    assert allowed.reasons == ("rules[0] says allow",)


OBSERVING = """\
version: 1
mode: observe
roles: {finance: [ana, bo]}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: refund, when: {amount: {gt: 100, lte: 5000}}, then: approve, by: finance}
tests:
  - {call: refund, with: {amount: 500}, expect: approve, by: finance}
  - {call: refund, with: {amount: 9000}, expect: deny}
"""


@pytest.mark.parametrize(
    ("amount", "would"), [(500, "approve by 1 of finance"), (Decimal(9000), "deny"), (None, "deny")]
)
def test_observing_lets_run_and_says_loudly_what_would_have_been(amount: Any, would: str) -> None:
    """What the rules would not allow runs; the decision holds what they would say, and its first reason shouts."""
    decision = route(signals(arguments={"amount": amount}), Policy.parse(OBSERVING, source="p.yaml"))
    assert decision.verb is Verb.ALLOW
    assert decision.requirement is None
    assert decision.observed is not None
    assert decision.observed.spoken == would
    assert decision.reasons[0] == f"OBSERVE: the policy would say {would}, and is not enforced"


def test_observing_changes_nothing_about_what_is_allowed() -> None:
    """Where policy and tool agree there is nothing to observe."""
    decision = route(signals(arguments={"amount": 50}), Policy.parse(OBSERVING, source="p.yaml"))
    assert (decision.verb, decision.observed) == (Verb.ALLOW, None)


def test_a_file_that_observes_tests_what_it_would_decide() -> None:
    """Inline tests are about the rules, whether they are enforced or not."""
    assert Policy.parse(OBSERVING, source="p.yaml").run_tests() == ()


@given(policies, calls(), surroundings())
def test_observing_relaxes_the_rules_and_nothing_else(policy: Policy, call: Signals, around: dict[str, Any]) -> None:
    """Beside the rules every decision is the enforced one; what is observed is what would have been enforced."""
    call = replace(call, **around)
    observing = route(call, replace(policy, mode=Mode.OBSERVE))
    enforcing = route(call, replace(policy, mode=Mode.ENFORCE))
    if enforcing.source is not Source.RULES:
        assert observing.verb is enforcing.verb
    elif observing.source is Source.RULES and enforcing.verb is not Verb.ALLOW:
        assert (observing.verb, observing.observed) == (Verb.ALLOW, enforcing)


@given(st.sampled_from(Verb), st.sampled_from(Verb))
def test_strictness_is_total(one: Verb, other: Verb) -> None:
    """Of any two verbs one is stricter, or they are the same; rules' verbs are in the same order."""
    assert (one.strictness == other.strictness) == (one is other)
    of_rules = {then.value: then.strictness for then in Then}
    if {one.value, other.value} <= set(of_rules):
        assert (one.strictness < other.strictness) == (of_rules[one.value] < of_rules[other.value])
