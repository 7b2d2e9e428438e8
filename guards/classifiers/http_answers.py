"""What HTTP statuses prove, whichever client read them."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from langgraph_control.guards.failures import Evidence, Fault, Sent
from langgraph_control.guards.retries import retry_after

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 section 9.2.1

# Statuses by which a server says that it did not act on the request (RFC 9110 section 15.5, RFC 4918, 6585, 7725).
# Absent on purpose: 408 (the request may have arrived whole) and every status not known here.
REFUSALS: Final[Mapping[int, Fault]] = MappingProxyType(
    {
        **dict.fromkeys(range(400, 408), Fault.PERMANENT),
        **dict.fromkeys(range(409, 418), Fault.PERMANENT),
        **dict.fromkeys((422, 423, 424, 426, 428, 431, 451), Fault.PERMANENT),
        425: Fault.TRANSIENT,  # Too Early (RFC 8470): not processed, to be sent again
        429: Fault.RATE_LIMITED,
    }
)

_REQUEST_TIMEOUT: Final = 408
_SERVER_ERRORS: Final = 500
_NEVER_SERVED: Final = frozenset({501, 505})  # not implemented, HTTP version not supported

NO_CONNECTION: Final = "there was no connection, so nothing was sent"
BROKE_OFF: Final = "the exchange broke off; the request may have been carried out"


def answered(status: int, *, whole: bool, retry_after_seconds: float | None) -> Evidence:
    """Read the proof in a status.

    Args:
        status: what the server answered with.
        whole: the answer is to the write itself, and nothing else was sent for it: no redirect, no try before.
        retry_after_seconds: the pause that was asked for.
    """
    refused = whole and status in REFUSALS
    told = "refused before anything was done" if refused else "it does not tell whether the request was carried out"
    return Evidence(
        fault=fault_of(status),
        sent=Sent.YES,
        undone=refused,
        whole=whole,
        status=status,
        codes=(status,),
        retry_after_seconds=retry_after_seconds,
        reason=f"HTTP {status}: {told}",
    )


def unsent(*, method: str | None, whole: bool) -> Evidence:
    """Read the proof in a connection that was never made.

    Args:
        method: the request's method, where it is known.
        whole: there was no redirect and no try before this one.
    """
    if method in SAFE_METHODS:
        # A write does not end in a GET: this is the lookup before it, or the redirect or read-back after it.
        return Evidence(fault=Fault.TRANSIENT, whole=False, reason="no connection for a read beside the write")
    if not whole:
        return Evidence(
            fault=Fault.TRANSIENT, whole=False, reason="no connection now, but nothing shows that it was the first try"
        )
    return Evidence(fault=Fault.TRANSIENT, sent=Sent.NO, undone=True, reason=NO_CONNECTION)


def broke_off(fault: Fault = Fault.TRANSIENT) -> Evidence:
    """Say that an exchange ended before its answer was whole.

    Args:
        fault: what another try would likely meet.
    """
    return Evidence(fault=fault, reason=BROKE_OFF)


def fault_of(status: int) -> Fault:
    """Return what another try would likely meet after a status.

    Args:
        status: what the server answered with.
    """
    if status in REFUSALS:
        return REFUSALS[status]
    transient = status == _REQUEST_TIMEOUT or (status >= _SERVER_ERRORS and status not in _NEVER_SERVED)
    return Fault.TRANSIENT if transient else Fault.PERMANENT


def pause_in(headers: Any, now: datetime) -> float | None:
    """Return the pause that an answer's headers ask for.

    Args:
        headers: a client's mapping of headers, which finds ``retry-after`` however it is spelled; or None.
        now: the current time, with a zone.
    """
    value = headers.get("retry-after") if hasattr(headers, "get") else None
    return retry_after(value if isinstance(value, str) else None, now)


def method_of(request: Any) -> str | None:
    """Return a request's method in capitals, or None.

    Args:
        request: what a client calls a request; or None.
    """
    method = getattr(request, "method", None)
    return method.upper() if isinstance(method, str) else None
