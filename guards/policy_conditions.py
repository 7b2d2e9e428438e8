"""Reading a rule's ``when``: closed operators, exact values, bounded ranges, nothing that cannot hold."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TypeAlias, cast

from langgraph_control.guards.conditions import LOWER, ORDERING, PATTERNS, UPPER, Condition, Operator
from langgraph_control.guards.globs import glob_problem
from langgraph_control.guards.policy_text import Path
from langgraph_control.guards.policy_words import did_you_mean
from langgraph_control.guards.risk import RISK_FIELDS, Radius
from langgraph_control.guards.rule_cover import contradiction
from langgraph_control.guards.rules import Then
from langgraph_control.guards.signal_fields import SIGNAL_FIELDS, gathered_head, value_problem
from langgraph_control.guards.signals import Operation

__all__ = ["Finding", "field_problem", "range_findings", "read_conditions", "stated_problem"]

Finding: TypeAlias = tuple[Path, str, str]  # where below `when`, stable code, what is wrong

_MAX_LISTED: Final = 1000
_OPERATION: Final = "risk.operation"
_WORDS_OF: Final[Mapping[str, type[StrEnum]]] = {
    "risk.radius": Radius,
    _OPERATION: Operation,
    **{name: field.words for name, field in SIGNAL_FIELDS.items() if field.words is not None},
}


def read_conditions(when: Mapping[str, Any], *, inside: str = "") -> tuple[tuple[Condition, ...], tuple[Finding, ...]]:
    """Return the conditions that can be read, and what is wrong with the others.

    Args:
        when: field → operator → value, as the file has it.
        inside: put before each field's name, like ``record.``.
    """
    conditions: list[Condition] = []
    findings: list[Finding] = []
    for name, comparisons in ((inside + name, comparisons) for name, comparisons in when.items()):
        wrong = field_problem(name)
        if wrong is not None:
            findings.append(((name,), "policy_field", wrong))
            continue
        if not isinstance(comparisons, dict) or not comparisons:
            findings.append(((name,), "policy_value", "write operators, like {gt: 0, lte: 100} or {is: false}"))
            continue
        for word, operand in comparisons.items():
            problem = _comparison_problem(word, operand) or _word_problem(name, operand)
            if problem is not None:
                findings.append(((name, word), *problem))
                continue
            value = tuple(operand) if isinstance(operand, list) else operand
            conditions.append(Condition(field=name, operator=Operator(word), operand=value))
    return tuple(conditions), tuple(findings)


def field_problem(name: str) -> str | None:
    """Return what is wrong with a field's name, or None.

    Args:
        name: as the file has it.
    """
    head, *rest = name.split(".")
    if not head or not all(rest):
        return "write an argument's name or record.<field>, without empty parts"
    if head == "risk" and rest and ".".join(rest) not in RISK_FIELDS:
        known = [f"risk.{field}" for field in RISK_FIELDS]
        return f"{name} is not known of a call; {did_you_mean(name, known)}"
    if gathered_head(name) == head and name not in SIGNAL_FIELDS:
        known = [field for field in SIGNAL_FIELDS if gathered_head(field) == head]
        return f"{name} is not known of a call; {did_you_mean(name, known)}"
    return None


def stated_problem(name: str, value: object) -> str | None:
    """Return what is wrong with a value that is stated for ``system.<field>`` or ``run.<field>``, or None.

    Args:
        name: as it was written; it starts with ``system.`` or ``run.``.
        value: what the call is to be decided with.
    """
    return field_problem(name) or value_problem(name, value)


def range_findings(
    conditions: Sequence[Condition], then: Then, operations: Sequence[Operation] = ()
) -> tuple[Finding, ...]:
    """Return the ranges that are open on one side or empty, and fields of which too much is asked at once.

    A rule that lets something through says from where to where: without a lower end a negative amount passes as a
    small one, without an upper end the largest amount passes as well. Other rules may be open: they let nothing by.

    Args:
        conditions: the rule's conditions.
        then: what the rule decides.
        operations: the operations that the rule is about; empty means any.
    """
    findings: list[Finding] = []
    for name in dict.fromkeys(condition.field for condition in conditions):
        of_field = [condition for condition in conditions if condition.field == name]
        lower = [condition for condition in of_field if condition.operator in LOWER]
        upper = [condition for condition in of_field if condition.operator in UPPER]
        if then.lets_through and (lower or upper) and not (lower and upper):
            findings.append(((name,), "policy_open_range", _open_range(then, lower_missing=not lower)))
        elif any(_excludes(low, high) for low in lower for high in upper):
            findings.append(((name,), "policy_empty_range", "no number lies between these bounds"))
        elif (why := contradiction([*of_field, *_can_be(name, operations)])) is not None:
            about = f" in a rule about operation {' or '.join(operations)}" if operations and name == _OPERATION else ""
            findings.append(((name,), "policy_contradiction", f"{why}{about}, so no call meets this"))
    return tuple(findings)


def _can_be(name: str, operations: Sequence[Operation]) -> tuple[Condition, ...]:
    """That a field is one of the words it can be, as a condition; an operation, one of those that a rule is about."""
    words = _WORDS_OF.get(name, ()) if name != _OPERATION or not operations else operations
    return (Condition(field=name, operator=Operator.IN, operand=tuple(words)),) if words else ()


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
    if operator in PATTERNS:
        wrong = glob_problem(operand) if isinstance(operand, str) else f'{word} takes a text, like "*@acme.example"'
        return None if wrong is None else ("policy_pattern", wrong)
    if _is_number(operand) or isinstance(operand, str):
        return None
    return "policy_operand", f"{word} takes a text or a number; for true, false and null write is"


def _word_problem(name: str, operand: object) -> tuple[str, str] | None:
    """A radius or operation that there is not would leave a rule without effect."""
    known = _WORDS_OF.get(name)
    words = operand if isinstance(operand, list) else [operand]
    wrong = [word for word in words if known is not None and word not in set(known)]
    if known is None or not wrong:
        return None
    return "policy_operand", f"{name} is never that; there are: {', '.join(known)}"


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
