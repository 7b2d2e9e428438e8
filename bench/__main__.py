"""``python -m bench``: measure and print the table. It ends with 0, for it is a report and not a gate."""

import argparse
import os
import sys
import time

from bench.ground import ground
from bench.scenarios import FULL, QUICK, scenarios
from bench.table import Line, rendered


def main() -> None:
    """Measure everything, or the scenarios that were named."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="What a governed write costs.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter measurements: some two minutes")
    parser.add_argument("--only", action="append", default=[], metavar="SCENARIO", help=", ".join(_names()))
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.only) - set(_names()))
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}")
    scale = QUICK if chosen.quick else FULL
    lines: list[Line] = []
    began, load = time.monotonic(), os.getloadavg()[0]
    with ground() as server:
        version = server.version
        for scenario in scenarios():
            if not chosen.only or scenario.__name__ in chosen.only:
                _say(f"{time.monotonic() - began:5.0f} s  {(scenario.__doc__ or '').splitlines()[0]}")
                lines += scenario(server, scale)
    sys.stdout.write(
        f"Postgres {version} with its default settings, {os.cpu_count()} CPUs, load average {load:.1f} before and"
        f" {os.getloadavg()[0]:.1f} after; medians of {scale.repetitions} or more alternating repetitions.\n"
        "g2: INSERT … ON CONFLICT + commit, no-op tool, UPDATE + commit; prepared, autocommit, no audit.\n\n"
        f"{rendered(lines)}\n"
    )
    if any(line.bar and not line.bar.met(line.figure) for line in lines):
        sys.stdout.write("\nOn a machine that others use, too, run it again before believing a bar is missed.\n")


def _names() -> list[str]:
    return [scenario.__name__ for scenario in scenarios()]


def _say(progress: str) -> None:
    sys.stderr.write(f"{progress}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
