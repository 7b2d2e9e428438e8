"""What went wrong with a call, and whether its effect can have happened. Retries are for availability, not correctness.

A failure is *not done* only where that is proven: nothing was sent, or the other side refused before acting. Everything
else about a write is *unknown*, whatever the client calls it. Exceptions of HTTP clients are recognised by the name of
their classes, so that this room imports none of them.

The evidence is that of one exception. A tool whose body sends two writes can have done the first when the second is
refused, and nothing here can see it: one tool, one effect.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from langgraph_control.guards.lifecycle import Kind

RETRY_AFTER_SECONDS_MAX: Final = 86_400.0
"""No server can ask for a longer pause than a day; a longer wait is a person's decision."""


class Sent(StrEnum):
    """Was a byte of the request sent?"""

    NO = "no"  # proven: there was never a connection to send it on
    MAYBE = "maybe"  # nothing proves either
    YES = "yes"  # the other side answered


class Fault(StrEnum):
    """What another try would likely meet."""

    TRANSIENT = "transient"  # a later try may well succeed
    RATE_LIMITED = "rate_limited"  # a later and slower try may well succeed
    PERMANENT = "permanent"  # the same call will fail again


class Verdict(StrEnum):
    """What is known of the effect after a failure."""

    NOT_DONE_TRANSIENT = "not_done_transient"  # proven undone: try again after a back-off
    NOT_DONE_RATE_LIMITED = "not_done_rate_limited"  # proven undone: try again, no sooner than asked
    NOT_DONE_PERMANENT = "not_done_permanent"  # proven undone: do not try again unasked
    UNKNOWN = "unknown"  # it may have happened: verify before anything else


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A classified failure. Safe to record: it holds no message, payload or address."""

    verdict: Verdict
    fault: Fault  # for unknown: what a try would meet once the effect is proven absent
    sent: Sent
    error: str  # the exception's class name
    retry_after_seconds: float | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    fault: Fault
    reason: str
    sent: Sent = Sent.MAYBE
    undone: bool = False  # proven: nothing sent, or refused before acting
    status: int | None = None
    retry_after_seconds: float | None = None


_NOT_DONE: Final[Mapping[Fault, Verdict]] = MappingProxyType(
    {
        Fault.TRANSIENT: Verdict.NOT_DONE_TRANSIENT,
        Fault.RATE_LIMITED: Verdict.NOT_DONE_RATE_LIMITED,
        Fault.PERMANENT: Verdict.NOT_DONE_PERMANENT,
    }
)

_HTTP_CLIENTS: Final = frozenset({"httpx", "httpx2", "httpcore", "httpcore2"})
_UNSENT: Final = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout"})
_HTTP_PERMANENT: Final = frozenset(
    {"UnsupportedProtocol", "LocalProtocolError", "DecodingError", "TooManyRedirects", "InvalidURL", "CookieConflict"}
)
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 section 9.2.1
_REQUEST_TIMEOUT: Final = 408
_SERVER_ERRORS: Final = 500

# Statuses by which a server says that it did not act on the request (RFC 9110 section 15.5, RFC 4918, 6585, 7725).
# Absent on purpose: 408 (the request may have arrived whole) and every status not known here.
_REFUSALS: Final[Mapping[int, Fault]] = MappingProxyType(
    {
        **dict.fromkeys(range(400, 408), Fault.PERMANENT),
        **dict.fromkeys(range(409, 418), Fault.PERMANENT),
        **dict.fromkeys((422, 423, 424, 426, 428, 431, 451), Fault.PERMANENT),
        425: Fault.TRANSIENT,  # Too Early (RFC 8470): not processed, to be sent again
        429: Fault.RATE_LIMITED,
    }
)

# Refusals which, on a later attempt, may be speaking of the effect of our own earlier one. A keyed provider answers 409
# while the first request under the key is still being worked on; a verified effect may land after it was read as
# absent, and then "already refunded", "version changed" or "no such record" is our own doing.
_MAY_BE_OURS: Final[Mapping[Kind, frozenset[int]]] = MappingProxyType(
    {Kind.KEYED: frozenset({409}), Kind.VERIFIED: frozenset({400, 404, 409, 410, 412, 422, 423})}
)

_OTHER_UNSENT: Final = frozenset({"builtins.ConnectionRefusedError", "socket.gaierror"})
_OTHER_TRANSIENT: Final = frozenset(
    {
        "builtins.ConnectionError",
        "builtins.TimeoutError",
        "asyncio.exceptions.CancelledError",
        "concurrent.futures._base.CancelledError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
    }
)

# PostgreSQL appendix A: classes 08 (connection) and 53 (resources), and single codes for conflicts and shutdowns.
_SQL_TRANSIENT_CLASSES: Final = ("08", "53")
_SQL_TRANSIENT: Final = frozenset({"40001", "40003", "40P01", "55P03", "57014", "57P01", "57P02", "57P03"})


def classify(error: BaseException, *, kind: Kind | None, now: datetime, attempt: int = 1) -> Failure:
    """Say what an exception proves about the effect of the call that raised it.

    Args:
        error: what the tool's body raised. Only its type, status, headers and chain are looked at.
        kind: the effect's kind; None for a read, which is free to repeat and never unknown.
        now: the current time, with a zone; a Retry-After given as a date is counted from it.
        attempt: 1 for the first attempt of the action. Later ones may be refused because of an earlier one's effect.

    Returns:
        The verdict with its reason. An unknown type of exception on a write is unknown: more may have happened after
        whatever caused it.
    """
    evidence = _evidence(error, now)
    undone, reason = evidence.undone, evidence.reason
    if kind is None:
        undone = True
    elif kind is Kind.TRANSACTION:
        undone, reason = True, "the transaction was rolled back"
    elif undone and attempt > 1 and evidence.status in _MAY_BE_OURS.get(kind, frozenset()):
        undone, reason = False, f"{reason}; it may be speaking of an earlier attempt's effect"
    elif undone and not all(_evidence(one, now).undone for one in _earlier(error)):
        undone, reason = False, "an earlier request of this call was lost before this one failed"
    return Failure(
        verdict=_NOT_DONE[evidence.fault] if undone else Verdict.UNKNOWN,
        fault=evidence.fault,
        sent=evidence.sent,
        error=type(error).__name__,
        retry_after_seconds=evidence.retry_after_seconds,
        reason=reason,
    )


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return the pause a Retry-After header asks for, in seconds from 0 to a day; None if absent or unreadable.

    Args:
        value: the header's value: delay-seconds or an HTTP-date (RFC 9110 section 10.2.3).
        now: the current time, with a zone.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        # Nine digits are thirty years, and more than enough to reach the bound.
        seconds = float(text) if len(text) < 10 else RETRY_AFTER_SECONDS_MAX  # noqa: PLR2004 - explained above
    else:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        # HTTP dates are in GMT; the obsolete asctime form does not say so.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - now).total_seconds()
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


def backoff_seconds(attempt: int, *, base: float, cap: float, unit_random: float) -> float:
    """Return the pause before the next try: exponential, with full jitter.

    Full jitter spreads clients that failed together over the whole interval; see Marc Brooker, "Exponential Backoff And
    Jitter" (AWS Architecture Blog, 2015).

    Args:
        attempt: how many attempts have failed, from 1.
        base: the longest pause after the first failure, in seconds, above 0.
        cap: the longest pause ever, in seconds, at least ``base``.
        unit_random: a random number from 0 to 1, drawn by the caller.

    Raises:
        ValueError: an argument is out of its range; correct the caller.
    """
    if attempt < 1 or not 0 < base <= cap or not 0 <= unit_random <= 1:
        raise ValueError("backoff_seconds needs attempt >= 1, 0 < base <= cap and unit_random from 0 to 1")
    # 2**64 times any sensible base is past any sensible cap; without a bound the power itself would overflow.
    return float(unit_random * min(cap, base * 2.0 ** min(attempt - 1, 64)))


def _evidence(error: BaseException, now: datetime) -> _Evidence:
    if isinstance(error, BaseExceptionGroup):
        return _together([_evidence(one, now) for one in error.exceptions])
    http_class = _http_class(error)
    if http_class == "HTTPStatusError":
        return _answered(error, now)
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__}
    if http_class in _UNSENT or names & _OTHER_UNSENT:
        if _method(error) in _SAFE_METHODS:
            # A write does not end in a GET: this is the lookup before it, or the redirect or read-back after it.
            return _Evidence(fault=Fault.TRANSIENT, reason="no connection for a read beside the write")
        return _Evidence(
            fault=Fault.TRANSIENT, sent=Sent.NO, undone=True, reason="there was no connection, so nothing was sent"
        )
    if http_class is not None:
        fault = Fault.PERMANENT if http_class in _HTTP_PERMANENT else Fault.TRANSIENT
        return _Evidence(fault=fault, reason="the exchange broke off; the request may have been carried out")
    fault = _sql_fault(error) or (Fault.TRANSIENT if names & _OTHER_TRANSIENT else Fault.PERMANENT)
    return _Evidence(fault=fault, reason="this error does not tell whether anything was sent")


def _together(members: list[_Evidence]) -> _Evidence:
    """Join a group: the worst fault and no proof, since a task group cancels its other tasks without a word of them."""
    return _Evidence(
        fault=max((one.fault for one in members), key=list(Fault).index),
        sent=max((one.sent for one in members), key=list(Sent).index),
        retry_after_seconds=max(one.retry_after_seconds or 0.0 for one in members) or None,
        reason=f"{len(members)} failures together do not tell what became of the tasks beside them",
    )


def _answered(error: BaseException, now: datetime) -> _Evidence:
    """Read the proof in an HTTP status that the client raised."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    pause = retry_after(getattr(response, "headers", {}).get("retry-after"), now)
    if status in _REFUSALS and not getattr(response, "history", None) and _method(error) not in _SAFE_METHODS:
        return _Evidence(
            fault=_REFUSALS[status],
            sent=Sent.YES,
            undone=True,
            status=status,
            retry_after_seconds=pause,
            reason=f"HTTP {status}: refused before anything was done",
        )
    return _Evidence(
        fault=_status_fault(status),
        sent=Sent.YES,
        status=status,
        retry_after_seconds=pause,
        reason=f"HTTP {status}: it does not tell whether the request was carried out",
    )


def _status_fault(status: int) -> Fault:
    if status in _REFUSALS:
        return _REFUSALS[status]
    never_served = {501, 505}  # not implemented, HTTP version not supported
    transient = status == _REQUEST_TIMEOUT or (status >= _SERVER_ERRORS and status not in never_served)
    return Fault.TRANSIENT if transient else Fault.PERMANENT


def _sql_fault(error: BaseException) -> Fault | None:
    """Classify a database error by its SQLSTATE; without one, the connection itself failed."""
    if type(error).__module__.partition(".")[0] not in {"psycopg", "psycopg_pool"}:
        return None
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate is None:
        lost = any(cls.__name__ == "OperationalError" for cls in type(error).__mro__)
        return Fault.TRANSIENT if lost else Fault.PERMANENT
    transient = sqlstate in _SQL_TRANSIENT or sqlstate.startswith(_SQL_TRANSIENT_CLASSES)
    return Fault.TRANSIENT if transient else Fault.PERMANENT


def _http_class(error: BaseException) -> str | None:
    """Name the HTTP client's own exception class that this error is or extends."""
    for cls in type(error).__mro__:
        if cls.__module__.partition(".")[0] in _HTTP_CLIENTS:
            return cls.__name__
    return None


def _method(error: BaseException) -> str | None:
    # httpx raises RuntimeError from `.request` where no request is attached.
    request = getattr(error, "_request", None) or getattr(getattr(error, "response", None), "_request", None)
    method = getattr(request, "method", None)
    return method.upper() if isinstance(method, str) else None


def _earlier(error: BaseException) -> Iterator[BaseException]:
    """Yield the HTTP errors this one was raised in the handling of: requests of the same call that failed before it."""
    seen = {id(error)}
    waiting = [error.__cause__, error.__context__]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        waiting += [current.__cause__, current.__context__]
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions
        if _http_class(current) is not None:
            yield current
