"""What is asked of the ledger about keeping and not keeping: holds, and what was dropped of a chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters

__all__ = [
    "Dropped",
    "DroppedHead",
    "DroppedHeads",
    "DroppedPlaces",
    "FindDropped",
    "Hold",
    "HoldLift",
    "HoldScope",
    "HoldSet",
    "Holds",
    "MonthsAhead",
]

Rows = Sequence[Mapping[str, Any]]


class HoldScope(StrEnum):
    """What a legal hold keeps."""

    RUN = "run"  # one run
    INTENT = "intent"  # every run of an intent, also those to come
    TARGET = "target"  # every run that touched a record, also those to come


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A legal hold that stands.

    Args:
        hold_id: its id.
        scope: what it keeps.
        run_id: of a run; None otherwise.
        name: of the intent or target; "" for a run.
        comment: why.
        set_by: who set it.
        since: when.
    """

    hold_id: UUID
    scope: HoldScope
    run_id: UUID | None
    name: str
    comment: str
    set_by: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldSet(FieldsAreParameters):
    """Put a legal hold, on the admin's login. Answers why not, or None.

    Args:
        hold_id: made by the client, so that it can be sent again.
        scope: what it keeps.
        run_id: of a run; None otherwise.
        name: of the intent or target; "" for a run.
        comment: why, for the record.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "hold"

    hold_id: UUID
    scope: HoldScope
    run_id: UUID | None
    name: str
    comment: str
    body: bytes

    def read(self, rows: Rows) -> str | None:
        """Return the answer as a value."""
        refused: str | None = rows[0]["refused"]
        return refused


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLift(FieldsAreParameters):
    """Lift a legal hold, on the admin's login. Answers why not, or None.

    Args:
        hold_id: which.
        comment: why, for the record.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "hold_lift"

    hold_id: UUID
    comment: str
    body: bytes

    def read(self, rows: Rows) -> str | None:
        """Return the answer as a value."""
        refused: str | None = rows[0]["refused"]
        return refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds(FieldsAreParameters):
    """Read the holds that stand, oldest first."""

    statement: ClassVar[str] = "holds"

    def read(self, rows: Rows) -> tuple[Hold, ...]:
        """Return the answer as a value."""
        return tuple(Hold(**{**row, "scope": HoldScope(row["scope"])}) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Where retention cut a chain: what comes after it follows from this head.

    Args:
        seq: the last entry that was dropped.
        head: its hash.
        at: when.
        month: the first day of the month that was dropped last; nothing that was dropped of the chain is younger.
    """

    seq: int
    head: bytes
    at: datetime
    month: date

    @property
    def until(self) -> datetime:
        """The end of that month."""
        return datetime(self.month.year + self.month.month // 12, self.month.month % 12 + 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindDropped(FieldsAreParameters):
    """Find where a chain was cut; None for one that is whole.

    Args:
        run_id: the run.
    """

    statement: ClassVar[str] = "dropped"

    run_id: UUID

    def read(self, rows: Rows) -> Dropped | None:
        """Return the answer as a value."""
        if not rows:
            return None
        row = rows[0]
        return Dropped(seq=row["seq"], head=row["head"], at=row["dropped_at"], month=row["month"])


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedHead:
    """Where one chain ended in a month that was dropped.

    Args:
        run_id: the run.
        seq: its last entry in that month.
        head: that entry's hash.
    """

    run_id: UUID
    seq: int
    head: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedHeads(FieldsAreParameters):
    """Read a page of the heads that one entry of the tenant's chain stands for, in the order in which it hashes them.

    Args:
        place: the entry.
        after: the last run already read; None for the start.
        limit: at most so many.
    """

    statement: ClassVar[str] = "dropped_heads"

    place: int
    after: UUID | None
    limit: int

    def read(self, rows: Rows) -> tuple[DroppedHead, ...]:
        """Return the answer as a value."""
        return tuple(DroppedHead(**row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedPlaces(FieldsAreParameters):
    """Read which entries of the tenant's chain dropped heads name.

    Args:
        runs: heads of these; None for all.
    """

    statement: ClassVar[str] = "dropped_places"

    runs: list[UUID] | None = None

    def read(self, rows: Rows) -> frozenset[int]:
        """Return the answer as a value."""
        return frozenset(row["place"] for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthsAhead(FieldsAreParameters):
    """Make the partitions of this month and the next ones, where they are missing. Answers how many were made."""

    statement: ClassVar[str] = "months"

    def read(self, rows: Rows) -> int:
        """Return the answer as a value."""
        made: int = rows[0]["made"]
        return made
