"""Dead rules: what is called dead makes no difference to any call."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.conditions import Condition
from langgraph_control.guards.decisions import Decision
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.routing import route
from langgraph_control.guards.rule_cover import contradiction
from langgraph_control.guards.rules import Rule, Then
from langgraph_control.guards.signals import Signals
from tests.support.policies import calls, conditions, drawn_policies, like, policy_of, rules, signals

HEAD = "version: 1\nroles: {finance: [a, b], support: [c]}\nowner: support\nrules:\n"


def dead(*lines: str, more: str = "") -> list[tuple[str, str]]:
    """The dead rules of a file with these rules, each with what takes its place."""
    policy = Policy.parse(HEAD + "".join(f"  - {line}\n" for line in lines) + more, source="p")
    return [(rule.place.split(" ")[0], rule.because.split(" ")[0]) for rule in policy.dead_rules()]


REFUND = "{tool: refund, when: {amount: {gt: 0, lte: 100}}, then: allow}"

DEAD = [
    (REFUND, "{tool: refund, then: deny}"),
    (REFUND, "{tool: [refund, pay], when: {amount: {gt: 0, lte: 500}}, then: approve, by: finance}"),
    (REFUND, "{tool: refund, when: {amount: {gte: 0, lte: 100}}, then: dry_run}"),
    (REFUND, "{tool: refund, when: {amount: {ne: 500}}, then: deny}"),
    (REFUND, REFUND.replace("lte: 100", "lte: 200")),
    ("{tool: x, system: crm, then: allow}", "{system: [crm, erp], then: escalate}"),
    (
        "{tool: x, when: {to: {eq: a@b.example}}, then: allow}",
        "{tool: x, when: {to: {like: '*@b.example'}}, then: deny}",
    ),
    ("{tool: x, when: {to: {in: [DE, FR]}}, then: allow}", "{tool: x, when: {to: {in: [DE, FR, IT]}}, then: deny}"),
    ("{tool: x, when: {to: {not_in: [DE, FR]}}, then: allow}", "{tool: x, when: {to: {ne: DE}}, then: deny}"),
    (
        "{tool: x, when: {to: {like: 'dev-*@b.example'}}, then: allow}",
        "{tool: x, when: {to: {like: '*b.example'}}, then: deny}",
    ),
    ("{tool: x, when: {to: {not_like: 'a*'}}, then: allow}", "{tool: x, when: {to: {not_like: 'a*b*'}}, then: deny}"),
    ("{tool: x, then: approve, by: finance}", "{tool: x, then: approve, by: {finance: 2}}"),
    ("{tool: x, environment: staging, then: allow}", "{environment: [staging, test], then: dry_run}"),
    ("{tool: x, tenant: acme, effect: blind, then: allow}", "{tool: x, effect: [blind, keyed], then: deny}"),
]

ALIVE = [
    (REFUND, "{impact: money, then: deny}"),
    (REFUND, "{tool: refund, when: {amount: {gt: 0, lt: 100}}, then: deny}"),
    (REFUND, "{tool: refund, when: {amount: {ne: 100}}, then: deny}"),
    (REFUND, "{tool: refund, when: {record.flagged: {is: true}}, then: deny}"),
    (REFUND, "{tool: refund, when: {amount: {gt: 0, lte: 100}}, system: crm, then: deny}"),
    ("{tool: x, when: {to: {in: [DE, FR]}}, then: allow}", "{tool: x, when: {to: {in: [DE, IT]}}, then: deny}"),
    ("{tool: x, when: {to: {not_in: [DE]}}, then: allow}", "{tool: x, when: {to: {not_in: [DE, FR]}}, then: deny}"),
    ("{tool: x, when: {to: {like: 'a*'}}, then: allow}", "{tool: x, when: {to: {like: '*a*b'}}, then: deny}"),
    ("{tool: x, when: {to: {not_like: 'a*'}}, then: allow}", "{tool: x, when: {to: {not_like: '*a'}}, then: deny}"),
    ("{tool: x, then: approve, by: finance}", "{tool: x, then: approve, by: support}"),
    ("{tool: x, then: approve, by: {finance: 2}}", "{tool: x, then: approve, by: finance, comment: required}"),
    ("{tool: x, then: escalate, to: finance}", "{tool: x, then: escalate, to: support}"),
    ("{tool: x, when: {a: {is: true}}, then: allow}", "{tool: x, when: {a: {ne: b}}, then: deny}"),
    ("{tool: x, then: deny}", "{tool: y, then: deny}"),
]


@pytest.mark.parametrize(("narrow", "wide"), DEAD)
def test_a_rule_that_a_stricter_or_equal_one_covers_is_dead(narrow: str, wide: str) -> None:
    """In whatever order they stand."""
    assert ("rules[0]", "rules[1]") in dead(narrow, wide)
    assert ("rules[1]", "rules[0]") in dead(wide, narrow)


@pytest.mark.parametrize(("one", "other"), ALIVE)
def test_rules_that_some_call_tells_apart_are_not_dead(one: str, other: str) -> None:
    """A rule is called dead only where that is certain."""
    assert dead(one, other) == []


def test_of_two_equal_rules_the_later_one_is_the_surplus() -> None:
    """One of them has to stay."""
    assert dead(REFUND, REFUND) == [("rules[1]", "rules[0]")]


def test_otherwise_is_dead_where_a_rule_always_matches_or_a_stricter_item_stands() -> None:
    """What is never asked, and what never decides."""
    otherwise = "otherwise: [{impact: record, then: allow}, {impact: [record, delete], then: deny}]\n"
    assert dead("{tool: x, then: deny}", more=otherwise) == [("otherwise[0]", "otherwise[1]")]
    assert dead("{impact: record, then: deny}", more=otherwise) == [("otherwise[0]", "otherwise[1]")]
    alone = "otherwise: [{impact: record, then: allow}]\n"
    assert dead("{impact: record, then: deny}", more=alone) == [("otherwise[0]", "rules[0]")]
    assert dead("{impact: record, when: {a: {eq: b}}, then: deny}", more=alone) == []


def test_what_records_mean_can_make_a_rule_dead() -> None:
    """An allow rule for flagged records never decides where flagged records are escalated."""
    allow = "{tool: x, when: {record.flagged: {is: true}}, then: allow}"
    meaning = "records: [{tool: x, flagged: {flagged: {is: true}}}]\n"
    assert dead(allow, more=meaning) == [("rules[0]", "records[0].flagged")]
    assert dead(allow, more=meaning.replace("tool: x", "system: y")) == []
    assert dead("{system: y, then: allow}", more=meaning.replace("tool: x,", "system: y, exempt: z,")) == []


@given(drawn_policies(), rules(), st.lists(calls(), min_size=1, max_size=5))
def test_without_its_dead_rules_a_policy_decides_the_same(policy: Policy, rule: Rule, some: list[Signals]) -> None:
    """Whatever is called dead, taking it away changes verb, people, owner and question of no decision."""
    # Two rules that are alike but for what they decide are often enough one inside the other.
    policy = like(policy, [*policy.rules, rule, *(_tightened(one, rule) for one in policy.rules[:2])])
    policy = like(policy, [_placed(one, place) for place, one in enumerate(policy.rules)])
    surplus = {found.place for found in policy.dead_rules()}
    rest = like(policy, [one for one in policy.rules if one.place not in surplus])
    for call in some:
        assert _comes_to(route(call, rest)) == _comes_to(route(call, policy))


def _tightened(one: Rule, other: Rule) -> Rule:
    return replace(one, then=other.then, requirement=other.requirement, to=other.to, question=other.question)


def _placed(rule: Rule, place: int) -> Rule:
    return replace(rule, place=f"rules[{place}]")


def _comes_to(decision: Decision) -> tuple[object, ...]:
    return decision.verb, decision.requirement, decision.owner, decision.question


@given(st.lists(conditions(), min_size=2, max_size=3), calls())
def test_what_contradicts_itself_matches_no_call(drawn: list[Condition], call: Signals) -> None:
    """Where conditions on one field are called contradictory, no value meets all of them."""
    same = [Condition(field="amount", operator=one.operator, operand=one.operand) for one in drawn]
    policy = policy_of([Rule(place="rules[0]", tools=("refund",), conditions=tuple(same), then=Then.ALLOW)])
    asked = signals(arguments=call.arguments, record=call.record)
    if contradiction(same) is not None:
        assert route(asked, policy).matched == ()
