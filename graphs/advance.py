"""Driving one run under its lease until it ends or parks: decisions only, no I/O.

A generator like the gate: it yields what it wants and is sent the answer. The sync and async drivers run it over
LangGraph, the simulator over its own graph. The ledger is the authority, the checkpoint a cache of progress.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import orjson

from langgraph_control.audit.asking.requests import RunRelease
from langgraph_control.audit.asking.rows import Release, RunState
from langgraph_control.audit.names import run_name
from langgraph_control.errors import DatabaseRefused, TrailUnavailable
from langgraph_control.guards.run_reasons import RunReason
from langgraph_control.guards.run_states import About, Standing, Wait, standing, stopped

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
        requester: the person or the service that asked for the run.
        owner: the role that the policy names for everything; "" if it names none.
    """

    run_id: Any
    token: int
    generation: int
    base: str
    requester: str = ""
    owner: str = ""

    @property
    def about(self) -> About:
        """What where it stands depends on beside its calls."""
        return About(run=run_name(self.run_id), requester=self.requester, owner=self.owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtThread:
    """Ask what the thread's checkpoint says. Answered with :class:`Thread`.

    Args:
        resuming: other code may have written it: look, too, whether the graph has the steps that it goes on with.
    """

    resuming: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """What a thread's newest checkpoint says.

    Args:
        checkpoint: its id; "" if there is none.
        pending: whether nodes are left to run.
        parked: our interrupts: id → the card's ``control``, ``reason``, ``wake_ms``, ``owner``, ``approval`` and
            ``digest``.
        questions: ids of interrupts that are the user's own.
        failed: our interrupts of tasks that have failed: id → the same. What was answered before its task failed
            stands there still; answered again, the answer would go to the task's next question.
        gone: steps that the checkpoint goes on with and the graph does not have; LangGraph leaves those out unsaid.
        unanswered: answers to the tool calls that its last message made and that have none, for a run that begins now.
    """

    checkpoint: str
    pending: bool
    parked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    questions: frozenset[str] = frozenset()
    failed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    unanswered: Sequence[Any] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """Run the graph. Answered with :class:`Driven`.

    Args:
        how: ``start`` with the run's input, ``answer`` interrupts by id, or ``go_on`` after a crash.
        answers: interrupt id → answer; only with ``answer``.
        questions: whether answers to the user's own questions are among them.
        unanswered: messages to put before the input's; only with ``start``.
    """

    how: Literal["start", "answer", "go_on"]
    answers: Mapping[str, Any] = field(default_factory=dict)
    questions: bool = False
    unanswered: Sequence[Any] = ()


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
    generation, last, thread = lease.generation, Driven(), None
    while True:
        thread = yield LookAtThread(resuming=thread is None)
        plan = None if last.closed else _plan(lease, thread, answers)
        if plan is not None:
            last = yield plan
            answers = {}
            if last.lost:
                return Ended(state=RunState.RUNNING, reason="another worker drives it")
            thread = _as_it_was_left((yield LookAtThread()), last)
        stands, wake_ms = _standing(lease, thread, last, unattended=unattended)
        released = yield _release(lease, generation, stands, wake_ms)
        if released.answer is Release.UNSETTLED:
            reason = f"{RunReason.UNDECIDED}{', '.join(released.unsettled)} is undecided"
            state = RunState.NEEDS_HUMAN if released.needs_human else RunState.BLOCKED
            stands, wake_ms = stopped(reason, lease.about, state=state), None
            released = yield _release(lease, generation, stands, wake_ms)
        match released.answer:
            case Release.AGAIN:
                # Something happened that this drive has not seen: a decision landed while siblings still ran.
                generation = released.generation
            case Release.STALE:
                return Ended(state=RunState.RUNNING, reason="another worker drives it")
            case _:
                # The ledger has the last word: a question is not waited for beyond the run's deadline.
                state, reason = released.state or stands.state, released.reason or stands.reason
                return Ended(state=state, reason=reason, error=last.error, wake_ms=wake_ms)


def _plan(lease: Lease, thread: Thread, answers: Mapping[str, Any]) -> Drive | None:
    if thread.gone:
        return None  # what is driven without them would end as if they had been done
    if thread.checkpoint == lease.base:
        return Drive(how="start", unanswered=thread.unanswered)
    given = {question: answers[question] for question in thread.questions if question in answers}
    if thread.parked or given:
        ours = {interrupt: {"control": card["control"]} for interrupt, card in thread.parked.items()}
        return Drive(how="answer", answers={**ours, **given}, questions=bool(given))
    if thread.pending and not thread.questions:
        return Drive(how="go_on")
    return None


def _as_it_was_left(thread: Thread, driven: Driven) -> Thread:
    """What waits after a drive: where nothing broke it off, tasks that had failed before have asked anew."""
    if driven.error is not None or driven.closed or driven.drained:
        return thread
    return replace(thread, parked={**thread.parked, **thread.failed})


def _standing(lease: Lease, thread: Thread, driven: Driven, *, unattended: bool) -> tuple[Standing, int | None]:
    reason, wake_ms = _stopped_by(lease, thread, driven, unattended=unattended)
    if reason is not None:
        return stopped(reason, lease.about), wake_ms
    if thread.parked or thread.questions:
        waits = [
            Wait(reason=card["reason"], owner=card.get("owner", ""), approval=card.get("approval", ""))
            for card in thread.parked.values()
        ]
        wakes = [card["wake_ms"] for card in thread.parked.values() if card["wake_ms"]]
        return standing(waits, thread.questions, lease.about), min(wakes, default=None)
    return Standing(state=RunState.DONE, reason="", owner="", next_step=""), None


def _stopped_by(
    lease: Lease, thread: Thread, driven: Driven, *, unattended: bool
) -> tuple[RunReason | str | None, int | None]:
    """What stopped the run, if it is not its calls or its end; and when it goes on, in milliseconds."""
    if driven.closed:
        return (RunReason.WORKER_STOPPED, 0) if unattended else (RunReason.STREAM_CLOSED, None)
    if isinstance(driven.error, TrailUnavailable) and not isinstance(driven.error, DatabaseRefused):
        return RunReason.LEDGER_AWAY, LEDGER_PAUSE_MS
    if thread.gone:
        return f"{RunReason.STEP_GONE}{', '.join(sorted(thread.gone))}", None
    if driven.error is not None:
        return f"{RunReason.RAISED}{type(driven.error).__name__}", None
    if (thread.pending or thread.checkpoint == lease.base) and not thread.parked and not thread.questions:
        return (RunReason.DRAINED, 0) if driven.drained else (RunReason.LEFT, None)
    return None, None


def _release(lease: Lease, generation: int, stands: Standing, wake_ms: int | None) -> RunRelease:
    body = orjson.dumps({"state": stands.state.value, "reason": stands.reason}, option=orjson.OPT_SORT_KEYS)
    return RunRelease(
        run_id=lease.run_id,
        token=lease.token,
        generation=generation,
        state=stands.state,
        reason=str(stands.reason),
        owner=stands.owner,
        next_step=stands.next_step,
        wake_ms=wake_ms,
        body=body,
    )
