"""What people who decide look at, as requests to the ledger: what waits, what was decided, who voted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, Self
from uuid import UUID

import orjson

from langgraph_control.audit.asking.operator_requests import InFlight
from langgraph_control.audit.asking.requests import FieldsAreParameters
from langgraph_control.audit.asking.rows import ApprovalRow
from langgraph_control.audit.people.identity import Identity

__all__ = [
    "SCAN",
    "Decided",
    "Own",
    "OwnPerson",
    "Parts",
    "Pulse",
    "ReadPulse",
    "Refused",
    "RolesOf",
    "UnderWay",
    "VoteRow",
    "Votes",
    "Waiting",
    "YesCounted",
    "groups_of",
]

SCAN: Final = 5000
"""So many requests are looked at for a page of decided ones."""

Rows = Sequence[Mapping[str, Any]]


def groups_of(identity: Identity) -> list[str]:
    """Return a person's groups as the policy's roles name them.

    Args:
        identity: the person.
    """
    return sorted(f"group:{group}" for group in set(identity.groups))


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """Who speaks on a login by itself.

    Args:
        person: who; None where it belongs to nobody in particular.
        groups: that person's, as the policy names them.
    """

    person: str | None
    groups: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPerson(FieldsAreParameters):
    """Ask who speaks on this login by itself."""

    statement: ClassVar[str] = "own_person"

    def read(self, rows: Rows) -> Own:
        """Return the answer as a value."""
        return Own(**rows[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(FieldsAreParameters):
    """Read the open requests after one of them, oldest first.

    Args:
        limit: at most so many.
        after_at: since when the last one that was read is open; None for the first page.
        after: its id.
        person: only those on which this person may vote now; None: all.
        groups: that person's, as the policy names them.
        tool: only those of this tool.
        actor: only those of runs that this actor asked for.
    """

    statement: ClassVar[str] = "waiting"

    limit: int
    after_at: datetime | None = None
    after: UUID | None = None
    person: str | None = None
    groups: Sequence[str] = ()
    tool: str | None = None
    actor: str | None = None

    def parameters(self) -> Mapping[str, Any]:
        """Return the statement's parameters by name."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "groups": list(self.groups)}

    def read(self, rows: Rows) -> tuple[ApprovalRow, ...]:
        """Return the answer as a value."""
        return tuple(ApprovalRow.of(row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided(FieldsAreParameters):
    """Read the requests that are decided before one of them, the newest first.

    Args:
        limit: at most so many.
        before_at: since when the last one that was read was open; None for the first page.
        before: its id.
        state: only those that stand there.
        scan: so many requests are looked at.
    """

    statement: ClassVar[str] = "decided"

    limit: int
    before_at: datetime | None = None
    before: UUID | None = None
    state: str | None = None
    scan: int = SCAN

    def read(self, rows: Rows) -> tuple[ApprovalRow, ...]:
        """Return the answer as a value."""
        return tuple(ApprovalRow.of(row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """Which requests are open, in short.

    Args:
        open: how many.
        mark: another number whenever others are.
    """

    open: int
    mark: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPulse(FieldsAreParameters):
    """Ask whether other requests are open than before."""

    statement: ClassVar[str] = "pulse"

    def read(self, rows: Rows) -> Pulse:
        """Return the answer as a value."""
        return Pulse(**rows[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRow:
    """One person's word on a request.

    Args:
        person: who.
        delegator: whose vote it is, where they stand in for somebody; None: their own.
        decision: approve, reject or break_glass.
        comment: why.
        voted_at: when.
        issuer: who vouched for the person; None: a database login of their own.
        acr: how strongly they were authenticated; None if nothing was said.
    """

    person: str
    delegator: str | None
    decision: str
    comment: str | None
    voted_at: datetime
    issuer: str | None
    acr: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes(FieldsAreParameters):
    """Read the votes on a request, in their order.

    Args:
        approval_id: the request.
    """

    statement: ClassVar[str] = "votes"

    approval_id: UUID

    def read(self, rows: Rows) -> tuple[VoteRow, ...]:
        """Return the answer as a value."""
        return tuple(VoteRow(**row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts(FieldsAreParameters):
    """Read what a request's card holds for somebody's roles alone: one part for each. Empty where it is nothing.

    Args:
        approval_id: the request.
        person: who reads; None: whom the login belongs to. Only a login that may name persons is heeded.
        groups: that person's, as the policy names them.
    """

    statement: ClassVar[str] = "parts"

    approval_id: UUID
    person: str | None
    groups: list[str]

    def read(self, rows: Rows) -> Sequence[Mapping[str, Any]]:
        """Return the answer as a value; no part of one that nests too deep to be ours."""
        try:
            parts: list[Mapping[str, Any]] = orjson.loads(rows[0]["parts"] or b"[]")
        except orjson.JSONDecodeError:
            return ()
        return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class YesCounted(FieldsAreParameters):
    """Ask how many of the yes on some requests count now: a role may be lost, or a leave taken back.

    Args:
        approvals: the requests.
    """

    statement: ClassVar[str] = "yes_counted"

    approvals: list[UUID]

    def read(self, rows: Rows) -> Mapping[UUID, int]:
        """Return the answer as a value."""
        return {row["approval_id"]: row["counted"] for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(FieldsAreParameters):
    """Ask why a person's vote would not count now. The answer is a stable word, or None where it would.

    Args:
        approval_id: the request.
        person: who would vote.
        groups: that person's, as the policy names them.
    """

    statement: ClassVar[str] = "refusal"

    approval_id: UUID
    person: str
    groups: list[str]

    def read(self, rows: Rows) -> str | None:
        """Return the answer as a value."""
        refused: str | None = rows[0]["refused"]
        return refused


@dataclass(frozen=True, slots=True, kw_only=True)
class RolesOf(FieldsAreParameters):
    """Read the roles a person has now.

    Args:
        person: who.
        groups: that person's, as the policy names them.
    """

    statement: ClassVar[str] = "roles"

    person: str
    groups: list[str]

    @classmethod
    def of(cls, identity: Identity) -> Self:
        """Return the question about somebody who has signed in."""
        return cls(person=identity.person, groups=groups_of(identity))

    def read(self, rows: Rows) -> tuple[str, ...]:
        """Return the answer as a value."""
        return tuple(rows[0]["roles"])


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay(FieldsAreParameters):
    """Read which calls are under way: a freeze would not stop these."""

    statement: ClassVar[str] = "in_flight"

    def read(self, rows: Rows) -> tuple[InFlight, ...]:
        """Return the answer as a value."""
        return tuple(InFlight(**row) for row in rows)
