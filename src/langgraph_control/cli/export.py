"""``export``: runs as OpenTelemetry traces."""

import signal
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from langgraph_control.audit.asking.requests import NewestRuns
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.names import run_name
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, indented, moment, pairs, print_json, some
from langgraph_control.cli.record import find_run
from langgraph_control.cli.worker import log_lines

if TYPE_CHECKING:
    from langgraph_control.audit.telemetry.sinks.requests import SinkState

__all__ = ["SINKS_VARIABLE", "Exporter", "export"]

SINKS_VARIABLE: Final = "LANGGRAPH_CONTROL_SINKS"
DEAD_MAX: Final = 1000
BEHIND: Final = 3


class Exporter(StrEnum):
    """Where the spans of named runs go."""

    CONSOLE = "console"  # JSON on standard output
    OTLP = "otlp"  # OTLP over HTTP


def export(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="A run's name or trigger.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="The newest runs, up to --limit.")] = False,
    exporter: Annotated[Exporter, typer.Option(help="Of a run or --all: where to.")] = Exporter.CONSOLE,
    endpoint: Annotated[
        str | None,
        typer.Option(help="OTLP's full URL; by default OpenTelemetry's own variables.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="With --all: at most so many runs.")] = 1000,
    follow: Annotated[bool, typer.Option("--follow", help="Send everything, each span once, and go on.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Send what was not sent yet, and end.")] = False,
    sinks: Annotated[
        Path | None,
        typer.Option(envvar=SINKS_VARIABLE, help="The file that says where spans go.", show_default=False),
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="How far each place is.")] = False,
    dead: Annotated[bool, typer.Option("--dead", help="Spans that a place refused.")] = False,
    retry_dead: Annotated[bool, typer.Option("--retry-dead", help="Have those sent again.")] = False,
    sink: Annotated[
        str | None, typer.Option(help="With --dead, --retry-dead: of one place.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --status, --dead: JSON.")] = False,
    dsn: Dsn = None,
    local: Local = False,
) -> None:
    """Send runs as OpenTelemetry traces.

    With --follow, or --once for a timer: to each place what it does not have yet; any number may run, one of them sends
    to each place. Best on the auditor's login. With --once, exit code 3: a place could not be given everything.
    With a run or --all: its final spans, again under the same ids.
    """
    if [run is not None, every, follow, once, status, dead, retry_dead].count(True) != 1:
        raise typer.BadParameter("Give a run, --all, --follow, --once, --status, --dead, or --retry-dead.")
    with database("auditor", dsn=dsn, local=local) as place:
        if run is not None or every:
            _export_runs(place.dsn, run, exporter, endpoint, limit)
            return
        store = Store(place.dsn, application_name="langgraph-control export")
        try:
            if follow or once:
                _send(store, sinks, endpoint, once=once)
            else:
                _look(store, sink, status=status, dead=dead, as_json=as_json)
        finally:
            store.close()


def _export_runs(dsn: str, run: str | None, exporter: Exporter, endpoint: str | None, limit: int) -> None:
    # Only this command needs the SDK and its exporters.
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    from langgraph_control.audit.telemetry.export import export_runs, otlp_exporter

    to = ConsoleSpanExporter(out=sys.stdout) if exporter is Exporter.CONSOLE else otlp_exporter(endpoint)
    try:
        with LedgerConnection(dsn) as connection:
            if run is None:
                run_ids = [row.run_id for row in connection.ask(NewestRuns(limit=limit))]
            else:
                run_ids = [find_run(connection, run).run_id]
            sent = export_runs(to, connection, run_ids)
    finally:
        to.shutdown()
    more = f" There may be older runs: raise --limit above {limit}." if len(run_ids) == limit and run is None else ""
    print(f"Exported {some(sent.spans, 'span')} of {some(sent.runs, 'run')}.{more}", file=sys.stderr)


def _send(store: Store, file: Path | None, endpoint: str | None, *, once: bool) -> None:
    from langgraph_control.audit.telemetry.gauges import ledger_gauges
    from langgraph_control.audit.telemetry.sinks.exporting import Exporting
    from langgraph_control.audit.telemetry.sinks.settings import read_sinks, sink_of_environment

    places = (sink_of_environment(endpoint),) if file is None or endpoint else read_sinks(file)
    log_lines()
    exporting = Exporting(store, places)
    if once:
        complete = exporting.once()
        for one in exporting.following:
            print(f"{one.sink.name}: {one.sent} spans were sent, {one.given_up} refused.")
        if not complete:
            raise typer.Exit(BEHIND)
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ledger_gauges(store), exporting:
        stop.wait()


def _look(store: Store, sink: str | None, *, status: bool, dead: bool, as_json: bool) -> None:
    from langgraph_control.audit.telemetry.sinks.requests import DeadSpans, RetrySpans, SpanSinks

    out = console()
    if status:
        _print_status(store.call(SpanSinks()), as_json=as_json)
    elif dead:
        rows = store.call(DeadSpans(sink=sink, limit=DEAD_MAX))
        if as_json:
            print_json([{name: getattr(row, name) for name in row.__slots__} for row in rows])
        for row in () if as_json else rows:
            heading(out, f"{row.sink}: {row.name}")
            pairs(out, [("run", run_name(row.run_id)), ("entries", f"{row.seq} to {row.closed_seq}")])
            pairs(out, [("said", row.error), ("at", moment(row.at))])
    else:
        print(f"To be sent again: {some(store.call(RetrySpans(sink=sink)), 'span')}.")


def _print_status(rows: "tuple[SinkState, ...]", *, as_json: bool) -> None:
    if as_json:
        print_json([{name: getattr(row, name) for name in row.__slots__} for row in rows])
        return
    out = console()
    if not rows:
        indented(out, "Nothing was ever sent anywhere by this login's role.", by=0)
    for row in rows:
        heading(out, row.sink, style="red" if row.dead or row.failing_since else "")
        pairs(out, [("sent", f"{row.sent:,}"), ("refused", str(row.dead) if row.dead else None)])
        pairs(out, [("lacks", f"{row.behind:,} entries" if row.behind else None), ("oldest", moment(row.oldest))])
        pairs(out, [("failing", moment(row.failing_since)), ("error", row.error), ("served", moment(row.seen_at))])
