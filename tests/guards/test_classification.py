"""What exceptions prove, above all httpx's: by kind of effect, by attempt, in groups and after earlier requests.

What each client raises, and when, is in ``classifiers/``.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import ModuleType
from typing import Any

import httpx
import httpx2
import psycopg
import psycopg_pool
import pytest
import requests
from langchain_core.tools import ToolException
from pydantic import TypeAdapter, ValidationError

from langgraph_control.guards.classification import classify
from langgraph_control.guards.failures import Failure, Fault, Sent, Verdict
from langgraph_control.guards.lifecycle import Kind
from tests.support.misbehaving import (
    Answer,
    MisbehavingServer,
    close_after_request,
    closed_port,
    deaf,
    full_backlog,
    half_open,
    half_response,
    not_http,
    not_tls,
    reset_after_request,
    reset_within_request,
    silence,
    status,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OUTSIDE = [Kind.KEYED, Kind.VERIFIED, Kind.BLIND]  # kinds whose effect is not in our own transaction
SHORT = {"read": 0.2, "write": 0.2, "pool": 0.2}
TIMEOUT = httpx.Timeout(2.0, **SHORT)
TLS = ssl.create_default_context()  # one for all clients: loading the certificates takes longer than a call


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    """One misbehaving server."""
    it = MisbehavingServer()
    yield it
    it.close()


def call(url: str, *, asynchronous: bool, method: str = "POST", library: ModuleType = httpx, **options: Any) -> None:
    """Send one request and raise whatever the client raises."""
    options = {"timeout": library.Timeout(2.0, **SHORT), "verify": TLS, **options}
    if not asynchronous:
        with library.Client(**options) as client:
            client.request(method, url).raise_for_status()
        return

    async def send() -> None:
        async with library.AsyncClient(**options) as client:
            (await client.request(method, url)).raise_for_status()

    asyncio.run(send())


def failure(error: BaseException, kind: Kind | None = Kind.VERIFIED, *, attempt: int = 1) -> Failure:
    """Classify at a fixed time."""
    return classify(error, kind=kind, now=NOW, attempt=attempt)


both_ways = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
each_outside = pytest.mark.parametrize("kind", OUTSIDE)


# Nothing was sent


@both_ways
@pytest.mark.parametrize("library", [httpx, httpx2])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_refused_connection_is_not_done(host: str, library: ModuleType, *, asynchronous: bool) -> None:
    """A refused connection proves that nothing was sent, whichever client and however many addresses it tried."""
    with pytest.raises(library.ConnectError) as raised:
        call(f"http://{host}:{closed_port()}", asynchronous=asynchronous, library=library)
    assert failure(raised.value) == Failure(
        verdict=Verdict.NOT_DONE_TRANSIENT,
        fault=Fault.TRANSIENT,
        sent=Sent.NO,
        error="ConnectError",
        retry_after_seconds=None,
        reason="there was no connection, so nothing was sent",
    )


@both_ways
def test_a_failed_tls_handshake_is_not_done(server: MisbehavingServer, *, asynchronous: bool) -> None:
    """A server that does not speak TLS never saw the request."""
    server.answer(not_tls)
    with pytest.raises(httpx.ConnectError) as raised:
        call(f"https://127.0.0.1:{server.port}", asynchronous=asynchronous)
    assert failure(raised.value).verdict is Verdict.NOT_DONE_TRANSIENT


@both_ways
def test_an_unknown_host_is_not_done(*, asynchronous: bool) -> None:
    """A name that does not resolve (RFC 6761 reserves this one) leads to no connection."""
    with pytest.raises(httpx.ConnectError) as raised:
        call("http://billing.invalid", asynchronous=asynchronous)
    assert failure(raised.value).sent is Sent.NO


@both_ways
def test_a_connect_timeout_is_not_done(*, asynchronous: bool) -> None:
    """A connection that was never accepted carried nothing."""
    with full_backlog() as port, pytest.raises(httpx.ConnectTimeout) as raised:
        call(f"http://127.0.0.1:{port}", asynchronous=asynchronous, timeout=httpx.Timeout(2.0, connect=0.1))
    assert failure(raised.value).verdict is Verdict.NOT_DONE_TRANSIENT


def test_a_pool_timeout_is_not_done(server: MisbehavingServer) -> None:
    """A request that never got a connection from the pool was not sent."""
    url = server.answer(half_open)
    limits = httpx.Limits(max_connections=1)
    with (
        httpx.Client(timeout=TIMEOUT, limits=limits) as client,
        client.stream("POST", url),
        pytest.raises(httpx.PoolTimeout) as raised,
    ):
        client.post(url)
    assert failure(raised.value).verdict is Verdict.NOT_DONE_TRANSIENT


@pytest.mark.parametrize(
    "provoke",
    [lambda: socket.create_connection(("127.0.0.1", closed_port())), lambda: socket.getaddrinfo("billing.invalid", 80)],
)
def test_plain_sockets_that_never_connected_are_not_done(provoke: Callable[[], object]) -> None:
    """Refusal and failed name resolution are proof without an HTTP client too."""
    with pytest.raises(OSError) as raised:  # noqa: PT011 - ConnectionRefusedError and gaierror share only this root
        provoke()
    assert failure(raised.value).verdict is Verdict.NOT_DONE_TRANSIENT


# The answer was lost

LOST: dict[str, tuple[Answer, type[httpx.RequestError]]] = {
    "reset within the request": (reset_within_request, httpx.ReadError),
    "reset after the request was read": (reset_after_request, httpx.ReadError),
    "closed without an answer": (close_after_request, httpx.RemoteProtocolError),
    "closed within the answer": (half_response, httpx.RemoteProtocolError),
    "an answer that is no HTTP": (not_http, httpx.RemoteProtocolError),
    "no answer in time": (silence, httpx.ReadTimeout),
}


@both_ways
@each_outside
@pytest.mark.parametrize("how", LOST)
def test_a_lost_answer_is_unknown(how: str, kind: Kind, server: MisbehavingServer, *, asynchronous: bool) -> None:
    """A write whose answer never came is unknown, whatever the client calls it."""
    answer, expected = LOST[how]
    with pytest.raises(expected) as raised:
        call(server.answer(answer), asynchronous=asynchronous)
    found = failure(raised.value, kind)
    assert (found.verdict, found.fault, found.sent) == (Verdict.UNKNOWN, Fault.TRANSIENT, Sent.MAYBE)


@pytest.mark.parametrize("how", LOST)
def test_a_lost_answer_of_a_read_is_transient(how: str, server: MisbehavingServer) -> None:
    """A read is free to repeat, so a lost answer is only a reason to ask again."""
    answer, expected = LOST[how]
    with pytest.raises(expected) as raised:
        call(server.answer(answer), asynchronous=False, method="GET")
    assert failure(raised.value, None).verdict is Verdict.NOT_DONE_TRANSIENT


def test_a_write_timeout_is_unknown(server: MisbehavingServer) -> None:
    """A body that stopped half-way may have been enough for the other side to act."""
    url = server.answer(deaf)
    with pytest.raises(httpx.WriteTimeout) as raised, httpx.Client(timeout=TIMEOUT) as client:
        client.post(url, content=bytes(32_000_000))
    assert failure(raised.value).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "error",
    [
        httpx.WriteError(""),
        httpx.CloseError(""),
        httpx.ProxyError(""),
        httpx.LocalProtocolError(""),
        httpx.UnsupportedProtocol(""),
        httpx.DecodingError(""),
        httpx.TooManyRedirects(""),
        httpx.InvalidURL(""),
        httpx.StreamConsumed(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_only_three_httpx_errors_prove_that_nothing_was_sent(error: Exception) -> None:
    """Every other error of the client is unknown for a write, also those that usually come early."""
    assert failure(error).verdict is Verdict.UNKNOWN


def test_an_error_derived_from_the_clients_own_is_judged_as_that() -> None:
    """A subclass proves what its base proves."""

    class BillingUnreachable(httpx.ConnectError):
        """The way an SDK names it."""

    class BillingSlow(httpx.ReadTimeout):
        """Likewise."""

    assert failure(BillingUnreachable("")).verdict is Verdict.NOT_DONE_TRANSIENT
    assert failure(BillingSlow("")).verdict is Verdict.UNKNOWN


# The other side answered

REFUSED_FOR_GOOD = [400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 412, 413, 414, 415, 416, 417]
REFUSED_FOR_GOOD += [422, 423, 424, 426, 428, 431, 451]
TELLS_NOTHING = [300, 301, 302, 303, 304, 307, 308, 408, 418, 421, 499, 500, 501, 502, 503, 504, 507, 520, 599]


def answered(code: int, kind: Kind | None, server: MisbehavingServer, *, attempt: int = 1, **headers: str) -> Failure:
    """Classify what the client raises when the server answers with this status."""
    with pytest.raises(httpx.HTTPStatusError) as raised:
        call(server.answer(status(code, **headers)), asynchronous=False, method="GET" if kind is None else "POST")
    return failure(raised.value, kind, attempt=attempt)


@each_outside
@pytest.mark.parametrize("code", REFUSED_FOR_GOOD)
def test_a_refusal_is_not_done_and_permanent(code: int, kind: Kind, server: MisbehavingServer) -> None:
    """A status that says "I did not act on this" proves it, and the same call would be refused again."""
    found = answered(code, kind, server)
    assert (found.verdict, found.sent) == (Verdict.NOT_DONE_PERMANENT, Sent.YES)
    assert found.reason == f"HTTP {code}: refused before anything was done"


@each_outside
@pytest.mark.parametrize("code", TELLS_NOTHING)
def test_any_other_status_is_unknown_for_a_write(code: int, kind: Kind, server: MisbehavingServer) -> None:
    """A server that failed, redirected or timed out may have acted first."""
    assert answered(code, kind, server).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (404, Verdict.NOT_DONE_PERMANENT),
        (408, Verdict.NOT_DONE_TRANSIENT),
        (423, Verdict.NOT_DONE_PERMANENT),
        (425, Verdict.NOT_DONE_TRANSIENT),
        (429, Verdict.NOT_DONE_RATE_LIMITED),
        (500, Verdict.NOT_DONE_TRANSIENT),
        (501, Verdict.NOT_DONE_PERMANENT),
        (503, Verdict.NOT_DONE_TRANSIENT),
        (505, Verdict.NOT_DONE_PERMANENT),
    ],
)
def test_a_status_of_a_read_says_whether_to_ask_again(code: int, verdict: Verdict, server: MisbehavingServer) -> None:
    """For a read only the fault matters."""
    assert answered(code, None, server).verdict is verdict


@each_outside
def test_too_many_requests_is_not_done_and_slows_down(kind: Kind, server: MisbehavingServer) -> None:
    """429 is a refusal with a pause, in seconds or as a date."""
    found = answered(429, kind, server, Retry_After="7")
    assert (found.verdict, found.retry_after_seconds) == (Verdict.NOT_DONE_RATE_LIMITED, 7.0)
    in_a_minute = format_datetime(NOW + timedelta(minutes=1), usegmt=True)
    assert answered(429, kind, server, Retry_After=in_a_minute).retry_after_seconds == 60.0
    assert answered(429, kind, server).retry_after_seconds is None


def test_too_early_is_not_done_and_transient(server: MisbehavingServer) -> None:
    """425 asks for the same request again (RFC 8470 section 5.2)."""
    assert answered(425, Kind.BLIND, server).verdict is Verdict.NOT_DONE_TRANSIENT


def test_an_unavailable_service_tells_when_to_look_again(server: MisbehavingServer) -> None:
    """503 with Retry-After stays unknown for a write, and the pause is kept for whatever comes next."""
    found = answered(503, Kind.VERIFIED, server, Retry_After="30")
    assert (found.verdict, found.fault, found.retry_after_seconds) == (Verdict.UNKNOWN, Fault.TRANSIENT, 30.0)


@pytest.mark.parametrize("code", [400, 404, 409, 410, 412, 422, 423])
def test_a_later_refusal_may_be_our_own_doing(code: int, server: MisbehavingServer) -> None:
    """On a second attempt "already refunded" may be speaking of the first, so a verified effect is read back."""
    assert answered(code, Kind.VERIFIED, server, attempt=2).verdict is Verdict.UNKNOWN
    assert answered(code, Kind.BLIND, server, attempt=2).verdict is Verdict.NOT_DONE_PERMANENT


def test_a_key_still_in_use_is_unknown(server: MisbehavingServer) -> None:
    """A keyed provider answers 409 while the first request under the key is being worked on."""
    assert answered(409, Kind.KEYED, server, attempt=2).verdict is Verdict.UNKNOWN
    assert answered(422, Kind.KEYED, server, attempt=2).verdict is Verdict.NOT_DONE_PERMANENT


# More than one request in a call


@both_ways
def test_a_refused_redirect_after_the_write_is_unknown(server: MisbehavingServer, *, asynchronous: bool) -> None:
    """A POST answered by 303 was carried out; that the page behind it is missing or unreachable proves nothing."""
    url = server.answer(
        status(303, Location=f"http://127.0.0.1:{closed_port()}/done"), status(303, Location="/gone"), status(404)
    )
    with pytest.raises(httpx.ConnectError) as unreachable:
        call(url, asynchronous=asynchronous, follow_redirects=True)
    assert failure(unreachable.value).verdict is Verdict.UNKNOWN
    with pytest.raises(httpx.HTTPStatusError) as missing:
        call(url, asynchronous=asynchronous, follow_redirects=True)
    assert failure(missing.value).verdict is Verdict.UNKNOWN


def call_again_on_error(url: str, again: str, *, asynchronous: bool) -> None:
    """Do what a tool with a retry of its own does."""
    try:
        call(url, asynchronous=asynchronous)
    except httpx.HTTPError:
        call(again, asynchronous=asynchronous)


@both_ways
@pytest.mark.parametrize("second", [None, 409])
def test_a_retry_inside_the_tool_hides_no_lost_answer(
    second: int | None, server: MisbehavingServer, *, asynchronous: bool
) -> None:
    """A tool that repeats a timed-out write itself and is then refused has lost the first answer all the same."""
    url = server.answer(silence, *([status(second)] if second else []))
    again = url if second else f"http://127.0.0.1:{closed_port()}"
    with pytest.raises((httpx.ConnectError, httpx.HTTPStatusError)) as raised:
        call_again_on_error(url, again, asynchronous=asynchronous)
    assert failure(raised.value).verdict is Verdict.UNKNOWN


def test_a_retry_inside_the_tool_after_a_refusal_keeps_its_proof(server: MisbehavingServer) -> None:
    """Where each request of the call was provably refused, so was the call."""
    url = server.answer(status(429), status(422))
    with pytest.raises(httpx.HTTPStatusError) as raised:
        call_again_on_error(url, url, asynchronous=False)
    assert failure(raised.value).verdict is Verdict.NOT_DONE_PERMANENT


@each_outside
def test_a_task_group_is_unknown_even_if_all_it_tells_of_is_undone(kind: Kind, server: MisbehavingServer) -> None:
    """A group cancels its other tasks without a word of them: here a write whose answer was on its way."""
    url = server.answer(silence)

    async def two_writes() -> None:
        async with httpx.AsyncClient(timeout=TIMEOUT) as client, asyncio.TaskGroup() as group:
            group.create_task(client.post(url))
            await asyncio.sleep(0.05)  # the write is under way before its sibling fails
            group.create_task(client.post(f"http://127.0.0.1:{closed_port()}"))

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(two_writes())
    assert [type(one) for one in raised.value.exceptions] == [httpx.ConnectError]
    assert failure(raised.value, kind).verdict is Verdict.UNKNOWN


def test_a_group_takes_the_worst_fault_of_its_members(server: MisbehavingServer) -> None:
    """For a read in a group one hopeless member makes the whole hopeless; a nested group counts like its members."""
    with pytest.raises(httpx.HTTPStatusError) as raised:
        call(server.answer(status(429, Retry_After="9")), asynchronous=False)
    limited = ExceptionGroup("", [ExceptionGroup("", [raised.value]), httpx.ReadTimeout("")])
    found = failure(limited, None)
    assert (found.verdict, found.retry_after_seconds) == (Verdict.NOT_DONE_RATE_LIMITED, 9.0)
    hopeless = failure(ExceptionGroup("", [limited, ValueError()]), None)
    assert (hopeless.verdict, hopeless.error) == (Verdict.NOT_DONE_PERMANENT, "ExceptionGroup")


# Everything else


def not_an_integer() -> ValidationError:
    """Build a validation error as a tool's own body raises it."""
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(int).validate_python("many")
    return raised.value


OTHERS: dict[str, tuple[BaseException, Fault]] = {
    "TimeoutError": (TimeoutError(), Fault.TRANSIENT),
    "ConnectionResetError": (ConnectionResetError(), Fault.TRANSIENT),
    "BrokenPipeError": (BrokenPipeError(), Fault.TRANSIENT),
    "CancelledError": (asyncio.CancelledError(), Fault.TRANSIENT),
    "requests.ConnectTimeout": (requests.ConnectTimeout(), Fault.TRANSIENT),
    "requests.ReadTimeout": (requests.ReadTimeout(), Fault.TRANSIENT),
    "requests.ConnectionError": (requests.ConnectionError(), Fault.TRANSIENT),
    "ToolException": (ToolException("no"), Fault.PERMANENT),
    "ValidationError": (not_an_integer(), Fault.PERMANENT),
    "TypeError": (TypeError(), Fault.PERMANENT),
    "ValueError": (ValueError(), Fault.PERMANENT),
    "KeyboardInterrupt": (KeyboardInterrupt(), Fault.PERMANENT),
    "psycopg": (psycopg.errors.UniqueViolation(), Fault.PERMANENT),
}


@each_outside
@pytest.mark.parametrize("name", OTHERS)
def test_an_error_that_proves_nothing_is_unknown_for_a_write(name: str, kind: Kind) -> None:
    """A programming error, a refusal in prose or a cancellation may come after the request was sent."""
    error, fault = OTHERS[name]
    found = failure(error, kind)
    assert (found.verdict, found.fault) == (Verdict.UNKNOWN, fault)


@pytest.mark.parametrize("name", OTHERS)
def test_an_error_that_proves_nothing_is_never_unknown_for_a_read(name: str) -> None:
    """A read that failed is repeated or not; there is nothing to verify."""
    error, fault = OTHERS[name]
    assert failure(error, None).verdict == f"not_done_{fault}"


def test_an_error_of_the_tools_own_stays_unknown_whatever_caused_it() -> None:
    """More may have happened between the cause and the error that a tool raised from it."""
    error = RuntimeError("refund failed")
    error.__cause__ = httpx.ConnectError("")
    assert failure(error).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (psycopg.errors.SerializationFailure(), Verdict.NOT_DONE_TRANSIENT),
        (psycopg.errors.DeadlockDetected(), Verdict.NOT_DONE_TRANSIENT),
        (psycopg.errors.LockNotAvailable(), Verdict.NOT_DONE_TRANSIENT),
        (psycopg.errors.QueryCanceled(), Verdict.NOT_DONE_TRANSIENT),
        (psycopg.errors.AdminShutdown(), Verdict.NOT_DONE_TRANSIENT),
        (psycopg.errors.ConnectionFailure(), Verdict.NOT_DONE_TRANSIENT),
        (psycopg.errors.TooManyConnections(), Verdict.NOT_DONE_TRANSIENT),
        (psycopg.OperationalError("server closed the connection unexpectedly"), Verdict.NOT_DONE_TRANSIENT),
        (psycopg_pool.PoolTimeout(), Verdict.NOT_DONE_TRANSIENT),
        (psycopg.errors.UniqueViolation(), Verdict.NOT_DONE_PERMANENT),
        (psycopg.errors.CheckViolation(), Verdict.NOT_DONE_PERMANENT),
        (psycopg.errors.UndefinedTable(), Verdict.NOT_DONE_PERMANENT),
        (psycopg.ProgrammingError("a placeholder too many"), Verdict.NOT_DONE_PERMANENT),
        (TimeoutError(), Verdict.NOT_DONE_TRANSIENT),
        (ValueError(), Verdict.NOT_DONE_PERMANENT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_a_transaction_that_raised_is_not_done(error: Exception, verdict: Verdict) -> None:
    """The effect rolls back with its transaction; the SQLSTATE says whether another try makes sense."""
    assert failure(error, Kind.TRANSACTION).verdict is verdict


def test_a_failure_holds_nothing_of_what_the_error_says() -> None:
    """Neither message nor address nor body of an error reaches the record."""
    request = httpx.Request("POST", "http://127.0.0.1/refunds?iban=DE02", json={"iban": "DE02"})
    error = httpx.HTTPStatusError("DE02", request=request, response=httpx.Response(422, request=request, text="DE02"))
    assert "DE02" not in repr(failure(error))
