"""What callbacks and OpenTelemetry show of a run, and what the SDK's ordinary path loses."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.errors import GraphInterrupt
from langgraph.types import Command, interrupt
from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from tests.compat.building import GO, State, Update, agent, chain
from tests.support.scripted_model import ScriptedModel, call, calls


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Where the spans of a test end up."""
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    """A provider of this test's own; the global one is left alone."""
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made


def asking() -> BaseTool:
    """Return a tool that asks."""

    @tool
    def ask() -> str:
        """Ask a person."""
        return str(interrupt("?"))

    return ask


class Errors(BaseCallbackHandler):
    """Note what callbacks are told about errors."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, type[BaseException]]] = []

    def on_tool_error(self, error: BaseException, **_: Any) -> None:
        """Note."""
        self.seen.append(("tool", type(error)))

    def on_chain_error(self, error: BaseException, **_: Any) -> None:
        """Note."""
        self.seen.append(("chain", type(error)))


def test_an_interrupt_looks_like_an_error_to_callbacks(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Parking in a tool reaches callbacks as `on_tool_error` and `on_chain_error` with a GraphInterrupt."""
    errors = Errors()
    graph = agent(ScriptedModel(script=[calls(call("ask")), "done"]), [asking()], saver=saver)
    graph.invoke(GO, {**config, "callbacks": [errors]})
    assert {error for _, error in errors.seen} == {GraphInterrupt}
    assert {where for where, _ in errors.seen} == {"tool", "chain"}


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_the_otel_context_reaches_nodes_and_tools(how: str, provider: TracerProvider, config: RunnableConfig) -> None:
    """The span that is current around `invoke` or `ainvoke` is current inside nodes and tools."""
    seen: list[int] = []

    def note() -> None:
        seen.append(trace.get_current_span().get_span_context().trace_id)

    @tool
    def look() -> str:
        """Look at the current span."""
        note()
        return ""

    def node(_: State) -> Update:
        note()
        return {}

    graphs = [
        (agent(ScriptedModel(script=[calls(call("look")), "done"]), [look], saver=InMemorySaver()), GO),
        (chain(InMemorySaver(), node), {}),
    ]
    with provider.get_tracer("test").start_as_current_span("around") as around:
        for graph, given in graphs:
            if how == "ainvoke":
                asyncio.run(graph.ainvoke(given, config))
            else:
                graph.invoke(given, config)
    assert seen == [around.get_span_context().trace_id] * 2


def test_a_resume_is_another_trace(provider: TracerProvider, saver: PostgresSaver, config: RunnableConfig) -> None:
    """Without help, what a node starts before and after a pause are roots of two traces."""
    traces: list[int] = []

    def ask(_: State) -> Update:
        with provider.get_tracer("third party").start_as_current_span("work") as work:
            traces.append(work.get_span_context().trace_id)
            interrupt("?")
        return {}

    graph = chain(saver, ask)
    graph.invoke({}, config)
    graph.invoke(Command(resume="yes"), config)
    assert len(set(traces)) == 2


TRACE_ID, ROOT_ID = 0xA1B2C3D4E5F60718293A4B5C6D7E8F90, 0x1122334455667788


def test_an_attached_remote_span_brings_third_parties_into_the_trace(
    provider: TracerProvider, exporter: InMemorySpanExporter, saver: PostgresSaver, config: RunnableConfig
) -> None:
    """Attaching a sampled remote NonRecordingSpan around each call makes spans of others children in one trace."""

    def ask(_: State) -> Update:
        with provider.get_tracer("third party").start_as_current_span("work"):
            interrupt("?")
        return {}

    graph = chain(saver, ask)
    root = SpanContext(TRACE_ID, ROOT_ID, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    deliveries: list[Any] = [{}, Command(resume="yes")]
    for given in deliveries:
        token = context.attach(trace.set_span_in_context(NonRecordingSpan(root)))
        graph.invoke(given, config)
        context.detach(token)
    spans = exporter.get_finished_spans()
    assert [(span.context.trace_id, span.parent.span_id) for span in spans if span.context and span.parent] == [
        (TRACE_ID, ROOT_ID)
    ] * 2


def rebuilt(attributes: dict[str, Any]) -> ReadableSpan:
    """Return a span made from plain values, as rows of a table would hold them."""
    return ReadableSpan(
        name="refund",
        context=SpanContext(TRACE_ID, 0x99AABBCCDDEEFF00, is_remote=False, trace_flags=TraceFlags(1)),
        parent=SpanContext(TRACE_ID, ROOT_ID, is_remote=True, trace_flags=TraceFlags(1)),
        resource=Resource({"service.name": "control"}),
        attributes=attributes,
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode.OK),
        start_time=1_700_000_000_123_456_789,
        end_time=1_700_000_259_200_000_001,
        instrumentation_scope=InstrumentationScope("langgraph_control"),
    )


def test_a_rebuilt_span_is_what_was_stored(exporter: InMemorySpanExporter) -> None:
    """A `ReadableSpan` made from stored values keeps ids, parent, nanoseconds and any number of attributes."""
    stored = {f"key.{number}": number for number in range(1000)}
    exporter.export([rebuilt(stored)])
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert (span.context.trace_id, span.context.span_id) == (TRACE_ID, 0x99AABBCCDDEEFF00)
    assert span.parent.span_id == ROOT_ID
    assert (span.start_time, span.end_time) == (1_700_000_000_123_456_789, 1_700_000_259_200_000_001)
    assert dict(span.attributes or {}) == stored


def test_a_span_rebuilt_twice_is_the_same_span() -> None:
    """Two spans rebuilt from the same values are equal to the letter, so a second export changes nothing."""
    assert rebuilt({"a": 1, "b": "two"}).to_json() == rebuilt({"a": 1, "b": "two"}).to_json()


def test_live_spans_drop_their_oldest_attributes(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    """A live span keeps 128 attributes by default, and what it drops is the oldest."""
    with provider.get_tracer("test").start_as_current_span("long") as span:
        for number in range(200):
            span.set_attribute(f"key.{number}", number)
    (finished,) = exporter.get_finished_spans()
    assert list(finished.attributes or {}) == [f"key.{number}" for number in range(72, 200)]


def test_an_environment_variable_truncates_values_silently(
    monkeypatch: pytest.MonkeyPatch, exporter: InMemorySpanExporter
) -> None:
    """OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT cuts the values of live spans, and nothing says so."""
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4")
    provider = TracerProvider(span_limits=SpanLimits(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("cut", attributes={"digest": "abcdefgh"}):
        pass
    (finished,) = exporter.get_finished_spans()
    assert dict(finished.attributes or {}) == {"digest": "abcd"}
    assert dict(rebuilt({"digest": "abcdefgh"}).attributes or {}) == {"digest": "abcdefgh"}


class Down(SpanExporter):
    """A collector that cannot be reached."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Fail."""
        del spans
        return SpanExportResult.FAILURE


def test_a_flush_into_a_dead_collector_reports_success() -> None:
    """`BatchSpanProcessor.force_flush()` is True although every span was lost."""
    processor = BatchSpanProcessor(Down())
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    with provider.get_tracer("test").start_as_current_span("lost"):
        pass
    assert processor.force_flush() is True
    processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK has no types here


def test_a_span_that_never_ends_is_never_exported(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    """A span is exported when it ends: what a killed process had open is gone."""
    provider.get_tracer("test").start_span("open")
    provider.shutdown()
    assert exporter.get_finished_spans() == ()
