"""Connections that are kept open, few of them, the one used last first: for threads, and for one event loop.

Not psycopg's own pool, for two reasons: it adds a quarter to the time of a short statement (measured), and it connects
in the background with a back-off of its own, so that why it cannot connect never reaches the caller.
"""

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cached_property, partial
from types import MethodType
from typing import Any, Final, LiteralString, TypeAlias, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row

from langgraph_control.audit.connecting.database_errors import naming_errors
from langgraph_control.audit.connecting.home_process import HomeProcess
from langgraph_control.errors import DatabaseRefused

__all__ = ["STALL_SECONDS", "AsyncConnection", "AsyncConnections", "Connections", "Rows", "connection_string"]

RV = TypeVar("RV")
Rows: TypeAlias = list[dict[str, Any]]

ANSWER_SECONDS: Final = 5.0
STALL_SECONDS: Final = 5.0
"""How long a transaction of several statements may wait for its own process. One that was stopped in the middle would
keep its locks for as long as it is stopped, and whoever takes its run over would wait for them."""

INTERRUPT_SECONDS: Final = 0.1  # how often a blocked call looks for Ctrl-C

# A peer that vanished without a word is noticed within seconds, not hours. Unix sockets ignore all but the first.
DEFAULTS: Final = {
    "connect_timeout": "5",
    "tcp_user_timeout": "10000",  # ms
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
}


def connection_string(dsn: str, *, application_name: str) -> str:
    """Return a DSN with this library's defaults for what it leaves open.

    Args:
        dsn: as the user gave it; what it says wins.
        application_name: shown in ``pg_stat_activity`` unless the DSN has one.

    Raises:
        DatabaseRefused: the DSN cannot be read.
    """
    if not isinstance(dsn, str):
        raise DatabaseRefused(
            f"dsn is a value of type {type(dsn).__name__}, where a connection string is needed.",
            safe="Nothing was done.",
            todo='Write it as "postgresql://login@host/database".',
            code="dsn_invalid",
        )
    with naming_errors(dsn):
        settings: dict[str, Any] = {**DEFAULTS, "fallback_application_name": application_name, **conninfo_to_dict(dsn)}
        return make_conninfo(**settings)


class _Connection(psycopg.Connection[DictRow]):
    """A connection on which no statement waits for ever: a server may stand still without closing anything."""

    @cached_property
    def hand(self) -> psycopg.Cursor[DictRow]:
        """One cursor for all statements: making one costs a third of a short statement's time here."""
        return self.cursor(binary=True)

    def wait(self, gen: PQGen[RV], interval: float = INTERRUPT_SECONDS, timeout: float | None = ANSWER_SECONDS) -> RV:
        return super().wait(gen, interval, timeout)


class AsyncConnection(psycopg.AsyncConnection[DictRow]):
    """A connection on which no statement waits for ever: a server may stand still without closing anything."""

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = INTERRUPT_SECONDS,
        timeout: float | None = ANSWER_SECONDS,  # noqa: ASYNC109 - psycopg's signature
    ) -> RV:
        """Do as psycopg does, within a limit."""
        return await super().wait(gen, interval, timeout)


def _connect_of(ours: type[Any], theirs: type[Any]) -> Callable[..., Any]:
    """Return what connects as our class: taking instrumentation off psycopg leaves a method bound to psycopg's."""
    left = vars(theirs).get("connect")
    return partial(left.__func__, ours) if isinstance(left, MethodType) else ours.connect


class Connections:
    """Autocommit connections with prepared statements, for any thread of one process.

    Args:
        conninfo: from :func:`connection_string`.
        limit: at most so many at once; who comes later waits in line.
    """

    def __init__(self, conninfo: str, *, limit: int) -> None:
        self._conninfo = conninfo
        self._home = HomeProcess()
        self._free = threading.BoundedSemaphore(limit)
        self._idle: list[_Connection] = []
        weakref.finalize(self, _drop, self._idle, self._home)

    def run(self, text: LiteralString, parameters: Mapping[str, Any]) -> Rows:
        """Run one statement as one transaction.

        Args:
            text: the statement.
            parameters: its parameters.

        Raises:
            psycopg.Error: as the driver raises it; after a lost connection nobody knows whether it was carried out.
            TrailUnavailable: this process was forked from the one that uses these connections.
        """
        self.check_process()
        with self._free:
            connection = self._take()
            try:
                return connection.hand.execute(text, parameters).fetchall()
            finally:
                if connection.pgconn.transaction_status == TransactionStatus.IDLE:
                    self._idle.append(connection)
                else:
                    connection.close()

    def check_process(self) -> None:
        """Refuse to work in a process that was forked from the one that uses these connections.

        Raises:
            TrailUnavailable: this is such a process.
        """
        self._home.check()

    def drop_idle(self) -> None:
        """Close the idle ones: where one connection was lost, the server may have lost them all."""
        _drop(self._idle, self._home)

    def _take(self) -> _Connection:
        try:
            return self._idle.pop()
        except IndexError:
            connect = _connect_of(_Connection, psycopg.Connection)
            made: _Connection = connect(self._conninfo, autocommit=True, prepare_threshold=0, row_factory=dict_row)
            return made


def _drop(idle: list[_Connection], home: HomeProcess) -> None:
    while idle and home.is_here():  # the parent of a forked process still uses the other end
        idle.pop().close()


class AsyncConnections:
    """Autocommit connections with prepared statements, for one event loop.

    Args:
        conninfo: from :func:`connection_string`.
        limit: at most so many at once; who comes later waits in line.
        search_path: the schema in which unqualified names are looked up, for transactions of several statements; None
            for the login's own, and for single ones.
    """

    def __init__(self, conninfo: str, *, limit: int, search_path: str | None = None) -> None:
        self._conninfo = conninfo
        self._search_path = search_path
        self._free = asyncio.Semaphore(limit)
        self._idle: list[AsyncConnection] = []

    async def run(self, text: LiteralString, parameters: Mapping[str, Any]) -> Rows:
        """Run one statement as one transaction. See :meth:`Connections.run`.

        Args:
            text: the statement.
            parameters: its parameters.
        """
        async with self._free:
            connection = await self._take()
            try:
                return await (await connection.execute(text, parameters, binary=True)).fetchall()
            finally:
                await self._give_back(connection)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[AsyncConnection]:
        """Have a connection to oneself; it is kept if it comes back idle, and closed otherwise.

        Raises:
            psycopg.OperationalError: no connection can be made.
        """
        async with self._free:
            connection = await self._take()
            try:
                yield connection
            finally:
                await self._give_back(connection)

    async def drop_idle(self) -> None:
        """Close the idle ones: where one connection was lost, the server may have lost them all."""
        while self._idle:
            await self._idle.pop().close()

    async def _give_back(self, connection: AsyncConnection) -> None:
        if connection.pgconn.transaction_status == TransactionStatus.IDLE:
            self._idle.append(connection)
        else:
            await connection.close()

    async def _take(self) -> AsyncConnection:
        if self._idle:
            return self._idle.pop()
        connect = _connect_of(AsyncConnection, psycopg.AsyncConnection)
        connection: AsyncConnection = await connect(
            self._conninfo, autocommit=True, prepare_threshold=0, row_factory=dict_row
        )
        if self._search_path is not None:
            try:
                await connection.execute(
                    "SELECT set_config('search_path', %s, false),"
                    " set_config('idle_in_transaction_session_timeout', %s, false)",
                    (self._search_path, f"{STALL_SECONDS * 1000:.0f}ms"),
                )
            except BaseException:
                await connection.close()
                raise
        return connection
