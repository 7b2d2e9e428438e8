"""What the compat tests build their graphs from: one state, chains, fans and threads."""

import operator
import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeAlias, TypedDict, cast

from langchain.agents import create_agent
from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import RetryPolicy

from tests.support.scripted_model import ScriptedModel

Graph: TypeAlias = CompiledStateGraph[Any, Any, Any, Any]
Saver: TypeAlias = BaseCheckpointSaver[Any] | None
Node: TypeAlias = Callable[..., Any]
Update: TypeAlias = dict[str, Any]

GO: Update = {"messages": [("user", "go")]}


class State(TypedDict):
    """A value that is replaced, a log that grows and the messages of an agent."""

    value: Any
    log: Annotated[list[Any], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


def thread(**configurable: Any) -> RunnableConfig:
    """Return the config of a thread nobody has used."""
    return {"configurable": {"thread_id": str(uuid.uuid4()), **configurable}}


def on(config: RunnableConfig, **configurable: Any) -> RunnableConfig:
    """Return `config` with more in `configurable`, for the same thread."""
    return {**config, "configurable": {**inside(config), **configurable}}


def inside(config: RunnableConfig) -> dict[str, Any]:
    """Return the config's `configurable`, which every config of these tests has."""
    return config.get("configurable", {})


def chain(saver: Saver, *nodes: Node, **options: Any) -> Graph:
    """Compile `nodes` one after the other, each named after its function and added with `options`."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    before = START
    for node in nodes:
        builder.add_node(node.__name__, node, **options)
        builder.add_edge(before, node.__name__)
        before = node.__name__
    return builder.compile(checkpointer=saver)


def fan(saver: Saver, *nodes: Node) -> Graph:
    """Compile `nodes` side by side in one superstep."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    for node in nodes:
        builder.add_node(node.__name__, node)
        builder.add_edge(START, node.__name__)
    return builder.compile(checkpointer=saver)


def around(saver: Saver, child: Any, *, name: str = "child", **options: Any) -> Graph:
    """Compile a graph whose only node is `child`: a subgraph, a `ToolNode` or a function without a name."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    builder.add_node(name, child, **options)
    builder.add_edge(START, name)
    return builder.compile(checkpointer=saver)


def agent(model: ScriptedModel, tools: Sequence[BaseTool], *, saver: Saver = None, **options: Any) -> Any:
    """Return `create_agent`'s graph, without the types of its state, which say nothing here."""
    return create_agent(model, tools, checkpointer=saver, **options)


def questions(graph: Graph, config: RunnableConfig) -> list[Any]:
    """Return the payloads of the pending interrupts, sorted by their text."""
    return sorted((pending.value for pending in graph.get_state(config).interrupts), key=str)


def ids(graph: Graph, config: RunnableConfig) -> dict[Any, str]:
    """Return the pending interrupts' ids by payload."""
    return {pending.value: pending.id for pending in graph.get_state(config).interrupts}


def written(saver: BaseCheckpointSaver[Any], config: RunnableConfig) -> list[str]:
    """Return the channels of the last checkpoint's pending writes."""
    stored = saver.get_tuple(config)
    return [] if stored is None else [channel for _, channel, _ in stored.pending_writes or []]


def answers_of(config: RunnableConfig) -> list[Any]:
    """Return the answers that the running task was given so far, as LangGraph keeps them."""
    return cast("list[Any]", inside(config)["__pregel_scratchpad"].resume)


def at_once(retry_on: Any = None, *, attempts: int = 3) -> RetryPolicy:
    """Return a retry policy that does not wait; by default with LangGraph's own choice of what to retry."""
    waits: dict[str, Any] = {"initial_interval": 0.0, "jitter": False, "max_attempts": attempts}
    return RetryPolicy(**waits) if retry_on is None else RetryPolicy(**waits, retry_on=retry_on)


def contents(messages: Sequence[AnyMessage]) -> list[str]:
    """Return the messages' texts."""
    return [str(message.content) for message in messages]
