"""The run leases this process holds, on its own clock, and the heartbeat that renews them.

A fencing token never leaves the process. Time counts from before a request is sent, so that a lease is over here before
it is over in the database, and what is over stays over.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from langgraph_control.audit.requests import RunRenew
from langgraph_control.audit.store import Store

__all__ = ["LEASE_MS", "RunLeases"]

LEASE_MS: Final = 15_000
BEATS_PER_LEASE: Final = 3
MARGIN: Final = 15  # the last fifteenth of a lease is not used: clocks drift, and what was begun has to end

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    token: int
    deadline: float  # monotonic seconds


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
        self._held: dict[UUID, _Held] = {}
        self._beating = False

    def hold(self, run_id: UUID, token: int, *, lease_ms: int, started: float) -> None:
        """Note a lease that the ledger gave, and keep it renewed until it is dropped.

        Args:
            run_id: the run.
            token: its fencing token.
            lease_ms: how long the ledger gave it.
            started: the clock's reading from before the request was sent.
        """
        with self._lock:
            self._held[run_id] = _Held(token=token, deadline=_deadline(started, lease_ms))
            start, self._beating = not self._beating, True
        if start:
            self._store.thread.submit(self._beat_on())

    def drop(self, run_id: UUID) -> None:
        """Forget a run: it was released, or is another worker's now."""
        with self._lock:
            self._held.pop(run_id, None)

    def token_of(self, run_id: UUID) -> int | None:
        """Return the fencing token of a run this process took, over or not; None for any other run."""
        held = self._held.get(run_id)
        return None if held is None else held.token

    def alive(self, run_id: UUID) -> bool:
        """Return whether this process still owns a run, by its own clock."""
        held = self._held.get(run_id)
        return held is not None and self._clock() < held.deadline

    async def beat(self) -> bool:
        """Renew all living leases with one statement. Returns whether every one of them was renewed."""
        started = self._clock()
        asked = {run_id: held.token for run_id, held in self._held.copy().items() if started < held.deadline}
        if not asked:
            return True
        request = RunRenew(run_ids=list(asked), tokens=list(asked.values()), lease_ms=self.lease_ms)
        renewed = await self._store.acall(request, patience_seconds=self._beat_seconds)
        deadline = _deadline(started, self.lease_ms)
        with self._lock:
            for run_id in renewed:
                held = self._held.get(run_id)
                if held is not None and held.token == asked[run_id] and self._clock() < held.deadline:
                    self._held[run_id] = replace(held, deadline=max(held.deadline, deadline))
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
