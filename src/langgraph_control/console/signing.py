"""The sign-in page, signing in and out, and the way in from a link in a mail or a chat."""

import hmac
import re
import secrets
import time
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from langgraph_control.console.door import PASSING
from langgraph_control.console.guarding import FORM
from langgraph_control.console.sessions import SESSION_HOURS
from langgraph_control.console.visiting import Console, Visit, acting, cookie_name, reading
from langgraph_control.errors import ControlError, NotAuthenticated

__all__ = ["own_path", "sign_in", "sign_in_page", "sign_out", "turned_away"]

OWN_PATHS: Final = re.compile(
    r"/(?:decided|runs|attention|writes|record|requests/apr_[0-9a-f]{32}|runs/run_[0-9a-f]{32})?"
)
"""Where a sign-in may lead: to pages of ours, by their whole path. Anything else leads to the inbox."""


def own_path(path: str) -> str:
    """Return a path if it is one of our pages', else the inbox's.

    Args:
        path: from a request: not trusted.
    """
    return path if OWN_PATHS.fullmatch(path) else "/"


def sign_in_page(request: Request) -> Response:
    """Show the sign-in page."""
    console, session = reading(request)
    then = _target(console, request.query_params.get("then", "/"))
    if session is not None:
        return RedirectResponse(then, status_code=303)
    return _form(console, request, then=then)


async def sign_in(request: Request) -> Response:
    """Open a session for whoever presents a credential that holds, however many that do not came before it.

    Behind a proxy all clients have one address, so a limit on tries by address would let anybody lock everybody out.
    Only what fails is counted. A try costs little (a hash, or a signature), and few are looked at at once: strangers
    cannot take the threads that answer everybody else.
    """
    console, before = reading(request)
    fields: dict[str, str] = request.scope[FORM]
    then = _target(console, fields.get("then", "/"))
    nonce = request.cookies.get(_nonce_name(console), "")
    expected = console.sessions.stranger_token(nonce)
    if not nonce or not hmac.compare_digest(fields.get("csrf", "").encode(), expected.encode()):
        console.refusals.count("csrf")
        return _form(console, request, then=then, status=403, why="The page was open for too long. Try it again.")
    try:
        async with console.signing_in:
            name, _ = await run_in_threadpool(console.door.sign_in, fields.get("token", "").strip())
    except NotAuthenticated as error:
        console.refusals.count(error.code)
        if not console.failed_sign_ins.takes(request.client.host if request.client else "", time.monotonic()):
            return _form(
                console, request, then=then, status=429, why=f"{error.what} Too many tries failed in a minute."
            )
        return _form(console, request, then=then, status=401, why=f"{error.what} {error.todo}")
    if before is not None:
        console.sessions.close(before)
    answer = RedirectResponse(then, status_code=303)
    _set(answer, console, cookie_name(console.address), name, SESSION_HOURS * 3600)
    answer.delete_cookie(
        _nonce_name(console), path="/", secure=console.address.secure, httponly=True, samesite="strict"
    )
    return answer


@acting
def sign_out(visit: Visit) -> Response:
    """End the session."""
    visit.console.sessions.close(visit.session)
    answer = RedirectResponse("/sign-in", status_code=303)
    secure = visit.console.address.secure
    answer.delete_cookie(cookie_name(visit.console.address), path="/", secure=secure, httponly=True, samesite="strict")
    return answer


def turned_away(request: Request, error: ControlError) -> Response:
    """Answer somebody who is not, or no longer, signed in.

    Args:
        request: theirs.
        error: why not.
    """
    console: Console = request.app.state.console
    if error.code not in {"signed_out", *PASSING}:
        console.refusals.count(error.code)
    then = own_path(request.url.path)
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"HX-Redirect": f"/sign-in?then={then}"})
    if request.method == "POST" or error.code != "signed_out":
        return _form(console, request, then=then, status=401, why=f"{error.what} {error.safe} {error.todo}")
    if request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
        # From a link elsewhere the browser keeps back a cookie that is "strict"; from a page of ours it does not.
        return console.render("coming_in.html", None, then=then)
    return RedirectResponse(f"/sign-in?then={then}", status_code=303)


def _target(console: Console, asked: str) -> str:
    """Where a sign-in leads. Links and forms of ours ask for nothing else, so another one is counted."""
    then = own_path(asked)
    if then != asked:
        console.refusals.count("other_target")
    return then


def _form(console: Console, request: Request, *, then: str, status: int = 200, why: str = "") -> Response:
    nonce = request.cookies.get(_nonce_name(console), "")
    if not re.fullmatch(r"[\w-]{43}", nonce):
        nonce = secrets.token_urlsafe(32)
    token = console.sessions.stranger_token(nonce)
    answer = console.render("sign_in.html", None, status=status, then=then, why=why, csrf=token)
    _set(answer, console, _nonce_name(console), nonce, 3600)
    return answer


def _nonce_name(console: Console) -> str:
    return f"{cookie_name(console.address)}-form"


def _set(answer: Response, console: Console, name: str, value: str, seconds: int) -> None:
    secure = console.address.secure
    answer.set_cookie(name, value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="strict")
