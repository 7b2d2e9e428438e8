"""MCP servers' errors, over the protocol and through LangChain's adapters, and LangChain's own ToolException."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from langchain_core.tools import StructuredTool, ToolException
from langchain_mcp_adapters.sessions import StdioConnection, StreamableHttpConnection, create_session
from langchain_mcp_adapters.tools import convert_mcp_tool_to_langchain_tool
from mcp import ClientSession, McpError
from mcp import types as protocol
from mcp.server.lowlevel import Server
from mcp.shared.memory import create_connected_server_and_client_session

from langgraph_control.guards.classification import classify
from langgraph_control.guards.failures import Failure, Fault, Refusal, Sent, Verdict
from langgraph_control.guards.lifecycle import Kind
from tests.guards.classifiers.judging import NOW, judged
from tests.support.failure_tables import MCP
from tests.support.misbehaving import closed_port

ROWS: Final = {row.what: row for row in MCP}
SERVER: Final = Path(__file__).parents[2] / "support" / "mcp_refunds.py"
TOOL: Final = protocol.Tool(
    name="refund",
    inputSchema={"type": "object", "properties": {"how": {"type": "string"}}, "required": ["how"]},
)


def is_the_tables(found: Failure, what: str) -> None:
    """Assert that a verdict is what the table has."""
    row = ROWS[what]
    assert (found.error, found.sent, found.verdict, found.fault) == (row.raised, row.sent, row.verdict, row.fault)


# Errors of the protocol


def refusing(code: int) -> Server[Any, Any]:
    """Return a server whose tools answer with an error of the protocol."""
    server: Server[Any, Any] = Server("billing")

    async def refuse(_request: protocol.CallToolRequest) -> protocol.ServerResult:
        raise McpError(protocol.ErrorData(code=code, message="no"))

    server.request_handlers[protocol.CallToolRequest] = refuse
    return server


async def called(server: Server[Any, Any]) -> Exception:
    """Return what a call of a server's tool raises."""
    async with create_connected_server_and_client_session(server) as session:
        with pytest.raises(Exception) as raised:  # noqa: PT011 - which one it is, is the question
            await session.call_tool("refund", {"how": "ok"})
    return raised.value


@pytest.mark.parametrize(
    ("server", "what"),
    [
        (refusing(protocol.INVALID_PARAMS), "invalid params (-32602), unknown method (-32601)"),
        (Server("without tools"), "invalid params (-32602), unknown method (-32601)"),
        (refusing(protocol.INTERNAL_ERROR), "internal error (-32603)"),
    ],
    ids=["invalid params", "unknown method", "internal error"],
)
async def test_an_error_of_the_protocol_is_judged_by_its_code(server: Server[Any, Any], what: str) -> None:
    """What by JSON-RPC is said before anything is dispatched is a refusal; an internal error is not."""
    error = await called(server)
    is_the_tables(judged(error, saw_something=True, was_answered=True), what)


async def test_a_later_refusal_may_be_our_own_doing() -> None:
    """On a second attempt "invalid params" may be speaking of what the first has changed."""
    error = await called(refusing(protocol.INVALID_PARAMS))
    assert classify(error, kind=Kind.VERIFIED, now=NOW, attempt=2).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("code", [0, 1, 429, -32099])
async def test_an_unknown_code_proves_nothing_unless_the_contract_says_so(code: int) -> None:
    """Codes of a server's own mean what its contract says, and otherwise nothing."""
    error = await called(refusing(code))
    assert judged(error, saw_something=True, was_answered=True).verdict is Verdict.UNKNOWN
    promise = Refusal(answer=code, fault=Fault.PERMANENT)
    found = classify(error, kind=Kind.BLIND, now=NOW, refusals=(promise,))
    assert found.verdict is Verdict.NOT_DONE_PERMANENT


@pytest.mark.parametrize("code", [408, -32000, -32001])
async def test_nobody_can_promise_for_codes_that_the_client_makes_up(code: int) -> None:
    """The client's own codes for silence and for a closed connection stay unknown."""
    error = await called(refusing(code))
    promise = Refusal(answer=code, fault=Fault.TRANSIENT)
    assert classify(error, kind=Kind.BLIND, now=NOW, refusals=(promise,)).verdict is Verdict.UNKNOWN


# A server in a process of its own, and LangChain's adapters


def program(calls: Path) -> StdioConnection:
    """Return how to reach the server that fails as it is told."""
    return {"transport": "stdio", "command": sys.executable, "args": [str(SERVER), str(calls)]}


@asynccontextmanager
async def opened(calls: Path) -> AsyncIterator[ClientSession]:
    """Yield a session with the server."""
    async with create_session(program(calls)) as session:
        await session.initialize()
        yield session


async def what_is_raised(call: Callable[[], Awaitable[object]]) -> Exception:
    """Return what a call raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one it is, is the question
        await call()
    return raised.value


async def test_a_server_that_fails_leaves_its_call_unknown(tmp_path: Path) -> None:
    """A tool's error in prose, silence and a server's death say nothing of what the tool did before."""
    calls = tmp_path / "calls"
    wait = timedelta(seconds=0.5)
    async with opened(calls) as session:
        tool = convert_mcp_tool_to_langchain_tool(session, TOOL)
        assert isinstance(tool, StructuredTool)
        body = tool.coroutine
        assert body is not None
        prose = await what_is_raised(lambda: body(how="raise"))
        silence = await what_is_raised(lambda: session.call_tool("refund", {"how": "stall"}, wait))
    async with opened(calls) as session:
        death = await what_is_raised(lambda: session.call_tool("refund", {"how": "die"}))
    assert calls.read_text("utf-8").split() == ["raise", "stall", "die"]
    for error, what, answered in (
        (prose, "the tool's result is an error (`isError`), by langchain-mcp-adapters", True),
        (silence, "no answer in time", False),
        (death, "the server dies within the call", False),
    ):
        is_the_tables(judged(error, saw_something=True, was_answered=answered), what)


async def test_a_server_that_refuses_the_connection_is_unknown() -> None:
    """The adapters raise it in a group, and a group does not tell what became of the tasks beside it."""
    http: StreamableHttpConnection = {"transport": "streamable_http", "url": f"http://127.0.0.1:{closed_port()}/mcp"}
    tool = convert_mcp_tool_to_langchain_tool(None, TOOL, connection=http)
    assert isinstance(tool, StructuredTool)
    body = tool.coroutine
    assert body is not None
    error = await what_is_raised(lambda: body(how="ok"))
    what = "the server refuses the connection, by langchain-mcp-adapters"
    is_the_tables(judged(error, saw_something=False, was_answered=False), what)


# LangChain


def out_of_stock() -> str:
    """Refuse in prose."""
    raise ToolException("out of stock")


def test_a_tool_exception_is_unknown_unless_the_contract_says_so() -> None:
    """LangChain's exception for tools that failed says nothing of when; a contract that knows may say it."""
    tool = StructuredTool.from_function(out_of_stock)
    with pytest.raises(ToolException) as raised:
        tool.invoke({})
    is_the_tables(
        judged(raised.value, saw_something=True, was_answered=True), "a LangChain tool raises `ToolException`"
    )
    promise = Refusal(answer=ToolException, fault=Fault.PERMANENT)
    found = classify(raised.value, kind=Kind.BLIND, now=NOW, refusals=(promise,))
    assert (found.verdict, found.sent) == (Verdict.NOT_DONE_PERMANENT, Sent.MAYBE)
