"""Gauges through OpenTelemetry's API: whoever collects asks, and only then they are read."""

import threading
import time
from collections.abc import Callable, Iterable
from functools import cache
from itertools import chain
from types import TracebackType
from typing import Final, Self

from opentelemetry.metrics import CallbackOptions, ObservableGauge, Observation, get_meter

from langgraph_control.audit.telemetry.meter_names import Metric
from langgraph_control.audit.telemetry.meters import METER
from langgraph_control.errors import ControlError

__all__ = ["Gauging", "Reading"]

KNOWN_SECONDS: Final = 5.0  # one collection reads all gauges

Reading = tuple[Metric, float, dict[str, str]]


class Gauging:
    """Tells whoever collects metrics what gauges say, for as long as it is entered. Any number may be, of any gauges.

    Args:
        told: which gauges.
        read: reads them all: metric, value, and of what.
    """

    def __init__(self, told: Iterable[Metric], read: Callable[[], Iterable[Reading]]) -> None:
        self._told = tuple(told)
        self._read = read
        self._lock = threading.Lock()
        self._known: tuple[Reading, ...] = ()
        self._read_at = float("-inf")

    def __enter__(self) -> Self:
        """Begin to answer."""
        _entered.append(self)
        for metric in self._told:
            _gauge(metric)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Answer nothing any more."""
        _entered.remove(self)

    def readings(self) -> tuple[Reading, ...]:
        """Return what the gauges say, read at most a few seconds ago."""
        with self._lock:
            if time.monotonic() - self._read_at > KNOWN_SECONDS:
                try:
                    self._known = tuple(self._read())
                except ControlError:
                    self._known = ()  # a gauge that says nothing is what an alert for missing data is for
                self._read_at = time.monotonic()
            return self._known


_entered: Final[list[Gauging]] = []


@cache  # one of a name in a process: OpenTelemetry drops what a second one would say
def _gauge(metric: Metric) -> ObservableGauge:
    def observed(_: CallbackOptions) -> Iterable[Observation]:
        told = chain.from_iterable(one.readings() for one in tuple(_entered))
        return [Observation(value, of) for known, value, of in told if known is metric]

    return get_meter(METER).create_observable_gauge(
        metric.name, callbacks=[observed], unit=metric.unit, description=metric.says
    )
