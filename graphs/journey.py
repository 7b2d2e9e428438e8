"""A run from asking for its lease to giving it up: decisions only, no I/O.

Like the gate and :mod:`advance`, a generator that yields what it wants and is sent the answer. The drivers in
:mod:`runs` carry it out, sync and async.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from langgraph_control.audit.asking.requests import RunAcquire, RunBase, RunOpen, RunReplace
from langgraph_control.audit.asking.rows import Replacing, RunAnswer, RunLease, RunState
from langgraph_control.audit.asking.wakes import RunSubmit, RunTake
from langgraph_control.audit.connecting.drives import DriveId
from langgraph_control.audit.names import run_name
from langgraph_control.errors import ControlError, RunRefused, UnknownRun
from langgraph_control.graphs.advance import Ended, Lease, LookAtThread, advance

__all__ = ["Pause", "Take", "journey", "refused", "registered", "turn"]

POLL_SECONDS_FIRST: Final = 0.05
POLL_SECONDS_MAX: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Wait for the worker that drives this run.

    Args:
        seconds: how long.
        waited: how long so far, in seconds.
        run_id: the run.
    """

    seconds: float
    waited: float
    run_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """The lease was given: keep it renewed, and let governed calls of this run through from now on.

    Args:
        run_id: the run.
        token: the lease's fencing token.
        generation: wake-ups counted when it was given.
        lease_ms: how long it lasts.
        thread_id: the run's thread.
        graph: the bound graph's name.
        trigger: the delivery that began it.
        intent: the business request it serves.
        actor: who asked.
        on_behalf_of: for whom.
        deadline: nothing new is begun after it.
        input: the input as stored by the first delivery.
        recall: what earlier drives knew of the run, as stored.
    """

    run_id: UUID
    token: int
    generation: int
    lease_ms: int
    thread_id: str
    graph: str
    trigger: str
    intent: str
    actor: str
    on_behalf_of: str | None
    deadline: datetime | None
    input: bytes = field(repr=False)
    recall: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def drive(self) -> DriveId:
        """What tells this drive from any other of the same run."""
        return self.run_id, self.token

    @classmethod
    def of(cls, given: RunAnswer) -> "Take":
        """Return it for the ledger's answer ``acquired``, which has all of this.

        Args:
            given: the answer.
        """
        of_answer = {slot.name: getattr(given, slot.name) for slot in fields(cls) if slot.name != "lease_ms"}
        return cls(**of_answer, lease_ms=given.lease_ms_left or 0)


def journey(
    opening: RunOpen | RunAcquire, answers: Mapping[str, Any], *, owner: str = "", replaces: bool = False
) -> Generator[Any, Any, RunAnswer | Ended]:
    """Take a run's lease, drive the run until it ends or parks, and give the lease up.

    A live holder is waited for, and so is whoever takes the run over from this worker.

    Args:
        opening: registers the run, joins it, or resumes it.
        answers: the caller's answers to the user's own questions, by interrupt id.
        owner: the role that the policy names for everything; "" if it names none.
        replaces: whether a run that waits for people on the same thread ends for this one.

    Returns:
        The ledger's answer where the run was finished before, else where it stands now.

    Raises:
        RunRefused: the thread is busy, or the trigger has another run.
        UnknownRun: there is no such run.
    """
    while True:
        given = yield from _lease(opening, replaces=replaces)
        if given.answer is RunLease.FINISHED:
            return given
        ended = yield from _driven(given, answers, owner=owner)
        if ended.state is not RunState.RUNNING or ended.error is not None:
            return ended
        # Taken over: what this worker was asked for is now what the other one brings about.
        answers = {}


def turn(taking: RunTake, *, owner: str = "") -> Generator[Any, Any, RunAnswer | Ended]:
    """Take a run's lease if the run is due, drive it until it ends or parks, and give the lease up.

    Waits for nobody: a run that another worker drives or takes over is that worker's.

    Args:
        taking: asks for the lease.
        owner: as for :func:`journey`.

    Returns:
        The ledger's answer where the lease was not given, else where the run stands now.
    """
    given: RunAnswer = yield taking
    if given.answer is not RunLease.ACQUIRED:
        return given
    return (yield from _driven(given, {}, owner=owner, unattended=True))


def _driven(
    given: RunAnswer, answers: Mapping[str, Any], *, owner: str, unattended: bool = False
) -> Generator[Any, Any, Ended]:
    taken = Take.of(given)
    yield taken
    base = given.base_checkpoint
    if base is None:
        thread = yield LookAtThread()
        base = yield RunBase(run_id=taken.run_id, token=taken.token, checkpoint=thread.checkpoint)
    if base is None:
        return Ended(state=RunState.RUNNING, reason="another worker drives it")
    lease = Lease(
        run_id=taken.run_id,
        token=taken.token,
        generation=taken.generation,
        base=base,
        requester=taken.on_behalf_of or taken.actor,
        owner=owner,
    )
    return (yield from advance(lease, answers, unattended=unattended))


def registered(opening: RunOpen | RunSubmit, *, replaces: bool) -> Generator[Any, Any, RunAnswer]:
    """Register a run; where the policy says so, first end the one that waits for people on its thread.

    Args:
        opening: the run.
        replaces: whether the policy says so.
    """
    while True:
        given: RunAnswer = yield opening
        if not replaces or given.answer is not RunLease.THREAD_BUSY or given.other_run is None:
            return given
        ended = yield RunReplace(run_id=given.other_run, trigger=opening.trigger, body=opening.body)
        if ended not in {Replacing.REPLACED, Replacing.FINISHED}:
            return given


def _lease(opening: RunOpen | RunAcquire, *, replaces: bool) -> Generator[Any, Any, RunAnswer]:
    pause, waited = POLL_SECONDS_FIRST, 0.0
    while True:
        given: RunAnswer
        if isinstance(opening, RunOpen):
            given = yield from registered(opening, replaces=replaces)
        else:
            given = yield opening
        match given.answer:
            case RunLease.ACQUIRED | RunLease.FINISHED:
                return given
            case RunLease.HELD:
                yield Pause(seconds=pause, waited=waited, run_id=given.run_id)
                waited += pause
                pause = min(2 * pause, POLL_SECONDS_MAX)
            case _:
                raise refused(given, opening)


def refused(given: RunAnswer, opening: RunOpen | RunAcquire | RunSubmit) -> ControlError:
    """Return why a run was not opened.

    Args:
        given: the ledger's answer.
        opening: what was asked.
    """
    if given.answer is RunLease.THREAD_BUSY:
        other = run_name(given.other_run or "")
        return RunRefused(
            f"The thread is busy: its run {other} is unfinished.",
            todo=f'Bring that one to its end first (control.get("{other}") says how), or use another thread.',
            code="thread_busy",
        )
    if given.answer is RunLease.MISMATCH and isinstance(opening, RunOpen | RunSubmit):
        differs = "intent" if given.intent != opening.intent else "graph"
        return RunRefused(
            f"The trigger belongs to run {run_name(given.run_id or '')}, which has another {differs}.",
            todo=f"Use the trigger only for redeliveries of the same event, with the same {differs}.",
            code="trigger_mismatch",
        )
    return UnknownRun("There is no such run for this login's tenant.", todo="Check the name: langgraph-control show.")
