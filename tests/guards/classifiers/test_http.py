"""Real HTTP clients against a real server that misbehaves: what each raises, and what that proves."""

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import requests
import urllib3
import urllib3.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from langgraph_control.guards.classification import classify
from langgraph_control.guards.failures import Failure, Fault, Refusal, Sent, Verdict
from langgraph_control.guards.lifecycle import Kind
from tests.guards.classifiers.judging import NOW, judged
from tests.support.failure_tables import LOST, NOT_SENT, SENT_AGAIN, STATUSES, Answered, Broken, SentAgain
from tests.support.http_clients import CLIENTS, PATIENCE_SECONDS, Sending
from tests.support.misbehaving import (
    Answer,
    Exchange,
    MisbehavingServer,
    close_after_request,
    closed_port,
    full_backlog,
    half_open,
    half_response,
    not_http,
    not_tls,
    reset_after_request,
    reset_at_once,
    reset_before_request,
    reset_within_request,
    silence,
    status,
)

SHORT_SECONDS: Final = 0.2
TRIES_MAX: Final = 4  # of any client by itself, as it comes
RAISING = sorted(set(CLIENTS) - {"urllib3"})  # clients that raise something for a status


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    """One misbehaving server."""
    it = MisbehavingServer()
    yield it
    it.close()


def raised_by(client: str, sending: Sending) -> Exception:
    """Return what the client raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one it is, is the question
        CLIENTS[client](sending)
    return raised.value


def named(row: Broken, client: str) -> tuple[tuple[str, ...], Verdict]:
    """Return the classes and the verdict that the table has for a client."""
    column = client.partition(" ")[0].replace("httpx2", "httpx")
    return row.raises[column], row.differs.get(column, row.verdict)


def what_of(row: Broken) -> str:
    """Name a row."""
    return row.what


# Nothing was sent


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("row", NOT_SENT, ids=what_of)
def test_a_connection_that_was_never_made_is_not_done(
    row: Broken, client: str, server: MisbehavingServer, tmp_path: Path
) -> None:
    """Each client's word for "there was no connection" is proof; where it has none of its own, it is not."""
    with NEVER_CONNECTED[row.what](server, tmp_path) as sending:
        error = raised_by(client, sending)
    classes, verdict = named(row, client)
    found = judged(error, saw_something=bool(server.received), was_answered=False)
    assert found.error in classes
    assert found.verdict is verdict
    assert found.sent is (row.sent if verdict is row.verdict else Sent.MAYBE)
    assert found.fault is Fault.TRANSIENT


@contextlib.contextmanager
def _refused(_server: MisbehavingServer, _folder: Path) -> Iterator[Sending]:
    yield Sending(url=f"http://127.0.0.1:{closed_port()}")


@contextlib.contextmanager
def _unresolved(_server: MisbehavingServer, _folder: Path) -> Iterator[Sending]:
    yield Sending(url="http://billing.invalid")  # RFC 6761 reserves this name


@contextlib.contextmanager
def _not_in_time(_server: MisbehavingServer, _folder: Path) -> Iterator[Sending]:
    with full_backlog() as port:
        yield Sending(url=f"http://127.0.0.1:{port}", connect_seconds=SHORT_SECONDS)


@contextlib.contextmanager
def _clear_text(server: MisbehavingServer, _folder: Path) -> Iterator[Sending]:
    server.answer(*[not_tls] * TRIES_MAX)
    yield Sending(url=f"https://127.0.0.1:{server.port}")


@contextlib.contextmanager
def _untrusted(server: MisbehavingServer, folder: Path) -> Iterator[Sending]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(folder))

    def greet(exchange: Exchange) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(exchange.connection, server_side=True) as inside:
            exchange.received += inside.recv(65_536)  # what comes through TLS would be the request

    server.answer(*[greet] * TRIES_MAX)
    yield Sending(url=f"https://127.0.0.1:{server.port}")


def self_signed(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1 that nobody trusts, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    today = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = folder / "server.pem"
    path.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


NEVER_CONNECTED: Final[dict[str, Callable[[MisbehavingServer, Path], Any]]] = {
    "connection refused": _refused,
    "the host's name does not resolve": _unresolved,
    "no connection in time": _not_in_time,
    "a certificate nobody trusts": _untrusted,
    "the TLS greeting is answered in clear text": _clear_text,
}


def test_a_pool_that_ran_out_is_not_done(server: MisbehavingServer) -> None:
    """A request that never got a connection from urllib3's pool was not sent."""
    server.answer(half_open)
    with urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=1, block=True) as pool:
        taken = pool.urlopen("POST", "/refunds", preload_content=False)
        with pytest.raises(urllib3.exceptions.EmptyPoolError) as raised:
            pool.urlopen("POST", "/refunds", pool_timeout=0)
        taken.close()
    assert judged(raised.value, saw_something=False, was_answered=False).sent is Sent.NO


# The answer was lost

BREAKS: Final[dict[str, Answer]] = {
    "reset before the request was read": reset_before_request,
    "reset within the request": reset_within_request,
    "reset after the request was read": reset_after_request,
    "closed without an answer": close_after_request,
    "closed within the answer": half_response,
    "an answer that is no HTTP": not_http,
    "no answer in time": silence,
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("row", LOST, ids=what_of)
def test_an_answer_that_was_lost_is_unknown(row: Broken, client: str, server: MisbehavingServer) -> None:
    """A write whose answer never came, or came in part, is unknown, whatever the client calls it."""
    classes, verdict = named(row, client)
    patience = SHORT_SECONDS if row.what == "no answer in time" else PATIENCE_SECONDS
    sending = Sending(url=server.answer(BREAKS[row.what]), read_seconds=patience)
    if not classes:
        CLIENTS[client](sending)  # it takes what came for the whole answer
        return
    error = raised_by(client, sending)
    server.settled()
    found = judged(error, saw_something=bool(server.received), was_answered=False)
    assert found.error in classes
    assert (found.sent, found.verdict, found.fault) == (row.sent, verdict, Fault.TRANSIENT)
    assert server.whole is ("before" not in row.what and "within the request" not in row.what)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_reset_at_the_first_moment_is_never_called_unsent_wrongly(client: str, server: MisbehavingServer) -> None:
    """Whichever side is faster, a client that says "nothing was sent" is right."""
    for _ in range(3):
        one = MisbehavingServer()
        try:
            error = raised_by(client, Sending(url=one.answer(*[reset_at_once] * TRIES_MAX)))
            one.settled()
            judged(error, saw_something=bool(one.received), was_answered=False)
        finally:
            one.close()


# The other side answered


def answered(client: str, server: MisbehavingServer, answer: Answer) -> Failure:
    """Classify what a client raises for an answer to a write."""
    error = raised_by(client, Sending(url=server.answer(answer)))
    server.settled()
    assert server.whole
    return judged(error, saw_something=True, was_answered=True)


@pytest.mark.parametrize("client", RAISING)
@pytest.mark.parametrize(("code", "row"), [(code, row) for row in STATUSES for code in row.codes])
def test_a_status_is_judged_alike_for_every_client(
    code: int, row: Answered, client: str, server: MisbehavingServer
) -> None:
    """What a status proves does not depend on who reads it."""
    found = answered(client, server, status(code))
    assert (found.verdict, found.fault, found.sent) == (row.verdict, row.fault, Sent.YES)
    assert found.retry_after_seconds is None


IN_A_MINUTE: Final = format_datetime(NOW + timedelta(minutes=1), usegmt=True)


@pytest.mark.parametrize("client", RAISING)
@pytest.mark.parametrize("code", [408, 409, 423, 425, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), (IN_A_MINUTE, 60.0), ("soon", None)])
def test_a_pause_is_read_from_every_clients_headers(
    value: str, seconds: float | None, code: int, client: str, server: MisbehavingServer
) -> None:
    """Retry-After is heard in seconds and as a date, with any status, and changes no verdict."""
    found = answered(client, server, status(code, Retry_After=value))
    assert found.retry_after_seconds == seconds
    (row,) = (row for row in STATUSES if code in row.codes)
    assert found.verdict is row.verdict


def test_urllib3_raises_nothing_for_a_status(server: MisbehavingServer) -> None:
    """A tool on urllib3 alone has to look at the status itself."""
    CLIENTS["urllib3"](Sending(url=server.answer(status(503))))


@pytest.mark.parametrize("client", RAISING)
def test_a_contract_widens_and_narrows_what_a_status_proves(client: str, server: MisbehavingServer) -> None:
    """A provider's guarantee makes 503 a refusal, and its lack makes 409 unknown, for every client."""
    promises = (Refusal(answer=503, fault=Fault.TRANSIENT), Refusal(answer=409, fault=None))
    server.answer(status(503, Retry_After="9"), status(409))
    widened, narrowed = (
        classify(raised_by(client, Sending(url=server.url)), kind=Kind.BLIND, now=NOW, refusals=promises)
        for _ in range(2)
    )
    assert (widened.verdict, widened.retry_after_seconds) == (Verdict.NOT_DONE_TRANSIENT, 9.0)
    assert (narrowed.verdict, narrowed.fault) == (Verdict.UNKNOWN, Fault.PERMANENT)


# More than one request in a call


def _put(server: MisbehavingServer, *answers: Answer, **options: Any) -> Sending:
    return Sending(url=server.answer(*answers), method="PUT", options=options)


def _retrying(**retries: Any) -> urllib3.Retry:
    return urllib3.Retry(**{"backoff_factor": 0.0, **retries})


def nobody() -> str:
    """Return an address where nobody answers."""
    return f"http://127.0.0.1:{closed_port()}/refunds"


def sent_again(row: SentAgain, server: MisbehavingServer) -> Sending:
    """Return what to send so that a row of the table happens."""
    if row.what.startswith("redirected"):
        return _redirected(row, server)
    lost = server.then_gone(close_after_request)
    ways: dict[tuple[str, str], Callable[[], Sending]] = {
        ("requests", "refused at each of 3 retries of an adapter"): lambda: Sending(
            url=nobody(), options={"max_retries": _retrying(total=3)}
        ),
        ("requests", "PUT lost, then refused at an adapter's retry"): lambda: _put(
            server, lost, max_retries=_retrying(total=3)
        ),
        ("requests", "PUT answered 503, then 409 at an adapter's retry"): lambda: _put(
            server, status(503), status(409), max_retries=_retrying(total=1, status_forcelist=[503])
        ),
        ("urllib3", "PUT refused, with `retries=False`"): lambda: Sending(
            url=nobody(), method="PUT", options={"retries": False}
        ),
        ("urllib3", "PUT lost, then refused at its retry"): lambda: _put(server, lost),
        ("aiohttp", "PUT refused"): lambda: Sending(url=nobody(), method="PUT"),
        ("aiohttp", "PUT lost, then refused at its second try"): lambda: _put(server, lost),
        ("aiohttp", "DELETE answered 404"): lambda: Sending(url=server.answer(status(404)), method="DELETE"),
        ("aiohttp", "DELETE lost, then answered 404 at its second try"): lambda: Sending(
            url=server.answer(close_after_request, status(404)), method="DELETE"
        ),
        ("aiohttp", "POST answered 409, with a middleware"): lambda: Sending(
            url=server.answer(status(409)), options={"middlewares": [as_it_is]}
        ),
        ("botocore", "refused at each of 2 tries"): lambda: Sending(url=nobody(), options={"tries": 2}),
        ("botocore", "lost, then refused at its second try"): lambda: Sending(
            url=server.answer(lost), options={"tries": 2}
        ),
        ("botocore", "answered 500, then a refusal at its second try"): lambda: Sending(
            url=server.answer(status(500), status(409)), options={"tries": 2}
        ),
        ("requests", "refused; no retries, as it comes"): lambda: Sending(url=nobody()),
        ("urllib3", "POST refused at each of its 3 retries"): lambda: Sending(url=nobody()),
    }
    return ways[row.client, row.what]()


async def as_it_is(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request once, where a middleware might do so twice."""
    return await handler(request)


def _redirected(row: SentAgain, server: MisbehavingServer) -> Sending:
    options = {"follow_redirects": True} if row.client.startswith("httpx") else {}
    code = 307 if "307" in row.what else 303
    if "404" in row.what:
        return Sending(url=server.answer(status(code, Location="/gone"), status(404)), options=options)
    return Sending(url=server.answer(status(code, Location=nobody())), options=options)


@pytest.mark.parametrize("row", SENT_AGAIN, ids=lambda row: f"{row.client}: {row.what}")
def test_a_client_that_sends_again_hides_nothing(row: SentAgain, server: MisbehavingServer) -> None:
    """What a client raises at its last try counts only if the tries before it are seen to have sent nothing."""
    error = raised_by(row.client, sent_again(row, server))
    server.settled()
    found = judged(
        error, saw_something=bool(server.received), was_answered=all(one.answered for one in server.exchanges)
    )
    assert found.verdict is row.verdict


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_status_raised_by_an_aiohttp_response_hides_its_way(method: str, server: MisbehavingServer) -> None:
    """Raised by the response and not by the session, a status says nothing of a second try: DELETE stays unknown."""
    url = server.answer(status(404))
    async with aiohttp.ClientSession() as session, session.request(method, url) as response:
        with pytest.raises(aiohttp.ClientResponseError) as raised:
            response.raise_for_status()
    found = judged(raised.value, saw_something=True, was_answered=True)
    assert found.verdict is (Verdict.NOT_DONE_PERMANENT if method == "POST" else Verdict.UNKNOWN)


@pytest.mark.parametrize("client", ["requests", "urllib3", "aiohttp", "botocore"])
def test_without_its_way_here_an_unmade_connection_proves_nothing(client: str) -> None:
    """Clients that repeat by themselves do not say so in the exception: without its traceback, nobody knows."""
    error = raised_by(client, Sending(url=f"http://127.0.0.1:{closed_port()}"))
    forget_the_way(error)
    found = judged(error, saw_something=False, was_answered=False)
    assert (found.verdict, found.sent) == (Verdict.UNKNOWN, Sent.MAYBE)


def forget_the_way(error: BaseException | None) -> None:
    """Drop the tracebacks of an exception and of all it came from."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("first", CLIENTS)
@pytest.mark.parametrize("second", CLIENTS)
def test_a_retry_inside_the_tool_hides_no_lost_answer(first: str, second: str, server: MisbehavingServer) -> None:
    """A tool that loses an answer and is refused at its next try, by any client, has lost the first all the same."""
    lost = Sending(url=server.answer(close_after_request, status(409)))
    refused = lost if second in RAISING else Sending(url=f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one it is does not matter here
        try_twice(lambda: CLIENTS[first](lost), lambda: CLIENTS[second](refused))
    found = judged(raised.value, saw_something=True, was_answered=False)
    assert found.reason == "an earlier request of this call was lost before this one failed"


@pytest.mark.parametrize("second", CLIENTS)
def test_a_lost_exchange_without_a_client_is_not_forgotten(second: str, server: MisbehavingServer) -> None:
    """A request over a plain socket that timed out in the tool is no layer of the client that was refused after it."""
    server.answer(silence, status(409))
    url = server.url if second in RAISING else nobody()
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which one it is does not matter here
        try_twice(lambda: by_hand(server.port), lambda: CLIENTS[second](Sending(url=url)))
    found = judged(raised.value, saw_something=True, was_answered=False)
    assert found.reason == "an earlier request of this call was lost before this one failed"


def by_hand(port: int) -> None:
    """Send a request without any client, and wait for an answer in vain."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"POST /refunds HTTP/1.1\r\nHost: billing\r\nContent-Length: 0\r\n\r\n")
        line.settimeout(SHORT_SECONDS)
        line.recv(1)


def try_twice(once: Callable[[], None], again: Callable[[], None]) -> None:
    """Do what a tool with a retry of its own does."""
    try:
        once()
    except Exception:  # noqa: BLE001 - what such tools do
        again()


@pytest.mark.parametrize("client", sorted(set(CLIENTS) - {"botocore"}))
def test_a_read_beside_the_write_proves_nothing(client: str) -> None:
    """No connection for a GET says nothing of the write that came before it."""
    error = raised_by(client, Sending(url=f"http://127.0.0.1:{closed_port()}", method="GET"))
    assert judged(error, saw_something=False, was_answered=False).verdict is Verdict.UNKNOWN


def test_a_session_wrapped_by_an_sdk_is_judged_as_requests(server: MisbehavingServer) -> None:
    """An SDK's exception that extends the client's own, with what it wraps, proves what that proves."""

    class BillingUnreachableError(requests.ConnectionError):
        """The way an SDK names it."""

    error = raised_by("requests", Sending(url=f"http://127.0.0.1:{closed_port()}"))
    again = BillingUnreachableError(*error.args, request=getattr(error, "request", None))
    assert judged(again, saw_something=False, was_answered=False).verdict is Verdict.NOT_DONE_TRANSIENT
