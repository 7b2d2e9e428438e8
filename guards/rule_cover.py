"""Rules that contradict themselves, and rules that another one makes pointless.

What is found is certain: a rule is only called dead where no call could tell the policy from the one without it. Not
everything that is dead is found, since two different conditions are only compared where that is plain.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias, cast

from langgraph_control.guards.approvals import stricter
from langgraph_control.guards.conditions import LOWER, PATTERNS, UPPER, Condition, Operator, Scalar, would_hold
from langgraph_control.guards.rules import Rule, Then

__all__ = ["DeadRule", "contradiction", "covers", "dead_rules"]

_Number: TypeAlias = int | Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRule:
    """A rule that makes no difference.

    Args:
        place: where it stands.
        because: the place of the rule that takes its own.
        why: what that one does.
    """

    place: str
    because: str
    why: str


def dead_rules(rules: Sequence[Rule], otherwise: Sequence[Rule], records: Sequence[Rule]) -> tuple[DeadRule, ...]:
    """Return the rules that can never make a difference, in the file's order.

    Args:
        rules: the policy's rules.
        otherwise: what applies where no rule matches.
        records: what fields of records mean.
    """
    dead = [found for rule in rules if (found := _shadow(rule, [*rules, *records])) is not None]
    for rule in otherwise:
        found = _shadow(rule, otherwise) or next((_never(rule, other) for other in rules if _hides(other, rule)), None)
        if found is not None:
            dead.append(found)
    return tuple(dead)


def contradiction(conditions: Sequence[Condition]) -> str | None:
    """Return why no value can meet all conditions on one field, or None where one may.

    Args:
        conditions: all on the same field; ranges among them are not empty.
    """
    kinds = {_kind(condition) for condition in conditions}
    if len(kinds) > 1:
        return f"no value is {' and '.join(sorted(kinds))} at once"
    values = _candidates(conditions)
    if values is not None and not values:
        return "no value meets all of these at once"
    wanted, unwanted = (
        [one for one in conditions if one.operator is asked] for asked in (Operator.LIKE, Operator.NOT_LIKE)
    )
    if any(not would_hold(no, _as_text(yes)) for yes in wanted for no in unwanted):
        return "every text that fits the one pattern fits the other"
    return None


def _shadow(rule: Rule, others: Iterable[Rule]) -> DeadRule | None:
    after = False
    for other in others:
        if other is rule:
            after = True
        elif covers(other, rule):
            if other.then.strictness > rule.then.strictness:
                return DeadRule(
                    place=rule.place, because=other.place, why=f"matches all that this one does and says {other.then}"
                )
            # Of two equal rules the later one is the surplus.
            if _adds_nothing(rule, other) and not (after and covers(rule, other) and _adds_nothing(other, rule)):
                return DeadRule(
                    place=rule.place, because=other.place, why="matches all that this one does and decides the same"
                )
    return None


def _adds_nothing(rule: Rule, other: Rule) -> bool:
    if rule.then is not other.then:
        return False
    if rule.then is Then.APPROVE:
        return stricter(other.requirement, rule.requirement) == other.requirement
    return (rule.to, rule.question) == (other.to, other.question)


def _hides(other: Rule, rule: Rule) -> bool:
    """Whether a rule certainly matches each call that an item of ``otherwise`` is for."""
    return not other.conditions and covers(other, rule)


def _never(rule: Rule, other: Rule) -> DeadRule:
    return DeadRule(place=rule.place, because=other.place, why="matches always, so otherwise is never asked")


def covers(wide: Rule, narrow: Rule) -> bool:
    """Return whether a rule counts whenever the other one does.

    Args:
        wide: the one.
        narrow: the other one.
    """
    pairs = (
        (wide.tools, narrow.tools),
        (wide.impacts, narrow.impacts),
        (wide.systems, narrow.systems),
        (wide.operations, narrow.operations),
        (wide.effects, narrow.effects),
        (wide.actors, narrow.actors),
        (wide.tenants, narrow.tenants),
    )
    return (
        all(not all_of or (some and set(some) <= set(all_of)) for all_of, some in pairs)
        and not _lets_slip(wide, narrow)
        and all(_implied(condition, narrow.conditions) for condition in wide.conditions)
    )


def _lets_slip(wide: Rule, narrow: Rule) -> bool:
    exempt = set(wide.exempt) - set(narrow.exempt)
    return bool(exempt & set(narrow.tools) if narrow.tools else exempt)


def _implied(condition: Condition, given: Iterable[Condition]) -> bool:
    """Whether a condition holds whenever the others do, and is unknown or holds whenever one of them is unknown."""
    same_field = [other for other in given if other.field == condition.field]
    if condition in same_field:
        return True
    if not same_field or {_kind(other) for other in same_field} != {_kind(condition)}:
        return False
    values = _candidates(same_field)
    if values is not None:
        return all(would_hold(condition, value) for value in values)
    match condition.operator:
        case Operator.GT | Operator.GTE:
            return any(_lower_implies(other, condition) for other in same_field if other.operator in LOWER)
        case Operator.LT | Operator.LTE:
            return any(_upper_implies(other, condition) for other in same_field if other.operator in UPPER)
        case Operator.NE | Operator.NOT_IN:
            return all(any(not would_hold(other, value) for other in same_field) for value in _listed(condition))
        case Operator.LIKE:
            return any(
                would_hold(condition, _as_text(other)) for other in same_field if other.operator is Operator.LIKE
            )
        case Operator.NOT_LIKE:
            return any(
                not would_hold(other, _as_text(condition))
                for other in same_field
                if other.operator is Operator.NOT_LIKE
            )
        case _:
            return False


def _lower_implies(given: Condition, wanted: Condition) -> bool:
    have, want = _number(given), _number(wanted)
    return have > want or (have == want and (given.operator is Operator.GT or wanted.operator is Operator.GTE))


def _upper_implies(given: Condition, wanted: Condition) -> bool:
    have, want = _number(given), _number(wanted)
    return have < want or (have == want and (given.operator is Operator.LT or wanted.operator is Operator.LTE))


def _candidates(conditions: Sequence[Condition]) -> list[Scalar] | None:
    """The only values that can meet all conditions on one field, where they can be listed; else None."""
    closed = _closed_point(conditions)
    listing = next((one for one in conditions if one.operator in {Operator.EQ, Operator.IN}), None)
    if listing is None and closed is None:
        return None
    values = _listed(listing) if listing is not None else (closed,)
    return [value for value in values if all(would_hold(condition, value) for condition in conditions)]


def _closed_point(conditions: Sequence[Condition]) -> _Number | None:
    """The one number between touching bounds, or None."""
    low = [_number(one) for one in conditions if one.operator is Operator.GTE]
    high = [_number(one) for one in conditions if one.operator is Operator.LTE]
    return low[0] if low and high and low[0] == high[0] else None


def _as_text(pattern: Condition) -> Scalar:
    """A pattern read as a text: another pattern that it fits is fitted by all that fits the first.

    Of the other one only a star can stand for this one's star, and what it stands for there it stands for in any text.
    """
    return cast("Scalar", pattern.operand)


def _listed(condition: Condition) -> tuple[Scalar, ...]:
    return condition.operand if isinstance(condition.operand, tuple) else (condition.operand,)


def _number(condition: Condition) -> _Number:
    # The reader lets nothing but a number stand beside an ordering operator.
    return cast("_Number", condition.operand)


_TEXT: Final = "a text"
_NUMBER: Final = "a number"


def _kind(condition: Condition) -> str:
    if condition.operator is Operator.IS:
        return {True: "true", False: "false", None: "null"}[cast("bool | None", condition.operand)]
    if condition.operator in PATTERNS:
        return _TEXT
    return _TEXT if isinstance(_listed(condition)[0], str) else _NUMBER
