"""LangGraph's Postgres saver, for every thread and loop at once, and closed to workers that lost their run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.postgres.base import BasePostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol

from langgraph_control.audit.connecting.connections import AsyncConnections
from langgraph_control.audit.connecting.drives import RUN_KEY, DriveId, drive_of
from langgraph_control.audit.connecting.leases import RunLeases
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.connecting.tries import PATIENCE_SECONDS, Tries
from langgraph_control.audit.postgres.migrate import CHECKPOINT_SCHEMA

__all__ = ["ControlSaver", "run_of"]

T = TypeVar("T")
Operation = Callable[[AsyncPostgresSaver], Awaitable[T]]

LANES: Final = 4


def run_of(config: RunnableConfig) -> DriveId | None:
    """Return the governed run a config belongs to and the token it is driven with; None outside of one.

    Args:
        config: as LangGraph hands it to the saver.
    """
    named = config.get("configurable", {}).get(RUN_KEY)
    return None if named is None else drive_of(named)


# LangGraph's base for savers over Postgres gives the version numbers that its statements expect.
class ControlSaver(BasePostgresSaver):
    """Keeps checkpoints in ``control_checkpoints`` over the store's I/O thread.

    Sync methods serve any thread, one that runs an event loop included; async ones serve any loop. Calls for one thread
    id keep their order; others do not wait for them. The tables are made by ``migrate``: there is nothing to set up.
    Every call is sent again after a lost connection, as all of LangGraph's statements may be repeated.

    Args:
        store: whose I/O thread and login are used.
        leases: says which drives of this process still own their runs.
        refused: makes what is raised when a run's lease is over: a bubble-up, which no retry layer holds back.
        serde: how values are stored; LangGraph's own if None.
    """

    fences_runs: Final = True  # also told by wrappers that pass on what they do not know

    def __init__(
        self,
        store: Store,
        *,
        leases: RunLeases,
        refused: Callable[[], BaseException],
        serde: SerializerProtocol | None = None,
    ) -> None:
        super().__init__(serde=serde)
        self._store = store
        self._leases = leases
        self._refused = refused
        self._connections = AsyncConnections(store.conninfo, limit=LANES, search_path=CHECKPOINT_SCHEMA)
        self._lanes = tuple(asyncio.Lock() for _ in range(LANES))
        store.thread.at_close(self._connections.drop_idle)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint, or the thread's newest; None if there is none."""
        return self._store.thread.run(self._get_tuple(config))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint, or the thread's newest; None if there is none."""
        return await self._store.thread.wrap(self._get_tuple(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, newest first."""
        yield from self._store.thread.run(self._list(config, filter, before, limit))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, newest first."""
        for found in await self._store.thread.wrap(self._list(config, filter, before, limit)):
            yield found

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint, unless its run is no longer this worker's."""
        return self._store.thread.run(self._put(config, checkpoint, metadata, new_versions))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint, unless its run is no longer this worker's."""
        return await self._store.thread.wrap(self._put(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store a task's writes, unless its run is no longer this worker's."""
        self._store.thread.run(self._put_writes(config, writes, task_id, task_path))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store a task's writes, unless its run is no longer this worker's."""
        await self._store.thread.wrap(self._put_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread's checkpoints. The ledger keeps what it knows."""
        self._store.thread.run(self._do(thread_id, lambda saver: saver.adelete_thread(thread_id)))

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread's checkpoints. The ledger keeps what it knows."""
        await self._store.thread.wrap(self._do(thread_id, lambda saver: saver.adelete_thread(thread_id)))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete older checkpoints of threads, or all of them, as LangGraph's saver does."""
        self._store.thread.run(self._do("", lambda saver: saver.aprune(thread_ids, strategy=strategy)))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete older checkpoints of threads, or all of them, as LangGraph's saver does."""
        await self._store.thread.wrap(self._do("", lambda saver: saver.aprune(thread_ids, strategy=strategy)))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return what channels stored as differences are made of."""
        return self._store.thread.run(self._delta_history(config, channels))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return what channels stored as differences are made of."""
        return await self._store.thread.wrap(self._delta_history(config, channels))

    async def _get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._do(_thread_of(config), lambda saver: saver.aget_tuple(config))

    async def _list(
        self,
        config: RunnableConfig | None,
        wanted: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> tuple[CheckpointTuple, ...]:
        async def collect(saver: AsyncPostgresSaver) -> tuple[CheckpointTuple, ...]:
            found = saver.alist(config, filter=wanted, before=before, limit=limit)
            return tuple([checkpoint async for checkpoint in found])

        return await self._do("" if config is None else _thread_of(config), collect)

    async def _put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._do(
            _thread_of(config),
            lambda saver: saver.aput(config, checkpoint, metadata, new_versions),
            drive=run_of(config),
        )

    async def _put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> None:
        await self._do(
            _thread_of(config),
            lambda saver: saver.aput_writes(config, writes, task_id, task_path),
            drive=run_of(config),
        )

    async def _delta_history(
        self, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return await self._do(
            _thread_of(config), lambda saver: saver.aget_delta_channel_history(config=config, channels=channels)
        )

    async def _do(self, thread_id: str, operation: Operation[T], *, drive: DriveId | None = None) -> T:
        """Run one operation on LangGraph's saver, over a connection of its own.

        A saver is made for each: it has one lock for all its calls, and this object is cloned with another serde when
        a graph is compiled under strict msgpack.
        """
        tries = Tries(self._store.dsn, patience_seconds=PATIENCE_SECONDS)
        async with self._lanes[hash(thread_id) % LANES]:
            while True:
                # Looked at last of all, after waiting: a worker that stalled must not overwrite what its successor did.
                if drive is not None and not self._leases.alive(*drive):
                    raise self._refused()
                try:
                    async with self._connections.hold() as connection:
                        return await operation(AsyncPostgresSaver(connection, serde=self.serde))
                except psycopg.Error as error:
                    pause_seconds = tries.pause_seconds_after(error)
                await self._connections.drop_idle()
                await asyncio.sleep(pause_seconds)


def _thread_of(config: RunnableConfig) -> str:
    return str(config.get("configurable", {}).get("thread_id", ""))
