"""What waits for a person's word, and that word: the approver's side, on a login of its own."""

import asyncio
import os
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Final, Literal, Self
from uuid import UUID

import orjson

from langgraph_control.audit.names import approval_id
from langgraph_control.audit.requests import FindApproval, Inbox, Vote
from langgraph_control.audit.rows import ApprovalRow, Voted, Voting
from langgraph_control.audit.store import Store
from langgraph_control.errors import ApprovalRefused, DatabaseRefused

__all__ = ["APPROVER_DSN_VARIABLE", "INBOX_LIMIT", "REFUSALS", "Approvals"]

APPROVER_DSN_VARIABLE: Final = "LANGGRAPH_CONTROL_APPROVER_DSN"
INBOX_LIMIT: Final = 100

REFUSALS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "closed": ("The request is closed already.", "Look at it again; somebody else decided, or it was replaced."),
        "expired": ("The request has expired.", "Have the agent ask again, if the change is still wanted."),
        "unknown_person": (
            "This login belongs to no person in any of the policy's roles.",
            "Map the login to a person (langgraph-control login add) or add the person to the policy and publish it.",
        ),
        "is_requester": ("Whoever asked for a change does not approve it.", "Ask a colleague with the role."),
        "not_in_role": ("The voter has none of the roles that this request asks for.", "Ask somebody who has."),
        "already_voted": ("This person has voted on the request already.", "Another person has to say yes."),
        "comment_missing": ("The policy asks for a comment with this vote.", "Say why, with --comment or comment=."),
        "unknown_request": ("There is no such request for this login's tenant.", "Take the name from the inbox."),
        "not_yourself": (
            "This login may not vote as somebody else.",
            "Leave out --as; it works with Control.local's logins only.",
        ),
    }
)
"""Why a vote was refused, by the stable word the record has: what it means, and what to do."""


class Approvals:
    """Requests for approval, and votes on them. Who votes is whom the admin published for this database login.

    Nothing is opened before the first call. Use it in a ``with`` or ``async with`` block, or close it.

    Args:
        dsn: an approver login's connection string; by default ``LANGGRAPH_CONTROL_APPROVER_DSN``.

    Raises:
        DatabaseRefused: no DSN was given, or it cannot be read.
    """

    def __init__(self, dsn: str | None = None) -> None:
        given = dsn or os.environ.get(APPROVER_DSN_VARIABLE)
        if not given:
            raise DatabaseRefused(
                "No approver's DSN was given.",
                todo=f"Set {APPROVER_DSN_VARIABLE}, or write Approvals(dsn).",
                code="dsn_missing",
            )
        self._store = Store(given, application_name="langgraph-control approvals", connections_max=2)

    def inbox(self, limit: int = INBOX_LIMIT) -> tuple[ApprovalRow, ...]:
        """Return the open requests, oldest first.

        Args:
            limit: at most so many.

        Raises:
            TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger could not be asked.
        """
        return self._store.call(Inbox(limit=limit))

    async def ainbox(self, limit: int = INBOX_LIMIT) -> tuple[ApprovalRow, ...]:
        """Do what :meth:`inbox` does, on any event loop."""
        return await self._store.acall(Inbox(limit=limit))

    def get(self, name: str | UUID) -> ApprovalRow:
        """Return one request, open or closed.

        Args:
            name: ``apr_…``.

        Raises:
            ApprovalRefused: there is none of that name.
            TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger could not be asked.
        """
        return _known(self._store.call(FindApproval(approval_id=approval_id(name))))

    async def aget(self, name: str | UUID) -> ApprovalRow:
        """Do what :meth:`get` does, on any event loop."""
        return _known(await self._store.acall(FindApproval(approval_id=approval_id(name))))

    def approve(self, name: str | UUID, *, comment: str | None = None, as_: str | None = None) -> Voted:
        """Say yes to exactly what the request shows.

        Args:
            name: ``apr_…``.
            comment: why, for the record.
            as_: the person who votes; only with the development server's approver login.

        Returns:
            Whether that was enough (``granted``), or more people are needed (``open``).

        Raises:
            ApprovalRefused: the vote does not count; its code and text say why, and the refusal is on record.
            TrailUnavailable, DatabaseRefused, SchemaMismatch: the vote was not given.
        """
        return _counted(self._store.call(_vote(name, "approve", comment, as_)))

    async def aapprove(self, name: str | UUID, *, comment: str | None = None, as_: str | None = None) -> Voted:
        """Do what :meth:`approve` does, on any event loop."""
        return _counted(await self._store.acall(_vote(name, "approve", comment, as_)))

    def reject(self, name: str | UUID, *, comment: str | None = None, as_: str | None = None) -> Voted:
        """Say no. The request is closed, and the model is told, with the comment.

        Args:
            name: ``apr_…``.
            comment: why, for the record and the model.
            as_: the person who votes; only with the development server's approver login.

        Raises:
            ApprovalRefused: the vote does not count; its code and text say why, and the refusal is on record.
            TrailUnavailable, DatabaseRefused, SchemaMismatch: the vote was not given.
        """
        return _counted(self._store.call(_vote(name, "reject", comment, as_)))

    async def areject(self, name: str | UUID, *, comment: str | None = None, as_: str | None = None) -> Voted:
        """Do what :meth:`reject` does, on any event loop."""
        return _counted(await self._store.acall(_vote(name, "reject", comment, as_)))

    def close(self) -> None:
        """Close the connections. Safe to repeat."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)


def _vote(name: str | UUID, decision: Literal["approve", "reject"], comment: str | None, person: str | None) -> Vote:
    body = orjson.dumps({} if comment is None else {"comment": comment})
    return Vote(approval_id=approval_id(name), decision=decision, comment=comment, person=person, body=body)


def _known(row: ApprovalRow | None) -> ApprovalRow:
    if row is None:
        raise _refused("unknown_request")
    return row


def _counted(voted: Voted) -> Voted:
    if voted.answer is Voting.REFUSED:
        raise _refused(voted.reason or "closed")
    return voted


def _refused(reason: str) -> ApprovalRefused:
    what, todo = REFUSALS.get(reason, ("The vote was refused.", "Look at the request again."))
    return ApprovalRefused(what, safe="The vote does not count.", todo=todo, code=reason)
