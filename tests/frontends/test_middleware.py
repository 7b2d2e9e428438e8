"""`ControlMiddleware` in `create_agent`: the run's context, tidy messages, no repeats."""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ToolRetryMiddleware
from langchain_core.messages import AnyMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command

from langgraph_control import reads, writes
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.errors import GraphRefused
from langgraph_control.middleware import ControlMiddleware
from tests.support.desk import GO, Desk, How, told
from tests.support.scripted_model import Answer, ScriptedModel, call, calls

REFUND = calls(call("refund", order_id="o0", amount="50"))


class Talk(TypedDict):
    """A conversation."""

    messages: Annotated[list[AnyMessage], add_messages]


def agent(desk: Desk, *script: Answer, middleware: list[Any], tools: list[Any] | None = None) -> Any:
    """Return an agent that plays a script, bound to nothing."""
    return create_agent(ScriptedModel(script=script), tools or [], middleware=middleware)


def test_the_agent_gets_its_tools_governed(desk: Desk, how: How, trigger: str) -> None:
    """Tools given to the middleware are the agent's, behind the gate."""

    @writes(key="order_id", impact="record")
    def note(order_id: str) -> str:
        """Note something about an order."""
        desk.done.append(order_id)
        return "noted"

    made = agent(desk, calls(call("note", order_id="o1")), "done", middleware=[ControlMiddleware(desk.control, [note])])
    bound = desk.control.bind(made, name="support")
    run = desk.run(bound, how, trigger=trigger)
    assert (run.state, desk.done) == (RunState.DONE, ["o1"])


def test_refusals_inside_a_tool_reach_the_model(desk: Desk, how: How, trigger: str) -> None:
    """A tool that calls a governed write itself, which is refused: the model reads why, as its own call's error."""
    refund = desk.tool("refund")

    @reads()
    def compensate(order_id: str) -> str:
        """Compensate a customer."""
        return str(refund.invoke({"order_id": order_id, "amount": "6000"}))

    (governed,) = desk.control.govern([compensate])
    script = (calls(call("compensate", order_id="o1", call_id="call_7")), "done")
    made = agent(desk, *script, middleware=[ControlMiddleware(desk.control)], tools=[governed])
    run = desk.run(desk.control.bind(made, name="support"), how, trigger=trigger)
    (message,) = [message for message in run.output["messages"] if message.type == "tool"]
    assert (message.status, message.tool_call_id, message.name) == ("error", "call_7", "compensate")
    assert "refund" in message.content
    assert (run.state, desk.done) == (RunState.DONE, [])


class Caching(AgentMiddleware[Any, Any, Any]):
    """Answers every call with the first one's message, as a careless cache does."""

    def __init__(self, *, commanding: bool) -> None:
        super().__init__()
        self.kept: ToolMessage | None = None
        self.commanding = commanding

    def _given(self, answer: Any) -> Any:
        self.kept = self.kept or answer.model_copy(update={"id": "kept", "name": None})
        return Command(update={"messages": [self.kept]}) if self.commanding else self.kept

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Answer from what is kept."""
        return self._given(self.kept or handler(request))

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Answer from what is kept."""
        return self._given(self.kept or await handler(request))


@pytest.mark.parametrize("commanding", [False, True], ids=["message", "command"])
def test_answers_carry_the_ids_they_must(desk: Desk, how: How, trigger: str, commanding: bool) -> None:  # noqa: FBT001 - a table
    """An answer with another call's id, or with an older message's, becomes one for this call."""
    looks = [calls(call("look", order_id="o1", call_id=f"call_{turn}")) for turn in (1, 2)]
    middleware = [ControlMiddleware(desk.control), Caching(commanding=commanding)]
    made = agent(desk, *looks, "done", middleware=middleware, tools=[desk.tool("look")])
    run = desk.run(desk.control.bind(made, name="support"), how, trigger=trigger)
    messages = [message for message in run.output["messages"] if message.type == "tool"]
    assert [message.tool_call_id for message in messages] == ["call_1", "call_2"]
    assert len({message.id for message in messages}) == 2
    assert {message.name for message in messages} == {"look"}


class Hidden:
    """Keeps what the walk over a graph does not find."""

    __slots__ = ("kept",)

    def __init__(self, *kept: Any) -> None:
        self.kept = kept


def unseen(desk: Desk, how: How, middleware: list[Any]) -> Any:
    """Return a bound graph whose node makes an agent only when it runs, so that nobody could look at it before."""

    def work(state: Talk) -> Any:
        made = agent(desk, REFUND, "done", middleware=middleware_of(), tools=[desk.tool("refund")])
        return made.invoke({"messages": state["messages"]}, durability="sync")

    async def awork(state: Talk) -> Any:
        made = agent(desk, REFUND, "done", middleware=middleware_of(), tools=[desk.tool("refund")])
        return await made.ainvoke({"messages": state["messages"]}, durability="sync")

    hidden = Hidden(middleware)

    def middleware_of() -> list[Any]:
        return list(hidden.kept[0])

    builder = StateGraph(Talk)
    builder.add_node("work", work if how == "sync" else awork)
    builder.set_entry_point("work")
    return desk.control.bind(builder.compile(), name="support")


class Again(AgentMiddleware[Any, Any, Any]):
    """Calls every tool until it is content, which it never is, and holds any error back."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Call it again."""
        for _ in range(3):
            with suppress(ValueError):
                handler(request)
        return ToolMessage(content="enough", tool_call_id=request.tool_call["id"])

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Call it again."""
        for _ in range(3):
            with suppress(ValueError):
                await handler(request)
        return ToolMessage(content="enough", tool_call_id=request.tool_call["id"])


@pytest.mark.parametrize("place", ["around", "inside"])
def test_what_would_repeat_writes_is_refused_before_the_write(desk: Desk, how: How, trigger: str, place: str) -> None:
    """ToolRetryMiddleware beside ours is found at the first write, even in an agent that `bind` could not see."""
    both = [ControlMiddleware(desk.control), ToolRetryMiddleware()]
    graph = unseen(desk, how, both if place == "inside" else both[::-1])
    with pytest.raises(GraphRefused, match="ToolRetryMiddleware") as refused:
        desk.run(graph, how, trigger=trigger)
    assert (refused.value.code, desk.done) == ("retry_policy", [])


def test_a_repeat_by_anything_else_stops_at_the_middleware(desk: Desk, how: How, trigger: str) -> None:
    """What calls a write once more for one tool call is found out by that, and the run with it."""
    around = [Again(), ControlMiddleware(desk.control)]
    with pytest.raises(GraphRefused, match="once more for one tool call") as refused:
        desk.run(unseen(desk, how, around), how, trigger=trigger)
    assert (refused.value.code, desk.done) == ("retry_policy", ["o0:50"])


def test_bind_refuses_it_where_it_can_be_seen(desk: Desk) -> None:
    """An agent that has ToolRetryMiddleware beside ours cannot be bound."""
    both = [ControlMiddleware(desk.control), ToolRetryMiddleware()]
    with pytest.raises(GraphRefused, match="ToolRetryMiddleware"):
        desk.control.bind(agent(desk, "done", middleware=both, tools=[desk.tool("refund")]), name="support")


def test_the_run_reaches_a_child_agent_on_another_thread(desk: Desk, how: How, trigger: str) -> None:
    """A tool without a contract, where only the config names the run, hands the run on to an agent of its own."""
    model = ScriptedModel(script=(REFUND, "done"))
    inner: Any = create_agent(model, [desk.tool("refund")], checkpointer=InMemorySaver())

    def delegate() -> str:
        """Have somebody else do it."""
        config: RunnableConfig = {"configurable": {"thread_id": "its own"}}
        if how == "sync":
            inner.invoke(GO, config, durability="sync")
        else:
            asyncio.run(inner.ainvoke(GO, config, durability="sync"))
        return "delegated"

    # Kept where `bind` does not look: it would refuse a tool that has no contract.
    hidden = Hidden([ControlMiddleware(desk.control)], delegate)

    def work(state: Talk, config: RunnableConfig) -> Any:
        outer = agent(desk, calls(call("delegate")), "done", middleware=hidden.kept[0], tools=[hidden.kept[1]])
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(outer.invoke, {"messages": state["messages"]}, config).result()

    builder = StateGraph(Talk)
    builder.add_node("work", work)
    builder.set_entry_point("work")
    run = desk.run(desk.control.bind(builder.compile(), name="support"), "sync", trigger=trigger)
    assert told(run) == ["delegated"]
    assert (run.state, desk.done) == (RunState.DONE, ["o0:50"])


def test_it_says_what_is_missing_without_langchain() -> None:
    """Without LangChain the submodule says so; the rest of the package imports as ever."""
    program = (
        "import sys; sys.modules['langchain'] = None\n"
        "import langgraph_control.graphs.control, langgraph_control.server\n"
        "try:\n    import langgraph_control.middleware\n"
        "except ImportError as missing:\n    print(missing.code)"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert shown.stdout.strip() == "langchain_missing"
