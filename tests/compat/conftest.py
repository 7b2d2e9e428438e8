"""Checkpointers on a real server; every test has a thread of its own, so one database serves them all."""

import os
from collections.abc import AsyncIterator, Iterator
from typing import TypeAlias

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import DictRow, dict_row

from tests.compat.building import thread

SyncConnection: TypeAlias = psycopg.Connection[DictRow]
AsyncConnection: TypeAlias = psycopg.AsyncConnection[DictRow]


@pytest.fixture(scope="session")
def dsn() -> str:
    """A database that holds the checkpoint tables and nothing else."""
    where = os.environ["COMPAT_DSN"]
    with SyncConnection.connect(where, autocommit=True, row_factory=dict_row) as connection:
        PostgresSaver(connection).setup()
    return where


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
