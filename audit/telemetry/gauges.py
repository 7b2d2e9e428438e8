"""How the ledger stands, for whoever collects metrics: asked when they collect, and only then."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Final, Self

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.telemetry import meter_names as metrics
from langgraph_control.audit.telemetry import span_names as names
from langgraph_control.audit.telemetry.meter_names import Metric
from langgraph_control.audit.telemetry.meters import METER
from langgraph_control.audit.telemetry.sinks.requests import Gauges, SealLag, SpanSinks
from langgraph_control.errors import ControlError

__all__ = ["Gauging", "readings"]

KNOWN_SECONDS: Final = 5.0  # one collection reads all gauges
PATIENCE_SECONDS: Final = 2.0

Reading = tuple[Metric, float, dict[str, str]]


def readings(store: Store) -> Iterator[Reading]:
    """Ask the ledger how it stands: metric, value, and of what.

    Args:
        store: the ledger, on an agent's or an auditor's login.

    Raises:
        TrailUnavailable, DatabaseRefused, SchemaMismatch: it cannot be asked.
    """
    for waiting in store.call(Gauges(), patience_seconds=PATIENCE_SECONDS):
        yield metrics.RUNS, waiting.runs, {names.STATE: waiting.state}
        yield metrics.RUNS_OLDEST, waiting.oldest_ms / 1000, {names.STATE: waiting.state}
    for sink in store.call(SpanSinks(), patience_seconds=PATIENCE_SECONDS):
        of_sink = {names.SINK: sink.sink}
        yield metrics.EXPORT_LAG, (sink.behind_ms or 0) / 1000, of_sink
        yield metrics.EXPORT_BEHIND, sink.behind, of_sink
        yield metrics.EXPORT_DEAD, sink.dead, of_sink
    lag_ms = store.call(SealLag(), patience_seconds=PATIENCE_SECONDS)
    if lag_ms is not None:
        yield metrics.SEAL_LAG, lag_ms / 1000, {}


class Gauging:
    """Tells whoever collects metrics how the ledger stands, for as long as it is entered.

    Args:
        store: the ledger, on an agent's or an auditor's login.
    """

    def __init__(self, store: Store) -> None:
        self._store: Store | None = store
        self._lock = threading.Lock()
        self._known: tuple[Reading, ...] = ()
        self._read_at = float("-inf")

    def __enter__(self) -> Self:
        """Begin to answer."""
        meter = get_meter(METER)
        for metric in metrics.METRICS:
            if metric.kind is metrics.Kind.GAUGE:
                meter.create_observable_gauge(
                    metric.name, callbacks=[self._of(metric)], unit=metric.unit, description=metric.says
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Answer nothing any more."""
        self._store = None

    def _of(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observed(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, of) for known, value, of in self._readings() if known is metric]

        return observed

    def _readings(self) -> tuple[Reading, ...]:
        with self._lock:
            store = self._store
            if store is None:
                return ()
            if time.monotonic() - self._read_at > KNOWN_SECONDS:
                try:
                    self._known = tuple(readings(store))
                except ControlError:
                    self._known = ()  # a gauge that says nothing is what an alert for missing data is for
                self._read_at = time.monotonic()
            return self._known
