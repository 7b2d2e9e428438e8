"""How rules fit a call: all at once for a decision, by an index made when the policy is read; one by one to explain."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Final, TypeAlias

from langgraph_control.guards.conditions import Condition, Facts, Test, Truth, judge, readied
from langgraph_control.guards.decisions import spoken
from langgraph_control.guards.rules import Rule, Then
from langgraph_control.guards.signals import OPERATION_OF, Signals

__all__ = ["Fit", "Judgement", "RuleIndex", "judge_rule"]


class Fit(StrEnum):
    """How a rule fits the signals."""

    MATCHED = "matched"  # it is about this call and every condition holds
    UNSURE = "unsure"  # it is about this call, no condition fails, but a field is missing or cannot be compared
    MISSED = "missed"  # it is about this call, but a condition fails
    ELSEWHERE = "elsewhere"  # it is about another tool, impact, system or whatever else it names


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How one rule fits, and why.

    Args:
        rule: the rule.
        fit: how it fits.
        answers: each condition with what is known of it; empty where the rule is about another tool.
        reason: what the rule contributes, as one sentence that names the rule and its fields and never a value; empty
            where it contributes nothing.
    """

    rule: Rule
    fit: Fit
    answers: tuple[tuple[Condition, Truth], ...]
    reason: str

    @property
    def counts(self) -> bool:
        """Whether the rule takes part. Where a field is missing, only an allow rule stands back."""
        return self.fit is Fit.MATCHED or (self.fit is Fit.UNSURE and self.rule.then is not Then.ALLOW)


def judge_rule(rule: Rule, signals: Signals, facts: Facts) -> Judgement:
    """Return how one rule fits, with an answer for each of its conditions.

    Args:
        rule: the rule.
        signals: the call.
        facts: its fields.
    """
    about = rule.is_about(signals)
    if not about and signals.tool not in rule.tools:
        return Judgement(rule=rule, fit=Fit.ELSEWHERE, answers=(), reason="")
    answers = tuple((condition, judge(condition, facts)) for condition in rule.conditions)
    if not about:
        return Judgement(rule=rule, fit=Fit.ELSEWHERE, answers=answers, reason="")
    truths = {truth for _, truth in answers}
    if Truth.FAILS in truths:  # one certain no settles it, whatever else is missing
        return Judgement(rule=rule, fit=Fit.MISSED, answers=answers, reason="")
    if truths <= {Truth.HOLDS}:
        return Judgement(rule=rule, fit=Fit.MATCHED, answers=answers, reason=_said(rule))
    return Judgement(rule=rule, fit=Fit.UNSURE, answers=answers, reason=_unsure(rule, answers))


_Names: TypeAlias = tuple[str, ...]


def _scopes_of_rule(rule: Rule) -> tuple[_Names, ...]:
    return rule.tools, rule.systems, rule.impacts, rule.operations, rule.effects, rule.actors, rule.tenants


def _scopes_of_call(signals: Signals) -> tuple[str | None, ...]:
    operation = signals.risk.operation or OPERATION_OF[signals.impact]
    return signals.tool, signals.system, signals.impact, operation, signals.kind, signals.actor, signals.tenant


class _Ready:
    """A rule with its conditions made into tests, and its match into a judgement."""

    __slots__ = ("exempt", "matched", "narrowed", "place", "rule", "tests")

    def __init__(self, place: int, rule: Rule, narrowed: Iterable[tuple[int, _Names]]) -> None:
        self.place = place
        self.rule = rule
        self.exempt = frozenset(rule.exempt)
        self.narrowed = tuple((scope, frozenset(names)) for scope, names in narrowed)
        self.tests = readied(rule.conditions) or (_ALWAYS,)
        answers = tuple((condition, Truth.HOLDS) for condition in rule.conditions)
        self.matched = Judgement(rule=rule, fit=Fit.MATCHED, answers=answers, reason=_said(rule))

    def judged(self, signals: Signals, call: tuple[str | None, ...], facts: Facts) -> Judgement | None:
        """Return how the rule fits, or None where it does not."""
        if signals.tool in self.exempt or not all(call[scope] in names for scope, names in self.narrowed):
            return None
        truths = [test(facts[key]) for key, test in self.tests]
        if Truth.FAILS in truths:
            return None
        if all(truth is Truth.HOLDS for truth in truths):
            return self.matched
        return judge_rule(self.rule, signals, facts)


_Shelf: TypeAlias = list[tuple[str, Test, _Ready]]


def _always(_value: object) -> Truth:
    return Truth.HOLDS


_ALWAYS: Final = ("=", _always)
_EMPTY: Final[_Shelf] = []


class RuleIndex:
    """Rules by the first thing they name (tool, system, impact …), so that a call meets few that are not about it.

    Args:
        rules: in the file's order, in which they are given back; it decides nothing.
    """

    __slots__ = ("_of_any_call", "_shelves")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._of_any_call: _Shelf = []
        self._shelves: dict[int, dict[str, _Shelf]] = {}
        for place, rule in enumerate(rules):
            named = [(scope, names) for scope, names in enumerate(_scopes_of_rule(rule)) if names]
            ready = _Ready(place, rule, named[1:])
            item = (*ready.tests[0], ready)
            if not named:
                self._of_any_call.append(item)
                continue
            scope, names = named[0]
            shelf = self._shelves.setdefault(scope, {})
            for name in dict.fromkeys(names):
                shelf.setdefault(name, []).append(item)

    def hear(self, signals: Signals, facts: Facts) -> Sequence[Judgement]:
        """Return the rules that match or may match, in the file's order.

        Args:
            signals: the call.
            facts: its fields.
        """
        call = _scopes_of_call(signals)
        heard: list[tuple[int, Judgement]] = []
        shelves = (shelf.get(call[scope] or "", _EMPTY) for scope, shelf in self._shelves.items())
        fails = Truth.FAILS
        # This loop is most of what a decision costs, and most rules end with their first condition.
        for key, test, ready in chain(self._of_any_call, *shelves):
            if test(facts[key]) is fails:
                continue
            judgement = ready.judged(signals, call, facts)
            if judgement is not None:
                heard.append((ready.place, judgement))
        heard.sort(key=_place)
        return [judgement for _, judgement in heard]


def _place(heard: tuple[int, Judgement]) -> int:
    return heard[0]


def _said(rule: Rule) -> str:
    what = f" says {spoken(rule.then, rule.requirement, rule.to)}" if rule.because is None else f": {rule.because}"
    return rule.place + what


def _unsure(rule: Rule, answers: Iterable[tuple[Condition, Truth]]) -> str:
    unsure = [f"{one.field.removeprefix('.')} is {_why(truth)}" for one, truth in answers if not truth.known]
    because = " and ".join(dict.fromkeys(unsure))
    if rule.then is Then.ALLOW:
        return f"{rule.place} would allow, but {because}"
    return f"{_said(rule)}; {because}, which counts as matching"


def _why(truth: Truth) -> str:
    return "missing" if truth is Truth.MISSING else "not of the kind the rule compares it with"
