"""What the console refused, counted by reason and put on record: at once, and then all together every half a minute."""

import asyncio
from collections import Counter
from threading import Lock
from typing import Final

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.people.refused_access import noted

__all__ = ["Refusals"]

EVERY_SECONDS: Final = 30.0
"""Whoever tries without end fills neither the record nor the disk."""

LOOK_SECONDS: Final = 0.5


class Refusals:
    """Counts what is refused, and tells the ledger. What it cannot tell now, it tells later.

    Args:
        store: the ledger.
        every_seconds: between two entries.
    """

    def __init__(self, store: Store, *, every_seconds: float = EVERY_SECONDS) -> None:
        self._store, self._every_seconds = store, every_seconds
        self._counts = Counter[str]()
        self._lock = Lock()

    def count(self, reason: str) -> None:
        """Count one.

        Args:
            reason: a stable word.
        """
        with self._lock:
            self._counts[reason] += 1

    async def telling(self) -> None:
        """Tell, until cancelled; then tell what is left."""
        try:
            while True:
                told = await asyncio.to_thread(self.tell)
                await asyncio.sleep(self._every_seconds if told else LOOK_SECONDS)
        finally:
            self.tell()

    def tell(self) -> bool:
        """Put on record what was counted since, and return whether there was anything."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if counts and not noted(self._store, where="console", refused=counts):
            with self._lock:
                self._counts.update(counts)
        return bool(counts)
