"""Conditions of a rule: closed operators over named fields, answered in three ways because a field can be missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from enum import StrEnum
from operator import eq, ge, gt, le, lt, ne
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

from langgraph_control.guards.globs import glob
from langgraph_control.guards.signal_fields import SIGNAL_FIELDS
from langgraph_control.guards.signals import Signals

__all__ = [
    "ABSENT",
    "ENVIRONMENT",
    "LOWER",
    "ORDERING",
    "PATTERNS",
    "UPPER",
    "Condition",
    "Facts",
    "Operand",
    "Operator",
    "Scalar",
    "Test",
    "Truth",
    "distance",
    "judge",
    "readied",
    "would_hold",
]

Scalar: TypeAlias = str | int | bool | Decimal | None
Operand: TypeAlias = Scalar | tuple[Scalar, ...]

ENVIRONMENT: Final = ".environment"  # no field that a file can name starts with a dot


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
    LIKE = "like"  # a text that fits a pattern, in which * stands for any characters
    NOT_LIKE = "not_like"  # a text that does not fit it
    IS = "is"  # true, false or null


class Truth(StrEnum):
    """What is known of a condition."""

    HOLDS = "holds"  # the field is there and the comparison holds
    FAILS = "fails"  # the field is there and the comparison does not hold
    MISSING = "missing"  # there is no such field, or it is null
    MISTYPED = "mistyped"  # the field is there, but not of the kind the policy compares it with

    @property
    def known(self) -> bool:
        """Whether the question has an answer at all."""
        return self in {Truth.HOLDS, Truth.FAILS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One comparison: ``amount: {lte: 100}``.

    Args:
        field: an argument's name, ``record.<field>``, ``risk.<field>``, ``system.<field>`` or ``run.<field>``; further
            dots go into nested values.
        operator: how to compare.
        operand: what to compare with; a tuple for ``in`` and ``not_in``.
    """

    field: str
    operator: Operator
    operand: Operand


LOWER: Final = frozenset({Operator.GT, Operator.GTE})
UPPER: Final = frozenset({Operator.LT, Operator.LTE})
ORDERING: Final = LOWER | UPPER
PATTERNS: Final = frozenset({Operator.LIKE, Operator.NOT_LIKE})

Test: TypeAlias = Callable[[Any], Truth]

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
        Operator.LIKE: lambda value, matches: matches(value),
        Operator.NOT_LIKE: lambda value, matches: not matches(value),
    }
)


class _Absent:
    """What a field is that is not there; None is null."""


ABSENT: Final = _Absent()

# How a field is looked at, as the first character of its key in Facts: texts compare with texts and numbers with
# numbers. A text that looks like a number is none, nor is true a 1; what does not fit is kept as why it does not.
_NUMBER: Final = "#"
_TEXT: Final = "'"
_AS_IT_IS: Final = "="


class Facts(dict[str, Any]):
    """The fields of one call, each looked up once and only where some rule asks for it.

    Args:
        signals: the call.
        risk: the ``risk.`` fields by name; what is not in it is missing.
    """

    __slots__ = ("_risk", "_signals")

    def __init__(self, signals: Signals, risk: Mapping[str, object] = MappingProxyType({})) -> None:
        super().__init__()
        self._signals = signals
        self._risk = risk

    def value(self, field: str) -> Any:
        """Return a field's value, :data:`ABSENT` where it is not there.

        Args:
            field: its name, as a condition has it.
        """
        return self[_AS_IT_IS + field]

    def __missing__(self, key: str) -> Any:
        """Look a field up in one of the ways and remember it."""
        view, field = key[0], key[1:]
        if view == _AS_IT_IS:
            value = _exact(self._look_up(field))
        else:
            value = (_text if view == _TEXT else _number)(self[_AS_IT_IS + field])
        self[key] = value
        return value

    def _look_up(self, field: str) -> object:
        head, dot, rest = field.partition(".")
        if not dot:
            return self._signals.arguments.get(head, ABSENT)
        if field == ENVIRONMENT:
            return self._signals.environment
        if head == "risk":
            return self._risk.get(rest, ABSENT)
        if (known := SIGNAL_FIELDS.get(field)) is not None:
            return known.of(self._signals)
        value: object = self._signals.record if head == "record" else self._signals.arguments.get(head, ABSENT)
        for part in rest.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return ABSENT
            value = value[part]
        return value


def judge(condition: Condition, facts: Facts) -> Truth:
    """Return what is known of one condition. Total: never raises, whatever the fields hold.

    Args:
        condition: what to compare.
        facts: where the field is looked up.
    """
    key, test = _ready(condition)
    return test(facts[key])


_MEASURING: Final = Context(prec=9, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])  # no number is too large to be measured


def distance(condition: Condition, facts: Facts) -> Decimal:
    """Return how far a number lies beyond the bound it should keep, for the size of both: from 0 to 1. Total.

    It is 0 within the bound, and where no number is held against one.

    Args:
        condition: what to compare.
        facts: where the field is looked up.
    """
    if condition.operator not in ORDERING or judge(condition, facts) is not Truth.FAILS:
        return Decimal(0)
    number, bound = facts[_NUMBER + condition.field], _exactly(condition.operand)
    size = _MEASURING.add(number.copy_abs(), bound.copy_abs())
    return _MEASURING.divide(_MEASURING.subtract(number, bound).copy_abs(), size) if size else Decimal(0)


def would_hold(condition: Condition, value: Scalar) -> bool:
    """Whether a condition holds for a value of the policy's own.

    Args:
        condition: what to compare.
        value: what its field would hold.
    """
    key, test = _ready(condition)
    views: Mapping[str, Callable[[object], object]] = {_TEXT: _text, _NUMBER: _number, _AS_IT_IS: lambda same: same}
    return test(views[key[0]](value)) is Truth.HOLDS


def readied(conditions: Sequence[Condition]) -> tuple[tuple[str, Test], ...]:
    """Return conditions made ready to be asked often: keys of :class:`Facts`, each with a test of what is there.

    The two ends of a range become one test.

    Args:
        conditions: of one rule.
    """
    tests: list[tuple[str, Test]] = []
    for name in dict.fromkeys(condition.field for condition in conditions):
        of_field = [condition for condition in conditions if condition.field == name]
        lower = [condition for condition in of_field if condition.operator in LOWER]
        upper = [condition for condition in of_field if condition.operator in UPPER]
        if len(lower) == len(upper) == 1:
            tests.append((_NUMBER + name, _between(lower[0], upper[0])))
            of_field = [condition for condition in of_field if condition.operator not in ORDERING]
        tests += map(_ready, of_field)
    return tuple(tests)


def _ready(condition: Condition) -> tuple[str, Test]:
    operator, operand = condition.operator, condition.operand
    if operator is Operator.IS:
        return _AS_IT_IS + condition.field, _is(operand)
    sample = operand[0] if isinstance(operand, tuple) else operand
    compare = _COMPARE[operator]
    if not isinstance(sample, str):
        return _NUMBER + condition.field, _compared(compare, _exactly(operand))
    against: Any = glob(sample) if operator in PATTERNS else operand
    return _TEXT + condition.field, _compared(compare, against)


def _exactly(operand: Operand) -> Any:
    """Numbers of one type, for comparing two types takes twice as long."""
    return tuple(map(_exactly, operand)) if isinstance(operand, tuple) else Decimal(cast("int | Decimal", operand))


def _compared(compare: Callable[[Any, Any], bool], operand: Any) -> Test:
    def test(value: Any) -> Truth:
        if value.__class__ is Truth:
            return value
        return Truth.HOLDS if compare(value, operand) else Truth.FAILS

    return test


def _between(lower: Condition, upper: Condition) -> Test:
    low, high = _exactly(lower.operand), _exactly(upper.operand)
    holds, fails = Truth.HOLDS, Truth.FAILS  # a rule with a range is the common one, and asked most often
    if (lower.operator, upper.operator) == (Operator.GT, Operator.LTE):
        return lambda value: value if value.__class__ is Truth else holds if low < value <= high else fails
    if (lower.operator, upper.operator) == (Operator.GTE, Operator.LTE):
        return lambda value: value if value.__class__ is Truth else holds if low <= value <= high else fails
    if (lower.operator, upper.operator) == (Operator.GT, Operator.LT):
        return lambda value: value if value.__class__ is Truth else holds if low < value < high else fails
    return lambda value: value if value.__class__ is Truth else holds if low <= value < high else fails


def _is(operand: Operand) -> Test:
    def test(value: Any) -> Truth:
        if value is ABSENT:
            return Truth.MISSING
        if operand is None or value is operand:
            return Truth.HOLDS if value is operand else Truth.FAILS
        if value is None:
            return Truth.MISSING
        return Truth.FAILS if isinstance(value, bool) else Truth.MISTYPED

    return test


def _exact(value: object) -> object:
    """Read a float as the number it was written as: 0.1 from a JSON record is the policy's 0.1."""
    return Decimal(repr(value)) if isinstance(value, float) else value


def _text(value: object) -> object:
    return value if isinstance(value, str) else _neither(value)


def _number(value: object) -> object:
    if isinstance(value, Decimal) and value.is_finite():
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return _neither(value)


def _neither(value: object) -> Truth:
    return Truth.MISSING if value is None or value is ABSENT else Truth.MISTYPED
