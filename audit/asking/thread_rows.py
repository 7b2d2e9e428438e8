"""What the ledger and LangGraph's tables have of threads: whose they are, and which there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters

__all__ = ["CheckpointThread", "CheckpointThreads", "ThreadRuns"]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadRuns(FieldsAreParameters):
    """Ask for the runs of a thread, oldest first.

    Args:
        thread: its id.
    """

    statement: ClassVar[str] = "thread_runs"

    thread: str

    def read(self, rows: Rows) -> tuple[UUID, ...]:
        """Return the answer as ids."""
        return tuple(row["run_id"] for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointThread:
    """A thread that has checkpoints.

    Args:
        thread_id: its id.
        missing: it is called by a run, and there is no such run.
    """

    thread_id: str
    missing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointThreads(FieldsAreParameters):
    """Ask for the threads that have checkpoints, in order.

    Args:
        after: after this one; None for the start.
        limit: at most so many, up to 1000.
    """

    statement: ClassVar[str] = "checkpoint_threads"

    after: str | None = None
    limit: int = 500

    def read(self, rows: Rows) -> tuple[CheckpointThread, ...]:
        """Return the answer as values."""
        return tuple(CheckpointThread(**row) for row in rows)
