"""The bytes of an OTLP request are those of OpenTelemetry's own encoder."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from langgraph_control.audit.telemetry.sinks.otlp_encoding import request_bytes

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False)
VALUES = st.one_of(TEXTS, st.booleans(), NUMBERS, FLOATS, st.lists(TEXTS, max_size=3).map(tuple), st.just((1, 2)))
ATTRIBUTES = st.dictionaries(TEXTS.filter(bool), VALUES, max_size=8)
MOMENTS = st.integers(0, 2**63 - 1)
STATES = st.sampled_from([None, TraceState([("vendor", "value")])])
CONTEXTS = st.builds(
    SpanContext,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.just(TraceFlags(1)),
    trace_state=STATES,
)
EVENTS = st.builds(Event, name=TEXTS, attributes=ATTRIBUTES, timestamp=MOMENTS)
STATUSES = st.one_of(
    st.just(Status(StatusCode.UNSET)), st.builds(Status, status_code=st.just(StatusCode.ERROR), description=TEXTS)
)
SPANS = st.builds(
    ReadableSpan,
    name=TEXTS,
    context=CONTEXTS,
    parent=st.one_of(st.none(), CONTEXTS),
    resource=st.sampled_from([Resource({"service.name": "one"}), Resource({"service.name": "two", "n": 1})]),
    attributes=ATTRIBUTES,
    events=st.lists(EVENTS, max_size=3),
    links=st.lists(st.builds(Link, context=CONTEXTS, attributes=ATTRIBUTES), max_size=2),
    kind=st.sampled_from(list(SpanKind)),
    status=STATUSES,
    start_time=MOMENTS,
    end_time=MOMENTS,
    instrumentation_scope=st.sampled_from([InstrumentationScope("a"), InstrumentationScope("b", "1")]),
)


def told(request: ExportTraceServiceRequest) -> list[Any]:
    """Return each span with its resource and scope: how they are put together is the sender's."""
    return [
        (part.resource.SerializeToString(), scope.scope.SerializeToString(), span.SerializeToString(deterministic=True))
        for part in request.resource_spans
        for scope in part.scope_spans
        for span in scope.spans
    ]


@given(st.lists(SPANS, max_size=4))
def test_it_is_what_opentelemetry_encodes(spans: list[ReadableSpan]) -> None:
    """Read back, every span says what the one of OpenTelemetry's own encoder says."""
    ours = told(ExportTraceServiceRequest.FromString(request_bytes(spans)))
    assert sorted(ours) == sorted(told(ExportTraceServiceRequest.FromString(encode_spans(spans).SerializeToString())))
    if len({span.resource for span in spans}) == len({span.instrumentation_scope for span in spans}) == 1:
        assert ours == told(encode_spans(spans))  # and in the order in which they were given


def test_equal_values_of_other_kinds_are_not_mixed_up() -> None:
    """1, True and 1.0 stay what they are."""
    context = SpanContext(1, 2, is_remote=False)
    for value in (1, True, 1.0, "1", (1,), (True,)):
        span = ReadableSpan("one", context, attributes={"value": value}, start_time=1, end_time=2)
        assert (
            told(ExportTraceServiceRequest.FromString(request_bytes([span])))[0][2] == told(encode_spans([span]))[0][2]
        )
