"""What workers ask of the ledger: which runs are due, give me one of them, register one for later.

Requests in the manner of :mod:`langgraph_control.audit.asking.requests`. The ledger decides what is due; a queue or a
notification only says when to ask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters
from langgraph_control.audit.asking.rows import RunAnswer

__all__ = ["DueRun", "FindDue", "NotifyWaiters", "RunSubmit", "RunTake", "RunWake", "TakeName", "Wake", "Why", "Woken"]

Rows = Sequence[Mapping[str, Any]]


class Why(StrEnum):
    """Why a run is due."""

    WOKEN = "woken"  # something it waits for has happened
    TIMER = "timer"  # its time has come, or soon will
    LEASE = "lease"  # the worker that drives it has stopped renewing its lease
    GRAPH = "graph"  # due, and of a graph that the asking worker does not have


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRun:
    """A run that is due, or will be soon.

    Args:
        run_id: the run.
        graph: its graph's name.
        why: what it is due for.
        in_ms: until it is due, in milliseconds; 0 or less: now.
        offered: it was given to the asking worker and to no other; else it is only to be known.
    """

    run_id: UUID
    graph: str
    why: Why
    in_ms: int
    offered: bool

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "DueRun":
        """Read a ``control.wake_row``."""
        return cls(**{**row, "why": Why(row["why"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class FindDue(FieldsAreParameters):
    """Ask which runs are due. What is offered is offered to nobody else for a while.

    Args:
        graphs: names of the graphs the asking worker has.
        run_ids: only these; None for all.
        ahead_ms: also what will be due within this time.
        hold_ms: how long what is offered is kept from others; then it is offered again.
        limit: at most so many of each kind.
        others: also name a due run of each graph that the asking worker does not have.
    """

    statement: ClassVar[str] = "wakes"

    graphs: list[str]
    run_ids: list[UUID] | None
    ahead_ms: int
    hold_ms: int
    limit: int
    others: bool = False

    def read(self, rows: Rows) -> tuple[DueRun, ...]:
        """Return the answer as values."""
        return tuple(map(DueRun.of, rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTake(FieldsAreParameters):
    """Take the lease of a run, if it is due and of one of these graphs.

    Args:
        run_id: the run.
        graphs: names of the graphs the asking worker has.
        holder: names this driver, one value per try.
        lease_ms: how long the lease lasts.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "run_take"

    run_id: UUID
    graphs: list[str]
    holder: str
    lease_ms: int
    body: bytes

    def read(self, rows: Rows) -> RunAnswer:
        """Return the answer as a value."""
        return RunAnswer.of(rows[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSubmit(FieldsAreParameters):
    """Register a run for a worker to drive. A trigger that has a run already keeps it as it stands.

    Args:
        run_id: made by the client; a re-sent request carries the same.
        trigger: the delivery; the same twice is the same run.
        intent: the business request.
        graph: the graph's name.
        thread: the thread it runs on.
        own_thread: whether nothing else ever ran on that thread.
        actor: who asks.
        on_behalf_of: for whom; None if for the actor.
        deadline: nothing new is begun after it; None for no end.
        input: the graph's input, encoded.
        holder: names the submitter.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "run_submit"

    run_id: UUID
    trigger: str
    intent: str
    graph: str
    thread: str
    own_thread: bool
    actor: str
    on_behalf_of: str | None
    deadline: datetime | None
    input: bytes
    holder: str
    body: bytes

    def read(self, rows: Rows) -> RunAnswer:
        """Return the answer as a value."""
        return RunAnswer.of(rows[0])


class Wake(StrEnum):
    """What waking a run is answered with."""

    WOKEN = "woken"  # it is due now
    HELD = "held"  # somebody drives it
    FINISHED = "finished"  # it is done
    UNKNOWN = "unknown"  # no such run for this tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Woken:
    """The answer to :class:`RunWake`.

    Args:
        answer: whether it was woken.
        served: a worker that has its graph has looked for work within the last minute.
    """

    answer: Wake
    served: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWake(FieldsAreParameters):
    """Make a parked run due now, whatever it waits for. Decides nothing: whoever drives it finds out.

    Args:
        run_id: the run.
    """

    statement: ClassVar[str] = "run_wake"

    run_id: UUID

    def read(self, rows: Rows) -> Woken:
        """Return the answer as a value."""
        return Woken(answer=Wake(rows[0]["answer"]), served=rows[0]["served"])


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyWaiters(FieldsAreParameters):
    """Tell listening workers which runs wait for an action: after the settle of one that others wait for.

    One notification, in a statement of its own: inside a settle it would make all settles wait for one another.

    Args:
        key: the action key.
    """

    statement: ClassVar[str] = "notify_waiters"

    key: bytes

    def read(self, rows: Rows) -> None:
        """Return nothing: whether anybody listens is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeName(FieldsAreParameters):
    """Take a worker's name for as long as the asking connection lives. Answered with whether it was free.

    Args:
        name: the worker's.
    """

    statement: ClassVar[str] = "worker_name"

    name: str

    def read(self, rows: Rows) -> bool:
        """Return whether the name was free."""
        return bool(rows[0]["free"])
