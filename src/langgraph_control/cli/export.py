"""``export``: runs as OpenTelemetry traces."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from langgraph_control.audit.connection import LedgerConnection
from langgraph_control.audit.requests import NewestRuns
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.record import find_run

__all__ = ["Exporter", "export"]


class Exporter(StrEnum):
    """Where spans go."""

    CONSOLE = "console"  # JSON on standard output
    OTLP = "otlp"  # OTLP over HTTP


def export(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="A run's name or trigger.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="The newest runs, up to --limit.")] = False,
    exporter: Annotated[Exporter, typer.Option(help="Where to.")] = Exporter.CONSOLE,
    endpoint: Annotated[
        str | None,
        typer.Option(help="OTLP's full URL; by default OpenTelemetry's own variables.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="With --all: at most so many runs.")] = 1000,
    dsn: Dsn = None,
    local: Local = False,
) -> None:
    """Push the final spans of a run, or of all, through an exporter.

    Every export sends them again under the same ids; sending each span once per receiver comes with a later version.
    """
    if (run is None) is not every:
        raise typer.BadParameter("Give a run, or --all.")
    # Only this command needs the SDK and its exporters.
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    from langgraph_control.audit.export import export_runs, otlp_exporter

    sink = ConsoleSpanExporter(out=sys.stdout) if exporter is Exporter.CONSOLE else otlp_exporter(endpoint)
    try:
        with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
            if run is None:
                run_ids = [row.run_id for row in connection.ask(NewestRuns(limit=limit))]
            else:
                run_ids = [find_run(connection, run).run_id]
            sent = export_runs(sink, connection, run_ids)
    finally:
        sink.shutdown()
    more = f" There may be older runs: raise --limit above {limit}." if every and len(run_ids) == limit else ""
    print(f"Exported {sent.spans} spans of {sent.runs} runs.{more}", file=sys.stderr)
