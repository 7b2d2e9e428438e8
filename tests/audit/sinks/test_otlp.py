"""A receiver that redirects, answers garbage, or never ends is that sink's trouble, and is never followed."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from langgraph_control.audit.telemetry.sinks.otlp import OtlpSink
from langgraph_control.audit.telemetry.sinks.sink import Answer, Verdict
from tests.support.collector import collector

SPAN = ReadableSpan("one", SpanContext(1, 2, is_remote=False), start_time=1, end_time=2)


def sent(url: str, *, timeout: float = 5.0, headers: dict[str, str] | None = None) -> Answer:
    """Send one span."""
    sink = OtlpSink("place", url, timeout_seconds=timeout, headers=headers)
    try:
        return sink.send([SPAN])
    finally:
        sink.close()


def test_what_is_taken() -> None:
    """A span arrives compressed, with the headers that were given, and the answer says so."""
    with collector() as place:
        assert sent(place.url, headers={"x-team": "one"}) == Answer(verdict=Verdict.TAKEN)
        assert [one.name for one in place.arrived] == ["one"]
        assert place.headers[0]["x-team"] == "one"
        assert place.headers[0]["content-encoding"] == "gzip"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """Whatever a sink redirects to gets nothing, least of all the login."""
    with collector() as place, collector() as elsewhere:
        place.status = lambda _: status
        place.answer_headers = {"location": elsewhere.url}
        answer = sent(place.url, headers={"authorization": "Bearer secret"})
        assert answer.verdict is Verdict.AWAY
        assert "redirects are not followed" in answer.error
        assert elsewhere.requests == 0


@pytest.mark.parametrize(
    "garbage",
    [
        ("text/html", b"<html>Sign in</html>"),
        ("application/x-protobuf", b"\xff\xff\xff\xff"),
        ("application/x-protobuf", b"\x0a\x7f"),
        ("application/json", b"[[[[["),
        ("application/json", b"[]"),
        ("application/json", b'{"partialSuccess": {"rejectedSpans": "many"}}'),
        ("application/x-protobuf", b"\x00" * 100_000),
        ("application/json", b'{"error": "please sign in"}'),
        ("application/json", b'{"errors": [{"title": "no such key"}]}'),
        ("application/json", b'{"code": 16, "message": "unauthenticated"}'),
        ("application/x-protobuf", b"\x08\x10\x12\x0funauthenticated"),
        ("text/html", b""),
    ],
)
def test_garbage_is_no_answer(garbage: tuple[str, bytes]) -> None:
    """Status 200 with what is no OTLP answer, such as a login page, counts as not taken."""
    with collector() as place:
        place.answer = garbage
        answer = sent(place.url)
        assert (answer.verdict, "no OTLP answer" in answer.error) == (Verdict.AWAY, True)


@pytest.mark.parametrize(
    ("kind", "body"), [("application/json", b"{}"), ("application/json", b'{"partialSuccess":{}}'), ("text/plain", b"")]
)
def test_short_answers(kind: str, body: bytes) -> None:
    """An empty answer, or one in JSON that names nothing refused, is an answer."""
    with collector() as place:
        place.answer = (kind, body)
        assert sent(place.url).verdict is Verdict.TAKEN


@pytest.mark.parametrize(
    "body",
    [
        b'{"partialSuccess": {"rejectedSpans": "1", "errorMessage": "odd"}}',
        b'{"partial_success": {"rejected_spans": 1, "error_message": "odd"}}',
        b'{"partialSuccess": {"rejectedSpans": 1, "errorMessage": "odd"}, "message": "one was refused"}',
    ],
)
def test_a_refusal_in_json(body: bytes) -> None:
    """What was refused is heard in both spellings of the fields, whatever else the answer says."""
    with collector() as place:
        place.answer = ("application/json", body)
        assert sent(place.url) == Answer(verdict=Verdict.REFUSED, refused=1, error="refused: odd")


def test_an_answer_that_never_ends() -> None:
    """A sink that keeps answering a byte at a time is left when the time is over."""
    with collector() as place:
        place.drip_seconds = 0.05
        answer = sent(place.url, timeout=0.3)
        assert (answer.verdict, answer.error) == (Verdict.AWAY, "no answer within 0.3 s")


def test_nobody_there() -> None:
    """A port that nobody listens on is named without the address."""
    answer = sent("http://127.0.0.1:1/v1/traces?token=secret")
    assert (answer.verdict, answer.error) == (Verdict.AWAY, "cannot be reached (ConnectionRefusedError)")


def test_what_cannot_be_encoded_is_about_the_span() -> None:
    """A span that no encoder takes is refused, and nothing is sent."""
    broken = ReadableSpan("half \ud800", SpanContext(1, 2, is_remote=False), start_time=1, end_time=2)
    with collector() as place:
        sink = OtlpSink("place", place.url)
        assert sink.send([broken]).verdict is Verdict.REFUSED
        assert sink.takes_nothing() is True
        sink.close()
        assert not place.arrived
