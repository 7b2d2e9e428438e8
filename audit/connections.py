"""The connections of one event loop: few, kept open, the one used last first.

Not psycopg's own pool, for two reasons: it adds a quarter to the time of a short statement (measured), and it connects
in the background with a back-off of its own, so that why it cannot connect never reaches the caller.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row

from langgraph_control.audit.database_errors import naming_errors

__all__ = ["Connections", "connection_string"]

AsyncConnection: TypeAlias = psycopg.AsyncConnection[DictRow]

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
    with naming_errors(dsn):
        return make_conninfo(
            **{**DEFAULTS, "fallback_application_name": application_name, **conninfo_to_dict(dsn)}  # type: ignore[arg-type]
        )


class Connections:
    """Autocommit connections with prepared statements, for use on one event loop only.

    Args:
        conninfo: from :func:`connection_string`.
        limit: at most so many at once; who comes later waits in line.
        search_path: the schema in which unqualified names are looked up; None for the login's own.
    """

    def __init__(self, conninfo: str, *, limit: int, search_path: str | None = None) -> None:
        self._conninfo = conninfo
        self._search_path = search_path
        self._free = asyncio.Semaphore(limit)
        self._idle: list[AsyncConnection] = []

    async def run(self, text: str, parameters: Any) -> list[DictRow]:
        """Run one statement as one transaction.

        Args:
            text: the statement.
            parameters: its parameters.

        Raises:
            psycopg.Error: as the driver raises it; after a lost connection nobody knows whether it was carried out.
        """
        async with self.hold() as connection:
            cursor = await connection.execute(text, parameters, binary=True)
            return await cursor.fetchall()

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[AsyncConnection]:
        """Have a connection to oneself; it is kept if it comes back idle, and closed otherwise.

        Raises:
            psycopg.OperationalError: no connection can be made.
        """
        async with self._free:
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                yield connection
            finally:
                if connection.pgconn.transaction_status == TransactionStatus.IDLE:
                    self._idle.append(connection)
                else:
                    await connection.close()

    async def drop_idle(self) -> None:
        """Close the idle ones: where one connection was lost, the server may have lost them all."""
        while self._idle:
            await self._idle.pop().close()

    async def _connect(self) -> AsyncConnection:
        connection: AsyncConnection = await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True, prepare_threshold=0, row_factory=dict_row
        )
        if self._search_path is not None:
            try:
                await connection.execute("SELECT set_config('search_path', %s, false)", (self._search_path,))
            except BaseException:
                await connection.close()
                raise
        return connection
