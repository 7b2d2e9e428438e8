"""A console that is served for real, on a ledger of its own, and people to use it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import pytest

from langgraph_control.audit.people.identity import Identity, NotAuthenticated
from langgraph_control.audit.people.token_file import token_hash
from langgraph_control.console.address import Address
from langgraph_control.console.serving import Server
from langgraph_control.console.trace_link import TraceLink
from langgraph_control.console.visiting import Console
from tests.support.desk import Desk, publish
from tests.support.postgres import Database

ANA, BO, CY, DI = (f"{name}@acme.example" for name in ("ana", "bo", "cy", "di"))


@dataclass
class People:
    """An authenticator whose people are known by ``token-NAME``, until they are sent away."""

    gone: set[str] = field(default_factory=set)
    expires_at: datetime | None = None
    asked: int = 0

    def authenticate(self, credential: str) -> Identity:
        """Return whose token it is."""
        self.asked += 1
        person = f"{credential.removeprefix('token-')}@acme.example"
        if person not in {ANA, BO, CY, DI} or person in self.gone:
            raise NotAuthenticated("The token is not known.", todo="Ask for a new one.", code="token_unknown")
        return Identity(
            person=person,
            issuer="test",
            subject=person,
            credential=token_hash(credential),
            expires_at=self.expires_at,
        )


@dataclass(frozen=True, kw_only=True)
class Served:
    """A console that is served."""

    url: str
    console: Console
    people: People

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.url.rpartition(":")[2])

    def browser(self, **options: Any) -> httpx.Client:
        """Return a client that keeps cookies and says where it comes from, as browsers do."""
        options = {"headers": {"origin": self.url}, "timeout": 30, **options}
        return httpx.Client(base_url=self.url, trust_env=False, **options)

    @contextmanager
    def signed_in(self, name: str = "ana") -> Iterator[httpx.Client]:
        """Yield somebody's client."""
        with self.browser() as client:
            answer = sign_in(client, f"token-{name}")
            assert answer.status_code == 303, answer.text
            yield client


def hidden(page: str, name: str) -> str:
    """Return a hidden field's value, of the last form that has it: the first is the one that signs out."""
    return page.rpartition(f'name="{name}" value="')[2].partition('"')[0]


def sign_in(client: httpx.Client, token: str, **fields: str) -> httpx.Response:
    """Fill the sign-in form in."""
    csrf = hidden(client.get("/sign-in").text, "csrf")
    return client.post("/sign-in", data={"csrf": csrf, "token": token, "then": "/", **fields})


def cast(client: httpx.Client, name: str, decision: str = "approve", **fields: str) -> httpx.Response:
    """Open a request and vote on it."""
    page = client.get(f"/requests/{name}").text
    form = {"csrf": hidden(page, "csrf"), "digest": hidden(page, "digest"), "decision": decision, "comment": ""}
    return client.post(f"/requests/{name}/vote", data={**form, **fields})


@contextmanager
def served(dsn: str, people: People, *, traces: TraceLink | None = None) -> Iterator[Served]:
    """Serve a console on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    console = Console(dsn, people, Address.of(url), traces=traces)
    ready = threading.Event()
    server = Server(console, host="127.0.0.1", port=port, ready=ready.set)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(20)
        yield Served(url=url, console=console, people=people)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def desk_database(shared_database: Database) -> Database:
    """A ledger with the desk's policy."""
    publish(shared_database)
    return shared_database


@pytest.fixture(scope="module")
def desk(desk_database: Database) -> Iterator[Desk]:
    """A desk whose runs wait for approval."""
    made = Desk.on(desk_database)
    with made.control:
        yield made


@pytest.fixture(scope="module")
def site(desk_database: Database) -> Iterator[Served]:
    """The module's console."""
    with served(desk_database.local_approver, People()) as one:
        yield one


@pytest.fixture(autouse=True)
def _everybody_is_back(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "site" in request.fixturenames:
        site = request.getfixturevalue("site")
        site.people.gone.clear()
        site.people.expires_at = None
        site.console.failed_sign_ins._buckets.clear()
        site.console.acts._buckets.clear()
