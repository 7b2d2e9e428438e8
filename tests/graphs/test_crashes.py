"""A worker killed in the middle, and another that goes on: a real process, `kill -9`, the same trigger."""

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from langgraph_control.audit.names import run_id
from langgraph_control.audit.rows import RunState
from tests.support.crashing_run import PLACES, build
from tests.support.desk import Desk, How

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_worker_is_succeeded(desk: Desk, how: How, trigger: str, place: str, tmp_path: Path) -> None:
    """Killed before the first checkpoint, between effect and record, or later: the run goes on, the effect is one."""
    effects = tmp_path / "effects"
    effects.touch()
    command = [sys.executable, "-m", "tests.support.crashing_run", desk.database.agent, trigger, str(effects), place]
    died = subprocess.run(command, cwd=ROOT, check=False, timeout=60, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    left = desk.control.get(trigger=trigger)
    assert left.state is RunState.RUNNING
    let_leases_run_out(desk, left.id)
    run = desk.run(build(desk.control, effects), how, trigger=trigger, given={"log": ["another delivery's"]})
    assert (run.id, run.output) == (left.id, {"log": ["noted", "later"]})
    assert len(effects.read_text().splitlines()) == 1


def let_leases_run_out(desk: Desk, run: str) -> None:
    """Bring the moment at which the dead worker's leases, on the run and on its action, are over."""
    with psycopg.connect(desk.database.admin) as connection:
        connection.execute("UPDATE control.run_state SET lease_until = '-infinity' WHERE run_id = %s", (run_id(run),))
        connection.execute(
            "UPDATE control.action SET lease_until = clock_timestamp() WHERE run_id = %s AND lease_until IS NOT NULL",
            (run_id(run),),
        )
