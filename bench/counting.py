"""Exact counts of what calls cost: commits, statements on the wire, write-ahead log, heap-only updates.

Nobody else may use the server meanwhile: the log belongs to the whole server.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg.pq import Trace

from langgraph_control.audit.connecting.store import Store

__all__ = ["Counts", "count"]

HAVE_CARRIED_OUT: Final = frozenset({"Execute", "Query"})  # what a client sends to have a statement carried out
FLUSH: Final = "SELECT pg_stat_force_next_flush()"  # a backend keeps its counts to itself for a second or more
READ: Final = """
SELECT pg_current_wal_insert_lsn() - '0/0' AS wal, d.xact_commit AS commits,
       ARRAY(SELECT relname::text FROM pg_stat_user_tables WHERE n_tup_upd > 0 ORDER BY relid) AS tables,
       ARRAY(SELECT n_tup_upd FROM pg_stat_user_tables WHERE n_tup_upd > 0 ORDER BY relid) AS updates,
       ARRAY(SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE n_tup_upd > 0 ORDER BY relid) AS hot_updates
FROM pg_stat_database d WHERE d.datname = current_database()
"""
OWN_COMMITS: Final = 2  # of FLUSH and READ, from one reading to the next


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What some calls took.

    Args:
        commits: transactions committed in this database, whoever asked for them, per call.
        statements: statements the client had carried out, per call.
        wal_bytes: growth of the server's write-ahead log, per call.
        hot_shares: the share of updates that touched no index, by table.
    """

    commits: float
    statements: float
    wal_bytes: float
    hot_shares: Mapping[str, float]


def count(store: Store, call: Callable[[], object], *, calls: int) -> Counts:
    """Make calls one after the other, and return what they took.

    Args:
        store: the one whose connection they use. Its connections are closed first, so that there is one.
        call: makes one call.
        calls: how many.
    """
    store._connections.drop_idle()  # noqa: SLF001 - the one opened next is then the only one
    call()
    _read(store)  # preparing a statement is a commit, too
    before = _read(store)
    with _traced(store) as sent:
        for _ in range(calls):
            call()
    after = _read(store)
    return Counts(
        commits=(after.commits - before.commits - OWN_COMMITS) / calls,
        statements=sent.statements / calls,
        wal_bytes=(after.wal - before.wal) / calls,
        hot_shares={
            table: (hot - before.updates.get(table, (0, 0))[1]) / changed
            for table, (total, hot) in after.updates.items()
            if (changed := total - before.updates.get(table, (0, 0))[0])
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    commits: int
    wal: int
    updates: Mapping[str, tuple[int, int]]


@dataclass(slots=True, kw_only=True)
class _Sent:
    statements: int = field(default=0)


def _read(store: Store) -> _Reading:
    run: Any = store._connections.run  # noqa: SLF001 - the very connection whose counts are wanted
    run(FLUSH, {})
    (row,) = run(READ, {})
    updates = dict(zip(row["tables"], zip(row["updates"], row["hot_updates"], strict=True), strict=True))
    return _Reading(commits=row["commits"], wal=int(row["wal"]), updates=updates)


@contextmanager
def _traced(store: Store) -> Iterator[_Sent]:
    """Have libpq write down every message of the store's one connection, and count those that carry something out."""
    (connection,) = store._connections._idle  # noqa: SLF001 - likewise
    sent = _Sent()
    with tempfile.TemporaryFile("w+") as written:
        connection.pgconn.trace(written.fileno())
        connection.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        try:
            yield sent
        finally:
            connection.pgconn.untrace()  # flushes
        written.seek(0)
        sent.statements = sum(_carries_out(line) for line in written)


def _carries_out(line: str) -> bool:
    sender, _, message, *_ = [*line.split("\t"), "", "", ""]
    return sender == "F" and message in HAVE_CARRIED_OUT
