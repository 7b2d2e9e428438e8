"""How figures are taken: contestants in turn, so that a slow minute of the machine hits all alike.

Only ratios within one repetition are compared; a figure is the median over the repetitions, its spread the extremes.
"""

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Figure", "in_turn", "p50_ms", "rate", "ratios"]

Worker: TypeAlias = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One value per repetition."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """What is compared with a bar."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The smallest."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest."""
        return max(self.values)


def in_turn(repetitions: int, **contestants: Callable[[], float]) -> dict[str, Figure]:
    """Measure every contestant once per repetition, and in the opposite order every second time.

    Args:
        repetitions: how often.
        **contestants: each takes one measurement and returns it.
    """
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for repetition in range(repetitions):
        names = list(contestants) if repetition % 2 == 0 else list(reversed(contestants))
        for name in names:
            taken[name].append(contestants[name]())
    return {name: Figure(values=tuple(values)) for name, values in taken.items()}


def ratios(one: Figure, other: Figure) -> Figure:
    """Return one contestant's figure against another's, repetition by repetition.

    Args:
        one: the dividend.
        other: the divisor.
    """
    return Figure(values=tuple(a / b for a, b in zip(one.values, other.values, strict=True)))


def p50_ms(work: Worker, *, calls: int) -> float:
    """Return the median time of a call in this thread, in milliseconds.

    Args:
        work: one call.
        calls: how many are timed.
    """
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def rate(workers: Sequence[Worker], *, seconds: float) -> float:
    """Return how many calls a second all workers make together, each in a thread of its own.

    Args:
        workers: one call each, made again and again.
        seconds: how long.

    Raises:
        Exception: what a worker's call raised.
    """
    gate = threading.Barrier(len(workers) + 1)
    totals: list[tuple[int, float]] = []
    failures: list[BaseException] = []

    def toil(work: Worker) -> None:
        made = 0
        try:
            gate.wait()
            began = time.perf_counter()
            while (taken := time.perf_counter() - began) < seconds:
                work()
                made += 1
        except BaseException as failure:  # noqa: BLE001 - raised again by whoever asked
            failures.append(failure)
            return
        totals.append((made, taken))

    threads = [threading.Thread(target=toil, args=(work,)) for work in workers]
    for thread in threads:
        thread.start()
    gate.wait()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(made / taken for made, taken in totals)
