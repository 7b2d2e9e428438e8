"""What each place is still to be told of requests: the ledger's list, taken one by one under a lease.

See ``sql/migrations/0021_notices.sql``: the list is written by what happens to a request, in the same commit.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Final
from uuid import UUID

import orjson

from langgraph_control.audit.asking.requests import FieldsAreParameters
from langgraph_control.audit.names import approval_name
from langgraph_control.audit.printable import printable
from langgraph_control.guards.notices import Notice, NoticeEvent

__all__ = [
    "DueNotice",
    "NoticeSinks",
    "NoticeState",
    "RetryNotices",
    "ServeSinks",
    "SettleNotice",
    "SinkRow",
    "TakeNotice",
    "notice_of",
]

Rows = Sequence[Mapping[str, Any]]

NAME_CHARS_MAX: Final = 200


class NoticeState(StrEnum):
    """Where one notice for one place stands."""

    WAITING = "waiting"  # it is to be sent, now or again
    SENT = "sent"  # the place has taken it
    DEAD = "dead"  # it was tried too often; a person may have it tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class DueNotice:
    """One notice that is leased to this process.

    Args:
        approval_id: the request.
        event: what happened to it.
        mark: tells one such event of a request from the next.
        outcome: of a decision.
        at: when it happened.
        attempts: how often it has been taken, this time included.
        tool: the request's tool.
        requested_at: when it was asked for.
        expires_at: until when it can be decided.
        actor: who asks.
        on_behalf_of: for whom.
        card: what approvers are shown, canonical bytes.
    """

    approval_id: UUID
    event: str
    mark: str
    outcome: str | None
    at: datetime
    attempts: int
    tool: str
    requested_at: datetime
    expires_at: datetime
    actor: str
    on_behalf_of: str | None
    card: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkRow:
    """How far one place is behind.

    Args:
        sink: its name.
        seen_at: when a process last served it.
        waiting: notices to be sent, now or again.
        dead: notices that were given up.
        oldest: when the oldest of both happened.
        error: what the newest of them met.
    """

    sink: str
    seen_at: datetime
    waiting: int
    dead: int
    oldest: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSinks(FieldsAreParameters):
    """Say which places this process tells. Answers whether nothing from before can be missing any more; else ask again.

    Args:
        sinks: a JSON list of objects with ``sink``, ``events`` and ``remind_at``.
    """

    statement: ClassVar[str] = "notice_serve"

    sinks: str

    def read(self, rows: Rows) -> bool:
        """Return the answer as a value."""
        caught_up: bool = rows[0]["caught_up"]
        return caught_up


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeNotice(FieldsAreParameters):
    """Lease the next notice for a place. None: nothing is due.

    Args:
        sink: the place.
        lease: made by the client, a new one each time.
        lease_ms: after that another process may take it.
    """

    statement: ClassVar[str] = "notice_take"

    sink: str
    lease: UUID
    lease_ms: int

    def read(self, rows: Rows) -> DueNotice | None:
        """Return the answer as a value."""
        return DueNotice(**rows[0]) if rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleNotice(FieldsAreParameters):
    """Say what came of telling. Answers False where the lease was lost: then another process tells it, too.

    Args:
        sink: the place.
        approval_id: the request.
        event: the event.
        mark: its mark.
        lease: what it was taken with.
        state: where it stands now.
        error: what it met, without secrets.
        wait_ms: when to try again, from now.
    """

    statement: ClassVar[str] = "notice_settle"

    sink: str
    approval_id: UUID
    event: str
    mark: str
    lease: UUID
    state: NoticeState
    error: str | None = None
    wait_ms: int = 0

    def read(self, rows: Rows) -> bool:
        """Return the answer as a value."""
        settled: bool = rows[0]["settled"]
        return settled


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryNotices(FieldsAreParameters):
    """Have what was given up tried again. Answers how much that is.

    Args:
        sink: of one place; None for all.
    """

    statement: ClassVar[str] = "notice_retry"

    sink: str | None = None

    def read(self, rows: Rows) -> int:
        """Return the answer as a value."""
        retried: int = rows[0]["retried"]
        return retried


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeSinks(FieldsAreParameters):
    """Ask how far each place is behind."""

    statement: ClassVar[str] = "notice_sinks"

    def read(self, rows: Rows) -> tuple[SinkRow, ...]:
        """Return the answer as a value."""
        return tuple(SinkRow(**row) for row in rows)


def notice_of(due: DueNotice, *, console: str | None, checkpoint: str | None) -> Notice:
    """Return what is told: of the card only where the change would be made, and no argument.

    Args:
        due: the leased notice.
        console: the console's address.
        checkpoint: the newest signed checkpoint; None where there is none.
    """
    name = approval_name(due.approval_id)
    where = _where(due.card)
    said = hashlib.sha256(f"{due.approval_id}/{due.event}/{due.mark}".encode()).hexdigest()
    return Notice(
        id=f"msg_{said[:32]}",
        event=NoticeEvent(due.event),
        outcome=due.outcome,
        at=due.at,
        approval=name,
        tool=_short(due.tool) or "",
        system=_short(where.get("system")),
        target=None if where.get("target_redacted") else _short(where.get("target")),
        asked_by=_short(due.actor) or "",
        on_behalf_of=_short(due.on_behalf_of),
        expires_at=due.expires_at,
        link=None if console is None else f"{console.rstrip('/')}/requests/{name}",
        checkpoint=checkpoint,
    )


def _short(text: object) -> str | None:
    return printable(text, chars_max=NAME_CHARS_MAX) if isinstance(text, str) and text else None


def _where(card: bytes) -> Mapping[str, Any]:
    try:
        read = orjson.loads(card)
    except orjson.JSONDecodeError:
        return {}
    where = read.get("where") if isinstance(read, dict) else None
    return where if isinstance(where, dict) else {}
