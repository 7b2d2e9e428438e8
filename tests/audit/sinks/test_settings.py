"""The file that says where spans go: what it may say, and what is refused by its key."""

from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langgraph_control.audit.telemetry.sinks.exporters import ExporterSink
from langgraph_control.audit.telemetry.sinks.otlp import OtlpSink
from langgraph_control.audit.telemetry.sinks.settings import read_sinks, sink_of_environment
from langgraph_control.errors import ExportRefused

FILE = """\
version: 1
sinks:
  tempo: {otlp: "https://tempo.acme.example/v1/traces", timeout: 5s, batch: 100, headers: {X-Scope-OrgID: acme}}
  honeycomb: {otlp: env:HONEYCOMB_URL, headers: {x-honeycomb-team: env:HONEYCOMB_KEY}, gzip: false}
  own: {exporter: "tests.audit.sinks.test_settings:make"}
"""
ENVIRONMENT = {"HONEYCOMB_URL": "https://api.honeycomb.io/v1/traces", "HONEYCOMB_KEY": "hny_secret"}


def make() -> InMemorySpanExporter:
    """Return an exporter of one's own."""
    return InMemorySpanExporter()


def make_nothing() -> None:
    """Return none."""


def read(tmp_path: Path, text: str) -> tuple[object, ...]:
    """Read a file."""
    file = tmp_path / "sinks.yaml"
    file.write_text(text)
    return read_sinks(file, environment=ENVIRONMENT)


def test_what_a_file_says(tmp_path: Path) -> None:
    """Receivers with headers, secrets from the environment, and exporters of one's own."""
    tempo, honeycomb, own = read(tmp_path, FILE)
    assert isinstance(tempo, OtlpSink)
    assert (tempo.name, tempo.timeout_seconds, tempo.batch_spans) == ("tempo", 5, 100)
    assert isinstance(honeycomb, OtlpSink)
    assert isinstance(own, ExporterSink)
    assert "hny_secret" not in repr(honeycomb)


@pytest.mark.parametrize(
    ("sink", "said"),
    [
        ("{}", "sinks.one: write one of: otlp, exporter [export_value]"),
        ("{otlp: ftp://acme.example}", "sinks.one.otlp: write an address"),
        ('{otlp: "https://me:secret@acme.example/v1/traces"}', "sinks.one.otlp: write an address"),
        ("{otlp: env:MISSING}", "the variable MISSING is not set [export_secret]"),
        ('{otlp: "https://acme.example", headers: {Authorization: Basic abc}}', "secrets do not stand here"),
        ('{otlp: "https://acme.example", headers: {x-note: "a\\r\\nb: c"}}', "holds what no header can"),
        ('{otlp: "https://acme.example", header: {}}', "sinks.one.header"),
        ('{otlp: "https://acme.example", batch: 0}', "sinks.one.batch"),
        ('{exporter: "no.such.module:make"}', "could not be made: ModuleNotFoundError [export_exporter]"),
        ('{exporter: "tests.audit.sinks.test_settings:make_nothing"}', "is no SpanExporter"),
    ],
)
def test_mistakes_are_named_by_their_key(tmp_path: Path, sink: str, said: str) -> None:
    """Each mistake is refused with its key, and no secret is shown."""
    with pytest.raises(ExportRefused) as refused:
        read(tmp_path, f"version: 1\nsinks:\n  one: {sink}\n")
    assert said in str(refused.value)
    assert "secret@" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is named, with what to do."""
    with pytest.raises(ExportRefused, match="export_file"):
        read_sinks(tmp_path / "none.yaml")


def test_opentelemetrys_own_variables() -> None:
    """Without a file they name the one place, with its headers."""
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318/", "OTEL_EXPORTER_OTLP_HEADERS": "a=b%20c,d=e"}
    sink = sink_of_environment(None, environment=variables)
    assert isinstance(sink, OtlpSink)
    assert sink.name == "otlp"
    assert sink_of_environment("http://localhost:1/x", environment={}).name == "otlp"


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({}, "export_endpoint"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"}, "export_endpoint"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_HEADERS": "a=b%0D%0Ac"}, "export_headers"),
    ],
)
def test_variables_that_name_nothing(variables: dict[str, str], code: str) -> None:
    """A missing or wrong endpoint, or headers that are none, are refused."""
    with pytest.raises(ExportRefused, match=code):
        sink_of_environment(None, environment=variables)
