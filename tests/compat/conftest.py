"""Checkpointers on a real server; every test has a thread of its own, so one database serves them all."""

from collections.abc import AsyncIterator, Iterator
from typing import TypeAlias

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import DictRow, dict_row

from tests.compat.building import thread
from tests.compat.databases import empty_database

SyncConnection: TypeAlias = psycopg.Connection[DictRow]
AsyncConnection: TypeAlias = psycopg.AsyncConnection[DictRow]


@pytest.fixture(scope="session")
def dsn(postgres_dsn: str) -> Iterator[str]:
    """A database that holds LangGraph's checkpoint tables and nothing of ours."""
    with empty_database(postgres_dsn) as where:
        with SyncConnection.connect(where, autocommit=True, row_factory=dict_row) as connection:
            PostgresSaver(connection).setup()
        yield where


@pytest.fixture(scope="session")
def connection(dsn: str) -> Iterator[SyncConnection]:
    """The one connection of the session's saver."""
    with SyncConnection.connect(dsn, autocommit=True, prepare_threshold=0, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture(scope="session")
def saver(connection: SyncConnection) -> PostgresSaver:
    """LangGraph's own saver for synchronous graphs."""
    return PostgresSaver(connection)


@pytest.fixture
async def async_saver(dsn: str) -> AsyncIterator[AsyncPostgresSaver]:
    """LangGraph's own saver for asynchronous graphs, on this test's event loop."""
    connection = await AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=0, row_factory=dict_row)
    async with connection:
        yield AsyncPostgresSaver(connection)


@pytest.fixture
def config() -> RunnableConfig:
    """A thread nobody has used."""
    return thread()
