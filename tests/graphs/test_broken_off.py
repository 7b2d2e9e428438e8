"""Writes that are in the middle of something when their run stops: waited for, or a person's, and shown as that."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import BaseTool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from langgraph_control import Run, writes
from langgraph_control.audit.asking.operator_requests import Resolution
from langgraph_control.audit.names import run_id
from langgraph_control.audit.people.operators import Operators
from langgraph_control.guards.run_reasons import RunReason
from langgraph_control.guards.run_states import RunState
from langgraph_control.nodes.results import encode
from tests.support.desk import Desk, told
from tests.support.scripted_model import call, calls
from tests.support.waiting import until

ASKED = calls(
    call("refund", order_id="o1", amount="500", call_id="call_1"), call("tell", order_id="o2", call_id="call_2")
)
TELL_IS_LEFT = f"{RunReason.LEFT_TO_PEOPLE}tell"


class Beside:
    """A refund that asks people, beside a message that takes its time; both asked for at once, in async tools."""

    def __init__(self, desk: Desk, name: str) -> None:
        self.desk = desk
        self.name = name
        self.begun: list[str] = []
        self.at_it = asyncio.Event()
        self.takes_seconds = 0.5
        self.told: list[str] = []

        async def record(_: Any) -> dict[str, Any]:
            await self.at_it.wait()
            return {"open": True}

        @writes(key="order_id", impact="money", read=record)
        async def refund(order_id: str, amount: Decimal) -> str:
            """Refund an order."""
            return f"refunded {amount} for {order_id}"

        @writes(key="order_id", impact="record", system="mail")
        async def tell(order_id: str) -> str:
            """Tell the customer."""
            self.begun.append(order_id)
            self.at_it.set()
            await asyncio.sleep(self.takes_seconds)
            self.told.append(order_id)
            return f"told {order_id}"

        self.tools = desk.control.govern([refund, tell])

    def tool(self, name: str) -> BaseTool:
        """Return one of the two."""
        return next(tool for tool in self.tools if tool.name == name)

    def in_one_task(self) -> Any:
        """Return a bound graph with LangGraph's own node for both."""
        graph = StateGraph(MessagesState).add_node("tools", ToolNode(self.tools)).add_edge(START, "tools").compile()
        return self.desk.control.bind(graph, name=self.name)

    def in_tasks_of_their_own(self) -> Any:
        """Return a bound graph with the control subgraph for both."""
        return self.desk.control.bind(self.desk.control.subgraph(self.tools), name=self.name)

    def given_up(self) -> Any:
        """Return a bound graph whose code breaks the message off after a moment, and goes on without it."""

        async def pay(state: MessagesState) -> dict[str, Any]:
            asked = state["messages"][0].tool_calls[0]  # type: ignore[union-attr]
            return {"messages": [await self.tool("refund").ainvoke({**asked, "type": "tool_call"})]}

        async def message(state: MessagesState) -> dict[str, Any]:
            assert state["messages"]
            try:
                async with asyncio.timeout(0.2):
                    await self.tool("tell").ainvoke({"order_id": "o2"})
            except TimeoutError:
                return {}
            raise AssertionError("it took too little time")

        builder: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
        builder.add_node("pay", pay)
        builder.add_node("message", message)
        builder.add_edge(START, "pay")
        builder.add_edge(START, "message")
        return self.desk.control.bind(builder.compile(), name=self.name)

    def given(self) -> dict[str, Any]:
        """Return both calls in one message."""
        return {"messages": [AIMessage(content="", tool_calls=ASKED.tool_calls)]}

    def run(self, graph: Any) -> Run:
        """Run a graph on them."""
        return self.desk.run(graph, "async", trigger=self.name, given=self.given())

    def woken(self, run: Run) -> bool:
        """Return whether something has happened to a run since it stopped."""
        with psycopg.connect(self.desk.database.admin) as admin:
            found = admin.execute(
                "SELECT 1 FROM control.run_wake WHERE run_id = %s AND generation <> seen", (run_id(run.id),)
            ).fetchone()
        return found is not None


@pytest.fixture
def beside(desk: Desk, trigger: str) -> Beside:
    """A refund beside a message, for this test's trigger."""
    return Beside(desk, trigger)


@pytest.fixture
def operators(desk: Desk) -> Iterator[Operators]:
    """Ana of finance, who owns what the program cannot settle."""
    with Operators(desk.database.approver("ana")) as operators:
        yield operators


def settle(operators: Operators, run: Run, verdict: Resolution, result: bytes | None = None) -> None:
    """Say what became of the message."""
    (action,) = [one for one in operators.stuck(run_id(run.id)) if one.tool == "tell"]
    operators.resolve(run_id(run.id), action.key, verdict, comment="asked the customer", result=result)


def test_a_call_beside_one_that_parks_is_carried_out(beside: Beside, operators: Operators) -> None:
    """LangGraph's node leaves it running when the other one parks; the run is given up only once it is on record."""
    run = beside.run(beside.in_one_task())
    assert (run.state, beside.told) == (RunState.NEEDS_APPROVAL, ["o2"])
    assert [(one.tool, one.state) for one in operators.stuck(run_id(run.id))] == [("refund", "needs_approval")]
    beside.desk.approve(run.approvals)
    run = beside.desk.resume(run, "async")
    assert told(run) == ["refunded 500 for o1", "told o2"]
    assert beside.begun == ["o2"]


def test_a_task_of_its_own_is_carried_out(beside: Beside) -> None:
    """In the control subgraph the message is sent to its end beside the refund that waits, and not looked at again."""
    run = beside.run(beside.in_tasks_of_their_own())
    assert (run.state, beside.told) == (RunState.NEEDS_APPROVAL, ["o2"])
    beside.desk.approve(run.approvals)
    assert sorted(told(beside.desk.resume(run, "async"))) == ["refunded 500 for o1", "told o2"]
    assert beside.begun == ["o2"]


def test_a_caller_that_stops_waiting_for_such_a_call_is_let_go(beside: Beside) -> None:
    """Cancelled while the call is still going on, the drive gives the run up as it stands."""
    beside.takes_seconds = 30

    async def impatient() -> None:
        control = beside.desk.control
        driving = asyncio.ensure_future(
            control.arun(beside.in_one_task(), beside.given(), trigger=beside.name, actor="bot")
        )
        await beside.at_it.wait()
        await asyncio.to_thread(until, lambda: control.get(trigger=beside.name).approvals)
        driving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await driving
        run = await control.aget(trigger=beside.name)
        assert (run.state, len(run.approvals), beside.told) == (RunState.NEEDS_APPROVAL, 1, [])

    asyncio.run(impatient())


def test_a_write_that_was_broken_off_is_shown_first(beside: Beside, operators: Operators) -> None:
    """A run that waits for approval and has lost a blind write needs a person, and says for what and what to do."""
    run = beside.run(beside.given_up())
    assert {(one.tool, one.state) for one in operators.stuck(run_id(run.id))} == {
        ("tell", "needs_human"),
        ("refund", "needs_approval"),
    }
    assert (run.state, run.reason, run.owner) == (RunState.NEEDS_HUMAN, TELL_IS_LEFT, "finance")
    assert run.next_step == f"langgraph-control show {run.id}, then langgraph-control resolve {run.id} --tool tell"
    assert len(run.approvals) == 1
    row = operators.run(run.id)
    assert (row.state, row.next_step, row.tools) == (RunState.NEEDS_HUMAN, run.next_step, ("refund", "tell"))


def test_once_it_is_settled_the_run_waits_for_its_approval_again(beside: Beside, operators: Operators) -> None:
    """A person's word wakes the run, which then waits for what is still open, and ends when that is answered."""
    run = beside.run(beside.given_up())
    settle(operators, run, Resolution.HAPPENED, encode("told o2, says the customer"))
    assert beside.woken(run)
    run = beside.desk.resume(run, "async")
    assert (run.state, run.reason) == (RunState.NEEDS_APPROVAL, "needs_approval")
    assert not beside.woken(run)
    beside.desk.approve(run.approvals)
    run = beside.desk.resume(run, "async")
    assert (run.state, told(run)) == (RunState.DONE, ["refunded 500 for o1"])


@pytest.mark.parametrize("verdict", [Resolution.HAPPENED, Resolution.DID_NOT, Resolution.GIVE_UP])
def test_an_approval_meanwhile_wakes_the_run(beside: Beside, operators: Operators, verdict: Resolution) -> None:
    """Approved while it needs a person, the write is done, and only the person's word is missing, whatever it is."""
    run = beside.run(beside.given_up())
    beside.desk.approve(run.approvals)
    assert beside.woken(run)
    run = beside.desk.resume(run, "async")
    assert (run.state, run.approvals) == (RunState.NEEDS_HUMAN, ())
    settle(operators, run, verdict)
    assert beside.woken(run)
    run = beside.desk.resume(run, "async")
    assert (run.state, told(run)) == (RunState.DONE, ["refunded 500 for o1"])
    assert beside.begun == ["o2"]


def test_whoever_stops_driving_in_the_middle_of_a_blind_write_leaves_it_to_a_person(beside: Beside) -> None:
    """A drive that is cancelled breaks its calls off; the run says that, and not only that somebody stopped reading."""

    async def stopped() -> None:
        driving = asyncio.ensure_future(
            beside.desk.control.arun(beside.in_one_task(), beside.given(), trigger=beside.name, actor="bot")
        )
        await beside.at_it.wait()
        driving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await driving

    asyncio.run(stopped())
    run = beside.desk.control.get(trigger=beside.name)
    assert (run.state, run.reason) == (RunState.NEEDS_HUMAN, TELL_IS_LEFT)
