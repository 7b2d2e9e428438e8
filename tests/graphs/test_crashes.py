"""A worker killed in the middle, and another that goes on: a real process, `kill -9`, the same trigger."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.names import run_id
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


def test_a_worker_that_lost_its_run_brings_the_other_ones_result(desk: Desk, how: How, trigger: str) -> None:
    """Stalled beyond its lease, it is stale: its write is not done, and it waits for whoever has the run now."""
    other = Desk.on(desk.database)
    stalled: list[str] = []

    def desk_of(worker: Desk) -> Any:
        refund = worker.tool("refund")

        def work(_: Any) -> dict[str, Any]:
            if worker is desk and not stalled:
                stalled.append("for longer than the lease")
                let_leases_run_out(desk, desk.control.get(trigger=trigger).id)
                other.run(graph_of_other, trigger=trigger, given={"messages": []})
            return {"messages": [("user", refund.invoke({"order_id": "o0", "amount": "50"}))]}

        builder: Any = StateGraph(MessagesState)
        builder.add_node("work", work)
        builder.add_edge(START, "work")
        return worker.control.bind(builder.compile(), name="work")

    graph_of_other = desk_of(other)
    with other.control:
        run = desk.run(desk_of(desk), how, trigger=trigger, given={"messages": []})
    assert (run.state, [message.content for message in run.output["messages"]]) == (RunState.DONE, ["refunded 50"])
    assert (desk.done, other.done) == ([], ["o0:50"])


def let_leases_run_out(desk: Desk, run: str) -> None:
    """Bring the moment at which the dead worker's leases, on the run and on its action, are over."""
    with psycopg.connect(desk.database.admin) as connection:
        connection.execute("UPDATE control.run_state SET lease_until = '-infinity' WHERE run_id = %s", (run_id(run),))
        connection.execute(
            "UPDATE control.action SET lease_until = clock_timestamp() WHERE run_id = %s AND lease_until IS NOT NULL",
            (run_id(run),),
        )
