"""What ``run``, ``resume`` and ``get`` do, step by step and without I/O. The drivers in :mod:`runs` carry it out."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from langgraph_control.audit.asking.questions import OpenQuestions, QuestionRow, answering, not_taken
from langgraph_control.audit.asking.requests import FindRun, RunAcquire, RunActions, RunOpen
from langgraph_control.audit.asking.rows import RunAnswer, RunLease, RunRow, RunState, Session
from langgraph_control.audit.asking.wakes import RunSubmit, RunTake
from langgraph_control.audit.names import question_id, question_name, run_name
from langgraph_control.errors import OperationRefused, RunRefused, UnknownRun
from langgraph_control.graphs.advance import Ended
from langgraph_control.graphs.journey import journey, refused, registered, turn
from langgraph_control.graphs.order import worker_name
from langgraph_control.graphs.policies import Policies, unpublished
from langgraph_control.graphs.resume_values import read_resume
from langgraph_control.graphs.resumed import Sender, heard
from langgraph_control.graphs.run import Run, run_of
from langgraph_control.graphs.thread_view import questions_of, thread_of
from langgraph_control.graphs.trip import Graph, Steps, Trip
from langgraph_control.guards.policy import Policy

__all__ = [
    "ChangedPolicy",
    "KnownSession",
    "Snapshot",
    "ThreadState",
    "answered",
    "found_run",
    "getting",
    "in_force",
    "reloading",
    "resuming",
    "running",
    "submitting",
    "working",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSession:
    """Ask for the agent login's session, as this process knows it. Answered with :class:`Session`.

    Args:
        again: ask the ledger, for it may have changed.
    """

    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPolicy:
    """Ask whether the policy file was changed. Answered with the new policy if it is correct, else with None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Ask for the graph's state at the run's end or pause. Answered with a ``StateSnapshot``, or None.

    Args:
        row: the run.
    """

    row: RunRow

    @property
    def name(self) -> str:
        """The run's name, as its checkpoints carry it."""
        return run_name(self.row.run_id)

    @property
    def finished(self) -> bool:
        """Whether other runs may have gone on with the thread since; then the run's own end is to be found."""
        return self.row.state is RunState.DONE

    @property
    def thread_config(self) -> RunnableConfig:
        """The config of the run's thread."""
        return {"configurable": {"thread_id": self.row.thread_id}}


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadState:
    """Ask for the newest state of a thread, whatever runs it has had. Answered with a ``StateSnapshot``.

    Args:
        thread: the thread.
    """

    thread: str


def running(trip: Trip, policies: Policies, opened: Callable[[Policy], RunOpen]) -> Steps:
    """Register a run, or join the one its trigger has, and drive it.

    Args:
        trip: what was asked for, with its graph.
        policies: the rules that decide.
        opened: makes the request for the lease, under the rules that decide.
    """
    policy = yield from in_force(trip, policies)
    opening = opened(policy)
    ended = yield from journey(opening, trip.answers, owner=policy.owner or "", replaces=policy.replaces)
    return (yield from _outcome(trip, opening.run_id, ended))


def resuming(
    trip: Trip,
    run_id: UUID,
    policies: Policies,
    *,
    acquired: Callable[[Policy], RunAcquire],
    bound: Callable[[str], Graph | None],
    driven_here: Callable[[UUID], bool],
) -> Steps:
    """Find a run and its graph, and drive it on.

    Args:
        trip: what was asked for; it gets its graph.
        run_id: the run.
        policies: the rules that decide from now on.
        acquired: makes the request for the lease, under the rules that decide.
        bound: returns the graph bound under a name.
        driven_here: whether any drive in this process holds a run's lease.

    Raises:
        UnknownRun: there is no such run.
        RunRefused: this process drives it right now, or has not bound its graph.
    """
    policy = yield from in_force(trip, policies)
    row = yield from found_run(FindRun(run_id=run_id))
    if row.state is RunState.RUNNING and driven_here(run_id):
        raise RunRefused(
            f"Run {run_name(run_id)} is not parked: this process drives it right now.",
            todo="Wait for the call that drives it; resume it when it waits for something.",
            code="run_not_parked",
        )
    trip.graph = bound(row.graph)
    if trip.graph is None:
        raise RunRefused(
            f"Run {run_name(run_id)} belongs to the graph {row.graph!r}, which this Control has not bound.",
            todo=f"Call control.bind(graph, name={row.graph!r}) first.",
            code="graph_not_bound",
        )
    yield from _passed_on(run_id, trip.answers)
    yield from _noted(row, trip.answers)
    ended = yield from journey(acquired(policy), trip.answers, owner=policy.owner or "")
    return (yield from _outcome(trip, run_id, ended))


def answered(run_id: UUID, answers: Mapping[str, Any]) -> Steps:
    """Keep answers for a run without driving it: whoever drives it next goes on with them.

    Args:
        run_id: the run.
        answers: what the user says, by the names of the questions.

    Raises:
        OperationRefused: one of them was not taken; those before it were.
    """
    unknown = [name for name in answers if question_id(name) is None]
    if unknown:
        raise OperationRefused(
            "A graph's own question is answered where its graph is.",
            todo='Call control.resume(run_id, answers={…}), or name a question as it was printed: "qst_…".',
            code="question_name_invalid",
        )
    yield from _passed_on(run_id, answers)
    return (yield from getting(FindRun(run_id=run_id)))


def _noted(row: RunRow, answers: Mapping[str, Any]) -> Generator[Any, Any, None]:
    """Put on record what was said to our own requests, which nobody decides by a resume."""
    said = {name: answer for name, answer in answers.items() if question_id(name) is None}
    snapshot = (yield Snapshot(row=row)) if said and row.state is not RunState.DONE else None
    if snapshot is None:
        return
    thread = thread_of(snapshot)
    ours = {name: answer for name, answer in said.items() if name in thread.parked}
    for word in read_resume(ours, thread).words if ours else ():
        yield from heard(row.run_id, word, Sender())


def _passed_on(run_id: UUID, answers: Mapping[str, Any]) -> Generator[Any, Any, None]:
    """Keep the answers to what writes wait for; the graph's own questions are LangGraph's."""
    for name, answer in answers.items():
        question = question_id(name)
        if question is not None:
            refused: str | None = yield answering(run_id, question, answer, person=None, worker=worker_name())
            if refused is not None:
                raise not_taken(refused)


def submitting(trip: Trip, policies: Policies, submitted: Callable[[Policy], RunSubmit]) -> Steps:
    """Register a run for a worker, and say where it stands.

    Args:
        trip: what was asked for.
        policies: the submitter's rules.
        submitted: makes the request that registers it, or finds the one its trigger has.

    Raises:
        RunRefused: the thread is busy, or the trigger has another run.
    """
    policy = yield from in_force(trip, policies)
    request = submitted(policy)
    given = yield from registered(request, replaces=policy.replaces)
    if given.answer is not RunLease.QUEUED:
        raise refused(given, request)
    return (yield from getting(FindRun(run_id=given.run_id)))


def working(
    trip: Trip, policies: Policies, taken: Callable[[Policy], RunTake]
) -> Generator[Any, Any, RunAnswer | Ended]:
    """Drive a run that is due, as a worker does: for nobody who waits for it.

    Args:
        trip: what is driven.
        policies: the rules that decide from now on.
        taken: makes the request for the lease, under the rules that decide.
    """
    policy = yield from in_force(trip, policies)
    return (yield from turn(taken(policy), owner=policy.owner or ""))


def reloading(trip: Trip, policies: Policies) -> Steps:
    """Put a changed policy file in force, or say why that cannot be.

    Args:
        trip: what was asked for.
        policies: the rules, and their file.

    Raises:
        PolicyError: the file is wrong, or not published; what was in force stays.
    """
    changed = yield ChangedPolicy()
    wrong = policies.wrong()
    if wrong is not None:
        raise wrong
    yield from in_force(trip, policies)
    if changed is not None and policies.policy.hash != changed.hash:
        raise unpublished(changed)
    return None


def getting(find: FindRun) -> Steps:
    """Read where a run stands.

    Args:
        find: by id or by trigger.

    Raises:
        UnknownRun: there is no such run.
    """
    row = yield from found_run(find)
    actions = () if row.state is RunState.DONE else (yield RunActions(run_id=row.run_id, only_open=True))
    asked: tuple[QuestionRow, ...] = ()
    if any(action.reason == "ask" for action in actions):
        asked = yield OpenQuestions(run_id=row.run_id)
    snapshot = yield Snapshot(row=row)
    known = snapshot is not None
    own = questions_of(snapshot) if known and row.state is not RunState.DONE else {}
    return run_of(
        row,
        actions=actions,
        questions={**{question_name(one.question_id): one.question for one in asked}, **own},
        output=snapshot.values if known and row.state is RunState.DONE else None,
    )


def _outcome(trip: Trip, asked_as: UUID, ended: RunAnswer | Ended) -> Generator[Any, Any, Run | None]:
    # A trigger that was known already has a run of another id than the one this call made up.
    found = ended.run_id if isinstance(ended, RunAnswer) else trip.lease.run_id
    run_id = found or asked_as
    if isinstance(ended, Ended) and ended.error is not None:
        ended.error.add_note(f'In run {run_name(run_id)}; it is kept. Go on with control.resume("{run_name(run_id)}").')
        raise ended.error
    if trip.driven.closed:
        return None
    return (yield from getting(FindRun(run_id=run_id)))


def found_run(find: FindRun) -> Generator[Any, Any, RunRow]:
    """Return a run's row.

    Args:
        find: by id or by trigger.

    Raises:
        UnknownRun: there is no such run.
    """
    row: RunRow | None = yield find
    if row is None:
        raise UnknownRun(
            f"There is no run {run_name(find.run_id) if find.run_id else 'of that trigger'} for this login's tenant.",
            todo="Check the name, and that the DSN is of the right database and tenant.",
        )
    return row


def in_force(trip: Trip, policies: Policies) -> Generator[Any, Any, Policy]:
    """Take a changed policy file that is correct and published, and return what decides from now on.

    Args:
        trip: what is driven; it gets its policy.
        policies: the rules that decide, and their file.

    Raises:
        PolicyError: code ``policy_unpublished``.
    """
    session: Session = yield KnownSession()
    changed: Policy | None = yield ChangedPolicy()
    asked = False
    if changed is not None:
        if changed.hash not in session.policies:
            session, asked = (yield KnownSession(again=True)), True
        if changed.hash in session.policies:
            policies.take(changed)
        else:
            policies.leave(changed)
    policy = policies.policy
    if policy.hash not in session.policies and not asked:
        session = yield KnownSession(again=True)  # it may have been published since this process asked
    if policy.hash not in session.policies:
        raise unpublished(policy)
    trip.policy = policy
    return policy
