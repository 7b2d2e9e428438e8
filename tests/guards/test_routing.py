"""Routing: the strictest rule wins, missing fields never loosen, and every decision says why."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.approvals import stricter
from langgraph_control.guards.decisions import Source
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.routing import Fit, Verb, explain, route
from langgraph_control.guards.rules import Rule, Then
from langgraph_control.guards.signals import Context, Impact, Signals
from tests.support.policies import (
    REFUNDS,
    as_strict,
    calls,
    enforced,
    like,
    policies,
    policy_of,
    record_rules,
    rules,
    signals,
    surroundings,
    values,
)

REFUND_POLICY = Policy.parse(REFUNDS, source="policy.yaml")


@given(policies, calls(), st.randoms(use_true_random=False))
def test_the_order_of_rules_decides_nothing(policy: Policy, call: Signals, random: Any) -> None:
    """Shuffling a file's rules never changes verb or requirement."""
    shuffled = list(policy.rules)
    random.shuffle(shuffled)
    one, other = route(call, policy), route(call, like(policy, shuffled))
    assert (one.verb, one.requirement, one.owner, one.question) == (
        other.verb,
        other.requirement,
        other.owner,
        other.question,
    )
    assert sorted(one.matched) == sorted(other.matched)


@given(enforced, calls(), rules(then=Then.DENY))
def test_a_further_deny_rule_never_loosens(policy: Policy, call: Signals, rule: Rule) -> None:
    """Whatever a deny rule is about, adding it makes no decision looser."""
    assert as_strict(route(call, like(policy, [*policy.rules, rule])), route(call, policy))


@given(enforced, calls(), rules().filter(lambda rule: rule.then is not Then.ALLOW))
def test_a_further_rule_that_allows_nothing_never_loosens_what_rules_decide(
    policy: Policy, call: Signals, rule: Rule
) -> None:
    """Where some rule matches already, adding any but an allow rule makes the decision no looser.

    (Where none matches, it takes the place of `otherwise`, as the file's author asks for: the next test.)
    """
    if any(
        judgement.fit is Fit.MATCHED for judgement in explain(call, policy_of(policy.rules, risk=policy.risk)).rules
    ):
        assert as_strict(route(call, like(policy, [*policy.rules, rule])), route(call, policy))


@given(enforced, calls(), rules().filter(lambda rule: rule.then is not Then.ALLOW))
def test_a_further_rule_decides_no_looser_than_it_says_itself(policy: Policy, call: Signals, rule: Rule) -> None:
    """Where it takes part, also where no rule matched before, its own decision is the least there is; never allow."""
    before, after = route(call, policy), route(call, like(policy, [*policy.rules, rule]))
    if explain(call, policy_of([rule], risk=policy.risk)).rules[0].counts:
        assert after.verb is not Verb.ALLOW
        assert as_strict(after, replace(after, verb=Verb(rule.then), requirement=rule.requirement))
    else:
        assert (after.verb, after.requirement) == (before.verb, before.requirement)


@given(enforced, calls(), rules().filter(lambda rule: rule.then is not Then.ALLOW))
def test_only_an_allow_rule_makes_a_decision_allow(policy: Policy, call: Signals, rule: Rule) -> None:
    """Whatever else is added to the rules, a call that was not simply allowed before is not simply allowed after."""
    if route(call, like(policy, [*policy.rules, rule])).verb is Verb.ALLOW:
        assert route(call, policy).verb is Verb.ALLOW


@given(enforced, calls(), record_rules())
def test_what_records_mean_never_loosens(policy: Policy, call: Signals, meaning: Rule) -> None:
    """Saying what a field of the record means makes no decision looser, whatever rules and `otherwise` say."""
    assert as_strict(route(call, replace(policy, records=(*policy.records, meaning))), route(call, policy))


@given(enforced, calls(), st.sampled_from(["amount", "country"]), values)
def test_a_missing_argument_is_answered_at_least_as_strictly_as_any_value(
    policy: Policy, call: Signals, name: str, value: Any
) -> None:
    """Leaving a field out gains nothing: no value it could have had would be treated more strictly."""
    without = {key: kept for key, kept in call.arguments.items() if key != name}
    missing = replace(call, arguments=without)
    filled = replace(call, arguments={**without, name: value})
    assert as_strict(route(missing, policy), route(filled, policy))


@given(enforced, calls(), values)
def test_an_unread_record_is_answered_at_least_as_strictly_as_any_record(
    policy: Policy, call: Signals, value: Any
) -> None:
    """A contract without a read hook gains nothing by it."""
    blind, seen = replace(call, record=None), replace(call, record={"flagged": value})
    assert as_strict(route(blind, policy), route(seen, policy))


@given(st.lists(rules(), max_size=5), calls())
def test_a_missing_field_never_allows(drawn: list[Rule], call: Signals) -> None:
    """Where every allow rule asks for a field the call lacks, nothing is allowed."""
    blank = signals(call.tool, impact=call.impact, system=call.system)
    conditional = [rule for rule in drawn if rule.then is not Then.ALLOW or rule.conditions]
    assert route(blank, policy_of(conditional)).verb is not Verb.ALLOW


@given(policies, calls(), surroundings())
def test_a_decision_is_whole(policy: Policy, call: Signals, around: dict[str, Any]) -> None:
    """Every decision has reasons and the policy's hash, and a requirement exactly when people are asked."""
    decision = route(replace(call, **around), policy)
    assert decision.reasons
    assert decision.policy_hash == policy.hash
    assert (decision.requirement is not None) == (decision.verb is Verb.APPROVE)
    assert (decision.question is not None) == (decision.verb is Verb.ASK)
    assert decision.owner is None or decision.verb is Verb.ESCALATE
    assert decision.seconds is None or (decision.verb is Verb.RETRY_LATER and decision.seconds >= 0)
    assert decision.observed is None or (policy.observes and decision.source is not Source.RUN_STATE)
    assert explain(replace(call, **around), policy).decision == decision


@given(policies, calls())
def test_what_is_approved_asks_for_everything_any_matching_rule_asks_for(policy: Policy, call: Signals) -> None:
    """The requirement of a decision is at least as strict as each matching approve rule's own."""
    explained = explain(call, policy)
    asked = explained.decision.requirement
    if asked is not None:
        matching = [judged.rule for judged in explained.rules[: len(policy.rules)] if judged.fit is Fit.MATCHED]
        assert all(stricter(asked, rule.requirement) == asked for rule in matching)


@pytest.mark.parametrize(
    ("found", "verb"),
    [
        ({"read_failed": True, "record_missing": True, "already_done": True}, Verb.RETRY_LATER),
        ({"record_missing": True, "already_done": True}, Verb.DENY),
        ({"already_done": True}, Verb.DEDUPLICATE),
    ],
)
def test_what_the_read_found_comes_before_the_rules(found: dict[str, Any], verb: Verb) -> None:
    """An allowed refund is still not done when its record is unreadable, missing, or done already."""
    call = signals(arguments={"amount": 5}, record={"flagged": False})
    decision = route(replace(call, context=Context(**found)), REFUND_POLICY)
    assert decision.verb is verb
    assert decision.reasons
    assert decision.policy_hash == REFUND_POLICY.hash


@pytest.mark.parametrize(
    ("amount", "record", "verb", "matched"),
    [
        (100, {"flagged": False}, Verb.ALLOW, "rules[0] policy.yaml:6"),
        (Decimal("100.00"), {"flagged": False}, Verb.ALLOW, "rules[0] policy.yaml:6"),
        (Decimal("100.01"), {"flagged": False}, Verb.APPROVE, "rules[1] policy.yaml:7"),
        (50000, {"flagged": False}, Verb.APPROVE, "rules[2] policy.yaml:8"),
        (50001, {"flagged": False}, Verb.DENY, None),
        (0, {"flagged": False}, Verb.DENY, None),
        (-5, {"flagged": False}, Verb.DENY, None),
        (50, {"flagged": True}, Verb.DENY, None),
        (50, {}, Verb.DENY, None),
        (50, None, Verb.DENY, None),
        ("50", {"flagged": False}, Verb.DENY, "rules[1] policy.yaml:7"),
        (True, {"flagged": False}, Verb.DENY, None),
        (None, {"flagged": False}, Verb.DENY, None),
    ],
)
def test_the_refund_policy(amount: Any, record: dict[str, Any] | None, verb: Verb, matched: str | None) -> None:
    """The design's example decides as it reads, and a number in quotes is not a small amount."""
    decision = route(signals(arguments={"amount": amount}, record=record), REFUND_POLICY)
    assert decision.verb is verb
    assert decision.matched == ((matched,) if matched and verb is not Verb.DENY else ())


def test_a_missing_amount_does_not_reach_approvers() -> None:
    """Approve rules with an upper end cannot be entered by leaving the amount out: it could lie beyond."""
    decision = route(signals(record={"flagged": False}), REFUND_POLICY)
    assert decision.verb is Verb.DENY
    assert "rules[1] policy.yaml:7 says approve by 1 of finance; amount is missing" in decision.reasons[1]
    assert decision.reasons[-1] == "no rule certainly matches and otherwise says nothing about impact money: denied"


def test_otherwise_is_for_calls_that_no_rule_matches() -> None:
    """A message that no rule is about goes to support; a delete that no rule is about is denied."""
    message = route(signals("send_mail", impact=Impact.MESSAGE), REFUND_POLICY)
    assert message.verb is Verb.APPROVE
    assert message.requirement is not None
    assert message.requirement.quorum == {"support": 1}
    assert route(signals("drop", impact=Impact.DELETE), REFUND_POLICY).verb is Verb.DENY


UNREAD = """
version: 1
roles: {security: [bo]}
rules:
  - {tool: refund, then: allow}
  - {tool: refund, when: {record.flagged: {is: true}}, then: %s}
"""


@pytest.mark.parametrize(("then", "verb"), [("deny", Verb.DENY), ("approve, by: security", Verb.APPROVE)])
def test_a_rule_that_might_match_outweighs_an_allow_that_does(then: str, verb: Verb) -> None:
    """A deny or approve rule over a record nobody read is heeded, and the reasons say so."""
    policy = Policy.parse(UNREAD % then, source="p.yaml")
    decision = route(signals(record=None), policy)
    assert decision.verb is verb
    assert decision.matched == ("rules[1] p.yaml:6",)
    assert decision.reasons[-1].endswith("record.flagged is missing, which counts as matching")
    assert route(signals(record={"flagged": False}), policy).verb is Verb.ALLOW


def test_an_allow_rule_with_a_missing_field_has_no_part_in_an_allow() -> None:
    """Where `otherwise` allows, the record names `otherwise` alone, not the rule that could not be judged."""
    rules_line = "rules: [{tool: note, when: {kind: {eq: a}}, then: allow}]"
    text = f"version: 1\n{rules_line}\notherwise: [{{impact: record, then: allow}}]"
    decision = route(signals("note", impact=Impact.RECORD), Policy.parse(text, source="p.yaml"))
    assert (decision.verb, decision.matched) == (Verb.ALLOW, ("otherwise[0] p.yaml:3",))
    assert decision.reasons[0] == "rules[0] p.yaml:2 would allow, but kind is missing"


def test_a_rule_about_another_system_is_not_heard() -> None:
    """`system` narrows a rule to calls whose contract names that system."""
    policy = Policy.parse("version: 1\nrules: [{tool: note, system: crm, then: allow}]", source="p.yaml")
    assert route(signals("note", system="crm"), policy).verb is Verb.ALLOW
    assert route(signals("note", system="billing"), policy).verb is Verb.DENY
    assert route(signals("note", system=None), policy).verb is Verb.DENY


def test_two_approve_rules_are_joined() -> None:
    """A call that two rules send to two roles needs both."""
    policy = Policy.parse(
        """
version: 1
roles: {finance: [ana], security: [bo]}
rules:
  - {tool: refund, then: approve, by: finance, within: 2h}
  - {impact: money, then: approve, by: security, comment: required}
""",
        source="p.yaml",
    )
    decision = route(signals(), policy)
    assert decision.requirement is not None
    assert decision.requirement.quorum == {"finance": 1, "security": 1}
    assert decision.requirement.within_seconds == 7200
    assert decision.requirement.comment_required
    assert decision.matched == ("rules[0] p.yaml:5", "rules[1] p.yaml:6")


def test_reasons_name_fields_and_never_values() -> None:
    """A reason may reach the model and the trail, so no argument value is in it."""
    card = "4111-1111-1111-1111"
    explained = explain(signals(arguments={"amount": card}, record={"flagged": card}), REFUND_POLICY)
    assert card not in str(explained)
    assert "amount is not of the kind the rule compares it with" in " ".join(explained.decision.reasons)


def test_explain_names_the_condition_that_was_missed() -> None:
    """The nearest rule is the one with the fewest failing conditions, and says which."""
    explained = explain(signals(arguments={"amount": 50}, record={"flagged": True}), REFUND_POLICY)
    assert explained.nearest is not None
    assert explained.nearest.rule.place == "rules[0] policy.yaml:6"
    failing = [condition.field for condition, truth in explained.nearest.answers if truth.value != "holds"]
    assert failing == ["record.flagged"]
    assert [judgement.fit for judgement in explained.rules] == [Fit.MISSED, Fit.MISSED, Fit.MISSED, Fit.ELSEWHERE]


TIERS = """
version: 1
roles: {finance: [ana]}
rules:
  - {tool: refund, when: {amount: {gte: 0, lte: 10}, currency: {eq: EUR}}, then: allow}
  - {tool: refund, when: {amount: {gte: 0, lte: 100}, currency: {eq: EUR}}, then: approve, by: finance}
  - {tool: refund, when: {amount: {gte: 2000, lte: 5000}}, then: deny}
"""


@pytest.mark.parametrize(
    ("amount", "currency", "nearest"),
    [
        (101, "EUR", "rules[1]"),
        (Decimal("1999.99"), "EUR", "rules[2]"),
        (50, "USD", "rules[1]"),
        (5001, "USD", "rules[2]"),
        (-1, "EUR", "rules[0]"),
        ("101", "EUR", "rules[0]"),
        (True, "EUR", "rules[0]"),
        (None, "EUR", "rules[0]"),
        (Decimal("9e999999"), "EUR", "rules[0]"),
    ],
)
def test_of_rules_that_miss_by_as_many_conditions_the_nearest_misses_by_least(
    amount: Any, currency: str, nearest: str
) -> None:
    """How far a number lies from the bound it misses, for its size, decides between tiers; then the file's order."""
    policy = Policy.parse(TIERS, source="policy.yaml")
    explained = explain(signals(arguments={"amount": amount, "currency": currency}), policy)
    assert explained.nearest is not None
    assert explained.nearest.rule.place.startswith(nearest)
