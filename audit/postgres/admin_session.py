"""A session that changes a database's set-up: alone in its database, patient with roles that databases share."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.rows import dict_row

from langgraph_control.errors import TrailUnavailable

__all__ = ["LOCK_SECONDS", "AdminConnection", "alone", "changing_roles", "connect"]

AdminConnection = psycopg.Connection[dict[str, Any]]

CONNECT_SECONDS: Final = 10
LOCK_SECONDS: Final = 120.0
LOCK_POLL_SECONDS: Final = 0.1
LOCK_KEY: Final = int.from_bytes(hashlib.sha256(b"langgraph-control/migrate").digest()[:8], signed=True)
ROLE_ATTEMPTS: Final = 50


def connect(dsn: str) -> AdminConnection:
    """Connect as LangGraph's checkpointer wants its set-up connection: autocommit, rows as dicts."""
    return AdminConnection.connect(dsn, autocommit=True, row_factory=dict_row, connect_timeout=CONNECT_SECONDS)


@contextmanager
def alone(connection: AdminConnection, *, within_seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock on changes to this database's set-up.

    Polled: a session that *waits* in it deadlocks with the holder's CREATE INDEX CONCURRENTLY, which waits for it.

    Raises:
        TrailUnavailable: another session held it all the time.
    """
    give_up = time.monotonic() + within_seconds
    while not _try_lock(connection):
        if time.monotonic() >= give_up:
            raise TrailUnavailable(
                f"Another migration of this database did not end within {within_seconds:g} s.",
                todo="Look for it in pg_stat_activity, then migrate again.",
                code="migration_busy",
            )
        time.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK_KEY,))


def changing_roles(connection: AdminConnection, change: Callable[[], object]) -> None:
    """Run a change of roles in a transaction of its own, again if another database changed the same role meanwhile."""
    for attempt in range(1, ROLE_ATTEMPTS + 1):
        try:
            with connection.transaction():
                change()
        except (psycopg.errors.InternalError_, psycopg.errors.UniqueViolation) as error:
            # "tuple concurrently updated" has no code of its own; a doubled grant is a duplicate in pg_auth_members.
            ours = isinstance(error, psycopg.errors.UniqueViolation) or "concurrently" in str(error)
            if not ours or attempt == ROLE_ATTEMPTS:
                raise
            time.sleep(LOCK_POLL_SECONDS)
        else:
            return


def _try_lock(connection: AdminConnection) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s) AS held", (LOCK_KEY,)).fetchone()
    return row is not None and bool(row["held"])
