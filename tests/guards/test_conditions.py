"""Conditions: exact comparison, and an honest answer where there is nothing to compare."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.conditions import ORDERING, Condition, Facts, Operator, Truth, distance, judge
from langgraph_control.guards.signals import Signals
from tests.support.policies import calls, conditions, numbers, signals, values


def ask(value: Any, operator: Operator, operand: Any) -> Truth:
    """What is known of one comparison with an argument that is there."""
    return judge(Condition(field="x", operator=operator, operand=operand), Facts(signals(arguments={"x": value})))


@pytest.mark.parametrize(
    ("value", "operator", "operand", "truth"),
    [
        (100, Operator.LTE, 100, Truth.HOLDS),
        (Decimal("99.90"), Operator.EQ, Decimal("99.9"), Truth.HOLDS),
        (100, Operator.EQ, Decimal("100.00"), Truth.HOLDS),
        (Decimal("0.1"), Operator.GT, Decimal("0.1"), Truth.FAILS),
        (0.1, Operator.EQ, Decimal("0.1"), Truth.HOLDS),
        (0.1, Operator.LTE, Decimal("0.1"), Truth.HOLDS),
        (10**30 + 1, Operator.GT, 10**30, Truth.HOLDS),
        ("100", Operator.LTE, 100, Truth.MISTYPED),
        ("100", Operator.EQ, 100, Truth.MISTYPED),
        ("100", Operator.NE, 100, Truth.MISTYPED),
        (100, Operator.EQ, "100", Truth.MISTYPED),
        (100, Operator.NOT_IN, ("100",), Truth.MISTYPED),
        (True, Operator.EQ, 1, Truth.MISTYPED),
        (True, Operator.IN, (1, 2), Truth.MISTYPED),
        (float("inf"), Operator.GT, 0, Truth.MISTYPED),
        (float("nan"), Operator.NE, 0, Truth.MISTYPED),
        (Decimal("sNaN"), Operator.GT, 0, Truth.MISTYPED),
        ([5], Operator.GT, 0, Truth.MISTYPED),
        (["DE"], Operator.IN, ("DE",), Truth.MISTYPED),
        (datetime(2026, 1, 1, tzinfo=UTC), Operator.EQ, "2026-01-01", Truth.MISTYPED),
        ("DE", Operator.IN, ("DE", "FR"), Truth.HOLDS),
        ("de", Operator.IN, ("DE", "FR"), Truth.FAILS),
        ("IT", Operator.NOT_IN, ("DE", "FR"), Truth.HOLDS),
        (None, Operator.NE, "DE", Truth.MISSING),
        (None, Operator.NOT_IN, ("DE",), Truth.MISSING),
        (None, Operator.IS, None, Truth.HOLDS),
        (0, Operator.IS, None, Truth.FAILS),
        (None, Operator.IS, False, Truth.MISSING),
        (False, Operator.IS, False, Truth.HOLDS),
        (True, Operator.IS, False, Truth.FAILS),
        (0, Operator.IS, False, Truth.MISTYPED),
        ("false", Operator.IS, False, Truth.MISTYPED),
    ],
)
def test_comparisons_are_exact_and_within_one_kind(value: Any, operator: Operator, operand: Any, truth: Truth) -> None:
    """Numbers compare by value, texts by character; anything else is answered as unknown."""
    assert ask(value, operator, operand) is truth


@pytest.mark.parametrize(
    ("field", "truth"),
    [
        ("order.country", Truth.HOLDS),
        ("order.city", Truth.MISSING),
        ("order.country.code", Truth.MISSING),
        ("country", Truth.MISSING),
        ("record.country", Truth.FAILS),
        ("record", Truth.MISTYPED),
        ("record.owner.country", Truth.HOLDS),
    ],
)
def test_dots_go_into_nested_values(field: str, truth: Truth) -> None:
    """`record.` looks into the record, every other first part into the arguments."""
    call = signals(
        arguments={"order": {"country": "DE"}, "record": 7}, record={"country": "FR", "owner": {"country": "DE"}}
    )
    assert judge(Condition(field=field, operator=Operator.EQ, operand="DE"), Facts(call)) is truth


def test_without_a_read_hook_every_record_field_is_missing() -> None:
    """Not having looked is not the same as having seen nothing."""
    condition = Condition(field="record.deleted_at", operator=Operator.IS, operand=None)
    assert judge(condition, Facts(signals(record=None))) is Truth.MISSING
    assert judge(condition, Facts(signals(record={}))) is Truth.MISSING
    assert judge(condition, Facts(signals(record={"deleted_at": None}))) is Truth.HOLDS


@given(conditions(), calls())
def test_every_condition_has_an_answer(condition: Condition, call: Signals) -> None:
    """Judging never raises, whatever a field holds."""
    assert judge(condition, Facts(call)) in set(Truth)


@pytest.mark.parametrize(
    ("value", "operator", "operand", "far"),
    [
        (100, Operator.LTE, 100, 0),
        (101, Operator.LTE, 99, Decimal("0.01")),
        (99, Operator.GT, 101, Decimal("0.01")),
        (-101, Operator.GTE, -99, Decimal("0.01")),
        (0, Operator.GT, 0, 0),
        (-5, Operator.GT, 0, 1),
        (-5, Operator.GT, 5, 1),
        (3, Operator.EQ, 1, 0),
        ("101", Operator.LTE, 99, 0),
        (None, Operator.LTE, 99, 0),
        ("DE", Operator.EQ, "FR", 0),
    ],
)
def test_a_missed_bound_is_missed_by_a_share_of_the_numbers(
    value: Any, operator: Operator, operand: Any, far: Any
) -> None:
    """Only a number on the wrong side of a bound is at a distance from it: at most all of both numbers' size."""
    facts = Facts(signals(arguments={"x": value}))
    assert distance(Condition(field="x", operator=operator, operand=operand), facts) == far


@given(conditions(), calls())
def test_every_condition_has_a_distance(condition: Condition, call: Signals) -> None:
    """It is from 0 to 1, whatever a field holds, and above 0 only where the condition certainly fails."""
    facts = Facts(call)
    far = distance(condition, facts)
    assert 0 <= far <= 1
    assert far == 0 or judge(condition, facts) is Truth.FAILS


def test_the_largest_numbers_have_a_distance() -> None:
    """Numbers at the end of what a Decimal can hold are compared like others."""
    for value in (Decimal("9e999999"), Decimal("-9e999999"), Decimal("1e-999999"), 10**5000):
        for operand in (Decimal("9.1e999999"), Decimal("-9.1e999999"), Decimal("2e-999999"), 0):
            for operator in ORDERING:
                condition = Condition(field="x", operator=operator, operand=operand)
                assert 0 <= distance(condition, Facts(signals(arguments={"x": value}))) <= 1


OPPOSITES = [
    (Operator.GT, Operator.LTE),
    (Operator.GTE, Operator.LT),
    (Operator.EQ, Operator.NE),
    (Operator.IN, Operator.NOT_IN),
]


@given(values, st.sampled_from(OPPOSITES), numbers)
def test_opposite_operators_disagree_or_both_do_not_know(
    value: Any, pair: tuple[Operator, Operator], operand: Any
) -> None:
    """No value slips between an operator and its opposite, and an unknown answer is never a yes to either."""
    one, other = (ask(value, operator, (operand,) if "in" in operator else operand) for operator in pair)
    assert one.known == other.known
    assert not one.known or one is not other
