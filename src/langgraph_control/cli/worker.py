"""``worker``: drives the runs that are due, until it is told to stop."""

import asyncio
import logging
import os
import signal
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from langgraph_control.errors import WorkerRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langgraph_control.graphs.ledger import Ledger
    from langgraph_control.graphs.wake_queue import WakeQueue

__all__ = ["Engine", "worker"]

CONCURRENCY: Final = 8
DRAIN_SECONDS: Final = 25.0
NAME_CHARS_MAX: Final = 100


class Engine(StrEnum):
    """What wakes workers."""

    PROCRASTINATE = "procrastinate"  # on the ledger's own Postgres
    TEMPORAL = "temporal"  # a Temporal server


def worker(
    *,
    graphs: Annotated[Path, typer.Option(help="The file that names the graphs.")] = Path("langgraph.json"),
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="At most so many runs at once.")] = CONCURRENCY,
    name: Annotated[
        str | None,
        typer.Option(help="What it is called in the record; by default host and process id.", show_default=False),
    ] = None,
    queue: Annotated[Engine, typer.Option(help="What wakes it.")] = Engine.PROCRASTINATE,
    policy: Annotated[
        Path | None,
        typer.Option(help="For graphs that are given their Control: its policy file.", show_default=False),
    ] = None,
    dsn: Annotated[
        str | None,
        typer.Option("--dsn", metavar="DSN", help="For the same: the agent login's DSN.", show_default=False),
    ] = None,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="How long runs in hand may go on once it is told to stop.")
    ] = DRAIN_SECONDS,
    temporal_address: Annotated[
        str, typer.Option(envvar="TEMPORAL_ADDRESS", help="Temporal's host and port.")
    ] = "localhost:7233",
    temporal_namespace: Annotated[
        str, typer.Option(envvar="TEMPORAL_NAMESPACE", help="Temporal's namespace.")
    ] = "default",
) -> None:
    """Drive the runs that are due: submitted, decided, timed, or left by a worker that died.

    On the agent login. Any number of workers share the work. SIGTERM and Ctrl-C let each run in hand end its step and
    leave it to the others; a second signal ends the process at once.
    """
    from langgraph_control.graphs.control import Control
    from langgraph_control.graphs.langgraph_json import load_graphs
    from langgraph_control.graphs.order import worker_name

    called = worker_name() if name is None else name
    if not called.strip() or not called.isprintable() or len(called) > NAME_CHARS_MAX:
        raise WorkerRefused(
            f"The worker's name is empty, longer than {NAME_CHARS_MAX} characters, or holds control characters.",
            todo="Give it a short name (--name), or none.",
            code="worker_name_invalid",
        )
    _log_lines()
    ledgers = load_graphs(graphs, own=None if policy is None else lambda: Control(policy, dsn=dsn))
    asyncio.run(
        _work(
            ledgers,
            queue,
            name=called,
            concurrency=concurrency,
            drain_seconds=drain_seconds,
            temporal=(temporal_address, temporal_namespace),
        )
    )


async def _work(
    ledgers: "Mapping[str, Ledger]",
    engine: Engine,
    *,
    name: str,
    concurrency: int,
    drain_seconds: float,
    temporal: tuple[str, str],
) -> None:
    from langgraph_control.graphs.worker import Worker

    store = next(iter(ledgers.values())).store()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told_to_stop() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)  # the next one ends the process, as it ends any other

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop)
    try:
        session = await store.asession()
        queue = _queue(engine, store.dsn, session.tenant, temporal)
        working = Worker(ledgers, queue, name=name, concurrency=concurrency, drain_seconds=drain_seconds)
        await working.run(stop)
    finally:
        for ledger in {id(ledger): ledger for ledger in ledgers.values()}.values():
            await asyncio.to_thread(ledger.close)
    if working.broke_off:
        # The interpreter would wait for the step's thread. Nothing that does counts any more: its run is given up.
        logging.shutdown()
        os._exit(0)


def _queue(engine: Engine, dsn: str, tenant: str, temporal: tuple[str, str]) -> "WakeQueue":
    if engine is Engine.TEMPORAL:
        if find_spec("temporalio") is None:
            raise WorkerRefused(
                "Temporal's client is not installed.",
                todo="pip install 'langgraph-control[temporal]', or leave out --queue.",
                code="temporal_not_installed",
            )
        from langgraph_control.graphs.temporal_queue import TemporalQueue

        address, namespace = temporal
        return TemporalQueue(address, namespace=namespace, tenant=tenant)
    from langgraph_control.graphs.procrastinate_queue import ProcrastinateQueue

    return ProcrastinateQueue(dsn, tenant=tenant)


def _log_lines() -> None:
    """One line on standard error for each thing that happens; a program that set up its own logging keeps that."""
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.WARNING)
    logging.getLogger("langgraph_control").setLevel(logging.INFO)
    # What it says of a lost connection, with traceback and arguments, is said in our own words, too.
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
