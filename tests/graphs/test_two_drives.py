"""Two drives of one run in one process: a worker that stalled, and whoever took the run over meanwhile."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_control import Run
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.names import run_id
from langgraph_control.nodes.bubbles import RunTakenOver
from tests.graphs.test_crashes import let_leases_run_out
from tests.support.desk import Desk, How
from tests.support.waiting import until

SECONDS_MAX = 30


@dataclass(kw_only=True)
class Worker:
    """What one drive's model waits for, and whether its write was refused."""

    thinking: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)
    writes: bool = True
    refused: list[type[BaseException]] = field(default_factory=list)


@dataclass(kw_only=True)
class Stage:
    """A run that is driven twice at once: what the first drive's model asks for is not what the second's does."""

    desk: Desk
    how: How
    trigger: str
    zombie: Worker = field(default_factory=Worker)
    successor: Worker = field(default_factory=Worker)
    drives: list[Future[Run]] = field(default_factory=list)

    def graph(self) -> Any:
        """Return a graph whose only node thinks, then refunds an order named after the drive."""
        refund, coming = self.desk.tool("refund"), iter([("zombie", self.zombie), ("successor", self.successor)])

        def think(_: Any) -> dict[str, Any]:
            name, worker = next(coming)
            worker.thinking.set()
            assert worker.may_answer.wait(SECONDS_MAX)
            if not worker.writes:
                return {"messages": [("user", f"from the {name}")]}
            try:
                return {"messages": [("user", refund.invoke({"order_id": name, "amount": "50"}))]}
            except BaseException as error:
                worker.refused.append(type(error))
                raise

        builder: Any = StateGraph(MessagesState)
        builder.add_node("think", think)
        builder.add_edge(START, "think")
        return self.desk.control.bind(builder.compile(), name="thinking")

    def begin(self, threads: ThreadPoolExecutor) -> None:
        """Bring about that the first drive has lost its lease while its model thinks, and the second one's thinks."""
        graph = self.graph()
        for worker in (self.zombie, self.successor):
            self.drives.append(
                threads.submit(self.desk.run, graph, self.how, trigger=self.trigger, given={"messages": []})
            )
            assert worker.thinking.wait(SECONDS_MAX)
            if worker is self.zombie:
                let_leases_run_out(self.desk, self.desk.control.get(trigger=self.trigger).id)

    def end(self) -> list[Run]:
        """Let the second drive come to its end, and return what both calls brought."""
        self.successor.may_answer.set()
        return [drive.result(SECONDS_MAX) for drive in self.drives]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """A thread for each drive."""
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def stage(desk: Desk, how: How, trigger: str) -> Iterator[Stage]:
    """A run that nobody drives yet; at the end, nothing is left waiting."""
    made = Stage(desk=desk, how=how, trigger=trigger)
    yield made
    made.zombie.may_answer.set()
    made.successor.may_answer.set()


def test_a_zombie_writes_nothing_under_its_successors_lease(stage: Stage, threads: ThreadPoolExecutor) -> None:
    """A drive that lost its run in this very process is refused as taken over: one effect, the successor's."""
    stage.begin(threads)
    stage.zombie.may_answer.set()
    until(lambda: stage.zombie.refused or stage.desk.done)
    assert (stage.zombie.refused, stage.desk.done) == ([RunTakenOver], [])
    for run in stage.end():
        assert (run.state, [message.content for message in run.output["messages"]]) == (RunState.DONE, ["refunded 50"])
    assert stage.desk.done == ["successor:50"]


def test_a_zombies_checkpoint_is_refused(
    stage: Stage, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a drive that lost its run would leave on the thread is not stored, while its successor's lease is alive."""
    refused: list[RunTakenOver] = []

    def refusal() -> RunTakenOver:
        refused.append(RunTakenOver())
        return refused[-1]

    monkeypatch.setattr(stage.desk.control._ledger.runs().saver, "_refused", refusal)
    stage.zombie.writes = False
    stage.begin(threads)
    stage.zombie.may_answer.set()
    until(lambda: refused)
    for run in stage.end():
        assert [message.content for message in run.output["messages"]] == ["refunded 50"]
    assert stage.desk.done == ["successor:50"]


def test_a_zombie_that_leaves_takes_nothing_with_it(stage: Stage, threads: ThreadPoolExecutor) -> None:
    """The end of the older lease leaves the newer one held, and the run counts as driven here."""
    stage.begin(threads)
    leases, run = stage.desk.control._ledger.runs().leases, run_id(stage.desk.control.get(trigger=stage.trigger).id)
    older, newer = sorted(token for held, token in leases._held if held == run)
    assert (leases.alive(run, older), leases.alive(run, newer)) == (False, True)
    leases.drop(run, older)
    assert (leases.alive(run, newer), leases.driven(run)) == (True, True)
    stage.zombie.may_answer.set()
    assert all(run.state is RunState.DONE for run in stage.end())
