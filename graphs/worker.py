"""A worker: drives the runs that are due, one process of many, until it is told to stop."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Generator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from langgraph.runtime import RunControl

from langgraph_control.audit.asking.rows import RunAnswer, RunLease, RunState
from langgraph_control.audit.asking.wakes import RunTake
from langgraph_control.audit.connecting.notifications import Notifications
from langgraph_control.audit.names import run_name
from langgraph_control.errors import ControlError, QueueUnavailable
from langgraph_control.graphs.advance import Ended
from langgraph_control.graphs.itinerary import working
from langgraph_control.graphs.ledger import Ledger
from langgraph_control.graphs.order import taking
from langgraph_control.graphs.policies import unpublished
from langgraph_control.graphs.sweep import Sweeper
from langgraph_control.graphs.trip import Trip
from langgraph_control.graphs.upkeep import upkeep
from langgraph_control.graphs.wake_queue import Advanced, WakeQueue

__all__ = ["CONCURRENCY", "DRAIN_SECONDS", "Worker"]

CONCURRENCY: Final = 8
DRAIN_SECONDS: Final = 25.0
CANCEL_AGAIN_SECONDS: Final = 1.0

AGAIN_SECONDS: Final = 5.0  # after something that should not have happened, and after a queue was lost

logger = logging.getLogger("langgraph_control.worker")


class Worker:
    """Drives due runs of the graphs it has, so many at a time.

    Args:
        ledgers: the graphs it has, by name, each with the ledger of the Control that bound it; all of one database.
        queue: what wakes it.
        name: what it is called in the record; no other living worker may have it.
        concurrency: at most so many runs at once.
        drain_seconds: how long what is in hand may go on once it is told to stop.
    """

    def __init__(
        self,
        ledgers: Mapping[str, Ledger],
        queue: WakeQueue,
        *,
        name: str,
        concurrency: int = CONCURRENCY,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self.name = name
        self.broke_off = False  # a step was left in its thread, which nobody can end
        self._ledgers = dict(ledgers)
        self._queue = queue
        self._concurrency = concurrency
        self._drain_seconds = drain_seconds
        self._slots = asyncio.Semaphore(concurrency)
        self._in_hand: dict[RunControl, UUID] = {}
        self._stopping = False
        self._store = next(iter(self._ledgers.values())).store()
        self._sweeper = Sweeper(self._store, queue, graphs=list(self._ledgers), idle=lambda: not self._in_hand)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop, then let go of what is in hand.

        Args:
            stop: set by whoever wants it to end.

        Raises:
            WorkerRefused: its name is taken.
            PolicyError: code ``policy_unpublished``.
            QueueUnavailable, TrailUnavailable, DatabaseRefused, SchemaMismatch: it could not start; nothing was driven.
        """
        session = await self._store.asession()
        for ledger in self._ledgers.values():
            if ledger.policies.policy.hash not in session.policies:
                raise unpublished(ledger.policies.policy)
        async with (
            self._queue,
            Notifications(self._store.dsn, name=self.name, hear=self._sweeper.hear) as notifications,
        ):
            graphs = ", ".join(sorted(self._ledgers))
            logger.info("worker %s: ready for %s; %d at a time", self.name, graphs, self._concurrency)
            consuming = asyncio.create_task(self._consume())
            looking = [
                asyncio.create_task(work)
                for work in (notifications.listen(), self._sweeper.follow(), self._sweeper.sweep(), upkeep(self._store))
            ]
            waiting = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait([waiting, consuming, *looking], return_when=asyncio.FIRST_COMPLETED)
            finally:
                await self._wind_up(consuming, [waiting, *looking])

    async def advance(self, run_id: UUID, graph: str) -> Advanced:
        """Drive a run if it is due and nobody else does.

        Args:
            run_id: the run.
            graph: its graph's name, as whoever woke us says.
        """
        async with self._slots:
            if self._stopping:
                return Advanced(again_at=datetime.now(UTC))
            began = time.monotonic()
            try:
                outcome = await self._drive(run_id, graph)
            except Exception as error:  # noqa: BLE001 - one run's trouble is not the worker's
                code = getattr(error, "code", type(error).__name__)
                logger.warning("%s of %s: cannot be driven now (%s)", run_name(run_id), graph, code)
                return Advanced(again_at=_in(AGAIN_SECONDS))
            finally:
                self._sweeper.looked()
        return _told(run_id, graph, outcome, seconds=time.monotonic() - began)

    async def _drive(self, run_id: UUID, graph: str) -> RunAnswer | Ended:
        ledger = self._ledgers[graph]
        runs = replace(ledger.runs(), worker=self.name)
        control = RunControl()
        trip = Trip(graph=runs.bound(graph), control=control)
        lease_ms, version = runs.leases.lease_ms, trip.version
        taken = partial(taking, run_id, graphs=[graph], lease_ms=lease_ms, worker=self.name, version=version)
        outcomes: list[RunAnswer | Ended] = []

        def steps() -> Generator[Any, Any, None]:
            outcomes.append((yield from _watched(working(trip, ledger.policies, taken), run_id, graph)))

        self._in_hand[control] = run_id
        try:
            async with contextlib.aclosing(runs.adrive(trip, steps())) as chunks:
                async for _ in chunks:
                    pass
        finally:
            del self._in_hand[control]
            if trip.driven.closed:
                self.broke_off = True
                logger.warning("%s of %s: broken off in the middle of a step", run_name(run_id), graph)
        return outcomes[0]

    async def _consume(self) -> None:
        while True:
            try:
                await self._queue.consume(
                    self.advance,
                    graphs=list(self._ledgers),
                    concurrency=self._concurrency,
                    drain_seconds=self._drain_seconds,
                )
            except QueueUnavailable as error:
                logger.warning("the queue was lost (%s); trying again in %.0f s", error.code, AGAIN_SECONDS)
            await asyncio.sleep(AGAIN_SECONDS * random.uniform(0.5, 1))  # noqa: S311 - spreads workers

    async def _wind_up(self, consuming: asyncio.Task[None], others: list[asyncio.Task[Any]]) -> None:
        self._stopping = True
        names = ", ".join(sorted(map(run_name, self._in_hand.values()))) or "nothing"
        logger.info("worker %s: stopping; in hand: %s", self.name, names)
        for control in self._in_hand:
            control.request_drain("the worker stops")
        consuming.cancel()
        open_still: set[asyncio.Task[Any]] = set(others)
        while open_still:
            for task in open_still:
                task.cancel()
            # Again where it was swallowed: up to Python 3.11 a wait that ends at that moment does so.
            _, open_still = await asyncio.wait(open_still, timeout=CANCEL_AGAIN_SECONDS)
        ended = await asyncio.gather(*others, consuming, return_exceptions=True)
        logger.info("worker %s: stopped", self.name)
        for error in ended:
            if isinstance(error, Exception):
                raise error


def _watched(
    steps: Generator[Any, Any, RunAnswer | Ended], run_id: UUID, graph: str
) -> Generator[Any, Any, RunAnswer | Ended]:
    """Carry steps out as they are, and say when the lease was given."""
    answer: Any = None
    while True:
        try:
            request = steps.send(answer)
        except StopIteration as ended:
            outcome: RunAnswer | Ended = ended.value
            return outcome
        answer = yield request
        if isinstance(request, RunTake) and answer.answer is RunLease.ACQUIRED:
            before = "taken over from a worker that is gone" if answer.state is RunState.RUNNING else _stood(answer)
            logger.info("%s of %s: driving it (%s)", run_name(run_id), graph, before)


def _stood(answer: RunAnswer) -> str:
    return f"was {answer.state}: {answer.reason}" if answer.reason else f"was {answer.state}"


def _told(run_id: UUID, graph: str, outcome: RunAnswer | Ended, *, seconds: float) -> Advanced:
    """Say what came of a wake-up, and when to look again."""
    name = run_name(run_id)
    if isinstance(outcome, RunAnswer):
        level = logging.WARNING if outcome.answer is RunLease.UNKNOWN else logging.DEBUG
        logger.log(level, "%s of %s: left alone (%s)", name, graph, outcome.answer)
        finished = outcome.answer in {RunLease.FINISHED, RunLease.UNKNOWN}
        again = None if finished or outcome.lease_ms_left is None else outcome.lease_ms_left
        return Advanced(finished=finished, again_at=None if again is None else _in(again / 1000))
    if isinstance(outcome.error, ControlError):
        logger.warning("%s of %s: %s [%s]", name, graph, outcome.reason, outcome.error.code)
    elif outcome.error is not None:
        logger.warning("%s of %s: %s", name, graph, outcome.reason, exc_info=logger.isEnabledFor(logging.DEBUG))
    why = f" ({outcome.reason})" if outcome.reason else ""
    again_at = None if outcome.wake_ms is None else _in(outcome.wake_ms / 1000)
    when = f", again at {again_at.isoformat(timespec='seconds')}" if again_at else ""
    logger.info("%s of %s: %s%s after %.1f s%s", name, graph, outcome.state, why, seconds, when)
    return Advanced(finished=outcome.state is RunState.DONE, again_at=again_at)


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
