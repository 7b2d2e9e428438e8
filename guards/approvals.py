"""Who must say yes: requirements, their join, who may vote and when the votes suffice.

The vote functions in SQL decide the same questions again with the same rules; the agent's process is never the judge.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal, Self

__all__ = [
    "EDITOR",
    "OPEN_PER_RUN",
    "OPEN_PER_TENANT",
    "PREVIOUS_APPROVER",
    "REJECTIONS",
    "REQUESTER",
    "Escalation",
    "Refusal",
    "Requirement",
    "may_vote",
    "satisfied",
    "stricter",
]

REQUESTER: Final = "requester"
"""In ``not_by``: the actor that asked for the change, and the person it acts for."""

EDITOR: Final = "editor"
"""In ``not_by``: whoever changed the arguments that are asked about."""

PREVIOUS_APPROVER: Final = "previous_approver"
"""In ``not_by``: whoever said yes to another change of the same run."""

OPEN_PER_RUN: Final = 50
"""How many requests of one run may wait for people at once, unless the policy says otherwise."""

OPEN_PER_TENANT: Final = 20_000
"""How many of all runs of a tenant."""

REJECTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "wrong_amount": "the amount is wrong",
        "wrong_target": "it is the wrong record",
        "wrong_time": "it is the wrong time for it",
        "needs_information": "something is missing to decide it",
        "not_needed": "it is not needed",
        "not_allowed": "it is not allowed",
    }
)
"""Why something was rejected: words that a model can act on → what they say."""


class Refusal(StrEnum):
    """Why a vote does not count. The codes are stable: they are recorded in the trail."""

    CLOSED = "closed"  # the request is already granted, denied, withdrawn or superseded
    EXPIRED = "expired"  # nobody answered in time; the request is denied
    UNKNOWN_PERSON = "unknown_person"  # the voter's login belongs to nobody who is in any published role
    NOT_IN_ROLE = "not_in_role"  # the voter has none of the roles asked for
    IS_REQUESTER = "is_requester"  # the voter asked for the change, or the agent acts for the voter
    IS_EDITOR = "is_editor"  # the voter changed what is asked about
    APPROVED_BEFORE = "approved_before"  # the voter said yes to another change of this run
    COMMENT_MISSING = "comment_missing"  # the rule asks for a comment
    ALREADY_VOTED = "already_voted"  # one person, one vote


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Who is asked when nobody answered in time: others, with a time of their own, and once.

    Args:
        quorum: role → how many distinct people of that role.
        within_seconds: how long they have.

    Raises:
        ValueError: nobody is asked, or a number is not positive.
    """

    quorum: Mapping[str, int]
    within_seconds: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "quorum", _sorted_quorum(self.quorum))
        if self.within_seconds < 1:
            raise ValueError("a requirement's times are at least one second")

    @property
    def people(self) -> int:
        """How many distinct people must say yes in all."""
        return sum(self.quorum.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Who must say yes before an action may run, and for how long a yes counts.

    Args:
        quorum: role → how many distinct people of that role, at least one role and one person each.
        not_by: who may not vote: ``requester``, ``editor``, ``previous_approver``, in any combination.
        within_seconds: the request expires that many seconds after it was opened.
        execute_within_seconds: a grant is usable for that many seconds after the last vote.
        on_expiry: what an unanswered request becomes: denied, or put to others. It is never granted.
        comment_required: each vote needs a comment.
        break_glass: roles of which one person may decide alone in an emergency; that is reviewed afterwards.

    Raises:
        ValueError: nobody is asked, or a number is not positive. A requirement that nobody has to meet is none at all.
    """

    quorum: Mapping[str, int]
    not_by: frozenset[str]
    within_seconds: int
    execute_within_seconds: int
    on_expiry: Literal["deny"] | Escalation
    comment_required: bool
    break_glass: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "quorum", _sorted_quorum(self.quorum))
        if self.within_seconds < 1 or self.execute_within_seconds < 1:
            raise ValueError("a requirement's times are at least one second")

    @property
    def people(self) -> int:
        """How many distinct people must say yes in all."""
        return sum(self.quorum.values())

    @property
    def fewest_people(self) -> int:
        """How many distinct people must say yes at least, whoever is asked in the end."""
        later = self.on_expiry
        return min(self.people, later.people) if isinstance(later, Escalation) else self.people

    @property
    def roles(self) -> frozenset[str]:
        """Every role that may come to be asked."""
        later = self.on_expiry
        return frozenset(self.quorum) | frozenset(later.quorum if isinstance(later, Escalation) else ())

    def expired(self) -> Self | None:
        """Return what is asked once nobody answered in time, or None where the request is denied then."""
        later = self.on_expiry
        if not isinstance(later, Escalation):
            return None
        return replace(self, quorum=later.quorum, within_seconds=later.within_seconds, on_expiry="deny")

    def canonical(self) -> dict[str, Any]:
        """Return the requirement as JSON primitives, sorted, as SQL gets and stores it."""
        later = self.on_expiry
        return {
            "quorum": dict(self.quorum),
            "not_by": sorted(self.not_by),
            "within_seconds": self.within_seconds,
            "execute_within_seconds": self.execute_within_seconds,
            "on_expiry": {"escalate": dict(later.quorum), "within_seconds": later.within_seconds}
            if isinstance(later, Escalation)
            else later,
            "comment_required": self.comment_required,
            **({"break_glass": sorted(self.break_glass)} if self.break_glass else {}),
        }

    @classmethod
    def from_canonical(cls, stored: Mapping[str, Any]) -> Self:
        """Return the requirement that :meth:`canonical` wrote.

        Args:
            stored: the dict as it came back from SQL.

        Raises:
            KeyError: a part is missing; the row was not written by this library.
            ValueError: as for the constructor.
        """
        later = stored["on_expiry"]
        return cls(
            quorum=stored["quorum"],
            not_by=frozenset(stored["not_by"]),
            within_seconds=stored["within_seconds"],
            execute_within_seconds=stored["execute_within_seconds"],
            on_expiry="deny"
            if later == "deny"
            else Escalation(quorum=later["escalate"], within_seconds=later["within_seconds"]),
            comment_required=stored["comment_required"],
            break_glass=frozenset(stored.get("break_glass", ())),
        )


def stricter(one: Requirement | None, other: Requirement | None) -> Requirement | None:
    """Join two requirements: whoever satisfies the result satisfies both.

    A join of a lattice, so it does not matter in which order or how often rules are joined; None asks for nobody. A
    request of which one part is denied when nobody answers is denied as a whole; where both parts are put to others, it
    is put to the others of both.

    Args:
        one: a requirement, or None.
        other: another one, or None.
    """
    if one is None or other is None:
        return one or other
    return Requirement(
        quorum=_larger(one.quorum, other.quorum),
        not_by=one.not_by | other.not_by,
        within_seconds=min(one.within_seconds, other.within_seconds),
        execute_within_seconds=min(one.execute_within_seconds, other.execute_within_seconds),
        on_expiry=_later(one.on_expiry, other.on_expiry),
        comment_required=one.comment_required or other.comment_required,
        break_glass=one.break_glass & other.break_glass,
    )


def _later(one: Literal["deny"] | Escalation, other: Literal["deny"] | Escalation) -> Literal["deny"] | Escalation:
    if isinstance(one, Escalation) and isinstance(other, Escalation):
        quorum = _larger(one.quorum, other.quorum)
        return Escalation(quorum=quorum, within_seconds=min(one.within_seconds, other.within_seconds))
    return "deny"


def _larger(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {role: max(one.get(role, 0), other.get(role, 0)) for role in one.keys() | other.keys()}


def _sorted_quorum(quorum: Mapping[str, int]) -> Mapping[str, int]:
    """A sorted copy: equal requirements have equal bytes, and the caller's dict may change without changing this."""
    if not quorum or any(count < 1 for count in quorum.values()):
        raise ValueError("a requirement names at least one role, and at least one person of each")
    return dict(sorted(quorum.items()))


def may_vote(
    person: str | None,
    *,
    requirement: Requirement,
    roles_of_person: Collection[str],
    requester: str,
    on_behalf_of: str | None,
    closed: bool = False,
    expired: bool = False,
    already_voted: bool = False,
    is_editor: bool = False,
    approved_before: bool = False,
    comment: str | None = None,
) -> Refusal | None:
    """Return why this person's vote does not count, or None where it does.

    The first reason in the order of :class:`Refusal` is given, except that a login that belongs to nobody learns that
    and nothing about the request.

    Args:
        person: who votes; None where the login belongs to nobody the admin published.
        requirement: what the request asks for.
        roles_of_person: the roles the person has now.
        requester: the actor that asked for the change.
        on_behalf_of: the person the actor acts for, None where there is none.
        closed: the request no longer takes votes.
        expired: the request's time is over.
        already_voted: this person has voted on this request.
        is_editor: this person changed the arguments that are asked about.
        approved_before: this person said yes to another change of the same run.
        comment: what the voter wrote.
    """
    asked_by = {_folded(name) for name in (requester, on_behalf_of) if name}
    if not person:
        return Refusal.UNKNOWN_PERSON
    if closed:
        return Refusal.CLOSED
    if expired:
        return Refusal.EXPIRED
    if not roles_of_person:
        return Refusal.UNKNOWN_PERSON
    if requirement.quorum.keys().isdisjoint(roles_of_person):
        return Refusal.NOT_IN_ROLE
    if REQUESTER in requirement.not_by and _folded(person) in asked_by:
        return Refusal.IS_REQUESTER
    if EDITOR in requirement.not_by and is_editor:
        return Refusal.IS_EDITOR
    if PREVIOUS_APPROVER in requirement.not_by and approved_before:
        return Refusal.APPROVED_BEFORE
    if requirement.comment_required and not (comment and comment.strip()):
        return Refusal.COMMENT_MISSING
    return Refusal.ALREADY_VOTED if already_voted else None


def satisfied(requirement: Requirement, votes: Iterable[str], roles_now: Mapping[str, Collection[str]]) -> bool:
    """Whether these yes-votes meet the requirement. More votes never turn a yes into a no.

    Each role needs its number of distinct voters, and all roles together need as many distinct voters as the numbers
    add up to, so that one person in two roles fills one place only. That is exact for one and for two roles. With three
    or more, a surplus voter of one role can make up for a person who covers two others: there are never fewer voters
    than places, but it is the rule that SQL states in a line, not a perfect matching.

    Args:
        requirement: what the request asks for.
        votes: the people who said yes and may vote.
        roles_now: person → the roles this person has now; a person who lost the role no longer counts.
    """
    yes = set(votes)
    in_role = {role: {person for person in yes if role in roles_now.get(person, ())} for role in requirement.quorum}
    enough_each = all(len(in_role[role]) >= count for role, count in requirement.quorum.items())
    return enough_each and len(set().union(*in_role.values())) >= requirement.people


def _folded(name: str) -> str:
    # Lower case only, because SQL's lower() must agree: `Ana@acme.example` may not approve what `ana@…` asked for.
    return name.strip().lower()
