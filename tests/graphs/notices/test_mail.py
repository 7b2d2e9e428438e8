"""Mail goes out encrypted, once for everybody, with headers that nobody else writes."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from langgraph_control.graphs.notices.mail import Mail, Security
from langgraph_control.guards.notices import NoticeEvent
from tests.guards.test_notices import NOTICE

Serve = Callable[..., Mail]


class Box:
    """What a mail server got."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refused: set[str] = set()
        self.answer = "250 taken"

    async def handle_RCPT(  # noqa: N802 - the server calls it so
        self, server: Any, session: Any, envelope: Envelope, address: str, options: Any
    ) -> str:
        """Take a recipient, or not."""
        del server, session, options
        if address in self.refused:
            return "550 unknown"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802 - likewise
        """Take a mail, or not."""
        del server, session
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients.append(envelope.rcpt_tos)
        return self.answer


@pytest.fixture
def box() -> Box:
    """What the server got."""
    return Box()


@pytest.fixture
def serve(box: Box, served_tls: ssl.SSLContext, trusting: ssl.SSLContext) -> Iterator[Serve]:
    """Start a mail server, and return who writes to it."""
    started: list[Controller] = []

    def made(security: Security = Security.STARTTLS, *, offers: Security | None = None, **changes: Any) -> Mail:
        offered = offers or security
        options: dict[str, Any] = {}
        if offered is Security.STARTTLS:
            options = {"tls_context": served_tls}
        elif offered is Security.TLS:
            options = {"ssl_context": served_tls}
        if "username" in changes:
            options |= {"authenticator": _knows, "auth_require_tls": True}
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        server = Controller(box, hostname="127.0.0.1", port=port, server_hostname="localhost", **options)
        # Its own start looks whether it answers, over a connection that trusts no certificate of ours.
        server._trigger_server = lambda: socket.create_connection(("127.0.0.1", port)).close()  # type: ignore[method-assign]
        server.start()
        started.append(server)
        settings: dict[str, Any] = {
            "name": "mail",
            "events": tuple(NoticeEvent),
            "attempts": 3,
            "timeout_seconds": 5.0,
            "host": "localhost",
            "port": port,
            "security": security,
            "sender": "control@acme.example",
            "to": ("ana@acme.example", "bo@acme.example"),
            "tls": trusting,
        }
        return Mail(**{**settings, **changes})

    yield made
    for server in started:
        server.stop()


def _knows(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    del server, session, envelope, mechanism
    return AuthResult(success=data.login == b"control" and data.password == b"s3cret", handled=False)


@pytest.mark.parametrize("security", list(Security))
def test_a_mail(serve: Serve, box: Box, security: Security) -> None:
    """It is plain text for everybody at once, says that a machine wrote it, and has the notice's id."""
    assert serve(security).send(NOTICE).error is None
    (mail,) = box.mails
    assert box.recipients == [["ana@acme.example", "bo@acme.example"]]
    assert mail["Message-ID"] == "<msg_1@acme.example>"
    assert (mail["Auto-Submitted"], mail.get_content_type()) == ("auto-generated", "text/plain")
    assert "https://control.acme.example/requests/apr_1" in mail.get_content()


def test_headers_cannot_be_injected(serve: Serve, box: Box) -> None:
    """Line breaks in a target make no header: they are gone before they get here, and what came through is refused."""
    mail = serve()
    assert mail.send(replace(NOTICE, target="x\r\nBcc: eve@evil.example")).error == "cannot be reached (ValueError)"
    assert box.mails == []


def test_a_login(serve: Serve, box: Box) -> None:
    """It logs in where that is asked for, and a wrong password is an answer."""
    right = serve(username="control", password="s3cret")  # noqa: S106 - of the server above
    assert right.send(NOTICE).error is None
    assert replace(right, username="mallory").send(NOTICE).error == "answered 535"
    assert len(box.mails) == 1


def test_no_encryption(serve: Serve, box: Box) -> None:
    """A server that does not encrypt gets nothing, nor does one that is not trusted."""
    assert serve(offers=Security.NONE).send(NOTICE).error == "does not offer what was asked for (starttls, or a login)"
    assert replace(serve(), tls=None).send(NOTICE).error == "cannot be trusted (CERTIFICATE_VERIFY_FAILED)"
    assert box.mails == []


def test_recipients_that_are_refused(serve: Serve, box: Box) -> None:
    """One unknown recipient keeps the mail from no other; where all are, it was not sent."""
    mail = serve()
    box.refused = {"ana@acme.example"}
    assert mail.send(NOTICE).error is None
    assert box.recipients == [["bo@acme.example"]]
    box.refused.add("bo@acme.example")
    assert mail.send(NOTICE).error == "takes mail for none of the recipients"


def test_a_server_that_refuses(serve: Serve, box: Box) -> None:
    """What it does not take was not sent."""
    box.answer = "451 later"
    assert serve().send(NOTICE).error == "answered 451"


def test_a_server_that_is_slow(serve: Serve) -> None:
    """One that says hello a letter at a time is left when the time is over; one that is gone cannot be reached."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            with server.accept()[0] as taken:
                try:
                    while not stop.wait(0.05):
                        taken.sendall(b"2")
                except OSError:
                    return

        threading.Thread(target=drip, daemon=True).start()
        mail = replace(serve(), host="127.0.0.1", port=server.getsockname()[1], timeout_seconds=0.5)
        began = time.monotonic()
        assert mail.send(NOTICE).error == "no answer within 0.5 s"
        assert time.monotonic() - began < 2
        stop.set()
    assert mail.send(NOTICE).error == "cannot be reached (ConnectionRefusedError)"
