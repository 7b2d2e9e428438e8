"""What a governed call costs where a commit takes long: on a disk in the network, or with a replica that confirms it.

The bars hold against a floor that is little more than its two commits: a disk that flushes in no time makes it fast,
and the same gate expensive beside it. Here each flush of the log waits first (Postgres' ``commit_delay``), for both.
"""

from contextlib import ExitStack
from typing import Final

from bench.floor import FloorWorker
from bench.governed import governed_runs
from bench.ground import Ground
from bench.measuring import Figure, in_turn, p50_ms, rate, ratios
from langgraph_control.audit.connecting.store import Store

__all__ = ["LONGER_MS", "slow_commits_cost"]

LONGER_MS: Final = 1.0
WORKERS: Final = 8


def slow_commits_cost(ground: Ground, *, repetitions: int, calls: int, seconds: float) -> tuple[Figure, Figure, Figure]:
    """Return the floor's p50 (ms), the governed call's against it, and the governed rate against it at 8 callers.

    Args:
        ground: where the server runs.
        repetitions: of everything.
        calls: timed one after the other in one repetition.
        seconds: that all workers call for in one repetition.
    """
    place = ground.place("slow_commits")
    with ExitStack() as held:
        store = Store(place.agent)
        held.callback(store.close)
        floors = [held.enter_context(FloorWorker(place.agent)) for _ in range(WORKERS)]
        runs = governed_runs(store, WORKERS)
        for floor in floors:
            floor()
        held.enter_context(ground.longer_commits(LONGER_MS))
        taken = in_turn(
            repetitions,
            floor=lambda: p50_ms(floors[0], calls=calls),
            governed=lambda: p50_ms(runs[0], calls=calls),
            floors=lambda: rate(floors, seconds=seconds),
            runs=lambda: rate(runs, seconds=seconds),
        )
    return taken["floor"], ratios(taken["governed"], taken["floor"]), ratios(taken["runs"], taken["floors"])
