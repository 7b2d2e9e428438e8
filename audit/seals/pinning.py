"""Giving each pin the newest checkpoint, and telling for how long one lacks it."""

import time
from collections.abc import Callable, Iterator, Sequence

from langgraph_control.audit.seals.pins import Pin
from langgraph_control.audit.telemetry import meter_names as metrics
from langgraph_control.audit.telemetry import span_names as names
from langgraph_control.audit.telemetry.gauging import Gauging, Reading
from langgraph_control.audit.telemetry.meters import count
from langgraph_control.errors import ControlError

__all__ = ["Pinning"]


class Pinning:
    """The pins of one sealer, and which checkpoint each is known to have.

    Args:
        pins: where checkpoints are kept outside the database.
        clock: tells seconds, from whenever.
    """

    def __init__(self, pins: Sequence[Pin], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pins = tuple(pins)
        self._clock = clock
        self._has: dict[int, str] = {}
        self._lacks_since: dict[int, float] = {}

    def give(self, note: str, say: Callable[[str, str], None]) -> tuple[tuple[str, str], ...]:
        """Give a checkpoint to the pins that are not known to have it.

        Args:
            note: the newest one.
            say: told of each pin what is wrong with it; "" if nothing is.

        Returns:
            What kept it from pins, by pin.
        """
        failed: list[tuple[str, str]] = []
        wanting = [place for place in range(len(self._pins)) if self._has.get(place) != note]
        for place in wanting:
            self._lacks_since.setdefault(place, self._clock())  # of all, for the first may keep the others waiting
        for place in wanting:
            pin = self._pins[place]
            try:
                pin.pin(note)
            except ControlError as error:
                failed.append((str(pin), str(error)))
            except Exception as error:  # noqa: BLE001 - a pin is anybody's code, and must not end sealing
                failed.append((str(pin), type(error).__name__))
            else:
                self._has[place] = note
                self._lacks_since.pop(place, None)
                say(str(pin), "")
        for name, what in failed:
            count(metrics.PIN_FAILURES, 1, {names.PIN: name})
            say(name, what)
        return tuple(failed)

    def gauges(self) -> Gauging:
        """Return what tells whoever collects metrics how the pins stand, for as long as it is entered."""
        for pin in self._pins:
            count(metrics.PIN_FAILURES, 0, {names.PIN: str(pin)})  # so that the first failure is seen as an increase
        return Gauging((metrics.PIN_LAG,), self.readings)

    def readings(self) -> Iterator[Reading]:
        """Say of each pin for how long it has lacked a checkpoint: metric, value, and of what."""
        now, lags = self._clock(), dict[str, float]()
        for place, pin in enumerate(self._pins):
            lag = now - self._lacks_since.get(place, now)
            lags[str(pin)] = max(lag, lags.get(str(pin), 0.0))
        for name, lag in lags.items():
            yield metrics.PIN_LAG, lag, {names.PIN: name}
