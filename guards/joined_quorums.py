"""Rules that can only be met together: where one matches, others always do, and people are asked for all of them."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import reduce
from typing import Final

from langgraph_control.guards.approvals import Escalation, Requirement, stricter
from langgraph_control.guards.quorums import Shortage, shortage
from langgraph_control.guards.rule_cover import covers
from langgraph_control.guards.rules import Rule

__all__ = ["unreachable"]

ANY_TOOL: Final = ""


def unreachable(
    rules: Sequence[Rule], others: Sequence[Rule], roles: Mapping[str, Collection[str]]
) -> Iterator[tuple[int, Sequence[Rule], Shortage]]:
    """Yield the rules whose requests nobody could ever grant: place in `rules`, the rules that join in, who is missing.

    What is found is certain: each of those that join in counts whenever the rule does. Rules that only sometimes meet
    are left to the people who wrote them.

    Args:
        rules: rules that are heard together.
        others: rules that are heard beside them.
        roles: role → members.
    """
    asking = [(rule, rule.requirement) for rule in (*rules, *others) if rule.requirement is not None]
    # Whoever can meet all of them at once can meet any of them: then there is nothing to compare.
    if not asking or _short(_joined([requirement for _, requirement in asking]), roles) is None:
        return
    by_tool: defaultdict[str, list[tuple[Rule, Requirement]]] = defaultdict(list)
    for rule, requirement in asking:
        for tool in rule.tools or (ANY_TOOL,):
            by_tool[tool].append((rule, requirement))
    for index, rule in enumerate(rules):
        if rule.requirement is None:
            continue
        near = [*by_tool[ANY_TOOL], *(by_tool[rule.tools[0]] if rule.tools else ())]
        beside = [(other, more) for other, more in near if other is not rule and covers(other, rule)]
        joined = _joined([rule.requirement, *(more for _, more in beside)])
        short = _short(joined, roles) if beside else None
        if short is not None and not _is_overruled(rule, (*rules, *others)):
            yield index, [other for other, _ in beside], short


def _joined(requirements: Sequence[Requirement]) -> Requirement:
    nobody: Requirement | None = None
    joined = reduce(stricter, requirements, nobody)
    assert joined is not None  # noqa: S101 - there is at least one
    return joined


def _short(requirement: Requirement, roles: Mapping[str, Collection[str]]) -> Shortage | None:
    later = requirement.on_expiry
    short = shortage(requirement.quorum, roles)
    return short or (shortage(later.quorum, roles) if isinstance(later, Escalation) else None)


def _is_overruled(rule: Rule, others: Sequence[Rule]) -> bool:
    return any(other.then.strictness > rule.then.strictness and covers(other, rule) for other in others)
