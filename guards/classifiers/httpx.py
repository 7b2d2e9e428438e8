"""httpx and httpx2, and httpcore below them."""

from datetime import datetime
from typing import Any, Final

from langgraph_control.guards.classifiers.http_answers import (
    SAFE_METHODS,
    answered,
    broke_off,
    method_of,
    pause_in,
    unsent,
)
from langgraph_control.guards.classifiers.recognising import classes_of, passed
from langgraph_control.guards.failures import Evidence, Fault

PACKAGES: Final = frozenset({"httpx", "httpx2", "httpcore", "httpcore2"})

_UNSENT: Final = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})
_PERMANENT: Final = frozenset(
    {"UnsupportedProtocol", "LocalProtocolError", "DecodingError", "TooManyRedirects", "InvalidURL", "CookieConflict"}
)


def evidence(error: BaseException, now: datetime) -> Evidence | None:
    """Say what an exception of httpx tells; None for any other.

    Args:
        error: what was raised.
        now: the current time, with a zone.
    """
    names = classes_of(error, *PACKAGES)
    if not names:
        return None
    method = method_of(_request(error))
    if names[0] == "HTTPStatusError":
        response: Any = getattr(error, "response", None)
        return answered(
            getattr(response, "status_code", 0),
            whole=not getattr(response, "history", None) and method not in SAFE_METHODS,
            retry_after_seconds=pause_in(getattr(response, "headers", None), now),
        )
    if names[0] in _UNSENT:
        return unsent(method=method, whole=not _answered_before(error))
    return broke_off(Fault.PERMANENT if names[0] in _PERMANENT else Fault.TRANSIENT)


def _request(error: Any) -> Any:
    # httpx raises RuntimeError from `.request` where no request is attached.
    return getattr(error, "_request", None) or getattr(getattr(error, "response", None), "_request", None)


def _answered_before(error: BaseException) -> bool:
    """Whether this call had an answer already, which led to another request: a redirect, or a 401."""
    clients = ("httpx._client", "httpx2._client")
    return any(
        calls.get("history") for client in clients for calls in passed(error, client, "_send_handling_redirects")
    )
