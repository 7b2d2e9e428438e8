"""What a contract says of its provider's answers: what can be said, and that the gate heeds it."""

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import httpx
import pytest
import requests
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode

from langgraph_control.audit.asking.ledger import Outcome, Settle
from langgraph_control.errors import ContractError
from langgraph_control.guards.failures import Fault, Refusal
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.call import GovernedCall
from langgraph_control.nodes.contracts import Contract, writes
from langgraph_control.nodes.gate import perform
from langgraph_control.nodes.surroundings import new_ticket
from tests.compat.building import around
from tests.support.entered_run import EnteredRun, invoked
from tests.support.misbehaving import MisbehavingServer, closed_port, status
from tests.support.scripted_model import call, calls


class OutOfStockError(Exception):
    """A tool's own word for "not done"."""


def blind(refusals: Any = None) -> Contract:
    """Return the contract of an effect that cannot be found again."""
    return writes(key=(), impact="record", refusals=refusals)


def test_a_contract_says_what_answers_mean() -> None:
    """Statuses, names, codes and the tool's own exceptions are kept as they were said, also in copies."""
    contract = blind(
        {
            503: "transient",
            409: "unknown",
            "ABORTED": "unknown",
            "57014": "transient",
            "UNAVAILABLE": "unknown",
            -32099: "rate_limited",
            OutOfStockError: "permanent",
            ToolException: Fault.PERMANENT,
        }
    )
    assert contract.refusals == (
        Refusal(answer=503, fault=Fault.TRANSIENT),
        Refusal(answer=409, fault=None),
        Refusal(answer="ABORTED", fault=None),
        Refusal(answer="57014", fault=Fault.TRANSIENT),
        Refusal(answer="UNAVAILABLE", fault=None),
        Refusal(answer=-32099, fault=Fault.RATE_LIMITED),
        Refusal(answer=OutOfStockError, fault=Fault.PERMANENT),
        Refusal(answer=ToolException, fault=Fault.PERMANENT),
    )
    assert pickle.loads(pickle.dumps(contract)) == copy.deepcopy(contract) == contract  # noqa: S301 - our own bytes
    assert blind().refusals == ()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ([503], "must be a mapping"),
        ({200: "permanent"}, "neither an HTTP status from 300 to 599"),
        ({True: "permanent"}, "neither an HTTP status from 300 to 599"),
        ({700: "permanent"}, "neither an HTTP status from 300 to 599"),
        ({"": "permanent"}, "neither an HTTP status from 300 to 599"),
        ({"no such order": "permanent"}, "neither an HTTP status from 300 to 599"),
        ({None: "permanent"}, "neither an HTTP status from 300 to 599"),
        ({"503": "transient"}, r"a status as text: 503\. .*Write 503 without quotes"),
        ({503: "retry"}, r"what 503 means\. .*transient, rate_limited, permanent, unknown"),
        ({503: True}, "what 503 means"),
        ({OutOfStockError: ["permanent"]}, "what OutOfStockError means"),
        ({"UNAVAILABLE": "transient"}, "UNAVAILABLE, which gRPC also reports when a connection breaks"),
        ({"DEADLINE_EXCEEDED": "permanent"}, "which gRPC also reports"),
        ({Exception: "permanent"}, "no exception that a tool raises for one reason"),
        ({KeyboardInterrupt: "permanent"}, "no exception that a tool raises for one reason"),
        ({int: "permanent"}, "no exception that a tool raises for one reason"),
        ({httpx.ReadTimeout: "transient"}, r"ReadTimeout: .*judged by what it carries\. .*Name the statuses"),
        ({TimeoutError: "transient"}, "judged by what it carries"),
        ({ConnectionError: "unknown"}, "judged by what it carries"),
    ],
)
def test_what_nobody_can_say_is_refused(wrong: Any, match: str) -> None:
    """A mistake, and a promise that no provider can keep, is told with the answer it is about and a remedy."""
    with pytest.raises(ContractError, match=match) as refused:
        blind(wrong)
    assert refused.value.code == "contract_refusals"
    assert refused.value.todo


def test_an_effect_in_the_ledgers_transaction_needs_no_promise() -> None:
    """What commits with its record is never in doubt, whatever an answer says."""
    with pytest.raises(ContractError, match="sql=True and refusals= contradict") as refused:
        writes(key=(), impact="record", sql=True, refusals={503: "transient"})
    assert refused.value.code == "contract_sql"


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    """One misbehaving server."""
    it = MisbehavingServer()
    yield it
    it.close()


def settled(run: EnteredRun, contract: Contract, error: Exception) -> Settle:
    """Return what the gate settles a write's failure with."""
    gate = perform(GovernedCall(contract=contract, tool="note", args={}, defaults={}, run=run.context))
    given: Any = None
    while not isinstance(request := gate.send(given), Settle):
        match request:
            case ask.NewTicket():
                given = new_ticket()
            case ask.Send():
                given = ask.Raised(error=error)
            case ask.ReplayWakes():
                given = None
            case _:
                given = run.store.call(request)
    return request


@pytest.mark.parametrize(
    ("code", "refusals", "outcome"),
    [
        (503, None, Outcome.LOSE),
        (503, {503: "transient"}, Outcome.NOT_DONE),
        (503, {503: "permanent"}, Outcome.FAIL),
        (429, None, Outcome.NOT_DONE),
        (429, {429: "unknown"}, Outcome.LOSE),
        (409, None, Outcome.FAIL),
        (409, {409: "unknown"}, Outcome.LOSE),
        (409, {503: "transient"}, Outcome.FAIL),
    ],
)
def test_the_gate_settles_by_what_the_contract_says(
    *, code: int, refusals: Any, outcome: Outcome, run: EnteredRun, server: MisbehavingServer
) -> None:
    """A provider's guarantee turns an answer that tells nothing into "not done"; its lack does the reverse."""
    with pytest.raises(httpx.HTTPStatusError) as raised:
        httpx.post(server.answer(status(code))).raise_for_status()
    assert settled(run, blind(refusals), raised.value).outcome is outcome


def through_requests(urls: list[str]) -> BaseTool:
    """Return a tool that sends to one address after the other, call by call."""

    @tool
    def refund(order_id: str) -> str:
        """Refund an order."""
        requests.post(urls.pop(0), json={"order": order_id}, timeout=10).raise_for_status()
        return "refunded"

    return refund


def through_aiohttp(urls: list[str]) -> BaseTool:
    """Return its async twin."""

    @tool
    async def refund(order_id: str) -> str:
        """Refund an order."""
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.post(urls.pop(0), json={"order": order_id}),
        ):
            return "refunded"

    return refund


@pytest.mark.parametrize(
    ("how", "made"), [("sync", through_requests), ("async", through_requests), ("async", through_aiohttp)]
)
def test_how_an_exception_came_survives_tool_and_driver(
    how: str, made: Callable[[list[str]], BaseTool], run: EnteredRun, server: MisbehavingServer
) -> None:
    """An unmade connection is seen to have been the first try, so that even a blind effect is tried again."""
    urls = [f"http://127.0.0.1:{closed_port()}", server.answer(status(201))]
    refund = run.govern(made(urls), writes(key="order_id", impact="record"))
    graph = around(InMemorySaver(), ToolNode([refund]))
    result = invoked(how, graph, {"messages": [calls(call("refund", order_id="A-1"))]}, run.config)
    assert result["messages"][-1].content == "refunded"
    assert run.actions() == [("refund", "succeeded", 2)]
