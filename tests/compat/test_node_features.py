"""Retries, timeouts, error handlers and draining of nodes, and which ids survive what."""

import asyncio
import threading
from typing import Annotated, Any

import httpx
import psycopg
import pytest
import requests
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.errors import GraphDrained, NodeError, NodeTimeoutError
from langgraph.runtime import RunControl
from langgraph.types import Command, interrupt

from tests.compat.building import GO, State, Update, agent, at_once, chain, ids, inside, questions
from tests.support.scripted_model import ScriptedModel, call, calls

RETRIED = [
    httpx.ReadTimeout("no answer"),
    httpx.ConnectError("refused"),
    NodeTimeoutError("node", 1.0, kind="run", run_timeout=1.0),
    ConnectionError("reset"),
    psycopg.IntegrityError("duplicate key"),
    psycopg.OperationalError("server closed the connection"),
    Exception("anything unknown"),
]
NOT_RETRIED = [
    TimeoutError("builtin"),
    requests.Timeout("an OSError"),
    requests.ConnectionError("an OSError"),
    OSError("disk"),
    ValueError("wrong"),
    LookupError("missing"),
    RuntimeError("odd"),
]


def attempts_at(error: Exception) -> int:
    """Return how often a node that raises `error` runs under the default policy with three attempts."""
    runs: list[int] = []

    def fail(_: State) -> Update:
        runs.append(1)
        raise error

    with pytest.raises(type(error)):
        chain(None, fail, retry_policy=at_once()).invoke({})
    return len(runs)


@pytest.mark.parametrize("error", RETRIED, ids=lambda error: f"{type(error).__module__}.{type(error).__name__}")
def test_the_default_retry_policy_repeats_after(error: Exception) -> None:
    """By default a node is retried after lost answers, broken connections, constraint violations and the unknown."""
    assert attempts_at(error) == 3


@pytest.mark.parametrize("error", NOT_RETRIED, ids=lambda error: f"{type(error).__module__}.{type(error).__name__}")
def test_the_default_retry_policy_does_not_repeat_after(error: Exception) -> None:
    """By default a node is not retried after builtin errors that look like mistakes, TimeoutError among them."""
    assert attempts_at(error) == 1


def test_a_retry_in_process_keeps_every_id(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Attempts of one node share task and checkpoint ids and are counted from 1 in `execution_info`."""
    seen: list[tuple[str, str, int]] = []

    def flaky(_: State, config: RunnableConfig) -> Update:
        info = inside(config)["__pregel_runtime"].execution_info
        seen.append((info.task_id, info.checkpoint_id, info.node_attempt))
        if len(seen) < 3:
            raise ConnectionError
        return {}

    chain(saver, flaky, retry_policy=at_once()).invoke({}, config)
    assert len({(task, checkpoint) for task, checkpoint, _ in seen}) == 1
    assert [attempt for _, _, attempt in seen] == [1, 2, 3]


def test_a_resume_keeps_task_and_checkpoint_ids(saver: PostgresSaver, config: RunnableConfig) -> None:
    """The execution after an interrupt has the task id and the checkpoint id of the one before it."""
    seen: list[tuple[str, str]] = []

    def ask(_: State, config: RunnableConfig) -> Update:
        info = inside(config)["__pregel_runtime"].execution_info
        seen.append((info.task_id, info.checkpoint_id))
        return {"value": interrupt("?")}

    graph = chain(saver, ask)
    graph.invoke({}, config)
    graph.invoke(Command(resume="yes"), config)
    assert len(seen) == 2
    assert len(set(seen)) == 1


@pytest.mark.parametrize("way_back", ["replay", "fork"])
def test_replay_and_fork_keep_only_the_tool_call_id(
    saver: PostgresSaver, config: RunnableConfig, way_back: str
) -> None:
    """Going back to an earlier checkpoint runs the tool under a new task id and the old tool call id."""
    seen: list[tuple[str, str]] = []

    @tool
    def note(call_id: Annotated[str, InjectedToolCallId], config: RunnableConfig) -> str:
        """Note the ids."""
        seen.append((call_id, inside(config)["__pregel_task_id"]))
        return ""

    graph = agent(ScriptedModel(script=[calls(call("note", call_id="c1")), "done", "done"]), [note], saver=saver)
    graph.invoke(GO, config)
    (before_the_tool,) = [state for state in graph.get_state_history(config) if state.next == ("tools",)]
    back = before_the_tool.config
    graph.invoke(None, graph.update_state(back, None, "__copy__") if way_back == "fork" else back)
    assert [call_id for call_id, _ in seen] == ["c1", "c1"]
    assert seen[0][1] != seen[1][1]


def test_only_async_nodes_may_have_a_timeout() -> None:
    """A timeout on a sync node is refused when the graph is built."""

    def work(_: State) -> Update:
        return {}

    with pytest.raises(ValueError, match="only supported for async nodes"):
        chain(None, work, timeout=1.0)


async def test_a_node_timeout_does_not_stop_a_thread_inside() -> None:
    """A timed-out node is cancelled by asyncio; a thread it has started goes on and has its effect later."""
    timed_out = threading.Event()
    effect = threading.Event()

    def in_a_thread() -> None:
        if timed_out.wait(10):
            effect.set()

    async def work(_: State) -> Update:
        await asyncio.to_thread(in_a_thread)
        return {}

    with pytest.raises(NodeTimeoutError):
        await chain(None, work, timeout=0.02).ainvoke({})
    assert not effect.is_set()
    timed_out.set()
    assert await asyncio.to_thread(effect.wait, 10)


def test_an_error_handler_is_not_called_for_an_interrupt(saver: PostgresSaver, config: RunnableConfig) -> None:
    """A node's `error_handler` sees errors and no interrupts."""
    handled: list[str] = []

    def handler(_: State, error: NodeError) -> Update:
        handled.append(type(error.error).__name__)
        return {"value": "handled"}

    def ask(_: State) -> Update:
        interrupt("?")
        raise ValueError("after the answer")

    graph = chain(saver, ask, error_handler=handler)
    graph.invoke({}, config)
    assert (handled, questions(graph, config)) == ([], ["?"])
    assert graph.invoke(Command(resume="yes"), config)["value"] == "handled"
    assert handled == ["ValueError"]


def failing_once_after_its_answer(saver: PostgresSaver, answers: list[Any]) -> Any:
    """Compile a node that asks, fails the first time it has an answer, and returns it the second time."""

    def ask(_: State) -> Update:
        answers.append(interrupt("Pay?"))
        if len(answers) == 1:
            raise ValueError("after the answer")
        return {"value": answers[-1]}

    return chain(saver, ask)


def test_a_node_that_fails_after_its_answer_keeps_it(saver: PostgresSaver, config: RunnableConfig) -> None:
    """After a failure behind an answered interrupt, `invoke(None)` goes on with the old answer, unasked."""
    answers: list[Any] = []
    graph = failing_once_after_its_answer(saver, answers)
    graph.invoke({}, config)
    with pytest.raises(ValueError, match="after the answer"):
        graph.invoke(Command(resume="approved long ago"), config)
    assert graph.invoke(None, config)["value"] == "approved long ago"


def test_an_answered_interrupt_of_a_failed_node_is_still_listed(saver: PostgresSaver, config: RunnableConfig) -> None:
    """After that failure `get_state` lists the answered interrupt as pending, beside the node's error."""
    graph = failing_once_after_its_answer(saver, [])
    graph.invoke({}, config)
    before = ids(graph, config)
    with pytest.raises(ValueError, match="after the answer"):
        graph.invoke(Command(resume="yes"), config, durability="sync")
    state = graph.get_state(config)
    assert ids(graph, config) == before
    assert [task.error is not None for task in state.tasks] == [True]


def test_a_drained_graph_stops_between_supersteps(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`RunControl.request_drain` lets the superstep finish, raises GraphDrained, and `invoke(None)` goes on."""
    control = RunControl()

    def first(_: State) -> Update:
        control.request_drain("deploying")
        return {"value": 1}

    def second(_: State) -> Update:
        return {"value": 2}

    graph = chain(saver, first, second)
    with pytest.raises(GraphDrained):
        graph.invoke({}, config, control=control, durability="sync")
    assert graph.get_state(config).next == ("second",)
    assert graph.invoke(None, config)["value"] == 2


async def test_a_user_raised_cancellation_is_an_error_of_the_node(config: RunnableConfig) -> None:
    """A node that is cancelled from inside is no silent success: the caller gets an error and `next` is the node."""

    async def work(_: State) -> Update:
        raise asyncio.CancelledError

    graph = chain(InMemorySaver(), work)
    with pytest.raises(Exception, match="CancelledError"):
        await graph.ainvoke({}, config, durability="sync")
    assert (await graph.aget_state(config)).next == ("work",)
