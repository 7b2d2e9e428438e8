"""The connection that listens: what it hears, what it makes of nonsense, and what it does when it is lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import psycopg
import pytest

from langgraph_control.audit.connecting.notifications import PAYLOAD_RUNS_MAX, Notifications
from langgraph_control.errors import DatabaseRefused, TrailUnavailable, WorkerRefused
from tests.support.postgres import Database
from tests.support.waiting import auntil

Heard = list[frozenset[UUID] | None]


@asynccontextmanager
async def listening(database: Database, *, name: str = "w1") -> AsyncIterator[Heard]:
    """Listen for as long as the block runs."""
    heard: Heard = []
    async with Notifications(database.agent, name=name, hear=heard.append) as notifications:
        task = asyncio.create_task(notifications.listen())
        try:
            yield heard
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def anybody(shared_database: Database) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection that notifies: any login may."""
    with psycopg.connect(shared_database.auditor, autocommit=True) as connection:
        yield connection


def notify(connection: psycopg.Connection[tuple[object, ...]], payload: str) -> None:
    """Send one notification."""
    connection.execute("SELECT pg_notify('control_wake', %s)", (payload,))


async def test_it_hears_which_runs(shared_database: Database, anybody: psycopg.Connection[tuple[object, ...]]) -> None:
    """A notification's runs are told as their ids."""
    one, other = uuid4(), uuid4()
    async with listening(shared_database) as heard:
        notify(anybody, f"{one},{other}")
        await auntil(lambda: heard)
    assert heard == [frozenset({one, other})]


@pytest.mark.parametrize(
    "payload",
    ["", "nonsense", "1,2", f"{UUID(int=1)};{UUID(int=2)}", ",".join(["x"] * 3000), "'; DROP TABLE control.run; --"],
)
async def test_nonsense_is_a_hint_without_names(
    shared_database: Database, anybody: psycopg.Connection[tuple[object, ...]], payload: str
) -> None:
    """What names no runs, and what names more than ours ever do, only says that something may have happened."""
    async with listening(shared_database) as heard:
        notify(anybody, payload)
        await auntil(lambda: heard)
    assert heard == [None]
    assert PAYLOAD_RUNS_MAX > 200  # what ours name at most


async def test_a_lost_connection_is_made_again(
    shared_database: Database, anybody: psycopg.Connection[tuple[object, ...]]
) -> None:
    """Cut off, it comes back, says that it may have missed something, and hears again."""
    run_id = uuid4()
    async with listening(shared_database) as heard:
        with psycopg.connect(shared_database.admin) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name = 'langgraph-control worker w1'",
                (shared_database.name,),
            )
        await auntil(lambda: heard == [None])
        notify(anybody, str(run_id))
        await auntil(lambda: heard == [None, frozenset({run_id})])


async def test_a_name_is_one_living_connections(shared_database: Database) -> None:
    """A second one of the same name is refused while the first lives, in its own tenant only."""
    async with listening(shared_database):
        with pytest.raises(WorkerRefused) as refused:
            async with listening(shared_database):
                pass
        assert refused.value.code == "worker_name_taken"
        async with listening(shared_database, name="w2"):
            pass
        other = Notifications(shared_database.second_tenant_agent, name="w1", hear=lambda _: None)
        async with other:
            pass
    async with listening(shared_database):
        pass


@pytest.mark.parametrize(
    ("dsn", "error"),
    [
        ("postgresql://nobody@127.0.0.1:1/nowhere", TrailUnavailable),
        ("no dsn at all", DatabaseRefused),
    ],
)
async def test_a_database_that_cannot_be_used_is_named(dsn: str, error: type[Exception]) -> None:
    """Whoever enters without a server, or with what is no DSN, is told so by name."""
    with pytest.raises(error):
        async with Notifications(dsn, name="w1", hear=lambda _: None):
            pass
