"""Tells each place what it is still to be told. Places do not wait for one another, and nobody waits for them.

A thread for each place takes notices under a lease, sends, and says what came of it. A process that dies between
sending and saying so has it sent again, under the same id, once its lease is over.
"""

import logging
import random
import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

import orjson

from langgraph_control.audit.asking.notices import (
    DueNotice,
    NoticeState,
    ServeSinks,
    SettleNotice,
    TakeNotice,
    notice_of,
)
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.names import approval_name
from langgraph_control.audit.seals.verified import NewestNote
from langgraph_control.errors import ControlError
from langgraph_control.graphs.notices.sink import Sink, Told
from langgraph_control.guards.retries import backoff_seconds

__all__ = ["Notifier"]

POLL_SECONDS: Final = 2.0
SERVE_SECONDS: Final = 60.0  # how often the ledger is told that these places are served
PAUSE_SECONDS: Final = 5.0  # the longest after a first failure
PAUSE_SECONDS_MAX: Final = 900.0
LEASE_EXTRA_SECONDS: Final = 30.0  # beyond the time a try may take
JOIN_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


class Notifier:
    """Serves some places for as long as it is entered. Any number of processes may serve the same ones.

    Args:
        store: the ledger, on an agent's or an approver's login.
        sinks: the places.
        console: the console's address, for links; None for none.
        remind_at: the share of the time after which people are reminded.
        poll_seconds: how often the ledger is asked.
        pause_seconds: the longest pause after a notice's first failure; it doubles.
        lease_extra_seconds: how much longer than a try may take it is this process's to make.
    """

    def __init__(
        self,
        store: Store,
        sinks: Sequence[Sink],
        *,
        console: str | None,
        remind_at: float,
        poll_seconds: float = POLL_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
        lease_extra_seconds: float = LEASE_EXTRA_SECONDS,
    ) -> None:
        self._store = store
        self._newest_note = NewestNote(store.call)
        self._sinks = tuple(sinks)
        self._console = console
        self._poll_seconds = poll_seconds
        self._pause_seconds = pause_seconds
        self._lease_extra_seconds = lease_extra_seconds
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._survived: set[tuple[str, str]] = set()
        told = [{"sink": sink.name, "events": list(sink.events), "remind_at": remind_at} for sink in self._sinks]
        self._serve = ServeSinks(sinks=orjson.dumps(told).decode())

    def __enter__(self) -> Self:
        """Name the places to the ledger, and begin.

        Raises:
            TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger cannot be asked.
        """
        caught_up = self._store.call(self._serve)
        works: list[tuple[str, Callable[[], None]]] = [("served", partial(self._keep_served, caught_up=caught_up))]
        works += [(sink.name, partial(self._follow, sink)) for sink in self._sinks]
        for name, work in works:
            thread = threading.Thread(target=work, name=f"notices {name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        logger.info("telling %s of requests", ", ".join(sink.name for sink in self._sinks))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Begin nothing new. What is being sent is sent again by others, if it does not end in a few seconds."""
        self._stop.set()
        for thread in self._threads:
            thread.join(JOIN_SECONDS)

    def once(self) -> int:
        """Tell every place all that is due now, and return how many notices were taken. Not to be mixed with entering.

        Raises:
            TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger cannot be asked.
        """
        self._store.call(self._serve)
        sent = 0
        for sink in self._sinks:
            while (told := self.tell(sink)) is not None:
                sent += told.error is None
        return sent

    def tell(self, sink: Sink) -> Told | None:
        """Tell one place the next thing that is due, and return what came of it; None where nothing is.

        Args:
            sink: the place.

        Raises:
            TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger cannot be asked.
        """
        lease, lease_ms = uuid4(), int((sink.timeout_seconds + self._lease_extra_seconds) * 1000)
        due = self._store.call(TakeNotice(sink=sink.name, lease=lease, lease_ms=lease_ms))
        if due is None:
            return None
        if due.attempts > sink.attempts:
            told = Told(error="nobody who sent it came back to say so")
        else:
            told = _send(sink, due, self._console, self._newest_note())
        state, wait_seconds = self._after(sink, due, told)
        settle = SettleNotice(
            sink=sink.name,
            approval_id=due.approval_id,
            event=due.event,
            mark=due.mark,
            lease=lease,
            state=state,
            error=told.error,
            wait_ms=int(wait_seconds * 1000),
        )
        self._store.call(settle)
        _log(sink, due, told, state, wait_seconds)
        return told

    def _after(self, sink: Sink, due: DueNotice, told: Told) -> tuple[NoticeState, float]:
        if told.error is None:
            return NoticeState.SENT, 0.0
        if due.attempts >= sink.attempts:
            return NoticeState.DEAD, 0.0
        draw = random.uniform(0.5, 1)  # noqa: S311 - spreads what failed together
        pause = backoff_seconds(
            due.attempts, base=self._pause_seconds, cap=max(PAUSE_SECONDS_MAX, self._pause_seconds), unit_random=draw
        )
        return NoticeState.WAITING, max(pause, told.pause_seconds or 0.0)

    def _survive(self, name: str, error: Exception) -> None:
        """Go on after what nobody foresaw. Said once, without its text."""
        kind = (name, type(error).__name__)
        if kind not in self._survived:
            self._survived.add(kind)
            logger.error("%s: failed unforeseen (%s); it goes on, and this is not said again", *kind)

    def _keep_served(self, *, caught_up: bool) -> None:
        while not self._stop.wait(SERVE_SECONDS if caught_up else self._poll_seconds):
            try:
                caught_up = self._store.call(self._serve)
            except ControlError as error:
                logger.warning("the ledger cannot be asked what there is to tell (%s); trying again", error.code)
            except Exception as error:  # noqa: BLE001 - nobody would begin another thread for this
                self._survive("places served", error)

    def _follow(self, sink: Sink) -> None:
        while not self._stop.is_set():
            try:
                if self.tell(sink) is not None:
                    continue
            except ControlError as error:
                logger.warning("%s: the ledger cannot be asked what there is to tell (%s)", sink.name, error.code)
            except Exception as error:  # noqa: BLE001 - nobody would begin another thread for this place
                self._survive(sink.name, error)
            self._stop.wait(self._poll_seconds * random.uniform(0.5, 1))  # noqa: S311 - spreads processes


def _send(sink: Sink, due: DueNotice, console: str | None, checkpoint: str | None) -> Told:
    try:
        return sink.send(notice_of(due, console=console, checkpoint=checkpoint))
    except Exception as error:  # noqa: BLE001 - one place's trouble is not the others'
        return Told(error=f"failed ({type(error).__name__})")


def _log(sink: Sink, due: DueNotice, told: Told, state: NoticeState, wait_seconds: float) -> None:
    name = f"{due.event} of {approval_name(due.approval_id)}"
    if state is NoticeState.SENT:
        logger.info("%s: told: %s", sink.name, name)
    elif state is NoticeState.WAITING:
        logger.warning("%s: not told: %s: %s; again in %.0f s", sink.name, name, told.error, wait_seconds)
    else:
        again = "langgraph-control notify --retry-dead"
        logger.error("%s: given up after %d attempts: %s: %s; %s", sink.name, due.attempts, name, told.error, again)
