"""Streaming a run: what comes out, what is left when the reader goes away, what a cancelled task leaves."""

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph

from langgraph_control.audit.asking.rows import RunState
from langgraph_control.errors import RunRefused
from tests.support.desk import GO, Desk, How


class State(TypedDict):
    """A log that grows."""

    log: Annotated[list[Any], operator.add]


def three_steps(desk: Desk) -> Any:
    """Return a bound graph of three nodes, one after the other."""
    builder: Any = StateGraph(State)
    before = START
    for name in ("first", "second", "third"):

        def node(_: State, name: str = name) -> dict[str, Any]:
            desk.done.append(name)
            return {"log": [name]}

        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    return desk.control.bind(builder.compile(), name="steps")


def chunks(
    desk: Desk, how: How, graph: Any, given: Any, *, trigger: str, first: int | None = None, **way: Any
) -> list[Any]:
    """Return what a run streams; with `first`, close the stream after so many chunks."""

    async def collected() -> list[Any]:
        stream: Any = desk.control.astream(graph, given, trigger=trigger, actor="bot", **way)
        found = []
        async for chunk in stream:
            found.append(chunk)
            if len(found) == first:
                await stream.aclose()
        return found

    if how == "async":
        return asyncio.run(collected())
    stream: Any = desk.control.stream(graph, given, trigger=trigger, actor="bot", **way)
    found = []
    for chunk in stream:
        found.append(chunk)
        if len(found) == first:
            stream.close()
    return found


def test_a_stream_gives_what_the_graph_streams(desk: Desk, how: How, trigger: str) -> None:
    """Chunks come in the mode that was asked for, and the run ends done."""
    graph = three_steps(desk)
    seen = chunks(desk, how, graph, {"log": []}, trigger=trigger, stream_mode="updates")
    assert seen == [{name: {"log": [name]}} for name in ("first", "second", "third")]
    assert desk.control.get(trigger=trigger).output == {"log": ["first", "second", "third"]}


def test_a_stream_closed_early_waits_and_goes_on(desk: Desk, how: How, trigger: str) -> None:
    """Closing the stream releases the run as waiting; the next call goes on where it was."""
    graph = three_steps(desk)
    assert len(chunks(desk, how, graph, {"log": []}, trigger=trigger, stream_mode="updates", first=1)) == 1
    run = desk.control.get(trigger=trigger)
    assert (run.state, run.reason, desk.done) == (RunState.WAITING, "stream closed", ["first"])
    assert desk.resume(run, how).output == {"log": ["first", "second", "third"]}
    assert desk.done == ["first", "second", "third"]


def test_parking_is_noticed_whatever_is_streamed(desk: Desk, how: How, trigger: str) -> None:
    """A stream of custom events shows nothing of parking, and the run needs an approval all the same."""
    graph = desk.refunding(500)
    assert chunks(desk, how, graph, GO, trigger=trigger, stream_mode="custom") == []
    run = desk.control.get(trigger=trigger)
    assert run.state is RunState.NEEDS_APPROVAL
    desk.approve(run.approvals)
    assert chunks(desk, how, graph, GO, trigger=trigger, stream_mode="updates")
    assert desk.done == ["o0:500"]


def test_a_stream_of_subgraphs_names_them(desk: Desk, how: How, trigger: str) -> None:
    """`subgraphs=True` is passed on: each chunk comes with its namespace."""
    seen = chunks(desk, how, three_steps(desk), {"log": []}, trigger=trigger, stream_mode="updates", subgraphs=True)
    assert [namespace for namespace, _ in seen] == [()] * 3


def test_a_stream_is_checked_before_it_is_read(desk: Desk, how: How) -> None:
    """A wrong argument is refused by the call itself, not by the first chunk."""
    stream = desk.control.stream if how == "sync" else desk.control.astream
    with pytest.raises(RunRefused):
        stream(three_steps(desk), {"log": []}, trigger="", actor="bot")


async def test_a_cancelled_task_leaves_a_run_that_goes_on(desk: Desk, trigger: str) -> None:
    """Cancelling `arun` in mid-node gives the lease back at once; the next call runs the node again."""
    started = asyncio.Event()

    async def work(_: State) -> dict[str, Any]:
        if desk.done:
            return {"log": ["worked"]}
        desk.done.append("started")
        started.set()
        await asyncio.Event().wait()
        return {}

    builder: Any = StateGraph(State)
    builder.add_node("work", work)
    builder.add_edge(START, "work")
    graph = desk.control.bind(builder.compile(), name="steps")
    task = asyncio.create_task(desk.control.arun(graph, {"log": []}, trigger=trigger, actor="bot"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await desk.control.aget(trigger=trigger)).state is RunState.WAITING
    run = await desk.control.arun(graph, {"log": []}, trigger=trigger, actor="bot")
    assert run.output == {"log": ["worked"]}


def test_nothing_of_the_run_is_seen_between_two_chunks(desk: Desk, how: How, trigger: str) -> None:
    """Whoever reads a stream is outside of the run: a governed write there is refused."""
    graph, refund = three_steps(desk), desk.tool("refund")

    async def read() -> None:
        async for _ in desk.control.astream(graph, {"log": []}, trigger=trigger, actor="bot"):
            with pytest.raises(Exception, match="outside"):
                refund.invoke({"order_id": "o1", "amount": "50"})

    if how == "async":
        asyncio.run(read())
        return
    for _ in desk.control.stream(graph, {"log": []}, trigger=trigger, actor="bot"):
        with pytest.raises(Exception, match="outside"):
            refund.invoke({"order_id": "o1", "amount": "50"})
