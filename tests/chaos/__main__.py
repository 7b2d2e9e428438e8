"""``python -m tests.chaos --kills 500``: real processes, real Postgres, `kill -9`; the billing service's log judges.

Twice over: processes that call ``control.run`` themselves, and workers that drive what others submitted.
"""

import argparse
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.chaos.conductor import Conductor
from tests.chaos.foreman import Foreman
from tests.chaos.judge import Verdict, happenings, judge, look, told
from tests.chaos.world import World, world
from tests.support.postgres import make_data_folder

TOLD_MAX = 5
RUNS_PER_KILL: Final = 4
SUBMITTING_SECONDS_PER_RUN: Final = 0.6  # on a machine that is busy with much else; a third of it on a free one
SUBMITTING_SECONDS_MIN: Final = 60.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for.

    Args:
        seed: draws plans, faults and deaths.
        workers: processes at once.
        kills: how many of those that call are to die.
        runs: how many are to be driven by workers.
    """

    seed: int
    workers: int
    kills: int
    runs: int


def main() -> int:
    """Run chaos, print what was found; 1 if any promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="processes to kill among those that call")
    parser.add_argument("--runs", type=int, default=None, help="runs for workers; by default four for each kill")
    parser.add_argument("--seed", type=int, default=None, help="draws plans, faults and deaths; by default a new one")
    parser.add_argument("--workers", type=int, default=4, help="processes at once")
    parser.add_argument("--only", choices=sorted(SESSIONS), help="one of the two; by default both, one after the other")
    given = parser.parse_args()
    options = Options(
        seed=random.randrange(2**31) if given.seed is None else given.seed,
        workers=given.workers,
        kills=given.kills,
        runs=RUNS_PER_KILL * given.kills if given.runs is None else given.runs,
    )
    chosen = [given.only] if given.only else list(SESSIONS)
    return max([_session(name, options) for name in chosen])


def _session(name: str, options: Options) -> int:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    folder = make_data_folder()
    try:
        with world(folder) as place:
            session = SESSIONS[name](place, options, say)
            session.run()
            found = look(place.database, place.billing.db)
            verdict = judge(found, session.reports, session.jobs.values(), place.database)
            _print_table(session, found.effects, place, verdict, time.monotonic() - began)
            for violation in verdict.violations[:TOLD_MAX]:
                print(f"\n{violation.what.upper()}  {violation.run}\n  {violation.why}")
                for line in told(place.database, violation.run) if violation.run else ():
                    print(f"    {line}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if session.missing:
        print(f"not all in the time there was: {session.missing}")
    print()
    return 1 if verdict.violations or session.missing else 0


def _calls(place: World, options: Options, say: Say) -> Conductor:
    say(f"seed {options.seed}: {options.kills} kills among {options.workers} processes that call")
    return Conductor(place, seed=options.seed, workers=options.workers, kills=options.kills, say=say)


def _workers(place: World, options: Options, say: Say) -> Foreman:
    say(f"seed {options.seed}: {options.runs} runs submitted to {options.workers} workers")
    seconds_max = max(SUBMITTING_SECONDS_MIN, options.runs * SUBMITTING_SECONDS_PER_RUN)
    return Foreman(
        place, seed=options.seed, workers=options.workers, runs=options.runs, seconds_max=seconds_max, say=say
    )


SESSIONS: Final[Mapping[str, Callable[[World, Options, Say], Conductor | Foreman]]] = {
    "calls": _calls,
    "workers": _workers,
}


def _print_table(session: Conductor | Foreman, effects: int, place: World, verdict: Verdict, seconds: float) -> None:
    score, log = session.score, place.billing.log()
    states = Counter(report.state for report in session.reports.values())
    rows = {
        "kills": f"{score.kills} ({score.labelled} at a labelled point)",
        "restarts of Postgres": str(score.restarts),
        "deliveries": str(score.deliveries),
        "runs": f"{len(session.jobs)} ({_listed(states)})",
        "what happened to them": _listed(happenings(place.database)),
        "requests to the service": f"{log['requests']} ({log['dropped']} dropped without an answer)",
        "effects": str(effects),
        "duplicates": str(verdict.count("duplicate")),
        "lost": str(verdict.count("lost")),
        "wrongly done or undone": str(verdict.count("wrong") + verdict.count("unrecorded")),
        "stuck": str(verdict.count("stuck")),
        "broken chains": f"{verdict.count('chain')} of {verdict.entries} entries",
        "steps of sagas, as listed": str(verdict.listed),
        "needs a person": _listed(verdict.needs_human) or "none",
        "given up, and told so": _listed(verdict.given_up) or "none",
        "seconds": f"{seconds:.0f}",
    }
    for name, text in rows.items():
        print(f"{name:<26}{text}")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main())
