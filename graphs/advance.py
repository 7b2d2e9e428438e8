"""Driving one run under its lease until it ends or parks: decisions only, no I/O.

A generator like the gate: it yields what it wants and is sent the answer. The sync and async drivers run it over
LangGraph, the simulator over its own graph. The ledger is the authority, the checkpoint a cache of progress.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from langgraph_control.audit.requests import RunRelease
from langgraph_control.audit.rows import Release, RunState
from langgraph_control.errors import DatabaseRefused, TrailUnavailable
from langgraph_control.guards.run_states import parked_state

__all__ = ["Drive", "Driven", "Ended", "Lease", "LookAtThread", "Thread", "advance"]

LEDGER_PAUSE_MS: Final = 5_000
"""When to go on with a run whose drive ended because the ledger could not be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A run this worker may drive.

    Args:
        run_id: the run.
        token: its fencing token.
        generation: wake-ups counted when the lease was taken.
        base: newest checkpoint of the thread before this run; "" for none.
    """

    run_id: Any
    token: int
    generation: int
    base: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtThread:
    """Ask what the thread's checkpoint says. Answered with :class:`Thread`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """What a thread's newest checkpoint says.

    Args:
        checkpoint: its id; "" if there is none.
        pending: whether nodes are left to run.
        parked: our interrupts: id → the card's ``control``, ``reason`` and ``wake_ms``.
        questions: ids of interrupts that are the user's own.
    """

    checkpoint: str
    pending: bool
    parked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    questions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """Run the graph. Answered with :class:`Driven`.

    Args:
        how: ``start`` with the run's input, ``answer`` interrupts by id, or ``go_on`` after a crash.
        answers: interrupt id → answer; only with ``answer``.
    """

    how: Literal["start", "answer", "go_on"]
    answers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Driven:
    """How driving ended.

    Args:
        error: what the graph raised; None if it ended or parked.
        lost: another worker has taken the run over.
        closed: the caller closed the stream.
        drained: it was asked to stop between two supersteps, and did.
    """

    error: BaseException | None = None
    lost: bool = False
    closed: bool = False
    drained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Where the run stands now that this worker has let go of it.

    Args:
        state: the state; RUNNING if another worker has it.
        reason: why.
        error: what the graph raised, for the caller.
        wake_ms: when it goes on by itself, in milliseconds; None: when something happens.
    """

    state: RunState
    reason: str
    error: BaseException | None = None
    wake_ms: int | None = None


def advance(lease: Lease, answers: Mapping[str, Any], *, unattended: bool = False) -> Generator[Any, Any, Ended]:
    """Drive a run until it ends or parks, and give up its lease.

    Args:
        lease: the run, just acquired.
        answers: the caller's answers to the user's own questions, by interrupt id.
        unattended: no caller will come back for it: what is broken off goes on at once, wherever there is a worker.
    """
    generation, last = lease.generation, Driven()
    while True:
        thread = yield LookAtThread()
        plan = None if last.closed else _plan(lease, thread, answers)
        if plan is not None:
            last = yield plan
            answers = {}
            if last.lost:
                return Ended(state=RunState.RUNNING, reason="another worker drives it")
            thread = yield LookAtThread()
        state, reason, wake_ms = _standing(lease, thread, last, unattended=unattended)
        released = yield _release(lease, generation, state, reason, wake_ms)
        if released.answer is Release.UNSETTLED:
            state = RunState.NEEDS_HUMAN if released.needs_human else RunState.BLOCKED
            reason = f"the graph ended while {', '.join(released.unsettled)} is undecided"
            released = yield _release(lease, generation, state, reason, None)
        match released.answer:
            case Release.AGAIN:
                # Something happened that this drive has not seen: a decision landed while siblings still ran.
                generation = released.generation
            case Release.STALE:
                return Ended(state=RunState.RUNNING, reason="another worker drives it")
            case _:
                return Ended(state=state, reason=reason, error=last.error, wake_ms=wake_ms)


def _plan(lease: Lease, thread: Thread, answers: Mapping[str, Any]) -> Drive | None:
    if thread.checkpoint == lease.base:
        return Drive(how="start")
    given = {question: answers[question] for question in thread.questions if question in answers}
    if thread.parked or given:
        ours = {interrupt: {"control": card["control"]} for interrupt, card in thread.parked.items()}
        return Drive(how="answer", answers={**ours, **given})
    if thread.pending and not thread.questions:
        return Drive(how="go_on")
    return None


def _standing(lease: Lease, thread: Thread, driven: Driven, *, unattended: bool) -> tuple[RunState, str, int | None]:
    if driven.closed:
        return (RunState.WAITING, "worker stopped", 0) if unattended else (RunState.WAITING, "stream closed", None)
    if isinstance(driven.error, TrailUnavailable) and not isinstance(driven.error, DatabaseRefused):
        return RunState.RETRYING, "the ledger could not be reached", LEDGER_PAUSE_MS
    if driven.error is not None:
        return RunState.BLOCKED, f"the graph raised {type(driven.error).__name__}", None
    if thread.parked:
        state, reason = parked_state({card["reason"] for card in thread.parked.values()})
        wakes = [card["wake_ms"] for card in thread.parked.values() if card["wake_ms"]]
        return state, reason, min(wakes, default=None)
    if thread.questions:
        return RunState.WAITING, "question", None
    if thread.pending or thread.checkpoint == lease.base:
        return (RunState.WAITING, "drained", 0) if driven.drained else (RunState.WAITING, "left in the middle", None)
    return RunState.DONE, "", None


def _release(lease: Lease, generation: int, state: RunState, reason: str, wake_ms: int | None) -> RunRelease:
    body = orjson.dumps({"state": state.value, "reason": reason}, option=orjson.OPT_SORT_KEYS)
    return RunRelease(
        run_id=lease.run_id,
        token=lease.token,
        generation=generation,
        state=state,
        reason=reason,
        wake_ms=wake_ms,
        body=body,
    )
