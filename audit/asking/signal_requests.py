"""What the gate asks the ledger before a decision, where the policy looks at it: progress, equal actions, systems."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters
from langgraph_control.guards.signals import NO_PROGRESS, Breaker, Equal, Prior, Progress, SystemState

__all__ = ["ActionProgress", "IsStored", "Look", "Looked", "SystemRow", "Systems"]

Rows = Sequence[Mapping[str, Any]]

_MAY_HAVE_HAPPENED = frozenset({"executing", "unknown", "verifying", "needs_human", "abandoned"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionProgress(FieldsAreParameters):
    """Read how far a run and one of its actions have come.

    Args:
        run_id: the run.
        key: the action key, 32 bytes.
    """

    statement: ClassVar[str] = "progress"

    run_id: UUID
    key: bytes

    def read(self, rows: Rows) -> Progress:
        """Return the answer as a value."""
        if not rows:
            return NO_PROGRESS
        row = rows[0]
        first_at: datetime | None = row["first_at"]
        return Progress(
            prior=_prior(row),
            attempts=row["attempts"] or 0,
            same_failures=row["same_failures"] or 0,
            retrying_seconds=0.0 if first_at is None else max(0.0, (row["now"] - first_at).total_seconds()),
            run_retrying_seconds=row["retrying_ms"] / 1000,
            tool_calls=row["calls"],
            deadline=row["deadline"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IsStored(FieldsAreParameters):
    """Ask whether a claim of an action would only be given what is stored.

    Args:
        run_id: the run.
        key: the action key, 32 bytes.
        call_id: the tool call's id: a stored failure is given to that call again.
    """

    statement: ClassVar[str] = "progress"

    run_id: UUID
    key: bytes
    call_id: str | None

    def read(self, rows: Rows) -> bool:
        """Return the answer as a value."""
        row = rows[0] if rows else {"state": None}
        failed_before = row["state"] == "failed" and self.call_id is not None and row["call_id"] == self.call_id
        return row["state"] == "succeeded" or failed_before


def _prior(row: Mapping[str, Any]) -> Prior:
    if row["state"] == "succeeded":
        return Prior.SUCCEEDED
    if row["started"] or row["state"] in _MAY_HAVE_HAPPENED:
        return Prior.UNKNOWN
    return Prior.NOT_DONE if row["attempts"] else Prior.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The answer to :class:`Look`.

    Args:
        equal: whether another request has an equal action.
        changed: the record is not as this run last saw it.
    """

    equal: Equal
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Look(FieldsAreParameters):
    """Note that a run asks for a write, and ask whether another request did, and whether the record has changed.

    Args:
        run_id: the run.
        token: its fencing token.
        key: the action key, 32 bytes.
        twin: what equal actions of other requests share, 32 bytes.
        within_ms: how long those count; None: they are not looked for.
        seen: the record as it is now, 32 bytes; None where it could not be read.
    """

    statement: ClassVar[str] = "look"

    run_id: UUID
    token: int
    key: bytes
    twin: bytes
    within_ms: int | None
    seen: bytes | None

    def read(self, rows: Rows) -> Looked:
        """Return the answer as a value."""
        return Looked(equal=Equal(rows[0]["equal"]), changed=rows[0]["changed"])


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRow:
    """How one system is doing, as all workers together know it.

    Args:
        system: the system of record.
        rate_limited_until: it asked for no calls before then; None: it did not, or that time is over.
        open_until: when its breaker lets probes through; None: the breaker is closed.
        calls: calls in the window.
        failed: how many of them failed.
        took_ms: how long they took, all together.
    """

    system: str
    rate_limited_until: datetime | None
    open_until: datetime | None
    calls: int
    failed: int
    took_ms: int

    def state(self, now: datetime) -> SystemState:
        """Return what decisions look at.

        Args:
            now: the time of the decision, with a zone.
        """
        breaker = Breaker.CLOSED
        if self.open_until is not None:
            breaker = Breaker.OPEN if self.open_until > now else Breaker.HALF_OPEN
        return SystemState(
            rate_limited_until=self.rate_limited_until,
            breaker=breaker,
            open_until=self.open_until if breaker is Breaker.OPEN else None,
            error_rate=self.failed / self.calls if self.calls else None,
            calls=self.calls,
            latency_seconds=self.took_ms / self.calls / 1000 if self.calls else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Systems(FieldsAreParameters):
    """Read how every system is doing that anything is known of.

    Args:
        window_ms: over which calls are counted.
    """

    statement: ClassVar[str] = "systems"

    window_ms: int

    def read(self, rows: Rows) -> Mapping[str, SystemRow]:
        """Return the answer as a value."""
        return {
            row["system"]: SystemRow(**{**row, "calls": int(row["calls"]), "failed": int(row["failed"])})
            for row in rows
        }
