"""One connection for a program that asks a few things and ends: the command line, exports, tests.

Agents do not use it: theirs belong to the I/O thread (:mod:`langgraph_control.audit.connecting.loop_thread`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, LiteralString, Protocol, Self, TypeAlias, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row

from langgraph_control.audit.asking.ledger import Request
from langgraph_control.audit.asking.requests import Chains, RunEntries
from langgraph_control.audit.asking.rows import EntryRow
from langgraph_control.audit.connecting.connections import connection_string
from langgraph_control.audit.connecting.database_errors import naming_errors
from langgraph_control.audit.connecting.failures import refused
from langgraph_control.audit.connecting.statements import statement

__all__ = ["Ask", "LedgerConnection"]

DictConnection: TypeAlias = psycopg.Connection[DictRow]

PAGE_ENTRIES: Final = 500

T = TypeVar("T")


class Ask(Protocol):
    """Carries out a request to the ledger: ``LedgerConnection.ask``, ``Store.call``."""

    def __call__(self, request: Request[T], /) -> T:
        """Return the answer."""
        ...


class LedgerConnection:
    """A connection that carries out requests to the ledger, one at a time, each its own transaction.

    Args:
        dsn: the connection string of a login that may make the requests.
        application_name: shown in ``pg_stat_activity`` unless the DSN has one.

    Raises:
        TrailUnavailable: the server cannot be reached.
        DatabaseRefused: the DSN cannot be read, or the server refuses this login.
    """

    def __init__(self, dsn: str, *, application_name: str = "langgraph-control") -> None:
        self._dsn = dsn
        conninfo = connection_string(dsn, application_name=application_name)
        with naming_errors(dsn):
            self._connection = DictConnection.connect(conninfo, autocommit=True, row_factory=dict_row)

    def ask(self, request: Request[T]) -> T:
        """Carry out one request and return its answer.

        Args:
            request: one of those in :mod:`langgraph_control.audit.asking`.

        Raises:
            TrailUnavailable: the server broke off; what was not recorded was not done.
            RequestRefused: the ledger's function refuses it.
            DatabaseRefused: this login may not make the request, or the database refuses it.
            SchemaMismatch: the database lacks the function; migrate.
        """
        return request.read(self._run(statement(request.statement), request.parameters()))

    def entries(self, run_id: UUID, *, after: int = 0) -> Iterator[EntryRow]:
        """Read a run's chain in order, a page at a time.

        Args:
            run_id: the run.
            after: the last place already read; 0 for the start.

        Raises:
            TrailUnavailable: as for :meth:`ask`.
        """
        while True:
            page = self.ask(RunEntries(run_id=run_id, after=after, limit=PAGE_ENTRIES))
            yield from page
            if len(page) < PAGE_ENTRIES:
                return
            after = page[-1].seq

    def chains(self) -> Iterator[UUID]:
        """Read the ids of all the tenant's chains in order, a page at a time.

        Raises:
            TrailUnavailable: as for :meth:`ask`.
        """
        after: UUID | None = None
        while True:
            page = self.ask(Chains(after=after, limit=PAGE_ENTRIES))
            yield from page
            if len(page) < PAGE_ENTRIES:
                return
            after = page[-1]

    @contextmanager
    def one_instant(self) -> Iterator[None]:
        """Have everything that is asked inside answered as of one moment. Only for what reads.

        Raises:
            TrailUnavailable: the server broke off.
        """
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        try:
            with naming_errors(self._dsn), self._connection.transaction():
                yield
        finally:
            self._connection.isolation_level = None

    def close(self) -> None:
        """Close the connection. Harmless when repeated."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, text: LiteralString, parameters: Any) -> list[DictRow]:
        try:
            with naming_errors(self._dsn):
                return self._connection.execute(text, parameters, binary=True).fetchall()
        except psycopg.Error as error:
            raise refused(error, self._dsn) from error
