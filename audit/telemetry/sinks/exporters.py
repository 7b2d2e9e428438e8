"""Any ``SpanExporter`` as a sink. It says only that it worked or that it did not."""

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from langgraph_control.audit.telemetry.sinks.sink import Answer, Verdict

__all__ = ["ExporterSink"]


class ExporterSink:
    """A sink that hands spans to an exporter, and believes only one that says it worked.

    Args:
        name: what it is called.
        exporter: where to. It is shut down with the sink.
        batch_spans: how many spans it is handed at once, at most.
        timeout_seconds: how long it usually takes at most; what it does is not interrupted.
    """

    def __init__(
        self, name: str, exporter: SpanExporter, *, batch_spans: int = 512, timeout_seconds: float = 30.0
    ) -> None:
        self.name = name
        self.batch_spans = batch_spans
        self.timeout_seconds = timeout_seconds
        self._exporter = exporter

    def send(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Hand spans over and have them flushed.

        Args:
            spans: what is sent.
        """
        try:
            result = self._exporter.export(spans)
            flushed = result is SpanExportResult.SUCCESS and self._exporter.force_flush() is not False
        except Exception as error:  # noqa: BLE001 - its trouble is an answer
            return Answer(verdict=Verdict.DOUBTFUL, error=f"raised {type(error).__name__}")
        return (
            Answer(verdict=Verdict.TAKEN) if flushed else Answer(verdict=Verdict.DOUBTFUL, error="did not take a batch")
        )

    def takes_nothing(self) -> bool | None:
        """Nobody can tell: exporters need not answer to an empty batch."""
        return None

    def close(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()
