"""Wake-ups by Temporal: timers and signals of one workflow for each run. Needs the extra ``[temporal]``."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from temporalio import activity
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError
from temporalio.worker import Worker

from langgraph_control.errors import QueueUnavailable
from langgraph_control.graphs.temporal_workflow import (
    ADVANCE,
    HEARTBEAT_SECONDS,
    SCHEDULE,
    WAKE,
    Looked,
    Run,
    RunWorkflow,
)
from langgraph_control.graphs.wake_queue import Advance

__all__ = ["TemporalQueue"]

BEATS_PER_TIMEOUT: Final = 3
CONNECT_SECONDS: Final = 10.0
CALL_SECONDS: Final = timedelta(seconds=10)


class TemporalQueue:
    """One workflow for each run, in a task queue of its graph's.

    Args:
        address: the server's, ``host:port``.
        namespace: Temporal's.
        tenant: the ledger's tenant; it is part of every workflow's id.
    """

    def __init__(self, address: str, *, namespace: str = "default", tenant: str) -> None:
        self._address = address
        self._namespace = namespace
        self._tenant = tenant
        self._connected: Client | None = None
        self._advance: Advance | None = None

    async def __aenter__(self) -> Self:
        """Connect. See :class:`~langgraph_control.graphs.wake_queue.WakeQueue`."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._connected = await Client.connect(self._address, namespace=self._namespace)
        except (RuntimeError, TimeoutError) as error:  # what Temporal's core raises
            raise self._unavailable() from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the connection; Temporal's client has no closing of its own."""
        self._connected = None

    async def schedule(self, run_id: UUID, graph: str, at: datetime) -> None:
        """Have a run's workflow wait for a time. See :class:`~langgraph_control.graphs.wake_queue.WakeQueue`."""
        await self._signal(run_id, graph, SCHEDULE, at.astimezone(UTC).isoformat())

    async def wake(self, run_id: UUID, graph: str) -> None:
        """Signal a run's workflow. See :class:`~langgraph_control.graphs.wake_queue.WakeQueue`."""
        await self._signal(run_id, graph, WAKE)

    async def consume(self, advance: Advance, *, graphs: Sequence[str], concurrency: int, drain_seconds: float) -> None:
        """Work on the task queues of some graphs. See :class:`~langgraph_control.graphs.wake_queue.WakeQueue`."""
        self._advance = advance
        workers = [
            Worker(
                self._client,
                task_queue=self._task_queue(graph),
                workflows=[RunWorkflow],
                activities=[self._carry_out],
                max_concurrent_activities=concurrency,
                graceful_shutdown_timeout=timedelta(seconds=drain_seconds),
            )
            for graph in graphs
        ]
        try:
            async with asyncio.TaskGroup() as tasks:
                for worker in workers:
                    tasks.create_task(worker.run())
        except* (RPCError, RuntimeError) as errors:  # what Temporal's core raises
            raise self._unavailable() from errors

    @activity.defn(name=ADVANCE)
    async def _carry_out(self, run: Run) -> Looked:
        if self._advance is None:
            raise AssertionError("woken before anything consumes")
        beating = asyncio.create_task(_beat())
        try:
            advanced = await self._advance(UUID(run.run_id), run.graph)
        finally:
            beating.cancel()
        again_at = None if advanced.again_at is None else advanced.again_at.astimezone(UTC).isoformat()
        return Looked(finished=advanced.finished, again_at=again_at)

    async def _signal(self, run_id: UUID, graph: str, signal: str, *arguments: Any) -> None:
        with self._naming_errors():
            await self._client.start_workflow(
                RunWorkflow.run,
                Run(run_id=str(run_id), graph=graph),
                id=f"control/{self._tenant}/{run_id}",
                task_queue=self._task_queue(graph),
                start_signal=signal,
                start_signal_args=list(arguments),
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                rpc_timeout=CALL_SECONDS,
            )

    @property
    def _client(self) -> Client:
        if self._connected is None:
            raise AssertionError("used before it was entered")
        return self._connected

    def _task_queue(self, graph: str) -> str:
        return f"control/{self._tenant}/{graph}"

    @contextlib.contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except RPCError as error:
            raise self._unavailable() from error

    def _unavailable(self) -> QueueUnavailable:
        return QueueUnavailable(
            f"Temporal cannot be reached or broke off: {self._address}, namespace {self._namespace}.",
            safe="What is due stays due in the ledger.",
            todo="Check TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE, and that the server runs.",
        )


async def _beat() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(HEARTBEAT_SECONDS / BEATS_PER_TIMEOUT)
