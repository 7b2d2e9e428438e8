"""From a policy file's text to its parts: shape first, then what one part says about another. All mistakes at once."""

from langgraph_control.guards.joined_quorums import unreachable
from langgraph_control.guards.policy_parts import Mode, PolicyParts
from langgraph_control.guards.policy_reading import Reading
from langgraph_control.guards.policy_rules import read_otherwise, read_rule, read_test
from langgraph_control.guards.policy_section_shapes import DeadlinesShape
from langgraph_control.guards.policy_sections import (
    read_breakers,
    read_caps,
    read_context,
    read_limits,
    read_owners,
    read_records,
    read_retries,
    read_risk,
)
from langgraph_control.guards.policy_shape import ApproveShape, OtherwiseShape, PolicyShape, RuleShape, TestShape
from langgraph_control.guards.policy_text import Problem, read_document
from langgraph_control.guards.rules import ApprovalDefaults

__all__ = ["read_policy"]


def read_policy(text: str, *, source: str) -> tuple[PolicyParts | None, tuple[Problem, ...]]:
    """Return the file's parts, or None and everything that is wrong with it, by line.

    Args:
        text: the file's text.
        source: the file's name, for the places of rules.
    """
    document = read_document(text)
    reading = Reading(document=document, source=source, problems=list(document.problems))
    parts = _parts(reading) if isinstance(document.tree, dict) else None
    if parts is not None and not reading.problems:
        _check_joined(reading, parts)
    if parts is None and not reading.problems:
        reading.problem((), "policy_value", "a policy is a mapping that starts with `version: 1`")
    problems = tuple(sorted(reading.problems, key=lambda problem: problem.line))
    return (None if problems else parts), problems


def _parts(reading: Reading) -> PolicyParts:
    """Read everything readable; the result means something only where no problem was found."""
    file = reading.shape(PolicyShape, reading.document.tree, ())
    if file is not None:
        reading.roles = file.roles
        reading.owner = file.owner
        reading.check_members()
        reading.check_role(file.owner, ("owner",))
    reading.approve = _defaults(reading)
    return PolicyParts(
        mode=Mode(file.mode) if file is not None else Mode.ENFORCE,
        roles={role: tuple(members) for role, members in (reading.roles or {}).items()},
        owners=read_owners(reading),
        approve=reading.approve,
        risk=tuple(read_risk(reading)),
        records=tuple(read_records(reading)),
        context=tuple(read_context(reading)),
        rules=tuple(read_rule(reading, item, path) for item, path in reading.items("rules", RuleShape)),
        otherwise=tuple(
            read_otherwise(reading, item, path) for item, path in reading.items("otherwise", OtherwiseShape)
        ),
        limits=tuple(read_limits(reading)),
        retries=read_retries(reading),
        breakers=read_breakers(reading),
        caps=read_caps(reading),
        deadline_seconds=reading.section("deadlines", DeadlinesShape).run,
        tests=tuple(read_test(reading, item, path) for item, path in reading.items("tests", TestShape)),
    )


def _check_joined(reading: Reading, parts: PolicyParts) -> None:
    """Note rules that people could meet one by one, and never as they are met: together with those that always join."""
    for section, rules, others in (("rules", parts.rules, parts.records), ("otherwise", parts.otherwise, ())):
        for index, beside, short in unreachable(rules, others, parts.roles):
            together = ", ".join(rule.place for rule in beside)
            what = f"wherever this matches, so does {together}: together {short}"
            reading.problem((section, index, "by"), "policy_quorum_unreachable", what)


def _defaults(reading: Reading) -> ApprovalDefaults:
    shape = reading.section("approve", ApproveShape)
    return ApprovalDefaults(
        within_seconds=shape.within,
        execute_within_seconds=shape.execute_within,
        not_by=frozenset(shape.not_by),
        on_expiry=reading.expiry(shape.on_expiry, ("approve", "on_expiry")) or "deny",
        open_per_run=shape.open_per_run,
        open_per_tenant=shape.open_per_tenant,
        on_new_message=shape.on_new_message,
    )
