"""The two drivers of a run: they carry out what :mod:`itinerary` asks for, over LangGraph and the ledger."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, aclosing, closing
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from langgraph.errors import GraphBubbleUp, GraphDrained
from langgraph.types import StateSnapshot

from langgraph_control.audit.asking.observing import Recall
from langgraph_control.audit.asking.rows import RunRow, Session
from langgraph_control.audit.connecting.leases import RunLeases
from langgraph_control.audit.connecting.saver import ControlSaver
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.names import run_name
from langgraph_control.errors import ControlError, RunRefused
from langgraph_control.graphs.advance import Drive, Driven, LookAtThread
from langgraph_control.graphs.itinerary import ChangedPolicy, KnownSession, Snapshot, ThreadState
from langgraph_control.graphs.journey import Pause, Take
from langgraph_control.graphs.order import worker_name
from langgraph_control.graphs.policies import Policies
from langgraph_control.graphs.resumed import CastVote
from langgraph_control.graphs.thread_view import gone_steps, thread_of
from langgraph_control.graphs.trip import RUN_METADATA, Graph, Steps, Trip
from langgraph_control.guards.checks import NamedCheck
from langgraph_control.nodes.bubbles import RunTakenOver
from langgraph_control.nodes.contexts import current_run, enter_run, leave_run, within
from langgraph_control.nodes.in_hand import none_in_hand
from langgraph_control.nodes.run_context import RunContext
from langgraph_control.nodes.run_memory import RunMemory
from langgraph_control.nodes.wakes import configurable

__all__ = ["Runs"]

TELL_SECONDS: Final = 10.0

# How a caller stops driving: closing the stream, cancelling the task, Ctrl-C.
_STOPPED: Final = (GeneratorExit, asyncio.CancelledError, KeyboardInterrupt)
_END: Final = object()

ENVIRONMENT_VARIABLE: Final = "LANGGRAPH_CONTROL_ENVIRONMENT"
"""Says where agents run, such as production; the policy's rules may ask for it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Carries out what calls ask for.

    Args:
        store: the ledger.
        leases: the leases this process holds.
        saver: keeps the checkpoints.
        policies: the rules that decide, and their file.
        graphs: the bound graphs by name.
        checks: what is heard after the policy.
        worker: what this process is called in the record.
    """

    store: Store
    leases: RunLeases
    saver: ControlSaver
    policies: Policies
    graphs: dict[str, Graph]
    checks: tuple[NamedCheck, ...] = ()
    worker: str = field(default_factory=worker_name)

    def drive(self, trip: Trip, steps: Steps) -> Generator[Any, None, None]:
        """Carry out steps, and yield what the graph streams. ``trip.run`` is what came of it.

        A caller that closes this early leaves a run that waits and can be resumed.

        Args:
            trip: what was asked for.
            steps: how to get there.
        """
        answer: Any = None
        with ExitStack() as leaving:
            while (request := _next(trip, steps, answer)) is not None:
                if not isinstance(request, Drive):
                    answer = self._answer(trip, request, leaving)
                    continue
                try:
                    yield from self._chunks(trip, request)
                except _STOPPED:
                    answer = trip.driven
                    while (request := _next(trip, steps, answer)) is not None:
                        answer = self._answer(trip, request, leaving)
                    raise
                answer = trip.driven

    async def adrive(self, trip: Trip, steps: Steps) -> AsyncGenerator[Any, None]:
        """Do what :meth:`drive` does, on any event loop.

        Args:
            trip: what was asked for.
            steps: how to get there.
        """
        answer: Any = None
        with ExitStack() as leaving:
            while (request := _next(trip, steps, answer)) is not None:
                if not isinstance(request, Drive):
                    answer = await self._aanswer(trip, request, leaving)
                    continue
                try:
                    async with aclosing(self._achunks(trip, request)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                except _STOPPED:
                    answer = trip.driven
                    while (request := _next(trip, steps, answer)) is not None:
                        answer = await self._aanswer(trip, request, leaving)
                    raise
                answer = trip.driven

    def with_saver(self, graph: Graph) -> Graph:
        """Return a graph that keeps its checkpoints in the ledger's database.

        Args:
            graph: a bound graph.
        """
        return graph.copy(update={"checkpointer": self.saver})

    def bound(self, name: str) -> Graph | None:
        """Return the graph bound under a name, with the ledger's saver; None if there is none.

        Args:
            name: as given to ``bind``.
        """
        graph = self.graphs.get(name)
        return None if graph is None else self.with_saver(graph)

    def _chunks(self, trip: Trip, drive: Drive) -> Generator[Any, None, None]:
        trip.begins(drive)
        try:
            with closing(cast("Generator[Any, None, None]", trip.known_graph.stream(**trip.call(drive)))) as stream:
                while True:
                    # Around each step and not around all of them: whoever reads the stream is outside of the run.
                    with within(trip.lease.drive):
                        chunk = next(stream, _END)
                    if chunk is _END:
                        break
                    yield chunk
        except Exception as error:  # noqa: BLE001 - whatever the graph raises is how this drive ended
            trip.driven = _ended_with(error)
        else:
            trip.driven = Driven()

    async def _achunks(self, trip: Trip, drive: Drive) -> AsyncGenerator[Any, None]:
        trip.begins(drive)
        try:
            chunks = cast("AsyncGenerator[Any, None]", trip.known_graph.astream(**trip.call(drive)))
            async with aclosing(chunks) as stream:
                while True:
                    with within(trip.lease.drive):
                        chunk = await anext(stream, _END)
                    if chunk is _END:
                        break
                    yield chunk
        except Exception as error:  # noqa: BLE001 - whatever the graph raises is how this drive ended
            trip.driven = _ended_with(error)
        else:
            trip.driven = Driven()
        await none_in_hand(trip.lease.drive)

    def _answer(self, trip: Trip, request: Any, leaving: ExitStack) -> Any:
        match request:
            case LookAtThread():
                config = trip.thread_config()
                thread = thread_of(trip.known_graph.get_state(config))
                if request.resuming and thread.checkpoint:
                    thread = replace(thread, gone=gone_steps(trip.known_graph, trip.saver.get_tuple(config)))
                return thread
            case Snapshot():
                graph = self._graph_of(trip, request.row)
                return None if graph is None else _seen(graph, request)
            case ThreadState(thread=thread_id):
                return trip.known_graph.get_state({"configurable": {"thread_id": thread_id}})
            case Pause():
                _before_waiting(request)
                time.sleep(request.seconds)
                return None
            case KnownSession(again=again):
                return self.store.session(again=again)
            case ChangedPolicy():
                return self.policies.changed()
            case CastVote():
                return request.cast()
            case Take():
                return self._take(trip, request, leaving, self.store.session())
            case _:
                trip.started = time.monotonic()
                return self.store.call(request)

    async def _aanswer(self, trip: Trip, request: Any, leaving: ExitStack) -> Any:
        match request:
            case LookAtThread():
                config = trip.thread_config()
                thread = thread_of(await trip.known_graph.aget_state(config))
                if request.resuming and thread.checkpoint:
                    thread = replace(thread, gone=gone_steps(trip.known_graph, await trip.saver.aget_tuple(config)))
                return thread
            case Snapshot():
                graph = self._graph_of(trip, request.row)
                return None if graph is None else await _aseen(graph, request)
            case ThreadState(thread=thread_id):
                return await trip.known_graph.aget_state({"configurable": {"thread_id": thread_id}})
            case Pause():
                _before_waiting(request)
                await asyncio.sleep(request.seconds)
                return None
            case KnownSession(again=again):
                return await self.store.asession(again=again)
            case ChangedPolicy():
                return await asyncio.to_thread(self.policies.changed)
            case CastVote():
                return await request.acast()
            case Take():
                return self._take(trip, request, leaving, await self.store.asession())
            case _:
                trip.started = time.monotonic()
                return await self.store.acall(request)

    def _take(self, trip: Trip, take: Take, leaving: ExitStack, session: Session) -> None:
        leaving.close()  # a run that was lost and taken again is entered anew, with the new token
        trip.taken = take
        context = RunContext(
            run_id=take.run_id,
            token=take.token,
            tenant=session.tenant,
            secret=session.secret,
            trigger=take.trigger,
            intent=take.intent,
            graph=take.graph,
            thread_id=take.thread_id,
            actor=take.actor,
            on_behalf_of=take.on_behalf_of,
            deadline=take.deadline,
            policy=trip.known_policy,
            worker=self.worker,
            version=trip.version,
            checks=self.checks,
            environment=os.environ.get(ENVIRONMENT_VARIABLE) or None,
            memory=RunMemory(Recall.of(take.recall), started=trip.started),
        )
        trip.memory = context.memory
        self.leases.hold(take.run_id, take.token, lease_ms=take.lease_ms, started=trip.started)
        leaving.callback(self.leases.drop, take.run_id, take.token)
        enter_run(context)
        leaving.callback(leave_run, context)

    def _graph_of(self, trip: Trip, row: RunRow) -> Graph | None:
        return self.bound(row.graph) if trip.graph is None else trip.graph


def _next(trip: Trip, steps: Steps, answer: Any) -> Any:
    """Return the next request, or None where the steps are done."""
    try:
        return steps.send(answer)
    except StopIteration as ended:
        trip.run = ended.value
        return None


def _ended_with(error: Exception) -> Driven:
    if isinstance(error, RunTakenOver):
        return Driven(lost=True)
    if isinstance(error, GraphDrained):
        return Driven(drained=True)
    # What else bubbles up is no error: the thread says what is left.
    bubbled = isinstance(error, GraphBubbleUp) and not isinstance(error, ControlError)
    return Driven() if bubbled else Driven(error=error)


def _seen(graph: Graph, request: Snapshot) -> StateSnapshot | None:
    if not request.finished:
        return graph.get_state(request.thread_config)
    history = graph.get_state_history(request.thread_config, filter={RUN_METADATA: request.name}, limit=1)
    with closing(cast("Generator[StateSnapshot, None, None]", history)) as newest_first:
        return next(newest_first, None)


async def _aseen(graph: Graph, request: Snapshot) -> StateSnapshot | None:
    if not request.finished:
        return await graph.aget_state(request.thread_config)
    history = graph.aget_state_history(request.thread_config, filter={RUN_METADATA: request.name}, limit=1)
    async with aclosing(cast("AsyncGenerator[StateSnapshot, None]", history)) as newest_first:
        return await anext(newest_first, None)


def _before_waiting(pause: Pause) -> None:
    inside = current_run(configurable())
    if inside is not None and inside.run_id == pause.run_id:
        raise RunRefused(
            f"Run {run_name(inside.run_id)} would wait for itself: it was called from inside.",
            todo="Give the inner call a trigger of its own, or invoke the inner graph directly.",
            code="run_inside_itself",
        )
    # Said once when the waiting starts, then about every ten seconds.
    if pause.waited == 0 or pause.waited // TELL_SECONDS != (pause.waited + pause.seconds) // TELL_SECONDS:
        name = run_name(pause.run_id or "")
        logger.info("Run %s is driven by another worker; waiting for it (%.0f s so far).", name, pause.waited)
