"""Plays seeds in several processes over one Postgres and reports what it finds."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.simulation.database import simulation_database
from tests.simulation.judge import Violation
from tests.simulation.mutants import Mutant, applied
from tests.simulation.scheduler import Shared, Simulation, Switches

__all__ = ["Found", "play_seeds", "play_shared", "shared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What playing seeds came to.

    Args:
        played: how many seeds.
        seconds: how long it took.
        seed: the first seed that violated something; None if none did.
        violation: what it violated.
    """

    played: int
    seconds: float
    seed: int | None = None
    violation: str = ""


@contextmanager
def shared(dsn: str, mutant: Mutant | None = None) -> Iterator[Shared]:
    """Yield what seeds share, with a mutant's changes to the SQL and the code in force."""
    with simulation_database(dsn, mutant.sql if mutant else None) as database, applied(mutant):
        state = Shared(database=database)
        try:
            yield state
        finally:
            for connection in [*state.connections, *([state.approver] if state.approver else [])]:
                connection.close()


def play_shared(seeds: Sequence[int], state: Shared, switches: Switches, progress: object = None) -> Found:
    """Play seeds one after the other until one violates an invariant."""
    began = time.monotonic()
    for played, seed in enumerate(seeds, start=1):
        try:
            Simulation(seed, state, switches).play()
        except Violation as violation:
            return Found(played=played, seconds=time.monotonic() - began, seed=seed, violation=str(violation))
        if callable(progress):
            progress(played)
    return Found(played=len(seeds), seconds=time.monotonic() - began)


def play_seeds(dsn: str, seeds: Sequence[int], *, mutant: Mutant | None = None, report: object = None) -> Found:
    """Play seeds in a database of their own, unchanged or with one mutant."""
    switches = Switches(saver=mutant is None or "saver" not in mutant.removed)
    with shared(dsn, mutant) as state:
        return play_shared(seeds, state, switches, report)


def _child(dsn: str, seeds: Sequence[int], results: "multiprocessing.Queue[Found]") -> None:
    results.put(play_seeds(dsn, seeds))


def play_in_processes(dsn: str, seeds: range, jobs: int) -> list[Found]:
    """Split the seeds over processes, each with a database of its own."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[Found] = context.Queue()
    children = [context.Process(target=_child, args=(dsn, seeds[job::jobs], results)) for job in range(jobs)]
    for child in children:
        child.start()
    found = [results.get() for _ in children]
    for child in children:
        child.join()
    return found
