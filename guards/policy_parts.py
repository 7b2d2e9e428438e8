"""What a correct policy file says, as frozen values with the questions that are asked of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from langgraph_control.guards.limits import Limit
from langgraph_control.guards.looks import NO_LOOKS, ContextRule, Looks, looks
from langgraph_control.guards.retry_rules import BreakerRules, Caps, Named, RetryRules
from langgraph_control.guards.risk import RiskRule
from langgraph_control.guards.rules import ApprovalDefaults, PolicyTest, Rule
from langgraph_control.guards.signals import Impact

__all__ = ["Mode", "Owners", "PolicyParts"]


class Mode(StrEnum):
    """Whether the policy's decisions hold."""

    ENFORCE = "enforce"  # they do
    OBSERVE = "observe"  # they are recorded, loudly, and the tool runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Who settles what the program cannot: unknown outcomes, exhausted retries, missed deadlines, escalated writes.

    Args:
        tools: tool → role.
        systems: system → role.
        impacts: impact → role.
        default: everybody else's; None where the file names none.
    """

    tools: Mapping[str, str] = field(default_factory=dict)
    systems: Mapping[str, str] = field(default_factory=dict)
    impacts: Mapping[Impact, str] = field(default_factory=dict)
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyParts:
    """What a correct file says.

    Args:
        mode: whether its decisions hold.
        roles: role → its members: people, or ``group:<name>``.
        owners: who settles what the program cannot.
        approve: the defaults of rules that ask people.
        risk: where writes say how much they move and how many records they touch.
        records: what fields of records mean, as rules that only make a decision stricter.
        context: what to look for in the ledger before a write is decided about.
        rules: the rules in the file's order; the order decides nothing.
        otherwise: the rules for calls that no rule matches.
        limits: the budgets.
        retries: how often something is tried, by tool or system.
        breakers: when calls are held back, by system.
        caps: what one run may use up.
        deadline_seconds: how long a run may take that was given no deadline of its own; None: as long as it likes.
        tests: the file's own tests.
    """

    mode: Mode = Mode.ENFORCE
    roles: Mapping[str, tuple[str, ...]]
    owners: Owners = field(default_factory=Owners)
    approve: ApprovalDefaults
    risk: tuple[RiskRule, ...] = ()
    records: tuple[Rule, ...] = ()
    context: tuple[ContextRule, ...] = ()
    rules: tuple[Rule, ...]
    otherwise: tuple[Rule, ...]
    limits: tuple[Limit, ...] = ()
    retries: Named = field(default_factory=Named)
    breakers: Named = field(default_factory=Named)
    caps: Caps = field(default_factory=Caps)
    deadline_seconds: int | None = None
    tests: tuple[PolicyTest, ...] = ()

    @property
    def owner(self) -> str | None:
        """The role that settles what nobody else is named for, None where the file names none."""
        return self.owners.default

    @property
    def replaces(self) -> bool:
        """Whether a new message on its thread ends a run that waits for people."""
        return self.approve.on_new_message == "withdraw"

    @property
    def observes(self) -> bool:
        """Whether its decisions are recorded only."""
        return self.mode is Mode.OBSERVE

    def owner_for(self, tool: str, system: str | None, impact: Impact | None) -> str | None:
        """Return who settles what the program cannot: the tool's role, else the system's, the impact's, the file's.

        Args:
            tool: the tool's name.
            system: its system, None where it names none.
            impact: its impact; None of a read.
        """
        owners = self.owners
        of_system = owners.systems.get(system) if system is not None else None
        of_impact = owners.impacts.get(impact) if impact is not None else None
        return owners.tools.get(tool) or of_system or of_impact or owners.default

    def retries_for(self, tool: str, system: str | None) -> RetryRules:
        """Return how a tool's actions are tried again: the file's default, over it the system's, over that the tool's.

        The reader sees each part over the default only. Where a system's ``base`` meets a tool's shorter ``cap``, the
        smaller holds, whichever part it is from: no pause is longer than the cap.

        Args:
            tool: the tool's name.
            system: its system, None where it names none.
        """
        rules = self.retries.fill(RetryRules(), system, tool)
        return rules if rules.base_seconds <= rules.cap_seconds else replace(rules, base_seconds=rules.cap_seconds)

    def breaker_for(self, system: str | None) -> BreakerRules:
        """Return when calls to a system are held back.

        Args:
            system: the system, None for the file's default.
        """
        return self.breakers.fill(BreakerRules(), system)

    def limits_for(self, tool: str, impact: Impact, system: str | None) -> tuple[Limit, ...]:
        """Return the budgets that a call counts against.

        Args:
            tool: the tool's name.
            impact: its impact.
            system: its system, None where it names none.
        """
        return tuple(limit for limit in self.limits if limit.is_about(tool, impact, system))

    def looks_for(self, tool: str, impact: Impact, system: str | None) -> Looks:
        """Return what to look for in the ledger before a call is decided about.

        Args:
            tool: the tool's name.
            impact: its impact.
            system: its system, None where it names none.
        """
        if not self.context:
            return NO_LOOKS
        return looks(rule for rule in self.context if rule.is_about(tool, impact, system))
