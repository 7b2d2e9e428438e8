"""The Postgres checkpointers: what they cost, what connection they need, what they lock and what they store."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointMetadata, empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import CipherProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool

from tests.compat.building import Graph, State, Update, chain, inside, on, thread
from tests.compat.databases import empty_database

ROOT = Path(__file__).parents[2]
SyncConnection = psycopg.Connection[DictRow]
AsyncConnection = psycopg.AsyncConnection[DictRow]


def steps(saver: Any, count: int) -> Graph:
    """Compile `count` nodes in a row, each of which replaces the value."""

    def named(number: int) -> Any:
        def node(_: State) -> Update:
            return {"value": "a value"}

        node.__name__ = f"step_{number}"
        return node

    return chain(saver, *(named(number) for number in range(count)))


WRITING_TRANSACTIONS = """
    SELECT count(DISTINCT xmin::text) AS commits FROM (
        SELECT xmin, thread_id FROM checkpoints
        UNION ALL SELECT xmin, thread_id FROM checkpoint_blobs
        UNION ALL SELECT xmin, thread_id FROM checkpoint_writes
    ) AS written WHERE thread_id = %s
"""


def commits(connection: SyncConnection, saver: PostgresSaver, supersteps: int) -> int:
    """Run a graph on a new thread and return how many transactions wrote its rows."""
    config = thread()
    steps(saver, supersteps).invoke({"value": 0}, config, durability="sync")
    row = connection.execute(WRITING_TRANSACTIONS, [inside(config)["thread_id"]]).fetchone()
    assert row is not None
    return int(row["commits"])


def test_a_superstep_is_two_commits(connection: SyncConnection, saver: PostgresSaver) -> None:
    """Each single-node superstep adds two transactions, one of `put_writes` and one of `put`."""
    assert commits(connection, saver, 5) - commits(connection, saver, 3) == 2 * 2


class CountingCursor(psycopg.Cursor[DictRow]):
    """A cursor that counts the statements sent through it."""

    sent = 0

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Count one."""
        CountingCursor.sent += 1
        return super().execute(*args, **kwargs)

    def executemany(self, query: Any, params_seq: Any, **kwargs: Any) -> None:
        """Count one for each row."""
        rows = list(params_seq)
        CountingCursor.sent += len(rows)
        super().executemany(query, rows, **kwargs)


@pytest.fixture
def counting(dsn: str) -> Iterator[PostgresSaver]:
    """A saver whose statements are counted."""
    with SyncConnection.connect(
        dsn, autocommit=True, row_factory=dict_row, cursor_factory=CountingCursor
    ) as connection:
        yield PostgresSaver(connection)


def statements(saver: PostgresSaver, supersteps: int) -> int:
    """Run a graph on a new thread and return how many statements its saver sent."""
    before = CountingCursor.sent
    steps(saver, supersteps).invoke({"value": 0}, thread(), durability="sync")
    return CountingCursor.sent - before


def test_a_superstep_is_three_statements(counting: PostgresSaver) -> None:
    """A superstep that writes one primitive value and one edge is two inserted writes and one inserted checkpoint."""
    assert statements(counting, 5) - statements(counting, 3) == 2 * 3


def test_setup_fails_inside_a_transaction(postgres_dsn: str) -> None:
    """`setup()` creates indexes concurrently, which Postgres refuses inside a transaction."""
    with (
        empty_database(postgres_dsn) as dsn,
        SyncConnection.connect(dsn, autocommit=True, row_factory=dict_row) as connection,
        pytest.raises(psycopg.errors.ActiveSqlTransaction),
        connection.transaction(),
    ):
        PostgresSaver(connection).setup()


LOCK = 4711


def test_waiting_for_a_lock_deadlocks_with_setup(postgres_dsn: str) -> None:
    """A caller that waits in `pg_advisory_lock` holds a snapshot that CREATE INDEX CONCURRENTLY waits for: deadlock."""
    errors: list[str] = []

    with (
        empty_database(postgres_dsn) as dsn,
        SyncConnection.connect(dsn, autocommit=True, row_factory=dict_row) as first,
        SyncConnection.connect(dsn, autocommit=True, row_factory=dict_row) as second,
    ):
        for connection in (first, second):
            connection.execute("SET deadlock_timeout = '20ms'")

        def wait_for_the_lock() -> None:
            try:
                second.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            except psycopg.errors.DeadlockDetected:
                errors.append("the waiter")

        first.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        waiter = threading.Thread(target=wait_for_the_lock)
        waiter.start()
        while not first.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone():
            pass
        try:
            PostgresSaver(first).setup()
        except psycopg.errors.DeadlockDetected:
            errors.append("setup")
        first.execute("SELECT pg_advisory_unlock_all()")
        waiter.join()
    assert len(errors) == 1


def test_polling_for_a_lock_lets_setup_pass(postgres_dsn: str) -> None:
    """A caller that polls `pg_try_advisory_lock` holds nothing between polls, and `setup()` goes through."""
    with (
        empty_database(postgres_dsn) as dsn,
        SyncConnection.connect(dsn, autocommit=True, row_factory=dict_row) as first,
        SyncConnection.connect(dsn, autocommit=True, row_factory=dict_row) as second,
    ):
        stop = threading.Event()

        def poll() -> None:
            while not stop.is_set():
                second.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])

        first.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        poller = threading.Thread(target=poll)
        poller.start()
        try:
            PostgresSaver(first).setup()
            PostgresSaver(first).setup()  # a second call finds everything done
        finally:
            stop.set()
            poller.join()


def test_a_connection_without_autocommit_loses_checkpoints(dsn: str, config: RunnableConfig) -> None:
    """On a connection that does not autocommit, checkpoints live in an open transaction and go with it."""
    with SyncConnection.connect(dsn, row_factory=dict_row) as connection:
        saver = PostgresSaver(connection)
        steps(saver, 1).invoke({}, config, durability="sync")
        assert saver.get_tuple(config) is not None
        connection.rollback()
        assert saver.get_tuple(config) is None


def test_a_connection_may_have_any_rows(dsn: str, config: RunnableConfig) -> None:
    """The savers ask for rows by name themselves: a connection with tuple rows serves as well."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        with_tuples: Any = connection
        saver = PostgresSaver(with_tuples)
        steps(saver, 1).invoke({}, config, durability="sync")
        assert saver.get_tuple(config) is not None


async def test_the_sync_saver_refuses_async_graphs(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`PostgresSaver` under `ainvoke` is a NotImplementedError."""
    with pytest.raises(NotImplementedError):
        await steps(saver, 1).ainvoke({}, config)


async def test_the_async_saver_refuses_its_own_loop(async_saver: AsyncPostgresSaver, config: RunnableConfig) -> None:
    """`AsyncPostgresSaver` called synchronously on the thread of its loop is an InvalidStateError."""
    with pytest.raises(asyncio.InvalidStateError):
        steps(async_saver, 1).invoke({}, config)


async def test_the_async_saver_serves_sync_graphs_of_other_threads(
    async_saver: AsyncPostgresSaver, config: RunnableConfig
) -> None:
    """From any thread but its loop's, `AsyncPostgresSaver` can be called synchronously."""
    result = await asyncio.to_thread(steps(async_saver, 2).invoke, {}, config, durability="sync")
    assert result["value"] == "a value"
    stored = await async_saver.aget_tuple(config)
    assert stored is not None


def test_the_async_saver_needs_a_running_loop() -> None:
    """`AsyncPostgresSaver(...)` outside a running loop is a RuntimeError."""
    unused: Any = None
    with pytest.raises(RuntimeError, match="no running event loop"):
        AsyncPostgresSaver(unused)


def test_a_saver_has_one_lock_even_over_a_pool(dsn: str) -> None:
    """While one call of a saver is at work no other can start, however many connections its pool has."""
    options = {"autocommit": True, "row_factory": dict_row}
    pool: Any = ConnectionPool(dsn, min_size=2, max_size=2, kwargs=options, open=True)
    with pool:
        saver = PostgresSaver(pool)
        with saver._cursor():
            assert not saver.lock.acquire(blocking=False)
        assert saver.lock.acquire(blocking=False)


UNSAVED: CheckpointMetadata = {"source": "input", "step": -1, "parents": {}}


def test_a_saver_shares_a_transaction(connection: SyncConnection, saver: PostgresSaver, config: RunnableConfig) -> None:
    """A checkpoint and other statements on the saver's connection roll back together."""
    within = on(config, checkpoint_ns="")
    with connection.transaction(force_rollback=True):
        connection.execute("CREATE TABLE shared ()")
        saver.put(within, empty_checkpoint(), UNSAVED, {})
        assert saver.get_tuple(within) is not None
    assert saver.get_tuple(within) is None
    assert connection.execute("SELECT to_regclass('shared') AS found").fetchone() == {"found": None}


async def test_an_async_saver_shares_a_transaction(dsn: str, config: RunnableConfig) -> None:
    """A checkpoint and other statements on an async saver's connection roll back together."""
    within = on(config, checkpoint_ns="")
    async with await AsyncConnection.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        saver = AsyncPostgresSaver(connection)
        async with connection.transaction(force_rollback=True):
            await connection.execute("CREATE TABLE shared ()")
            await saver.aput(within, empty_checkpoint(), UNSAVED, {})
            assert await saver.aget_tuple(within) is not None
        assert await saver.aget_tuple(within) is None
        found = await connection.execute("SELECT to_regclass('shared') AS found")
        assert await found.fetchone() == {"found": None}


def stored_bytes(connection: SyncConnection, saver: PostgresSaver, supersteps: int) -> int:
    """Run nodes that each add one line to the log, and return the bytes stored for it."""

    def named(number: int) -> Any:
        def node(_: State) -> Update:
            return {"log": ["x" * 100]}

        node.__name__ = f"step_{number}"
        return node

    config = thread()
    chain(saver, *(named(number) for number in range(supersteps))).invoke({}, config, durability="sync")
    row = connection.execute(
        "SELECT sum(length(blob)) AS bytes FROM checkpoint_blobs WHERE thread_id = %s AND channel = 'log'",
        [inside(config)["thread_id"]],
    ).fetchone()
    assert row is not None
    return int(row["bytes"])


def test_a_growing_list_is_stored_again_whole_at_each_step(connection: SyncConnection, saver: PostgresSaver) -> None:
    """Twice as many steps that each add a line store about four times as much."""
    assert stored_bytes(connection, saver, 20) > 3.5 * stored_bytes(connection, saver, 10)


class Reversed(CipherProtocol):
    """Stands in for a cipher: what it has touched cannot be read as it was."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """Turn the bytes round."""
        return "reversed", plaintext[::-1]

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """Turn them back."""
        del ciphername
        return ciphertext[::-1]


def test_an_encrypted_saver_leaves_primitives_and_metadata_readable(
    connection: SyncConnection, config: RunnableConfig
) -> None:
    """`EncryptedSerializer` leaves primitive channel values and the metadata in clear text; lists are encrypted."""

    def write(_: State) -> Update:
        return {"value": "card 4242", "log": ["iban DE02"]}

    saver = PostgresSaver(connection, serde=EncryptedSerializer(Reversed()))
    chain(saver, write).invoke({}, on(config, customer="c-17"), durability="sync")
    stored = connection.execute(
        """SELECT checkpoint::text || metadata::text AS clear, (
               SELECT string_agg(encode(blob, 'escape'), ' ') FROM checkpoint_blobs AS b WHERE b.thread_id = c.thread_id
           ) AS blobs
           FROM checkpoints AS c WHERE thread_id = %s ORDER BY checkpoint_id DESC LIMIT 1""",
        [inside(config)["thread_id"]],
    ).fetchone()
    assert stored is not None
    assert "card 4242" in stored["clear"]
    assert "c-17" in stored["clear"]
    assert "iban DE02" not in stored["clear"] + stored["blobs"]


def test_strict_msgpack_turns_what_no_schema_names_into_dicts() -> None:
    """Strict, a model under `Any` or in an interrupt comes back as a dict; one that the schema names stays."""
    environment = {**os.environ, "LANGGRAPH_STRICT_MSGPACK": "true"}
    child = [sys.executable, "-m", "tests.compat.strict_msgpack"]
    printed = subprocess.run(child, env=environment, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert json.loads(printed) == {"declared": "Card", "anything": "dict", "interrupt": "dict"}
