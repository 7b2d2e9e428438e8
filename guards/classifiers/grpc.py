"""grpcio, synchronous and asynchronous.

A status made by the client cannot be told from one that the server sent, and a channel with a retry policy reports only
its last try. So UNAVAILABLE proves nothing, not even where it says that no connection could be made.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from langgraph_control.guards.failures import Evidence, Fault, Sent
from langgraph_control.guards.retries import RETRY_AFTER_SECONDS_MAX, retry_after

PACKAGES: Final = frozenset({"grpc"})

# The HTTP status that means the same: google/rpc/code.proto.
_HTTP: Final[Mapping[str, int]] = MappingProxyType(
    {
        "INVALID_ARGUMENT": 400,
        "FAILED_PRECONDITION": 400,
        "OUT_OF_RANGE": 400,
        "UNAUTHENTICATED": 401,
        "PERMISSION_DENIED": 403,
        "NOT_FOUND": 404,
        "ALREADY_EXISTS": 409,
        "ABORTED": 409,
        "RESOURCE_EXHAUSTED": 429,
        "CANCELLED": 499,
        "UNKNOWN": 500,
        "INTERNAL": 500,
        "DATA_LOSS": 500,
        "UNIMPLEMENTED": 501,
        "UNAVAILABLE": 503,
        "DEADLINE_EXCEEDED": 504,
    }
)
_REFUSALS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        **dict.fromkeys(("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNIMPLEMENTED"), Fault.PERMANENT),
        **dict.fromkeys(("UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "ALREADY_EXISTS"), Fault.PERMANENT),
        "ABORTED": Fault.TRANSIENT,  # a conflict of transactions: rolled back
        "RESOURCE_EXHAUSTED": Fault.RATE_LIMITED,
    }
)
# An answer that is too large, or compressed in a way the client refuses, ends as RESOURCE_EXHAUSTED or UNIMPLEMENTED
# although the call was carried out. Only the text tells.
_ABOUT_THE_ANSWER: Final = ("larger than max", "ompress")
_MILLISECONDS: Final = 1000.0

MADE_BY_CLIENTS: Final = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNKNOWN"})
"""Statuses that a client also gives by itself, when a connection breaks: no provider can promise what they mean."""


def evidence(error: BaseException, now: datetime) -> Evidence | None:
    """Say what an RPC's exception tells; None for any other.

    Args:
        error: what was raised.
        now: the current time, with a zone.
    """
    if not any(cls.__name__ == "RpcError" and cls.__module__ == "grpc" for cls in type(error).__mro__):
        return None
    name = str(getattr(_asked(error, "code"), "name", ""))
    details = _asked(error, "details")
    about_the_answer = any(words in str(details) for words in _ABOUT_THE_ANSWER)
    refused = name in _REFUSALS and not about_the_answer
    told = "refused before anything was done" if refused else "it does not tell whether the call was carried out"
    return Evidence(
        fault=_fault(name, refused=refused),
        sent=Sent.YES if refused else Sent.MAYBE,
        undone=refused,
        whole=not about_the_answer,
        status=_HTTP.get(name),
        codes=(name,) if name in _HTTP else (),
        retry_after_seconds=_pause(_asked(error, "trailing_metadata"), now),
        reason=f"gRPC {name if name in _HTTP else 'without a status'}: {told}",
    )


def _asked(error: Any, what: str) -> Any:
    method = getattr(error, what, None)  # the root class alone has none of them
    return method() if callable(method) else None


def _fault(name: str, *, refused: bool) -> Fault:
    if name in _REFUSALS:
        return _REFUSALS[name] if refused else Fault.PERMANENT
    lasting = name not in _HTTP or name == "DATA_LOSS"
    return Fault.PERMANENT if lasting else Fault.TRANSIENT


def _pause(metadata: Any, now: datetime) -> float | None:
    """Read ``retry-after``, or gRPC's own ``grpc-retry-pushback-ms`` (gRFC A6; a negative one names no time)."""
    given = {str(key): value for key, value in metadata or ()}
    wanted = given.get("retry-after")
    if isinstance(wanted, str):
        return retry_after(wanted, now)
    pushback = str(given.get("grpc-retry-pushback-ms", ""))
    if not (pushback.isascii() and pushback.isdigit()):
        return None
    # Nine digits are eleven days, and more than enough to reach the bound.
    seconds = int(pushback) / _MILLISECONDS if len(pushback) < 10 else RETRY_AFTER_SECONDS_MAX  # noqa: PLR2004 - above
    return min(seconds, RETRY_AFTER_SECONDS_MAX)
