"""Reading ``rules``, ``otherwise`` and ``tests``: what a rule decides must fit what else it says."""

from collections.abc import Mapping
from typing import Any, Final

from langgraph_control.guards.approvals import REQUESTER, Escalation, Requirement
from langgraph_control.guards.conditions import ENVIRONMENT, Condition, Operator
from langgraph_control.guards.policy_conditions import stated_problem
from langgraph_control.guards.policy_reading import Reading
from langgraph_control.guards.policy_shape import DecidingShape, OtherwiseShape, RuleShape, TestShape
from langgraph_control.guards.policy_text import Path
from langgraph_control.guards.quorums import alone_problem
from langgraph_control.guards.rules import PolicyTest, Rule, Then
from langgraph_control.guards.signal_fields import gathered_head
from langgraph_control.guards.signals import Impact

__all__ = ["MONEY_NEEDS_BOUNDS", "read_otherwise", "read_rule", "read_test"]

MONEY_NEEDS_BOUNDS: Final = (
    "an allow rule for money bounds an amount on both sides, like when: {amount: {gt: 0, lte: 100}}"
)
_SCOPES: Final = ("tool", "impact", "system", "operation", "effect", "environment", "actor", "tenant")
_BELONGS_TO: Final[Mapping[str, Then]] = {
    **dict.fromkeys(("by", "comment", "within", "on_expiry", "break_glass"), Then.APPROVE),
    "to": Then.ESCALATE,
    "question": Then.ASK,
}


def read_rule(reading: Reading, item: RuleShape, path: Path) -> Rule:
    """Return an item of ``rules`` as a rule.

    Args:
        reading: the file.
        item: the item.
        path: where it stands.
    """
    rule = Rule(
        place=reading.place(path),
        tools=tuple(item.tool),
        impacts=tuple(item.impact),
        systems=tuple(item.system),
        operations=tuple(item.operation),
        effects=tuple(item.effect),
        actors=tuple(item.actor),
        tenants=tuple(item.tenant),
        conditions=(
            *_where(item.environment),
            *reading.conditions(item.when, item.then, (*path, "when"), operations=item.operation),
        ),
        then=item.then,
        requirement=_requirement(reading, item, path),
        to=item.to,
        question=item.question,
    )
    if not any(getattr(item, key) for key in _SCOPES):
        reading.problem(path, "policy_rule_about_nothing", f"say what the rule is about: {', '.join(_SCOPES)}")
    _check(reading, item, path)
    _check_actors(reading, rule, path)
    _check_alone(reading, rule, path)
    if rule.allows_unbounded(Impact.MONEY) and rule.impacts:
        reading.problem((*path, "then"), "policy_money_unbounded", MONEY_NEEDS_BOUNDS)
    return rule


def read_otherwise(reading: Reading, item: OtherwiseShape, path: Path) -> Rule:
    """Return an item of ``otherwise`` as a rule.

    Args:
        reading: the file.
        item: the item.
        path: where it stands.
    """
    rule = Rule(
        place=reading.place(path),
        impacts=tuple(item.impact),
        then=item.then,
        requirement=_requirement(reading, item, path),
        to=item.to,
        question=item.question,
    )
    _check(reading, item, path)
    _check_alone(reading, rule, path)
    if rule.allows_unbounded(Impact.MONEY):
        reading.problem((*path, "then"), "policy_money_unbounded", MONEY_NEEDS_BOUNDS)
    return rule


def read_test(reading: Reading, item: TestShape, path: Path) -> PolicyTest:
    """Return an item of ``tests``.

    Args:
        reading: the file.
        item: the item.
        path: where it stands.
    """
    for name in _unplaceable(item.arguments):
        what = "give each field once, as an argument's name or record.<field>, without empty parts"
        reading.problem((*path, "with", name), "policy_field", what)
    known = {name: value for name, value in item.arguments.items() if gathered_head(name) is not None}
    for name, value in known.items():
        wrong = stated_problem(name, value)
        if wrong is not None:
            reading.problem((*path, "with", name), "policy_field", wrong)
        elif item.system is None and gathered_head(name) == "system":
            reading.problem((*path, "with", name), "policy_key_unused", "this needs `system`: the tool's system")
    arguments, record = _nested({name: value for name, value in item.arguments.items() if name not in known})
    for key, then in (("by", Then.APPROVE), ("to", Then.ESCALATE)):
        if getattr(item, key) is not None and item.expect is not then:
            reading.problem((*path, key), "policy_key_unused", f"{key} means something only with `expect: {then}`")
    reading.check_quorum(item.by, (*path, "by"))
    reading.check_role(item.to, (*path, "to"))
    named = {name: value for name in ("actor", "tenant") if (value := getattr(item, name)) is not None}
    return PolicyTest(
        place=reading.place(path),
        tool=item.call,
        arguments=arguments,
        record=record,
        impact=item.impact,
        effect=item.effect,
        system=item.system,
        operation=item.operation,
        environment=item.environment,
        known=known,
        expect=item.expect,
        by=item.by,
        to=item.to,
        **named,
    )


def _where(environments: list[str]) -> tuple[Condition, ...]:
    """The environment is asked as a condition is: where nobody says which one it is, it may be any."""
    if not environments:
        return ()
    return (Condition(field=ENVIRONMENT, operator=Operator.IN, operand=tuple(environments)),)


def _requirement(reading: Reading, item: DecidingShape, path: Path) -> Requirement | None:
    on_expiry = reading.expiry(item.on_expiry, (*path, "on_expiry"))
    if item.then is not Then.APPROVE or item.by is None:
        return None
    return reading.approve.requirement(
        item.by,
        within_seconds=item.within,
        comment=item.comment is not None,
        on_expiry=on_expiry,
        break_glass=frozenset(item.break_glass),
    )


def _check(reading: Reading, item: DecidingShape, path: Path) -> None:
    if item.then is Then.APPROVE and item.by is None:
        reading.problem(path, "policy_missing_key", "approve needs `by`: a role, or roles with numbers")
    if item.then is Then.ASK and item.question is None:
        reading.problem(path, "policy_missing_key", "ask needs `question`: what the user is asked")
    if item.then is Then.ESCALATE and item.to is None and reading.owner is None:
        reading.problem(path, "policy_missing_key", "escalate needs `to`: a role; or the file needs an `owner`")
    for key, then in _BELONGS_TO.items():
        if item.then is not then and getattr(item, key) not in (None, []):
            reading.problem((*path, key), "policy_key_unused", f"{key} means something only with `then: {then}`")
    reading.check_quorum(item.by, (*path, "by"))
    reading.check_role(item.to, (*path, "to"))
    for role in item.break_glass:
        reading.check_role(role, (*path, "break_glass"))


def _check_alone(reading: Reading, rule: Rule, path: Path) -> None:
    """Note roles of which nobody could decide alone, or whose lone decision nobody could review."""
    if reading.roles is None or rule.requirement is None:
        return
    for role in sorted(rule.requirement.break_glass & reading.roles.keys()):
        problem = alone_problem(role, rule.requirement.quorum, reading.roles, rule.actors)
        if problem is not None:
            reading.problem((*path, "break_glass"), "policy_quorum_unreachable", problem)


def _check_actors(reading: Reading, rule: Rule, path: Path) -> None:
    asked = rule.requirement
    if asked is None or REQUESTER not in asked.not_by:
        return
    for actor in rule.actors:
        reading.check_requester(actor, asked.quorum, (*path, "by"))
        if isinstance(asked.on_expiry, Escalation):
            reading.check_requester(actor, asked.on_expiry.quorum, (*path, "on_expiry"))


def _unplaceable(given: Mapping[str, Any]) -> list[str]:
    """Names with empty parts, of what is computed, or that reach into a value which the test gives whole."""
    reaching = {name: name.split(".") for name in given}
    return [
        name
        for name, parts in reaching.items()
        if not all(parts)
        or (parts[0] == "risk" and len(parts) > 1)
        or any(".".join(parts[:length]) in given for length in range(1, len(parts)))
    ]


def _nested(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Split a test's `with` into arguments and record, turning dots into nesting as conditions look them up."""
    top: dict[str, Any] = {}
    unplaceable = _unplaceable(given)
    for name, value in given.items():
        if name in unplaceable:  # reported; the result is not used
            continue
        *outer, last = name.split(".")
        place = top
        for part in outer:
            place = place.setdefault(part, {})
        place[last] = value
    record = top.pop("record", None) if any(name.startswith("record.") for name in given) else None
    return top, record
