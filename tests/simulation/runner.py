"""Plays seeds, one after the other, in a database of their own."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from tests.simulation.database import simulation_database
from tests.simulation.found import Found
from tests.simulation.mutants import Mutant
from tests.simulation.rebuilding import compare_with_memory
from tests.simulation.scheduler import Shared, Simulation, Switches
from tests.simulation.violation import Violation

__all__ = ["play", "rebuild_runs", "shared"]


@contextmanager
def shared(dsn: str, mutant: Mutant | None = None) -> Iterator[Shared]:
    """Yield what seeds share: a database, with a mutant's changes to its functions in force."""
    with simulation_database(dsn, mutant.sql if mutant else None) as database:
        state = Shared(database=database)
        try:
            yield state
        finally:
            for connection in [*state.connections, *([state.approver] if state.approver else [])]:
                connection.close()


def play(
    dsn: str, seeds: Sequence[int], *, mutant: Mutant | None = None, progress: Callable[[int], None] | None = None
) -> Found:
    """Play seeds until one violates an invariant.

    Args:
        dsn: a superuser's, of the server to make the database on.
        seeds: which.
        mutant: the mistake whose SQL is put in; its Python must have been installed before this module was imported.
        progress: told after each seed how many were played.
    """
    switches = Switches(saver=mutant is None or "saver" not in mutant.removed)
    began = time.monotonic()
    with shared(dsn, mutant) as state:
        for played, seed in enumerate(seeds, start=1):
            try:
                Simulation(seed, state, switches).play()
            except Violation as violation:
                seconds = time.monotonic() - began
                return Found(played=played, seconds=seconds, seed=seed, violation=str(violation))
            if progress is not None:
                progress(played)
    return Found(played=len(seeds), seconds=time.monotonic() - began)


def rebuild_runs(dsn: str, runs: int, *, first: int = 0, progress: Callable[[int], None] | None = None) -> Found:
    """Play seeds until so many runs were put together from the trail alone, or one differs from what was seen of it.

    Args:
        dsn: a superuser's, of the server to make the database on.
        runs: how many.
        first: the first seed.
        progress: told after each seed how many more runs there were.
    """
    began, rebuilt = time.monotonic(), 0
    with shared(dsn) as state:
        for seed in count(first):
            simulation = Simulation(seed, state, Switches(remembers=True))
            try:
                simulation.play()
                more = compare_with_memory(simulation)
            except Violation as violation:
                seconds = time.monotonic() - began
                return Found(played=rebuilt, seconds=seconds, seed=seed, violation=str(violation))
            rebuilt += more
            if progress is not None:
                progress(more)
            if rebuilt >= runs:
                break
    return Found(played=rebuilt, seconds=time.monotonic() - began)
