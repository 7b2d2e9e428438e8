"""The notifications that votes, submissions and settles send to workers, over one connection that also keeps a name.

A notification is a hint: it may be lost, doubled or forged, and names runs that the ledger is then asked about.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row

from langgraph_control.audit.asking.wakes import TakeName
from langgraph_control.audit.connecting.connections import connection_string
from langgraph_control.audit.connecting.database_errors import naming_errors
from langgraph_control.audit.connecting.statements import statement
from langgraph_control.errors import WorkerRefused

__all__ = ["CHANNEL", "PAYLOAD_RUNS_MAX", "Notifications"]

CHANNEL: Final = "control_wake"
PAYLOAD_RUNS_MAX: Final = 256  # a forged payload costs no more than a long one of ours

RECONNECT_SECONDS_FIRST: Final = 0.25
RECONNECT_SECONDS_MAX: Final = 5.0
LOOK_SECONDS: Final = 30.0  # how often an idle connection is asked whether it still lives

Hear = Callable[[frozenset[UUID] | None], None]
"""Told the runs of one notification; None where any run may have been woken."""

logger = logging.getLogger(__name__)


class Notifications:
    """One connection that listens, and for as long as it lives keeps its worker's name from any other.

    Enter it, then await :meth:`listen`.

    Args:
        dsn: an agent login's connection string: directly to Postgres or through a pooler in session mode.
        name: the worker's name.
        hear: told what was heard.
    """

    def __init__(self, dsn: str, *, name: str, hear: Hear) -> None:
        self._dsn = dsn
        self._name = name
        self._hear = hear
        self._connection: psycopg.AsyncConnection[DictRow] | None = None

    async def __aenter__(self) -> Self:
        """Connect, take the name, and listen.

        Raises:
            WorkerRefused: a worker of that name is alive.
            TrailUnavailable, DatabaseRefused: the database cannot be used.
        """
        with naming_errors(self._dsn):
            if not await self._connect():
                await self._disconnect()
                raise WorkerRefused(
                    f"A worker named {self._name!r} is running already.",
                    todo="Give each worker a name of its own (--name), or none: then it is host and process id.",
                    code="worker_name_taken",
                )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect, and so give the name back."""
        await self._disconnect()

    async def listen(self) -> None:
        """Tell what is heard until cancelled, over any number of connections."""
        pause = RECONNECT_SECONDS_FIRST
        while True:
            try:
                if self._connection is None or self._connection.closed:
                    # What it was that kept the name, if the name is taken now, is this worker's own lost connection.
                    if not await self._connect():
                        logger.warning("the name %s is held by another connection", self._name)
                    self._hear(None)
                    logger.info("listening again")
                pause = RECONNECT_SECONDS_FIRST
                await self._hear_all()
            except psycopg.Error as error:
                logger.warning("not listening (%s); sweeping goes on", error.sqlstate or type(error).__name__)
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads workers that lost one server
                pause = min(2 * pause, RECONNECT_SECONDS_MAX)

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _connect(self) -> bool:
        await self._disconnect()
        conninfo = connection_string(self._dsn, application_name=f"langgraph-control worker {self._name}"[:63])
        connection = await psycopg.AsyncConnection[dict[str, Any]].connect(
            conninfo, autocommit=True, row_factory=dict_row
        )
        self._connection = connection
        # The server gives the name back as soon as it notices that this machine is gone, not after its default 2 hours.
        await connection.execute(
            "SELECT set_config(name, setting, false) FROM (VALUES ('tcp_keepalives_idle', '10'),"
            " ('tcp_keepalives_interval', '3'), ('tcp_keepalives_count', '3')) AS s (name, setting)"
        )
        request = TakeName(name=self._name)
        cursor = await connection.execute(statement(request.statement), request.parameters())
        free = request.read(await cursor.fetchall())
        await connection.execute(f"LISTEN {CHANNEL}")
        return free

    async def _hear_all(self) -> None:
        connection = self._connection
        if connection is None:
            raise AssertionError("listened before it was entered")
        while True:
            async for notified in connection.notifies(timeout=LOOK_SECONDS):
                self._hear(_runs(notified.payload))
            await connection.execute("SELECT 1")


def _runs(payload: str) -> frozenset[UUID] | None:
    names = payload.split(",", PAYLOAD_RUNS_MAX)
    try:
        return None if len(names) > PAYLOAD_RUNS_MAX else frozenset(map(UUID, names))
    except ValueError:  # empty where there were too many to name; anything else is nobody's we know
        return None
