"""The tool as the seam: what a tool's own class can wrap, and what a tool can see of the state."""

import asyncio
import contextvars
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolCallId, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.config import get_config
from langgraph.func import entrypoint
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime
from pydantic import Field

from tests.compat.building import GO, State, Update, agent, around, chain, contents, inside, thread
from tests.support.scripted_model import ScriptedModel, call, calls

around_the_body: contextvars.ContextVar[str] = contextvars.ContextVar("around_the_body", default="nothing")


class Governed(StructuredTool):
    """A tool that sets a context variable around its body and notes what it was called with."""

    seen: list[dict[str, Any]] = Field(default_factory=list)

    def run(self, tool_input: str | dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Run the body with the variable set."""
        self.seen.append({"method": "run", "input": set(tool_input), "tool_call_id": kwargs.get("tool_call_id")})
        token = around_the_body.set("sync")
        try:
            return super().run(tool_input, *args, **kwargs)
        finally:
            around_the_body.reset(token)

    async def arun(self, tool_input: str | dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Run the body with the variable set."""
        self.seen.append({"method": "arun", "input": set(tool_input), "tool_call_id": kwargs.get("tool_call_id")})
        token = around_the_body.set("async")
        try:
            return await super().arun(tool_input, *args, **kwargs)
        finally:
            around_the_body.reset(token)


def governed(*, has_sync: bool = True, has_async: bool = True) -> Governed:
    """Return a governed tool that wants everything LangGraph can inject."""

    def body(
        amount: int,
        runtime: ToolRuntime[Any, Any],
        state: Annotated[dict[str, Any], InjectedState],
        call_id: Annotated[str, InjectedToolCallId],
        config: RunnableConfig,
    ) -> str:
        """Note what the body sees."""
        assert (runtime.tool_call_id, call_id) == ("c9", "c9")
        assert isinstance(state["messages"][-1], AIMessage)
        assert "thread_id" in inside(config)
        return f"{around_the_body.get()} {amount}"

    async def async_body(
        amount: int,
        runtime: ToolRuntime[Any, Any],
        state: Annotated[dict[str, Any], InjectedState],
        call_id: Annotated[str, InjectedToolCallId],
        config: RunnableConfig,
    ) -> str:
        """Note what the body sees."""
        return body(amount, runtime, state, call_id, config)

    made = Governed.from_function(
        func=body if has_sync else None, coroutine=async_body if has_async else None, name="pay"
    )
    assert isinstance(made, Governed)
    return made


FORMS = [
    pytest.param("invoke", {}, "sync 5", id="sync call"),
    pytest.param("ainvoke", {}, "async 5", id="async call"),
    pytest.param("ainvoke", {"has_async": False}, "sync 5", id="async call of a sync tool"),
    pytest.param("ainvoke", {"has_sync": False}, "async 5", id="async call of an async tool"),
]


@pytest.mark.parametrize(("how", "form", "answer"), FORMS)
@pytest.mark.parametrize("place", ["ToolNode", "create_agent"])
def test_a_tool_subclass_wraps_its_body(
    place: str, how: str, form: dict[str, bool], answer: str, config: RunnableConfig
) -> None:
    """A subclass's `run`/`arun` gets the call id, its context variable reaches the body, and injection still works."""
    asked = calls(call("pay", amount=5, call_id="c9"))
    governed_tool = governed(**form)
    if place == "ToolNode":
        graph, given = around(InMemorySaver(), ToolNode([governed_tool])), {"messages": [asked]}
    else:
        model = ScriptedModel(script=[asked, "done"])
        graph, given = agent(model, [governed_tool], saver=InMemorySaver()), GO
    result = asyncio.run(graph.ainvoke(given, config)) if how == "ainvoke" else graph.invoke(given, config)
    answers = [message.content for message in result["messages"] if message.type == "tool"]
    assert answers == [answer]
    assert [(noted["method"], noted["tool_call_id"]) for noted in governed_tool.seen] == [
        ("arun" if answer.startswith("async") else "run", "c9")
    ]
    assert around_the_body.get() == "nothing"


def test_injected_arguments_are_in_the_input_but_not_in_the_schema() -> None:
    """`run` receives state and runtime inside `tool_input`, the call id not yet; the model's schema names none."""
    made = governed()
    around(InMemorySaver(), ToolNode([made])).invoke(
        {"messages": [calls(call("pay", amount=5, call_id="c9"))]}, thread()
    )
    assert made.seen[0]["input"] == {"amount", "runtime", "state"}
    assert set(made.args) == {"amount"}


def test_a_copy_with_another_function_keeps_injection() -> None:
    """`tool.model_copy(update={"func": ...})` swaps the body; arguments, schema and injection stay as declared."""

    @tool
    def pay(amount: int, state: Annotated[dict[str, Any], InjectedState]) -> str:
        """Pay."""
        return f"{amount} {len(state['messages'])}"

    assert isinstance(pay, StructuredTool)
    original = pay.func
    assert original is not None

    def wrapped(**arguments: Any) -> Any:
        return f"wrapped {original(**arguments)}"

    copy = pay.model_copy(update={"func": wrapped})
    result = around(InMemorySaver(), ToolNode([copy])).invoke(
        {"messages": [HumanMessage("go"), calls(call("pay", amount=5))]}, thread()
    )
    assert result["messages"][-1].content == "wrapped 5 2"
    assert set(copy.args) == {"amount"}


@pytest.mark.parametrize("place", ["ToolNode", "create_agent", "function node"])
def test_a_tool_can_read_the_messages_without_asking_for_them(
    saver: PostgresSaver, config: RunnableConfig, place: str
) -> None:
    """`__pregel_read("messages", False)` gives a tool the branch the model saw, whatever parameters it declares."""
    read: list[Any] = []

    @tool
    def look() -> str:
        """Look at the messages."""
        read.extend(inside(get_config())["__pregel_read"]("messages", False))  # noqa: FBT003 - its only form
        return ""

    asked = calls(call("look"))

    def by_hand(_: State) -> Update:
        return {"messages": [look.invoke(call("look"))]}

    if place == "create_agent":
        agent(ScriptedModel(script=[asked, "done"]), [look], saver=saver).invoke(GO, config)
    else:
        node: Any = ToolNode([look]) if place == "ToolNode" else by_hand
        around(saver, node).invoke({"messages": [HumanMessage("go"), asked]}, config)
    assert [message.type for message in read] == ["human", "ai"]
    assert read[-1].tool_calls[0]["name"] == "look"


def test_reading_messages_where_there_are_none_is_a_key_error(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Without a `messages` channel, as in an `@entrypoint`, `__pregel_read("messages", False)` is a KeyError."""

    @entrypoint(checkpointer=saver)
    def flow(_: int) -> None:
        with pytest.raises(KeyError):
            inside(get_config())["__pregel_read"]("messages", False)  # noqa: FBT003 - its only form

    flow.invoke(1, config)


def test_a_child_graph_reads_its_own_messages(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Inside a graph that a tool runs, `__pregel_read` reads that graph's channels, not the parent's."""
    read: list[Any] = []

    def look(_: State, config: RunnableConfig) -> Update:
        read.extend(inside(config)["__pregel_read"]("messages", False))  # noqa: FBT003 - its only form
        return {}

    child = chain(None, look)

    @tool
    def delegate() -> str:
        """Run a graph with messages of its own."""
        child.invoke({"messages": [HumanMessage("for the child")]})
        return ""

    agent(ScriptedModel(script=[calls(call("delegate")), "done"]), [delegate], saver=saver).invoke(GO, config)
    assert contents(read) == ["for the child"]
