"""What can be read off a compiled graph before it runs: retries, caches, tools, subgraphs, middleware, durability."""

import asyncio
import inspect
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import CachePolicy

from tests.compat.building import State, Update, agent, around, at_once, chain, thread
from tests.support.scripted_model import ScriptedModel


@tool
def pay() -> str:
    """Pay."""
    return "paid"


def nothing(_: State) -> Update:
    """Do nothing."""
    return {}


def test_a_nodes_retry_policies_can_be_read() -> None:
    """`graph.nodes[name].retry_policy` is a tuple of the node's policies, or None."""
    policy = at_once()
    assert chain(None, nothing, retry_policy=policy).nodes["nothing"].retry_policy == (policy,)
    assert chain(None, nothing).nodes["nothing"].retry_policy is None


def test_a_tasks_retry_policies_can_be_read() -> None:
    """A `@task` carries its policies itself; the entrypoint that calls it shows nothing of them."""
    decorate: Any = task(retry_policy=at_once())
    acting = decorate(nothing)

    @entrypoint()
    def flow(number: int) -> int:
        return int(acting(number).result())

    assert acting.retry_policy == (at_once(),)
    assert [node.retry_policy for node in flow.nodes.values()] == [None]


def test_a_nodes_cache_policy_can_be_read() -> None:
    """`graph.nodes[name].cache_policy` is the node's own or the graph's default, or None."""
    policy: CachePolicy[Any] = CachePolicy()
    assert chain(None, nothing, cache_policy=policy).nodes["nothing"].cache_policy is policy
    assert chain(None, nothing).nodes["nothing"].cache_policy is None
    builder: Any = StateGraph(State)
    builder.set_node_defaults(cache_policy=policy)
    builder.add_node("nothing", nothing)
    builder.add_edge(START, "nothing")
    assert builder.compile().nodes["nothing"].cache_policy is policy


def test_a_tasks_cache_policy_can_be_read() -> None:
    """A `@task` carries its policy itself, as it does those for retries."""
    policy: CachePolicy[Any] = CachePolicy()
    decorate: Any = task(cache_policy=policy)
    plain: Any = task(nothing)
    assert decorate(nothing).cache_policy is policy
    assert plain.cache_policy is None


def test_a_graphs_cache_and_its_policy_can_be_read() -> None:
    """An `@entrypoint` keeps its cache and policy on the graph; so does `compile(cache=...)`; else they are None."""
    cache: InMemoryCache[Any] = InMemoryCache()
    policy: CachePolicy[Any] = CachePolicy()
    decorate: Any = entrypoint(cache=cache, cache_policy=policy)
    flow = decorate(nothing)
    assert (flow.cache, flow.cache_policy) == (cache, policy)
    builder: Any = StateGraph(State)
    builder.add_node("nothing", nothing)
    builder.add_edge(START, "nothing")
    compiled, plain = builder.compile(cache=cache), builder.compile()
    assert (compiled.cache, compiled.cache_policy) == (cache, None)
    assert (plain.cache, plain.cache_policy) == (None, None)


def test_a_cached_node_is_left_out_in_another_run() -> None:
    """With a policy and its own graph's cache a node is not run for an input seen before, in a subgraph neither."""
    ran: list[Any] = []

    def act(state: State) -> Update:
        ran.append(state["value"])
        return {"value": "acted"}

    builder: Any = StateGraph(State)
    builder.add_node("act", act, cache_policy=CachePolicy())
    builder.add_edge(START, "act")
    for graph in (builder.compile(cache=InMemoryCache()), around(None, builder.compile(cache=InMemoryCache()))):
        given: Any = {"value": 1}
        assert [graph.invoke(given)["value"] for _ in range(2)] == ["acted", "acted"]
    assert ran == [1, 1]


def test_a_graph_compiled_without_checkpoints_can_be_told() -> None:
    """`compile(checkpointer=False)` leaves False on the graph; without the argument it is None."""
    builder: Any = StateGraph(State)
    builder.add_node("nothing", nothing)
    builder.add_edge(START, "nothing")
    assert [builder.compile(checkpointer=given).checkpointer for given in (False, None)] == [False, None]


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_subgraph_without_checkpoints_breaks_a_sync_run(how: str) -> None:
    """With `durability="sync"` a subgraph of `checkpointer=False` raises before its first node, however called."""
    ran: list[str] = []

    def act(_: State) -> Update:
        ran.append("act")
        return {}

    child = chain(None, act).copy(update={"checkpointer": False})

    def calling(_: State) -> Update:
        child.invoke({})
        return {}

    async def acalling(_: State) -> Update:
        await child.ainvoke({})
        return {}

    for graph in (around(InMemorySaver(), child), chain(InMemorySaver(), calling if how == "sync" else acalling)):
        for durability in ("sync", "async"):
            given: Any = ({"value": 1}, thread())
            breaks = (
                pytest.raises(AttributeError, match="_put_checkpoint_fut") if durability == "sync" else nullcontext()
            )
            with breaks:
                if how == "sync":
                    graph.invoke(*given, durability=durability)
                else:
                    asyncio.run(graph.ainvoke(*given, durability=durability))
    assert len(ran) == 2


def test_the_tools_of_a_graph_can_be_read() -> None:
    """The node of a `ToolNode` is bound to it, in custom graphs and in `create_agent`, and it lists its tools."""
    custom = around(None, ToolNode([pay]), name="tools")
    made = agent(ScriptedModel(), [pay])
    for graph in (custom, made):
        bound = graph.nodes["tools"].bound
        assert isinstance(bound, ToolNode)
        assert bound.tools_by_name == {"pay": pay}


def test_subgraphs_can_be_listed() -> None:
    """`get_subgraphs(recurse=True)` names nodes that are graphs, and a graph that a node's function mentions."""
    called = chain(None, nothing)

    def calling(_: State) -> Update:
        called.invoke({})
        return {}

    graph = around(None, around(None, chain(None, calling), name="inner"), name="outer")
    assert [name for name, _ in graph.get_subgraphs(recurse=True)] == ["outer", "outer|inner", "outer|inner|calling"]


def test_of_two_graphs_in_one_function_one_is_listed() -> None:
    """A node whose function mentions two graphs is listed with one of them."""
    first, second = chain(None, nothing), chain(None, nothing)

    def calling(_: State) -> Update:
        first.invoke({})
        second.invoke({})
        return {}

    assert len(list(chain(None, calling).get_subgraphs(recurse=True))) == 1


def test_a_graph_inside_a_tool_is_not_listed() -> None:
    """`get_subgraphs` does not look into tools."""
    called = chain(None, nothing)

    @tool
    def delegate() -> str:
        """Run a graph."""
        return str(called.invoke({}))

    assert list(agent(ScriptedModel(), [delegate]).get_subgraphs(recurse=True)) == []


def owners(function: Any) -> Iterator[Any]:
    """Yield the objects whose bound methods a wrapper and the wrappers inside it have closed over."""
    for cell in getattr(function, "__closure__", None) or ():
        held = cell.cell_contents
        if inspect.ismethod(held):
            yield held.__self__
        elif callable(held):
            yield from owners(held)


def test_tool_middleware_can_be_found_in_the_closures_of_the_tool_node() -> None:
    """An agent's tool middleware is reachable through its `ToolNode`'s wrapper, and only there."""
    retries = ToolRetryMiddleware()
    made = agent(ScriptedModel(), [pay], middleware=[retries])
    bound: Any = made.nodes["tools"].bound
    assert retries in list(owners(bound._wrap_tool_call))
    assert retries in list(owners(bound._awrap_tool_call))


def test_a_graph_without_a_name_is_called_langgraph() -> None:
    """`compile()` without `name` names the graph "LangGraph", so that is no name to tell graphs apart by."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    builder.add_node("tools", ToolNode([pay]))
    builder.add_edge(START, "tools")
    assert builder.compile().name == "LangGraph"
    assert builder.compile(name="refunds").name == "refunds"


def test_a_configured_durability_can_be_read() -> None:
    """A durability set by `with_config` is in the graph's `config`, which is None without one."""
    graph = chain(None, nothing)
    configured = graph.with_config({"configurable": {"__pregel_durability": "exit"}})
    assert graph.config is None
    assert configured.config == {"configurable": {"__pregel_durability": "exit"}}
