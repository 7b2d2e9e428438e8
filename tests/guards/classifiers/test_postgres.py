"""psycopg and its pool on connections of a tool's own, against a real Postgres that refuses, kills and rolls back."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import psycopg
import psycopg_pool
import pytest
from psycopg.conninfo import make_conninfo

from langgraph_control.guards.classification import classify
from langgraph_control.guards.failures import Fault, Refusal, Verdict
from langgraph_control.guards.lifecycle import Kind
from tests.guards.classifiers.judging import NOW, judged
from tests.support.failure_tables import SQL, Happened
from tests.support.misbehaving import closed_port, full_backlog
from tests.support.postgres import Database
from tests.support.waiting import until

INSERT: Final = "INSERT INTO refund VALUES ('A-1', 25)"


@pytest.fixture
def dsn(database: Database) -> str:
    """A database with a table of refunds."""
    with psycopg.connect(database.admin) as admin:
        admin.execute("CREATE TABLE refund (order_id text PRIMARY KEY, amount numeric CHECK (amount > 0))")
        admin.execute("INSERT INTO refund VALUES ('A-0', 1), ('B-0', 1)")
    return database.admin


def committed(dsn: str) -> int:
    """Return how many refunds there are of those that the tests write."""
    with psycopg.connect(dsn) as reader:
        row = reader.execute("SELECT count(*) FROM refund WHERE order_id = 'A-1' OR amount <> 1").fetchone()
        assert row is not None
        return int(row[0])


@pytest.mark.parametrize("row", SQL, ids=lambda row: row.what)
def test_what_postgres_did_not_do_is_known_where_it_is_certain(row: Happened, dsn: str) -> None:
    """Of an error only what nothing but a write can meet counts as refused; and what is called undone, is."""
    with pytest.raises(psycopg.Error) as raised:
        PROVOKED[row.what](dsn)
    found = judged(raised.value, saw_something=row.sent.value != "no", was_answered=row.sent.value == "yes")
    assert (found.error, found.sent) == (row.raised, row.sent)
    assert (found.verdict, found.fault) == (row.verdict, row.fault)
    assert committed(dsn) == 0


def _execute(statement: str) -> Callable[[str], None]:
    def provoke(dsn: str) -> None:
        with psycopg.connect(dsn) as connection:
            connection.execute(statement.encode())

    return provoke


def _refused(dsn: str) -> None:
    psycopg.connect(make_conninfo(dsn, host="127.0.0.1", hostaddr="127.0.0.1", port=closed_port()))


def _not_in_time(dsn: str) -> None:
    with full_backlog() as port:
        # libpq takes two seconds at least.
        psycopg.connect(make_conninfo(dsn, host="127.0.0.1", hostaddr="127.0.0.1", port=port, connect_timeout=2))


def _no_connection_left(dsn: str) -> None:
    with (
        psycopg_pool.ConnectionPool(dsn, min_size=1, max_size=1, timeout=0.1) as pool,
        pool.connection(),
        pool.connection() as second,
    ):
        second.execute(INSERT)


def _struck(dsn: str, strike: Callable[[psycopg.Connection[Any], psycopg.Connection[Any]], object]) -> None:
    """Insert and wait within one statement; strike once it waits."""
    with psycopg.connect(dsn) as connection, psycopg.connect(dsn, autocommit=True) as watcher:
        pid = connection.info.backend_pid

        def watch() -> None:
            until(lambda: _waits_for(watcher, pid) == "PgSleep")
            strike(watcher, connection)

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            connection.execute(f"WITH done AS ({INSERT}) SELECT pg_sleep(60)".encode())
        finally:
            watching.join()


def _waits_for(watcher: psycopg.Connection[Any], pid: int) -> object:
    row = watcher.execute("SELECT wait_event FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone()
    return row[0] if row else None


def _terminated(dsn: str) -> None:
    _struck(dsn, lambda watcher, ours: watcher.execute("SELECT pg_terminate_backend(%s)", (ours.info.backend_pid,)))


def _cut(dsn: str) -> None:
    _struck(dsn, lambda _watcher, ours: cut(ours))


def cut(connection: psycopg.Connection[Any]) -> None:
    """End a connection under its client's feet."""
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _two(dsn: str) -> Iterator[tuple[psycopg.Connection[Any], psycopg.Connection[Any]]]:
    with psycopg.connect(dsn) as first, psycopg.connect(dsn) as second:
        yield first, second


def _not_serializable(dsn: str) -> None:
    with _two(dsn) as (first, second):
        for one in (first, second):
            one.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            one.execute("SELECT sum(amount) FROM refund")
        second.execute("UPDATE refund SET amount = amount WHERE order_id = 'B-0'")
        second.commit()
        first.execute("UPDATE refund SET amount = 2 WHERE order_id = 'B-0'")


def _deadlocked(dsn: str) -> None:
    with _two(dsn) as (first, second):
        first.execute("SET deadlock_timeout = '10ms'")
        second.execute("SET deadlock_timeout = '60s'")  # so that it is the first that gives way
        first.execute("UPDATE refund SET amount = 2 WHERE order_id = 'A-0'")
        second.execute("UPDATE refund SET amount = 1 WHERE order_id = 'B-0'")
        waiting = threading.Thread(target=second.execute, args=("UPDATE refund SET amount = 1 WHERE order_id = 'A-0'",))
        waiting.start()
        with psycopg.connect(dsn, autocommit=True) as watcher:
            until(lambda: _waits_for(watcher, second.info.backend_pid) == "transactionid")
        try:
            first.execute("UPDATE refund SET amount = 2 WHERE order_id = 'B-0'")
        finally:
            first.rollback()
            waiting.join()


PROVOKED: Final[dict[str, Callable[[str], None]]] = {
    "connection refused": _refused,
    "no connection in time": _not_in_time,
    "no connection left in the pool": _no_connection_left,
    "the backend is terminated within the statement": _terminated,
    "the connection is cut within the statement": _cut,
    "serialization failure (40001)": _not_serializable,
    "deadlock (40P01)": _deadlocked,
    "unique violation (23505)": _execute("INSERT INTO refund VALUES ('A-0', 25)"),
    "check violation (23514)": _execute("INSERT INTO refund VALUES ('A-1', 0)"),
    "a read-only server or transaction (25006)": _execute(f"SET TRANSACTION READ ONLY; {INSERT}"),
    "statement timeout (57014)": _execute(f"SET statement_timeout = 50; {INSERT}; SELECT pg_sleep(60)"),
    "no such table (42P01)": _execute("INSERT INTO refunds VALUES ('A-1', 25)"),
}


def test_a_read_that_fails_after_the_commit_is_unknown(dsn: str) -> None:
    """A tool that reads back after its commit, and is refused there, has done its write."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(INSERT)
        with pytest.raises(psycopg.errors.UndefinedTable) as raised:
            connection.execute("SELECT amount FROM refunds")
    assert committed(dsn) == 1
    assert judged(raised.value, saw_something=True, was_answered=True).verdict is Verdict.UNKNOWN


def test_a_retry_inside_the_tool_hides_no_lost_answer(dsn: str) -> None:
    """A tool that loses its connection, inserts again and meets its own row has not been refused."""
    with pytest.raises(psycopg.errors.UniqueViolation) as raised:
        _insert_twice(dsn)
    found = judged(raised.value, saw_something=True, was_answered=False)
    assert (found.verdict, committed(dsn)) == (Verdict.UNKNOWN, 1)


def _insert_twice(dsn: str) -> None:
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(INSERT)
            cut(connection)
            connection.execute("SELECT 1")  # stands for the answer that is lost
    except psycopg.OperationalError:
        with psycopg.connect(dsn) as again:
            again.execute(INSERT)


def test_a_later_refusal_may_be_our_own_doing(dsn: str) -> None:
    """On a second attempt a unique violation may be speaking of our own first row."""
    with pytest.raises(psycopg.errors.UniqueViolation) as raised:
        PROVOKED["unique violation (23505)"](dsn)
    for kind in (Kind.KEYED, Kind.VERIFIED):
        assert classify(raised.value, kind=kind, now=NOW, attempt=2).verdict is Verdict.UNKNOWN
    assert classify(raised.value, kind=Kind.BLIND, now=NOW, attempt=2).verdict is Verdict.NOT_DONE_PERMANENT


def test_a_contract_widens_what_an_sqlstate_proves(dsn: str) -> None:
    """A tool of a single statement knows that a time-out of it has changed nothing."""
    with pytest.raises(psycopg.errors.QueryCanceled) as raised:
        PROVOKED["statement timeout (57014)"](dsn)
    promise = Refusal(answer="57014", fault=Fault.TRANSIENT)
    found = classify(raised.value, kind=Kind.BLIND, now=NOW, refusals=(promise,))
    assert found.verdict is Verdict.NOT_DONE_TRANSIENT
