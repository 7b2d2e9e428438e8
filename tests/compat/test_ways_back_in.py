"""Which call brings a thread back to work: answers by id, no input at all, or the wrong kind of resume."""

import operator
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.errors import EmptyInputError
from langgraph.func import entrypoint
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode
from langgraph.types import Command, Send, interrupt

from tests.compat.building import Graph, State, Update, around, chain, fan, ids, questions, thread, written
from tests.support.scripted_model import call, calls

FORGED = "0" * 32  # has the form of an interrupt id, belongs to none


def ask_at_every_level(saver: PostgresSaver, runs: list[str]) -> Graph:
    """Compile a graph that asks at its root, twice by `Send`, twice two subgraphs down, and in a graph in a tool."""

    def root(state: State) -> Update:
        runs.append("root")
        return {"log": [interrupt("root")]}

    def sent(state: State) -> Update:
        runs.append(state["value"])
        return {"log": [interrupt(state["value"])]}

    def deep(_: State) -> Update:
        runs.append("deep")
        return {"log": [interrupt("deep")]}

    def deeper(_: State) -> Update:
        runs.append("deeper")
        return {"log": [interrupt("deeper")]}

    def in_tool(_: State) -> Update:
        runs.append("in tool")
        return {"log": [interrupt("in tool")]}

    asks_in_tool = chain(None, in_tool)

    @tool
    def delegate() -> str:
        """Run a graph of its own."""
        return str(asks_in_tool.invoke({})["log"])

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    builder.add_node("root", root)
    builder.add_node("sent", sent)
    builder.add_node("child", around(None, fan(None, deep, deeper), name="grandchild"))
    builder.add_node("tools", ToolNode([delegate]))
    for name in ("root", "child", "tools"):
        builder.add_edge(START, name)
    builder.add_conditional_edges(START, lambda _: [Send("sent", {"value": f"sent {n}"}) for n in (1, 2)], ["sent"])
    return builder.compile(checkpointer=saver)


EVERYWHERE = ["deep", "deeper", "in tool", "root", "sent 1", "sent 2"]
ASKED: Update = {"messages": [calls(call("delegate"))]}


def test_the_root_state_lists_every_pending_interrupt(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`get_state(config)` of the root lists them all, those of subgraphs and of a graph inside a tool included."""
    graph = ask_at_every_level(saver, [])
    returned = graph.invoke(ASKED, config, durability="sync")["__interrupt__"]
    state = graph.get_state(config)
    assert questions(graph, config) == EVERYWHERE
    assert {pending.id for pending in returned} == {pending.id for pending in state.interrupts}
    assert sorted(pending.value for task in state.tasks for pending in task.interrupts) == EVERYWHERE


def test_subgraph_states_repeat_their_interrupts(saver: PostgresSaver, config: RunnableConfig) -> None:
    """With `subgraphs=True` a nested interrupt is seen on each level under one id; a graph in a tool has no state."""
    graph = ask_at_every_level(saver, [])
    graph.invoke(ASKED, config, durability="sync")
    tasks = {task.name: task for task in graph.get_state(config, subgraphs=True).tasks}
    child: Any = tasks["child"].state
    assert {pending.id for pending in child.interrupts} == {pending.id for pending in tasks["child"].interrupts}
    assert tasks["tools"].state is None


def test_one_map_answers_every_level_at_once(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`Command(resume={id: value, ...})` delivers each answer to its question, on every level, in one go."""
    runs: list[str] = []
    graph = ask_at_every_level(saver, runs)
    graph.invoke(ASKED, config, durability="sync")
    runs.clear()
    answers = {pending: f"to {question}" for question, pending in ids(graph, config).items()}
    result = graph.invoke(Command(resume=answers), config, durability="sync")
    assert sorted(result["log"]) == ["to deep", "to deeper", "to root", "to sent 1", "to sent 2"]
    assert result["messages"][-1].content == "['to in tool']"
    assert sorted(runs) == EVERYWHERE
    assert graph.get_state(config).next == ()


def test_an_unknown_id_reruns_every_pending_task(saver: PostgresSaver, config: RunnableConfig) -> None:
    """A map with only an unknown id is no error: every parked node runs again and parks again."""
    runs: list[str] = []
    graph = ask_at_every_level(saver, runs)
    graph.invoke(ASKED, config, durability="sync")
    before = ids(graph, config)
    runs.clear()
    graph.invoke(Command(resume={FORGED: "yes"}), config, durability="sync")
    assert sorted(runs) == EVERYWHERE
    assert ids(graph, config) == before


def test_an_unknown_id_beside_known_ones_is_ignored(saver: PostgresSaver, config: RunnableConfig) -> None:
    """An unknown id in a map does not disturb the answers to the known ones."""

    def ask(_: State) -> Update:
        return {"value": interrupt("first")}

    graph = chain(saver, ask)
    graph.invoke({}, config)
    answers = {ids(graph, config)["first"]: "yes", FORGED: "no"}
    assert graph.invoke(Command(resume=answers), config)["value"] == "yes"


def test_an_empty_map_answers_nothing(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`Command(resume={})` counts as a map: the parked nodes run again and park again."""
    runs: list[str] = []
    graph = ask_at_every_level(saver, runs)
    graph.invoke(ASKED, config, durability="sync")
    graph.invoke(Command(resume={}), config, durability="sync")
    assert sorted(runs) == sorted(EVERYWHERE * 2)
    assert questions(graph, config) == EVERYWHERE


@pytest.mark.parametrize("answer", ["yes", {"decision": "yes"}, {"not-an-id": "yes", FORGED: "yes"}])
def test_a_plain_answer_to_several_questions_is_refused(
    saver: PostgresSaver, config: RunnableConfig, answer: object
) -> None:
    """With several interrupts pending, anything but a map of ids (all keys formed like ids) is a RuntimeError."""
    runs: list[str] = []
    graph = ask_at_every_level(saver, runs)
    graph.invoke(ASKED, config, durability="sync")
    runs.clear()
    with pytest.raises(RuntimeError, match="multiple pending interrupts"):
        graph.invoke(Command(resume=answer), config, durability="sync")
    assert runs == []
    assert questions(graph, config) == EVERYWHERE


def ask_second(saver: PostgresSaver, runs: list[str]) -> Graph:
    """Compile a node that works and, after it, one that asks."""

    def work(_: State) -> Update:
        runs.append("work")
        return {}

    def ask(_: State) -> Update:
        runs.append("ask")
        return {"value": interrupt("?")}

    return chain(saver, work, ask)


def test_no_input_on_a_parked_thread_parks_again(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`invoke(None)` on a thread with a pending interrupt re-runs the parked node, which parks under the same id."""
    runs: list[str] = []
    graph = ask_second(saver, runs)
    graph.invoke({}, config)
    before = ids(graph, config)
    checkpoints = len(list(saver.list(config)))
    graph.invoke(None, config)
    assert runs == ["work", "ask", "ask"]
    assert ids(graph, config) == before
    assert len(list(saver.list(config))) == checkpoints


@pytest.mark.parametrize("again", [None, Command(resume="late"), Command(resume={FORGED: "late"})])
def test_a_finished_thread_runs_nothing(saver: PostgresSaver, config: RunnableConfig, again: Any) -> None:
    """No input, or any resume, on a finished thread runs nothing, writes no checkpoint and returns the final state."""
    runs: list[str] = []
    graph = ask_second(saver, runs)
    graph.invoke({}, config)
    graph.invoke(Command(resume="done"), config)
    ran, checkpoints = len(runs), len(list(saver.list(config)))
    assert graph.invoke(again, config)["value"] == "done"
    assert (len(runs), len(list(saver.list(config)))) == (ran, checkpoints)


def test_no_input_on_an_unknown_thread_is_refused(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`invoke(None)` on a thread without a checkpoint raises EmptyInputError and leaves nothing."""
    graph = ask_second(saver, [])
    with pytest.raises(EmptyInputError):
        graph.invoke(None, config)
    assert saver.get_tuple(config) is None


@pytest.mark.parametrize("resume", ["yes", {FORGED: "yes"}])
def test_a_resume_starts_an_unknown_thread(saver: PostgresSaver, config: RunnableConfig, resume: object) -> None:
    """A resume, plain or by map, on an unknown thread starts the graph with empty input."""
    runs: list[str] = []
    graph = ask_second(saver, runs)
    graph.invoke(Command(resume=resume), config)
    assert runs == ["work", "ask"]
    assert questions(graph, config) == ["?"]


def test_resuming_with_none_crashes(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`Command(resume=None)` is an UnboundLocalError inside LangGraph."""
    with pytest.raises(UnboundLocalError):
        ask_second(saver, []).invoke(Command(resume=None), config)


def test_an_entrypoint_answers_no_input_alike(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`invoke(None)` returns a finished `@entrypoint`'s result and is refused on an unknown thread, as for graphs."""
    runs: list[int] = []

    @entrypoint(checkpointer=saver)
    def flow(number: int) -> int:
        runs.append(number)
        return number + 1

    assert flow.invoke(1, config) == 2
    assert flow.invoke(None, config) == 2
    assert runs == [1]
    with pytest.raises(EmptyInputError):
        flow.invoke(None, thread())


def test_a_failed_node_leaves_no_interrupt_and_runs_on_no_input(saver: PostgresSaver, config: RunnableConfig) -> None:
    """After a node raised, the thread has `next` and no interrupt, and `invoke(None)` runs the node again."""
    attempts: list[int] = []

    def flaky(_: State) -> Update:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("once")
        return {"value": "done"}

    graph = chain(saver, flaky)
    with pytest.raises(ValueError, match="once"):
        graph.invoke({}, config, durability="sync")
    state = graph.get_state(config)
    assert (state.next, state.interrupts, written(saver, config)) == (("flaky",), (), ["__error__"])
    assert graph.invoke(None, config)["value"] == "done"


def test_a_subgraph_sees_and_changes_only_what_its_schema_names(saver: PostgresSaver, config: RunnableConfig) -> None:
    """In a subgraph whose schema is only `messages`, parent keys are not injected and a Command's update is lost."""
    seen: list[list[str]] = []

    @tool
    def change(state: Annotated[dict[str, Any], InjectedState]) -> Command[Any]:
        """Write a key of the parent."""
        seen.append(sorted(state))
        answered = {"role": "tool", "content": "changed", "tool_call_id": "call_1"}
        return Command(update={"value": "from the tool", "messages": [answered]})

    asked = {"value": "before", "messages": [calls(call("change"))]}
    narrow: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    narrow.add_node("tools", ToolNode([change]))
    narrow.add_edge(START, "tools")
    lost = around(saver, narrow.compile()).invoke(asked, config)
    kept = around(saver, around(None, ToolNode([change]))).invoke(asked, thread())
    assert seen == [["messages"], ["log", "messages", "value"]]
    assert (lost["value"], kept["value"]) == ("before", "from the tool")


def test_a_message_with_a_known_id_replaces_the_old_one(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`add_messages` overwrites, in place, a message that comes back under its old id."""

    def rewrite(state: State) -> Update:
        return {"messages": [AIMessage("after", id=state["messages"][0].id)]}

    messages = chain(saver, rewrite).invoke({"messages": [AIMessage("before", id="a"), HumanMessage("x")]}, config)
    assert [message.content for message in messages["messages"]] == ["after", "x"]


def test_a_task_of_send_is_a_task_of_its_own(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Answering one of two Send tasks finishes that one alone, and a finished one does not run again."""
    finished: list[str] = []

    class Fan(State):
        seen: Annotated[list[str], operator.add]

    def sent(state: Fan) -> Update:
        answer = interrupt(state["value"])
        finished.append(state["value"])
        return {"log": [answer]}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(Fan)
    builder.add_node("sent", sent)
    builder.add_conditional_edges(START, lambda _: [Send("sent", {"value": n}) for n in ("1", "2")], ["sent"])
    graph = builder.compile(checkpointer=saver)
    graph.invoke({}, config)
    graph.invoke(Command(resume={ids(graph, config)["1"]: "a"}), config)
    assert finished == ["1"]
    graph.invoke(Command(resume={ids(graph, config)["2"]: "b"}), config)
    assert finished == ["1", "2"]
