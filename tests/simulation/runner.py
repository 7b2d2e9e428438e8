"""Plays seeds, one after the other, in a database of their own."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.simulation.database import simulation_database
from tests.simulation.found import Found
from tests.simulation.judge import Violation
from tests.simulation.mutants import Mutant
from tests.simulation.scheduler import Shared, Simulation, Switches

__all__ = ["play", "shared"]


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
