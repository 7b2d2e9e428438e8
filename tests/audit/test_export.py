"""Spans go through any exporter, in bounded batches, and only what it took counts."""

import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langgraph_control.audit.telemetry.export import export_spans, otlp_exporter
from langgraph_control.audit.telemetry.spans import span_id, spans, trace_id
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.errors import ControlError, UnknownRun
from langgraph_control.otel import export_run
from tests.support.postgres import Database
from tests.support.trails import OpenRun, TrailWriter


@pytest.fixture
def run(database: Database) -> OpenRun:
    """A finished run with five spans."""
    with TrailWriter(database) as trail:
        trail.publish()
        return trail.refund()


class Counting(SpanExporter):
    """Takes batches until it is told to refuse."""

    def __init__(self, *, refuse_from: int = sys.maxsize) -> None:
        self.batches: list[int] = []
        self._refuse_from = refuse_from

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Count a batch."""
        self.batches.append(len(spans))
        return SpanExportResult.FAILURE if len(self.batches) > self._refuse_from else SpanExportResult.SUCCESS


def test_a_run_goes_through_an_exporter(database: Database, run: OpenRun) -> None:
    """Every final span of the run arrives, and their number is returned."""
    exporter = InMemorySpanExporter()
    assert export_run(exporter, run.run_id, database.auditor) == 5
    assert len(exporter.get_finished_spans()) == 5


def test_exporting_again_gives_the_same_spans(database: Database, run: OpenRun) -> None:
    """A second export, as from another process, sends byte for byte what the first one sent."""
    first, second = InMemorySpanExporter(), InMemorySpanExporter()
    export_run(first, f"run_{run.run_id.hex}", database.auditor)
    export_run(second, run.run_id, database.agent)
    assert [span.to_json() for span in first.get_finished_spans()] == [
        span.to_json() for span in second.get_finished_spans()
    ]


def test_batches_are_bounded(database: Database, run: OpenRun) -> None:
    """No call of the exporter gets more spans than the limit."""
    with TrailWriter(database) as trail:
        final = list(spans(run.run_id, (Entry.of(row) for row in trail.agent.entries(run.run_id))))
    exporter = Counting()
    assert export_spans(exporter, final, batch_spans=3) == 5
    assert exporter.batches == [3, 2]


def test_a_refused_batch_is_an_error(database: Database, run: OpenRun) -> None:
    """An exporter that says it failed is believed, and the error says how far it got."""
    with TrailWriter(database) as trail:
        final = list(spans(run.run_id, (Entry.of(row) for row in trail.agent.entries(run.run_id))))
    with pytest.raises(ControlError, match="3 spans") as failed:
        export_spans(Counting(refuse_from=1), final, batch_spans=3)
    assert failed.value.code == "export_failed"


def test_an_exporter_that_raises_is_an_error() -> None:
    """An exporter's own exception is told by its type, not passed on."""

    class Raising(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - inherited
            raise OSError("connect to http://user:secret@collector")

    with pytest.raises(ControlError, match="raised OSError") as failed:
        export_spans(Raising(), [ReadableSpan("one")])
    assert "secret" not in str(failed.value)


def test_an_unknown_run_is_named(database: Database) -> None:
    """A run that is not there is an error, not an empty export."""
    with pytest.raises(UnknownRun):
        export_run(InMemorySpanExporter(), uuid4(), database.auditor)


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A receiver of OTLP over HTTP on the loopback, and what it got."""
    received: list[ExportTraceServiceRequest] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
            """Keep the test's output to itself."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
        server.shutdown()
        thread.join()


def test_otlp_over_http(
    database: Database, run: OpenRun, collector: tuple[str, list[ExportTraceServiceRequest]]
) -> None:
    """OpenTelemetry's own OTLP exporter carries the spans with their ids, parents and times."""
    endpoint, received = collector
    exporter = otlp_exporter(endpoint)
    assert export_run(exporter, run.run_id, database.auditor) == 5
    exporter.shutdown()
    arrived = [span for request in received for part in request.resource_spans for span in part.scope_spans[0].spans]
    assert {span.trace_id for span in arrived} == {trace_id(run.run_id).to_bytes(16)}
    (root,) = [span for span in arrived if span.name == "invoke_agent support"]
    assert root.span_id == span_id(run.run_id).to_bytes(8)
    assert {span.parent_span_id for span in arrived if span is not root} == {root.span_id}


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the OTLP exporter the error says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ControlError, match=r"langgraph-control\[otlp\]") as missing:
        otlp_exporter(None)
    assert missing.value.code == "otlp_not_installed"
