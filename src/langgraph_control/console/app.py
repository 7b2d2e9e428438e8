"""The console put together: routes, what each answer passes, and what an error looks like."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Final

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from langgraph_control.console import acts, pages, receipts, signing, standing_in, together, words
from langgraph_control.console.door import PASSING
from langgraph_control.console.guarding import Guard
from langgraph_control.console.presenting import asset, environment
from langgraph_control.console.pulse import LISTENERS_MAX, Beat
from langgraph_control.console.sessions import Session
from langgraph_control.console.visiting import Console, reading
from langgraph_control.errors import (
    ApprovalRefused,
    ArgumentError,
    ControlError,
    NotAuthenticated,
    OperationRefused,
    SchemaMismatch,
    TrailUnavailable,
    UnknownRun,
)

__all__ = ["console_app"]

ASSETS: Final = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
STATUSES: Final[tuple[tuple[type[ControlError], int], ...]] = (
    (NotAuthenticated, 401),
    (UnknownRun, 404),
    (ArgumentError, 409),
    (ApprovalRefused, 409),
    (OperationRefused, 409),
    (TrailUnavailable, 503),
    (SchemaMismatch, 503),
)
CODES: Final = (
    (frozenset({"unknown_request", "approval_name_invalid", "policy_not_found", "entry_unknown"}), 404),
    (frozenset({"receipt_unsealed", "receipt_too_long", "export_overtaken"}), 409),
    (PASSING, 503),
)
FORGED: Final[Mapping[str, str]] = {
    "no_decision": "malformed",
    "no_verdict": "malformed",
    "choice_missing": "malformed",
    UnknownRun.code: UnknownRun.code,
}
"""Changes that no page of ours sends, by the error's code: the reason that goes on record."""

NEWS_SECONDS_MAX: Final = 5.0
LISTENERS_EACH_MAX: Final = 4
"""Of one person. Browsers open six connections to a host (HTTP/1.1): a stream holds one, and links need some, too."""


def console_app(console: Console) -> ASGIApp:
    """Return the console as an ASGI application. Its connections are closed when it is shut down.

    Args:
        console: what its pages share.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        telling = asyncio.create_task(console.refusals.telling())
        yield
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
        await console.heart.stop()
        await asyncio.to_thread(console.close)

    environment().globals["version_of"] = version_of
    app = Starlette(
        routes=[
            Route("/", pages.inbox),
            Route("/decided", pages.decided),
            Route("/requests/{name}", pages.request),
            Route("/requests/{name}/receipt", receipts.receipt_of_request),
            Route("/requests/{name}/vote", words.vote, methods=["POST"]),
            Route("/requests/{name}/edit", words.edit, methods=["POST"]),
            Route("/requests/{name}/withdraw", words.withdraw, methods=["POST"]),
            Route("/requests/{name}/break-glass", words.break_glass, methods=["POST"]),
            Route("/requests/{name}/review", words.review, methods=["POST"]),
            Route("/together", together.together),
            Route("/together", together.vote_together, methods=["POST"]),
            Route("/standing-in", standing_in.standing_in),
            Route("/standing-in/give", standing_in.give, methods=["POST"]),
            Route("/standing-in/end", standing_in.end, methods=["POST"]),
            Route("/runs", pages.runs),
            Route("/runs/{name}", pages.run),
            Route("/runs/{name}/receipt", receipts.receipt_of_run),
            Route("/runs/{name}/resolve", acts.resolve, methods=["POST"]),
            Route("/attention", pages.attention),
            Route("/writes", pages.writes),
            Route("/writes/freeze", acts.freeze, methods=["POST"]),
            Route("/writes/unfreeze", acts.unfreeze, methods=["POST"]),
            Route("/policies/{hash}", pages.policy),
            Route("/record", pages.record),
            Route("/record/check", acts.check_record, methods=["POST"]),
            Route("/events", events),
            Route("/sign-in", signing.sign_in_page),
            Route("/sign-in", signing.sign_in, methods=["POST"]),
            Route("/sign-out", signing.sign_out, methods=["POST"]),
            Route("/static/{name}", static),
        ],
        exception_handlers={ControlError: _told, HTTPException: _missing, Exception: _broken},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.console = console
    return Guard(
        app, address=console.address, refused=console.refusals.count
    )  # around everything: also an error of ours leaves with the safe headers


@cache
def version_of(name: str) -> str:
    """Return a mark that changes with a file that pages use.

    Args:
        name: the file.
    """
    return hashlib.sha256(asset(name)).hexdigest()[:12]


def static(request: Request) -> Response:
    """Give one of the few files that pages use; the name is looked up and never made into a path."""
    name = request.path_params["name"]
    if name not in ASSETS:
        raise HTTPException(404)
    lasting = request.query_params.get("v") == version_of(name)
    cached = "public, max-age=31536000, immutable" if lasting else "no-cache"
    return Response(asset(name), headers={"content-type": ASSETS[name], "cache-control": cached})


async def events(request: Request) -> Response:
    """Tell an open page how many requests wait, whenever that changes, for as long as its session holds."""
    console, session = reading(request)
    if session is None:
        return PlainTextResponse("Sign in.\n", status_code=401)
    await asyncio.to_thread(console.door.check, session, fresh=False)
    if console.heart.listeners >= LISTENERS_MAX or console.listeners[session.identity.person] >= LISTENERS_EACH_MAX:
        return PlainTextResponse("Too many pages are open.\n", status_code=429)
    return _Stream(console, session)


class _Stream(StreamingResponse):
    """The news of one page, counted among its person's from the moment that it was not refused."""

    def __init__(self, console: Console, session: Session) -> None:
        super().__init__(_news(console, session), media_type="text/event-stream")
        self._listeners, self._person = console.listeners, session.identity.person

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._listeners[self._person] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._listeners[self._person] -= 1


async def _news(console: Console, session: Session) -> AsyncIterator[bytes]:
    beats = console.heart.beats(wait_seconds=NEWS_SECONDS_MAX)
    try:
        yield b"retry: 3000\n\n"
        async for beat in beats:
            try:
                await asyncio.to_thread(console.door.check, session, fresh=False)
            except NotAuthenticated:
                yield b"event: signed-out\ndata: {}\n\n"
                return
            except ControlError:
                pass  # the ledger is away: the beat says so
            if not console.sessions.holds(session):
                yield b"event: signed-out\ndata: {}\n\n"
                return
            yield _event(beat)
    finally:
        await beats.aclose()  # type: ignore[attr-defined]  # a generator, by its type an iterator


def _event(beat: Beat | None) -> bytes:
    if beat is None:
        return b": still here\n\n"
    if beat.pulse is None:
        return b"event: away\ndata: {}\n\n"
    return b"event: inbox\ndata: %b\n\n" % orjson.dumps({"open": beat.pulse.open})


def _told(request: Request, error: Exception) -> Response:
    """What an error raised on purpose looks like."""
    assert isinstance(error, ControlError)  # noqa: S101 - registered for these alone
    if isinstance(error, NotAuthenticated) and error.code not in PASSING:
        return signing.turned_away(request, error)
    console, session = reading(request)
    posted = request.method == "POST"
    if posted and error.code in FORGED:
        console.refusals.count(FORGED[error.code])
    away = isinstance(error, TrailUnavailable)
    status = next((code for kind, code in STATUSES if isinstance(error, kind)), 500)
    status = next((code for codes, code in CODES if error.code in codes), status)
    return console.render(
        "problem.html", session, status=status, problem=error, undone=posted and not away, away=away, posted=posted
    )


def _missing(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    console, session = reading(request)
    headers = error.headers if isinstance(error, HTTPException) else None
    problem = ControlError("There is no such page.", todo="Go to the inbox.", code="page_missing")
    if status != 404:  # noqa: PLR2004 - as in HTTP
        problem = ControlError("That cannot be asked of this page.", todo="Go to the inbox.", code="page_method")
    return console.render("problem.html", session, status=status, headers=headers, problem=problem, undone=False)


def _broken(request: Request, _error: Exception) -> Response:
    """Anything else: it is logged by the server, and nothing of it is shown."""
    console, _ = reading(request)
    problem = ControlError(
        "Something in the console is broken.",
        safe="What was recorded before is safe; whether this was recorded, the request's or the run's page shows.",
        todo="Look there. The server's log has the details.",
        code="console_broken",
    )
    return console.render("problem.html", None, status=500, problem=problem, undone=False)
