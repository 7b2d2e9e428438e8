"""What every request passes before anything looks at it: host, method, origin, size; and the headers of every answer.

None of it depends on who is signed in. An agent with a shell reaches loopback, and so does a browser whose page's name
was pointed at 127.0.0.1 (DNS rebinding): hence the list of hosts, also there.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langgraph_control.console.address import Address

__all__ = ["BODY_BYTES_MAX", "CSP", "FORM", "SAFE_HEADERS", "Guard"]

BODY_BYTES_MAX: Final = 65_536
BODY_SECONDS_MAX: Final = 10.0
FIELDS_MAX: Final = 40
TARGET_BYTES_MAX: Final = 4096
HEADERS_BYTES_MAX: Final = 32_768
FORM: Final = "langgraph_control.form"
"""Where a change's fields are in the request's scope."""

LEADING_OUT: Final = re.compile(rb"/\.\.(?:/|$)|\\|%(?:[01][0-9a-f]|7f|2e|2f|5c|25)", re.IGNORECASE)
"""A way up, a backslash; encoded: a control character, a dot, either slash, or what is encoded once more."""

METHODS: Final = frozenset({"GET", "HEAD", "POST"})
REASONS: Final[Mapping[int, str]] = {421: "other_host", 404: "other_path", 403: "other_origin", 408: "too_slow"}
FORM_TYPE: Final = "application/x-www-form-urlencoded"

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
)
SAFE_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer, browsers say "Origin: null" for our own forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), clipboard-read=()",
    "x-robots-tag": "noindex, nofollow",
}


class Guard:
    """Refuses what no page of ours sends, reads a change's fields, and puts the safe headers on every answer.

    Args:
        app: what comes after.
        address: where the console is reached.
        refused: told the reason of each refusal, a stable word.
    """

    def __init__(self, app: ASGIApp, *, address: Address, refused: Callable[[str], None]) -> None:
        self._app, self._address, self._told = app, address, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry one request through."""
        if scope["type"] != "http":  # a lifespan's; there are no websockets
            await self._app(scope, receive, send)
            return
        guarded = _with_headers(send, secure=self._address.secure)
        refused = self._refused(scope)
        if refused is None and scope["method"] == "POST":
            refused = await self._read(scope, receive)
        if refused is not None:
            self._told(REASONS.get(refused.status_code, "malformed"))
            await refused(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)

    def _refused(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._address.hosts:
            return _refusal(421, f"This console answers at {self._address.url} only.")
        if scope["method"] not in METHODS:
            return _refusal(405, "GET, HEAD and POST are all there is.", allow="GET, HEAD, POST")
        if len(scope["raw_path"]) + len(scope["query_string"]) > TARGET_BYTES_MAX:
            return _refusal(414, "The address is too long.")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS_BYTES_MAX:
            return _refusal(431, "The headers are too long.")
        if LEADING_OUT.search(scope["raw_path"]):
            return _refusal(404, "No page of the console has such an address.")
        return self._refused_change(headers) if scope["method"] == "POST" else None

    def _refused_change(self, headers: Headers) -> PlainTextResponse | None:
        if headers.getlist("origin") not in [[origin] for origin in self._address.origins]:
            return _refusal(403, "A change has to come from one of the console's own pages (Origin).")
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return _refusal(403, "A change has to come from one of the console's own pages (Sec-Fetch-Site).")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
            return _refusal(415, f"A change is a form: {FORM_TYPE}.")
        return None

    async def _read(self, scope: Scope, receive: Receive) -> PlainTextResponse | None:
        try:
            body = await asyncio.wait_for(_body(receive), BODY_SECONDS_MAX)
        except TimeoutError:
            return _refusal(408, "The form took too long to arrive.")
        if body is None:
            return _refusal(413, f"A form has at most {BODY_BYTES_MAX} bytes.")
        fields = _fields(body)
        if fields is None:
            return _refusal(400, "That is no form that a page of the console sends.")
        scope[FORM] = fields
        return None


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None if it is too large, or the client went away."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _fields(body: bytes) -> dict[str, str] | None:
    """The fields, each once; None for anything else: what is ambiguous is not guessed at."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:  # UnicodeDecodeError among them
        return None
    fields = dict(pairs)
    if len(fields) != len(pairs) or any("\x00" in text for pair in pairs for text in pair):
        return None
    return {name: value.replace("\r\n", "\n") for name, value in fields.items()}


def _refusal(status: int, why: str, **headers: str) -> PlainTextResponse:
    return PlainTextResponse(f"{why}\nNothing was done.\n", status_code=status, headers=headers)


def _with_headers(send: Send, *, secure: bool) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SAFE_HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
            if secure:
                headers["strict-transport-security"] = "max-age=31536000"
        await send(message)

    return sending
