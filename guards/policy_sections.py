"""Reading the sections beside the rules: what risk and records mean, budgets, retries, breakers, caps, owners."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from langgraph_control.guards.limits import Limit
from langgraph_control.guards.looks import ContextRule
from langgraph_control.guards.policy_conditions import field_problem
from langgraph_control.guards.policy_parts import Owners
from langgraph_control.guards.policy_reading import Reading
from langgraph_control.guards.policy_section_shapes import (
    BreakerShape,
    CapsShape,
    ContextShape,
    LimitShape,
    OwnersShape,
    RecordShape,
    RetryShape,
    RiskShape,
    ScopedShape,
)
from langgraph_control.guards.policy_text import Path
from langgraph_control.guards.policy_words import Shape
from langgraph_control.guards.retry_rules import Caps, Named, RetryRules
from langgraph_control.guards.risk import COUNTS, RiskRule, Thresholds
from langgraph_control.guards.rules import Rule, Then
from langgraph_control.guards.signal_fields import gathered_head

__all__ = [
    "MEANINGS",
    "read_breakers",
    "read_caps",
    "read_context",
    "read_limits",
    "read_owners",
    "read_records",
    "read_retries",
    "read_risk",
]

MEANINGS: Final[Mapping[str, tuple[Then, str]]] = MappingProxyType(
    {
        "flagged": (Then.ESCALATE, "the record is flagged"),
        "inactive": (Then.ESCALATE, "the record is inactive"),
        "locked": (Then.DENY, "the record is locked: it can be read, not written"),
    }
)
"""What ``records:`` can say that fields mean → what follows, and why."""

_FIELDS: Final[Mapping[str, str]] = {
    "base": "base_seconds",
    "cap": "cap_seconds",
    "give_up_after": "give_up_after_seconds",
    "window": "window_seconds",
    "open_for": "open_seconds",
    "degraded_above": "degraded_seconds",
    "retry_time": "retry_seconds",
    "loop_within": "loop_seconds",
}


def read_risk(reading: Reading) -> Iterator[RiskRule]:
    """Yield the items of ``risk``.

    Args:
        reading: the file.
    """
    for item, path in reading.items("risk", RiskShape):
        _check_scope(reading, item, path)
        if item.amount is None and item.count is None:
            reading.problem(path, "policy_missing_key", "name the argument that holds the `amount` or the `count`")
        for key in ("amount", "count"):
            _check_numbers(reading, item, key, path)
        counts = Thresholds(medium=item.medium.count, large=item.large.count)
        yield RiskRule(
            place=reading.place(path),
            **_scope(item),
            amount=item.amount,
            count=item.count,
            amounts=Thresholds(medium=item.medium.amount, large=item.large.amount),
            counts=counts if counts.given else COUNTS,
        )


def read_records(reading: Reading) -> Iterator[Rule]:
    """Yield what the items of ``records`` mean, as rules.

    Args:
        reading: the file.
    """
    for item, path in reading.items("records", RecordShape):
        _check_scope(reading, item, path)
        given = {name: when for name in MEANINGS if (when := getattr(item, name)) is not None}
        if not given:
            reading.problem(path, "policy_missing_key", f"say what a field means: {', '.join(MEANINGS)}")
        for name, when in given.items():
            then, why = MEANINGS[name]
            if not when:
                reading.problem((*path, name), "policy_value", "write conditions on the record's fields")
            conditions = reading.conditions(when, then, (*path, name), inside="record.")
            fields = ", ".join(dict.fromkeys(condition.field for condition in conditions))
            yield Rule(
                place=reading.place((*path, name)),
                **_scope(item),
                exempt=tuple(item.exempt),
                conditions=conditions,
                then=then,
                because=f"{why} ({fields})",
            )


def read_context(reading: Reading) -> Iterator[ContextRule]:
    """Yield the items of ``context``.

    Args:
        reading: the file.
    """
    for item, path in reading.items("context", ContextShape):
        _check_scope(reading, item, path)
        if item.equal_within is None and item.changed is None:
            reading.problem(path, "policy_missing_key", "say what to look for: `equal_within` or `changed`")
        yield ContextRule(
            place=reading.place(path),
            **_scope(item),
            equal_within_seconds=item.equal_within,
            changed=item.changed is not None,
        )


def read_limits(reading: Reading) -> Iterator[Limit]:
    """Yield the items of ``limits``.

    Args:
        reading: the file.
    """
    seen: set[str] = set()
    for item, path in reading.items("limits", LimitShape):
        if (item.sum is None) is (item.count is None):
            reading.problem(path, "policy_missing_key", "write either `sum: <argument>` or `count: calls`")
        if item.sum is not None and (wrong := field_problem(item.sum)) is not None:
            reading.problem((*path, "sum"), "policy_field", wrong)
        elif item.sum is not None and gathered_head(item.sum) is not None:
            reading.problem(
                (*path, "sum"), "policy_field", "name an argument, record.<field>, risk.amount or risk.count"
            )
        each = tuple(dict.fromkeys(item.each))
        scope = _scope(item)
        about = [f"{key}={'+'.join(sorted(names))}" for key, names in scope.items() if names]
        name = "|".join([*about, f"sum={item.sum}" if item.sum else "calls", item.per, "+".join(sorted(each))])
        if name in seen:
            reading.problem(path, "policy_limit_twice", "this limit is there already; keep the stricter one")
        seen.add(name)
        yield Limit(place=reading.place(path), name=name, **scope, sum=item.sum, max=item.max, per=item.per, each=each)


def read_retries(reading: Reading) -> Named:
    """Return ``retries``.

    Args:
        reading: the file.
    """
    named = Named(given={name: _given(part) for name, part in reading.named("retries", RetryShape)})
    for name in named.given:
        rules = named.fill(RetryRules(), name)
        if rules.base_seconds > rules.cap_seconds:
            reading.problem(("retries", name), "policy_value", "base is longer than cap; no pause is longer than cap")
    return named


def read_breakers(reading: Reading) -> Named:
    """Return ``breakers``.

    Args:
        reading: the file.
    """
    return Named(given={name: _given(part) for name, part in reading.named("breakers", BreakerShape)})


def read_caps(reading: Reading) -> Caps:
    """Return ``caps``.

    Args:
        reading: the file.
    """
    return Caps(**_given(reading.section("caps", CapsShape)))


def read_owners(reading: Reading) -> Owners:
    """Return ``owners``, with the file's ``owner`` for everybody else.

    Args:
        reading: the file.
    """
    item = reading.section("owners", OwnersShape)
    for key, roles in (("tool", item.tool), ("system", item.system), ("impact", item.impact)):
        for name, role in roles.items():
            reading.check_role(role, ("owners", key, str(name)))
    return Owners(tools=item.tool, systems=item.system, impacts=item.impact, default=reading.owner)


def _check_scope(reading: Reading, item: ScopedShape, path: Path) -> None:
    if not (item.tool or item.impact or item.system):
        reading.problem(path, "policy_rule_about_nothing", "say what this is about: tool, impact or system")


def _check_numbers(reading: Reading, item: RiskShape, key: str, path: Path) -> None:
    field, medium, large = getattr(item, key), getattr(item.medium, key), getattr(item.large, key)
    if field is None and (medium is not None or large is not None):
        level = "medium" if medium is not None else "large"
        reading.problem((*path, level, key), "policy_key_unused", f"this needs `{key}`: the argument that holds it")
    if field is not None and (wrong := field_problem(field)) is not None:
        reading.problem((*path, key), "policy_field", wrong)
    if field is not None and (field.startswith("risk.") or gathered_head(field) is not None):
        reading.problem(
            (*path, key), "policy_field", "risk is made from arguments and records; name an argument or record.<field>"
        )
    if medium is not None and large is not None and medium >= large:
        reading.problem((*path, "large", key), "policy_empty_range", "large starts above medium")


def _scope(item: ScopedShape) -> dict[str, Any]:
    return {"tools": tuple(item.tool), "impacts": tuple(item.impact), "systems": tuple(item.system)}


def _given(part: Shape) -> dict[str, Any]:
    return {_FIELDS.get(name, name): value for name, value in part.model_dump(exclude_none=True).items()}
