"""The tool as the seam: wherever a governed tool is called, its write goes through the gate, once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import CallbackManagerForToolRun
from langchain_core.messages import HumanMessage, ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, Tool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.prebuilt import InjectedState, InjectedStore, ToolNode, ToolRuntime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, interrupt

from langgraph_control.audit.connecting.drives import RUN_KEY
from langgraph_control.errors import ContractError, GraphRefused, KeyConflict, NoRun, WriteRefused
from langgraph_control.nodes.bubbles import RunTakenOver
from langgraph_control.nodes.contracts import ABSENT, contract_of, reads, writes
from langgraph_control.nodes.tools import GovernedTool
from tests.compat.building import GO, State, Update, agent, around, chain, ids, inside, on, questions, thread
from tests.support.entered_run import EnteredRun, async_form, invoked
from tests.support.scripted_model import ScriptedModel, call, calls

HOWS = ["sync", "async"]
PLACES = ["ToolNode", "create_agent", "function node", "subgraph", "delegate"]
PAY = call("pay", order="o1", amount=50, call_id="c1")
PAY_MUCH = call("pay", order="o1", amount=200, call_id="c1")


@dataclass
class Payments:
    """A tool that pays, and what it has paid."""

    run: EnteredRun
    paid: list[tuple[str, Any]] = field(default_factory=list)

    def tool(self, **options: Any) -> BaseTool:
        """Return the governed tool, with a sync and an async body."""

        def pay(order: str, amount: int, why: str = "") -> str:
            """Pay."""
            self.paid.append((order, amount))
            return f"paid {amount} for {order}"

        made = StructuredTool.from_function(func=pay, coroutine=async_form(pay))
        return self.run.govern(made, writes(**{"key": "order", "impact": "money", **options}))


@pytest.fixture
def payments(run: EnteredRun) -> Payments:
    """Payments of the run."""
    return Payments(run=run)


def pay_node(pay: BaseTool, how: str, asked: ToolCall) -> Callable[..., Any]:
    """Return a function node that calls the tool as a model's call."""

    def paying(_: State) -> Update:
        return {"messages": [pay.invoke(asked)]}

    async def async_paying(_: State) -> Update:
        return {"messages": [await pay.ainvoke(asked)]}

    return paying if how == "sync" else async_paying


def delegate_to(graph: Any, asked: ToolCall) -> tuple[BaseTool, BaseTool]:
    """Return a tool that runs a graph, in its sync and its async form."""

    @tool
    def delegate() -> str:
        """Have somebody else do it."""
        return str(graph.invoke({"messages": [calls(asked)]})["messages"][-1].content)

    @tool("delegate")
    async def async_delegate() -> str:
        """Have somebody else do it."""
        return str((await graph.ainvoke({"messages": [calls(asked)]}))["messages"][-1].content)

    return delegate, async_delegate


def built(place: str, how: str, pay: BaseTool, run: EnteredRun, asked: ToolCall = PAY) -> tuple[Any, Any]:
    """Return a graph that calls the tool at a place, and its input."""
    saver = InMemorySaver()
    match place:
        case "ToolNode":
            return around(saver, ToolNode([pay])), {"messages": [calls(asked)]}
        case "create_agent":
            return agent(ScriptedModel(script=[calls(asked), "done"]), [pay], saver=saver), GO
        case "function node":
            return chain(saver, pay_node(pay, how, asked)), {"messages": []}
        case "subgraph":
            return around(saver, around(None, ToolNode([pay]))), {"messages": [calls(asked)]}
        case _:
            child = around(None, ToolNode([pay]))
            delegating = run.govern(delegate_to(child, asked)[how == "async"], reads())
            return agent(ScriptedModel(script=[calls(call("delegate")), "done"]), [delegating], saver=saver), GO


def tool_answers(result: Any) -> list[Any]:
    """Return the tool messages of a state."""
    return [message for message in result["messages"] if message.type == "tool"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("place", PLACES)
def test_a_write_is_governed_wherever_the_tool_is_called(
    place: str, how: str, run: EnteredRun, payments: Payments
) -> None:
    """In each place and form the effect happens once, is on record, and its result comes back under the call's id."""
    graph, given = built(place, how, payments.tool(), run)
    (answer,) = tool_answers(invoked(how, graph, given, run.config))
    assert (answer.content, answer.status) == ("paid 50 for o1", "success")
    assert answer.tool_call_id == ("call_1" if place == "delegate" else "c1")
    assert payments.paid == [("o1", 50)]
    assert run.actions() == [("pay", "succeeded", 1)]


@pytest.mark.parametrize("how", HOWS)
def test_the_functional_api_is_governed(how: str, run: EnteredRun, payments: Payments) -> None:
    """A `@task` that calls the tool goes through the gate, sync and async, and gets the bare value."""
    pay = payments.tool()

    @task
    def paying(order: str) -> Any:
        return pay.invoke({"order": order, "amount": 50})

    @task
    async def async_paying(order: str) -> Any:
        return await pay.ainvoke({"order": order, "amount": 50})

    @entrypoint(checkpointer=InMemorySaver())
    def flow(order: str) -> Any:
        return paying(order).result()

    @entrypoint(checkpointer=InMemorySaver())
    async def async_flow(order: str) -> Any:
        return await async_paying(order)

    assert invoked(how, flow if how == "sync" else async_flow, "o1", run.config) == "paid 50 for o1"
    assert run.actions() == [("pay", "succeeded", 1)]


@pytest.mark.parametrize("how", HOWS)
def test_equal_calls_happen_once_and_each_gets_the_result(how: str, run: EnteredRun, payments: Payments) -> None:
    """Two calls with one key in one turn: one effect, two tool messages, each under its own call's id."""
    both = calls(PAY, call("pay", order="o1", amount=50, call_id="c2"))
    graph = agent(ScriptedModel(script=[both, "done"]), [payments.tool()], saver=InMemorySaver())
    answers = tool_answers(invoked(how, graph, GO, run.config))
    assert [(answer.tool_call_id, answer.content) for answer in answers] == [
        ("c1", "paid 50 for o1"),
        ("c2", "paid 50 for o1"),
    ]
    assert payments.paid == [("o1", 50)]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("place", PLACES)
def test_an_approval_parks_and_a_wake_goes_on(place: str, how: str, run: EnteredRun, payments: Payments) -> None:
    """A call that needs people interrupts with a card; woken too early it parks again; after the yes it runs once."""
    graph, given = built(place, how, payments.tool(), run, PAY_MUCH)
    invoked(how, graph, given, run.config)
    for decided in (False, True):
        (card,) = graph.get_state(run.config).interrupts
        assert (card.value["reason"], card.value["what"]["tool"]) == ("needs_approval", "pay")
        assert payments.paid == []
        if decided:
            run.approve()
        result = invoked(how, graph, Command(resume={card.id: {"control": card.value["control"]}}), run.config)
    assert [answer.content for answer in tool_answers(result)] == ["paid 200 for o1"]
    assert payments.paid == [("o1", 200)]
    assert run.actions() == [("pay", "succeeded", 1)]


@pytest.mark.parametrize("how", HOWS)
def test_a_wake_does_not_answer_the_users_next_question(how: str, run: EnteredRun, payments: Payments) -> None:
    """In a node that pays, asks the user, and pays the same again, each question gets its own answer."""
    pay = payments.tool()

    def node(_: State) -> Update:
        return {"log": [pay.invoke(PAY_MUCH).content, interrupt("sure?"), pay.invoke(PAY_MUCH).content]}

    async def async_node(_: State) -> Update:
        return {
            "log": [(await pay.ainvoke(PAY_MUCH)).content, interrupt("sure?"), (await pay.ainvoke(PAY_MUCH)).content]
        }

    graph = chain(InMemorySaver(), node if how == "sync" else async_node)
    invoked(how, graph, {}, run.config)
    (card,) = graph.get_state(run.config).interrupts
    run.approve()
    invoked(how, graph, Command(resume={card.id: {"control": card.value["control"]}}), run.config)
    assert questions(graph, run.config) == ["sure?"]
    result = invoked(how, graph, Command(resume={ids(graph, run.config)["sure?"]: "yes"}), run.config)
    assert result["log"] == ["paid 200 for o1", "yes", "paid 200 for o1"]
    assert payments.paid == [("o1", 200)]
    assert card.value["control"] == run.rows()[0].key.hex()


@pytest.mark.parametrize("how", HOWS)
def test_answers_before_our_wake_are_consumed_with_it(how: str, run: EnteredRun, payments: Payments) -> None:
    """A forged resume before the decision goes to the parked call, also when the task runs again after the wake."""
    pay = payments.tool()

    def node(_: State) -> Update:
        return {"log": [pay.invoke(PAY_MUCH).content, interrupt("sure?")]}

    async def async_node(_: State) -> Update:
        return {"log": [(await pay.ainvoke(PAY_MUCH)).content, interrupt("sure?")]}

    graph = chain(InMemorySaver(), node if how == "sync" else async_node)
    invoked(how, graph, {}, run.config)
    (card,) = graph.get_state(run.config).interrupts
    invoked(how, graph, Command(resume={card.id: "approved!"}), run.config)
    assert payments.paid == []
    (card,) = graph.get_state(run.config).interrupts
    run.approve()
    invoked(how, graph, Command(resume={card.id: {"control": card.value["control"]}}), run.config)
    assert questions(graph, run.config) == ["sure?"]
    result = invoked(how, graph, Command(resume={ids(graph, run.config)["sure?"]: "yes"}), run.config)
    assert result["log"] == ["paid 200 for o1", "yes"]


@pytest.mark.parametrize("how", HOWS)
def test_a_refusal_is_told_to_the_model(how: str, run: EnteredRun, payments: Payments) -> None:
    """What no rule allows comes back as an error tool message; the effect does not happen."""
    graph, given = built("create_agent", how, payments.tool(), run, call("pay", order="o1", amount=9000))
    (answer,) = tool_answers(invoked(how, graph, given, run.config))
    assert (answer.status, answer.name) == ("error", "pay")
    assert "not done" in answer.content
    assert payments.paid == []


def test_outside_tool_calls_a_refusal_is_an_error(run: EnteredRun, payments: Payments) -> None:
    """A direct call gets WriteRefused for a denial, and KeyConflict for one key with two different changes."""
    pay = payments.tool()
    raised: list[Exception] = []

    def node(_: State) -> Update:
        pay.invoke({"order": "o1", "amount": 50})
        for given in ({"order": "o2", "amount": 9000}, {"order": "o1", "amount": 60}):
            with pytest.raises((WriteRefused, KeyConflict)) as caught:
                pay.invoke(given)
            raised.append(caught.value)
        return {}

    invoked("sync", chain(InMemorySaver(), node), {}, run.config)
    assert [type(error) for error in raised] == [WriteRefused, KeyConflict]
    assert [error.code for error in raised if isinstance(error, (WriteRefused, KeyConflict))] == [
        "deny",
        "key_conflict",
    ]


def wanting_everything(seen: list[Any], effects: list[int]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return bodies that want all that LangGraph and LangChain can inject."""

    def pay(  # noqa: PLR0917 - as many as there are kinds
        amount: int,
        runtime: ToolRuntime[Any, Any],
        state: Annotated[dict[str, Any], InjectedState],
        store: Annotated[BaseStore, InjectedStore()],
        call_id: Annotated[str, InjectedToolCallId],
        config: RunnableConfig,
        callbacks: Any = None,
    ) -> str:
        """Pay."""
        effects.append(amount)
        seen.extend(
            [runtime.tool_call_id, call_id, len(state["messages"]), store, inside(config)["thread_id"], callbacks]
        )
        return "paid"

    return pay, async_form(pay)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("place", ["ToolNode", "create_agent"])
def test_injected_arguments_reach_the_body(place: str, how: str, run: EnteredRun) -> None:
    """State, store, runtime, call id, config and callbacks are injected as ever, and are no part of the record."""
    seen: list[Any] = []
    effects: list[int] = []
    func, coroutine = wanting_everything(seen, effects)
    pay = run.govern(StructuredTool.from_function(func=func, coroutine=coroutine), writes(key=(), impact="record"))
    asked, kept = calls(call("pay", amount=5, call_id="c9")), InMemoryStore()
    if place == "ToolNode":
        builder = around(InMemorySaver(), ToolNode([pay])).builder
        graph, given = builder.compile(checkpointer=InMemorySaver(), store=kept), {"messages": [asked]}
    else:
        graph, given = agent(ScriptedModel(script=[asked, "done"]), [pay], saver=InMemorySaver(), store=kept), GO
    invoked(how, graph, given, run.config)
    assert seen[:2] == ["c9", "c9"]
    assert seen[3] is kept
    assert seen[4] == run.context.thread_id
    assert seen[5] is not None
    assert effects == [5]
    assert set(pay.args) == {"amount"}


def mcp_like(paid: list[Any]) -> StructuredTool:
    """Return a tool as the MCP adapter makes them: async only, a JSON Schema, content and artifact."""

    async def call_tool(runtime: Any = None, **arguments: Any) -> tuple[Any, Any]:
        del runtime
        paid.append(arguments)
        return f"paid {arguments['amount']}", {"receipt": 7}

    schema = {
        "type": "object",
        "properties": {"order": {"type": "string"}, "amount": {"type": "integer", "minimum": 1}},
        "required": ["order", "amount"],
    }
    return StructuredTool(
        name="pay",
        description="Pay.",
        args_schema=schema,
        coroutine=call_tool,
        response_format="content_and_artifact",
        metadata={"server": "billing"},
    )


def test_an_mcp_tool_is_validated_and_governed(run: EnteredRun) -> None:
    """A dict-schema tool runs once with its artifact kept; arguments that break the schema are told to the model."""
    paid: list[Any] = []
    pay = run.govern(mcp_like(paid), writes(key="order", impact="money"))
    script = [
        calls(call("pay", order="o1", amount="many", call_id="c1"), call("pay", order="o1", amount=50, call_id="c2")),
        calls(call("pay", order="o1", amount=50, call_id="c3")),
        "done",
    ]
    graph = agent(ScriptedModel(script=script), [pay], saver=InMemorySaver())
    wrong, right, again = tool_answers(invoked("async", graph, GO, run.config))
    assert (wrong.status, "amount must be integer" in wrong.content) == ("error", True)
    assert (right.content, right.artifact) == (again.content, again.artifact) == ("paid 50", {"receipt": 7})
    assert paid == [{"order": "o1", "amount": 50}]
    assert pay.metadata == {"server": "billing"}


def test_a_sync_call_of_an_async_tool_fails_as_langchain_has_it(run: EnteredRun) -> None:
    """An async-only tool called synchronously raises NotImplementedError, and nothing is claimed."""
    pay = run.govern(mcp_like([]), writes(key="order", impact="money"))
    graph = around(InMemorySaver(), ToolNode([pay], handle_tool_errors=False))
    with pytest.raises(NotImplementedError):
        invoked("sync", graph, {"messages": [calls(PAY)]}, run.config)
    assert run.actions() == []


class Paying(BaseTool):
    """A tool written as a subclass."""

    name: str = "pay"
    description: str = "Pay."
    return_direct: bool = True

    def _run(self, order: str, amount: int, run_manager: CallbackManagerForToolRun | None = None) -> str:
        return f"paid {amount} for {order}, watched: {run_manager is not None}"


class AsyncPaying(Paying):
    """The same with an async body of its own."""

    async def _arun(self, order: str, amount: int, run_manager: Any = None) -> str:
        await asyncio.sleep(0)
        return self._run(order, amount, run_manager)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", [Paying, AsyncPaying])
def test_a_subclass_of_base_tool_is_governed(kind: type[BaseTool], how: str, run: EnteredRun) -> None:
    """A tool with `_run` and perhaps `_arun` of its own keeps its callback manager and its fields."""
    pay = run.govern(kind(), writes(key="order", impact="money"))
    graph = around(InMemorySaver(), ToolNode([pay]))
    (answer,) = tool_answers(invoked(how, graph, {"messages": [calls(PAY)]}, run.config))
    assert answer.content == "paid 50 for o1, watched: True"
    assert run.actions() == [("pay", "succeeded", 1)]
    assert pay.return_direct is True


def test_governing_twice_changes_nothing(run: EnteredRun, payments: Payments) -> None:
    """A governed tool is governed already, carries its contract, and is returned as it is."""
    pay = payments.tool()
    assert isinstance(pay, GovernedTool)
    assert run.govern(pay) is pay
    contract = contract_of(pay)
    assert contract is not None
    assert contract.key == ("order",)


def test_a_tool_of_one_unnamed_text_cannot_be_governed(run: EnteredRun) -> None:
    """LangChain's oldest tool class names no argument, so nothing could identify its change."""
    with pytest.raises(ContractError, match="tool_not_governable"):
        run.govern(Tool("pay", lambda text: text, "Pay."), reads())


@pytest.mark.parametrize("how", HOWS)
def test_a_write_outside_a_run_is_refused(how: str, run: EnteredRun, payments: Payments) -> None:
    """A plain `graph.invoke` works until the first governed write, which says to use `control.run`."""
    graph, given = built("function node", how, payments.tool(), run)
    with pytest.raises(NoRun, match=r"control\.run") as caught:
        invoked(how, graph, given, thread())
    assert caught.value.code == "no_run"
    with pytest.raises(NoRun) as caught:
        invoked(how, graph, given, thread(**{RUN_KEY: "7f6d1c1c-5d0b-4d3a-8b55-000000000000/1"}))
    assert caught.value.code == "run_not_here"
    assert payments.paid == []


@pytest.mark.parametrize("durability", [None, "async", "exit"])
def test_a_graph_that_could_forget_is_refused(durability: Any, run: EnteredRun, payments: Payments) -> None:
    """Without durability="sync" a write is refused before any claim, and the text says what to write."""
    graph, given = built("function node", "sync", payments.tool(), run)
    with pytest.raises(GraphRefused, match="durability") as caught:
        graph.invoke(given, run.config, durability=durability)
    assert caught.value.code == "durability_not_sync"
    assert (payments.paid, run.actions()) == ([], [])


def test_a_child_with_a_thread_of_its_own_is_still_in_the_run(run: EnteredRun, payments: Payments) -> None:
    """A graph that a tool starts on another thread belongs to the same run, if it is durable too."""
    child = around(InMemorySaver(), ToolNode([payments.tool()]))

    @reads()
    @tool
    def delegate() -> str:
        """Have somebody else do it."""
        return str(child.invoke({"messages": [calls(PAY)]}, thread(), durability="sync")["messages"][-1].content)

    graph = agent(
        ScriptedModel(script=[calls(call("delegate")), "done"]), [run.govern(delegate)], saver=InMemorySaver()
    )
    (answer,) = tool_answers(invoked("sync", graph, GO, run.config))
    assert answer.content == "paid 50 for o1"
    assert run.actions() == [("pay", "succeeded", 1)]


@pytest.mark.parametrize("how", HOWS)
def test_a_write_inside_a_write_is_refused(how: str, run: EnteredRun, payments: Payments) -> None:
    """A governed write called in the body of another raises, and says to declare the outer tool with reads()."""
    inner = payments.tool()
    raised: list[ContractError] = []

    def outer() -> str:
        """Do it all."""
        with pytest.raises(ContractError) as caught:
            inner.invoke(PAY)
        raised.append(caught.value)
        return "done"

    made = StructuredTool.from_function(func=outer, coroutine=async_form(outer))
    governed = run.govern(made, writes(key=(), impact="record"))
    invoked(how, around(InMemorySaver(), ToolNode([governed])), {"messages": [calls(call("outer"))]}, run.config)
    assert [error.code for error in raised] == ["write_inside_write"]
    assert payments.paid == []


def test_a_float_where_money_moves_is_told_to_the_model(run: EnteredRun) -> None:
    """A money tool with a float parameter is refused in the call; a Decimal parameter gets the exact value."""
    paid: list[Any] = []

    @writes(key=(), impact="money")
    @tool("pay")
    def pay_float(amount: float) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    @writes(key=(), impact="money")
    @tool("pay")
    def pay_decimal(amount: Decimal) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    asked = {"messages": [calls(call("pay", amount=12.5))]}
    graph = around(InMemorySaver(), ToolNode([run.govern(pay_float)]))
    (wrong,) = tool_answers(invoked("sync", graph, asked, on(run.config, thread_id="one")))
    assert (wrong.status, "money_is_float" in wrong.content) == ("error", True)
    graph = around(InMemorySaver(), ToolNode([run.govern(pay_decimal)]))
    invoked("sync", graph, asked, on(run.config, thread_id="two"))
    assert paid == [Decimal("12.5")]


@pytest.mark.parametrize("how", HOWS)
def test_a_run_taken_over_leaves_as_a_bubble_up(how: str, run: EnteredRun, payments: Payments) -> None:
    """With another worker driving the run, the call leaves without effect, and no error layer sees it."""
    graph, given = built("ToolNode", how, payments.tool(), run)
    run.be_taken_over()
    with pytest.raises(RunTakenOver):
        invoked(how, graph, given, run.config)
    assert payments.paid == []


@pytest.mark.parametrize("how", HOWS)
def test_repeatable_calls_are_told_apart_by_their_place_in_the_branch(
    how: str, run: EnteredRun, payments: Payments
) -> None:
    """Equal calls of a repeatable tool are effects of their own; when a task runs again, each keeps its number."""
    pay = payments.tool(repeatable=True)

    @reads()
    @tool
    def ask() -> str:
        """Ask."""
        return str(interrupt("sure?"))

    both = calls(PAY, call("pay", order="o1", amount=50, call_id="c2"), call("ask", call_id="c3"))
    script = [both, calls(call("pay", order="o1", amount=50, call_id="c1")), "done"]
    # In a ToolNode, so that the question makes both calls run again.
    graph = around(InMemorySaver(), ToolNode([pay, run.govern(ask)]))
    invoked(how, graph, {"messages": [script[0]]}, run.config)
    invoked(how, graph, Command(resume={ids(graph, run.config)["sure?"]: "yes"}), run.config)
    assert payments.paid == [("o1", 50)] * 2
    invoked(how, graph, {"messages": [script[1]]}, run.config)
    assert payments.paid == [("o1", 50)] * 3


ASKING = {
    "blind": ({}, "needs_human"),
    "keyed": ({"keyed_for": "1h"}, "needs_human"),
    "verified": ({"find": lambda _: ABSENT, "visible_within": 0.01}, "failed"),
    "transaction": ({"sql": True}, "failed"),
}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("options", "state"), ASKING.values(), ids=ASKING)
def test_a_question_in_the_middle_of_a_write_asks_nobody(
    how: str, options: dict[str, Any], state: str, run: EnteredRun
) -> None:
    """Answered, the body would begin again, whatever it had done: it failed, or goes to a person who is told why."""
    asked: list[str] = []

    def pay(order: str, amount: int) -> str:
        """Pay, once the user has said yes."""
        asked.append(order)
        return str(interrupt("really?"))

    made = StructuredTool.from_function(func=pay, coroutine=async_form(pay))
    governed = run.govern(made, writes(key="order", impact="money", **options))
    graph, given = built("ToolNode", how, governed, run)
    result = invoked(how, graph, given, run.config)
    assert [state_of for _, state_of, _ in run.actions()] == [state]
    shown = [one.value for one in graph.get_state(run.config).interrupts]
    assert "really?" not in str(shown)
    told = str(tool_answers(result)) if state == "failed" else str(run.entries())
    assert "question" in told
    assert "GraphInterrupt" not in told
    assert set(asked) == {"o1"}


def test_a_repeatable_call_that_no_message_made_is_refused(run: EnteredRun, payments: Payments) -> None:
    """Outside a model's message nothing tells two equal repeatable calls apart, so neither is guessed."""
    graph, given = built("function node", "sync", payments.tool(repeatable=True), run)
    (answer,) = tool_answers(invoked("sync", graph, given, run.config))
    assert (answer.status, "occurrence_unknown" in answer.content) == ("error", True)
    assert payments.paid == []


def test_what_runs_is_what_was_approved(run: EnteredRun, payments: Payments) -> None:
    """A repeat in other words runs with the approved call's words, in the types the tool declares."""
    said: list[Any] = []

    @writes(key="order", impact="money", explain="why")
    @tool("pay")
    def pay(order: str, amount: Decimal, why: str) -> str:
        """Pay."""
        said.append((order, amount, why))
        return "paid"

    governed = run.govern(pay)
    asked = call("pay", order="o1", amount="200.00", why="it was broken")
    graph = around(InMemorySaver(), ToolNode([governed]))
    invoked("sync", graph, {"messages": [calls(asked)]}, run.config)
    (card,) = graph.get_state(run.config).interrupts
    run.approve()
    graph.update_state(run.config, {"messages": [HumanMessage("other words")]})
    invoked("sync", graph, Command(resume={card.id: {"control": card.value["control"]}}), run.config)
    again = around(InMemorySaver(), ToolNode([governed]))
    other = call("pay", order="o1", amount="200.0", why="it arrived broken")
    (answer,) = tool_answers(invoked("sync", again, {"messages": [calls(other)]}, on(run.config, thread_id="two")))
    assert answer.content == "paid"
    assert said == [("o1", Decimal("200.00"), "it was broken")]
