"""Checkpoints are a cache of progress and no authority: lost or rolled back, nothing is done twice or unasked."""

import operator
from typing import Annotated, Any, TypedDict

import psycopg
import pytest
from langgraph.graph import START, StateGraph

from langgraph_control import Run
from langgraph_control.audit.asking.rows import RunState
from tests.support.desk import Desk


class State(TypedDict):
    """A log that grows."""

    log: Annotated[list[Any], operator.add]


def two_refunds(desk: Desk) -> Any:
    """Return a bound graph with one refund that is allowed and, after it, one that has to be approved."""
    refund = desk.tool("refund")

    def small(state: State) -> dict[str, Any]:
        return {"log": [refund.invoke({"order_id": "o1", "amount": "50"})]}

    def large(state: State) -> dict[str, Any]:
        return {"log": [refund.invoke({"order_id": "o2", "amount": "500"})]}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    builder.add_node("small", small)
    builder.add_node("large", large)
    builder.add_edge(START, "small")
    builder.add_edge("small", "large")
    return desk.control.bind(builder.compile(), name="two")


LOSSES = {
    "all": "DELETE FROM control_checkpoints.checkpoints WHERE thread_id = %s",
    "the newest": "DELETE FROM control_checkpoints.checkpoints WHERE thread_id = %s AND checkpoint_id ="
    " (SELECT max(checkpoint_id) FROM control_checkpoints.checkpoints c WHERE c.thread_id = checkpoints.thread_id)",
    "what was written since": "DELETE FROM control_checkpoints.checkpoint_writes WHERE thread_id = %s",
}


def lose(desk: Desk, run: Run, what: str) -> None:
    """Lose a run's checkpoints, as a restore of them alone would, on the agent's own login."""
    with psycopg.connect(desk.database.agent) as agent:
        agent.execute(LOSSES[what].encode(), (run.thread,))


@pytest.mark.parametrize("what", LOSSES)
def test_what_was_done_is_not_done_again(desk: Desk, trigger: str, what: str) -> None:
    """A run whose checkpoints are lost goes on from what the ledger knows: nothing twice, nothing without the vote."""
    graph = two_refunds(desk)
    run = desk.run(graph, trigger=trigger, given={"log": []})
    assert (run.state, desk.done) == (RunState.NEEDS_APPROVAL, ["o1:50"])
    lose(desk, run, what)
    again = desk.run(graph, trigger=trigger, given={"log": []})
    assert (again.state, again.approvals, desk.done) == (RunState.NEEDS_APPROVAL, run.approvals, ["o1:50"])
    desk.approve(run.approvals)
    lose(desk, run, what)
    ended = desk.run(graph, trigger=trigger, given={"log": []})
    assert (ended.state, ended.output) == (RunState.DONE, {"log": ["refunded 50", "refunded 500"]})
    assert desk.done == ["o1:50", "o2:500"]


@pytest.mark.parametrize("what", LOSSES)
def test_a_finished_run_stays_finished(desk: Desk, trigger: str, what: str) -> None:
    """A run that is done is not run again for the lack of a checkpoint."""
    graph = two_refunds(desk)
    run = desk.run(graph, trigger=trigger, given={"log": []})
    desk.approve(run.approvals)
    desk.run(graph, trigger=trigger, given={"log": []})
    lose(desk, run, what)
    assert desk.run(graph, trigger=trigger, given={"log": []}).state is RunState.DONE
    assert desk.done == ["o1:50", "o2:500"]
