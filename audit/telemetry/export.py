"""Push the spans of runs through any ``SpanExporter``, in bounded batches, and believe only one that says it worked.

Every export sends all final spans of a run again, under the same ids: for looking at some runs. What is sent once to
each place, and found again where it was refused, is in ``sinks``. OpenTelemetry's own OTLP exporter reports a
receiver's partial success as success; that cannot be seen from here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final
from uuid import UUID

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.seals.verified import NewestNote
from langgraph_control.audit.telemetry.spans import spans
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.errors import ControlError

__all__ = ["BATCH_SPANS", "Exported", "export_runs", "export_spans", "otlp_exporter"]

BATCH_SPANS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export sent.

    Args:
        runs: runs that had at least one final span.
        spans: spans that the exporter took.
    """

    runs: int
    spans: int


def export_runs(exporter: SpanExporter, connection: LedgerConnection, run_ids: Iterable[UUID]) -> Exported:
    """Export the final spans of runs, each run's together.

    Args:
        exporter: where to. It is flushed and left open.
        connection: of any login of the tenant.
        run_ids: the runs.

    Raises:
        ControlError: the exporter did not take a batch (``export_failed``). Export again: ids stay the same.
        TrailUnavailable: the ledger cannot be read.
    """
    runs = sent = 0
    checkpoint = NewestNote(connection.ask)()
    for run_id in run_ids:
        entries = (Entry.of(row) for row in connection.entries(run_id))
        count = export_spans(exporter, spans(run_id, entries, checkpoint=checkpoint))
        runs += count > 0
        sent += count
    if exporter.force_flush() is False:  # one that has nothing to flush may inherit a method that returns None
        raise _failed("could not flush", sent)
    return Exported(runs=runs, spans=sent)


def export_spans(exporter: SpanExporter, final: Iterable[ReadableSpan], *, batch_spans: int = BATCH_SPANS) -> int:
    """Push spans through an exporter and return how many it took.

    Args:
        exporter: where to.
        final: the spans.
        batch_spans: at most so many in one call of the exporter.

    Raises:
        ControlError: the exporter did not take a batch (``export_failed``).
    """
    sent = 0
    for batch in _batches(final, batch_spans):
        try:
            result = exporter.export(batch)
        except Exception as error:
            raise _failed(f"raised {type(error).__name__}", sent) from error
        if result is not SpanExportResult.SUCCESS:
            raise _failed("did not take a batch", sent)
        sent += len(batch)
    return sent


def otlp_exporter(endpoint: str | None) -> SpanExporter:
    """Return an exporter that speaks OTLP over HTTP.

    Args:
        endpoint: the full URL, such as ``http://localhost:4318/v1/traces``; None for OpenTelemetry's own variables.

    Raises:
        ControlError: the extra is not installed (``otlp_not_installed``).
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as missing:
        raise ControlError(
            "The OTLP exporter is not installed.",
            safe="Nothing was exported.",
            todo="Install it: pip install 'langgraph-control[otlp]'.",
            code="otlp_not_installed",
        ) from missing
    return OTLPSpanExporter(endpoint=endpoint)


def _batches(final: Iterable[ReadableSpan], size: int) -> Iterator[list[ReadableSpan]]:
    rest = iter(final)
    while batch := list(islice(rest, size)):
        yield batch


def _failed(what: str, sent: int) -> ControlError:
    return ControlError(
        f"The exporter {what}; {sent} spans of this run were taken before.",
        safe="The record is complete; an export changes nothing in it.",
        todo="See that the receiver is up and the endpoint right, then export again: the spans have the same ids.",
        code="export_failed",
    )
