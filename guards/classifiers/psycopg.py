"""psycopg and its pool, where the effect is SQL on a connection of the tool's own.

An error that Postgres answered with has rolled its transaction back. But a tool may read after its commit, and the
error does not say which statement it speaks of. So only those count as proof that nothing but a write can meet. On the
ledger's own connection (``sql=True``) every error is proof.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from langgraph_control.guards.classifiers.http_answers import NO_CONNECTION
from langgraph_control.guards.classifiers.recognising import classes_of
from langgraph_control.guards.failures import Evidence, Fault, Sent

PACKAGES: Final = frozenset({"psycopg", "psycopg_pool"})

_NO_CONNECTION: Final = frozenset({"PoolTimeout", "PoolClosed", "TooManyRequests"})

# PostgreSQL appendix A: classes 08 (connection) and 53 (resources), and single codes for conflicts and shutdowns.
_TRANSIENT_CLASSES: Final = ("08", "53")
_TRANSIENT: Final = frozenset({"40001", "40003", "40P01", "55P03", "57014", "57P01", "57P02", "57P03"})

# Integrity constraints, rolled-back transactions, a read-only server, a view's check option.
_OF_WRITES: Final = ("23", "40", "25006", "44000")
_COMPLETION_UNKNOWN: Final = "40003"

# What such a refusal would be over HTTP: a conflict, or a change that the record's rules do not take.
_HTTP: Final[Mapping[str, int]] = MappingProxyType({"23505": 409, "23P01": 409})
_UNPROCESSABLE: Final = 422


def evidence(error: BaseException, _now: datetime) -> Evidence | None:
    """Say what an exception of psycopg or its pool tells; None for any other.

    Args:
        error: what was raised.
    """
    names = classes_of(error, *PACKAGES)
    if not names:
        return None
    if _NO_CONNECTION.intersection(names) or _while_connecting(error):
        return Evidence(fault=_fault(error, names), sent=Sent.NO, undone=True, reason=NO_CONNECTION)
    sqlstate = getattr(error, "sqlstate", None)
    if not isinstance(sqlstate, str) or not _answered(error):
        reason = "this error does not tell whether anything was sent"
        return Evidence(fault=_fault(error, names), reason=reason)
    refused = sqlstate.startswith(_OF_WRITES) and sqlstate != _COMPLETION_UNKNOWN
    told = "refused and rolled back" if refused else "it does not tell whether the write was committed"
    return Evidence(
        fault=_fault(error, names),
        sent=Sent.YES,
        undone=refused,
        status=_HTTP.get(sqlstate, _UNPROCESSABLE) if sqlstate.startswith("23") else None,
        codes=(sqlstate,),
        reason=f"SQLSTATE {sqlstate}: {told}",
    )


def _while_connecting(error: Any) -> bool:
    # psycopg attaches the connection only to errors of a connection attempt.
    return getattr(error, "pgconn", None) is not None or "ConnectionTimeout" in classes_of(error, "psycopg")


def _answered(error: Any) -> bool:
    """Whether the server ended the statement, and only the statement: a FATAL or a PANIC ends the connection."""
    return getattr(getattr(error, "diag", None), "severity_nonlocalized", None) == "ERROR"


def _fault(error: Any, names: tuple[str, ...]) -> Fault:
    """Classify by SQLSTATE; without one, the connection itself failed."""
    sqlstate = getattr(error, "sqlstate", None)
    if not isinstance(sqlstate, str):
        return Fault.TRANSIENT if "OperationalError" in names else Fault.PERMANENT
    transient = sqlstate in _TRANSIENT or sqlstate.startswith(_TRANSIENT_CLASSES)
    return Fault.TRANSIENT if transient else Fault.PERMANENT
