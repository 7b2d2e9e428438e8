"""Finding what is due: on a notification at once, and every few seconds whatever was or was not notified."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from langgraph_control.audit.asking.wakes import DueRun, FindDue, Why
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.names import run_name
from langgraph_control.errors import ControlError
from langgraph_control.graphs.wake_queue import WakeQueue

__all__ = ["AHEAD_SECONDS", "BATCH", "HOLD_SECONDS", "SWEEP_SECONDS", "Sweeper", "pause_seconds"]

SWEEP_SECONDS: Final = 2.0
"""About how long lies between two sweeps, and so how late a lost wake-up is found."""

AHEAD_SECONDS: Final = 6.0
"""What is due within this time is put on the queue for its moment: more than lies between two sweeps."""

HOLD_SECONDS: Final = 15.0
"""How long what one worker was offered is kept from the others. If nothing came of it by then, it is offered again."""

BATCH: Final = 100
"""At most so many at once: ten thousand that are due at one instant become a line and not a stampede."""

HEARD_MAX: Final = 1000  # more than that is swept up
JITTER: Final = 0.25
AFTER_LEASE_SECONDS: Final = 0.05
TELL_SECONDS: Final = 600.0  # how often a graph that this worker lacks is spoken of
OTHERS_SECONDS: Final = 10.0  # and how often it is looked for
PATIENCE_SECONDS: Final = 5.0

logger = logging.getLogger("langgraph_control.worker")


class Sweeper:
    """Asks the ledger what is due, and puts it on the queue.

    Args:
        store: the ledger.
        queue: what wakes workers.
        graphs: names of the graphs this worker has.
        idle: whether this worker has nothing in hand.
    """

    def __init__(self, store: Store, queue: WakeQueue, *, graphs: list[str], idle: Callable[[], bool]) -> None:
        self._store = store
        self._queue = queue
        self._graphs = graphs
        self._idle = idle
        self._heard: set[UUID] = set()
        self._something = asyncio.Event()  # was heard
        self._soon = asyncio.Event()  # a sweep is worth it now
        self._more = False  # the last sweep left some behind
        self._ahead = 0  # put on the queue, less what this worker has looked at since
        self._told: dict[str, float] = {}
        self._others_at = -OTHERS_SECONDS

    def hear(self, run_ids: frozenset[UUID] | None) -> None:
        """Take a hint that runs were woken.

        Args:
            run_ids: which; None where it may be any.
        """
        if run_ids is None or len(self._heard) + len(run_ids) > HEARD_MAX:
            self._soon.set()
        else:
            self._heard |= run_ids
            self._something.set()

    def looked(self) -> None:
        """Note that this worker has looked at a run. If the last sweep left some behind, it is time for more."""
        self._ahead = max(0, self._ahead - 1)
        if self._more and self._room():
            self._soon.set()

    async def follow(self) -> None:
        """Look at what was heard of, at once, until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            heard, self._heard = self._heard, set()
            await self._look(list(heard), limit=BATCH)

    async def sweep(self) -> None:
        """Look at everything every few seconds, and at the moments when leases end, until cancelled."""
        while True:
            if self._idle():
                self._ahead = 0  # others have looked at what this one put there
            room = self._room()
            found = await self._look(None, limit=room)
            pause = pause_seconds(found, jitter=random.uniform(-1, 1))  # noqa: S311 - spreads workers, nothing secret
            self._more = not room or sum(run.offered for run in found) >= room
            try:
                async with asyncio.timeout(pause):
                    await self._soon.wait()
            except TimeoutError:
                pass
            self._soon.clear()

    def _room(self) -> int:
        """Return how many more may be put on the queue: what one worker cannot look at soon is left for the others."""
        return BATCH - self._ahead if self._ahead <= BATCH // 2 else 0

    async def _look(self, run_ids: list[UUID] | None, *, limit: int) -> tuple[DueRun, ...]:
        now = time.monotonic()
        others = run_ids is None and now - self._others_at >= OTHERS_SECONDS
        if others:
            self._others_at = now
        request = FindDue(
            graphs=self._graphs,
            run_ids=run_ids,
            ahead_ms=int(AHEAD_SECONDS * 1000),
            hold_ms=int(HOLD_SECONDS * 1000),
            limit=limit,
            others=others,
        )
        try:
            found = await self._store.acall(request, patience_seconds=PATIENCE_SECONDS)
            await self._put(found)
        except ControlError as error:
            logger.warning("cannot look for what is due (%s); trying again", error.code)
            return ()
        except Exception as error:  # noqa: BLE001 - a sweep that dies would take every later wake-up with it
            logger.warning("cannot look for what is due (%s); trying again", type(error).__name__)
            return ()
        self._tell_of_others(found)
        return found

    async def _put(self, found: Iterable[DueRun]) -> None:
        for run in found:
            if not run.offered:
                continue
            self._ahead += 1
            if run.in_ms > 0:
                await self._queue.schedule(run.run_id, run.graph, datetime.now(UTC) + timedelta(milliseconds=run.in_ms))
            else:
                await self._queue.wake(run.run_id, run.graph)

    def _tell_of_others(self, found: Iterable[DueRun]) -> None:
        now = time.monotonic()
        for run in found:
            if run.why is Why.GRAPH and now - self._told.get(run.graph, -TELL_SECONDS) >= TELL_SECONDS:
                self._told[run.graph] = now
                logger.warning(
                    "%s is due, but this worker has no graph %r: left for a worker that has it",
                    run_name(run.run_id),
                    run.graph,
                )


def pause_seconds(found: Iterable[DueRun], *, jitter: float) -> float:
    """Return how long to wait before the next sweep.

    Args:
        found: what the last one found. A lease that ends before the next would be due is looked at when it ends.
        jitter: from -1 to 1; spreads the workers of one database.
    """
    leases = (run.in_ms / 1000 + AFTER_LEASE_SECONDS for run in found if run.why is Why.LEASE and not run.offered)
    return max(0.0, min([SWEEP_SECONDS * (1 + JITTER * jitter), *leases]))
