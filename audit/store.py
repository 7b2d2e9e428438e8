"""The ledger as callers see it: a request goes in, its answer comes out. Lost connections are dealt with here."""

import asyncio
import logging
import random
import time
from collections.abc import Iterator
from typing import Final, TypeVar

import psycopg

from langgraph_control.audit.connections import Connections, connection_string
from langgraph_control.audit.failures import final, gave_up
from langgraph_control.audit.ledger import Request, Settle
from langgraph_control.audit.loop_thread import LoopThread
from langgraph_control.audit.migrate import check_schema
from langgraph_control.audit.requests import OpenSession
from langgraph_control.audit.rows import Session
from langgraph_control.audit.statements import REQUIRED_FUNCTIONS, statement
from langgraph_control.audit.transactions import AsyncTransaction, Transaction

__all__ = ["Store"]

T = TypeVar("T")

PATIENCE_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 10.0
WARN_SECONDS: Final = 10.0
PAUSE_SECONDS_FIRST: Final = 0.05
PAUSE_SECONDS_MAX: Final = 1.0
CONNECTIONS_MAX: Final = 8

logger = logging.getLogger(__name__)


class Store:
    """The connection of one process to the ledger. Nothing is opened before the first call.

    Args:
        dsn: the login's connection string.
        application_name: shown in ``pg_stat_activity``.
        connections_max: statements that may be under way at once; further ones wait in line.

    Raises:
        DatabaseRefused: the DSN cannot be read.
    """

    def __init__(
        self, dsn: str, *, application_name: str = "langgraph-control", connections_max: int = CONNECTIONS_MAX
    ) -> None:
        self.dsn = dsn
        self.thread = LoopThread()
        self.conninfo = connection_string(dsn, application_name=application_name)
        self._connections_max = connections_max
        self._connections: Connections | None = None
        self._session: Session | None = None

    def call(self, request: Request[T], *, patience_seconds: float = PATIENCE_SECONDS) -> T:
        """Send a request and block for its answer: one statement, one commit.

        After a lost connection it is sent again unchanged: the ledger's functions recognise a repeat. A settle is sent
        until it lands or the store is closed.

        Args:
            request: what is asked.
            patience_seconds: how long to go on trying; a settle ignores it.

        Raises:
            TrailUnavailable: no answer in time. Nothing may be done on the strength of this request; retry later.
            DatabaseRefused: login, rights or DSN are wrong; retrying will not help.
            SchemaMismatch: the database lacks functions of this release; migrate.
            LedgerRefused: the ledger's function raised.
        """
        return self.thread.run(self._send(request, patience_seconds))

    async def acall(self, request: Request[T], *, patience_seconds: float = PATIENCE_SECONDS) -> T:
        """Send a request and await its answer on any event loop. See :meth:`call`; a cancelled caller stops no request.

        Args:
            request: what is asked.
            patience_seconds: how long to go on trying; a settle ignores it.

        Raises:
            TrailUnavailable, DatabaseRefused, SchemaMismatch, LedgerRefused: as :meth:`call`.
        """
        return await self.thread.wrap(self._send(request, patience_seconds))

    def session(self) -> Session:
        """Return tenant, secret and published policies of this agent login, asked for once.

        Raises:
            TrailUnavailable, DatabaseRefused, SchemaMismatch: as :meth:`call`.
        """
        if self._session is None:
            self._session = self.call(OpenSession())
        return self._session

    async def asession(self) -> Session:
        """Return what :meth:`session` does, on any event loop."""
        if self._session is None:
            self._session = await self.acall(OpenSession())
        return self._session

    def open_transaction(self) -> Transaction:
        """Begin a transaction on a connection of its own, in the caller's thread.

        Raises:
            TrailUnavailable, DatabaseRefused: it could not be begun; nothing was done.
        """
        return Transaction.begin(self.dsn, self.conninfo)

    async def aopen_transaction(self) -> AsyncTransaction:
        """Begin a transaction on a connection of its own, on the caller's running loop.

        Raises:
            TrailUnavailable, DatabaseRefused: it could not be begun; nothing was done.
        """
        return await AsyncTransaction.begin(self.dsn, self.conninfo)

    def close(self) -> None:
        """Close the connections and end the thread. What was still being sent ends with TrailUnavailable."""
        self.thread.close()

    async def _send(self, request: Request[T], patience_seconds: float) -> T:
        endless = isinstance(request, Settle)
        text, parameters = statement(request.statement), request.parameters()
        began = time.monotonic()
        warned = began
        for pause_seconds in _pauses():
            left = ANSWER_SECONDS if endless else min(ANSWER_SECONDS, began + patience_seconds - time.monotonic())
            try:
                async with asyncio.timeout(left):
                    rows = await (await self._opened()).run(text, parameters)
            except (psycopg.Error, TimeoutError) as error:
                refused = final(error, self.dsn, endless=endless)
                waited = time.monotonic() - began
                if refused is None and not endless and waited + pause_seconds >= patience_seconds:
                    refused = gave_up(error, self.dsn, seconds=patience_seconds)
                if refused is not None:
                    raise refused from None
            else:
                return request.read(rows)
            if endless and time.monotonic() - warned >= WARN_SECONDS:
                warned = time.monotonic()
                logger.warning("A settle has not landed for %.0f s; it is sent again until it does.", warned - began)
            if self._connections is not None:
                await self._connections.drop_idle()
            await asyncio.sleep(pause_seconds)
        raise AssertionError("unreachable: there is always another pause")

    async def _opened(self) -> Connections:
        if self._connections is None:
            await asyncio.to_thread(self._check)
            # Several first calls may get here at once; one of them opens.
            if self._connections is None:
                self._connections = Connections(self.conninfo, limit=self._connections_max)
                self.thread.at_close(self._connections.drop_idle)
        return self._connections

    def _check(self) -> None:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            check_schema(connection, REQUIRED_FUNCTIONS)


def _pauses() -> Iterator[float]:
    """Yield how long to wait before each further try; the first follows almost at once, as most losses are short."""
    seconds = PAUSE_SECONDS_FIRST
    while True:
        yield seconds * random.uniform(0.5, 1.0)  # noqa: S311 - spreads the workers that lost the same server
        seconds = min(PAUSE_SECONDS_MAX, 2 * seconds)
