"""Runs from trigger to outcome: done, parked, decided, repeated, refused."""

import operator
import threading
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphInterrupt
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from langgraph_control import Approvals, Control
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.errors import RunRefused, UnknownRun
from tests.support.desk import POLICY, Desk, How, Node, new_trigger, told
from tests.support.scripted_model import call, calls
from tests.support.waiting import until


class State(TypedDict):
    """A log that grows."""

    log: Annotated[list[Any], operator.add]


def side_by_side(desk: Desk, *nodes: Node, name: str = "nodes") -> Any:
    """Return a bound graph of nodes that run in one step."""
    builder: Any = StateGraph(State)
    for node in nodes:
        builder.add_node(node.__name__, node)
        builder.add_edge(START, node.__name__)
    return desk.control.bind(builder.compile(), name=name)


def test_an_allowed_write_happens_and_the_run_is_done(desk: Desk, how: How, trigger: str) -> None:
    """A run whose writes the policy allows ends done, with the graph's final values."""
    run = desk.run(desk.refunding(50), how, trigger=trigger)
    assert (run.state, str(run), run.next_step) == (RunState.DONE, "done", "")
    assert desk.done == ["o0:50"]
    assert told(run) == ["refunded 50"]
    assert run.output["messages"][-1].content == "done"


def test_the_ids_of_runs_are_ordered_by_time(desk: Desk, trigger: str) -> None:
    """Whoever starts later has the larger id, so that indexes by run grow at one end."""
    names = [desk.run(desk.refunding(50), trigger=f"{trigger}/{number}").id for number in range(5)]
    assert names == sorted(names)


def test_an_approval_from_elsewhere_lets_the_same_call_go_on(desk: Desk, how: How, trigger: str) -> None:
    """A parked run prints the command that approves it, does nothing before, and ends when run again after it."""
    graph = desk.refunding(500)
    run = desk.run(graph, how, trigger=trigger)
    (name,) = run.approvals
    assert str(run) == f"needs_approval - langgraph-control approve {name}"
    assert desk.done == []
    assert desk.run(graph, how, trigger=trigger).approvals == (name,)
    desk.approve(run.approvals)
    assert str(desk.run(graph, how, trigger=trigger)) == "done"
    assert desk.done == ["o0:500"]


def test_resume_by_name_goes_on_too(desk: Desk, how: How, trigger: str) -> None:
    """`resume` takes the printed name, finds the graph by its own, and drives the run to its end."""
    run = desk.run(desk.refunding(500), how, trigger=trigger)
    assert str(desk.resume(run, how)) == str(run)
    desk.approve(run.approvals)
    assert str(desk.resume(run, how)) == "done"
    assert str(desk.resume(run, how)) == "done"
    assert desk.done == ["o0:500"]


def test_another_process_can_resume(desk: Desk, how: How, trigger: str) -> None:
    """A Control that never saw the run drives it on, once it has bound a graph of that name."""
    run = desk.run(desk.refunding(500), how, trigger=trigger)
    desk.approve(run.approvals)
    other = Desk.on(desk.database)
    with other.control:
        with pytest.raises(RunRefused, match=r"bind\(graph, name='support'\)") as refused:
            other.resume(run, how)
        assert refused.value.code == "graph_not_bound"
        other.agent("done")
        assert str(other.resume(run, how)) == "done"
    assert (desk.done, other.done) == ([], ["o0:500"])


def test_a_rejection_reaches_the_model_with_its_comment(desk: Desk, how: How, trigger: str) -> None:
    """After a rejection the run goes on, nothing is done, and the model reads the comment."""
    graph = desk.refunding(500)
    run = desk.run(graph, how, trigger=trigger)
    desk.reject(run.approvals, comment="wrong order")
    run = desk.run(graph, how, trigger=trigger)
    assert str(run) == "done"
    assert desk.done == []
    (text,) = told(run)
    assert "rejected" in text
    assert "wrong order" in text


def test_several_requests_are_all_named(desk: Desk, trigger: str) -> None:
    """A run that waits for two decisions names both commands, and ends once both were taken."""
    graph = desk.refunding(500, 600)
    run = desk.run(graph, trigger=trigger)
    assert len(run.approvals) == 2
    assert all(f"langgraph-control approve {name}" in str(run) for name in run.approvals)
    desk.approve(run.approvals[:1])
    waiting = desk.run(graph, trigger=trigger)
    assert waiting.approvals == run.approvals[1:]
    assert len(desk.done) == 1
    desk.approve(waiting.approvals)
    assert str(desk.run(graph, trigger=trigger)) == "done"
    assert sorted(desk.done) == ["o0:500", "o1:600"]


def test_a_finished_runs_trigger_gives_its_result(desk: Desk, how: How, trigger: str) -> None:
    """The same delivery after the end drives nothing and returns what the first one did."""
    graph = desk.refunding(50)
    first = desk.run(graph, how, trigger=trigger)
    again = desk.run(graph, how, trigger=trigger, given={"messages": ["something else"]})
    assert (again.id, told(again)) == (first.id, told(first))
    assert desk.done == ["o0:50"]


def test_a_live_holder_is_waited_for(desk: Desk, how: How, trigger: str) -> None:
    """A second delivery while the first is being driven waits and returns the first one's result."""
    inside, go_on = threading.Event(), threading.Event()

    def work(_: State) -> dict[str, Any]:
        inside.set()
        assert go_on.wait(10)
        return {"log": ["worked"]}

    graph = side_by_side(desk, work)
    runs: list[Any] = []
    first = threading.Thread(target=lambda: runs.append(desk.run(graph, trigger=trigger, given={"log": []})))
    first.start()
    assert inside.wait(10)
    second = threading.Thread(target=lambda: runs.append(desk.run(graph, how, trigger=trigger, given={"log": ["x"]})))
    second.start()
    with pytest.raises(RunRefused) as refused:
        desk.control.resume(desk.control.get(trigger=trigger).id)
    assert refused.value.code == "run_not_parked"
    go_on.set()
    first.join(10)
    second.join(10)
    assert [run.output for run in runs] == [{"log": ["worked"]}] * 2
    assert len({run.id for run in runs}) == 1


def test_a_run_does_not_wait_for_itself(desk: Desk, trigger: str) -> None:
    """A node that runs its own trigger would wait forever for the run it is part of; it is refused instead."""

    def work(_: State) -> dict[str, Any]:
        with pytest.raises(RunRefused) as refused:
            desk.run(graph, trigger=trigger, given={"log": []})
        return {"log": [refused.value.code]}

    graph = side_by_side(desk, work)
    assert desk.run(graph, trigger=trigger, given={"log": []}).output == {"log": ["run_inside_itself"]}


def test_a_run_inside_another_is_a_run_of_its_own(desk: Desk, how: How, trigger: str) -> None:
    """A node may start another run: its writes belong to that one, and the outer run goes on as itself afterwards."""
    inner, refund = desk.refunding(50), desk.tool("refund")

    def work(_: State) -> dict[str, Any]:
        state = str(desk.run(inner, trigger=f"{trigger}/inner"))
        return {"log": [state, refund.invoke({"order_id": "outer", "amount": "60"})]}

    run = desk.run(side_by_side(desk, work), how, trigger=trigger, given={"log": []})
    assert run.output == {"log": ["done", "refunded 60"]}
    assert desk.done == ["o0:50", "outer:60"]


def test_many_workers_resume_one_approved_run(desk: Desk, trigger: str) -> None:
    """Four workers resume at one instant: one effect, and all four get the result."""
    run = desk.run(desk.refunding(500), trigger=trigger)
    desk.approve(run.approvals)
    workers = [
        Desk(database=desk.database, control=Control(POLICY, dsn=desk.database.agent), done=desk.done) for _ in "1234"
    ]
    together, ends = threading.Barrier(4), []

    def go(worker: Desk) -> None:
        worker.agent("done")
        together.wait(10)
        ends.append(worker.resume(run))

    threads = [threading.Thread(target=go, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for worker in workers:
        worker.control.close()
    assert [(str(end), told(end)) for end in ends] == [("done", ["refunded 500"])] * 4
    assert desk.done == ["o0:500"]


def test_a_thread_has_one_unfinished_run(desk: Desk, how: How, trigger: str) -> None:
    """A second run on a thread whose run waits is refused, naming the one that keeps it busy."""
    graph = desk.refunding(500)
    run = desk.run(graph, how, trigger=trigger, thread=f"chat {trigger}")
    with pytest.raises(RunRefused, match=run.id) as refused:
        desk.run(graph, how, trigger=new_trigger(), thread=f"chat {trigger}")
    assert refused.value.code == "thread_busy"


def test_runs_of_one_thread_share_its_messages_and_keep_their_own_ends(desk: Desk, how: How, trigger: str) -> None:
    """A later run sees the conversation; the earlier one's result stays what it was at its own end."""
    thread = f"chat {trigger}"
    graph = desk.agent("first answer", "second answer")
    first = desk.run(graph, how, trigger=trigger, thread=thread)
    second = desk.run(graph, how, trigger=new_trigger(), thread=thread)
    assert [message.content for message in second.output["messages"]][1::2] == ["first answer", "second answer"]
    again = desk.run(graph, how, trigger=trigger, thread=thread)
    assert (again.id, len(again.output["messages"])) == (first.id, 2)


def test_a_runs_own_thread_can_be_gone_on_with(desk: Desk, how: How, trigger: str) -> None:
    """A later run on the thread that an earlier one had for itself does not change what the earlier one gives."""
    graph = desk.agent("first answer", "second answer")
    first = desk.run(graph, how, trigger=trigger)
    second = desk.run(graph, how, trigger=new_trigger(), thread=first.thread)
    assert len(second.output["messages"]) == 4
    assert len(desk.control.get(first.id).output["messages"]) == 2


@pytest.mark.parametrize("differs", ["intent", "graph"])
def test_a_trigger_keeps_its_intent_and_graph(desk: Desk, trigger: str, differs: str) -> None:
    """A known trigger with another intent or another graph is refused."""
    desk.run(desk.refunding(50), trigger=trigger, intent="order/1")
    graph = desk.agent("done", name="other" if differs == "graph" else "support")
    with pytest.raises(RunRefused, match=f"another {differs}") as refused:
        desk.run(graph, trigger=trigger, intent="order/1" if differs == "graph" else "order/2")
    assert refused.value.code == "trigger_mismatch"


def test_two_triggers_of_one_intent_do_a_change_once(desk: Desk, trigger: str) -> None:
    """Two deliveries about one business request that ask for the same change get one effect and both its result."""
    first = desk.run(desk.refunding(50), trigger=trigger, intent=f"order of {trigger}")
    second = desk.run(desk.refunding(50), trigger=new_trigger(), intent=f"order of {trigger}")
    assert (told(first), told(second)) == (["refunded 50"], ["refunded 50"])
    assert desk.done == ["o0:50"]


def test_the_users_own_question_is_answered_by_id(desk: Desk, how: How, trigger: str) -> None:
    """The graph's own interrupt leaves the run waiting; `resume` with answers delivers it."""

    def ask(_: State) -> dict[str, Any]:
        return {"log": [interrupt("Which order?")]}

    run = desk.run(side_by_side(desk, ask), how, trigger=trigger, given={"log": []})
    assert (run.state, run.reason, list(run.questions.values())) == (RunState.WAITING, "question", ["Which order?"])
    (question,) = run.questions
    assert question in str(run)
    assert desk.resume(run, how).questions == run.questions
    assert desk.resume(run, how, {question: "the last"}).output == {"log": ["the last"]}


def test_a_question_beside_a_request_waits_for_each(desk: Desk, trigger: str) -> None:
    """A question and a request pending in one step are each settled by their own kind of answer."""
    refund = desk.tool("refund")

    def ask(_: State) -> dict[str, Any]:
        return {"log": [interrupt("Why?")]}

    def pay(_: State) -> dict[str, Any]:
        return {"log": [refund.invoke({"order_id": "o0", "amount": "500"})]}

    run = desk.run(side_by_side(desk, ask, pay), trigger=trigger, given={"log": []})
    assert (run.state, len(run.questions), len(run.approvals)) == (RunState.NEEDS_APPROVAL, 1, 1)
    run = desk.resume(run, answers={next(iter(run.questions)): "because"})
    assert (run.state, len(run.questions), desk.done) == (RunState.NEEDS_APPROVAL, 0, [])
    desk.approve(run.approvals)
    assert sorted(desk.resume(run).output["log"]) == ["because", "refunded 500"]


def test_a_graphs_error_is_raised_and_the_run_goes_on_later(desk: Desk, how: How, trigger: str) -> None:
    """What the graph raises reaches the caller with the run's name; the run is blocked, and the next call goes on."""
    broken = [True]

    def work(_: State) -> dict[str, Any]:
        if broken:
            broken.clear()
            raise ValueError("no such order")
        return {"log": ["worked"]}

    graph = side_by_side(desk, work)
    with pytest.raises(ValueError, match="no such order") as raised:
        desk.run(graph, how, trigger=trigger, given={"log": []})
    run = desk.control.get(trigger=trigger)
    assert (run.state, run.reason) == (RunState.BLOCKED, "the graph raised ValueError")
    assert run.id in raised.value.__notes__[-1]
    assert desk.run(graph, how, trigger=trigger, given={"log": []}).output == {"log": ["worked"]}


def test_a_swallowed_interrupt_blocks_the_run(desk: Desk, how: How, trigger: str) -> None:
    """A graph that catches our parking and ends is not done: the run is blocked and names the tool."""
    refund = desk.tool("refund")

    def careless(_: State) -> dict[str, Any]:
        try:
            return {"log": [refund.invoke({"order_id": "o0", "amount": "500"})]}
        except Exception:  # noqa: BLE001 - the mistake whose consequence is shown
            return {"log": ["went on"]}

    run = desk.run(side_by_side(desk, careless), how, trigger=trigger, given={"log": []})
    assert run.state is RunState.BLOCKED
    assert "refund" in run.reason
    assert (desk.done, run.output) == ([], None)


def test_a_decision_while_siblings_run_is_not_lost(desk: Desk, how: How, trigger: str) -> None:
    """A vote that lands while another node still works makes the same call go on to the end by itself."""
    refund = desk.tool("refund")

    def pay(_: State) -> dict[str, Any]:
        return {"log": [refund.invoke({"order_id": "o0", "amount": "500"})]}

    def work(_: State) -> dict[str, Any]:
        until(lambda: desk.control.get(trigger=trigger).approvals)
        desk.approve(desk.control.get(trigger=trigger).approvals)
        return {"log": ["worked"]}

    run = desk.run(side_by_side(desk, pay, work), how, trigger=trigger, given={"log": []})
    assert (str(run), sorted(run.output["log"])) == ("done", ["refunded 500", "worked"])


def test_a_decision_before_the_interrupt_is_stored_is_not_lost(desk: Desk, how: How, trigger: str) -> None:
    """A vote that lands before LangGraph has stored the interrupt makes the same call go on by itself."""
    refund = desk.tool("refund")

    def pay(_: State) -> dict[str, Any]:
        try:
            return {"log": [refund.invoke({"order_id": "o0", "amount": "500"})]}
        except GraphInterrupt:
            desk.approve(desk.control.get(trigger=trigger).approvals)
            raise

    run = desk.run(side_by_side(desk, pay), how, trigger=trigger, given={"log": []})
    assert (str(run), desk.done) == ("done", ["o0:500"])


def test_an_entrypoint_is_run_alike(desk: Desk, how: How, trigger: str) -> None:
    """The functional API's graphs run, park and end like any other."""
    refund = desk.tool("refund")

    @entrypoint()
    def flow(amount: str) -> str:
        return str(refund.invoke({"order_id": "o0", "amount": amount}))

    graph = desk.control.bind(flow, name="flow")
    run = desk.run(graph, how, trigger=trigger, given="500")
    desk.approve(run.approvals)
    assert desk.run(graph, how, trigger=trigger, given="500").output == "refunded 500"


def test_a_child_with_a_thread_of_its_own_belongs_to_the_run(desk: Desk, how: How, trigger: str) -> None:
    """A governed write in a child graph that has lost the parent's config still knows its run."""
    refund = desk.tool("refund")

    def pay(_: State) -> dict[str, Any]:
        return {"log": [refund.invoke({"order_id": "o0", "amount": "50"})]}

    builder: Any = StateGraph(State)
    builder.add_node("pay", pay)
    builder.add_edge(START, "pay")
    child = builder.compile(checkpointer=InMemorySaver())

    def parent(_: State) -> dict[str, Any]:
        config: Any = {"configurable": {"thread_id": f"child of {trigger}"}}
        return {"log": child.invoke({"log": []}, config, durability="sync")["log"]}

    run = desk.run(side_by_side(desk, parent), how, trigger=trigger, given={"log": []})
    assert (str(run), desk.done) == ("done", ["o0:50"])


def test_the_run_context_does_not_outlive_the_call(desk: Desk, trigger: str) -> None:
    """After a run, a governed write outside of one is refused, on the thread that drove it, too."""
    desk.run(desk.refunding(50), trigger=trigger)
    with pytest.raises(Exception, match=r"control\.run") as refused:
        desk.tool("refund").invoke({"order_id": "o9", "amount": "50"})
    assert getattr(refused.value, "code", "") == "no_run"
    assert desk.done == ["o0:50"]


def test_an_unknown_run_is_named(desk: Desk, how: How) -> None:
    """Resuming or reading a run that does not exist is an error of its own."""
    agent = desk.agent("done")
    assert agent
    for name in ("run_" + "0" * 32, "nonsense"):
        with pytest.raises(UnknownRun):
            desk.control.get(name)
        with pytest.raises(UnknownRun):
            desk.control.resume(name)
    with pytest.raises(UnknownRun):
        desk.control.get(trigger="never/seen")


def test_a_run_elsewhere_can_be_read_without_its_graph(desk: Desk, trigger: str) -> None:
    """`get` works in a process that has not bound the graph; only output and questions are missing then."""
    run = desk.run(desk.refunding(50), trigger=trigger)
    with Control(desk.control.policy, dsn=desk.database.agent) as other:
        seen = other.get(run.id)
    assert (seen.state, seen.trigger, seen.output) == (RunState.DONE, trigger, None)


def test_arguments_changed_after_the_approval_do_not_run(desk: Desk, trigger: str) -> None:
    """`update_state` swaps 500 for 600 under a grant: the write is asked for anew, the old grant unlocks nothing."""
    graph = desk.refunding(500)
    run = desk.run(graph, trigger=trigger)
    desk.approve(run.approvals)
    forged, config = desk.forged(graph, run)
    asked = forged.get_state(config).values["messages"][-1]
    swapped = calls(call("refund", order_id="o0", amount="600", call_id="call_0")).model_copy(update={"id": asked.id})
    forged.update_state(config, {"messages": [swapped]}, as_node="model")
    again = desk.run(graph, trigger=trigger)
    assert (again.state, desk.done) == (RunState.NEEDS_APPROVAL, [])
    assert set(again.approvals).isdisjoint(run.approvals)
    with Approvals(desk.database.approver("ana")) as approvals:
        assert approvals.get(run.approvals[0]).state == "superseded"
