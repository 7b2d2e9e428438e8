"""Wake-ups by procrastinate, on the ledger's own Postgres."""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import procrastinate
import psycopg
import psycopg_pool
from procrastinate import exceptions, jobs
from procrastinate.worker import Worker

from langgraph_control.audit.connecting.connections import STALL_SECONDS, connection_string
from langgraph_control.audit.connecting.database_errors import place
from langgraph_control.audit.postgres.queue_schema import QUEUE_SCHEMA
from langgraph_control.errors import QueueUnavailable
from langgraph_control.graphs.wake_queue import Advance

__all__ = ["ProcrastinateQueue"]

AHEAD: Final = timedelta(minutes=2)
"""What is due later is not put on the queue: its job would be looked at by every fetch until then, and a sweep offers
it in time."""

POLL_SECONDS: Final = 0.25  # how late a scheduled job is found; a wake-up is notified
HEARTBEAT_SECONDS: Final = 5.0
STALLED_SECONDS: Final = 20.0
TIDY_SECONDS: Final = 30.0
CONNECTIONS_MAX: Final = 4
CONNECT_SECONDS: Final = 10.0
TASK: Final = "advance"

logger = logging.getLogger(__name__)


class ProcrastinateQueue:
    """Jobs in the schema ``control_queue``, one queue for each graph, fetched with ``FOR UPDATE SKIP LOCKED``.

    It keeps a small pool of connections of its own and, while it consumes, one that listens. Nothing it commits waits
    for the disk: the ledger knows what is due.

    Args:
        dsn: an agent login's connection string.
        tenant: that login's tenant.
    """

    def __init__(self, dsn: str, *, tenant: str) -> None:
        self._dsn = dsn
        self._tenant = tenant
        self._app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(
                conninfo=connection_string(dsn, application_name="langgraph-control queue"),
                configure=_configure,
                min_size=1,
                max_size=CONNECTIONS_MAX,
                timeout=CONNECT_SECONDS,
            )
        )
        self._advance: Advance | None = None
        self._app.task(name=TASK)(self._carry_out)

    async def __aenter__(self) -> Self:
        """Open the pool. See :class:`~langgraph_control.graphs.wake_queue.WakeQueue`."""
        with self._naming_errors():
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._app.open_async()
            except BaseException:
                await self._app.close_async()  # a pool that was not opened in time goes on trying
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the pool."""
        await self._app.close_async()

    async def schedule(self, run_id: UUID, graph: str, at: datetime) -> None:
        """Put a wake-up on the queue for later. See :class:`~langgraph_control.graphs.wake_queue.WakeQueue`."""
        if at - datetime.now(UTC) < AHEAD:
            await self._defer(run_id, graph, lock=f"{run_id}@{at.timestamp():.1f}", at=at)

    async def wake(self, run_id: UUID, graph: str) -> None:
        """Put a wake-up on the queue. See :class:`~langgraph_control.graphs.wake_queue.WakeQueue`."""
        await self._defer(run_id, graph, lock=str(run_id), at=None)

    async def consume(self, advance: Advance, *, graphs: Sequence[str], concurrency: int, drain_seconds: float) -> None:
        """Work on the queues of some graphs. See :class:`~langgraph_control.graphs.wake_queue.WakeQueue`."""
        self._advance = advance
        queues = [self._queue(graph) for graph in graphs]
        tidying = asyncio.create_task(self._tidy(queues))
        try:
            with self._naming_errors():
                await self._work(
                    queues=queues,
                    concurrency=concurrency,
                    fetch_job_polling_interval=POLL_SECONDS,
                    shutdown_graceful_timeout=drain_seconds,
                    delete_jobs="always",
                    install_signal_handlers=False,
                    update_heartbeat_interval=HEARTBEAT_SECONDS,
                    stalled_worker_timeout=STALLED_SECONDS,
                )
        finally:
            tidying.cancel()
        # Not cancelled, so it stopped by itself: one of its side tasks lost the database, which it only logs.
        raise self._unavailable()

    async def _work(self, **settings: Any) -> None:
        worker: Any = Worker(self._app, **settings)
        working = asyncio.create_task(worker.run())
        try:
            await asyncio.sleep(0)  # from its first step on it can be told to stop
            await asyncio.shield(working)
        except asyncio.CancelledError:
            # Told, not cancelled: up to Python 3.11 a wait for the database that ends just then swallows that.
            worker.stop()
            await working
            raise

    async def _carry_out(self, run_id: str, graph: str) -> None:
        if self._advance is None:
            raise AssertionError("woken before anything consumes")
        advanced = await self._advance(UUID(run_id), graph)
        if advanced.again_at is not None:
            with contextlib.suppress(QueueUnavailable):  # the sweep comes back with it
                await self.schedule(UUID(run_id), graph, advanced.again_at)

    async def _defer(self, run_id: UUID, graph: str, *, lock: str, at: datetime | None) -> None:
        job = self._app.configure_task(TASK, queue=self._queue(graph), queueing_lock=lock, schedule_at=at)
        with self._naming_errors(), contextlib.suppress(exceptions.AlreadyEnqueued):
            await job.defer_async(run_id=str(run_id), graph=graph)

    async def _tidy(self, queues: Sequence[str]) -> None:
        """Drop the jobs of workers that died with them: their runs' leases say what is left to do."""
        while True:
            for queue in queues:
                with contextlib.suppress(exceptions.ConnectorException):
                    for job in await self._app.job_manager.get_stalled_jobs(
                        queue=queue, seconds_since_heartbeat=STALLED_SECONDS
                    ):
                        await self._app.job_manager.finish_job(job, status=jobs.Status.ABORTED, delete_job=True)
            await asyncio.sleep(TIDY_SECONDS)

    def _queue(self, graph: str) -> str:
        # A channel is named after it, and Postgres allows a channel 63 bytes.
        return "control-" + hashlib.sha256(f"{self._tenant}/{graph}".encode()).hexdigest()[:24]

    @contextlib.contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.ConnectorException, psycopg.Error, psycopg_pool.PoolTimeout, TimeoutError) as error:
            raise self._unavailable() from error

    def _unavailable(self) -> QueueUnavailable:
        return QueueUnavailable(
            f"The queue cannot be reached or broke off: {place(self._dsn)}.",
            safe="What is due stays due in the ledger.",
            todo="Check that Postgres runs, and that this release's migrate was run there.",
        )


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    """Set what a connection of the pool needs, by statement: poolers refuse start-up options."""
    await connection.execute(
        "SELECT set_config('search_path', %s, false), set_config('synchronous_commit', 'off', false),"
        " set_config('idle_in_transaction_session_timeout', %s, false)",
        (QUEUE_SCHEMA, f"{STALL_SECONDS * 1000:.0f}ms"),
    )
    await connection.commit()
    # All that is sent here are single statements: with a transaction around it, each would be three round trips.
    await connection.set_autocommit(True)
