"""Transactions that hold a tool's effect and its settle together.

Each has a connection of its own, closed at its end: a tool may leave settings, temporary tables and locks behind, and
none of that may reach the next one.
"""

from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from langgraph_control.audit.asking.ledger import Request
from langgraph_control.audit.connecting.database_errors import naming_errors
from langgraph_control.audit.connecting.failures import OWN_CODES, LedgerRefused
from langgraph_control.audit.connecting.statements import statement

__all__ = ["AsyncTransaction", "CommitUnknown", "RolledBack", "Transaction"]

T = TypeVar("T")

# The savepoint stands for the transaction: one can go back to it while the transaction is open, failed or not.
BEGIN: Final = "SELECT pg_catalog.pg_current_xact_id()::text; SAVEPOINT langgraph_control"


class RolledBack(Exception):  # noqa: N818 - says what happened
    """The transaction is certainly undone, the tool's effect with it.

    Args:
        text: what undid it.
        error: what Postgres answered the commit with; None where the commit was not what failed.
    """

    def __init__(self, text: str, *, error: psycopg.Error | None = None) -> None:
        self.error = error
        super().__init__(text)


class CommitUnknown(Exception):  # noqa: N818
    """The connection was lost during commit: claim again, and the ledger says which it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One open transaction, for one thread.

    Args:
        connection: for the tool; it neither commits nor rolls back.
        xid: the transaction's id, which the settle is told.
    """

    connection: psycopg.Connection[Any]
    xid: str

    @classmethod
    def begin(cls, dsn: str, conninfo: str) -> Self:
        """Connect and begin.

        Args:
            dsn: as given by the user, for error texts.
            conninfo: what to connect with.

        Raises:
            TrailUnavailable, DatabaseRefused: it could not be begun; nothing was done.
        """
        with naming_errors(dsn):
            connection = psycopg.connect(conninfo)
            try:
                return cls(connection=connection, xid=_xid(connection.execute(BEGIN).fetchone()))
            except BaseException:
                connection.close()
                raise

    def execute(self, request: Request[T]) -> T:
        """Run a ledger request inside the transaction.

        Args:
            request: what is asked.

        Raises:
            LedgerRefused: the ledger's function raised; the transaction is rolled back.
            RolledBack: anything else went wrong; the transaction is rolled back.
        """
        try:
            with self.connection.cursor(binary=True, row_factory=dict_row) as cursor:
                cursor.execute(statement(request.statement), request.parameters())
                return request.read(cursor.fetchall())
        except psycopg.Error as error:
            self.rollback()
            raise _undone(error) from None

    def commit(self) -> None:
        """Commit and close.

        Raises:
            RolledBack: it did not commit, for certain.
            CommitUnknown: the connection was lost after the commit was sent.
        """
        try:
            _check_open(self.connection)
            self.connection.commit()
        except psycopg.Error as error:
            raise _after_commit(self.connection, error) from None
        finally:
            self.connection.close()

    def rollback(self) -> None:
        """Undo everything and close. The server does so by itself once the connection is gone."""
        self.connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncTransaction:
    """One open transaction, for the event loop that began it.

    Args:
        connection: for the tool; it neither commits nor rolls back.
        xid: the transaction's id, which the settle is told.
    """

    connection: psycopg.AsyncConnection[Any]
    xid: str

    @classmethod
    async def begin(cls, dsn: str, conninfo: str) -> Self:
        """Connect and begin. See :meth:`Transaction.begin`.

        Args:
            dsn: as given by the user, for error texts.
            conninfo: what to connect with.
        """
        with naming_errors(dsn):
            connection = await psycopg.AsyncConnection.connect(conninfo)
            try:
                return cls(connection=connection, xid=_xid(await (await connection.execute(BEGIN)).fetchone()))
            except BaseException:
                await connection.close()
                raise

    async def execute(self, request: Request[T]) -> T:
        """Run a ledger request inside the transaction. See :meth:`Transaction.execute`.

        Args:
            request: what is asked.
        """
        try:
            async with self.connection.cursor(binary=True, row_factory=dict_row) as cursor:
                await cursor.execute(statement(request.statement), request.parameters())
                return request.read(await cursor.fetchall())
        except psycopg.Error as error:
            await self.rollback()
            raise _undone(error) from None

    async def commit(self) -> None:
        """Commit and close. See :meth:`Transaction.commit`."""
        try:
            _check_open(self.connection)
            await self.connection.commit()
        except psycopg.Error as error:
            raise _after_commit(self.connection, error) from None
        finally:
            await self.connection.close()

    async def rollback(self) -> None:
        """Undo everything and close. The server does so by itself once the connection is gone."""
        await self.connection.close()


def _xid(row: tuple[Any, ...] | None) -> str:
    return "" if row is None else str(row[0])


def _undone(error: psycopg.Error) -> Exception:
    state = error.sqlstate or ""
    if state.startswith(OWN_CODES):
        return LedgerRefused(state)
    # The driver's text may quote what was sent.
    return RolledBack(f"A statement of the ledger failed inside the tool's transaction ({state or 'connection lost'}).")


def _check_open(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """COMMIT of a failed transaction is a rollback that Postgres reports as success."""
    status = connection.info.transaction_status
    if status is not TransactionStatus.INTRANS:
        raise RolledBack(f"The transaction was over before its commit ({status.name.lower()}).")


def _after_commit(
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], error: psycopg.Error
) -> Exception:
    if connection.closed:
        return CommitUnknown("The connection was lost during commit.")
    if error.sqlstate is None:
        return RolledBack("The commit was not sent.")  # by psycopg, inside a block of the tool's, say
    return RolledBack(f"Postgres refused the commit ({error.sqlstate}).", error=error)
