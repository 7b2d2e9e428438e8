"""What a worker sees to beside runs."""

import asyncio
import contextlib
import logging

import psycopg
import pytest

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.keeping.restored import declare_restored
from langgraph_control.graphs.upkeep import upkeep
from tests.support.postgres import Database


async def test_a_worker_makes_months_and_says_that_the_database_was_restored(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing month is made by whoever works, and a restore that nobody has looked into is said in the log."""
    with psycopg.connect(database.admin, autocommit=True) as owner:
        last = owner.execute("SELECT max(relname) FROM pg_class WHERE relname ~ '^entry_[0-9]{4}_[0-9]{2}$'").fetchone()
        assert last is not None
        owner.execute(f"DROP TABLE control.{last[0]}".encode())
        declare_restored(database.admin, comment="from a snapshot")
        store = Store(database.agent)
        caplog.set_level(logging.WARNING, "langgraph_control.worker")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await upkeep(store, every_seconds=0.05)
        assert owner.execute("SELECT to_regclass(%s)", (f"control.{last[0]}",)).fetchone() != (None,)
        store.close()
    assert "accept-restore" in caplog.text


async def test_a_look_that_fails_is_not_the_last(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a look raises is logged by its kind, and the next one is taken."""
    looks: list[object] = []

    async def acall(_: Store, request: object) -> object:
        await asyncio.sleep(0)
        looks.append(request)
        if len(looks) == 1:
            raise ValueError("secret")
        return True

    monkeypatch.setattr(Store, "acall", acall)
    store = Store(database.agent)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await upkeep(store, every_seconds=0.01)
    store.close()
    assert len(looks) > 2
    assert "unforeseen (ValueError)" in caplog.text
    assert "secret" not in caplog.text
