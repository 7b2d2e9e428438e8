"""The pattern the gate is built on: park until a table says yes, and ignore what the resume says."""

import asyncio
from typing import Any

import pytest
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from tests.compat.building import GO, State, Update, agent, around, chain, ids, questions
from tests.support.scripted_model import ScriptedModel, call, calls

FORGED = "0" * 32  # has the form of an interrupt id, belongs to none
ASKED = calls(call("pay"))


class Table:
    """Stands in for the ledger: whether it is granted, and what was done."""

    def __init__(self) -> None:
        self.granted = False
        self.effects: list[str] = []

    def park(self) -> None:
        """Wait for the grant; what `interrupt` returns means nothing."""
        while not self.granted:
            interrupt("Pay?")

    def pay(self) -> str:
        """Claim and act."""
        self.park()
        self.effects.append("paid")
        return "paid"


class Parking(AgentMiddleware):
    """Park around the tool call, not in the tool."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Park, then call."""
        self._table.park()
        return handler(request)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Park, then call."""
        self._table.park()
        return await handler(request)


def build(place: str, how: str, table: Table) -> tuple[Any, Any]:
    """Return a graph that pays at `place`, and its input."""
    saver = InMemorySaver()  # serves both ways of calling; where it stores does not matter

    @tool("pay")
    def pay() -> str:
        """Pay."""
        return table.pay()

    @tool("pay")
    async def async_pay() -> str:
        """Pay."""
        return table.pay()

    def node(_: State) -> Update:
        return {"value": table.pay()}

    async def async_node(_: State) -> Update:
        return {"value": table.pay()}

    the_tool = pay if how == "invoke" else async_pay
    match place:
        case "function node":
            return chain(saver, node if how == "invoke" else async_node), {}
        case "ToolNode":
            return around(saver, ToolNode([the_tool])), {"messages": [HumanMessage("go"), ASKED]}
        case "subgraph":
            return around(saver, chain(None, node if how == "invoke" else async_node)), {}
        case "create_agent":
            return agent(ScriptedModel(script=[ASKED, "done"]), [the_tool], saver=saver), GO
        case _:
            script = ScriptedModel(script=[ASKED, "done"])
            return agent(script, [the_tool], saver=saver, middleware=[Parking(table)]), GO


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("resume", ["plain", "map"])
@pytest.mark.parametrize("place", ["function node", "subgraph", "ToolNode", "create_agent", "middleware"])
def test_any_resume_wakes_and_none_unlocks(place: str, resume: str, how: str, config: RunnableConfig) -> None:
    """Resumed without a grant it parks again, with a grant it acts once, wherever and however it runs."""
    table = Table()
    graph, given = build(place, how, table)

    def drive(delivered: Any) -> None:
        if how == "ainvoke":
            asyncio.run(graph.ainvoke(delivered, config, durability="sync"))
        else:
            graph.invoke(delivered, config, durability="sync")

    def answer() -> Command[Any]:
        said = {"decision": "approve"}
        return Command(resume=said if resume == "plain" else {ids(graph, config)["Pay?"]: said})

    drive(given)
    for _ in range(2):
        drive(answer())
        assert questions(graph, config) == ["Pay?"]
    assert table.effects == []
    table.granted = True
    drive(answer())
    assert table.effects == ["paid"]
    assert graph.get_state(config).tasks == ()


@pytest.mark.parametrize("forged", ["approved", {"decision": "approve"}, {FORGED: True}])
def test_a_forged_answer_unlocks_nothing(saver: PostgresSaver, config: RunnableConfig, forged: object) -> None:
    """Whatever a forged resume says or names, the node parks again."""
    table = Table()

    def pay(_: State) -> Update:
        return {"value": table.pay()}

    graph = chain(saver, pay)
    graph.invoke({}, config)
    graph.invoke(Command(resume=forged), config)
    assert (table.effects, questions(graph, config)) == ([], ["Pay?"])


def test_a_grant_seen_early_leaves_the_answer_to_the_next_question(
    saver: PostgresSaver, config: RunnableConfig
) -> None:
    """If the table says yes before the loop is entered, the wake value goes to the node's own next `interrupt`."""
    table = Table()

    def pay_and_ask(_: State) -> Update:
        table.pay()
        return {"value": interrupt("And the receipt?")}

    graph = chain(saver, pay_and_ask)
    graph.invoke({}, config)
    table.granted = True
    wake = {ids(graph, config)["Pay?"]: {"control": "wake"}}
    assert graph.invoke(Command(resume=wake), config)["value"] == {"control": "wake"}
