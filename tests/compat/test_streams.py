"""What a stream shows of parking, and what is left when its reader goes away."""

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.config import get_stream_writer
from langgraph.types import Durability, StreamMode, interrupt

from tests.compat.building import Graph, State, Update, chain, questions, written


def three_steps(saver: Any, runs: list[str]) -> Graph:
    """Compile three nodes that note that they ran."""

    def first(_: State) -> Update:
        runs.append("first")
        return {"value": 1}

    def second(_: State) -> Update:
        runs.append("second")
        return {"value": 2}

    def third(_: State) -> Update:
        runs.append("third")
        return {"value": 3}

    return chain(saver, first, second, third)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_stream_closed_early_stops_between_supersteps(
    saver: PostgresSaver, config: RunnableConfig, durability: Durability
) -> None:
    """Closing after the first update leaves the first node's result stored and the second `next`."""
    runs: list[str] = []
    graph = three_steps(saver, runs)
    stream: Any = graph.stream({}, config, durability=durability)
    assert next(stream) == {"first": {"value": 1}}
    stream.close()
    state = graph.get_state(config)
    assert (runs, state.next, state.values["value"]) == (["first"], ("second",), 1)
    assert graph.invoke(None, config)["value"] == 3
    assert runs == ["first", "second", "third"]


async def test_an_async_stream_closed_early_leaves_the_same(
    async_saver: AsyncPostgresSaver, config: RunnableConfig
) -> None:
    """`aclose()` after the first update leaves the first node's result stored and the second `next`."""
    runs: list[str] = []
    graph = three_steps(async_saver, runs)
    stream: Any = graph.astream({}, config, durability="sync")
    assert await anext(stream) == {"first": {"value": 1}}
    await stream.aclose()
    state = await graph.aget_state(config)
    assert (runs, state.next, state.values["value"]) == (["first"], ("second",), 1)


def test_a_stream_never_read_does_nothing(saver: PostgresSaver, config: RunnableConfig) -> None:
    """A stream that is made and closed without reading runs nothing and stores nothing."""
    runs: list[str] = []
    stream: Any = three_steps(saver, runs).stream({}, config, durability="sync")
    stream.close()
    assert runs == []
    assert saver.get_tuple(config) is None


def test_a_sync_stream_closed_in_mid_node_waits_for_the_node(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Closing while a sync node runs waits for it and keeps its writes; then `next` is empty, with a task left."""
    go_on = threading.Event()
    runs: list[str] = []

    def speak(_: State) -> Update:
        get_stream_writer()("speaking")
        assert go_on.wait(10)
        runs.append("speak")
        return {"value": "spoken"}

    def follow(_: State) -> Update:
        runs.append("follow")
        return {}

    graph = chain(saver, speak, follow)
    stream: Any = graph.stream({}, config, durability="sync", stream_mode="custom")
    assert next(stream) == "speaking"
    threading.Timer(0.05, go_on.set).start()
    stream.close()
    assert runs == ["speak"]
    assert "value" in written(saver, config)
    state = graph.get_state(config)
    assert (state.next, [task.name for task in state.tasks]) == ((), ["speak"])
    graph.invoke(None, config)
    assert runs == ["speak", "follow"]


async def test_an_async_stream_closed_in_mid_node_cancels_the_node(
    async_saver: AsyncPostgresSaver, config: RunnableConfig
) -> None:
    """Closing while an async node runs cancels it, stores none of its writes, and `next` is the node."""
    runs: list[str] = []

    async def speak(_: State) -> Update:
        get_stream_writer()("speaking")
        if runs:
            return {"value": "again"}
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            runs.append("cancelled")
            raise
        return {}

    graph = chain(async_saver, speak)
    stream: Any = graph.astream({}, config, durability="sync", stream_mode="custom")
    assert await anext(stream) == "speaking"
    await stream.aclose()
    state = await graph.aget_state(config)
    assert (runs, state.next, "value" in state.values) == (["cancelled"], ("speak",), False)
    assert (await graph.ainvoke(None, config))["value"] == "again"


@pytest.mark.parametrize(
    ("mode", "shown"), [("values", True), ("updates", True), ("messages", False), ("custom", False)]
)
def test_some_stream_modes_never_show_parking(
    saver: PostgresSaver,
    config: RunnableConfig,
    mode: StreamMode,
    shown: bool,  # noqa: FBT001 - the column of a table
) -> None:
    """`values` and `updates` show an interrupt, `messages` and `custom` do not; `get_state` tells always."""

    def ask(_: State) -> Update:
        return {"value": interrupt("?")}

    graph = chain(saver, ask)
    parts = list(graph.stream({"value": 0}, config, stream_mode=mode))
    assert any("__interrupt__" in part for part in parts if isinstance(part, dict)) is shown
    assert questions(graph, config) == ["?"]
