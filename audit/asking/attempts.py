"""What was tried and did not count: resumes that tried to decide, with the run of their thread; people not let in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters

__all__ = ["FindThreadRun", "Ignored", "NoteAttempt", "NoteRefusedAccess"]

Rows = Sequence[Mapping[str, Any]]


class Ignored(StrEnum):
    """Why a resume's value decided nothing."""

    NOT_AUTHENTICATED = "not_authenticated"  # nobody is known to have sent it
    NO_DECISION = "no_decision"  # it says neither approve, edit nor reject of one request, or what cannot be kept
    DIGEST_MISSING = "digest_missing"  # it does not name the digest of what it decides
    OTHER_DIGEST = "other_digest"  # what it names is not what is asked about now
    OTHER_REQUEST = "other_request"  # it names another request that is for the same change
    NOT_PENDING = "not_pending"  # nothing of that interrupt waits on this thread
    EDIT_UNUSABLE = (
        "edit_unusable"  # it changes nothing, another tool's call, or what the record keeps out or cannot keep
    )
    NO_VOTES_HERE = "no_votes_here"  # this process has no approver's login
    NOTHING_TO_RESUME = "nothing_to_resume"  # the thread's last run has ended
    OTHER_GRAPH = "other_graph"  # it came by a graph that the thread's run is not of
    RUN_NOT_PARKED = "run_not_parked"  # the run is under way, and waits for nothing
    OUTSIDE_RUN = "outside_run"  # the thread was resumed by plain LangGraph, without its run
    FOREIGN_ANSWER = "foreign_answer"  # an answer that nobody gave through us lay ready for one of our own questions
    STATE_CHANGED = "state_changed"  # it came together with a change of the graph's state or course


@dataclass(frozen=True, slots=True, kw_only=True)
class FindThreadRun(FieldsAreParameters):
    """Ask which run of a thread is unfinished. The answer is None if none is.

    Args:
        thread: the thread.
    """

    statement: ClassVar[str] = "run_of_thread"

    thread: str

    def read(self, rows: Rows) -> UUID | None:
        """Return the answer as a value."""
        found: UUID | None = rows[0]["run_id"]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteAttempt(FieldsAreParameters):
    """Put on record that a resume tried to decide and was ignored. The answer says whether there is such a run.

    Args:
        run_id: the run whose graph was resumed.
        approval_id: the request it was about, where that is known.
        reason: why it was ignored.
        body: the entry's body, canonical bytes: who, as far as that is known, and where.
        mark: what tells it from others of the run, where it may be met again; it is then noted once. None: each time.
    """

    statement: ClassVar[str] = "attempt"

    run_id: UUID
    approval_id: UUID | None
    reason: Ignored
    body: bytes
    mark: str | None = None

    def read(self, rows: Rows) -> bool:
        """Return the answer as a value."""
        return bool(rows[0]["noted"])


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteRefusedAccess(FieldsAreParameters):
    """Put on record that somebody was not let in, on an approver's or the admin's login. Answered with nothing.

    Args:
        body: the entry's body, canonical bytes: where, and how often for which reason.
    """

    statement: ClassVar[str] = "access_refused"

    body: bytes

    def read(self, rows: Rows) -> None:
        """Return nothing."""
