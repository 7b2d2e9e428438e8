"""The short form of `make chaos`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 6
RUNS = 30


@pytest.mark.must_run_in_ci
@pytest.mark.timeout(240)
def test_killed_workers_and_a_restarted_server_break_no_promise() -> None:
    """Workers die under fire and Postgres is restarted: nothing is duplicated, lost, wrongly done or stuck."""
    play("--only", "calls", "--kills", str(KILLS))


@pytest.mark.must_run_in_ci
@pytest.mark.timeout(240)
def test_killed_workers_leave_no_run_lying() -> None:
    """Submitted runs are driven by whichever workers live; parked, expired or stuck ones end; the log agrees."""
    play("--only", "workers", "--runs", str(RUNS))


def play(*options: str) -> None:
    """Run one session with three processes; fail with all it said."""
    command = [sys.executable, "-m", "tests.chaos", "--workers", "3", *options]
    ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=230)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
