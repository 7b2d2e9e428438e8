"""``python -m tests.loss --entries 100000``: the loss suite at length.

A sink that refuses one span in a thousand, answers 503 now and then, and hangs up in the middle; and an exporter that
is killed with ``kill -9`` at one step after the other, then ever later, until one comes to its end.
"""

import argparse
import os
import shutil
import sys
import time

from tests.loss.judge import expected, nothing_is_lost
from tests.loss.test_loss import killed_again_and_again
from tests.support.collector import collector
from tests.support.many_runs import copy_run
from tests.support.postgres import DATA_VARIABLE, cloned, make_data_folder, server_dsn, template
from tests.support.trails import TrailWriter

ENTRIES_PER_RUN = 9


def main() -> None:
    """Fill a ledger, kill exporters, and judge what arrived."""
    parser = argparse.ArgumentParser(prog="python -m tests.loss")
    parser.add_argument("--entries", type=int, default=100_000)
    entries: int = parser.parse_args().entries
    folder = make_data_folder()
    os.environ[DATA_VARIABLE] = str(folder)
    began = time.monotonic()
    try:
        with server_dsn() as dsn, cloned(dsn, template(dsn)) as database, collector() as place:
            with TrailWriter(database) as trail:
                trail.publish()
                run = trail.refund()
            copy_run(database, run.run_id, entries // ENTRIES_PER_RUN)
            wanted = sorted(expected(database))
            bad = set(wanted[::1000])
            place.refuses = lambda span: (span.trace_id, span.span_id) in bad
            place.status = lambda number: 503 if number % 50 == 49 else 200
            place.drop = lambda number: number % 70 == 69
            killed = killed_again_and_again(database, place, batch=512, one_by_one=25)
            nothing_is_lost(database, place, refused=bad)
            sys.stdout.write(
                f"{len(wanted):,} spans of {entries:,} entries: {len(place.once):,} arrived, each once after"
                f" de-duplication ({len(place.arrived) - len(place.once):,} came twice), each run's in order;"
                f" {len(bad)} were refused and kept apart; {killed} exporters were killed;"
                f" {time.monotonic() - began:.0f} s.\n"
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
