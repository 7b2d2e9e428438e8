"""Runs as OpenTelemetry traces: what ``langgraph-control export`` sends, through an exporter of one's own.

Spans are a projection of the trail, not of what a process happened to see: one run is one trace over all processes and
pauses, and exporting it twice gives the same ids. What a run's code starts in any process lands in the same trace;
:class:`ParkedSpans` has what others instrument show LangGraph's interrupts as what they are.
"""

from uuid import UUID

from opentelemetry.sdk.trace.export import SpanExporter

from langgraph_control.audit.asking.requests import FindRun
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id as id_of
from langgraph_control.audit.telemetry.export import export_runs
from langgraph_control.audit.telemetry.parked_spans import ParkedSpans
from langgraph_control.audit.telemetry.span_ids import span_id, trace_id, traceparent
from langgraph_control.errors import UnknownRun

__all__ = ["ParkedSpans", "export_run", "span_id", "trace_id", "traceparent"]


def export_run(exporter: SpanExporter, run_id: UUID | str, dsn: str) -> int:
    """Push the final spans of one run through an exporter and return how many it took.

    What is not final yet (the run itself while it is parked, an attempt in mid-call) is left out; export again later.

    Args:
        exporter: any ``SpanExporter``; it is flushed and left open.
        run_id: the run's name or id.
        dsn: the connection string of any login of the tenant, preferably an auditor's.

    Raises:
        UnknownRun: there is no such run for this login's tenant.
        ControlError: the exporter did not take everything (``export_failed``); export again.
        TrailUnavailable: the ledger cannot be read.
    """
    known = id_of(run_id)
    with LedgerConnection(dsn) as connection:
        if connection.ask(FindRun(run_id=known)) is None:
            raise UnknownRun("There is no such run for this tenant.", todo="List them: langgraph-control runs.")
        return export_runs(exporter, connection, [known]).spans
