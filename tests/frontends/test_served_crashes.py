"""A server killed in the middle of a governed run, stalled beyond its lease, or cancelled: who goes on with it."""

import asyncio
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_control.audit.asking.rows import RunState
from langgraph_control.guards.run_reasons import RunReason
from langgraph_control.server import checkpointer
from tests.graphs.test_crashes import let_leases_run_out
from tests.support.crashing_run import PLACES, build_served
from tests.support.desk import GO, Desk, How
from tests.support.front_desk import FrontDesk, agent
from tests.support.scripted_model import call, calls

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_server_is_succeeded(desk: Desk, how: How, trigger: str, place: str, tmp_path: Path) -> None:
    """Killed before the first checkpoint, between effect and record, or later: the thread's run goes on, once."""
    effects = tmp_path / "effects"
    effects.touch()
    command = [sys.executable, "-m", "tests.support.crashing_run", desk.database.agent, trigger, str(effects), place]
    died = subprocess.run([*command, trigger], cwd=ROOT, check=False, timeout=60, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    left = desk.control.get(trigger=trigger)
    let_leases_run_out(desk, left.id)
    graph, config = build_served(desk.control, effects), {"configurable": {"thread_id": trigger, "trigger": trigger}}
    again: Any = {"log": []} if how == "sync" else None  # its server tries its run again; or a client goes on with it
    values = graph.invoke(again, config) if how == "sync" else asyncio.run(graph.ainvoke(again, config))
    assert values == {"log": ["noted", "later"]}
    assert (left.state, desk.control.get(left.id).state) == (RunState.RUNNING, RunState.DONE)
    assert len(effects.read_text().splitlines()) == 1


def test_a_stalled_server_does_nothing_more(desk: Desk, how: How, trigger: str) -> None:
    """Stalled beyond its lease, it is stale: another process has the run, and its write is the only one."""
    other = Desk.on(desk.database)
    stalled: list[str] = []

    def served_by(worker: Desk) -> Any:
        refund = worker.tool("refund")

        def work(state: MessagesState) -> Any:
            if worker is desk and not stalled:
                stalled.append("for longer than the lease")
                let_leases_run_out(desk, desk.control.get(trigger=trigger).id)
                with ThreadPoolExecutor(1) as elsewhere:  # in no run's context, as another process is
                    elsewhere.submit(successor.call, {"messages": []}, trigger=trigger).result()
            return {"messages": [("user", refund.invoke({"order_id": "o0", "amount": "50"}))]}

        builder = StateGraph(MessagesState)
        builder.add_node("work", work)
        builder.add_edge(START, "work")
        return kept(FrontDesk.of(worker, builder.compile(), how, name="work"))

    successor, front = served_by(other), served_by(desk)
    successor.thread = front.thread
    with other.control:
        front.call({"messages": []}, trigger=trigger)
    assert [message.content for message in front.state.values["messages"]] == ["refunded 50"]
    assert (desk.done, other.done) == ([], ["o0:50"])


def test_a_worker_goes_on_with_a_servers_run(desk: Desk, how: How, trigger: str) -> None:
    """With the ledger's checkpointer a worker drives the run on after the vote, and the server's thread shows it."""
    asked = calls(call("refund", order_id="o0", amount="500"))
    made = agent(desk, asked, "done")
    desk.control.bind(made, name="support")
    front = kept(FrontDesk.of(desk, made, how))
    run = front.start(trigger)
    desk.approve(run.approvals)
    assert desk.resume(run, how).state is RunState.DONE
    assert desk.done == ["o0:500"]
    assert front.state.values["messages"][-1].content == "done"


def test_the_ledgers_checkpointer_may_be_another_controls(desk: Desk, how: How, trigger: str) -> None:
    """A server that loads the checkpointer by another Control, and wraps it, still has runs that know their lease."""
    other = Desk.on(desk.database)
    front = FrontDesk.refunding(desk, how, 50)
    with other.control:
        front.graph = front.graph.copy(update={"checkpointer": Wrapped(checkpointer(other.control))})
        front.call(GO, trigger=trigger)
    assert (desk.control.get(trigger=trigger).state, desk.done) == (RunState.DONE, ["o0:50"])


class Wrapped(BaseCheckpointSaver[Any]):
    """Passes on what it does not know, as the server's adapter does."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def test_a_cancelled_call_lets_the_run_go(desk: Desk, trigger: str) -> None:
    """A server that cancels its run leaves one that waits, and goes on when it is called without input."""
    started, waited = asyncio.Event(), asyncio.Event()

    async def work(state: MessagesState) -> Any:
        if not started.is_set():
            started.set()
            await waited.wait()
        return {"messages": [("ai", "worked")]}

    builder = StateGraph(MessagesState)
    builder.add_node("work", work)
    builder.add_edge(START, "work")
    front = FrontDesk.of(desk, builder.compile(), "async")
    config: Any = {"configurable": {"thread_id": front.thread, "trigger": trigger}}
    task = asyncio.create_task(front.graph.ainvoke(GO, config))
    await started.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    run = await desk.control.aget(trigger=trigger)
    assert (run.state, run.reason) == (RunState.WAITING, RunReason.STREAM_CLOSED)
    await front.graph.ainvoke(None, config)
    assert (await desk.control.aget(trigger=trigger)).state is RunState.DONE


def kept(front: FrontDesk) -> FrontDesk:
    """Have a front end's graph keep its checkpoints in the ledger's database."""
    front.graph = front.graph.copy(update={"checkpointer": checkpointer(front.desk.control)})
    return front
