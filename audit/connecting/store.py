"""The ledger as callers see it: a request goes in, its answer comes out. Lost connections are dealt with here.

Threads use connections of their own and wait for Postgres only: a hop to another thread and back costs half a claim.
Event loops go through one I/O thread, because a connection belongs to one loop and callers' loops come and go.
"""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, LiteralString, TypeVar

import psycopg

from langgraph_control.audit.asking.health import Health
from langgraph_control.audit.asking.ledger import Claim, Request, Settle
from langgraph_control.audit.asking.requests import OpenSession
from langgraph_control.audit.asking.rows import Session
from langgraph_control.audit.connecting.combining import Combiner, LoopCombiner, columns
from langgraph_control.audit.connecting.connections import AsyncConnections, Connections, Rows, connection_string
from langgraph_control.audit.connecting.loop_thread import LoopThread, closed
from langgraph_control.audit.connecting.statements import REQUIRED_FUNCTIONS, statement
from langgraph_control.audit.connecting.transactions import AsyncTransaction, Transaction
from langgraph_control.audit.connecting.tries import PATIENCE_SECONDS, Tries, lost_a_race
from langgraph_control.audit.postgres.migrate import check_schema
from langgraph_control.audit.telemetry.meters import count_request

__all__ = ["Store"]

T = TypeVar("T")

CONNECTIONS_MAX: Final = 8

TOGETHER: Final[Mapping[str, str]] = {Claim.statement: "claims", Settle.statement: "settles"}
"""Statements that go out together when several are made at once → the statement that carries them."""


class Store:
    """The connection of one process to the ledger. Nothing is opened before the first call.

    Args:
        dsn: the login's connection string.
        application_name: shown in ``pg_stat_activity``.
        connections_max: statements under way at once from threads, and as many from event loops; others wait in line.

    Raises:
        DatabaseRefused: the DSN cannot be read.
    """

    def __init__(
        self, dsn: str, *, application_name: str = "langgraph-control", connections_max: int = CONNECTIONS_MAX
    ) -> None:
        self.dsn = dsn
        self.thread = LoopThread()
        self.health = Health()
        self.conninfo = connection_string(dsn, application_name=application_name)
        self._connections = Connections(self.conninfo, limit=connections_max)
        self._loop_connections = AsyncConnections(self.conninfo, limit=connections_max)
        self.thread.at_close(self._loop_connections.drop_idle)
        self._combiners = {
            one: Combiner(partial(self._one, statement(one)), partial(self._several, statement(several)))
            for one, several in TOGETHER.items()
        }
        self._loop_combiners = {
            one: LoopCombiner(partial(self._aone, statement(one)), partial(self._aseveral, statement(several)))
            for one, several in TOGETHER.items()
        }
        self._closing = threading.Event()
        self._checked = False
        self._same_server = False
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
        text, parameters, tries = self._prepared(request, patience_seconds)
        while not self._closing.is_set():
            try:
                self._check()
                answer = request.read(self._run(request.statement, text, parameters))
            except (psycopg.Error, UnicodeEncodeError) as error:
                if lost_a_race(error):
                    continue
                parameters, pause_seconds = _after(error, request, parameters, tries)
            else:
                count_request(request, answer)
                return answer
            self._same_server = False
            self._connections.drop_idle()
            self._closing.wait(pause_seconds)
        raise closed()

    async def acall(self, request: Request[T], *, patience_seconds: float = PATIENCE_SECONDS) -> T:
        """Send a request and await its answer on any event loop. See :meth:`call`; a cancelled caller stops no request.

        Args:
            request: what is asked.
            patience_seconds: how long to go on trying; a settle ignores it.

        Raises:
            TrailUnavailable, DatabaseRefused, SchemaMismatch, LedgerRefused: as :meth:`call`.
        """
        return await self.thread.wrap(self._acall(request, patience_seconds))

    def session(self, *, again: bool = False) -> Session:
        """Return tenant, secret and published policies of this agent login, asked for once.

        Args:
            again: ask once more: what is published may have changed.

        Raises:
            TrailUnavailable, DatabaseRefused, SchemaMismatch: as :meth:`call`.
        """
        if self._session is None or again:
            self._session = self.call(OpenSession())
        return self._session

    async def asession(self, *, again: bool = False) -> Session:
        """Return what :meth:`session` does, on any event loop."""
        if self._session is None or again:
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
        self._closing.set()
        self._connections.drop_idle()
        self.thread.close()

    def _run(self, name: str, text: LiteralString, parameters: Mapping[str, Any]) -> Rows:
        if name not in self._combiners:
            return self._connections.run(text, parameters)
        self._connections.check_process()  # a forked process must not wait for its parent's threads
        return [self._combiners[name].run(parameters)]

    def _one(self, text: LiteralString, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return self._connections.run(text, parameters)[0]

    def _several(self, text: LiteralString, crew: Sequence[Mapping[str, Any]]) -> Rows:
        return self._connections.run(text, columns(crew))

    async def _arun(self, name: str, text: LiteralString, parameters: Mapping[str, Any]) -> Rows:
        if name not in self._loop_combiners:
            return await self._loop_connections.run(text, parameters)
        return [await self._loop_combiners[name].run(parameters)]

    async def _aone(self, text: LiteralString, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return (await self._loop_connections.run(text, parameters))[0]

    async def _aseveral(self, text: LiteralString, crew: Sequence[Mapping[str, Any]]) -> Rows:
        return await self._loop_connections.run(text, columns(crew))

    def _check(self) -> None:
        """Look once whether the database offers what this release calls, and after a lost connection who answers now.

        Whoever took over may lack what the old server had acknowledged: asked, the ledger finds out and stops writes.
        """
        if self._checked and self._same_server:
            return
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            if not self._checked:
                check_schema(connection, REQUIRED_FUNCTIONS)
                self._checked = True
            connection.execute(statement("server"))
            self._same_server = True

    async def _acall(self, request: Request[T], patience_seconds: float) -> T:
        text, parameters, tries = self._prepared(request, patience_seconds)
        while True:
            try:
                if not (self._checked and self._same_server):
                    await asyncio.to_thread(self._check)
                answer = request.read(await self._arun(request.statement, text, parameters))
            except (psycopg.Error, UnicodeEncodeError) as error:
                if lost_a_race(error):
                    continue
                parameters, pause_seconds = _after(error, request, parameters, tries)
            else:
                count_request(request, answer)
                return answer
            self._same_server = False
            await self._loop_connections.drop_idle()
            await asyncio.sleep(pause_seconds)

    def _prepared(self, request: Request[T], patience_seconds: float) -> tuple[LiteralString, Mapping[str, Any], Tries]:
        patience = None if request.statement == Settle.statement else patience_seconds
        return statement(request.statement), request.parameters(), Tries(self.dsn, patience_seconds=patience)


def _after(
    error: psycopg.Error | UnicodeEncodeError, request: Request[Any], parameters: Mapping[str, Any], tries: Tries
) -> tuple[Mapping[str, Any], float]:
    """Return what to send after a failed try, and how many seconds to wait before."""
    unsendable = isinstance(error, (UnicodeEncodeError, psycopg.DataError))
    if unsendable and request.statement == Settle.statement and parameters["error"] is not None:
        # What a tool said is worth less than that its attempt is settled.
        return {**parameters, "error": None}, 0.0
    if isinstance(error, UnicodeEncodeError):
        raise error
    return parameters, tries.pause_seconds_after(error)
