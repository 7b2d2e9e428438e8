"""Conditions of a rule: closed operators over named fields, answered in three ways because a field can be missing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from operator import eq, ge, gt, le, lt, ne
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from langgraph_control.guards.signals import Signals

__all__ = ["LOWER", "ORDERING", "UPPER", "Condition", "Operand", "Operator", "Scalar", "Truth", "judge"]

Scalar: TypeAlias = str | int | bool | Decimal | None
Operand: TypeAlias = Scalar | tuple[Scalar, ...]


class Operator(StrEnum):
    """How a field is compared. There are no others, and none that runs code."""

    GT = "gt"  # a number greater than
    GTE = "gte"  # a number greater than or equal to
    LT = "lt"  # a number less than
    LTE = "lte"  # a number less than or equal to
    EQ = "eq"  # the same text, or the same number: 100 and 100.00 are
    NE = "ne"  # another text, or another number
    IN = "in"  # one of the listed texts or numbers
    NOT_IN = "not_in"  # none of the listed texts or numbers
    IS = "is"  # true, false or null


class Truth(StrEnum):
    """What is known of a condition."""

    HOLDS = "holds"  # the field is there and the comparison holds
    FAILS = "fails"  # the field is there and the comparison does not hold
    MISSING = "missing"  # there is no such field, or it is null
    MISTYPED = "mistyped"  # the field is there, but but not of the kind the policy compares it with

    @property
    def known(self) -> bool:
        """Whether the question has an answer at all."""
        return self in {Truth.HOLDS, Truth.FAILS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One comparison: ``amount: {lte: 100}``.

    Args:
        field: an argument's name, or ``record.<field>``; further dots go into nested values.
        operator: how to compare.
        operand: what to compare with; a tuple for ``in`` and ``not_in``.
    """

    field: str
    operator: Operator
    operand: Operand


LOWER: Final = frozenset({Operator.GT, Operator.GTE})
UPPER: Final = frozenset({Operator.LT, Operator.LTE})
ORDERING: Final = LOWER | UPPER

_COMPARE: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = MappingProxyType(
    {
        Operator.GT: gt,
        Operator.GTE: ge,
        Operator.LT: lt,
        Operator.LTE: le,
        Operator.EQ: eq,
        Operator.NE: ne,
        Operator.IN: lambda value, operand: value in operand,
        Operator.NOT_IN: lambda value, operand: value not in operand,
    }
)
_ABSENT: Final = object()


def judge(condition: Condition, signals: Signals) -> Truth:
    """Return what is known of one condition. Total: never raises, whatever the fields hold.

    Args:
        condition: what to compare.
        signals: where the field is looked up.
    """
    value = _exact(_look_up(condition.field, signals))
    if value is _ABSENT:
        return Truth.MISSING
    if condition.operator is Operator.IS:
        return _judge_is(value, condition.operand)
    if value is None:
        return Truth.MISSING
    sample = condition.operand[0] if isinstance(condition.operand, tuple) else condition.operand
    if not _comparable(value, sample):
        return Truth.MISTYPED
    return Truth.HOLDS if _COMPARE[condition.operator](value, condition.operand) else Truth.FAILS


def _judge_is(value: object, operand: Operand) -> Truth:
    if operand is None or value is operand:
        return Truth.HOLDS if value is operand else Truth.FAILS
    if value is None:
        return Truth.MISSING
    return Truth.FAILS if isinstance(value, bool) else Truth.MISTYPED


def _look_up(field: str, signals: Signals) -> object:
    head, *rest = field.split(".")
    if head == "record" and rest:
        value: object = signals.record
    else:
        value = signals.arguments.get(head, _ABSENT)
    for part in rest:
        if not isinstance(value, Mapping) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def _comparable(value: object, sample: Scalar) -> bool:
    """Texts compare with texts and numbers with numbers: a text that looks like a number is none, nor is true a 1."""
    if isinstance(sample, str):
        return isinstance(value, str)
    return _is_number(value)


def _exact(value: object) -> object:
    """Read a float as the number it was written as: 0.1 from a JSON record is the policy's 0.1."""
    return Decimal(repr(value)) if isinstance(value, float) else value


def _is_number(value: object) -> bool:
    if isinstance(value, Decimal):
        return value.is_finite()
    return isinstance(value, int) and not isinstance(value, bool)
