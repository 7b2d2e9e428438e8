"""One sink, followed: what it lacks is sent, and what it has taken is noted. It may be killed at any point.

Sent first, noted afterwards: what was sent and not noted comes again, under the same ids. Nobody waits for any of this,
and nothing is kept beyond the batch in hand.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import uuid4

import orjson
from opentelemetry.sdk.trace import ReadableSpan

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.telemetry import meter_names as metrics
from langgraph_control.audit.telemetry import span_names as names
from langgraph_control.audit.telemetry.meters import count
from langgraph_control.audit.telemetry.sinks.delivery import Delivery, Refused, deliver
from langgraph_control.audit.telemetry.sinks.gathering import Batch, Gathering
from langgraph_control.audit.telemetry.sinks.requests import SpanLease, SpanLeave, SpanNote, SpansFailed, SpansSent
from langgraph_control.audit.telemetry.sinks.sink import Answer, SpanSink, Verdict
from langgraph_control.errors import ControlError
from langgraph_control.guards.retries import backoff_seconds

__all__ = ["Following", "Stepped"]

POLL_SECONDS: Final = 1.0
PAUSE_SECONDS: Final = 1.0  # the longest after a first failure; it doubles
PAUSE_SECONDS_MAX: Final = 60.0
ASKED_SECONDS_MAX: Final = 900.0  # what a sink may ask for
LEASE_SECONDS_MIN: Final = 15.0
DOUBTS: Final = 5  # after so many doubtful answers in a row the batch is searched for a span that is to blame
TELL_SECONDS: Final = 10.0
NOTE_SECONDS: Final = 10.0  # between notes of what is lacking: what was written since is looked at by whoever asks

logger = logging.getLogger(__name__)


class Stepped(StrEnum):
    """What came of a step."""

    SENT = "sent"  # something was sent, or read; there may be more
    IDLE = "idle"  # the sink has everything
    FAILED = "failed"  # it took nothing
    ELSEWHERE = "elsewhere"  # another process sends to it


class _LeaseLostError(Exception):
    """Another process sends to the sink by now."""


@dataclass(slots=True)
class _InHand:
    """A batch that is being sent."""

    batch: Batch
    left: Sequence[ReadableSpan]
    refused: list[Refused]


class Following:
    """Follows one sink. Any number of processes may follow the same one; one of them sends.

    Args:
        store: the ledger, on an agent's or an auditor's login.
        sink: where to.
        clock: monotonic seconds.
        lease_seconds: how long a killed process keeps others from sending, at least; None for what the sink's timeout
            makes sensible.
    """

    def __init__(
        self,
        store: Store,
        sink: SpanSink,
        *,
        clock: Callable[[], float] = time.monotonic,
        lease_seconds: float | None = None,
    ) -> None:
        self.sink = sink
        self.sent = 0
        self.given_up = 0
        self.failures = 0
        self.pause_seconds = 0.0  # until the next step, after this one
        self._store = store
        self._clock = clock
        self._lease = uuid4()
        self._lease_seconds = lease_seconds or max(LEASE_SECONDS_MIN, 3 * sink.timeout_seconds)
        self._leased = float("-inf")  # since when, in this process's time
        self._gathering = Gathering(store, sink.name, clock=clock)
        self._in_hand: _InHand | None = None
        self._doubts = 0
        self._told = self._noted = float("-inf")
        self._survived: set[str] = set()

    def follow(self, stop: threading.Event) -> None:
        """Send until told to stop. What goes wrong is logged and tried again.

        Args:
            stop: set by whoever wants it to end.
        """
        while not stop.is_set():
            try:
                self.step()
            except ControlError as error:
                logger.warning("%s: the ledger cannot be asked for spans (%s)", self.sink.name, error.code)
                self.pause_seconds = POLL_SECONDS
            except Exception as error:  # noqa: BLE001 - nobody would begin another thread for this place
                self._survive(error)
            stop.wait(self.pause_seconds)
        self.leave()

    def once(self) -> bool:
        """Send what the sink lacks now, and return whether it has everything; False where it failed or is not ours.

        Raises:
            TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger cannot be asked.
        """
        try:
            while True:
                stepped = self.step()
                if stepped is not Stepped.SENT:
                    return stepped is Stepped.IDLE
        finally:
            self.leave()

    def step(self) -> Stepped:
        """Send one batch. ``pause_seconds`` says how long to wait before the next step.

        Raises:
            TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger cannot be asked.
        """
        stepped = self._step()
        self._note_lacking()
        return stepped

    def leave(self) -> None:
        """Let others send. What is in hand is sent again by whoever does."""
        if self._leased > float("-inf"):
            self._begin_anew()
            try:
                self._store.call(SpanLeave(sink=self.sink.name, lease=self._lease), patience_seconds=1.0)
            except ControlError:
                logger.info("%s: its lease ends by itself", self.sink.name)

    def _step(self) -> Stepped:
        self.pause_seconds = 0.0
        try:
            if not self._keep_lease():
                return Stepped.ELSEWHERE
            hand = self._in_hand = self._in_hand or self._gather()
            if hand is None:
                self.pause_seconds = POLL_SECONDS * random.uniform(0.5, 1)  # noqa: S311 - spreads processes
                return Stepped.IDLE
            failed = self._send(hand)
            if failed is not None:
                self._note_failure(failed)
                return Stepped.FAILED
            self._note_sent(hand)
        except _LeaseLostError:
            logger.warning("%s: another process sends to it by now", self.sink.name)
            self._begin_anew()
            return Stepped.ELSEWHERE
        return Stepped.SENT

    @property
    def _lease_ms(self) -> int:
        return int(self._lease_seconds * 1000)

    def _begin_anew(self) -> None:
        self._in_hand, self._doubts, self._leased = None, 0, float("-inf")
        self._gathering.forget()

    def _survive(self, error: Exception) -> None:
        """Go on after what nobody foresaw, from what the ledger says, after a pause. Said once, without its text."""
        kind = type(error).__name__
        if kind not in self._survived:
            self._survived.add(kind)
            logger.error(
                "%s: a step failed unforeseen (%s); it goes on, and this is not said again", self.sink.name, kind
            )
        self._begin_anew()
        self.pause_seconds = PAUSE_SECONDS_MAX

    def _keep_lease(self) -> bool:
        if self._clock() - self._leased < self._lease_seconds / 3:
            return True
        now = self._clock()
        wait_ms = self._store.call(SpanLease(sink=self.sink.name, lease=self._lease, lease_ms=self._lease_ms))
        if wait_ms:
            if self._leased > float("-inf"):
                self._begin_anew()
            self.pause_seconds = min(wait_ms / 1000, POLL_SECONDS)
            return False
        self._leased = now
        return True

    def _gather(self) -> _InHand | None:
        batch = self._gathering.batch()
        return None if batch is None else _InHand(batch=batch, left=batch.spans, refused=[])

    def _send(self, hand: _InHand) -> Answer | None:
        """Send what is left of a batch; None once that is done."""
        while hand.left:
            part = hand.left[: self.sink.batch_spans]
            done: Delivery = deliver(part, self._send_part, self._takes_nothing, suspect=self._doubts >= DOUBTS)
            if done.failed is not None:
                return done.failed
            hand.refused += done.refused
            hand.left = hand.left[len(part) :]
            self._doubts = self.failures = 0
        return None

    def _note_sent(self, hand: _InHand) -> None:
        batch, sent = hand.batch, len(hand.batch.spans) - len(hand.refused)
        if batch.reached:
            noted = SpansSent(
                sink=self.sink.name,
                lease=self._lease,
                lease_ms=self._lease_ms,
                runs=list(batch.reached),
                seqs=list(batch.reached.values()),
                sent=sent,
                dead=orjson.dumps([_dead(refused) for refused in hand.refused]).decode(),
            )
            began = self._clock()
            if not self._store.call(noted):
                raise _LeaseLostError
            self._leased = began
        self._in_hand = None
        count(metrics.EXPORT_SPANS, sent, {names.SINK: self.sink.name})
        self.sent += sent
        self.given_up += len(hand.refused)
        for refused in hand.refused:
            logger.error(
                "%s: gave up a span it refuses (%s); langgraph-control export --dead", self.sink.name, refused.error
            )
        self._tell()

    def _note_failure(self, failed: Answer) -> None:
        self.failures += 1
        count(metrics.EXPORT_FAILURES, 1, {names.SINK: self.sink.name})
        self._doubts += failed.verdict is Verdict.DOUBTFUL
        draw = random.uniform(0.5, 1)  # noqa: S311 - spreads processes that lost one receiver
        pause = backoff_seconds(self.failures, base=PAUSE_SECONDS, cap=PAUSE_SECONDS_MAX, unit_random=draw)
        self.pause_seconds = max(pause, min(failed.pause_seconds or 0.0, ASKED_SECONDS_MAX))
        logger.warning("%s: took nothing: %s; again in %.0f s", self.sink.name, failed.error, self.pause_seconds)
        # Its process keeps it while it waits: whoever came instead would meet the same.
        lease_ms = self._lease_ms + int(self.pause_seconds * 1000)
        began = self._clock()
        if not self._store.call(
            SpansFailed(sink=self.sink.name, lease=self._lease, lease_ms=lease_ms, error=failed.error)
        ):
            raise _LeaseLostError
        self._leased = began

    def _note_lacking(self) -> None:
        """Have the ledger know what is lacking, once all was looked through: before that it would note too much."""
        if self._gathering.looked_through and self._clock() - self._noted >= NOTE_SECONDS:
            self._noted = self._clock()
            self._store.call(SpanNote(sink=self.sink.name))

    def _tell(self) -> None:
        if self._clock() - self._told >= TELL_SECONDS:
            self._told = self._clock()
            logger.info("%s: %d spans sent so far, %d given up", self.sink.name, self.sent, self.given_up)

    def _send_part(self, spans: Sequence[ReadableSpan]) -> Answer:
        if not self._keep_lease():  # finding what is refused takes long
            raise _LeaseLostError
        try:
            return self.sink.send(spans)
        except Exception as error:  # noqa: BLE001 - a sink that breaks its word stops neither this thread nor its status
            return Answer(verdict=Verdict.DOUBTFUL, error=f"failed ({type(error).__name__})")

    def _takes_nothing(self) -> bool | None:
        try:
            return self.sink.takes_nothing()
        except Exception:  # noqa: BLE001 - likewise
            return False


def _dead(refused: Refused) -> dict[str, Any]:
    attributes = refused.span.attributes or {}
    return {
        "run_id": attributes[names.RUN_ID],
        "seq": attributes[names.SEQ],
        "closed_seq": attributes.get(names.CLOSED_SEQ, attributes[names.SEQ]),
        "name": refused.span.name,
        "error": refused.error,
    }
