"""Routing: one pure function from signals and policy to a decision with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from typing import TYPE_CHECKING

from langgraph_control.guards.approvals import Requirement, stricter
from langgraph_control.guards.conditions import Condition, Truth, judge
from langgraph_control.guards.rules import Rule, Then

if TYPE_CHECKING:  # policy.py runs its inline tests through route(), so the import goes the other way
    from collections.abc import Iterable, Sequence

    from langgraph_control.guards.policy import Policy
    from langgraph_control.guards.signals import Signals

__all__ = ["Decision", "Explanation", "Fit", "Judgement", "Verb", "explain", "route"]


class Verb(StrEnum):
    """What to do with a proposed write."""

    ALLOW = "allow"  # run it
    APPROVE = "approve"  # park until the people named in the requirement say yes to this exact write
    ASK = "ask"  # a piece is missing that a person must give
    RETRY_LATER = "retry_later"  # the record or the system cannot be looked at now
    VERIFY_FIRST = "verify_first"  # an earlier attempt may have happened: find out before anything else
    DEDUPLICATE = "deduplicate"  # the record is already in the target state: nothing to do
    ESCALATE = "escalate"  # a person owns this from here
    DRY_RUN = "dry_run"  # say what would be done, do nothing
    DENY = "deny"  # do not run it


class Fit(StrEnum):
    """How a rule fits the signals."""

    MATCHED = "matched"  # it is about this call and every condition holds
    UNSURE = "unsure"  # it is about this call, no condition fails, but a field is missing or cannot be compared
    MISSED = "missed"  # it is about this call, but a condition fails
    ELSEWHERE = "elsewhere"  # it is about another tool, impact or system


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How one rule fits, and why.

    Args:
        rule: the rule.
        fit: how it fits.
        answers: each condition with what is known of it; empty where the rule is about something else.
    """

    rule: Rule
    fit: Fit
    answers: tuple[tuple[Condition, Truth], ...]

    @property
    def counts(self) -> bool:
        """Whether the rule takes part. Where a field is missing, only an allow rule stands back."""
        return self.fit is Fit.MATCHED or (self.fit is Fit.UNSURE and self.rule.then is not Then.ALLOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided, and why.

    Args:
        verb: what to do.
        reasons: for people and the trail; they name rules and fields, never argument values.
        requirement: who must say yes; only with ``approve``.
        matched: the places of the rules that made the decision.
        policy_hash: which policy decided.
    """

    verb: Verb
    reasons: tuple[str, ...]
    requirement: Requirement | None
    matched: tuple[str, ...]
    policy_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision taken apart, for ``policy explain``.

    Args:
        decision: what :func:`route` decides.
        rules: every rule in the file's order, then ``otherwise``, each with its fit and its conditions' answers.
        nearest: of the rules about this tool that were missed, the one with the fewest failing conditions.
    """

    decision: Decision
    rules: tuple[Judgement, ...]
    nearest: Judgement | None


def route(signals: Signals, policy: Policy) -> Decision:
    """Decide about one proposed write. Pure and total: the same signals and policy always give the same decision.

    What the read hook found comes first. Then the strictest matching rule wins, in whatever order rules stand; several
    approve rules are joined. A missing field is answered on the strict side: the decision is at least as strict as for
    any value the field could have, so allow rules stand back, approve and deny rules take part, and ``otherwise`` is
    heard too unless some rule certainly matches.

    Args:
        signals: everything known about the call.
        policy: the rules.
    """
    found = _before_rules(signals)
    if found is not None:
        verb, reason = found
        return Decision(verb=verb, reasons=(reason,), requirement=None, matched=(), policy_hash=policy.hash)
    judged = [_judge_rule(rule, signals) for rule in policy.rules if rule.is_about(signals)]
    fallback = [_judge_rule(rule, signals) for rule in policy.otherwise if rule.is_about(signals)]
    return _decide(judged, fallback, signals=signals, policy_hash=policy.hash)


def explain(signals: Signals, policy: Policy) -> Explanation:
    """Return the decision with each rule's part in it and the rule that missed most narrowly.

    Args:
        signals: everything known about the call.
        policy: the rules.
    """
    judged = tuple(
        _judge_rule(rule, signals) if rule.is_about(signals) else Judgement(rule=rule, fit=Fit.ELSEWHERE, answers=())
        for rule in (*policy.rules, *policy.otherwise)
    )
    return Explanation(decision=route(signals, policy), rules=judged, nearest=_nearest(judged))


def _before_rules(signals: Signals) -> tuple[Verb, str] | None:
    if signals.read_failed:
        return Verb.RETRY_LATER, "the record could not be read, so nothing can be decided about it now"
    if signals.record_missing:
        return Verb.DENY, "the record this write is about does not exist"
    if signals.already_done:
        return Verb.DEDUPLICATE, "the record is already in the target state"
    return None


def _judge_rule(rule: Rule, signals: Signals) -> Judgement:
    answers = tuple((condition, judge(condition, signals)) for condition in rule.conditions)
    truths = {truth for _, truth in answers}
    if Truth.FAILS in truths:  # one certain no settles it, whatever else is missing
        fit = Fit.MISSED
    elif truths <= {Truth.HOLDS}:
        fit = Fit.MATCHED
    else:
        fit = Fit.UNSURE
    return Judgement(rule=rule, fit=fit, answers=answers)


def _decide(
    judged: Sequence[Judgement], fallback: Sequence[Judgement], *, signals: Signals, policy_hash: str
) -> Decision:
    counting = [judgement for judgement in judged if judgement.counts]
    reasons = [_reason(judgement) for judgement in judged if judgement.counts or judgement.fit is Fit.UNSURE]
    nothing_applies = False
    if not any(judgement.fit is Fit.MATCHED for judgement in judged):
        covering = [judgement for judgement in fallback if judgement.counts]
        counting += covering
        reasons += [f"no rule certainly matches, so otherwise applies: {_reason(judgement)}" for judgement in covering]
        nothing_applies = not covering
    if nothing_applies:
        reasons.append(f"no rule certainly matches and otherwise says nothing about impact {signals.impact}: denied")
        verb = Then.DENY
    else:
        verb = max((judgement.rule.then for judgement in counting), key=lambda then: then.strictness)
    deciding = [judgement.rule for judgement in counting if judgement.rule.then is verb]
    return Decision(
        verb=Verb(verb),
        reasons=tuple(reasons),
        requirement=_joined(deciding) if verb is Then.APPROVE else None,
        matched=tuple(rule.place for rule in deciding),
        policy_hash=policy_hash,
    )


def _joined(rules: Iterable[Rule]) -> Requirement | None:
    nobody: Requirement | None = None
    return reduce(stricter, (rule.requirement for rule in rules), nobody)


def _reason(judgement: Judgement) -> str:
    rule = judgement.rule
    unsure = [f"{condition.field} is {_why(truth)}" for condition, truth in judgement.answers if not truth.known]
    if not unsure:
        return f"{rule.place} says {_says(rule)}"
    because = " and ".join(dict.fromkeys(unsure))
    if rule.then is Then.ALLOW:
        return f"{rule.place} would allow, but {because}"
    return f"{rule.place} says {_says(rule)}; {because}, which counts as matching"


def _says(rule: Rule) -> str:
    if rule.requirement is None:
        return rule.then.value
    people = ", ".join(f"{count} of {role}" for role, count in rule.requirement.quorum.items())
    return f"approve by {people}"


def _why(truth: Truth) -> str:
    return "missing" if truth is Truth.MISSING else "not of the kind the rule compares it with"


def _nearest(judged: Iterable[Judgement]) -> Judgement | None:
    missed = [judgement for judgement in judged if judgement.fit is Fit.MISSED or _stood_back(judgement)]
    return min(
        missed, key=lambda judgement: sum(truth is not Truth.HOLDS for _, truth in judgement.answers), default=None
    )


def _stood_back(judgement: Judgement) -> bool:
    return judgement.fit is Fit.UNSURE and not judgement.counts
