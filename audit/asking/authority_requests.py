"""What people ask of the ledger beside yes and no, and what a call says of an edit.

Requests in the manner of :mod:`langgraph_control.audit.asking.requests`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters
from langgraph_control.audit.asking.rows import ApprovalRow, Voted, Voting

__all__ = [
    "Delegate",
    "Delegation",
    "Delegations",
    "Edit",
    "EditTaken",
    "Review",
    "Reviews",
    "RevokeDelegation",
    "WithdrawVote",
]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawVote(FieldsAreParameters):
    """Take one's yes back.

    Args:
        approval_id: the request.
        comment: why.
        person: who, where the login may name one.
        identity: how a service found out who it is, as JSON.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "withdraw_vote"

    approval_id: UUID
    comment: str | None
    person: str | None
    identity: str | None
    body: bytes

    def read(self, rows: Rows) -> Voted:
        """Return the answer as a value."""
        return _voted(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit(FieldsAreParameters):
    """Say with which arguments instead.

    Args:
        approval_id: the request.
        changes: argument → new value, as JSON.
        comment: why.
        person: who, where the login may name one.
        identity: how a service found out who it is, as JSON.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "edit"

    approval_id: UUID
    changes: str
    comment: str | None
    person: str | None
    identity: str | None
    body: bytes

    def read(self, rows: Rows) -> Voted:
        """Return the answer as a value."""
        return _voted(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditTaken(FieldsAreParameters):
    """Say what became of an edit: which call, or why it is none.

    Args:
        run_id: the run that meets it.
        token: its fencing token.
        edit_no: the edit.
        became: the args hash of the call that goes on with it, 32 bytes; None if the tool does not take it.
        problem: what the tool does not take, without values; None if it does.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "edit_taken"

    run_id: UUID
    token: int
    edit_no: int
    became: bytes | None
    problem: str | None
    body: bytes

    def read(self, rows: Rows) -> bool:
        """Return whether the run was still this driver's."""
        return bool(rows[0]["taken"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """Somebody who stands in for somebody else.

    Args:
        delegation_id: its id.
        from_person: whose roles.
        to_person: who votes in them.
        role: which; None for all of them.
        made_at: since when.
        until: until when.
        comment: why.
    """

    delegation_id: UUID
    from_person: str
    to_person: str
    role: str | None
    made_at: datetime
    until: datetime
    comment: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegate(FieldsAreParameters):
    """Let somebody vote in one's roles until a date.

    Args:
        delegation_id: made by the client; a re-sent request carries the same.
        to_person: who.
        role: in which role; None for all.
        until: the end, with a time zone.
        comment: why.
        person: whose roles, where the login may name a person.
        identity: how a service found out who it is, as JSON.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "delegate"

    delegation_id: UUID
    to_person: str
    role: str | None
    until: datetime
    comment: str | None
    person: str | None
    identity: str | None
    body: bytes

    def read(self, rows: Rows) -> str | None:
        """Return why not; None if it holds."""
        return _refused(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeDelegation(FieldsAreParameters):
    """End a delegation.

    Args:
        delegation_id: which.
        comment: why.
        person: who, where the login may name one.
        identity: how a service found out who it is, as JSON.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "revoke_delegation"

    delegation_id: UUID
    comment: str | None
    person: str | None
    identity: str | None
    body: bytes

    def read(self, rows: Rows) -> str | None:
        """Return why not; None if it is over."""
        return _refused(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegations(FieldsAreParameters):
    """Ask who stands in for whom now."""

    statement: ClassVar[str] = "delegations"

    def read(self, rows: Rows) -> tuple[Delegation, ...]:
        """Return the answer as values."""
        return tuple(Delegation(**row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviews(FieldsAreParameters):
    """Ask what was done on one person's word in an emergency and was not reviewed since, oldest first.

    Args:
        limit: at most so many.
    """

    statement: ClassVar[str] = "reviews"

    limit: int

    def read(self, rows: Rows) -> tuple[ApprovalRow, ...]:
        """Return the answer as values."""
        return tuple(ApprovalRow.of(row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review(FieldsAreParameters):
    """Say what one thinks of it afterwards.

    Args:
        approval_id: the request that one person decided alone.
        verdict: whether that was right.
        comment: why; needed with an objection.
        person: who, where the login may name one.
        identity: how a service found out who it is, as JSON.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "review"

    approval_id: UUID
    verdict: Literal["accepted", "objected"]
    comment: str | None
    person: str | None
    identity: str | None
    body: bytes

    def read(self, rows: Rows) -> str | None:
        """Return why not; None if it counts."""
        return _refused(rows)


def _voted(rows: Rows) -> Voted:
    return Voted(**{**rows[0], "answer": Voting(rows[0]["answer"])})


def _refused(rows: Rows) -> str | None:
    reason: str | None = rows[0]["refused"]
    return reason
