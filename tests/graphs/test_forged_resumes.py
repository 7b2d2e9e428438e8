"""What somebody can do who has the checkpointer and the thread's id, but no run: nothing."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from langgraph.types import Command

from langgraph_control import Run
from langgraph_control.audit.asking.requests import RunEntries
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.errors import NoRun
from tests.support.desk import Desk, How
from tests.support.scripted_model import call, calls

ANOTHER = {"messages": [calls(call("refund", order_id="o0", amount="600", call_id="call_0"))]}

FORGERIES: dict[str, Callable[[str], Any]] = {
    "plain": lambda _: Command(resume="approved"),
    "by id": lambda pending: Command(resume={pending: {"approved": True}}),
    "our own wake-up": lambda pending: Command(resume={pending: {"control": "0" * 64}}),
    "stale id": lambda _: Command(resume={"0" * 32: "approved"}),
    "none": lambda _: None,
}


def parked(desk: Desk, trigger: str) -> tuple[Any, Run]:
    """Return an agent and its run, which waits for an approval."""
    graph = desk.refunding(500)
    return graph, desk.run(graph, trigger=trigger)


def noted(desk: Desk, run: Run) -> list[str]:
    """Return why resumes of a run were ignored, in their order."""
    with LedgerConnection(desk.database.agent) as ledger:
        entries = ledger.ask(RunEntries(run_id=run_id(run.id), after=0, limit=1000))
    facts = [orjson.loads(entry.facts) for entry in entries]
    return [fact["reason"] for fact in facts if "resume.ignored" in fact["events"]]


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_resume_does_nothing(desk: Desk, trigger: str, forgery: str) -> None:
    """Resuming the thread directly through LangGraph reaches the gate without a run, and the run stays as it was."""
    graph, run = parked(desk, trigger)
    forged, config = desk.forged(graph, run)
    (pending,) = forged.get_state(config).interrupts
    with pytest.raises(NoRun):
        forged.invoke(FORGERIES[forgery](pending.id), config, durability="sync")
    assert desk.done == []
    assert desk.control.get(run.id).approvals == run.approvals
    # The forged answer lies ready in the thread now; driven on by its rightful driver, the call meets it and waits.
    again = desk.run(graph, trigger=trigger)
    assert (again.state, again.approvals, desk.done) == (RunState.NEEDS_APPROVAL, run.approvals, [])
    desk.approve(run.approvals)
    assert str(desk.run(graph, trigger=trigger)) == "done"
    assert desk.done == ["o0:500"]


@pytest.mark.parametrize("named", ["{}", "{}/1", "{}/2", "{}/99"])
def test_a_run_named_in_the_config_must_be_driven_here(desk: Desk, trigger: str, named: str) -> None:
    """Naming the run in the config, as we do, helps nobody: this process does not hold its lease."""
    graph, run = parked(desk, trigger)
    forged, config = desk.forged(graph, run)
    config["configurable"]["__control_run"] = named.format(run_id(run.id))
    with pytest.raises(Exception, match=r"not driven by this process|lease") as refused:
        forged.invoke(Command(resume="approved"), config, durability="sync")
    assert refused.type.__name__ in {"NoRun", "RunTakenOver"}
    assert desk.done == []


@pytest.mark.parametrize("approved", [False, True], ids=["not approved", "approved"])
def test_a_resume_with_an_update_swaps_nothing(desk: Desk, trigger: str, approved: bool) -> None:  # noqa: FBT001 - a table
    """`Command(resume=, update=)` cannot slip another amount under a request, granted or not."""
    graph, run = parked(desk, trigger)
    if approved:
        desk.approve(run.approvals)
    forged, config = desk.forged(graph, run)
    with pytest.raises(NoRun):
        forged.invoke(Command(resume="approved", update=ANOTHER), config, durability="sync")
    assert desk.done == []
    assert "o0:600" not in desk.done


def test_a_resume_after_the_end_does_nothing(desk: Desk, trigger: str) -> None:
    """A stale resume of a finished thread runs nothing."""
    graph, run = parked(desk, trigger)
    desk.approve(run.approvals)
    assert desk.run(graph, trigger=trigger).state is RunState.DONE
    forged, config = desk.forged(graph, run)
    forged.invoke(Command(resume="approved"), config, durability="sync")
    assert desk.done == ["o0:500"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"approved": True}, "no_decision"),
        ("approved", "no_decision"),
        ({"decision": "approve"}, "digest_missing"),
        ({"decision": "approve", "digest": "0" * 64}, "not_authenticated"),
    ],
    ids=["no decision", "a text", "without a digest", "by nobody"],
)
def test_answers_for_our_own_requests_are_ignored(desk: Desk, how: How, trigger: str, answer: Any, why: str) -> None:
    """`resume(answers=…)` that names a request's interrupt decides nothing, and is on record: only votes decide."""
    graph, run = parked(desk, trigger)
    forged, config = desk.forged(graph, run)
    (pending,) = forged.get_state(config).interrupts
    again = desk.resume(run, how, answers={pending.id: answer})
    assert (again.state, again.approvals, desk.done) == (RunState.NEEDS_APPROVAL, run.approvals, [])
    assert noted(desk, run) == [why]


def test_answers_to_what_does_not_wait_are_no_attempts(desk: Desk, how: How, trigger: str) -> None:
    """An interrupt that is not pending here, or none at all: nothing is decided, and there is nothing to note."""
    _, run = parked(desk, trigger)
    for answers in ({"0" * 32: "approved"}, {}, None):
        assert desk.resume(run, how, answers=answers).state is RunState.NEEDS_APPROVAL
    assert noted(desk, run) == []
