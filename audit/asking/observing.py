"""Requests about what changes nothing: reads, and the steps of a run that may go in circles.

A read goes on record before anyone sees what it gave. What a run did lately, and which of its reads were answered by a
fallback, is kept beside it and handed to whoever drives the run next.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Final
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters
from langgraph_control.guards.loops import Step

__all__ = [
    "Fallback",
    "KeepStep",
    "Kept",
    "KeptAs",
    "Observe",
    "Observed",
    "ObservedAs",
    "Recall",
    "Seen",
    "fallback_texts",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """A tool whose read was answered by a fallback in this run.

    Args:
        tool: its name.
        system: the system that did not answer; None where the contract names none.
        at: when last, by the database's clock.
    """

    tool: str
    system: str | None
    at: datetime

    def as_json(self) -> dict[str, str | None]:
        """Return it as cards and bodies carry it."""
        return {"tool": self.tool, "system": self.system, "at": self.at.isoformat(timespec="seconds")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """What earlier drives of a run knew.

    Args:
        steps: its newest steps that changed nothing, oldest first.
        writes: how many writes it has begun.
        fallbacks: what was answered by a fallback, the newest first.
        left_ms: until the run's deadline, by the database's clock; negative after it, None without one.
    """

    steps: tuple[Step, ...] = ()
    writes: int = 0
    fallbacks: tuple[Fallback, ...] = ()
    left_ms: int | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> "Recall":
        """Read what ``control.recall`` gives.

        Args:
            stored: as it came; None for a run without any.
        """
        if stored is None:
            return cls()
        steps = tuple(
            Step(
                origin=bytes.fromhex(origin),
                scope=bytes.fromhex(scope),
                turn=bytes.fromhex(turn),
                call=bytes.fromhex(call),
                result=bytes.fromhex(result),
                at=_moment(at),
                writes=writes,
            )
            for origin, scope, turn, call, result, at, writes in stored["steps"] or ()
        )
        fallbacks = _fallbacks(stored["fallbacks"])
        return cls(steps=steps, writes=stored["writes"], fallbacks=fallbacks, left_ms=stored["left_ms"])


class Seen(StrEnum):
    """What came of a read."""

    SUCCEEDED = "succeeded"  # the system answered
    FAILED = "failed"  # it did not, and the caller is told so
    FALLBACK = "fallback"  # it did not, and something stands in for its answer
    WAITS = "waits"  # it did not, and the run had rather wait
    STOPPED = "stopped"  # it was not called: the same call has had the same answer too often
    DUE = "due"  # nothing yet: it is to be called, if its run's deadline lets it


class ObservedAs(StrEnum):
    """How a read was taken."""

    OBSERVED = "observed"  # it is on record and may be shown; one that would wait has waited long enough
    WAITS = "waits"  # it is on record, and to be tried again later
    IN_TIME = "in_time"  # it may be called; nothing is on record
    DEADLINE_PASSED = "deadline_passed"  # it may not, for the run's deadline is over; that is on record
    CALLS_USED_UP = "calls_used_up"  # the run has made as many tool calls as it may; nothing is on record
    STALE = "stale"  # this worker no longer owns the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The answer to :class:`Observe`.

    Args:
        answer: how it was taken.
        writes: how many writes the run has begun.
        fallbacks: what was answered by a fallback in this run, this read included.
        left_ms: as for :class:`Recall`.
    """

    answer: ObservedAs
    writes: int = 0
    fallbacks: tuple[Fallback, ...] = ()
    left_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observe(FieldsAreParameters):
    """Record a read before the model sees what it gave, or ask before it is called whether it may be.

    Args:
        run_id: the run that read.
        token: its fencing token.
        tool: the tool's name.
        system: the system of record.
        outcome: what came of it.
        loop: what it says of the run, one of :class:`~langgraph_control.guards.loops.Loop`; None for nothing.
        origin: which call of which task, 32 bytes: the same when the task runs again.
        scope: the conversation that made it; this and the next four are None where no model made it.
        turn: the model's message that asked for it.
        call: equal for equal tools and arguments.
        result: equal for equal answers.
        at: by the worker's clock.
        calls_max: how many tool calls the run may make.
        attempts_max: how often one that waits may be tried.
        give_up_ms: since its first failure; then it has failed.
        retry_ms_max: how long the run may wait for retries, all its calls together.
        wait_ms: how long it would wait now; 0 where it does not.
        body: the entry's body, canonical bytes.
        payload: its arguments, canonical bytes.
    """

    statement: ClassVar[str] = "observe"

    run_id: UUID
    token: int
    tool: str
    system: str | None
    outcome: Seen
    loop: str | None
    origin: bytes
    scope: bytes | None
    turn: bytes | None
    call: bytes | None
    result: bytes | None
    at: datetime | None
    calls_max: int
    attempts_max: int
    give_up_ms: int
    retry_ms_max: int
    wait_ms: int
    body: bytes
    payload: bytes | None

    def read(self, rows: Sequence[Mapping[str, Any]]) -> Observed:
        """Return the answer as a value."""
        row = rows[0]
        return Observed(
            answer=ObservedAs(row["answer"]),
            writes=row["writes"] or 0,
            fallbacks=_fallbacks(row["fallbacks"]),
            left_ms=row["left_ms"],
        )


class KeptAs(StrEnum):
    """How a step that is no read was taken."""

    KEPT = "kept"  # it is among the run's steps
    CALLS_USED_UP = "calls_used_up"  # the run has made as many tool calls as it may; nothing is kept
    STALE = "stale"  # this worker no longer owns the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The answer to :class:`KeepStep`.

    Args:
        answer: how it was taken.
        writes: how many writes the run has begun.
    """

    answer: KeptAs
    writes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepStep(FieldsAreParameters):
    """Keep a write that changed nothing among the run's steps: it was refused, or repeats one that was done.

    Args:
        run_id: the run.
        token: its fencing token.
        tool: the tool's name.
        loop: as for :class:`Observe`.
        origin: likewise.
        scope: likewise.
        turn: likewise.
        call: likewise.
        result: likewise.
        at: likewise.
        repeats: the key of the write that was done before; None where it was refused. A repeat counts among the run's
            tool calls, unless it is the very call that did the write.
        calls_max: how many tool calls the run may make.
        body: the entry's body, canonical bytes; there is one only where ``loop`` says something.
    """

    statement: ClassVar[str] = "step"

    run_id: UUID
    token: int
    tool: str
    loop: str | None
    origin: bytes
    scope: bytes
    turn: bytes
    call: bytes
    result: bytes
    at: datetime
    repeats: bytes | None
    calls_max: int
    body: bytes

    def read(self, rows: Sequence[Mapping[str, Any]]) -> Kept:
        """Return the answer as a value."""
        row = rows[0]
        return Kept(answer=KeptAs(row["answer"]), writes=row["writes"] or 0)


def fallback_texts(stored: object) -> Iterator[str]:
    """Yield what cards and bodies say of fallbacks, one text each. Total: what cannot be read is left out.

    Args:
        stored: the list, as it was stored.
    """
    for one in stored if isinstance(stored, list) else ():
        if isinstance(one, Mapping) and isinstance(one.get("tool"), str):
            system = f" ({one['system']})" if isinstance(one.get("system"), str) else ""
            at = f", {one['at']}" if isinstance(one.get("at"), str) else ""
            yield f"{one['tool']}{system}{at}"


def _fallbacks(stored: Sequence[Mapping[str, Any]] | None) -> tuple[Fallback, ...]:
    return tuple(Fallback(tool=one["tool"], system=one["system"], at=_moment(one["at"])) for one in stored or ())


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
