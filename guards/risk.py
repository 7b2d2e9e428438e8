"""Blast radius: how much is hurt if a write is wrong or happens twice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Final, TypeAlias

from langgraph_control.guards.conditions import Facts
from langgraph_control.guards.signals import OPERATION_OF, Impact, Operation, Signals

__all__ = ["BASE", "COUNTS", "RISK_FIELDS", "Assessment", "Radius", "RiskRule", "Thresholds", "assess"]

_Number: TypeAlias = int | Decimal

RISK_FIELDS: Final = ("radius", "operation", "amount", "count", "reversible")
"""What conditions can ask for as ``risk.<field>``."""


class Radius(StrEnum):
    """How far a mistake reaches. Listed from small to large."""

    SMALL = "small"  # one record, and it can be put right
    MEDIUM = "medium"  # people outside notice, or it is hard to put right
    LARGE = "large"  # many are hurt, or it cannot be put right


_ORDER: Final = tuple(Radius)

BASE: Final[Mapping[Impact, tuple[Radius, Radius]]] = MappingProxyType(
    {
        Impact.MONEY: (Radius.MEDIUM, Radius.LARGE),
        Impact.ACCESS: (Radius.MEDIUM, Radius.LARGE),
        Impact.MESSAGE: (Radius.MEDIUM, Radius.MEDIUM),
        Impact.DELETE: (Radius.MEDIUM, Radius.LARGE),
        Impact.BULK: (Radius.MEDIUM, Radius.LARGE),
        Impact.PRODUCTION: (Radius.LARGE, Radius.LARGE),
        Impact.RECORD: (Radius.SMALL, Radius.MEDIUM),
    }
)
"""Where neither an amount nor a count says more: impact → radius if it can be undone, radius if it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From which number on a radius is at least medium, and large.

    Args:
        medium: None: only ``large`` is told from the rest.
        large: None: no number is large by itself.
    """

    medium: _Number | None = None
    large: _Number | None = None

    @property
    def given(self) -> bool:
        """Whether they tell any two numbers apart."""
        return self.medium is not None or self.large is not None

    def radius(self, number: _Number) -> Radius:
        """Return the radius of a number; of a negative one that of its size.

        Args:
            number: an amount or a count.
        """
        size = number if number >= 0 else -number
        if self.large is not None and size >= self.large:
            return Radius.LARGE
        return Radius.MEDIUM if self.medium is not None and size >= self.medium else Radius.SMALL


COUNTS: Final = Thresholds(medium=10, large=100)
"""How many records are many, where the policy names the argument but no numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskRule:
    """One item of ``risk:``: where a write says how much it moves and how many records it touches.

    Args:
        place: where it stands: ``risk[0] policy.yaml:4``.
        tools: the tools it is about; empty means any.
        impacts: the impacts it is about; empty means any.
        systems: the systems it is about; empty means any.
        amount: the field that holds the amount, None where it names none.
        count: the field that holds the number of records, or the list of them.
        amounts: which amounts are medium and large.
        counts: which counts are.
    """

    place: str
    tools: tuple[str, ...] = ()
    impacts: tuple[Impact, ...] = ()
    systems: tuple[str, ...] = ()
    amount: str | None = None
    count: str | None = None
    amounts: Thresholds = field(default_factory=Thresholds)
    counts: Thresholds = COUNTS

    def is_about(self, signals: Signals) -> bool:
        """Whether tool, impact and system fit."""
        return (
            (not self.tools or signals.tool in self.tools)
            and (not self.impacts or signals.impact in self.impacts)
            and (not self.systems or signals.system in self.systems)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The risk of one call.

    Args:
        radius: how far a mistake reaches; the largest it could be where something is not known.
        certain: everything that decides the radius is known. Where not, ``risk.radius`` counts as missing.
        fields: the ``risk.`` fields that are known, by name.
    """

    radius: Radius
    certain: bool
    fields: Mapping[str, object]


def assess(signals: Signals, rules: Iterable[RiskRule]) -> Assessment:
    """Return the blast radius of a call, with what it was made from.

    What the contract says comes before what the policy reads from the arguments. Where several items of ``risk:`` are
    about a call, the largest radius counts; an amount or count on which they disagree is not known. An amount that
    should be there and is not makes the radius as large as it could be.

    Args:
        signals: the call.
        rules: the policy's ``risk:``.
    """
    risk = signals.risk
    operation = risk.operation or OPERATION_OF[signals.impact]
    applying = [rule for rule in rules if rule.is_about(signals)]
    if not applying and risk.amount is None and risk.count is None:
        return _by_impact(signals.impact, operation, reversible=risk.reversible)
    facts = Facts(signals)
    amount, amount_levels = _amount(signals, applying, facts)
    count, count_levels = _count(signals, applying, facts)
    levels = [level for level in (*amount_levels, *count_levels) if level is not None]
    unknown = len(levels) < len(amount_levels) + len(count_levels)
    if not amount_levels:
        levels.append(BASE[signals.impact][0 if risk.reversible else 1])
    radius = max(levels, key=_ORDER.index, default=Radius.SMALL)
    certain = not unknown or radius is Radius.LARGE
    known: dict[str, object] = {
        "operation": operation.value,
        "reversible": risk.reversible,
    }
    if certain:
        known["radius"] = radius.value
    if amount is not None:
        known["amount"] = amount
    if count is not None:
        known["count"] = count
    return Assessment(radius=radius if certain else Radius.LARGE, certain=certain, fields=known)


@cache  # a few dozen answers, of which every call needs one
def _by_impact(impact: Impact, operation: Operation, *, reversible: bool) -> Assessment:
    radius = BASE[impact][0 if reversible else 1]
    known = {"operation": operation.value, "reversible": reversible, "radius": radius.value}
    return Assessment(radius=radius, certain=True, fields=MappingProxyType(known))


def _amount(signals: Signals, applying: Iterable[RiskRule], facts: Facts) -> tuple[_Number | None, list[Radius | None]]:
    """The amount, where it is known and one, and for each rule with thresholds the radius it says."""
    stated = signals.risk.amount
    read: list[tuple[RiskRule, _Number | None]] = [
        (rule, _number(facts.value(rule.amount)) if stated is None else stated)
        for rule in applying
        if rule.amount is not None
    ]
    levels = [None if value is None else rule.amounts.radius(value) for rule, value in read if rule.amounts.given]
    return (_one(value for _, value in read) if stated is None else stated), levels


def _count(signals: Signals, applying: Iterable[RiskRule], facts: Facts) -> tuple[_Number | None, list[Radius | None]]:
    """The count likewise; one that no rule asks about is judged by numbers that fit any."""
    stated = signals.risk.count
    read: list[tuple[RiskRule, int | None]] = [
        (rule, _length(facts.value(rule.count)) if stated is None else stated)
        for rule in applying
        if rule.count is not None
    ]
    levels = [None if value is None else rule.counts.radius(value) for rule, value in read]
    if stated is None:
        return _one(value for _, value in read), levels
    return stated, levels or [COUNTS.radius(stated)]


def _one(values: Iterable[_Number | None]) -> _Number | None:
    """The value on which all agree; None where one is missing, they differ, or there are none."""
    different = set(values)
    return different.pop() if len(different) == 1 else None


def _number(value: object) -> _Number | None:
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _length(value: object) -> int | None:
    if isinstance(value, list | tuple):
        return len(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
