"""News for open pages: one look at the ledger a second for all of them together, and only while somebody listens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from langgraph_control.audit.asking.waiting import Pulse, ReadPulse
from langgraph_control.audit.connecting.store import Store
from langgraph_control.errors import ControlError

__all__ = ["LISTENERS_MAX", "Beat", "Heart"]

EVERY_SECONDS: Final = 1.0
LISTENERS_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What the last look found.

    Args:
        number: another one whenever there is news.
        pulse: which requests are open; None: the ledger is away.
    """

    number: int
    pulse: Pulse | None


class Heart:
    """Looks at the ledger for everybody who listens. Belongs to one event loop.

    Args:
        store: the ledger.
        every_seconds: between two looks.
    """

    def __init__(self, store: Store, *, every_seconds: float = EVERY_SECONDS) -> None:
        self._store, self._every_seconds = store, every_seconds
        self._beat = Beat(number=0, pulse=None)
        self._news = asyncio.Condition()
        self._looking: asyncio.Task[None] | None = None
        self._stopped = False
        self.listeners = 0
        self.looks = 0

    async def beats(self, *, wait_seconds: float) -> AsyncIterator[Beat | None]:
        """Yield the first beat, then each further one; None where none came in time.

        Args:
            wait_seconds: how long to wait for one before saying so.
        """
        self.listeners += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        seen = 0
        try:
            while not self._stopped:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._newer(seen), wait_seconds)
                beat = self._beat
                yield beat if beat.number != seen else None
                seen = beat.number
        finally:
            self.listeners -= 1
            if self.listeners == 0 and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _newer(self, seen: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self._stopped or self._beat.number > seen)

    async def _look(self) -> None:
        while True:
            pulse: Pulse | None = None
            with suppress(ControlError):
                pulse = await self._store.acall(ReadPulse(), patience_seconds=0.5)
            self.looks += 1
            if pulse != self._beat.pulse or self._beat.number == 0:
                await self._tell(pulse)
            await asyncio.sleep(self._every_seconds)

    async def _tell(self, pulse: Pulse | None) -> None:
        async with self._news:
            self._beat = Beat(number=self._beat.number + 1, pulse=pulse)
            self._news.notify_all()

    async def nudge(self) -> None:
        """Tell everybody to look again: something changed that no count shows, as the first vote of two does."""
        await self._tell(self._beat.pulse)

    async def stop(self) -> None:
        """Let everybody who listens go."""
        self._stopped = True
        async with self._news:
            self._news.notify_all()
