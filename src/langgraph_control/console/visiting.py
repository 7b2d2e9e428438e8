"""One request by somebody: what every page and every act of the console is given, and what it takes to be given it."""

import asyncio
import hmac
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from threading import Lock
from typing import Any, Final, TypeAlias, TypeVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from langgraph_control.audit.asking.ledger import Request as LedgerRequest
from langgraph_control.audit.asking.rows import ApprovalRow
from langgraph_control.audit.asking.waiting import Own, groups_of
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.people.approvals import Approvals
from langgraph_control.audit.people.identity import Authenticator
from langgraph_control.audit.people.operators import Operators
from langgraph_control.audit.people.shown_by_role import shown_to_person
from langgraph_control.console.address import Address
from langgraph_control.console.door import PATIENCE_SECONDS, Door
from langgraph_control.console.guarding import FORM
from langgraph_control.console.limits import RateLimit
from langgraph_control.console.presenting import environment
from langgraph_control.console.pulse import Heart
from langgraph_control.console.refusals import Refusals
from langgraph_control.console.sessions import Session, Sessions
from langgraph_control.console.trace_link import TraceLink
from langgraph_control.errors import ControlError, NotAuthenticated

__all__ = ["Act", "Console", "Endpoint", "Page", "Visit", "acting", "cookie_name", "page", "reading"]

T = TypeVar("T")

ACTS_BURST: Final = 120
FAILED_SIGN_INS_BURST: Final = 10
SIGN_INS_AT_ONCE: Final = 4


class Console:
    """What the pages share. Nothing is opened before the first request.

    Args:
        dsn: the connection string of an approver's login that may name persons.
        authenticator: recognises people.
        address: where the console is reached.
        traces: where runs' traces are looked at; None: nowhere.
        sessions: who is signed in.
    """

    def __init__(
        self,
        dsn: str,
        authenticator: Authenticator,
        address: Address,
        *,
        traces: TraceLink | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self.address = address
        self.traces = traces
        self.store = Store(dsn, application_name="langgraph-control console")
        self.approvals = Approvals(dsn, authenticator=authenticator)
        self.operators = Operators(dsn, authenticator=authenticator)
        self.sessions = sessions or Sessions()
        self.door = Door(authenticator, self.store, self.sessions)
        self.heart = Heart(self.store)
        self.listeners = Counter[str]()  # pages that wait for news, by person
        self.checking = Lock()  # of the whole record: long, and one at a time; nobody waits for it
        self.acts = RateLimit(burst=ACTS_BURST, per_minute=60)
        self.failed_sign_ins = RateLimit(burst=FAILED_SIGN_INS_BURST, per_minute=10)
        self.refusals = Refusals(self.store)
        self.signing_in = asyncio.Semaphore(SIGN_INS_AT_ONCE)

    def ask(self, request: LedgerRequest[T]) -> T:
        """Ask the ledger, and give up soon: somebody looks at an empty page meanwhile.

        Args:
            request: what is asked.
        """
        return self.store.call(request, patience_seconds=PATIENCE_SECONDS)

    def close(self) -> None:
        """Close the connections. Safe to repeat."""
        self.approvals.close()
        self.operators.close()
        self.store.close()

    def render(
        self,
        template: str,
        session: Session | None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> HTMLResponse:
        """Return a page.

        Args:
            template: its file.
            session: whose page it is.
            status: of the answer.
            headers: of the answer.
            **values: what the template shows.
        """
        body = environment().get_template(template).render(session=session, now=self.sessions.clock(), **values)
        return HTMLResponse(body, status_code=status, headers=dict(headers or {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request by somebody who is signed in.

    Args:
        console: what the pages share.
        request: the request.
        session: whose it is.
    """

    console: Console
    request: Request
    session: Session

    @property
    def person(self) -> str:
        """Who it is."""
        return self.session.identity.person

    def asked(self, name: str, *, chars_max: int = 256) -> str:
        """Return a part of the address's query; "" where it is missing or too long to be one of ours.

        Args:
            name: its name.
            chars_max: longer ones are none of ours.
        """
        value = self.request.query_params.get(name, "").strip()
        return value if len(value) <= chars_max and value.isprintable() else ""

    @property
    def fields(self) -> Mapping[str, str]:
        """The form's fields."""
        fields: Mapping[str, str] = self.request.scope[FORM]
        return fields

    def field(self, name: str) -> str:
        """Return a field of the form; "" where it is missing.

        Args:
            name: its name.
        """
        return self.fields.get(name, "")

    def sees(self, row: ApprovalRow) -> ApprovalRow:
        """Return a request as this person may see it: with what is shown to their roles alone.

        Args:
            row: the request, as everybody may see it.
        """
        who = Own(person=self.person, groups=groups_of(self.session.identity))
        return shown_to_person(self.console.ask, row, who)

    def render(self, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page of this person's.

        Args:
            template: its file.
            status: of the answer.
            **values: what the template shows.
        """
        return self.console.render(template, self.session, status=status, **values)

    def go(self, path: str) -> Response:
        """Send the browser to another of our pages, after a change.

        Args:
            path: made by us of parts that were checked.
        """
        return RedirectResponse(path, status_code=303)


Page: TypeAlias = Callable[[Visit], Response]
Act: TypeAlias = Callable[[Visit], Response]
Endpoint: TypeAlias = Callable[[Request], Response]


def cookie_name(address: Address) -> str:
    """Return the name of the session's cookie. Over https it is bound to the host by its prefix.

    Args:
        address: where the console is reached.
    """
    return "__Host-control" if address.secure else "control"


def reading(request: Request) -> tuple[Console, Session | None]:
    """Return the console and the session that a request names, checked no further.

    Args:
        request: any.
    """
    console: Console = request.app.state.console
    return console, console.sessions.find(request.cookies.get(cookie_name(console.address)))


def page(show: Page) -> Endpoint:
    """Make an endpoint of a page: for people who are signed in, and still recognised.

    Args:
        show: the page.
    """

    @wraps(show)
    def endpoint(request: Request) -> Response:
        console, session = reading(request)
        if session is None:
            raise _signed_out()
        console.door.check(session, fresh=False)
        return show(Visit(console=console, request=request, session=session))

    return endpoint


def acting(do: Act) -> Endpoint:
    """Make an endpoint of an act: from a form of the session's own, not too often, and authenticated once more.

    Args:
        do: the act.
    """

    @wraps(do)
    def endpoint(request: Request) -> Response:
        console, session = reading(request)
        if session is None:
            raise _signed_out()
        visit = Visit(console=console, request=request, session=session)
        if not hmac.compare_digest(visit.field("csrf").encode(), session.csrf.encode()):
            console.refusals.count("csrf")
            return visit.render("problem.html", status=403, problem=_forged(), undone=True)
        if not console.acts.takes(session.key, time.monotonic()):
            console.refusals.count("rate_limited")
            return visit.render("problem.html", status=429, problem=_too_often(), undone=True)
        console.door.check(session, fresh=True)
        return do(visit)

    return endpoint


def _signed_out() -> NotAuthenticated:
    return NotAuthenticated("You are not signed in.", todo="Sign in.", code="signed_out")


def _forged() -> ControlError:
    return ControlError(
        "The form does not belong to this session: it is an old one, or somebody else's.",
        todo="Open the page again and repeat it there.",
        code="csrf",
    )


def _too_often() -> ControlError:
    return ControlError(
        "That was too often in a short time.", todo="Wait a minute, and repeat it.", code="rate_limited"
    )
