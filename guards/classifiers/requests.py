"""requests, which wraps what urllib3 raises."""

from datetime import datetime
from typing import Any, Final

from langgraph_control.guards.classifiers import urllib3
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

PACKAGES: Final = frozenset({"requests"})

_PERMANENT: Final = frozenset(
    {
        "ContentDecodingError",
        "InvalidHeader",
        "InvalidJSONError",
        "InvalidSchema",
        "InvalidURL",
        "MissingSchema",
        "StreamConsumedError",
        "TooManyRedirects",
        "UnrewindableBodyError",
        "URLRequired",
    }
)


def evidence(error: BaseException, now: datetime) -> Evidence | None:
    """Say what an exception of requests tells; None for any other.

    Args:
        error: what was raised.
        now: the current time, with a zone.
    """
    names = classes_of(error, *PACKAGES)
    if not names:
        return None
    response: Any = getattr(error, "response", None)
    if "HTTPError" in names and response is not None:
        return _answered(error, response, now)
    wrapped = error.args[0] if error.args else None
    below = urllib3.evidence(wrapped, now) if isinstance(wrapped, BaseException) else None
    if below is not None and urllib3.never_connected(wrapped):
        redirected = any(True for _ in passed(error, "requests.sessions", "resolve_redirects"))
        return unsent(method=method_of(getattr(error, "request", None)), whole=below.whole and not redirected)
    return broke_off(Fault.PERMANENT if _PERMANENT.intersection(names) else Fault.TRANSIENT)


def _answered(error: BaseException, response: Any, now: datetime) -> Evidence:
    request = getattr(error, "request", None) or getattr(response, "request", None)
    # An adapter with retries of its own has the tries before this answer in urllib3's history.
    retries = getattr(getattr(response, "raw", None), "retries", None)
    alone = not getattr(response, "history", None) and (retries is None or urllib3.unsent_history(retries))
    return answered(
        getattr(response, "status_code", 0),
        whole=alone and method_of(request) not in SAFE_METHODS,
        retry_after_seconds=pause_in(getattr(response, "headers", None), now),
    )
