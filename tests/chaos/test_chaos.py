"""The short form of `make chaos`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 6


@pytest.mark.ci
@pytest.mark.timeout(240)
def test_killed_workers_and_a_restarted_server_break_no_promise() -> None:
    """Workers die under fire and Postgres is restarted: nothing is duplicated, lost, wrongly done or stuck."""
    command = [sys.executable, "-m", "tests.chaos", "--kills", str(KILLS), "--workers", "3"]
    ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=230)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
