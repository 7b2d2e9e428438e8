"""Blast radius: from amount, count, impact and reversibility; what is missing never makes it smaller."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.policy import Policy
from langgraph_control.guards.risk import BASE, Assessment, Radius, RiskRule, assess
from langgraph_control.guards.routing import Verb, route
from langgraph_control.guards.signals import OPERATION_OF, Impact, Operation, Risk, Signals
from tests.support.policies import calls, risk_rules, signals, values

POLICY = Policy.parse(
    """\
version: 1
roles: {finance: [ana]}
risk:
  - {impact: money, amount: amount, medium: {amount: 100}, large: {amount: 5000}}
  - {tool: close, count: tickets, large: {count: 3}}
  - {tool: tag, count: size}
rules:
  - {tool: refund, when: {risk.radius: {eq: small}}, then: dry_run}
  - {impact: [money, bulk, record], when: {risk.radius: {in: [medium, large]}}, then: approve, by: finance}
""",
    source="p.yaml",
)


def found(call: Signals) -> tuple[Radius, bool]:
    """Radius and certainty of a call under the policy."""
    assessment = assess(call, POLICY.risk)
    return assessment.radius, assessment.certain


@pytest.mark.parametrize(
    ("amount", "radius", "certain"),
    [
        (99, Radius.SMALL, True),
        (100, Radius.MEDIUM, True),
        (Decimal("4999.99"), Radius.MEDIUM, True),
        (5000, Radius.LARGE, True),
        (-6000, Radius.LARGE, True),
        ("5", Radius.LARGE, False),
        (True, Radius.LARGE, False),
        (None, Radius.LARGE, False),
        (Decimal("NaN"), Radius.LARGE, False),
    ],
)
def test_an_amount_decides_by_the_policys_numbers(amount: Any, radius: Radius, certain: bool) -> None:  # noqa: FBT001
    """From `medium` and `large` on; what is no amount could be any."""
    assert found(signals(arguments={"amount": amount})) == (radius, certain)


@pytest.mark.parametrize(
    ("tickets", "radius", "certain"),
    [
        ([1, 2], Radius.MEDIUM, True),
        ([1, 2, 3], Radius.LARGE, True),
        (2, Radius.MEDIUM, True),
        ("many", Radius.LARGE, False),
        (None, Radius.LARGE, False),
    ],
)
def test_a_count_is_a_number_or_the_length_of_a_list(tickets: Any, radius: Radius, certain: bool) -> None:  # noqa: FBT001
    """The larger of what the count and what the impact say is the radius."""
    call = signals("close", impact=Impact.RECORD, arguments={"tickets": tickets})
    assert found(call) == (radius, certain)


@pytest.mark.parametrize(("size", "radius"), [(9, Radius.SMALL), (10, Radius.MEDIUM), (100, Radius.LARGE)])
def test_a_count_without_numbers_has_the_usual_ones(size: int, radius: Radius) -> None:
    """Ten are many and a hundred are very many, unless the policy says otherwise."""
    call = replace(signals("tag", impact=Impact.RECORD, arguments={"size": size}), risk=Risk(reversible=True))
    assert found(call) == (radius, True)


@given(st.sampled_from(Impact), st.booleans())
def test_without_numbers_the_impact_decides(impact: Impact, reversible: bool) -> None:  # noqa: FBT001
    """Impact and reversibility have a radius of their own; being able to undo never makes it larger."""
    call = replace(signals("note", impact=impact), risk=Risk(reversible=reversible))
    undone, kept = BASE[impact]
    assert assess(call, ()).radius is (undone if reversible else kept)
    assert list(Radius).index(undone) <= list(Radius).index(kept)


def test_what_the_contract_says_comes_first() -> None:
    """An amount, count or operation that the contract states is not read from the arguments."""
    call = signals(arguments={"amount": 1})
    stated = replace(call, risk=Risk(amount=7000, count=2, operation=Operation.RUN, reversible=True))
    assert dict(assess(stated, POLICY.risk).fields) == {
        "operation": "run",
        "reversible": True,
        "radius": "large",
        "amount": 7000,
        "count": 2,
    }
    assert assess(call, POLICY.risk).fields["operation"] == OPERATION_OF[Impact.MONEY]


def test_items_that_disagree_about_an_amount_leave_it_unknown() -> None:
    """Where two items of `risk` read different amounts, conditions on the amount find none."""
    rules = [RiskRule(place="a", amount="net"), RiskRule(place="b", amount="gross")]
    assert "amount" not in assess(signals(arguments={"net": 5, "gross": 6}), rules).fields
    assert assess(signals(arguments={"net": 5, "gross": 5}), rules).fields["amount"] == 5


@pytest.mark.parametrize(
    ("amount", "verb"), [(50, Verb.DRY_RUN), (500, Verb.APPROVE), (9000, Verb.APPROVE), (None, Verb.DENY)]
)
def test_rules_can_ask_for_the_radius(amount: Any, verb: Verb) -> None:
    """A rule over `risk.radius` fits all tools alike; where the radius is not known, none of them certainly matches."""
    assert route(signals(arguments={"amount": amount}), POLICY).verb is verb


@given(calls(), st.lists(risk_rules(), max_size=3), values)
def test_what_is_missing_never_makes_the_radius_smaller(call: Signals, rules: list[RiskRule], value: Any) -> None:
    """A radius that is certain without an argument is the same with it; else it counts as the largest."""
    without = assess(replace(call, arguments={}), rules)
    filled = assess(replace(call, arguments={"amount": value}), rules)
    order = list(Radius)
    assert order.index(without.radius) >= order.index(filled.radius)
    assert without.certain == ("radius" in without.fields)


@given(calls(), st.lists(risk_rules(), max_size=3), st.permutations(range(3)))
def test_the_order_of_items_decides_nothing(call: Signals, rules: list[RiskRule], order: list[int]) -> None:
    """Of several items about a call the largest radius counts, in whatever order they stand."""
    shuffled = [rules[place] for place in order if place < len(rules)]

    def plain(one: Assessment) -> tuple[Radius, bool, dict[str, object]]:
        return one.radius, one.certain, dict(one.fields)

    assert plain(assess(call, rules)) == plain(assess(call, shuffled))
