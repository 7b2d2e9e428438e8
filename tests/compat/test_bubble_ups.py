"""A bubble-up of our own passes every layer that retries or handles errors, and leaves the thread ready to go on."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.errors import GraphBubbleUp, NodeError
from langgraph.func import entrypoint, task
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt

from tests.compat.building import GO, State, Update, agent, around, at_once, chain, fan, questions, written
from tests.support.scripted_model import ScriptedModel, call, calls

EVERYTHING = at_once(lambda _: True)  # the most eager retry policy there is


class Fenced(GraphBubbleUp):
    """This worker may not go on; somebody else does."""


@dataclass
class Body:
    """What every place runs: raises until it is let through, and counts."""

    runs: int = 0
    open: bool = False
    handled: list[Any] = field(default_factory=list)

    def go(self) -> str:
        """Count, and raise unless it is let through."""
        self.runs += 1
        if not self.open:
            raise Fenced
        return "through"

    def handler(self, error: NodeError) -> Update:
        """Stand in as a node's error handler."""
        self.handled.append(error)
        return {}


def governed(body: Body) -> BaseTool:
    """Return a tool that handles its own errors, too."""

    @tool
    def act() -> str:
        """Act."""
        return body.go()

    act.handle_tool_error = True
    return act


def async_governed(body: Body) -> BaseTool:
    """Return the asynchronous form."""

    @tool
    async def act() -> str:
        """Act."""
        return body.go()

    act.handle_tool_error = True
    return act


PLACES = ["node", "subgraph", "ToolNode", "create_agent", "task"]


def build(place: str, body: Body, *, use_async: bool) -> tuple[Any, Any]:
    """Return a graph that runs `body` at `place` inside every error layer there is, and its input."""
    saver = InMemorySaver()  # one that serves sync and async graphs alike; what it stores is not the question here
    act = async_governed(body) if use_async else governed(body)
    asked = calls(call("act"))

    def sync_node(_: State) -> Update:
        return {"value": body.go()}

    async def async_node(_: State) -> Update:
        return {"value": body.go()}

    def handler(_: State, error: NodeError) -> Update:
        return body.handler(error)

    node = async_node if use_async else sync_node
    layers: Any = {"retry_policy": EVERYTHING, "error_handler": handler}
    match place:
        case "node":
            return chain(saver, node, **layers), {}
        case "subgraph":
            return around(saver, chain(None, node, **layers), **layers), {}
        case "ToolNode":
            return around(saver, ToolNode([act], handle_tool_errors=True), **layers), {"messages": [asked]}
        case "create_agent":
            retries = ToolRetryMiddleware(max_retries=2, initial_delay=0)
            model = ScriptedModel(script=[asked, "done"])
            return agent(model, [act], saver=saver, middleware=[retries]), GO
        case _:
            return (async_flow if use_async else sync_flow)(body, saver), 1


def sync_flow(body: Body, saver: InMemorySaver) -> Any:
    """Return an entrypoint that runs `body` in a task which retries everything."""

    def act() -> str:
        return body.go()

    decorate: Any = task(retry_policy=EVERYTHING)
    acting = decorate(act)

    @entrypoint(checkpointer=saver)
    def flow(_: int) -> str:
        return str(acting().result())

    return flow


def async_flow(body: Body, saver: InMemorySaver) -> Any:
    """Return the asynchronous form."""

    async def act() -> str:
        return body.go()

    decorate: Any = task(retry_policy=EVERYTHING)
    acting = decorate(act)

    @entrypoint(checkpointer=saver)
    async def flow(_: int) -> str:
        return str(await acting())

    return flow


def drive(how: str, graph: Any, given: Any, config: RunnableConfig) -> None:
    """Run the graph to its end in one of the four ways."""

    async def all_of() -> list[Any]:
        return [part async for part in graph.astream(given, config, durability="sync")]

    match how:
        case "invoke":
            graph.invoke(given, config, durability="sync")
        case "stream":
            list(graph.stream(given, config, durability="sync"))
        case "ainvoke":
            asyncio.run(graph.ainvoke(given, config, durability="sync"))
        case _:
            asyncio.run(all_of())


@pytest.mark.parametrize("how", ["invoke", "stream", "ainvoke", "astream"])
@pytest.mark.parametrize("place", PLACES)
def test_a_bubble_up_passes_every_layer_and_the_thread_goes_on(place: str, how: str, config: RunnableConfig) -> None:
    """It is neither retried nor handled, reaches the caller, leaves no error; `invoke(None)` runs the task again."""
    body = Body()
    graph, given = build(place, body, use_async=how.startswith("a"))
    with pytest.raises(Fenced):
        drive(how, graph, given, config)
    state = graph.get_state(config)
    assert (body.runs, body.handled) == (1, [])
    assert len(state.next) == 1
    assert [task.error for task in state.tasks] == [None]
    assert written(graph.checkpointer, config) == []
    body.open = True
    drive(how, graph, None, config)
    assert (body.runs, graph.get_state(config).next) == (2, ())


def test_a_bubble_up_keeps_what_siblings_finished(saver: PostgresSaver, config: RunnableConfig) -> None:
    """A sibling that finished before the bubble-up keeps its writes and does not run again."""
    body = Body()
    runs: list[str] = []

    def sibling(_: State) -> Update:
        runs.append("sibling")
        return {"log": ["sibling"]}

    def fenced(_: State) -> Update:
        return {"log": [body.go()]}

    graph = fan(saver, sibling, fenced)
    with pytest.raises(Fenced):
        graph.invoke({}, config, durability="sync")
    assert graph.get_state(config).next == ("fenced",)
    body.open = True
    assert sorted(graph.invoke(None, config)["log"]) == ["sibling", "through"]
    assert runs == ["sibling"]


def test_a_bubble_up_beside_an_interrupt_keeps_the_question(saver: PostgresSaver, config: RunnableConfig) -> None:
    """With one node interrupting and one bubbling up, the caller gets the bubble-up and the interrupt stays pending."""

    def ask(_: State) -> Update:
        return {"value": interrupt("?")}

    def fenced(_: State) -> Update:
        raise Fenced

    graph = fan(saver, ask, fenced)
    with pytest.raises(Fenced):
        graph.invoke({}, config, durability="sync")
    assert questions(graph, config) == ["?"]
    assert sorted(graph.get_state(config).next) == ["ask", "fenced"]


@pytest.mark.parametrize(("raised", "finishes"), [(Fenced, ["slow"]), (ValueError, [])])
async def test_a_bubble_up_does_not_cancel_async_siblings(
    raised: type[Exception], finishes: list[str], config: RunnableConfig
) -> None:
    """An ordinary error cancels async siblings in mid-flight; a bubble-up, like an interrupt, lets them finish."""
    failed = asyncio.Event()
    finished: list[str] = []

    async def slow(_: State) -> Update:
        await failed.wait()
        for _turn in range(20):  # time for a cancellation to arrive, in turns of the loop and not in seconds
            await asyncio.sleep(0)
        finished.append("slow")
        return {"log": ["slow"]}

    async def failing(_: State) -> Update:
        failed.set()
        raise raised("now")

    with pytest.raises(raised):
        await fan(InMemorySaver(), slow, failing).ainvoke({}, config, durability="sync")
    assert finished == finishes


def test_a_handler_that_catches_exception_swallows_a_bubble_up(saver: PostgresSaver, config: RunnableConfig) -> None:
    """A bubble-up is an `Exception`: code that catches that around a governed call swallows it, and the graph ends."""
    body = Body()

    def careless(_: State) -> Update:
        try:
            return {"value": body.go()}
        except Exception:  # noqa: BLE001 - the mistake whose consequence is shown
            return {"value": "went on"}

    graph = chain(saver, careless)
    assert graph.invoke({}, config)["value"] == "went on"
    assert graph.get_state(config).next == ()
