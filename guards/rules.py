"""The parts of a policy, as values: rules, defaults and the file's own tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

from langgraph_control.guards.approvals import OPEN_PER_RUN, OPEN_PER_TENANT, Escalation, Requirement
from langgraph_control.guards.conditions import LOWER, UPPER, Condition
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.signal_fields import gathered_head
from langgraph_control.guards.signals import OPERATION_OF, Impact, Operation, Signals

__all__ = ["ApprovalDefaults", "PolicyTest", "Rule", "Then"]


class Then(StrEnum):
    """What a rule decides. Listed from loose to strict; of several matching rules the strictest wins."""

    ALLOW = "allow"  # the write may run without asking
    APPROVE = "approve"  # people must say yes to this exact write first
    ASK = "ask"  # the user is asked a question first; as it is, this call does not run
    ESCALATE = "escalate"  # a person owns the matter from here
    DRY_RUN = "dry_run"  # what would be done is said, nothing is done, nobody is asked
    DENY = "deny"  # the write does not run

    @property
    def strictness(self) -> int:
        """A number to compare by; higher is stricter."""
        return _STRICTNESS[self]

    @property
    def lets_through(self) -> bool:
        """Whether the write may run in the end, as it is."""
        return self in {Then.ALLOW, Then.APPROVE}


_STRICTNESS: Final = {then: place for place, then in enumerate(Then)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of ``rules``, ``otherwise`` or ``records``. Every empty tuple of what it is about means any.

    Args:
        place: where it stands, for people and the trail: ``rules[2] policy.yaml:7``.
        tools: the tools it is about.
        impacts: the impacts it is about.
        systems: the systems it is about.
        operations: the kinds of operation it is about.
        effects: the kinds of effect it is about.
        actors: the identities it is about.
        tenants: the tenants it is about.
        exempt: tools it is not about, whatever else it says.
        conditions: what must hold; all of them.
        then: what it decides.
        requirement: who must say yes; with ``then: approve``.
        to: the role that owns the matter; with ``then: escalate``, None for the policy's own owner.
        question: what the user is asked; with ``then: ask``.
        because: what the rule means, for the reasons; None where it speaks for itself.
    """

    place: str
    tools: tuple[str, ...] = ()
    impacts: tuple[Impact, ...] = ()
    systems: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ()
    effects: tuple[Kind, ...] = ()
    actors: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    exempt: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    then: Then
    requirement: Requirement | None = None
    to: str | None = None
    question: str | None = None
    because: str | None = None

    def is_about(self, signals: Signals) -> bool:
        """Whether everything but the conditions fits; those are another question."""
        operation = signals.risk.operation or OPERATION_OF[signals.impact]
        return (
            (not self.tools or signals.tool in self.tools)
            and (not self.impacts or signals.impact in self.impacts)
            and (not self.systems or signals.system in self.systems)
            and (not self.operations or operation in self.operations)
            and (not self.effects or signals.kind in self.effects)
            and (not self.actors or signals.actor in self.actors)
            and (not self.tenants or signals.tenant in self.tenants)
            and signals.tool not in self.exempt
        )

    def elsewhere(self, signals: Signals) -> tuple[tuple[str, tuple[str, ...], str | None], ...]:
        """Return what the rule names and the call does not have: what it is, the names, and what the call has.

        Args:
            signals: the call.
        """
        operation = signals.risk.operation or OPERATION_OF[signals.impact]
        named: tuple[tuple[str, tuple[str, ...], str | None], ...] = (
            ("tool", self.tools, signals.tool),
            ("impact", self.impacts, signals.impact),
            ("system", self.systems, signals.system),
            ("operation", self.operations, operation),
            ("effect", self.effects, signals.kind),
            ("actor", self.actors, signals.actor),
            ("tenant", self.tenants, signals.tenant),
        )
        return tuple((what, names, has) for what, names, has in named if names and has not in names)

    def asks(self, head: str) -> bool:
        """Whether a condition is about ``system.…`` or ``run.…``.

        Args:
            head: ``system`` or ``run``.
        """
        return any(gathered_head(condition.field) == head for condition in self.conditions)

    @property
    def is_about_a_tool_only(self) -> bool:
        """Whether nothing but the tool's name decides that it matches."""
        narrowed = (self.impacts, self.systems, self.operations, self.effects, self.actors, self.tenants, self.exempt)
        return not any(narrowed) and not self.conditions

    def allows_unbounded(self, impact: Impact) -> bool:
        """Whether this rule could allow a call of that impact without any number bounded from both sides.

        Args:
            impact: the impact in question; for money the answer must be no.
        """
        amounts = [condition for condition in self.conditions if _may_be_an_amount(condition.field)]
        below = {condition.field for condition in amounts if condition.operator in LOWER}
        above = {condition.field for condition in amounts if condition.operator in UPPER}
        covers = not self.impacts or impact in self.impacts
        return self.then is Then.ALLOW and covers and below.isdisjoint(above)


def _may_be_an_amount(field: str) -> bool:
    return field != "risk.count" and gathered_head(field) is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDefaults:
    """What ``approve:`` says for every rule that asks people.

    Args:
        within_seconds: how long a request stays open.
        execute_within_seconds: how long a grant is usable; None means as long as the request was open.
        not_by: who may not vote.
        on_expiry: what becomes of a request that nobody answered.
        open_per_run: how many requests of one run may wait for people at once.
        open_per_tenant: how many of all its runs.
        on_new_message: what becomes of a run that waits for people when another is to begin on its thread: it stays,
            and the other is refused; or its requests are withdrawn, and it ends.
    """

    within_seconds: int
    execute_within_seconds: int | None
    not_by: frozenset[str]
    on_expiry: Literal["deny"] | Escalation = "deny"
    open_per_run: int = OPEN_PER_RUN
    open_per_tenant: int = OPEN_PER_TENANT
    on_new_message: Literal["refuse", "withdraw"] = "refuse"

    def requirement(
        self,
        quorum: Mapping[str, int],
        *,
        within_seconds: int | None,
        comment: bool,
        on_expiry: Literal["deny"] | Escalation | None = None,
        break_glass: frozenset[str] = frozenset(),
    ) -> Requirement:
        """Return what a rule asks for, filled up from these defaults.

        Args:
            quorum: role → how many people, as the rule's ``by`` says.
            within_seconds: the rule's own ``within``, None where it has none.
            comment: whether the rule asks for a comment.
            on_expiry: the rule's own ``on_expiry``, None where it has none.
            break_glass: roles of which one person may decide alone in an emergency.
        """
        within = within_seconds or self.within_seconds
        return Requirement(
            quorum=quorum,
            not_by=self.not_by,
            within_seconds=within,
            execute_within_seconds=self.execute_within_seconds or within,
            on_expiry=on_expiry or self.on_expiry,
            comment_required=comment,
            break_glass=break_glass,
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
        effect: the kind of its effect; None means likewise.
        system: the tool's system, None where the test gives none.
        operation: the kind of operation, None for the one that the impact implies.
        environment: where the agent runs, None where the test gives none.
        known: ``system.<field>`` and ``run.<field>`` → value, as far as the test gives them.
        actor: the identity the agent runs under.
        tenant: whose data.
        expect: the decision it must come to.
        by: role → people, where the test also says who must approve.
        to: the role, where the test also says who owns what is escalated.
    """

    place: str
    tool: str
    arguments: Mapping[str, Any]
    record: Mapping[str, Any] | None
    impact: Impact | None = None
    effect: Kind | None = None
    system: str | None = None
    operation: Operation | None = None
    environment: str | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    actor: str = "policy test"
    tenant: str = "policy test"
    expect: Then
    by: Mapping[str, int] | None = None
    to: str | None = None
