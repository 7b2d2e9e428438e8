"""Follows several sinks at once, each in a thread of its own: none waits for another."""

import logging
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.telemetry.sinks.following import Following
from langgraph_control.audit.telemetry.sinks.sink import SpanSink

__all__ = ["Exporting"]

JOIN_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


class Exporting:
    """Sends to some sinks for as long as it is entered.

    Args:
        store: the ledger, on an agent's or an auditor's login.
        sinks: where to.
    """

    def __init__(self, store: Store, sinks: Sequence[SpanSink]) -> None:
        self.following = tuple(Following(store, sink) for sink in sinks)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Begin."""
        for one in self.following:
            thread = threading.Thread(target=one.follow, args=(self._stop,), name=f"spans {one.sink.name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        logger.info("sending spans to %s", ", ".join(one.sink.name for one in self.following))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Begin nothing new. What is being sent is sent again by others, if it does not end in a few seconds."""
        self._stop.set()
        for thread in self._threads:
            thread.join(JOIN_SECONDS)
        for one in self.following:
            one.sink.close()

    def once(self) -> bool:
        """Send each sink what it lacks now, and return whether all have everything. Not to be mixed with entering.

        Raises:
            TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger cannot be asked.
        """
        complete = [one.once() for one in self.following]
        for one in self.following:
            one.sink.close()
        return all(complete)
