"""What a sink lacks, as the next batch of spans: found in the ledger and projected, a bounded part at a time."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from opentelemetry.sdk.trace import ReadableSpan

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.seals.verified import NewestNote
from langgraph_control.audit.telemetry.sinks.requests import SpanEntries, SpansBehind, SpansRecent
from langgraph_control.audit.telemetry.spans import Projection
from langgraph_control.audit.trail.entries import Entry

__all__ = ["Batch", "Gathering"]

CHAINS: Final = 100  # read at once
ENTRIES: Final = 1000  # of all of them together
CHAINS_LOOKED_AT: Final = 5000
HELD_MAX: Final = 20_000  # entries of what has not ended, over all chains that are remembered
BACK_SECONDS: Final = (
    5.0  # how long a commit usually takes at most; what took longer is found by the look at all chains
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Spans that a sink is to be sent, and what it has then.

    Args:
        spans: in the order of the entries that made them final; of a chain that is read for the first time, none before
            what the sink has.
        reached: chain → up to which entry the sink has it once it has taken these.
    """

    spans: Sequence[ReadableSpan]
    reached: dict[UUID, int]


class Gathering:
    """Finds what one sink lacks, chain by chain and in the order of each.

    Args:
        store: the ledger, on an agent's or an auditor's login.
        sink: the sink's name.
        clock: monotonic seconds.
    """

    def __init__(self, store: Store, sink: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._sink = sink
        self._newest_note = NewestNote(store.call)
        self._clock = clock
        self._behind: dict[UUID, int] = {}
        self._projections: OrderedDict[UUID, Projection] = OrderedDict()
        self._held = 0
        self._looked_at: float | None = None  # for what is recent
        self._after: UUID | None = None  # where the look at all chains is
        self.looked_through = False  # all chains were looked at once since the beginning, and nothing was missing

    def forget(self) -> None:
        """Begin anew: what was gathered was not sent, or another process sends to this sink."""
        self._behind.clear()
        self._projections.clear()
        self._held = 0
        self._after, self.looked_through = None, False

    def batch(self) -> Batch | None:
        """Return what to send next; None where nothing was found to be missing.

        Raises:
            TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger cannot be asked.
        """
        if not self._behind:
            self._look()
        if not self._behind:
            return None
        chains = {run_id: self._behind[run_id] for run_id, _ in zip(self._behind, range(CHAINS), strict=False)}
        projections = {run_id: self._projection(run_id, has) for run_id, has in chains.items()}
        each = max(1, ENTRIES // len(chains))
        asked = SpanEntries(runs=list(chains), after=[projections[run_id].seq for run_id in chains], each=each)
        found = self._store.call(asked)
        ended = {
            run_id for run_id, entries in found.items() if any("run.finished" in entry.events for entry in entries)
        }
        checkpoint = self._newest_note() if ended else None
        batch = Batch(spans=[], reached={})
        spans: list[ReadableSpan] = []
        for run_id, has in chains.items():
            entries = found.get(run_id, [])
            projections[run_id].checkpoint = checkpoint
            spans += _final(projections[run_id], entries, has)
            reached = projections[run_id].seq
            if reached > has:
                batch.reached[run_id] = self._behind[run_id] = reached
            if len(entries) < each:
                del self._behind[run_id]
            self._remember(run_id, projections[run_id], ended=run_id in ended)
        return Batch(spans=spans, reached=batch.reached)

    def _look(self) -> None:
        """Look for chains of which the sink lacks something: first at what is new, then at the next stretch of all."""
        now = self._clock()
        if self._looked_at is not None:
            back_ms = int((now - self._looked_at + BACK_SECONDS) * 1000)
            self._behind.update(self._store.call(SpansRecent(sink=self._sink, back_ms=back_ms, limit=CHAINS)))
        if self._looked_at is None or len(self._behind) < CHAINS:
            self._looked_at = now
        while True:
            stretch = self._store.call(SpansBehind(sink=self._sink, after=self._after, chains=CHAINS_LOOKED_AT))
            self._after = stretch.last
            self._behind.update(stretch.chains)
            if stretch.last is None:
                self.looked_through = True
                return
            # Looked through once, a stretch at a time is enough: it finds what the look at what is new has missed.
            if self._behind or self.looked_through:
                return

    def _projection(self, run_id: UUID, has: int) -> Projection:
        known = self._projections.pop(run_id, None)
        if known is not None:
            self._held -= known.held
            if known.seq >= has:
                return known
        return Projection(run_id)

    def _remember(self, run_id: UUID, projection: Projection, *, ended: bool) -> None:
        if ended and run_id not in self._behind:
            return
        self._projections[run_id] = projection
        self._held += projection.held
        while self._held > HELD_MAX and len(self._projections) > 1:
            oldest = next(iter(self._projections))
            if oldest in self._behind:  # being read; what it has taken so far is not read again
                break
            self._held -= self._projections.pop(oldest).held


def _final(projection: Projection, entries: Sequence[Entry], has: int) -> list[ReadableSpan]:
    final: list[ReadableSpan] = []
    for entry in entries:
        spans = projection.take(entry)
        if entry.seq > has:
            final += spans
    return final
