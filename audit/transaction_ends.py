"""How a tool's transaction really ended: undone, or committed by the tool itself, which nothing may take for undone."""

import asyncio
import time
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus

from langgraph_control.audit.store import Store
from langgraph_control.audit.transactions import AsyncTransaction, Transaction
from langgraph_control.errors import TrailUnavailable

__all__ = ["aundo", "has_failed", "undo"]

FATE: Final = "SELECT pg_catalog.pg_xact_status(%s::xid8) = 'committed'"
PATIENCE_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 0.2


def has_failed(transaction: Transaction | AsyncTransaction) -> bool:
    """Return whether a statement failed in it, so that it cannot be committed any more."""
    return transaction.connection.info.transaction_status is TransactionStatus.INERROR


def undo(store: Store, transaction: Transaction) -> bool:
    """Roll back and close, and return whether the transaction was committed before.

    Args:
        store: asked where the transaction's own connection is lost.
        transaction: the tool's.

    Raises:
        TrailUnavailable: nobody could be asked; Postgres rolls back what was still open.
    """
    try:
        return _fate(transaction, transaction.xid)
    except psycopg.Error:
        gives_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _fate(store.open_transaction(), transaction.xid)
        except (psycopg.Error, TrailUnavailable):
            _check_patience(gives_up)
        time.sleep(PAUSE_SECONDS)


async def aundo(store: Store, transaction: AsyncTransaction) -> bool:
    """Do what :func:`undo` does, on the event loop that began the transaction.

    Args:
        store: asked where the transaction's own connection is lost.
        transaction: the tool's.

    Raises:
        TrailUnavailable: as :func:`undo`.
    """
    try:
        return await _afate(transaction, transaction.xid)
    except psycopg.Error:
        gives_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await _afate(await store.aopen_transaction(), transaction.xid)
        except (psycopg.Error, TrailUnavailable):
            _check_patience(gives_up)
        await asyncio.sleep(PAUSE_SECONDS)


def _fate(asked: Transaction, xid: str) -> bool:
    try:
        asked.connection.rollback()
        return _committed(asked.connection.execute(FATE, (xid,)).fetchone())
    finally:
        asked.rollback()


async def _afate(asked: AsyncTransaction, xid: str) -> bool:
    try:
        await asked.connection.rollback()
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
