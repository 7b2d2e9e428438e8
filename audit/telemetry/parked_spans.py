"""LangGraph's interrupts in what others instrument: a run parks by one, and callbacks are told of an error."""

from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status, StatusCode

from langgraph_control.audit.telemetry import span_names as names

__all__ = ["ParkedSpans"]

PARKED: Final = "parked"

# How LangGraph leaves a graph without an error; by name, since that is what a span holds of it.
_BUBBLES: Final = ("GraphInterrupt", "NodeInterrupt", "GraphBubbleUp", "ParentCommand", "RunTakenOver")


class ParkedSpans(SpanExporter):
    """Hands spans on, those that ended with an interrupt as parked and not as errors.

    For the exporter of a ``TracerProvider``, where instrumentation of LangChain reports every interrupt as an error.

    Args:
        exporter: where to.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand spans on.

        Args:
            spans: as they ended.
        """
        return self._exporter.export([_as_parked(span) if _is_parked(span) else span for span in spans])

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Have the exporter flush.

        Args:
            timeout_millis: how long it may take.
        """
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()


def _is_parked(span: ReadableSpan) -> bool:
    if span.status.status_code is not StatusCode.ERROR:
        return False
    raised = [str((event.attributes or {}).get("exception.type", "")) for event in span.events if _is_exception(event)]
    if raised:
        return all(kind.rpartition(".")[2] in _BUBBLES for kind in raised)
    return (span.status.description or "").startswith(_BUBBLES)


def _is_exception(event: Event) -> bool:
    return event.name == "exception"


def _as_parked(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes={**(span.attributes or {}), names.STATE: PARKED},
        events=[event for event in span.events if not _is_exception(event)],
        links=span.links,
        kind=span.kind,
        status=Status(StatusCode.UNSET),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
