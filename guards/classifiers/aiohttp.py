"""aiohttp, which follows redirects, and sends PUT and DELETE a second time when a connection breaks."""

from collections.abc import Mapping
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

PACKAGES: Final = frozenset({"aiohttp"})

_UNSENT: Final = frozenset({"ClientConnectorError", "ConnectionTimeoutError", "ServerFingerprintMismatch"})
_PERMANENT: Final = frozenset({"ContentTypeError", "InvalidURL", "NonHttpUrlClientError", "TooManyRedirects"})
_SENT_AGAIN: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # aiohttp's IDEMPOTENT_METHODS


def evidence(error: BaseException, now: datetime) -> Evidence | None:
    """Say what an exception of aiohttp tells; None for any other.

    Args:
        error: what was raised.
        now: the current time, with a zone.
    """
    names = classes_of(error, *PACKAGES)
    if not names:
        return None
    if "ClientResponseError" in names and _is_an_answer(error):
        return _answered(error, now)
    if _UNSENT.intersection(names):
        calls = list(passed(error, "aiohttp.client", "_request"))
        method = str(calls[-1].get("method")).upper() if calls else None
        return unsent(method=method, whole=_was_the_first_try(calls))
    return broke_off(Fault.PERMANENT if _PERMANENT.intersection(names) else Fault.TRANSIENT)


def _is_an_answer(error: BaseException) -> bool:
    """Whether a server sent this status. To what is no HTTP at all, aiohttp itself gives 400."""
    made_up = error.__cause__ is not None and classes_of(error.__cause__, *PACKAGES)
    return not made_up and getattr(error, "headers", None) is not None


def _answered(error: Any, now: datetime) -> Evidence:
    method = method_of(getattr(error, "request_info", None))
    # With raise_for_status=True the way here is visible. Called on the response it is not: PUT and DELETE stay open.
    calls = list(passed(error, "aiohttp.client", "_request"))
    alone = _was_the_first_try(calls) if calls or method in _SENT_AGAIN else not getattr(error, "history", None)
    return answered(
        getattr(error, "status", 0),
        whole=alone and method not in SAFE_METHODS,
        retry_after_seconds=pause_in(error.headers, now),
    )


def _was_the_first_try(calls: list[Mapping[str, Any]]) -> bool:
    """Whether aiohttp had sent nothing before: no redirect, no second try, no middleware that may try on its own."""
    return bool(calls) and all(
        one.get("history") == []
        and one.get("retry_persistent_connection") is (str(one.get("method")).upper() in _SENT_AGAIN)
        and not one.get("effective_middlewares")
        for one in calls
    )
