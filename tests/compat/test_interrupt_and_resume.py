"""What `interrupt()` and a resume do, and how a resume can go to the wrong question."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.config import get_config
from langgraph.errors import GraphInterrupt, UnknownInterruptError
from langgraph.types import Command, interrupt

from tests.compat.building import State, Update, answers_of, around, chain, fan, ids, inside, on, questions

FORGED = "0" * 32  # has the form of an interrupt id, belongs to none


def test_a_node_runs_again_from_its_start_on_resume(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Code before `interrupt()` runs once more for every resume."""
    runs: list[str] = []

    def ask(_: State) -> Update:
        runs.append("before")
        return {"value": [interrupt("first"), interrupt("second")]}

    graph = chain(saver, ask)
    graph.invoke({}, config)
    graph.invoke(Command(resume=1), config)
    assert graph.invoke(Command(resume=2), config)["value"] == [1, 2]
    assert runs == ["before"] * 3


def test_unanswered_siblings_run_again_too(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Answering one of two parallel interrupts re-runs the other's node, which then parks again."""
    runs: list[str] = []

    def left(_: State) -> Update:
        runs.append("left")
        return {"log": [interrupt("left?")]}

    def right(_: State) -> Update:
        runs.append("right")
        return {"log": [interrupt("right?")]}

    graph = fan(saver, left, right)
    graph.invoke({}, config)
    graph.invoke(Command(resume={ids(graph, config)["left?"]: "yes"}), config)
    assert sorted(runs) == ["left", "left", "right", "right"]
    assert questions(graph, config) == ["right?"]


def test_a_finished_sibling_does_not_run_again(saver: PostgresSaver, config: RunnableConfig) -> None:
    """A node that finished beside an interrupted one keeps its writes and is not run on resume."""
    runs: list[str] = []

    def work(_: State) -> Update:
        runs.append("work")
        return {"log": ["work"]}

    def ask(_: State) -> Update:
        return {"log": [interrupt("?")]}

    graph = fan(saver, work, ask)
    graph.invoke({}, config, durability="sync")
    assert sorted(graph.invoke(Command(resume="yes"), config, durability="sync")["log"]) == ["work", "yes"]
    assert runs == ["work"]


def test_an_interrupt_id_knows_nothing_of_the_payload(saver: PostgresSaver, config: RunnableConfig) -> None:
    """The same task asking something else at the same position has the same interrupt id."""
    asked = iter(["Pay 1?", "Pay 1000000?"])

    def ask(_: State) -> Update:
        return {"value": interrupt(next(asked))}

    graph = chain(saver, ask)
    graph.invoke({}, config)
    first = ids(graph, config)
    graph.invoke(None, config)
    second = ids(graph, config)
    assert list(first) == ["Pay 1?"]
    assert list(second) == ["Pay 1000000?"]
    assert list(first.values()) == list(second.values())


def test_answers_are_positional(saver: PostgresSaver, config: RunnableConfig) -> None:
    """An `interrupt()` skipped on re-execution leaves its answer to the next, different question."""
    ledger: list[str] = []

    def ask(_: State) -> Update:
        if not ledger:
            ledger.append(interrupt("first"))
        return {"value": interrupt("second")}

    graph = chain(saver, ask)
    graph.invoke({}, config)
    graph.invoke(Command(resume="answer to first"), config)
    assert graph.invoke(Command(resume="answer to second"), config)["value"] == "answer to first"


def test_an_answer_without_an_id_can_be_looked_at(saver: PostgresSaver, config: RunnableConfig) -> None:
    """What was answered to nobody in particular is told without being taken, before a question takes it."""
    seen: list[Any] = []

    def ask(_: State, config: RunnableConfig) -> Update:
        seen.append(inside(config)["__pregel_scratchpad"].get_null_resume(consume=False))
        return {"value": interrupt("which?")}

    graph = chain(saver, ask)
    graph.invoke({}, config)
    assert graph.invoke(Command(resume="this"), config)["value"] == "this"
    assert seen == [None, "this"]


def test_replaying_the_stored_answers_first_keeps_positions(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Calling `interrupt()` once per stored answer consumes it, so that the next question is really asked."""

    def ask(_: State, config: RunnableConfig) -> Update:
        if stored := list(answers_of(config)):
            assert [interrupt("replayed") for _ in stored] == stored
            return {"value": interrupt("a question of its own")}
        interrupt("the gate's")
        return {}

    graph = chain(saver, ask)
    graph.invoke({}, config)
    graph.invoke(Command(resume={ids(graph, config)["the gate's"]: {"control": "key"}}), config)
    assert questions(graph, config) == ["a question of its own"]


def test_stored_answers_are_one_list_per_execution(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`__pregel_scratchpad.resume` lists this task's answers so far, in a new list for each execution."""
    seen: list[list[Any]] = []
    scratchpads: list[Any] = []

    def ask(_: State, config: RunnableConfig) -> Update:
        scratchpads.append(inside(config)["__pregel_scratchpad"])
        answers = answers_of(config)
        seen.append(list(answers))
        interrupt("first")
        assert inside(get_config())["__pregel_scratchpad"] is scratchpads[-1]
        interrupt("second")
        seen.append(list(answers))  # the same list grows as answers are consumed
        return {}

    graph = chain(saver, ask)
    graph.invoke({}, config)
    graph.invoke(Command(resume="A"), config)
    graph.invoke(Command(resume="B"), config)
    assert seen == [[], [], ["A"], ["A", "B"]]
    assert len({id(scratchpad) for scratchpad in scratchpads}) == 3


def test_a_map_answer_is_in_the_list_from_the_start(saver: PostgresSaver, config: RunnableConfig) -> None:
    """An answer given by id map is already among the stored answers when the task starts; a plain one is not."""
    seen: list[list[Any]] = []

    def ask(_: State, config: RunnableConfig) -> Update:
        seen.append(list(answers_of(config)))
        interrupt("first")
        return {}

    graph = chain(saver, ask)
    graph.invoke({}, config)
    graph.invoke(Command(resume={ids(graph, config)["first"]: "A"}), config)
    assert seen == [[], ["A"]]


def test_a_stale_answer_by_id_answers_the_next_question(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Re-delivering the first question's answer under its id answers the second question."""

    def ask(_: State) -> Update:
        return {"value": [interrupt("first"), interrupt("second")]}

    graph = chain(saver, ask)
    graph.invoke({}, config)
    first = ids(graph, config)["first"]
    graph.invoke(Command(resume={first: "A"}), config)
    assert ids(graph, config)["second"] != first
    assert graph.invoke(Command(resume={first: "A"}), config)["value"] == ["A", "A"]


def test_only_strict_resume_refuses_a_stale_answer(saver: PostgresSaver, config: RunnableConfig) -> None:
    """With `__pregel_strict_resume` an answer to a question no longer pending is refused before anything runs."""
    runs: list[str] = []

    def ask(_: State) -> Update:
        runs.append("ask")
        return {"value": [interrupt("first"), interrupt("second")]}

    graph = chain(saver, ask)
    graph.invoke({}, config)
    first = ids(graph, config)["first"]
    graph.invoke(Command(resume={first: "A"}), config)
    with pytest.raises(UnknownInterruptError):
        graph.invoke(Command(resume={first: "A"}), on(config, __pregel_strict_resume=True))
    assert len(runs) == 2
    assert questions(graph, config) == ["second"]


@pytest.mark.parametrize(
    ("answer", "left_pending"),
    [(lambda _: "for the first", []), (lambda pending: {pending: "for the first"}, ["second"])],
    ids=["plain", "map"],
)
def test_a_plain_answer_leaks_inside_a_subgraph(
    saver: PostgresSaver, config: RunnableConfig, answer: Callable[[str], Any], left_pending: list[str]
) -> None:
    """A plain answer that a subgraph's node does not consume goes to the subgraph's next node; one by id does not."""
    known: list[str] = []

    def first(_: State) -> Update:
        if not known:
            interrupt("first")
        return {}

    def second(_: State) -> Update:
        return {"value": interrupt("second")}

    graph = around(saver, chain(None, first, second))
    graph.invoke({}, config)
    pending = ids(graph, config)["first"]
    known.append("granted elsewhere")
    graph.invoke(Command(resume=answer(pending)), config)
    assert questions(graph, config) == left_pending
    assert (graph.get_state(config).values.get("value") is None) is bool(left_pending)


def test_command_update_swaps_the_payload_under_an_answer(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`Command(resume=, update=)` changes a node's input and keeps its task id: 1 was reviewed, 1000000 runs."""
    tasks: list[str] = []

    def pay(state: State, config: RunnableConfig) -> Update:
        tasks.append(inside(config)["__pregel_task_id"])
        interrupt({"amount": state["value"]})
        return {"log": [state["value"]]}

    graph = chain(saver, pay)
    graph.invoke({"value": 1}, config)
    assert questions(graph, config) == [{"amount": 1}]
    assert graph.invoke(Command(resume="ok", update={"value": 10**6}), config)["log"] == [10**6]
    assert len(set(tasks)) == 1


def test_update_state_swaps_the_payload_under_an_answer(saver: PostgresSaver, config: RunnableConfig) -> None:
    """After `update_state` no interrupt is listed, and yet a plain resume runs the node on the new input."""

    def prepare(_: State) -> Update:
        return {}

    def pay(state: State) -> Update:
        interrupt({"amount": state["value"]})
        return {"log": [state["value"]]}

    graph = chain(saver, prepare, pay)
    graph.invoke({"value": 1}, config)
    before = graph.get_state(config).tasks[0].id
    graph.update_state(config, {"value": 10**6})
    after = graph.get_state(config)
    assert (after.next, after.interrupts) == (("pay",), ())
    assert after.tasks[0].id != before
    assert graph.invoke(Command(resume="ok"), config)["log"] == [10**6]


def test_nothing_locks_a_thread(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Two workers that resume one interrupt at once both succeed, and the effect happens twice."""
    effects: list[str] = []
    together = threading.Barrier(2, timeout=10)

    def pay(_: State) -> Update:
        interrupt("Pay?")
        together.wait()  # both are past the answer before either has its effect
        effects.append("paid")
        return {"value": "paid"}

    graph = chain(saver, pay)
    graph.invoke({}, config)
    strict = on(config, __pregel_strict_resume=True)
    resume: Command[Any] = Command(resume={ids(graph, config)["Pay?"]: "yes"})
    results: list[Any] = []
    workers = [threading.Thread(target=lambda: results.append(graph.invoke(resume, strict)["value"])) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == ["paid"] * 2
    assert effects == ["paid"] * 2


def test_except_exception_swallows_an_interrupt(saver: PostgresSaver, config: RunnableConfig) -> None:
    """A node that catches `Exception` around `interrupt()` goes on, and its graph ends with nothing pending."""
    caught: list[BaseException] = []

    def careless(_: State) -> Update:
        try:
            interrupt("Pay?")
        except Exception as error:  # noqa: BLE001 - the mistake whose consequence is shown
            caught.append(error)
        return {"value": "went on"}

    graph = chain(saver, careless)
    assert graph.invoke({}, config)["value"] == "went on"
    assert [type(error) for error in caught] == [GraphInterrupt]
    assert (graph.get_state(config).next, graph.get_state(config).interrupts) == ((), ())


def test_without_a_checkpointer_an_interrupt_loses_the_run() -> None:
    """Without a checkpointer `interrupt()` ends the run with `__interrupt__` and no way back."""

    def ask(_: State) -> Update:
        return {"value": interrupt("Pay?")}

    graph = chain(None, ask)
    assert [pending.value for pending in graph.invoke({"value": 0})["__interrupt__"]] == ["Pay?"]
    with pytest.raises(RuntimeError, match="without checkpointer"):
        graph.invoke(Command(resume="yes"))


def test_new_input_discards_a_pending_interrupt(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Input for a thread with a pending interrupt starts over with new tasks and a new interrupt id."""
    runs: list[Any] = []

    def ask(state: State) -> Update:
        runs.append(state["value"])
        return {"value": interrupt("Pay?")}

    graph = chain(saver, ask)
    graph.invoke({"value": "old"}, config)
    old = ids(graph, config)
    graph.invoke({"value": "new"}, config)
    assert runs == ["old", "new"]
    assert ids(graph, config).keys() == old.keys()
    assert ids(graph, config) != old
