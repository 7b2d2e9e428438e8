"""What a failed statement means: send it again, or say by name why not."""

from typing import Final

import psycopg

from langgraph_control.audit.connecting.database_errors import named, place
from langgraph_control.errors import DatabaseRefused, RequestRefused, TrailUnavailable

__all__ = ["OWN_CODES", "LedgerRefused", "final", "gave_up", "refused"]

OWN_CODES: Final = "LC"  # raised by the ledger's own functions

# A resource that is full stays full for longer than anybody waits on a call; connections (53300) come free.
FULL: Final = frozenset({"53100", "53200", "53400"})


class LedgerRefused(RequestRefused):
    """One of the ledger's functions raised: the request itself cannot be carried out, now or later.

    Args:
        sqlstate: ``LC001`` no such step in the lifecycle, ``LC002`` an argument it does not know, ``LC003`` the tool
            ended the transaction that was to hold its effect, ``LC004`` the attempt is no longer the current one.
    """

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate
        super().__init__(
            f"The ledger refused a request that it cannot carry out ({sqlstate}).",
            todo="See the server's log for which. If that is none of your own, it is a defect of langgraph-control.",
        )


def final(error: psycopg.Error, dsn: str, *, endless: bool = False) -> Exception | None:
    """Return what to raise for a failed statement, or None where the same statement may succeed when sent again.

    Args:
        error: what came of sending it.
        dsn: the connection string in use; its password is never told.
        endless: whether to go on for as long as an administrator could still help (a settle, which must land).
    """
    state = error.sqlstate or ""
    if state.startswith(OWN_CODES):
        return LedgerRefused(state)
    known = named(error, dsn)
    if known is None:
        return _unexpected(error)
    if endless or (type(known) is TrailUnavailable and state not in FULL):
        return None
    return known


def gave_up(error: psycopg.Error, dsn: str) -> Exception:
    """Return what to raise once a statement that might still succeed was sent again for long enough.

    Args:
        error: what came of the last try.
        dsn: the connection string in use; its password is never told.
    """
    return named(error, dsn) or _unexpected(error)


def refused(error: psycopg.Error, dsn: str) -> RequestRefused | DatabaseRefused:
    """Return what to raise for a request that the server took and refused, where a program asks once and ends.

    Args:
        error: what came of sending it; nothing that :func:`named` knows.
        dsn: the connection string in use; its password is never told.
    """
    if (error.sqlstate or "").startswith(OWN_CODES):
        return LedgerRefused(error.sqlstate or "")
    # The driver's own text may quote values; the server's log has it in full.
    return DatabaseRefused(
        f"The database refused a request with SQLSTATE {error.sqlstate}: {place(dsn)}.",
        todo="Look into the server's log.",
        code="database_error",
    )


def _unexpected(error: psycopg.Error) -> TrailUnavailable:
    # The driver's own text may quote what was sent, so only the code is told.
    return TrailUnavailable(
        f"The database answered the ledger with an error it should never give ({error.sqlstate or 'no code'}).",
        todo="See the server's log; if the schema is of this release, this is a defect of langgraph-control.",
        code="ledger_error",
    )
