"""The run leases this process holds, on its own clock, and the heartbeat that renews them.

Each is kept under run and token, because a run may be driven here by a worker that lost it and by its successor. Time
counts from before a request is sent, so that a lease is over here before it is over in the database, and what is over
stays over.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

from langgraph_control.audit.asking.requests import RunRenew
from langgraph_control.audit.connecting.store import Store

__all__ = ["LEASE_MS", "RunLeases"]

LEASE_MS: Final = 15_000
BEATS_PER_LEASE: Final = 3
MARGIN: Final = 15  # the last fifteenth of a lease is not used: clocks drift, and what was begun has to end

logger = logging.getLogger(__name__)


class RunLeases:
    """Which runs this process drives, with which token and until when.

    Args:
        store: sends the heartbeats.
        lease_ms: how long a renewal lasts; a third of it lies between two heartbeats.
        clock: monotonic seconds.
    """

    def __init__(self, store: Store, *, lease_ms: int = LEASE_MS, clock: Callable[[], float] = time.monotonic) -> None:
        self.lease_ms = lease_ms
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[tuple[UUID, int], float] = {}  # until when, in monotonic seconds
        self._beating = False

    def hold(self, run_id: UUID, token: int, *, lease_ms: int, started: float) -> None:
        """Note a lease that the ledger gave, and keep it renewed until it is dropped.

        Of one run, only the newest token can be good: it was given because the lease before was over.

        Args:
            run_id: the run.
            token: its fencing token.
            lease_ms: how long the ledger gave it.
            started: the clock's reading from before the request was sent.
        """
        with self._lock:
            self._held[run_id, token] = _deadline(started, lease_ms)
            newest = max(other for held, other in self._held if held == run_id)
            for drive in self._held:
                if drive[0] == run_id and drive[1] < newest:
                    self._held[drive] = -math.inf
            start, self._beating = not self._beating, True
        if start:
            self._store.thread.submit(self._beat_on())

    def drop(self, run_id: UUID, token: int) -> None:
        """Forget one drive's lease: the run was released, or is another's now. A newer drive of it keeps its own."""
        with self._lock:
            self._held.pop((run_id, token), None)

    def alive(self, run_id: UUID, token: int) -> bool:
        """Return whether one drive still owns its run, by this process' own clock."""
        return self._clock() < self._held.get((run_id, token), -math.inf)

    def driven(self, run_id: UUID) -> bool:
        """Return whether any drive in this process still owns a run."""
        return any(self.alive(*drive) for drive in self._held.copy() if drive[0] == run_id)

    async def beat(self) -> bool:
        """Renew all living leases with one statement. Returns whether every one of them was renewed."""
        started = self._clock()
        # One token for each run: the older ones of a run are over.
        asked = {run_id: token for (run_id, token), until in self._held.copy().items() if started < until}
        if not asked:
            return True
        request = RunRenew(run_ids=list(asked), tokens=list(asked.values()), lease_ms=self.lease_ms)
        renewed = await self._store.acall(request, patience_seconds=self._beat_seconds)
        deadline = _deadline(started, self.lease_ms)
        with self._lock:
            for run_id in renewed:
                drive = run_id, asked[run_id]
                if self.alive(*drive):
                    self._held[drive] = max(self._held[drive], deadline)
        return renewed >= asked.keys()

    async def _beat_on(self) -> None:
        pause_seconds = self._beat_seconds
        while True:
            await asyncio.sleep(pause_seconds)
            with self._lock:
                if not self._held:
                    self._beating = False
                    return
            try:
                complete = await self.beat()
            except Exception as error:  # noqa: BLE001 - a heartbeat that dies would take every later run with it
                # Not fatal here: a lease that cannot be renewed runs out, and whoever relies on it is refused.
                logger.warning("Run leases could not be renewed (%s).", getattr(error, "code", type(error).__name__))
                complete = False
            # A busy row is left out of a renewal; it is asked for again before its lease is in danger.
            pause_seconds = self._beat_seconds if complete else self._beat_seconds / BEATS_PER_LEASE

    @property
    def _beat_seconds(self) -> float:
        return self.lease_ms / 1000 / BEATS_PER_LEASE


def _deadline(started: float, lease_ms: int) -> float:
    return started + (lease_ms - lease_ms / MARGIN) / 1000
