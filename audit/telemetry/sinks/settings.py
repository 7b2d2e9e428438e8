"""The file that says where spans go: strict YAML, no secrets in it, each mistake named by its key.

Without a file it is the one place that OpenTelemetry's own variables name.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote, urlsplit

from opentelemetry.sdk.trace.export import SpanExporter
from pydantic import Field

from langgraph_control.audit.telemetry.sinks.exporters import ExporterSink
from langgraph_control.audit.telemetry.sinks.otlp import BATCH_SPANS, TIMEOUT_SECONDS, OtlpSink
from langgraph_control.audit.telemetry.sinks.sink import SpanSink
from langgraph_control.errors import ExportRefused
from langgraph_control.guards.policy_reading import Reading
from langgraph_control.guards.policy_text import Path as KeyPath
from langgraph_control.guards.policy_text import read_document
from langgraph_control.guards.policy_words import Duration, RoleName, Shape

__all__ = ["read_sinks", "sink_of_environment"]

SINKS_MAX: Final = 20  # each has a thread of its own
ENV: Final = "env:"
# What these words stand in is usually a credential.
SECRET_WORDS: Final = ("auth", "key", "token", "secret", "password", "team", "cookie")


class _FileShape(Shape):
    version: Literal[1]
    sinks: dict[RoleName, Any] = Field(min_length=1, max_length=SINKS_MAX)


class _SinkShape(Shape):
    batch: Annotated[int, Field(ge=1, le=10_000, strict=True)] = BATCH_SPANS
    timeout: Duration = TIMEOUT_SECONDS


class _OtlpShape(_SinkShape):
    otlp: str
    headers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")], str] = Field(default_factory=dict)
    gzip: bool = True


class _ExporterShape(_SinkShape):
    exporter: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


def read_sinks(file: Path, *, environment: Mapping[str, str] = os.environ) -> tuple[SpanSink, ...]:
    """Return the places that a file names.

    Args:
        file: the file.
        environment: where its secrets are.

    Raises:
        ExportRefused: it cannot be used; the text names file, line and key.
        ControlError: it names a receiver of OTLP, and the extra is not installed (``otlp_not_installed``).
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportRefused(
            f"{file} cannot be read ({type(error).__name__}).",
            safe="Nothing was exported.",
            todo="Name a file with --sinks or LANGGRAPH_CONTROL_SINKS, as docs/backends.md describes.",
            code="export_file",
        ) from None
    document = read_document(text)
    reading = Reading(document=document, source=file.name, problems=list(document.problems))
    shape = None if reading.problems else reading.shape(_FileShape, document.tree, ())
    sinks: list[SpanSink] = []
    if shape is not None:
        read = _Read(reading=reading, environment=environment)
        sinks = [sink for name, part in shape.sinks.items() if (sink := read.sink(name, part)) is not None]
    if reading.problems:
        raise _refused(reading, file)
    return tuple(sinks)


def sink_of_environment(endpoint: str | None, *, environment: Mapping[str, str] = os.environ) -> SpanSink:
    """Return the receiver of OTLP that was named, or that OpenTelemetry's own variables name; it is called ``otlp``.

    Args:
        endpoint: the full URL; None to look into the environment.
        environment: the variables.

    Raises:
        ExportRefused: none is named, or it is no web address (``export_endpoint``).
        ControlError: the extra is not installed (``otlp_not_installed``).
    """
    url = endpoint or environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not url and (base := environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")):
        url = f"{base.rstrip('/')}/v1/traces"
    if not url or not _is_web_address(url):
        raise ExportRefused(
            "The endpoint is no web address." if url else "Nothing says where spans go.",
            safe="Nothing was exported.",
            todo="Give --endpoint http://localhost:4318/v1/traces, or a file with --sinks; see docs/backends.md.",
            code="export_endpoint",
        )
    given = environment.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or environment.get("OTEL_EXPORTER_OTLP_HEADERS") or ""
    pairs = (pair.partition("=") for pair in given.split(",") if "=" in pair)
    headers = {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}
    if not all(map(_is_header, headers.values())):
        raise ExportRefused(
            "OTEL_EXPORTER_OTLP_HEADERS holds what no header can.",
            safe="Nothing was exported.",
            todo="Write name=value,name=value with values in URL encoding.",
            code="export_headers",
        )
    return OtlpSink("otlp", url, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """One file's sinks."""

    reading: Reading
    environment: Mapping[str, str]

    def sink(self, name: str, part: Any) -> SpanSink | None:
        """Read one of them; None where it is wrong, which is noted."""
        path: KeyPath = ("sinks", name)
        kinds = [kind for kind in ("otlp", "exporter") if isinstance(part, dict) and kind in part]
        if len(kinds) != 1:
            self.reading.problem(path, "export_value", "write one of: otlp, exporter")
            return None
        return self._otlp(name, part, path) if kinds == ["otlp"] else self._exporter(name, part, path)

    def _otlp(self, name: str, part: Any, path: KeyPath) -> SpanSink | None:
        shape = self.reading.shape(_OtlpShape, part, path)
        if shape is None:
            return None
        before = len(self.reading.problems)
        url = self._value(shape.otlp, (*path, "otlp"))
        if url and not _is_web_address(url):
            what = "write an address like https://collector.acme.example/v1/traces"
            self.reading.problem((*path, "otlp"), "export_value", what)
        headers = {}
        for header, value in shape.headers.items():
            place = (*path, "headers", header)
            if not value.startswith(ENV) and any(word in header.lower() for word in SECRET_WORDS):
                self.reading.problem(place, "export_secret", f"write {ENV} and a variable; secrets do not stand here")
                continue
            headers[header.lower()] = read = self._value(value, place)
            if not _is_header(read):
                self.reading.problem(place, "export_value", "the value holds what no header can")
        if len(self.reading.problems) > before:
            return None
        return OtlpSink(
            name, url, headers=headers, timeout_seconds=shape.timeout, batch_spans=shape.batch, compress=shape.gzip
        )

    def _exporter(self, name: str, part: Any, path: KeyPath) -> SpanSink | None:
        shape = self.reading.shape(_ExporterShape, part, path)
        if shape is None:
            return None
        module, _, function = shape.exporter.partition(":")
        try:
            made = getattr(import_module(module), function)()
        except Exception as error:  # noqa: BLE001 - the user's own code may raise anything
            what = f"it could not be made: {type(error).__name__}"
            self.reading.problem((*path, "exporter"), "export_exporter", what)
            return None
        if not isinstance(made, SpanExporter):
            self.reading.problem((*path, "exporter"), "export_exporter", "what it returns is no SpanExporter")
            return None
        return ExporterSink(name, made, batch_spans=shape.batch, timeout_seconds=shape.timeout)

    def _value(self, text: str, path: KeyPath) -> str:
        if not text.startswith(ENV):
            return text
        variable = text.removeprefix(ENV)
        value = self.environment.get(variable, "")
        if not value:
            self.reading.problem(path, "export_secret", f"the variable {variable} is not set")
        return value


def _is_header(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return (
        fits
        and "@" not in parts.netloc
        and not parts.fragment
        and url.isascii()
        and url.isprintable()
        and " " not in url
    )


def _refused(reading: Reading, file: Path) -> ExportRefused:
    problems = sorted(reading.problems, key=lambda problem: problem.line)
    # What is refused in every file of ours has the codes of the policy's reader.
    codes = [problem.code.replace("policy_", "export_") for problem in problems]
    lines = [
        f"{file.name}:{problem.line} {problem.key or '(file)'}: {problem.what} [{code}]"
        for problem, code in zip(problems, codes, strict=True)
    ]
    return ExportRefused("\n".join(lines) + "\n", safe="Nothing was exported.", todo="Correct the file.", code=codes[0])
