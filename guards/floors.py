"""Floors: what nothing an agent asserts may loosen. The admin publishes these rows; vote and claim hold to them.

And the other end: the most that a policy asks for, by which publishing it can tell that a request has votes enough.

A policy in ``mode: observe`` lets its tools run, so publishing it publishes floors that ask for nothing. An agent
cannot do that: its own file decides what it asserts, and the published floor holds against it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

from langgraph_control.guards.approvals import Escalation, Requirement, stricter
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.rules import Rule, Then

__all__ = ["ANY_TOOL", "Floor", "ceilings", "floors"]

ANY_TOOL: Final = "*"  # the row for tools that no rule names


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The least that any decision about a tool asks for, whatever impact, system and arguments the agent states.

    Args:
        tool: the tool's name, or ``*`` for every tool that no rule names.
        must: the tool is never allowed without approval.
        roles: every role that some rule lets approve it, at once or when others did not answer, sorted. A vote by
            anyone else never counts; where it is empty and nobody must be asked, whoever asks for more says whom.
        quorum: at least so many distinct people of these roles must say yes to any request. 1 where no rule lets
            anyone approve: nobody is in no roles, so the comparison fails by itself.
        not_by: who may not vote on any request, because every rule that asks says so.
        break_glass: every role of which some rule lets one person decide alone in an emergency, sorted.
        always: ``quorum``, role by role, and ``comment_required``: what every request needs, because of rules about the
            tool alone; None where there is no such rule.
    """

    tool: str
    must: bool
    roles: tuple[str, ...]
    quorum: int
    not_by: tuple[str, ...] = ()
    break_glass: tuple[str, ...] = ()
    always: Mapping[str, Any] | None = None


def floors(policy: Policy) -> tuple[Floor, ...]:
    """Return one floor for each tool that a rule names, sorted, and last the one for all others.

    Args:
        policy: the policy as the admin publishes it.
    """
    return tuple(_floor(policy, tool) for tool in _tools(policy))


def ceilings(policy: Policy) -> dict[str, Requirement]:
    """Return, by tool, what every decision about it asks for at most: whoever meets it meets each of them.

    Left out are tools about which nobody is ever asked. The tools are those of :func:`floors`.

    Args:
        policy: the policy as the admin publishes it.
    """
    asked = {tool: _joined(_heard(policy, tool)) for tool in _tools(policy)}
    return {tool: requirement for tool, requirement in asked.items() if requirement is not None}


def _tools(policy: Policy) -> tuple[str, ...]:
    return (*sorted({tool for rule in policy.rules for tool in rule.tools}), ANY_TOOL)


def _heard(policy: Policy, tool: str) -> list[Rule]:
    """The rules that can have a word in a decision about a tool."""
    rules = [rule for rule in policy.rules if not rule.tools or tool in rule.tools]
    # Where a rule always matches, `otherwise` is never heard.
    return rules if any(rule.is_about_a_tool_only for rule in rules) else [*rules, *policy.otherwise]


def _floor(policy: Policy, tool: str) -> Floor:
    heard = _heard(policy, tool)
    strict = [rule for rule in heard if rule.is_about_a_tool_only and rule.then is not Then.ALLOW]
    if any(not rule.then.lets_through for rule in strict):
        return Floor(tool=tool, must=not policy.observes, roles=(), quorum=1)
    asking = [rule.requirement for rule in heard if rule.requirement is not None]
    always = _joined(strict)
    return Floor(
        tool=tool,
        must=not policy.observes and (bool(strict) or all(rule.then is not Then.ALLOW for rule in heard)),
        roles=tuple(sorted({role for requirement in asking for role in requirement.roles})),
        quorum=min((requirement.fewest_people for requirement in asking), default=1)
        if always is None
        else always.fewest_people,
        not_by=tuple(sorted(frozenset[str].intersection(*(requirement.not_by for requirement in asking))))
        if asking
        else (),
        break_glass=tuple(sorted({role for requirement in asking for role in requirement.break_glass})),
        always=None if always is None or policy.observes else _always(always),
    )


def _always(requirement: Requirement) -> dict[str, Any]:
    """What holds for every request; where others are asked in the end, it is their number alone."""
    quorum = {} if isinstance(requirement.on_expiry, Escalation) else dict(requirement.quorum)
    return {"quorum": quorum, "comment_required": requirement.comment_required}


def _joined(rules: Iterable[Rule]) -> Requirement | None:
    """What rules ask for together."""
    nobody: Requirement | None = None
    return reduce(stricter, (rule.requirement for rule in rules), nobody)
