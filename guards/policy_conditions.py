"""Reading a rule's ``when``: closed operators, exact values, bounded ranges."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias, cast

from langgraph_control.guards.conditions import LOWER, ORDERING, UPPER, Condition, Operator
from langgraph_control.guards.policy_shape import did_you_mean
from langgraph_control.guards.policy_text import Path
from langgraph_control.guards.rules import Then

__all__ = ["Finding", "range_findings", "read_conditions"]

Finding: TypeAlias = tuple[Path, str, str]  # where below `when`, stable code, what is wrong

_MAX_LISTED: Final = 1000


def read_conditions(when: Mapping[str, Any]) -> tuple[tuple[Condition, ...], tuple[Finding, ...]]:
    """Return the conditions that can be read, and what is wrong with the others.

    Args:
        when: field → operator → value, as the file has it.
    """
    conditions: list[Condition] = []
    findings: list[Finding] = []
    for name, comparisons in when.items():
        if not all(name.split(".")):
            findings.append(
                ((name,), "policy_field", "write an argument's name or record.<field>, without empty parts")
            )
            continue
        if not isinstance(comparisons, dict) or not comparisons:
            findings.append(((name,), "policy_value", "write operators, like {gt: 0, lte: 100} or {is: false}"))
            continue
        for word, operand in comparisons.items():
            problem = _comparison_problem(word, operand)
            if problem is not None:
                findings.append(((name, word), *problem))
                continue
            value = tuple(operand) if isinstance(operand, list) else operand
            conditions.append(Condition(field=name, operator=Operator(word), operand=value))
    return tuple(conditions), tuple(findings)


def range_findings(conditions: Sequence[Condition], then: Then) -> tuple[Finding, ...]:
    """Return the ranges that are open on one side or empty.

    A rule that lets something through says from where to where: without a lower end a negative amount passes as a
    small one, without an upper end the largest amount passes as well. A deny rule may be open; it lets nothing through.

    Args:
        conditions: the rule's conditions.
        then: what the rule decides.
    """
    findings: list[Finding] = []
    for name in dict.fromkeys(condition.field for condition in conditions if condition.operator in ORDERING):
        ranged = [condition for condition in conditions if condition.field == name]
        lower = [condition for condition in ranged if condition.operator in LOWER]
        upper = [condition for condition in ranged if condition.operator in UPPER]
        if then is not Then.DENY and not (lower and upper):
            findings.append(((name,), "policy_open_range", _open_range(then, lower_missing=not lower)))
        elif any(_excludes(low, high) for low in lower for high in upper):
            findings.append(((name,), "policy_empty_range", "no number lies between these bounds"))
    return tuple(findings)


def _comparison_problem(word: str, operand: object) -> tuple[str, str] | None:
    """Return code and text of what is wrong with one comparison, or None."""
    if word not in set(Operator):
        return "policy_unknown_operator", f"there is no such operator; {did_you_mean(word, list(Operator))}"
    operator = Operator(word)
    if operator is Operator.IS:
        fits = operand is None or isinstance(operand, bool)
        return None if fits else ("policy_operand", "is takes true, false or null; for texts and numbers write eq")
    if operator in ORDERING:
        return None if _is_number(operand) else ("policy_operand", f"{word} takes a number, written without quotes")
    if operator in {Operator.IN, Operator.NOT_IN}:
        return None if _is_list_of_one_kind(operand) else ("policy_operand", _LISTED)
    if _is_number(operand) or isinstance(operand, str):
        return None
    return "policy_operand", f"{word} takes a text or a number; for true, false and null write is"


_LISTED: Final = f"write a list of texts or a list of numbers, 1 to {_MAX_LISTED} of them"


def _is_list_of_one_kind(operand: object) -> bool:
    if not isinstance(operand, list) or not 0 < len(operand) <= _MAX_LISTED:
        return False
    return all(map(_is_number, operand)) or all(isinstance(item, str) for item in operand)


def _is_number(operand: object) -> bool:
    return isinstance(operand, int | Decimal) and not isinstance(operand, bool)


def _open_range(then: Then, *, lower_missing: bool) -> str:
    if lower_missing:
        return f"this has no lower end, so a negative number would pass as a small one: add gt or gte to {then} it"
    return f"this has no upper end, so any number, however large, would pass: add lt or lte to {then} it"


def _excludes(low: Condition, high: Condition) -> bool:
    # read_conditions lets nothing but a number stand beside an ordering operator.
    below, above = cast("int | Decimal", low.operand), cast("int | Decimal", high.operand)
    touching = low.operator is Operator.GTE and high.operator is Operator.LTE
    return below > above or (below == above and not touching)
