"""What ``run``, ``resume`` and ``get`` do, step by step and without I/O. The drivers in :mod:`runs` carry it out."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from langgraph_control.audit.names import run_name
from langgraph_control.audit.requests import FindRun, OpenSession, RunActions, RunOpen
from langgraph_control.audit.rows import RunAnswer, RunLease, RunRow, RunState, Session
from langgraph_control.audit.wakes import RunSubmit, RunTake
from langgraph_control.errors import PolicyError, RunRefused, UnknownRun
from langgraph_control.graphs.advance import Ended
from langgraph_control.graphs.journey import journey, refused, turn
from langgraph_control.graphs.order import acquiring
from langgraph_control.graphs.run import Run, run_of
from langgraph_control.graphs.thread_view import questions_of
from langgraph_control.graphs.trip import Graph, Steps, Trip
from langgraph_control.guards.policy import Policy

__all__ = ["KnownSession", "Snapshot", "getting", "resuming", "running", "submitting", "unpublished", "working"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSession:
    """Ask for the agent login's session, as this process knows it. Answered with :class:`Session`."""


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


def running(trip: Trip, opening: RunOpen, policy: Policy) -> Steps:
    """Register a run, or join the one its trigger has, and drive it.

    Args:
        trip: what was asked for, with its graph.
        opening: the request for the lease.
        policy: the rules that decide.
    """
    yield from _published(policy)
    ended = yield from journey(opening, trip.answers)
    return (yield from _outcome(trip, opening.run_id, ended))


def resuming(
    trip: Trip,
    run_id: UUID,
    policy: Policy,
    *,
    lease_ms: int,
    bound: Callable[[str], Graph | None],
    driven_here: Callable[[UUID], bool],
) -> Steps:
    """Find a run and its graph, and drive it on.

    Args:
        trip: what was asked for; it gets its graph.
        run_id: the run.
        policy: the rules that decide from now on.
        lease_ms: how long the lease lasts.
        bound: returns the graph bound under a name.
        driven_here: whether any drive in this process holds a run's lease.

    Raises:
        UnknownRun: there is no such run.
        RunRefused: this process drives it right now, or has not bound its graph.
    """
    yield from _published(policy)
    row = yield from _found(FindRun(run_id=run_id))
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
    opening = acquiring(run_id, policy_hash=policy.hash, lease_ms=lease_ms)
    ended = yield from journey(opening, trip.answers)
    return (yield from _outcome(trip, run_id, ended))


def submitting(request: RunSubmit, policy: Policy) -> Steps:
    """Register a run for a worker, and say where it stands.

    Args:
        request: registers it, or finds the one its trigger has.
        policy: the submitter's rules.

    Raises:
        RunRefused: the thread is busy, or the trigger has another run.
    """
    yield from _published(policy)
    given: RunAnswer = yield request
    if given.answer is not RunLease.QUEUED:
        raise refused(given, request)
    return (yield from getting(FindRun(run_id=given.run_id)))


def working(request: RunTake, policy: Policy) -> Generator[Any, Any, RunAnswer | Ended]:
    """Drive a run that is due, as a worker does: for nobody who waits for it.

    Args:
        request: asks for the lease.
        policy: the rules that decide from now on.
    """
    yield from _published(policy)
    return (yield from turn(request))


def getting(find: FindRun) -> Steps:
    """Read where a run stands.

    Args:
        find: by id or by trigger.

    Raises:
        UnknownRun: there is no such run.
    """
    row = yield from _found(find)
    actions = () if row.state is RunState.DONE else (yield RunActions(run_id=row.run_id, only_open=True))
    snapshot = yield Snapshot(row=row)
    known = snapshot is not None
    return run_of(
        row,
        actions=actions,
        questions=questions_of(snapshot) if known and row.state is not RunState.DONE else {},
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


def _found(find: FindRun) -> Generator[Any, Any, RunRow]:
    row: RunRow | None = yield find
    if row is None:
        raise UnknownRun(
            f"There is no run {run_name(find.run_id) if find.run_id else 'of that trigger'} for this login's tenant.",
            todo="Check the name, and that the DSN is of the right database and tenant.",
        )
    return row


def _published(policy: Policy) -> Generator[Any, Any, None]:
    session: Session = yield KnownSession()
    if policy.hash not in session.policies:
        session = yield OpenSession()  # it may have been published since this process asked
    if policy.hash not in session.policies:
        raise unpublished(policy)


def unpublished(policy: Policy) -> PolicyError:
    """Return what is raised for a policy that no admin has published.

    Args:
        policy: the policy.
    """
    return PolicyError(
        f"The policy {policy.source} (hash {policy.hash[:12]}…) is not published for this tenant.",
        todo=f"Run: langgraph-control policy publish {policy.source}, on the admin login.",
        code="policy_unpublished",
    )
