"""What `bind` refuses, with which code, and what it lets through."""

import functools
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware, ToolRetryMiddleware
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import CachePolicy, RetryPolicy

from langgraph_control import Control, reads, writes
from langgraph_control.errors import ControlError, GraphRefused
from langgraph_control.graphs import walk
from tests.support.desk import POLICY, Desk
from tests.support.scripted_model import ScriptedModel


class State(TypedDict):
    """A log that grows."""

    log: Annotated[list[Any], operator.add]


@tool
def bare() -> str:
    """Do nobody knows what."""
    return ""


@tool
@writes(key=(), impact="record")
def loose() -> str:
    """Write, without the gate."""
    return ""


@writes(key=(), impact="record")
def loose_function() -> str:
    """Write, without the gate."""
    return ""


@reads()
def look() -> str:
    """Look."""
    return ""


def control() -> Control:
    """Return a Control that is never used for more than its checks."""
    return Control(POLICY)


def around(node: Any, **options: Any) -> Any:
    """Return a graph of one node."""
    builder: Any = StateGraph(MessagesState)
    builder.add_node("work", node, **options)
    builder.add_edge(START, "work")
    return builder.compile()


def nothing(_: Any) -> dict[str, Any]:
    """Do nothing."""
    return {}


def names_a_global(_: Any) -> dict[str, Any]:
    """Call a tool of this module."""
    return {"messages": [bare.invoke({})]}


def calls_a_written_function(_: Any) -> dict[str, Any]:
    """Call a function of this module that writes."""
    return {"messages": [loose_function()]}


def calling(found: Any) -> Callable[[Any], Any]:
    """Return a node that calls what it has closed over."""
    return lambda _: found.invoke({})


class Clerk:
    """A class whose method is a node."""

    def __init__(self, tools: list[Any]) -> None:
        self.by_name = {tool.name: tool for tool in tools}

    def work(self, _: Any) -> dict[str, Any]:
        """Call one of its tools."""
        return {"messages": [next(iter(self.by_name.values())).invoke({})]}

    def __call__(self, _: Any) -> dict[str, Any]:
        """Do the same."""
        return self.work(_)


def with_task(**options: Any) -> Any:
    """Return an entrypoint with a task that has these options."""
    decorate: Any = task(**options)

    def act() -> None:
        """Act."""

    acting = decorate(act)

    @entrypoint()
    def flow(_: int) -> None:
        acting().result()

    return flow


def with_entrypoint(**options: Any) -> Any:
    """Return an entrypoint that has these options."""
    decorate: Any = entrypoint(**options)

    def flow(_: int) -> int:
        return 1

    return decorate(flow)


def cached_by_default() -> Any:
    """Return a graph whose one node is cached by the graph's defaults."""
    builder: Any = StateGraph(MessagesState)
    builder.set_node_defaults(cache_policy=CachePolicy())
    builder.add_node("work", nothing)
    builder.add_edge(START, "work")
    return builder.compile()


def forgetful(node: Any = nothing) -> Any:
    """Return a graph of one node that is compiled to keep no checkpoints."""
    return around(node).copy(update={"checkpointer": False})


def delegate_to(child: Any) -> Any:
    """Return a read that runs a graph."""

    @reads()
    def research() -> str:
        """Run a graph."""
        return str(child.invoke({"messages": []}))

    return research


def delegate() -> Any:
    """Return a governed read that runs a graph with an ungoverned tool."""
    return control().govern([delegate_to(around(ToolNode([bare])))])[0]


def agent(*tools: Any, **options: Any) -> Any:
    """Return an agent."""
    return create_agent(ScriptedModel(), list(tools), **options)


REFUSED: dict[str, tuple[str, Callable[[], Any]]] = {
    "a node with a retry policy": ("retry_policy", lambda: around(nothing, retry_policy=RetryPolicy())),
    "a subgraph's node with one": ("retry_policy", lambda: around(around(nothing, retry_policy=RetryPolicy()))),
    "a task with one": ("retry_policy", lambda: with_task(retry_policy=RetryPolicy())),
    "an entrypoint with one": ("retry_policy", lambda: with_entrypoint(retry_policy=RetryPolicy())),
    "tool retry middleware": (
        "retry_policy",
        lambda: agent(*control().govern([look]), middleware=[ToolRetryMiddleware()]),
    ),
    "a cached node": ("node_cached", lambda: around(nothing, cache_policy=CachePolicy())),
    "a subgraph's cached node": ("node_cached", lambda: around(around(nothing, cache_policy=CachePolicy()))),
    "nodes that are cached unless they say otherwise": ("node_cached", cached_by_default),
    "a cached node of a graph in a closure": (
        "node_cached",
        lambda: around(calling(around(nothing, cache_policy=CachePolicy()))),
    ),
    "a cached task": ("node_cached", lambda: with_task(cache_policy=CachePolicy())),
    "a cached entrypoint": ("node_cached", lambda: with_entrypoint(cache_policy=CachePolicy())),
    "an entrypoint with a cache": ("node_cached", lambda: with_entrypoint(cache=InMemoryCache())),
    "an agent with a cache": ("node_cached", lambda: agent(*control().govern([look]), cache=InMemoryCache())),
    "a subgraph with a cache": ("node_cached", lambda: around(agent(*control().govern([look]), cache=InMemoryCache()))),
    "async durability": ("durability_refused", lambda: around(nothing).with_config(durable("async"))),
    "exit durability in a subgraph": (
        "durability_refused",
        lambda: around(around(nothing).with_config(durable("exit"))),
    ),
    "a subgraph without checkpoints": ("subgraph_without_checkpoints", lambda: around(forgetful())),
    "one around the control subgraph": (
        "subgraph_without_checkpoints",
        lambda: around(forgetful(control().subgraph([look]))),
    ),
    "one in a subgraph": ("subgraph_without_checkpoints", lambda: around(around(forgetful()))),
    "one that a node calls": ("subgraph_without_checkpoints", lambda: around(calling(forgetful()))),
    "one behind a tool of the control subgraph": (
        "subgraph_without_checkpoints",
        lambda: around(control().subgraph([delegate_to(forgetful())])),
    ),
    "an agent's ungoverned tool": ("ungoverned_tool", lambda: agent(bare)),
    "a ToolNode's": ("ungoverned_tool", lambda: around(ToolNode([bare]))),
    "a subgraph's": ("ungoverned_tool", lambda: around(around(ToolNode([bare])))),
    "one in a closure": ("ungoverned_tool", lambda: around(calling(bare))),
    "one in a partial": ("ungoverned_tool", lambda: around(functools.partial(lambda found, _: found.invoke({}), bare))),
    "one in a method's object": ("ungoverned_tool", lambda: around(Clerk([bare]).work)),
    "one in a callable object": ("ungoverned_tool", lambda: around(Clerk([bare]))),
    "one named as a global": ("ungoverned_tool", lambda: around(names_a_global)),
    "one behind a delegate": ("ungoverned_tool", lambda: agent(delegate())),
    "one behind a retry": (
        "ungoverned_tool",
        lambda: around(calling(bare.with_retry())),
    ),
    "a declared write without the gate": ("write_outside_gate", lambda: agent(loose)),
    "a declared function without it": ("write_outside_gate", lambda: around(calls_a_written_function)),
    "a builder": ("graph_not_compiled", lambda: StateGraph(State)),
}


def durable(mode: str) -> Any:
    """Return a config that sets a durability."""
    return {"configurable": {"__pregel_durability": mode}}


@pytest.mark.parametrize("what", REFUSED)
def test_bind_refuses(what: str) -> None:
    """What would repeat writes blindly, or goes around the gate, is refused under a stable code with its remedy."""
    code, make = REFUSED[what]
    with pytest.raises(GraphRefused) as refused:
        control().bind(make(), name="support")
    assert refused.value.code == code
    assert refused.value.todo


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_a_graph_needs_a_name(name: Any) -> None:
    """Without a name a run's graph is not found again in another process."""
    with pytest.raises(GraphRefused) as refused:
        control().bind(around(nothing), name=name)
    assert refused.value.code == "graph_name_missing"


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "a\ud800", "a" * 257])
def test_a_name_that_no_run_can_be_started_under_is_refused(name: str) -> None:
    """`bind` takes no name that the ledger would refuse of each run."""
    with pytest.raises(GraphRefused) as refused:
        control().bind(around(nothing), name=name)
    assert refused.value.code == "graph_name_invalid"


def test_the_longest_name_is_one_that_runs_have(desk: Desk, trigger: str) -> None:
    """A name of 256 characters, however many bytes they take, is bound and run."""
    run = desk.run(desk.control.bind(around(nothing), name="\U0001f9fe" * 256), trigger=trigger)
    assert (run.state, len(run.graph)) == ("done", 256)


ACCEPTED: dict[str, Callable[[], Any]] = {
    "an agent with governed tools": lambda: agent(*control().govern([look, loose_function])),
    "model retries": lambda: agent(*control().govern([look]), middleware=[ModelRetryMiddleware()]),
    "a governed ToolNode": lambda: around(ToolNode(control().govern([look, loose]))),
    "a declared read, ungoverned": lambda: around(lambda _: {"messages": [look()]}),
    "sync durability": lambda: around(nothing).with_config(durable("sync")),
    "an entrypoint": lambda: entrypoint()(nothing),
    "an outermost graph without checkpoints": forgetful,
}


@pytest.mark.parametrize("what", ACCEPTED)
def test_bind_accepts(what: str) -> None:
    """What it accepts comes back as a graph of the same class with its name and without a checkpointer."""
    graph = ACCEPTED[what]()
    named = control().bind(graph, name="support")
    assert (type(named), named.name) == (type(graph), "support")
    assert not named.checkpointer
    assert named is not graph


def test_a_tool_without_a_contract_is_not_governed() -> None:
    """`govern` names both decorators for a tool that has neither."""
    with pytest.raises(ControlError, match=r"@reads.*@writes") as refused:
        control().govern([bare])
    assert refused.value.code == "tool_ungoverned"
    (given,) = control().govern([bare], contracts={"bare": reads()})
    assert given.name == "bare"


def test_two_tools_of_one_name_are_refused() -> None:
    """One contract would stand for both."""
    with pytest.raises(ControlError) as refused:
        control().govern([look, look])
    assert refused.value.code == "contract_duplicate_tool"


@pytest.mark.parametrize(
    ("given", "code"), [(42, "tool_invalid"), (State, "tool_invalid"), (lambda: 1, "tool_undocumented")]
)
def test_what_is_no_tool_is_refused(given: Any, code: str) -> None:
    """Numbers, classes and functions that tell the model nothing are no tools."""
    with pytest.raises(ControlError) as refused:
        control().govern([given])
    assert refused.value.code == code


def test_async_functions_are_governed_too() -> None:
    """A declared coroutine function becomes a tool with its contract."""

    @writes(key="text", impact="record")
    async def note(text: str) -> str:
        """Note something."""
        return text

    (governed,) = control().govern([note])
    assert governed.name == "note"
    assert control().bind(agent(governed), name="notes")


def test_a_graph_that_hangs_on_too_much_is_checked_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The walk is bounded, and says when it stopped."""
    monkeypatch.setattr(walk, "OBJECTS_MAX", 50)
    many = [{"order": number} for number in range(100)]
    control().bind(around(lambda _: {"messages": [str(many)]}), name="many")
    assert "was not checked" in caplog.text
