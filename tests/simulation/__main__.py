"""``python -m tests.simulation``: many seeds, then every mutant; the exit code says whether all came out as it must."""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from tests.simulation.children import play_mutants, play_seeds
from tests.simulation.mutants import MUTANTS
from tests.support.postgres import DATA_VARIABLE, make_data_folder, server_dsn, template

MUTANT_SEEDS = 2000


def main() -> int:
    """Play and report."""
    arguments = _arguments()
    folder = make_data_folder(in_memory=True)
    os.environ.setdefault(DATA_VARIABLE, str(folder))
    try:
        with server_dsn() as dsn:
            template(dsn)  # once, before several processes want it
            if arguments.rebuild:
                return _rebuild(dsn, arguments)
            violated = False if arguments.seeds == 0 else _play(dsn, arguments)
            survived = False if arguments.no_mutants else _kill(dsn, arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if violated or survived else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to play")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=max(2, os.cpu_count() or 2), help="processes at once")
    parser.add_argument("--no-mutants", action="store_true", help="play the seeds alone")
    parser.add_argument("--mutants", default="", metavar="TEXT", help="only those with this in their names")
    parser.add_argument("--rebuild", type=int, default=0, metavar="RUNS", help="instead: rebuild runs from the trail")
    return parser.parse_args()


def _play(dsn: str, arguments: argparse.Namespace) -> bool:
    print(f"{arguments.seeds} seeds in {arguments.jobs} processes", flush=True)
    progress = _Progress(arguments.seeds)
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    found = play_seeds(dsn, seeds, arguments.jobs, progress)
    violations = [one for one in found if one.seed is not None]
    played = sum(one.played for one in found)
    print(f"\nseeds: {played} played, {len(violations)} violations, {progress.seconds:.0f} s", flush=True)
    for one in violations:
        print(f"  seed {one.seed}: {one.violation}")
    return bool(violations) or played < arguments.seeds


def _rebuild(dsn: str, arguments: argparse.Namespace) -> int:
    from tests.simulation.runner import rebuild_runs  # not above: a mutant's process imports this module, too

    found = rebuild_runs(dsn, arguments.rebuild, first=arguments.first, progress=_Progress(arguments.rebuild, "runs"))
    print(f"rebuilt from the trail alone: {found.played} runs, {found.seconds:.0f} s", flush=True)
    if found.seed is not None:
        print(f"  seed {found.seed}: {found.violation}")
    return 1 if found.seed is not None else 0


def _kill(dsn: str, arguments: argparse.Namespace) -> bool:
    chosen = [number for number, mutant in enumerate(MUTANTS) if arguments.mutants in mutant.name]
    print(f"{len(chosen)} mutants, at most {MUTANT_SEEDS} seeds each", flush=True)
    results = play_mutants(dsn, chosen, range(MUTANT_SEEDS), arguments.jobs, _Progress(0))
    print(f"\n{'layer':14} {'seed':>6}  mutant → what the simulation saw")
    for number, found in results:
        mutant, seed = MUTANTS[number], "ALIVE" if found.seed is None else str(found.seed)
        without = f" (without: {', '.join(mutant.removed)})" if mutant.removed else ""
        print(f"{mutant.layer:14} {seed:>6}  {mutant.name}{without} → {found.violation[:90] or '-'}")
    alive = [number for number, found in results if found.seed is None]
    print(f"mutants: {len(results)} played, {len(alive)} alive", flush=True)
    return bool(alive)


class _Progress:
    """A line that grows, for people who wait."""

    def __init__(self, of: int, what: str = "seeds") -> None:
        self._of, self._what, self._played, self._began = of, what, 0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def __call__(self, more: int) -> None:
        self._played += more
        rate = self._played / max(self.seconds, 0.001)
        of = f" of {self._of}" if self._of else ""
        print(f"  {self._played}{of} {self._what}, {rate:.0f} {self._what}/s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    sys.exit(main())
