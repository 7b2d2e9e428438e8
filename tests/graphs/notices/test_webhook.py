"""A webhook is believed only when it says yes itself, in time, at an address that may be spoken to."""

import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from langgraph_control.graphs.notices import addresses
from langgraph_control.graphs.notices.addresses import is_public
from tests.graphs.notices.conftest import Hook
from tests.guards.test_notices import NOTICE
from tests.support.receivers import Receiver, receiver

INTERNAL = "leads to an internal address; nothing was sent (allow_private: true permits it)"


def test_a_place_that_takes_it(place: Receiver, hook: Hook) -> None:
    """Any answer from 200 to 299 will do; it gets the three headers, and the path and query of its address."""
    assert hook(url=f"{place.url}?team=ops").send(NOTICE).error is None
    (one,) = place.received
    assert (one.path, one.headers["content-type"], one.is_signed()) == ("/hook?team=ops", "application/json", True)


def test_rotation(place: Receiver, hook: Hook) -> None:
    """While its secret is changed, a receiver that knows either of the two believes us."""
    hook(secrets=(b"n" * 32, b"o" * 32)).send(NOTICE)
    (one,) = place.received
    assert one.is_signed(b"n" * 32)
    assert one.is_signed(b"o" * 32)
    assert not one.is_signed(b"x" * 32)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(place: Receiver, hook: Hook, status: int) -> None:
    """A redirect is never followed, wherever it leads."""
    with receiver() as inside:
        place.status, place.headers = status, {"location": inside.url}
        assert hook().send(NOTICE).error == f"answered {status}: redirects are not followed; correct the address"
        assert inside.received == []


def test_a_place_that_asks_for_a_pause(place: Receiver, hook: Hook) -> None:
    """Its Retry-After is heeded."""
    place.status, place.headers = 429, {"retry-after": "77"}
    told = hook().send(NOTICE)
    assert (told.error, told.pause_seconds) == ("answered 429", 77.0)


def test_a_place_that_is_down(hook: Hook) -> None:
    """One that nobody listens at cannot be reached, and its address, which may hold a secret, is not in the error."""
    with receiver() as gone:
        url = gone.url
    assert hook(url=url).send(NOTICE).error == "cannot be reached (ConnectionRefusedError)"


def test_a_place_that_is_slow(place: Receiver, hook: Hook) -> None:
    """One that answers a byte now and then is left when the time is over, not when it pleases."""
    place.drip_seconds = 0.05
    began = time.monotonic()
    assert hook(timeout_seconds=0.5).send(NOTICE).error == "no answer within 0.5 s"
    assert time.monotonic() - began < 2


def test_an_answer_that_is_none(hook: Hook) -> None:
    """What speaks no HTTP has taken nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as taken:
                taken.recv(1 << 16)
                taken.sendall(b"220 mail ready\r\n")

        threading.Thread(target=answer, daemon=True).start()
        error = hook(url=f"http://127.0.0.1:{server.getsockname()[1]}/").send(NOTICE).error
    assert error == "cannot be reached (BadStatusLine)"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "0x7f.1", "0"])
def test_internal_addresses(place: Receiver, hook: Hook, host: str) -> None:
    """Without being permitted, no internal address is connected to, however it is written."""
    port = place.url.rpartition(":")[2]
    assert hook(url=f"http://{host}:{port}", allow_private=False).send(NOTICE).error == INTERNAL
    assert place.received == []


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Have the resolver give these addresses, one list for each time it is asked, and note whom it was asked about."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_a_name_that_leads_inside(place: Receiver, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with an internal address among its addresses is refused."""
    names(monkeypatch, ["93.184.216.34", "127.0.0.1"])
    url = place.url.replace("127.0.0.1", "hooks.acme.example")
    assert hook(url=url, allow_private=False).send(NOTICE).error == INTERNAL
    assert place.received == []


def test_rebinding(place: Receiver, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is looked up once: what it leads to a moment later is not connected to."""
    asked = names(monkeypatch, ["192.0.2.1"], ["127.0.0.1"])
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "192.0.2.1")
    connected: list[Any] = []

    class Socket(socket.socket):
        def connect(self, address: Any) -> None:
            connected.append(address[0])
            raise ConnectionRefusedError

    monkeypatch.setattr(socket, "socket", Socket)
    url = place.url.replace("127.0.0.1", "hooks.acme.example")
    assert hook(url=url, allow_private=False).send(NOTICE).error == "cannot be reached (ConnectionRefusedError)"
    assert (asked, connected, place.received) == (["hooks.acme.example"], ["192.0.2.1"], [])


def test_the_address_connected_to(place: Receiver, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a connection ends up inside all the same, nothing is sent over it."""
    judged = iter([True, False])
    monkeypatch.setattr(addresses, "is_public", lambda _: next(judged))
    assert hook(allow_private=False).send(NOTICE).error == INTERNAL
    assert place.received == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - nothing is bound
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("::127.0.0.1", False),
        ("::a9fe:a9fe", False),
        ("::ffff:0:127.0.0.1", False),
    ],
)
def test_what_is_public(address: str, *, public: bool) -> None:
    """Private, shared, link-local, multicast and unspecified addresses are internal, and IPv6 that stands for IPv4."""
    assert is_public(address) is public


@pytest.fixture
def secure(served_tls: ssl.SSLContext) -> Iterator[Callable[[], int]]:
    """A web server over TLS, as its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: Any, **named: Any) -> None:
            del args, named

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = served_tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield lambda: server.server_port
    server.shutdown()
    server.server_close()


def test_certificates(secure: Callable[[], int], hook: Hook, trusting: ssl.SSLContext) -> None:
    """The certificate has to be the name's, by somebody who is trusted, though an address is connected to."""
    good = hook(url=f"https://localhost:{secure()}/", tls=trusting)
    assert good.send(NOTICE).error is None
    assert replace(good, tls=None).send(NOTICE).error == "cannot be reached (SSLCertVerificationError)"
    other = replace(good, url=f"https://127.0.0.1:{secure()}/")
    assert other.send(NOTICE).error == "cannot be reached (SSLCertVerificationError)"
