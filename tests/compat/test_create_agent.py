"""`create_agent` and its middleware: who wraps whom, what reviewers are asked, and what gets past them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware, ToolRetryMiddleware, hook_config
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from tests.compat.building import GO, Update, agent, around, contents, ids, questions
from tests.support.scripted_model import ScriptedModel, call, calls

Execute = Callable[[ToolCallRequest], ToolMessage | Command[Any]]
AsyncExecute = Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
paid: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_paid() -> None:
    """Start every test without payments."""
    paid.clear()


@tool
def pay(amount: int) -> str:
    """Pay an amount."""
    paid.append(amount)
    return f"paid {amount}"


PAY_5 = calls(call("pay", amount=5))


class Noting(AgentMiddleware):
    """Note when a call goes in and comes out, in both forms."""

    def __init__(self, name: str, notes: list[str]) -> None:
        super().__init__()
        self._name = name
        self._notes = notes

    @property
    def name(self) -> str:
        """The middleware's name, which must be its own within an agent."""
        return self._name

    def wrap_tool_call(self, request: ToolCallRequest, handler: Execute) -> ToolMessage | Command[Any]:
        """Note around a synchronous call."""
        self._notes.append(f"{self._name} in")
        result = handler(request)
        self._notes.append(f"{self._name} out")
        return result

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncExecute) -> ToolMessage | Command[Any]:
        """Note around an asynchronous call."""
        self._notes.append(f"{self._name} in")
        result = await handler(request)
        self._notes.append(f"{self._name} out")
        return result


class SyncOnly(AgentMiddleware):
    """Wrap synchronous calls and forget the others."""

    def wrap_tool_call(self, request: ToolCallRequest, handler: Execute) -> ToolMessage | Command[Any]:
        """Do nothing of interest."""
        return handler(request)


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_the_first_middleware_is_the_outermost(how: str, config: RunnableConfig) -> None:
    """Middleware wraps tool calls in the order of the list, the first around all others, sync and async."""
    notes: list[str] = []
    middleware = [Noting("first", notes), Noting("second", notes)]
    graph = agent(ScriptedModel(script=[PAY_5, "done"]), [pay], saver=InMemorySaver(), middleware=middleware)
    if how == "ainvoke":
        asyncio.run(graph.ainvoke(GO, config))
    else:
        graph.invoke(GO, config)
    assert notes == ["first in", "second in", "second out", "first out"]


async def test_a_middleware_with_only_the_sync_form_fails_async(config: RunnableConfig) -> None:
    """Under `ainvoke` a middleware without `awrap_tool_call` is a NotImplementedError, before the tool runs."""
    script = ScriptedModel(script=[PAY_5, "done"])
    graph = agent(script, [pay], saver=InMemorySaver(), middleware=[SyncOnly()])
    with pytest.raises(NotImplementedError):
        await graph.ainvoke(GO, config)
    assert paid == []


def test_overriding_a_request_makes_a_new_one(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`request.override(...)` leaves the request alone; the copy is what runs. `ToolNode` takes the same wrapper."""
    given: list[int] = []

    def raise_amount(request: ToolCallRequest, execute: Execute) -> ToolMessage | Command[Any]:
        changed = request.override(tool_call={**request.tool_call, "args": {"amount": 7}})
        given.append(request.tool_call["args"]["amount"])
        return execute(changed)

    around(saver, ToolNode([pay], wrap_tool_call=raise_amount)).invoke({"messages": [PAY_5]}, config)
    assert (given, paid) == ([5], [7])


def test_tool_retry_repeats_a_timed_out_write(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`ToolRetryMiddleware` repeats a write whose answer was lost, three times by default, and tells the model."""

    @tool("pay")
    def pay_and_lose_the_answer(amount: int) -> str:
        """Pay, and time out."""
        paid.append(amount)
        raise httpx.ReadTimeout("no answer")

    retries = ToolRetryMiddleware(initial_delay=0)
    script = ScriptedModel(script=[PAY_5, lambda messages: str(messages[-1].content)])
    graph = agent(script, [pay_and_lose_the_answer], saver=saver, middleware=[retries])
    told = graph.invoke(GO, config)["messages"][-1].content
    assert paid == [5, 5, 5]
    assert "failed after 3 attempts" in told
    assert "try again" in told


def reviewed(mode: Any, script: list[Any], **options: Any) -> Any:
    """Return an agent whose payments are reviewed."""
    how: Any = {"allowed_decisions": ["approve", "edit", "reject"], "description": "Pay?", **options}
    review = HumanInTheLoopMiddleware({"pay": how}, interrupt_mode=mode)
    return agent(ScriptedModel(script=script), [pay], saver=InMemorySaver(), middleware=[review])


def test_a_batched_review_asks_once_and_is_answered_by_position(config: RunnableConfig) -> None:
    """Batched: one interrupt with `action_requests` and `review_configs`, answered by a list of decisions."""
    both = calls(call("pay", amount=1, call_id="c1"), call("pay", amount=2, call_id="c2"))
    graph = reviewed("batched", [both, "done"])
    graph.invoke(GO, config)
    (asked,) = questions(graph, config)
    assert asked == {
        "action_requests": [
            {"name": "pay", "args": {"amount": 1}, "description": "Pay?"},
            {"name": "pay", "args": {"amount": 2}, "description": "Pay?"},
        ],
        "review_configs": [{"action_name": "pay", "allowed_decisions": ["approve", "edit", "reject"]}] * 2,
    }
    graph.invoke(Command(resume={"decisions": [{"type": "reject"}, {"type": "approve"}]}), config)
    assert paid == [2]


def test_a_per_call_review_asks_per_call_and_is_answered_by_id(config: RunnableConfig) -> None:
    """Per call: an interrupt of type `tool_approval` for each call, answered by interrupt id."""
    both = calls(call("pay", amount=1, call_id="c1"), call("pay", amount=2, call_id="c2"))
    graph = reviewed("per_call", [both, "done"])
    graph.invoke(GO, config)
    first, second = questions(graph, config)
    assert first == {
        "type": "tool_approval",
        "tool_call_id": "c1",
        "name": "pay",
        "args": {"amount": 1},
        "description": "Pay?",
    }
    assert second["tool_call_id"] == "c2"
    by_call = {pending.value["tool_call_id"]: pending.id for pending in graph.get_state(config).interrupts}
    graph.invoke(Command(resume={by_call["c1"]: {"type": "reject"}, by_call["c2"]: {"type": "approve"}}), config)
    assert paid == [2]


def test_a_review_that_is_no_longer_wanted_runs_a_rejected_call(config: RunnableConfig) -> None:
    """A `when` that says no on resume lets the call through that the reviewer has just rejected."""
    wanted = iter([True, False])
    graph = reviewed("batched", [PAY_5, "done"], when=lambda _: next(wanted))
    graph.invoke(GO, config)
    graph.invoke(Command(resume={"decisions": [{"type": "reject"}]}), config)
    assert paid == [5]


def test_an_update_with_the_answer_changes_what_was_reviewed(config: RunnableConfig) -> None:
    """Approving amount 5 while `Command(update=)` swaps the message pays 1000000."""
    asked = calls(call("pay", amount=5))
    asked.id = "the model's message"
    graph = reviewed("batched", [asked, "done"])
    graph.invoke(GO, config)
    swapped = AIMessage("", id=asked.id, tool_calls=[call("pay", amount=10**6)])
    approve = {"decisions": [{"type": "approve"}]}
    graph.invoke(Command(resume=approve, update={"messages": [swapped]}), config)
    assert paid == [10**6]


class Hasty(AgentMiddleware):
    """Go to the tools at once, whatever others still want to do after the model."""

    @hook_config(can_jump_to=["tools"])
    def after_model(self, state: Any, runtime: Any) -> Update | None:
        """Jump if the model called a tool."""
        del runtime
        return {"jump_to": "tools"} if state["messages"][-1].tool_calls else None


def test_a_jump_to_the_tools_skips_the_review(config: RunnableConfig) -> None:
    """Another middleware's `jump_to="tools"` runs the call without the review that comes after it."""
    review = HumanInTheLoopMiddleware({"pay": True})
    script = ScriptedModel(script=[PAY_5, "done"])
    graph = agent(script, [pay], saver=InMemorySaver(), middleware=[review, Hasty()])
    graph.invoke(GO, config)
    assert ids(graph, config) == {}
    assert paid == [5]


def test_a_returned_tool_message_keeps_the_call_id_it_has(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Nothing re-addresses a ToolMessage that a tool returns: a stored result must be given the new call's id."""

    @tool
    def stored() -> ToolMessage:
        """Return what an earlier call was answered."""
        return ToolMessage("earlier", tool_call_id="another call")

    script = ScriptedModel(script=[calls(call("stored", call_id="c1")), "done"])
    graph = agent(script, [stored], saver=saver)
    answered = graph.invoke(GO, config)["messages"]
    assert contents(answered[2:]) == ["earlier", "done"]
    assert answered[2].tool_call_id == "another call"
