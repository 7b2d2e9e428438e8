"""What is told of the signals: only what says something, never a value of the call, and in words for people."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.decisions import Decision, Source, Verb
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.routing import route
from langgraph_control.guards.signals import Breaker, Context, Equal, Prior, Progress, Risk, Signals, SystemState
from langgraph_control.guards.told_signals import signal_texts, told_signals
from tests.support.policies import NOW, calls, signals

POLICY = Policy.parse(
    "version: 1\nrules: [{tool: refund, when: {amount: {gt: 0, lte: 100}}, then: allow}]", source="control.yaml"
)


def decided(about: Signals) -> Decision:
    """Return what the policy decides."""
    return route(about, POLICY)


def test_of_an_ordinary_call_only_the_risk_is_told() -> None:
    """What has its neutral value says nothing."""
    about = signals(arguments={"amount": 5})
    assert told_signals(about, decided(about)) == {"risk.radius": "large"}


def test_every_signal_that_says_something_is_told() -> None:
    """By the names that rules use; times as what is left of them."""
    about = replace(
        signals(arguments={"amount": 5}),
        risk=Risk(reversible=True, amount=480),
        context=Context(read_failed=True, record_missing=True, already_done=True, changed=True, equal=Equal.DONE),
        system_state=SystemState(
            rate_limited_until=NOW + timedelta(seconds=3), breaker=Breaker.HALF_OPEN, error_rate=0.25, calls=8
        ),
        progress=Progress(prior=Prior.UNKNOWN, attempts=2, same_failures=1, deadline=NOW + timedelta(seconds=90)),
    )
    told = told_signals(about, replace(decided(about), radius=None, source=Source.RUN_STATE))
    assert told == {
        "risk.reversible": "true",
        "context.read_failed": "true",
        "context.record_missing": "true",
        "context.already_done": "true",
        "context.changed": "true",
        "context.equal": "done",
        "system.rate_limited": "true",
        "system.breaker": "half_open",
        "system.error_rate": "0.25",
        "system.calls": "8",
        "run.prior": "unknown",
        "run.attempts": "2",
        "run.same_failures": "1",
        "run.seconds_left": "90.0",
        "decided_by": "run state",
    }
    assert list(signal_texts(told))[:3] == [
        "it can be undone",
        "the record could not be read",
        "there is no such record",
    ]
    assert "run.prior: unknown" in signal_texts(told)


@given(calls())
def test_no_value_of_the_call_is_told(about: Signals) -> None:
    """Entries cannot be erased, so neither arguments nor fields of the record, nor amounts made of them, are in."""
    secret = replace(
        about,
        arguments=dict.fromkeys(about.arguments, "secret"),
        record={"flagged": "secret"},
        risk=replace(about.risk, amount=271828, count=271828),
    )
    decision = Decision(verb=Verb.ALLOW, reasons=(), requirement=None, matched=(), policy_hash="0" * 64)
    texts = " ".join((*told_signals(secret, decision), *told_signals(secret, decision).values()))
    assert "secret" not in texts
    assert "271828" not in texts


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whatever_is_stored_can_be_shown(stored: Any) -> None:
    """A card comes from where the agent runs."""
    assert all(isinstance(text, str) for text in signal_texts(stored))


@pytest.mark.parametrize("radius", ["small", "medium", "large"])
def test_the_radius_is_told_as_risk(radius: str) -> None:
    """The word that approvers know."""
    assert list(signal_texts({"risk.radius": radius})) == [f"risk: {radius}"]
