"""Routing: one pure function from signals and policy to a decision with its reasons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Final

from langgraph_control.guards.approvals import Requirement, stricter
from langgraph_control.guards.conditions import Facts, Truth, distance
from langgraph_control.guards.decisions import Decision, Match, Verb
from langgraph_control.guards.judging import Fit, Judgement, judge_rule
from langgraph_control.guards.limits import charge
from langgraph_control.guards.risk import assess
from langgraph_control.guards.rules import Then
from langgraph_control.guards.signal_rows import (
    Row,
    row_before_claim,
    row_before_rules,
    row_beside_rules,
    row_not_claimed,
)

if TYPE_CHECKING:  # policy.py runs its inline tests through route(), so the import goes the other way
    from collections.abc import Callable, Iterable

    from langgraph_control.guards.policy import Policy
    from langgraph_control.guards.risk import Assessment
    from langgraph_control.guards.rules import Rule
    from langgraph_control.guards.signals import Signals

__all__ = ["Decision", "Explanation", "Fit", "Judgement", "Verb", "explain", "route", "route_for_claim"]

OBSERVE: Final = "OBSERVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision taken apart, for ``policy explain``.

    Args:
        decision: what :func:`route` decides.
        assessment: the risk of the call.
        rules: every rule in the file's order, then ``otherwise``, then ``records``, each with its fit and its
            conditions' answers.
        nearest: of the rules about this call that were missed, the one with the fewest failing conditions; of several
            such, the one whose bounds are missed by least.
    """

    decision: Decision
    assessment: Assessment
    rules: tuple[Judgement, ...]
    nearest: Judgement | None


def route(signals: Signals, policy: Policy) -> Decision:
    """Decide about one proposed write. Pure and total: the same signals and policy always give the same decision.

    First comes what makes the rules' answer pointless or premature: the state of run and action, then the record
    (:func:`row_before_rules`). Then the strictest matching rule wins, in whatever order rules stand; several approve
    rules are joined; what ``records:`` says of the record and what ``limits:`` cannot count make it stricter. A missing
    field is answered on the strict side: the decision is at least as strict as for any value the field could have, so
    allow rules stand back, all others take part, and ``otherwise`` is heard too unless some rule certainly matches.
    Last, a system that should be left alone holds back what would be let through (:func:`row_beside_rules`).

    Args:
        signals: everything known about the call.
        policy: the rules.
    """
    return _routed(signals, policy, before=row_before_rules, beside=row_beside_rules)


def route_for_claim(signals: Signals, policy: Policy) -> Decision:
    """Decide what a claim is to ask for: :func:`route` without the rows that the claim looks for itself.

    The claim answers for those, under its lock and with reasons of its own; a decision of ours could be outdated by
    then, and would hide what the run really waits for.

    Args:
        signals: everything known about the call.
        policy: the rules.
    """
    return _routed(signals, policy, before=row_before_claim, beside=row_not_claimed)


def _routed(
    signals: Signals,
    policy: Policy,
    *,
    before: Callable[[Signals, Policy], Row | None],
    beside: Callable[[Signals, Policy], Row | None],
) -> Decision:
    row = before(signals, policy)
    if row is not None:
        return _of_row(row, signals, policy)
    assessment = assess(signals, policy.risk)
    facts = Facts(signals, assessment.fields)
    decision = _ruled(signals, policy, facts, assessment)
    if policy.observes and decision.verb is not Verb.ALLOW:
        decision = _observed(decision)
    if decision.verb.strictness < Verb.RETRY_LATER.strictness:
        row = beside(signals, policy)
        if row is not None:
            return _held_back(decision, row, signals, policy)
    return decision


def explain(signals: Signals, policy: Policy) -> Explanation:
    """Return the decision with each rule's part in it and the rule that missed most narrowly.

    Args:
        signals: everything known about the call.
        policy: the rules.
    """
    assessment = assess(signals, policy.risk)
    facts = Facts(signals, assessment.fields)
    judged = tuple(judge_rule(rule, signals, facts) for rule in (*policy.rules, *policy.otherwise, *policy.records))
    return Explanation(
        decision=route(signals, policy),
        assessment=assessment,
        rules=judged,
        nearest=_nearest(judged[: len(policy.rules)], signals, facts),
    )


def _of_row(row: Row, signals: Signals, policy: Policy) -> Decision:
    return Decision(
        verb=row.verb,
        reasons=(row.why, *_staying(signals)),
        requirement=None,
        matched=(),
        policy_hash=policy.hash,
        source=row.source,
        seconds=row.seconds(signals, policy),
        owner=_owner(signals, policy) if row.verb is Verb.ESCALATE else None,
    )


def _held_back(decision: Decision, row: Row, signals: Signals, policy: Policy) -> Decision:
    return replace(
        decision,
        verb=row.verb,
        reasons=(row.why, *decision.reasons),
        requirement=None,
        matched=(),
        source=row.source,
        seconds=row.seconds(signals, policy),
    )


def _observed(decision: Decision) -> Decision:
    """What is not enforced is said first, in capitals: nobody should take this for the policy's own yes."""
    return replace(
        decision,
        verb=Verb.ALLOW,
        reasons=(f"{OBSERVE}: the policy would say {decision.spoken}, and is not enforced", *decision.reasons),
        requirement=None,
        owner=None,
        question=None,
        observed=decision,
    )


def _ruled(signals: Signals, policy: Policy, facts: Facts, assessment: Assessment) -> Decision:
    counting, reasons, least = _heard(signals, policy, facts)
    verb = max((least, *(_VERB[judgement.rule.then] for judgement in counting)), key=_strictness)
    deciding = [judgement.rule for judgement in counting if _VERB[judgement.rule.then] is verb]
    if verb.strictness > Verb.APPROVE.strictness:
        reasons += _staying(signals)
    return Decision(
        verb=verb,
        reasons=tuple(reasons),
        requirement=_joined(deciding) if verb is Verb.APPROVE else None,
        matched=tuple(rule.place for rule in deciding),
        policy_hash=policy.hash,
        heard=tuple(_match(judgement, verb) for judgement in counting),
        radius=assessment.radius,
        owner=_owner(signals, policy, deciding) if verb is Verb.ESCALATE else None,
        question=_question(deciding) if verb is Verb.ASK else None,
    )


def _heard(signals: Signals, policy: Policy, facts: Facts) -> tuple[list[Judgement], list[str], Verb]:
    """The rules that take part, the reasons of all that might, and the least strict verb there can be."""
    judged = policy.index.hear(signals, facts)
    counting = [judgement for judgement in judged if judgement.counts]
    reasons = [judgement.reason for judgement in judged]
    least = Verb.ALLOW
    if not any(judgement.fit is Fit.MATCHED for judgement in judged):
        covering = [judgement for judgement in policy.otherwise_index.hear(signals, facts) if judgement.counts]
        counting += covering
        reasons += [f"no rule certainly matches, so otherwise applies: {one.reason}" for one in covering]
        if not covering:
            nothing = f"no rule certainly matches and otherwise says nothing about impact {signals.impact}: denied"
            reasons.append(nothing)
            least = Verb.DENY
    if policy.records:
        of_record = policy.records_index.hear(signals, facts)
        counting += of_record
        reasons += [judgement.reason for judgement in of_record]
    for limit in policy.limits_for(signals.tool, signals.impact, signals.system) if policy.limits else ():
        if charge(limit, signals, facts) is None:
            reasons.append(f"{limit.place} cannot be counted, for it needs {limit.needs}: denied")
            least = Verb.DENY
    return counting, reasons, least


def _staying(signals: Signals) -> tuple[str, ...]:
    """Whoever is told that a write does not run is told what of the same saga stays in effect."""
    applied = signals.progress.applied
    return (f"{applied} other writes of the same saga are in effect",) if applied else ()


_VERB: Final = {then: Verb(then) for then in Then}


def _strictness(verb: Verb) -> int:
    return verb.strictness


def _match(judgement: Judgement, verb: Verb) -> Match:
    then = judgement.rule.then
    certain = judgement.fit is Fit.MATCHED
    return Match(place=judgement.rule.place, then=then, certain=certain, decides=_VERB[then] is verb)


def _joined(rules: Iterable[Rule]) -> Requirement | None:
    nobody: Requirement | None = None
    return reduce(stricter, (rule.requirement for rule in rules), nobody)


def _owner(signals: Signals, policy: Policy, rules: Iterable[Rule] = ()) -> str | None:
    """Who owns what is escalated. Where rules name several roles, the first by name, so that their order is nothing."""
    named = sorted({rule.to for rule in rules if rule.to is not None})
    return named[0] if named else policy.owner_for(signals.tool, signals.system, signals.impact)


def _question(rules: Iterable[Rule]) -> str | None:
    return "\n".join(sorted({rule.question for rule in rules if rule.question is not None})) or None


def _nearest(judged: Iterable[Judgement], signals: Signals, facts: Facts) -> Judgement | None:
    """Of the rules about this tool, the one that lacks least: something that it names, or conditions."""

    def missed_by(judgement: Judgement) -> tuple[int, Decimal]:
        failing = [condition for condition, truth in judgement.answers if truth is not Truth.HOLDS]
        lacking = len(judgement.rule.elsewhere(signals)) + len(failing)
        return lacking, sum((distance(condition, facts) for condition in failing), Decimal(0))

    missed = [
        judgement
        for judgement in judged
        if judgement.fit is Fit.MISSED
        or _stood_back(judgement)
        or (judgement.fit is Fit.ELSEWHERE and signals.tool in judgement.rule.tools)
    ]
    return min(missed, key=missed_by, default=None)


def _stood_back(judgement: Judgement) -> bool:
    return judgement.fit is Fit.UNSURE and not judgement.counts
