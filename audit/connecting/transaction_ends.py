"""How a tool's transaction really ended: undone, or over by the tool's own doing, which nothing may take for undone."""

import asyncio
import time
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.connecting.transactions import AsyncTransaction, Transaction
from langgraph_control.errors import TrailUnavailable

__all__ = ["aundo", "awas_committed", "has_failed", "undo", "was_committed"]

BACK: Final = "ROLLBACK TO SAVEPOINT langgraph_control"
XID: Final = "SELECT pg_catalog.pg_current_xact_id()::text"
FATE: Final = "SELECT pg_catalog.pg_xact_status(%s::xid8) = 'committed'"
PATIENCE_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 0.2


def has_failed(transaction: Transaction | AsyncTransaction) -> bool:
    """Return whether it cannot be committed any more: a statement failed in it, or the tool closed the connection."""
    return _is_failed(transaction) or _was_closed(transaction)


def undo(store: Store, transaction: Transaction) -> bool:
    """Roll back and close, and return whether the tool had ended the transaction by itself before.

    What a tool commits after that is another transaction, of whose end nobody can be asked: so it counts as ended
    whichever way it was.

    Args:
        store: asked where the transaction's own connection is lost.
        transaction: the tool's, not closed by this library.

    Raises:
        TrailUnavailable: nobody could be asked; Postgres rolls back what was still open.
    """
    if _was_closed(transaction):
        return True
    try:
        return _is_over(transaction)
    except psycopg.Error:
        return was_committed(store, transaction)


async def aundo(store: Store, transaction: AsyncTransaction) -> bool:
    """Do what :func:`undo` does, on the event loop that began the transaction.

    Args:
        store: asked where the transaction's own connection is lost.
        transaction: the tool's, not closed by this library.

    Raises:
        TrailUnavailable: as :func:`undo`.
    """
    if _was_closed(transaction):
        return True
    try:
        return await _ais_over(transaction)
    except psycopg.Error:
        return await awas_committed(store, transaction)


def was_committed(store: Store, transaction: Transaction) -> bool:
    """Return whether a transaction whose connection is gone was committed.

    Args:
        store: asked, over another connection.
        transaction: the one that is over.

    Raises:
        TrailUnavailable: nobody could be asked.
    """
    gives_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _fate(store.open_transaction(), transaction.xid)
        except (psycopg.Error, TrailUnavailable):
            _check_patience(gives_up)
        time.sleep(PAUSE_SECONDS)


async def awas_committed(store: Store, transaction: AsyncTransaction) -> bool:
    """Do what :func:`was_committed` does, on any event loop.

    Args:
        store: asked, over another connection.
        transaction: the one that is over.

    Raises:
        TrailUnavailable: nobody could be asked.
    """
    gives_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await _afate(await store.aopen_transaction(), transaction.xid)
        except (psycopg.Error, TrailUnavailable):
            _check_patience(gives_up)
        await asyncio.sleep(PAUSE_SECONDS)


def _is_failed(transaction: Transaction | AsyncTransaction) -> bool:
    return transaction.connection.info.transaction_status is TransactionStatus.INERROR


def _was_closed(transaction: Transaction | AsyncTransaction) -> bool:
    return transaction.connection.closed and not transaction.connection.broken


def _is_over(transaction: Transaction) -> bool:
    try:
        with transaction.connection.cursor(row_factory=tuple_row) as cursor:
            if _is_failed(transaction):
                cursor.execute(BACK)
            return cursor.execute(XID).fetchone() != (transaction.xid,)
    except psycopg.errors.InvalidSavepointSpecification:
        return True  # what failed is a transaction that the tool began
    finally:
        transaction.rollback()


async def _ais_over(transaction: AsyncTransaction) -> bool:
    try:
        async with transaction.connection.cursor(row_factory=tuple_row) as cursor:
            if _is_failed(transaction):
                await cursor.execute(BACK)
            return await (await cursor.execute(XID)).fetchone() != (transaction.xid,)
    except psycopg.errors.InvalidSavepointSpecification:
        return True  # what failed is a transaction that the tool began
    finally:
        await transaction.rollback()


def _fate(asked: Transaction, xid: str) -> bool:
    try:
        return _committed(asked.connection.execute(FATE, (xid,)).fetchone())
    finally:
        asked.rollback()


async def _afate(asked: AsyncTransaction, xid: str) -> bool:
    try:
        return _committed(await (await asked.connection.execute(FATE, (xid,))).fetchone())
    finally:
        await asked.rollback()


def _committed(row: tuple[Any, ...] | None) -> bool:
    return row is not None and row[0] is True


def _check_patience(gives_up: float) -> None:
    if time.monotonic() >= gives_up:
        raise TrailUnavailable(
            "Nobody could be asked whether a tool's transaction was committed.",
            safe="Postgres rolls back what was still open.",
            todo="Resume the run when the database answers again.",
            code="transaction_end_unknown",
        )
