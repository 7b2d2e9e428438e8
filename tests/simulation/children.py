"""Seeds in processes of their own: several at once, and each mutant in a fresh interpreter."""

import multiprocessing
import queue
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tests.simulation.found import Found
from tests.simulation.mutants import MUTANTS, install

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess
    from multiprocessing.queues import Queue

__all__ = ["play_mutants", "play_seeds"]

EVERY = 100  # seeds between two reports of progress
LOOK_AT_CHILDREN_EVERY_SECONDS = 5.0


def _child(
    dsn: str, seeds: Sequence[int], mutant_number: int | None, reports: "Queue[tuple[int, Found | int]]"
) -> None:
    mutant = None if mutant_number is None else MUTANTS[mutant_number]
    if mutant is not None:
        install(mutant)
    from tests.simulation.runner import play  # after the mutant, which must be first to import what it changes

    def progress(played: int) -> None:
        if played % EVERY == 0:
            reports.put((mutant_number or 0, EVERY))

    reports.put((mutant_number or 0, play(dsn, seeds, mutant=mutant, progress=progress)))


def play_seeds(dsn: str, seeds: range, jobs: int, progress: Callable[[int], None]) -> list[Found]:
    """Split seeds over processes, each with a database of its own.

    Args:
        dsn: a superuser's.
        seeds: which.
        jobs: how many processes.
        progress: told how many more seeds were played.
    """
    shares: list[tuple[Sequence[int], int | None]] = [(seeds[job::jobs], None) for job in range(jobs)]
    return [found for _, found in _run(dsn, shares, jobs, progress)]


def play_mutants(
    dsn: str, numbers: Sequence[int], seeds: range, jobs: int, progress: Callable[[int], None]
) -> list[tuple[int, Found]]:
    """Play mutants until a seed kills each; return what each came to by its number."""
    return sorted(_run(dsn, [(seeds, number) for number in numbers], jobs, progress))


def _run(
    dsn: str, shares: list[tuple[Sequence[int], int | None]], jobs: int, progress: Callable[[int], None]
) -> list[tuple[int, Found]]:
    context = multiprocessing.get_context("spawn")
    reports: Queue[tuple[int, Found | int]] = context.Queue()
    waiting = [context.Process(target=_child, args=(dsn, *share, reports), daemon=True) for share in shares]
    started: list[SpawnProcess] = []
    results: list[tuple[int, Found]] = []
    while len(results) < len(shares):
        while waiting and len(started) < len(results) + jobs:
            started.append(waiting.pop(0))
            started[-1].start()
        number, report = _next_report(reports, started)
        if isinstance(report, Found):
            results.append((number, report))
        else:
            progress(report)
    for child in started:
        child.join()
    return results


def _next_report(reports: "Queue[tuple[int, Found | int]]", started: "list[SpawnProcess]") -> tuple[int, Found | int]:
    while True:
        try:
            return reports.get(timeout=LOOK_AT_CHILDREN_EVERY_SECONDS)
        except queue.Empty:
            if any(child.exitcode for child in started):
                raise RuntimeError("a process of the simulation failed; its own error stands above") from None
