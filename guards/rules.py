"""The parts of a policy, as values: rules, defaults and the file's own tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from langgraph_control.guards.approvals import Requirement
from langgraph_control.guards.conditions import LOWER, UPPER, Condition
from langgraph_control.guards.signals import Impact, Signals

__all__ = ["ApprovalDefaults", "PolicyTest", "Rule", "Then"]


class Then(StrEnum):
    """What a rule decides. Listed from loose to strict; of several matching rules the strictest wins."""

    ALLOW = "allow"  # the write may run without asking
    APPROVE = "approve"  # people must say yes to this exact write first
    DENY = "deny"  # the write does not run

    @property
    def strictness(self) -> int:
        """A number to compare by; higher is stricter."""
        return list(Then).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of ``rules`` or ``otherwise``.

    Args:
        place: where it stands, for people and the trail: ``rules[2] policy.yaml:7``.
        tools: the tools it is about; empty means any.
        impacts: the impacts it is about; empty means any.
        systems: the systems it is about; empty means any.
        conditions: what must hold; all of them.
        then: what it decides.
        requirement: who must say yes; only with ``then: approve``.
    """

    place: str
    tools: tuple[str, ...] = ()
    impacts: tuple[Impact, ...] = ()
    systems: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    then: Then
    requirement: Requirement | None = None

    def is_about(self, signals: Signals) -> bool:
        """Whether tool, impact and system fit; conditions are another question."""
        return (
            (not self.tools or signals.tool in self.tools)
            and (not self.impacts or signals.impact in self.impacts)
            and (not self.systems or signals.system in self.systems)
        )

    def allows_unbounded(self, impact: Impact) -> bool:
        """Whether this rule could allow a call of that impact without any number bounded from both sides.

        Args:
            impact: the impact in question; for money the answer must be no.
        """
        below = {condition.field for condition in self.conditions if condition.operator in LOWER}
        above = {condition.field for condition in self.conditions if condition.operator in UPPER}
        covers = not self.impacts or impact in self.impacts
        return self.then is Then.ALLOW and covers and below.isdisjoint(above)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDefaults:
    """What ``approve:`` says for every rule that asks people.

    Args:
        within_seconds: how long a request stays open.
        execute_within_seconds: how long a grant is usable; None means as long as the request was open.
        not_by: who may not vote.
    """

    within_seconds: int
    execute_within_seconds: int | None
    not_by: frozenset[str]

    def requirement(self, quorum: Mapping[str, int], *, within_seconds: int | None, comment: bool) -> Requirement:
        """Return what a rule asks for, filled up from these defaults.

        Args:
            quorum: role → how many people, as the rule's ``by`` says.
            within_seconds: the rule's own ``within``, None where it has none.
            comment: whether the rule asks for a comment.
        """
        within = within_seconds or self.within_seconds
        return Requirement(
            quorum=quorum,
            not_by=self.not_by,
            within_seconds=within,
            execute_within_seconds=self.execute_within_seconds or within,
            on_expiry="deny",
            comment_required=comment,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTest:
    """One inline test: this call must be decided so.

    Args:
        place: where it stands: ``tests[0] policy.yaml:12``.
        tool: the tool called.
        arguments: the call's arguments.
        record: the record's fields, None where the test gives none.
        impact: the tool's impact; None means the answer must not depend on it.
        system: the tool's system, None where the test gives none.
        expect: the decision it must come to.
        by: role → people, where the test also says who must approve.
    """

    place: str
    tool: str
    arguments: Mapping[str, Any]
    record: Mapping[str, Any] | None
    impact: Impact | None
    system: str | None
    expect: Then
    by: Mapping[str, int] | None
