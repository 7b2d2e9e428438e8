"""What can be decided about a write, and what a decision says."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langgraph_control.guards.approvals import Requirement
    from langgraph_control.guards.risk import Radius
    from langgraph_control.guards.rules import Then

__all__ = ["Decision", "Match", "Source", "Verb", "spoken"]


class Verb(StrEnum):
    """What to do with a proposed write. Listed from loose to strict: where several speak, the strictest prevails."""

    ALLOW = "allow"  # run it
    APPROVE = "approve"  # park until the people named in the requirement say yes to this exact write
    RETRY_LATER = "retry_later"  # the record or the system cannot be looked at or written to now
    ASK = "ask"  # a piece is missing that the user must give
    VERIFY_FIRST = "verify_first"  # an earlier attempt may have happened: find out before anything else
    DEDUPLICATE = "deduplicate"  # it is done, or the record is already in the target state: nothing to do
    ESCALATE = "escalate"  # a person owns this from here
    DRY_RUN = "dry_run"  # say what would be done, do nothing
    DENY = "deny"  # do not run it

    @property
    def strictness(self) -> int:
        """A number to compare by; higher is stricter."""
        return _STRICTNESS[self]


_STRICTNESS: Final = {verb: place for place, verb in enumerate(Verb)}


class Source(StrEnum):
    """What made a decision."""

    RUN_STATE = "run state"  # what this run and this action have done so far
    CONTEXT = "context"  # the record as it is
    RULES = "rules"  # the policy's rules, records and limits, over risk and everything else
    SYSTEM_STATE = "system state"  # how the system written to is doing
    CHECKS = "checks"  # whether the change can be stated, and the checks that were handed in


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A rule that took part.

    Args:
        place: where it stands in the file.
        then: what it decides.
        certain: every condition holds; False: a field is missing, which counts as matching.
        decides: it is one of the strictest, which make the decision.
    """

    place: str
    then: Then
    certain: bool
    decides: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided, and why.

    Args:
        verb: what to do.
        reasons: for people and the trail; they name rules and fields, never argument values.
        requirement: who must say yes; only with ``approve``.
        matched: the places of the rules that made the decision.
        policy_hash: which policy decided.
        source: what made it.
        heard: all rules that took part, with what each says, also where something else decided.
        radius: how far a mistake would reach; None where that was not asked.
        seconds: with ``retry_later``, how long to wait; None: until something changes.
        owner: with ``escalate``, the role that owns the matter; None where the policy names nobody.
        question: with ``ask``, what the user is asked.
        observed: in ``mode: observe``, what would have been decided; None otherwise.
        signals: what it looked at, where that says something: field → value, by the names that rules use.
    """

    verb: Verb
    reasons: tuple[str, ...]
    requirement: Requirement | None
    matched: tuple[str, ...]
    policy_hash: str
    source: Source = Source.RULES
    heard: tuple[Match, ...] = ()
    radius: Radius | None = None
    seconds: float | None = None
    owner: str | None = None
    question: str | None = None
    observed: Decision | None = None
    signals: Mapping[str, str] = field(default_factory=dict)

    @property
    def spoken(self) -> str:
        """The decision as people say it: ``approve by 2 of finance``."""
        return spoken(self.verb, self.requirement, self.owner)


def spoken(verb: str, requirement: Requirement | None, owner: str | None) -> str:
    """Return a verb with whom it names, as people say it.

    Args:
        verb: what is decided.
        requirement: who must say yes, with ``approve``.
        owner: who owns the matter, with ``escalate``.
    """
    if requirement is not None:
        people = ", ".join(f"{count} of {role}" for role, count in requirement.quorum.items())
        return f"approve by {people}"
    return f"escalate to {owner}" if owner is not None else str(verb)
