"""``python -m tests.chaos --kills 500``: real processes, real Postgres, `kill -9`; the billing service's log judges."""

import argparse
import random
import shutil
import sys
import time
from collections import Counter

from tests.chaos.conductor import Conductor
from tests.chaos.judge import Verdict, judge, look, told
from tests.chaos.world import world
from tests.support.postgres import make_data_folder

TOLD_MAX = 5


def main() -> int:
    """Run chaos, print what was found; 1 if any promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="workers to kill")
    parser.add_argument("--seed", type=int, default=None, help="draws plans, faults and deaths; by default a new one")
    parser.add_argument("--workers", type=int, default=4, help="processes at once")
    options = parser.parse_args()
    seed = random.randrange(2**31) if options.seed is None else options.seed
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    folder = make_data_folder()
    try:
        with world(folder) as place:
            say(f"seed {seed}: {options.kills} kills among {options.workers} workers")
            conductor = Conductor(place, seed=seed, workers=options.workers, kills=options.kills, say=say)
            conductor.run()
            found = look(place.database, place.billing.db)
            verdict = judge(found, conductor.reports, conductor.jobs.values(), place.database)
            _print_table(conductor, found.effects, place.billing.log(), verdict, time.monotonic() - began)
            for violation in verdict.violations[:TOLD_MAX]:
                print(f"\n{violation.what.upper()}  {violation.run}\n  {violation.why}")
                for line in told(place.database, violation.run) if violation.run else ():
                    print(f"    {line}")
            enough = conductor.score.kills >= options.kills
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not enough:
        print(f"only {conductor.score.kills} of {options.kills} kills in the time there was")
    return 1 if verdict.violations or not enough else 0


def _print_table(conductor: Conductor, effects: int, log: dict[str, int], verdict: Verdict, seconds: float) -> None:
    score = conductor.score
    states = Counter(report.state for report in conductor.reports.values())
    given_up = ", ".join(f"{count} {tool}" for tool, count in sorted(verdict.given_up.items()))
    handed = ", ".join(f"{count} {tool}" for tool, count in sorted(verdict.needs_human.items()))
    rows = {
        "kills": f"{score.kills} ({score.labelled} at a labelled point)",
        "restarts of Postgres": str(score.restarts),
        "deliveries": str(score.deliveries),
        "runs": f"{len(conductor.jobs)} ({', '.join(f'{count} {state}' for state, count in sorted(states.items()))})",
        "requests to the service": f"{log['requests']} ({log['dropped']} dropped without an answer)",
        "effects": str(effects),
        "duplicates": str(verdict.count("duplicate")),
        "lost": str(verdict.count("lost")),
        "wrongly done or undone": str(verdict.count("wrong") + verdict.count("unrecorded")),
        "stuck": str(verdict.count("stuck")),
        "broken chains": f"{verdict.count('chain')} of {verdict.entries} entries",
        "needs a person": handed or "none",
        "given up, and told so": given_up or "none",
        "seconds": f"{seconds:.0f}",
    }
    for name, text in rows.items():
        print(f"{name:<26}{text}")


if __name__ == "__main__":
    sys.exit(main())
