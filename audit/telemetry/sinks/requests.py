"""What is asked of the ledger about places that spans go to. See ``sql/migrations/0031_sinks.sql``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters
from langgraph_control.audit.trail.entries import Entry

__all__ = [
    "Behind",
    "DeadSpan",
    "DeadSpans",
    "Gauges",
    "RetrySpans",
    "SealLag",
    "SinkState",
    "SpanEntries",
    "SpanLease",
    "SpanLeave",
    "SpanNote",
    "SpanSinks",
    "SpansBehind",
    "SpansFailed",
    "SpansRecent",
    "SpansSent",
    "Waiting",
]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanLease(FieldsAreParameters):
    """Take a place's lease, or keep it. Answers for how many milliseconds another has it; 0: it is the caller's.

    Args:
        sink: the place.
        lease: names this process.
        lease_ms: for how long.
    """

    statement: ClassVar[str] = "span_lease"

    sink: str
    lease: UUID
    lease_ms: int

    def read(self, rows: Rows) -> int:
        """Return the answer as a value."""
        wait_ms: int = rows[0]["wait_ms"]
        return wait_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanLeave(FieldsAreParameters):
    """Give a place's lease back.

    Args:
        sink: the place.
        lease: this process's.
    """

    statement: ClassVar[str] = "span_leave"

    sink: str
    lease: UUID

    def read(self, rows: Rows) -> bool:
        """Return the answer as a value."""
        left: bool = rows[0]["left_it"]
        return left


@dataclass(frozen=True, slots=True, kw_only=True)
class SpansRecent(FieldsAreParameters):
    """Ask which chains moved in the last moments. Answers with chain → up to which entry the place has it.

    Args:
        sink: the place.
        back_ms: how far back.
        limit: at most so many.
    """

    statement: ClassVar[str] = "span_recent"

    sink: str
    back_ms: int
    limit: int

    def read(self, rows: Rows) -> dict[UUID, int]:
        """Return the answer as a value."""
        return {row["run_id"]: row["has"] for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """A stretch of chains that was looked at.

    Args:
        chains: those of which the place lacks entries, with the last entry it has.
        last: the last that was looked at; None where there was none.
    """

    chains: Mapping[UUID, int]
    last: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpansBehind(FieldsAreParameters):
    """Ask of which chains a place lacks entries.

    Args:
        sink: the place.
        after: the last that was looked at; None to begin.
        chains: look at so many.
    """

    statement: ClassVar[str] = "span_behind"

    sink: str
    after: UUID | None
    chains: int

    def read(self, rows: Rows) -> Behind:
        """Return the answer as a value."""
        chains = {row["run_id"]: row["has"] for row in rows if row["run_id"] is not None}
        return Behind(chains=chains, last=rows[0]["last"] if rows else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanEntries(FieldsAreParameters):
    """Ask for entries of several chains, without payloads.

    Args:
        runs: the chains.
        after: of each, the entry before the first that is wanted.
        each: at most so many of each.
    """

    statement: ClassVar[str] = "span_entries"

    runs: list[UUID]
    after: list[int]
    each: int

    def read(self, rows: Rows) -> dict[UUID, list[Entry]]:
        """Return the answer as a value."""
        found: dict[UUID, list[Entry]] = {}
        for row in rows:
            found.setdefault(row["run_id"], []).append(
                Entry.told(seq=row["seq"], tenant=row["tenant"], at=row["at"], facts=row["facts"], body=row["body"])
            )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SpansSent(FieldsAreParameters):
    """Note what a place has taken, and what it refused. Answers False where the lease is another process's by now.

    Args:
        sink: the place.
        lease: this process's.
        lease_ms: for how much longer.
        runs: the chains.
        seqs: of each, up to which entry it has it now.
        sent: spans.
        dead: what it refused, a JSON list.
    """

    statement: ClassVar[str] = "span_sent"

    sink: str
    lease: UUID
    lease_ms: int
    runs: list[UUID]
    seqs: list[int]
    sent: int
    dead: str

    def read(self, rows: Rows) -> bool:
        """Return the answer as a value."""
        noted: bool = rows[0]["noted"]
        return noted


@dataclass(frozen=True, slots=True, kw_only=True)
class SpansFailed(FieldsAreParameters):
    """Note that a place took nothing. Answers False where the lease is another process's by now.

    Args:
        sink: the place.
        lease: this process's.
        lease_ms: for how much longer.
        error: why, without secrets.
    """

    statement: ClassVar[str] = "span_failed"

    sink: str
    lease: UUID
    lease_ms: int
    error: str

    def read(self, rows: Rows) -> bool:
        """Return the answer as a value."""
        noted: bool = rows[0]["noted"]
        return noted


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySpans(FieldsAreParameters):
    """Have spans that were given up sent again. Answers how many those are.

    Args:
        sink: of one place; None for all.
    """

    statement: ClassVar[str] = "span_retry"

    sink: str | None = None

    def read(self, rows: Rows) -> int:
        """Return the answer as a value."""
        retried: int = rows[0]["retried"]
        return retried


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanNote(FieldsAreParameters):
    """Note of which chains a place lacks something, so that asking how far it is costs the same beside any others.

    Answers False where nothing was noted, because it lacks too many or somebody else is at it.

    Args:
        sink: the place.
    """

    statement: ClassVar[str] = "span_note"

    sink: str

    def read(self, rows: Rows) -> bool:
        """Return the answer as a value."""
        noted: bool = rows[0]["noted"]
        return noted


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkState:
    """How far one place is.

    Args:
        sink: its name.
        seen_at: when a process last served it.
        served: whether one does now.
        sent: spans it has taken.
        dead: spans that were given up.
        behind: entries it lacks.
        oldest: when the oldest of those was written.
        behind_ms: how long ago that is.
        failing_since: since when it takes nothing; None where it does.
        error: why.
    """

    sink: str
    seen_at: datetime
    served: bool
    sent: int
    dead: int
    behind: int
    oldest: datetime | None
    behind_ms: int | None
    failing_since: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanSinks(FieldsAreParameters):
    """Ask how far each place is."""

    statement: ClassVar[str] = "span_sinks"

    def read(self, rows: Rows) -> tuple[SinkState, ...]:
        """Return the answer as a value."""
        return tuple(SinkState(**row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadSpan:
    """A span that a place refused.

    Args:
        sink: the place.
        run_id: its chain.
        seq: the entry that begins it.
        closed_seq: the one that ends it.
        name: the span's.
        error: what the place said.
        at: when.
    """

    sink: str
    run_id: UUID
    seq: int
    closed_seq: int
    name: str
    error: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadSpans(FieldsAreParameters):
    """Ask which spans were given up, newest first.

    Args:
        sink: of one place; None for all.
        limit: at most so many.
    """

    statement: ClassVar[str] = "span_dead"

    sink: str | None
    limit: int

    def read(self, rows: Rows) -> tuple[DeadSpan, ...]:
        """Return the answer as a value."""
        return tuple(DeadSpan(**row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Unfinished runs in one state.

    Args:
        state: the state.
        runs: how many.
        oldest_ms: for how long the oldest has been there.
    """

    state: str
    runs: int
    oldest_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges(FieldsAreParameters):
    """Ask how many unfinished runs are in which state."""

    statement: ClassVar[str] = "gauges"

    def read(self, rows: Rows) -> tuple[Waiting, ...]:
        """Return the answer as a value."""
        return tuple(Waiting(**row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealLag(FieldsAreParameters):
    """Ask how old the oldest entry is that no checkpoint covers, in milliseconds; None where nothing is sealed here.

    Args:
        covered: the size of the newest checkpoint that is really signed; 0: there is none.
    """

    statement: ClassVar[str] = "seal_lag"

    covered: int

    def read(self, rows: Rows) -> int | None:
        """Return the answer as a value."""
        lag_ms: int | None = rows[0]["lag_ms"]
        return lag_ms
