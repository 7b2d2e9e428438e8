"""`ToolNode` in a custom graph: one task for all calls."""

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.config import get_config
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from tests.compat.building import (
    GO,
    agent,
    answers_of,
    around,
    contents,
    ids,
    inside,
    questions,
    thread,
)
from tests.support.scripted_model import ScriptedModel, call, calls

PAY_AND_ASK = calls(call("pay", call_id="c1"), call("ask", question="sure?", call_id="c2"))


@tool
def ask(question: str) -> str:
    """Ask a person."""
    return str(interrupt(question))


def paying(effects: list[str]) -> BaseTool:
    """Return a tool that has an effect."""

    @tool
    def pay() -> str:
        """Pay."""
        effects.append("paid")
        return "paid"

    return pay


def test_an_interrupt_in_one_call_repeats_its_siblings(saver: PostgresSaver, config: RunnableConfig) -> None:
    """All calls of a message are one task: an interrupt in one re-runs the others, finished or not."""
    effects: list[str] = []
    graph = around(saver, ToolNode([paying(effects), ask]), name="tools")
    graph.invoke({"messages": [PAY_AND_ASK]}, config, durability="sync")
    assert len(graph.get_state(config).tasks) == 1
    result = graph.invoke(Command(resume="yes"), config, durability="sync")
    assert contents(result["messages"][1:]) == ["paid", "yes"]
    assert effects == ["paid"] * 2


def test_an_agent_sends_one_task_per_call(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`create_agent` sends each call as a task of its own: an interrupt in one does not re-run a finished sibling."""
    effects: list[str] = []
    graph = agent(ScriptedModel(script=[PAY_AND_ASK, "done"]), [paying(effects), ask], saver=saver)
    graph.invoke(GO, config, durability="sync")
    assert len(graph.get_state(config).tasks) == 2
    result = graph.invoke(Command(resume="yes"), config, durability="sync")
    assert contents(result["messages"][2:]) == ["paid", "yes", "done"]
    assert effects == ["paid"]


async def test_async_siblings_go_on_after_the_node_has_raised(config: RunnableConfig) -> None:
    """An async sibling of an interrupted call goes on while the node has already parked: its effect comes later."""
    effects: list[str] = []
    parked = asyncio.Event()
    finished = asyncio.Event()

    @tool
    async def pay() -> str:
        """Pay, when the graph has long returned."""
        await parked.wait()
        effects.append("paid")
        finished.set()
        return "paid"

    @tool("ask")
    async def async_ask(question: str) -> str:
        """Ask a person."""
        return str(interrupt(question))

    graph = around(InMemorySaver(), ToolNode([pay, async_ask]), name="tools")
    await graph.ainvoke({"messages": [PAY_AND_ASK]}, config, durability="sync")
    state = await graph.aget_state(config)
    assert [pending.value for pending in state.interrupts] == ["sure?"]
    assert effects == []
    parked.set()
    await finished.wait()
    assert effects == ["paid"]


def test_the_end_of_the_loop_cancels_them_in_mid_flight(config: RunnableConfig) -> None:
    """When `asyncio.run` ends after the node has parked, such a sibling is cancelled wherever it is."""
    cancelled: list[str] = []
    begun = asyncio.Event()
    never = asyncio.Event()  # kept here: a task that only waits for what nobody else holds may be collected instead

    @tool
    async def pay() -> str:
        """Pay, in the middle of which everything ends."""
        begun.set()
        try:
            await never.wait()
        except asyncio.CancelledError:
            cancelled.append("pay")
            raise
        return "paid"

    @tool("ask")
    async def async_ask(question: str) -> str:
        """Ask a person, once the payment has begun."""
        await begun.wait()
        return str(interrupt(question))

    graph = around(InMemorySaver(), ToolNode([pay, async_ask]), name="tools")
    asyncio.run(graph.ainvoke({"messages": [PAY_AND_ASK]}, config, durability="sync"))
    assert questions(graph, config) == ["sure?"]
    assert cancelled == ["pay"]


def test_calls_of_one_tool_node_share_their_answers(saver: PostgresSaver, config: RunnableConfig) -> None:
    """In a `ToolNode` all calls see one scratchpad and one list of answers; in an agent each has its own."""
    seen: dict[str, list[Any]] = {"ToolNode": [], "agent": []}

    def noting(where: str) -> list[BaseTool]:
        @tool
        def note() -> str:
            """Note the scratchpad."""
            seen[where].append(inside(get_config())["__pregel_scratchpad"])
            return ""

        return [note]

    both = calls(call("note", call_id="c1"), call("note", call_id="c2"))
    around(saver, ToolNode(noting("ToolNode"))).invoke({"messages": [both]}, config)
    agent(ScriptedModel(script=[both, "done"]), noting("agent"), saver=saver).invoke(GO, thread())
    first, second = seen["ToolNode"]
    assert first is second
    assert first.resume is second.resume
    first, second = seen["agent"]
    assert first is not second
    assert first.resume is not second.resume


def test_an_answer_in_a_tool_node_is_seen_by_every_call(saver: PostgresSaver, config: RunnableConfig) -> None:
    """On resume every call of a `ToolNode` finds the answer that was meant for one of them."""
    seen: list[list[Any]] = []

    @tool
    def look() -> str:
        """Look at the stored answers."""
        seen.append(list(answers_of(get_config())))
        return ""

    graph = around(saver, ToolNode([look, ask]), name="tools")
    both = calls(call("look", call_id="c1"), call("ask", question="sure?", call_id="c2"))
    graph.invoke({"messages": [both]}, config)
    graph.invoke(Command(resume={ids(graph, config)["sure?"]: "yes"}), config)
    assert seen == [[], ["yes"]]


def test_an_answer_in_a_tool_node_goes_to_the_call_that_asks_first(
    saver: PostgresSaver, config: RunnableConfig
) -> None:
    """Positions are counted over all calls of a `ToolNode`: on resume the faster call takes the other's answer."""
    resumed = threading.Event()
    other_has_asked = threading.Event()
    answers: list[str] = []

    @tool
    def slow() -> str:
        """Ask, and on resume ask after the other."""
        if resumed.is_set():
            assert other_has_asked.wait(10)
        return str(interrupt("for slow?"))

    @tool
    def fast() -> str:
        """Ask on resume only."""
        if resumed.is_set():
            answers.append(interrupt("for fast?"))
            other_has_asked.set()
        return ""

    graph = around(saver, ToolNode([slow, fast]), name="tools")
    graph.invoke({"messages": [calls(call("slow", call_id="c1"), call("fast", call_id="c2"))]}, config)
    answer = {ids(graph, config)["for slow?"]: "meant for slow"}
    resumed.set()
    graph.invoke(Command(resume=answer), config)
    assert answers == ["meant for slow"]
    assert questions(graph, config) == ["for slow?"]


def test_handled_tool_errors_do_not_hide_an_interrupt(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`handle_tool_errors=True` turns exceptions into messages and lets interrupts through."""

    @tool
    def fail() -> str:
        """Fail."""
        raise ValueError("broken")

    graph = around(saver, ToolNode([fail, ask], handle_tool_errors=True), name="tools")
    failed = graph.invoke({"messages": [calls(call("fail"))]}, config)["messages"][-1]
    assert failed.status == "error"
    asked = thread()
    graph.invoke({"messages": [calls(call("ask", question="sure?"))]}, asked)
    assert questions(graph, asked) == ["sure?"]


def test_a_tool_error_ends_the_run_by_default(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Without `handle_tool_errors` an exception of a tool's body leaves the node; only bad arguments are answered."""

    @tool
    def fail(amount: int) -> str:
        """Fail."""
        raise ValueError("broken")

    graph = around(saver, ToolNode([fail]), name="tools")
    with pytest.raises(ValueError, match="broken"):
        graph.invoke({"messages": [calls(call("fail", amount=1))]}, config)
    answered = graph.invoke({"messages": [calls(call("fail", amount="many"))]}, thread())["messages"][-1]
    assert answered.status == "error"
