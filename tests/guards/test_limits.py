"""Budgets: what a call takes of them, and that what cannot be counted does not go through."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from langgraph_control.guards.limits import Each, Limit, Per
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.routing import Verb, route
from langgraph_control.guards.rules import Rule, Then
from langgraph_control.guards.signals import Impact, Signals
from tests.support.policies import as_strict, calls, enforced, policy_of, signals

MONEY = Limit(place="limits[0]", name="m", impacts=(Impact.MONEY,), sum="amount", max=1000, per=Per.DAY)
CALLS = Limit(place="limits[1]", name="c", max=5, per=Per.RUN, each=(Each.AGENT, Each.TOOL))
ALLOW = Rule(place="rules[0]", tools=("refund",), then=Then.ALLOW)


def charged(limit: Limit, call: Signals) -> tuple[Verb, list[tuple[tuple[str, ...], Any]]]:
    """What a call that the rules allow comes to, and what it takes: whose budget, and how much."""
    policy = policy_of([ALLOW], limits=(limit,))
    return route(call, policy).verb, [(one.bucket, one.amount) for one in policy.charges(call)]


@pytest.mark.parametrize("amount", [0, 250, Decimal("99.90"), 5000])
def test_a_sum_takes_the_number_of_the_call(amount: Any) -> None:
    """What is added up is the argument's number, in the tenant's budget."""
    assert charged(MONEY, signals(arguments={"amount": amount})) == (Verb.ALLOW, [(("acme",), amount)])


@pytest.mark.parametrize("amount", [None, "250", True, -1, Decimal("NaN"), Decimal("-0.01"), [250]])
def test_what_cannot_be_counted_does_not_go_through(amount: Any) -> None:
    """Missing, no number, or negative, which would give back what others took: denied, with the limit in the reason."""
    call = signals(arguments={"amount": amount})
    assert charged(MONEY, call) == (Verb.DENY, [])
    reason = route(call, policy_of([ALLOW], limits=(MONEY,))).reasons[-1]
    assert reason == "limits[0] cannot be counted, for it needs amount (a number from 0 on) and the tenant: denied"


def test_a_count_takes_one_of_each_ones_own_budget() -> None:
    """Calls are counted for each agent and tool; without knowing the agent nothing can be counted."""
    call = signals()
    assert charged(CALLS, replace(call, agent="desk")) == (Verb.ALLOW, [(("desk", "refund"), 1)])
    assert charged(CALLS, call) == (Verb.DENY, [])


def test_a_sum_may_be_of_what_risk_says() -> None:
    """`risk.amount` and `risk.count` can be added up, whatever the argument is called."""
    policy = Policy.parse(
        "version: 1\nrisk: [{tool: tag, count: ids}]\nrules: [{tool: tag, then: allow}]", source="p.yaml"
    )
    limit = replace(MONEY, impacts=(), sum="risk.count")
    call = signals("tag", arguments={"ids": [1, 2, 3]}, impact=Impact.RECORD)
    assert [one.amount for one in replace(policy, limits=(limit,)).charges(call)] == [3]


def test_a_limit_about_something_else_takes_nothing() -> None:
    """Only limits about the tool, impact and system are looked at."""
    assert charged(MONEY, signals(impact=Impact.RECORD)) == (Verb.ALLOW, [])
    assert charged(replace(MONEY, systems=("crm",)), signals()) == (Verb.ALLOW, [])
    assert charged(replace(MONEY, tools=("pay",)), signals()) == (Verb.ALLOW, [])


@given(enforced, calls())
def test_a_limit_never_loosens(policy: Policy, call: Signals) -> None:
    """Adding a budget makes no decision looser."""
    assert as_strict(route(call, replace(policy, limits=(MONEY, CALLS))), route(call, policy))
