"""A ledger with requests, a notifier that tells a web server on loopback of them."""

import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from langgraph_control.audit.connecting.store import Store
from langgraph_control.graphs.notices.notifier import Notifier
from langgraph_control.graphs.notices.webhook import Webhook
from langgraph_control.guards.notices import NoticeEvent
from tests.support.postgres import Database
from tests.support.receivers import KEY, Receiver, receiver
from tests.support.trails import TrailWriter

Hook = Callable[..., Webhook]
Notifying = Callable[..., Notifier]


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """A writer of trails in a database of its own, with finance published."""
    with TrailWriter(database) as writer:
        writer.publish()
        yield writer


@pytest.fixture
def place() -> Iterator[Receiver]:
    """A web server that is told."""
    with receiver() as served:
        yield served


@pytest.fixture
def hook(place: Receiver) -> Hook:
    """Return a webhook to that server, perhaps with other settings."""

    def made(**changes: Any) -> Webhook:
        settings: dict[str, Any] = {
            "name": "ops",
            "events": tuple(NoticeEvent),
            "attempts": 3,
            "timeout_seconds": 2.0,
            "url": place.url,
            "secrets": (KEY,),
            "allow_private": True,
        }
        return Webhook(**{**settings, **changes})

    return made


@pytest.fixture
def notifying(database: Database) -> Iterator[Notifying]:
    """Return a notifier for places, on the agent's login or another one."""
    stores: list[Store] = []

    def made(*sinks: Any, dsn: str | None = None, **changes: Any) -> Notifier:
        store = Store(dsn or database.agent)
        stores.append(store)
        settings: dict[str, Any] = {
            "console": "https://control.acme.example/",
            "remind_at": 0.5,
            "poll_seconds": 0.02,
            "pause_seconds": 0.01,
        }
        return Notifier(store, sinks, **{**settings, **changes})

    yield made
    for store in stores:
        store.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost and its key, in one file."""
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", file.with_suffix(".key"), "-out", file],
        check=True, capture_output=True,
    )  # fmt: skip
    file.write_text(file.read_text() + file.with_suffix(".key").read_text())
    return file


@pytest.fixture
def served_tls(certificate: Path) -> ssl.SSLContext:
    """What a server with that certificate needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    """What a client that trusts it needs."""
    return ssl.create_default_context(cafile=str(certificate))
