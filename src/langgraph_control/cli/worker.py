"""``worker``: drives the runs that are due, until it is told to stop."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Mapping
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from langgraph_control.errors import WorkerRefused

if TYPE_CHECKING:
    from langgraph_control.audit.telemetry.sinks.sink import SpanSink
    from langgraph_control.graphs.ledger import Ledger
    from langgraph_control.graphs.notices.settings import NotifySettings
    from langgraph_control.graphs.wake_queue import WakeQueue

__all__ = ["Engine", "log_lines", "worker"]

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
    notify: Annotated[
        Path | None,
        typer.Option(
            envvar="LANGGRAPH_CONTROL_NOTIFY",
            help="Also tell people outside of requests, as this file says.",
            show_default=False,
        ),
    ] = None,
    seal_key: Annotated[
        Path | None,
        typer.Option(
            envvar="LANGGRAPH_CONTROL_SEAL_KEY",
            help="Also seal the record, with the signing key of this file.",
            show_default=False,
        ),
    ] = None,
    pin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PIN", help="With --seal-key: where checkpoints are kept outside the database; repeatable."
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            envvar="LANGGRAPH_CONTROL_SINKS",
            help="Also send spans, as this file says.",
            show_default=False,
        ),
    ] = None,
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
    from langgraph_control.graphs.notices.settings import read_settings
    from langgraph_control.graphs.order import worker_name

    called = worker_name() if name is None else name
    if not called.strip() or not called.isprintable() or len(called) > NAME_CHARS_MAX:
        raise WorkerRefused(
            f"The worker's name is empty, longer than {NAME_CHARS_MAX} characters, or holds control characters.",
            todo="Give it a short name (--name), or none.",
            code="worker_name_invalid",
        )
    settings = None if notify is None else read_settings(notify)
    if pin and seal_key is None:
        raise WorkerRefused(
            "A pin keeps signed checkpoints, and there is no key to sign with.",
            todo="Give --seal-key, or leave out --pin.",
            code="worker_pin",
        )
    sinks = _sinks(export)
    log_lines()
    ledgers = load_graphs(graphs, own=None if policy is None else lambda: Control(policy, dsn=dsn))
    asyncio.run(
        _work(
            ledgers,
            queue,
            name=called,
            concurrency=concurrency,
            drain_seconds=drain_seconds,
            temporal=(temporal_address, temporal_namespace),
            settings=settings,
            sealing=None if seal_key is None else (seal_key, tuple(pin or ())),
            sinks=sinks,
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
    settings: "NotifySettings | None",
    sealing: tuple[Path, tuple[str, ...]] | None,
    sinks: "tuple[SpanSink, ...]",
) -> None:
    from langgraph_control.audit.telemetry.gauges import ledger_gauges
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
        with contextlib.ExitStack() as beside:
            beside.enter_context(ledger_gauges(store))
            if settings is not None:
                beside.enter_context(_telling(store.dsn, settings))
            if sealing is not None:
                beside.enter_context(_sealing(store.dsn, *sealing))
            if sinks:
                beside.enter_context(_exporting(store.dsn, sinks))
            await working.run(stop)
    finally:
        for ledger in {id(ledger): ledger for ledger in ledgers.values()}.values():
            await asyncio.to_thread(ledger.close)
    if working.broke_off:
        # The interpreter would wait for the step's thread. Nothing that does counts any more: its run is given up.
        logging.shutdown()
        os._exit(0)


@contextlib.contextmanager
def _telling(dsn: str, settings: "NotifySettings") -> Iterator[None]:
    """Tell people beside the work, over connections of its own: neither waits for the other."""
    from langgraph_control.audit.connecting.store import Store
    from langgraph_control.graphs.notices.notifier import Notifier

    store = Store(dsn, application_name="langgraph-control worker notices")
    try:
        with Notifier(store, settings.sinks, console=settings.console, remind_at=settings.remind_at):
            yield
    finally:
        store.close()


@contextlib.contextmanager
def _sealing(dsn: str, key: Path, pins: tuple[str, ...]) -> Iterator[None]:
    """Seal beside the work, over a connection of its own: neither waits for the other."""
    from langgraph_control.audit.seals.sealing import Sealer
    from langgraph_control.audit.seals.signers import FileSigner
    from langgraph_control.graphs.pins import pins_named

    with Sealer(dsn, FileSigner(key), pins_named(pins)):
        yield


def _sinks(file: Path | None) -> "tuple[SpanSink, ...]":
    if file is None:
        return ()
    from langgraph_control.audit.telemetry.sinks.settings import read_sinks

    return read_sinks(file)


@contextlib.contextmanager
def _exporting(dsn: str, sinks: "tuple[SpanSink, ...]") -> Iterator[None]:
    """Send spans beside the work, over connections of its own."""
    from langgraph_control.audit.connecting.store import Store
    from langgraph_control.audit.telemetry.sinks.exporting import Exporting

    store = Store(dsn, application_name="langgraph-control worker spans")
    try:
        with Exporting(store, sinks):
            yield
    finally:
        store.close()


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


def log_lines() -> None:
    """Have one line on standard error for each thing that happens; a program that set up its own logging keeps that."""
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.WARNING)
    logging.getLogger("langgraph_control").setLevel(logging.INFO)
    # What it says of a lost connection, with traceback and arguments, is said in our own words, too.
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
