"""Conditions on ``system.…`` and ``run.…``: what they read, what a file may say of them, and what they never do."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from langgraph_control.errors import PolicyError
from langgraph_control.guards.conditions import ABSENT, Facts
from langgraph_control.guards.decisions import Source, Verb
from langgraph_control.guards.keys import twin
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.looks import Looks
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.routing import route, route_for_claim
from langgraph_control.guards.signal_fields import SIGNAL_FIELDS, given
from langgraph_control.guards.signals import Breaker, Context, Equal, Impact, Prior, Progress, Signals, SystemState
from tests.support.policies import NOW, calls, policies, signals, surroundings

READ: list[tuple[str, Any, object]] = [
    ("system.rate_limited", True, True),
    ("system.rate_limited", False, False),
    ("system.breaker", "half_open", "half_open"),
    ("system.error_rate", Decimal("0.25"), Decimal("0.25")),
    ("system.calls", 7, 7),
    ("system.latency_seconds", Decimal("1.5"), Decimal("1.5")),
    ("run.prior", "unknown", "unknown"),
    ("run.attempts", 3, 3),
    ("run.same_failures", 2, 2),
    ("run.tool_calls", 9, 9),
    ("run.retrying_seconds", 60, Decimal("60.0")),
    ("run.seconds_left", 90, Decimal("90.0")),
]


@pytest.mark.parametrize(("field", "value", "read"), READ)
def test_each_field_reads_what_is_given_for_it(field: str, value: Any, read: object) -> None:
    """What a test of the file gives for a field is what a condition on that field sees."""
    assert Facts(given(signals(), {field: value})).value(field) == read


def test_each_field_is_tried_above() -> None:
    """No field is left out of the table."""
    assert {field for field, _, _ in READ} == set(SIGNAL_FIELDS)


def test_what_nobody_did_is_nothing() -> None:
    """Before anything happened there are no calls, no failures and no time spent; without a deadline none is left."""
    facts = Facts(signals())
    assert [facts.value(f"run.{name}") for name in ("attempts", "tool_calls", "retrying_seconds")] == [0, 0, 0]
    assert [facts.value(f"system.{name}") for name in ("calls", "error_rate", "latency_seconds")] == [0, 0, 0]
    assert facts.value("run.seconds_left") is None


def test_without_a_system_nothing_is_known_of_it() -> None:
    """Of a tool whose contract names no system every `system.…` is missing, which never allows."""
    facts = Facts(signals(system=None))
    assert {facts.value(field) for field in SIGNAL_FIELDS if field.startswith("system.")} == {None}


def test_an_argument_of_that_name_is_no_signal() -> None:
    """An argument called `run` is an argument; what is inside it cannot be looked into."""
    facts = Facts(signals(arguments={"run": {"attempts": 5}, "system": "x"}))
    assert (facts.value("run"), facts.value("system"), facts.value("run.attempts")) == ({"attempts": 5}, "x", 0)
    assert facts.value("other.attempts") is ABSENT


def read(text: str) -> Policy:
    """Read a policy of these lines."""
    return Policy.parse(f"version: 1\nroles: {{a: [b]}}\nowner: a\n{text}", source="p.yaml")


WRONG = [
    ("rules: [{tool: t, when: {run.attempt: {gt: 1}}, then: deny}]", "policy_field", "did you mean run.attempts?"),
    ("rules: [{tool: t, when: {system.up: {is: true}}, then: deny}]", "policy_field", "did you mean system."),
    ("rules: [{tool: t, when: {system.breaker: {eq: broken}}, then: deny}]", "policy_operand", "half_open"),
    ("tests: [{call: t, with: {run.attempts: many}, expect: deny}]", "policy_field", "a whole number from 0 to 10000"),
    ("tests: [{call: t, with: {run.attempts: 1.5}, expect: deny}]", "policy_field", "a whole number from 0 to 10000"),
    ("tests: [{call: t, with: {run.seconds_left: -1}, expect: deny}]", "policy_field", "a number from 0 to 10000"),
    ("tests: [{call: t, with: {run.seconds_left: 1e400}, expect: deny}]", "policy_field", "a number from 0 to 10000"),
    ("tests: [{call: t, system: s, with: {system.error_rate: 7}, expect: deny}]", "policy_field", "from 0 to 1"),
    ("tests: [{call: t, with: {run.prior: done}, expect: deny}]", "policy_field", "one of: none"),
    ("tests: [{call: t, with: {run.prior: [none]}, expect: deny}]", "policy_field", "one of: none"),
    ("tests: [{call: t, system: s, with: {system.rate_limited: 1}, expect: deny}]", "policy_field", "true or false"),
    ("tests: [{call: t, with: {system.calls: 1}, expect: deny}]", "policy_key_unused", "this needs `system`"),
    ("tests: [{call: t, with: {run.seconds: 1}, expect: deny}]", "policy_field", "run.seconds_left"),
    ("limits: [{tool: t, sum: run.attempts, max: 5, per: day}]", "policy_field", "name an argument"),
    ("risk: [{tool: t, amount: system.calls, large: {amount: 5}}]", "policy_field", "name an argument"),
    ("context: [{equal_within: 1h}]", "policy_rule_about_nothing", "tool, impact or system"),
    ("context: [{tool: t}]", "policy_missing_key", "`equal_within` or `changed`"),
    ("context: [{tool: t, changed: ask}]", "policy_value", "'deny'"),
    ("context: [{tool: t, equal_within: -1h}]", "policy_duration", "write a time"),
]


@pytest.mark.parametrize(("text", "code", "words"), WRONG)
def test_what_cannot_be_meant_is_an_error(text: str, code: str, words: str) -> None:
    """A field that there is not, a value it cannot have, and what nothing would read are pointed out."""
    with pytest.raises(PolicyError) as wrong:
        read(text)
    assert wrong.value.code == code
    assert words in str(wrong.value)


def test_a_bounded_counter_is_no_bounded_amount() -> None:
    """An allow rule for money that bounds attempts or error rates has bounded no amount."""
    policy = read("rules: [{tool: pay, when: {run.attempts: {gte: 0, lt: 3}}, then: allow}]")
    with pytest.raises(PolicyError, match="without an amount bounded"):
        policy.check_tools({"pay": Impact.MONEY})


ASKING = """\
context:
  - {impact: money, equal_within: 1h}
  - {tool: refund, equal_within: 2h, changed: deny}
rules:
  - {tool: refund, when: {run.attempts: {gt: 2}}, then: escalate}
  - {system: crm, when: {system.calls: {gt: 2}}, then: deny}
tests:
  - {call: refund, with: {run.attempts: 3}, effect: blind, expect: escalate}
  - {call: note, system: crm, with: {system.calls: 3}, expect: deny}
"""


def test_only_rules_about_the_call_ask() -> None:
    """What is gathered for a call is what a rule about it looks at, and what `context:` says of it."""
    policy = read(ASKING)
    assert policy.run_tests() == ()
    asked = {(name, head): policy.asks(head, signals(name)) for name in ("refund", "pay") for head in ("run", "system")}
    assert [key for key, asks in asked.items() if asks] == [("refund", "run")]
    assert policy.asks("system", signals("pay", system="crm"))
    assert policy.looks_for("refund", Impact.MONEY, None) == Looks(equal_within_seconds=7200, changed=True)
    assert policy.looks_for("pay", Impact.MONEY, None) == Looks(equal_within_seconds=3600)
    assert policy.looks_for("pay", Impact.RECORD, None) == Looks()


@pytest.mark.parametrize("field", [field for field, known in SIGNAL_FIELDS.items() if not (known.words or known.flag)])
def test_the_largest_number_that_may_be_given_can_be_decided_about(field: str) -> None:
    """What the file may say of a number can be reckoned with, to its end, and no further."""
    most = SIGNAL_FIELDS[field].most
    text = "tests: [{call: t, system: s, impact: money, effect: blind, with: {%s: %s}, expect: deny}]"
    assert len(read(text % (field, most)).run_tests()) <= 1
    with pytest.raises(PolicyError, match=f"from 0 to {most}"):
        read(text % (field, most + 1))


@drawn(policies, calls(), surroundings())
def test_before_a_claim_nothing_is_decided_that_the_claim_decides(
    policy: Policy, call: Signals, around: dict[str, Any]
) -> None:
    """Rate limits, breakers and what run and action have used up make no decision before the claim."""
    decision = route_for_claim(replace(call, **around), policy)
    assert decision.source is not Source.RUN_STATE
    if decision.source is Source.SYSTEM_STATE:
        assert "slow" in decision.reasons[0]


@drawn(policies, calls(), surroundings())
def test_before_a_claim_no_less_is_decided_than_by_the_rules_alone(
    policy: Policy, call: Signals, around: dict[str, Any]
) -> None:
    """What the claim adds only holds back: where all that is known lets a write through, so does this."""
    known = replace(call, **around)
    if route(known, policy).verb is Verb.ALLOW:
        assert route_for_claim(known, policy).verb is Verb.ALLOW


def test_equal_actions_and_changed_records_are_decided_before_the_claim() -> None:
    """No claim looks for them, so they are not left to it."""
    policy = read("rules: [{tool: refund, then: allow}]")
    for context, verb in (
        (Context(equal=Equal.DONE), Verb.ESCALATE),
        (Context(equal=Equal.UNDER_WAY), Verb.RETRY_LATER),
        (Context(changed=True), Verb.DENY),
    ):
        assert route_for_claim(replace(signals(), context=context), policy).verb is verb
    limited = SystemState(rate_limited_until=NOW + timedelta(seconds=9), breaker=Breaker.OPEN)
    used_up = Progress(prior=Prior.UNKNOWN, attempts=99)
    held = replace(signals(), kind=Kind.BLIND, system_state=limited, progress=used_up)
    assert (route(held, policy).verb, route_for_claim(held, policy).verb) == (Verb.ESCALATE, Verb.ALLOW)


@drawn(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_twin_is_of_one_tool_and_its_arguments(one: bytes, other: bytes) -> None:
    """Two actions have the same twin if tool and arguments are the same, and only then."""
    secret = bytes(32)
    assert twin(secret, tool="pay", args_hash=one) == twin(secret, tool="pay", args_hash=one)
    assert (twin(secret, tool="pay", args_hash=one) == twin(secret, tool="pay", args_hash=other)) == (one == other)
    assert twin(secret, tool="pay", args_hash=one) != twin(secret, tool="refund", args_hash=one)
