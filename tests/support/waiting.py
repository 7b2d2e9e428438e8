"""Waiting for what another thread, process or the server does, where no clock can be owned."""

import asyncio
import time
from collections.abc import Callable

import psycopg

from tests.support.postgres import Database

POLL_SECONDS = 0.01


def until(condition: Callable[[], object], *, seconds: float = 10) -> None:
    """Return once the condition holds; fail if it does not in time."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(POLL_SECONDS)


async def auntil(condition: Callable[[], object], *, seconds: float = 10) -> None:
    """Do what :func:`until` does, and let the loop go on meanwhile."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        await asyncio.sleep(POLL_SECONDS)


def until_somebody_waits(database: Database, *, sessions: int = 1) -> None:
    """Return once so many sessions of this database wait for a lock (other tests wait in theirs, on one server)."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with psycopg.connect(database.admin, autocommit=True) as looking:
        until(lambda: looking.execute(waiting).fetchone() == (sessions,))
