"""OTLP over HTTP as its specification has it: no redirect is followed, and only an answer that can be read is believed.

OpenTelemetry's own exporter reports a partial success as success, so the answer is read here (extra ``[otlp]``).
"""

import gzip
import http.client
import ssl
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from opentelemetry.sdk.trace import ReadableSpan

from langgraph_control.audit.deadline import Deadline, what_failed
from langgraph_control.audit.printable import printable
from langgraph_control.audit.telemetry.sinks.otlp_encoding import request_bytes
from langgraph_control.audit.telemetry.sinks.sink import Answer, Verdict
from langgraph_control.errors import ControlError
from langgraph_control.guards.retries import retry_after

__all__ = ["BATCH_SPANS", "TIMEOUT_SECONDS", "OtlpSink"]

BATCH_SPANS: Final = 512
TIMEOUT_SECONDS: Final = 10.0
ANSWER_BYTES_MAX: Final = 65_536
SAID_CHARS_MAX: Final = 200
PROTOBUF: Final = "application/x-protobuf"

# The specification's own: try again later.
_BUSY: Final = frozenset({408, 429, 502, 503, 504})
# What a refusal says in JSON, by OTLP's specification (google.rpc.Status) and by what gateways say with status 200.
_FAILURE: Final = frozenset({"code", "message", "error", "errors"})
# About what is sent, and not about who sends it where.
_ABOUT_SPANS: Final = frozenset({400, 413, 422})


class OtlpSink:
    """A receiver of OTLP over HTTP, over one connection that is kept.

    Args:
        name: what it is called.
        url: the full address, such as ``https://collector.example/v1/traces``; never shown, for it may hold a secret.
        headers: sent with every request; never shown.
        timeout_seconds: how long an answer may take, all of it.
        batch_spans: how many spans go into one request, at most.
        compress: whether requests are compressed with gzip.
        tls: whom to trust; by default what the system trusts.

    Raises:
        ControlError: the extra is not installed (``otlp_not_installed``).
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        batch_spans: int = BATCH_SPANS,
        compress: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self.timeout_seconds = timeout_seconds
        self.batch_spans = batch_spans
        self._answer = _answer_reader()
        self._compress = compress
        self._parts = urlsplit(url)
        self._tls = tls or (ssl.create_default_context() if self._parts.scheme == "https" else None)
        self._headers = {"user-agent": "langgraph-control", "content-type": PROTOBUF, **(headers or {})}
        if compress:
            self._headers["content-encoding"] = "gzip"
        self._connection: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()

    def send(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Post spans, and believe only an answer that says they were taken.

        Args:
            spans: what is sent.
        """
        try:
            body = request_bytes(spans)
        except (TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:  # about one of the spans
            return Answer(verdict=Verdict.REFUSED, error=f"cannot be encoded ({type(error).__name__})")
        with self._lock:
            return self._post(body)

    def takes_nothing(self) -> bool | None:
        """Post a request without spans, which every receiver takes that is one."""
        with self._lock:
            return self._post(b"").verdict is Verdict.TAKEN

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _post(self, body: bytes) -> Answer:
        sent = gzip.compress(body, compresslevel=1) if self._compress else body
        target = f"{self._parts.path or '/'}{'?' + self._parts.query if self._parts.query else ''}"
        was_open = self._connection is not None
        connection = self._connection = self._connection or self._connect()
        with Deadline(self.timeout_seconds, lambda: connection.sock) as deadline:
            try:
                connection.request("POST", target, body=sent, headers=self._headers)
                response = connection.getresponse()
                read = response.read(ANSWER_BYTES_MAX + 1)
            except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
                # The last two: a connection that the deadline closed in the middle of something.
                self.close()
                again = was_open and not deadline.over
                failed = Answer(verdict=Verdict.AWAY, error=what_failed(error, deadline, self.timeout_seconds))
            else:
                if len(read) > ANSWER_BYTES_MAX or response.will_close or deadline.over:
                    self.close()
                return self._read(response, read)
        # A connection that was kept may have been closed meanwhile by the other side.
        return self._post(body) if again else failed

    def _connect(self) -> http.client.HTTPConnection:
        host, port, seconds = self._parts.hostname or "", self._parts.port, self.timeout_seconds
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=seconds, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=seconds)

    def _read(self, response: http.client.HTTPResponse, body: bytes) -> Answer:
        status = response.status
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return self._taken(response.headers.get_content_type(), body)
        if status < HTTPStatus.BAD_REQUEST:
            error = f"answered {status}: redirects are not followed; correct the address"
            return Answer(verdict=Verdict.AWAY, error=error)
        pause = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        if status in _ABOUT_SPANS:
            return Answer(verdict=Verdict.REFUSED, error=f"answered {status}")
        # What is left of 4xx is about the login or the address; of 5xx it may be that a span breaks it.
        doubtful = status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in _BUSY
        verdict = Verdict.DOUBTFUL if doubtful else Verdict.AWAY
        return Answer(verdict=verdict, error=f"answered {status}", pause_seconds=pause)

    def _taken(self, kind: str, body: bytes) -> Answer:
        try:
            refused, said = _partial(kind, body, self._answer)
        except Exception:  # noqa: BLE001 - whatever cannot be read is no answer
            return Answer(verdict=Verdict.AWAY, error="answered with what is no OTLP answer; correct the address")
        if refused <= 0:
            return Answer(verdict=Verdict.TAKEN)
        said = printable(said, chars_max=SAID_CHARS_MAX)
        return Answer(verdict=Verdict.REFUSED, refused=refused, error=f"refused: {said}" if said else "refused")


def _partial(kind: str, body: bytes, answer: Callable[[bytes], Any]) -> tuple[int, str]:
    """Return how many spans were refused, and why."""
    if len(body) > ANSWER_BYTES_MAX:
        raise ValueError("too long")
    if not body and kind != "text/html":
        return 0, ""
    if kind == "application/json":
        return _partial_of_json(orjson.loads(body))
    if kind not in {PROTOBUF, "application/octet-stream"}:
        raise ValueError("another kind of document")
    read = answer(body)
    if not read.HasField("partial_success") and read.ByteSize():
        raise ValueError("another kind of message")
    return read.partial_success.rejected_spans, read.partial_success.error_message


def _partial_of_json(read: Any) -> tuple[int, str]:
    """The same of JSON. Fields that nobody knows are left aside, as OTLP asks; a failure's are not taken for a yes."""
    part = read.get("partialSuccess", read.get("partial_success"))
    if part is None and not _FAILURE.isdisjoint(read):
        raise ValueError("it says what went wrong")
    part = part or {}
    return (
        int(part.get("rejectedSpans") or part.get("rejected_spans") or 0),
        str(part.get("errorMessage") or part.get("error_message") or ""),
    )


def _answer_reader() -> Callable[[bytes], Any]:
    try:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
    except ImportError as missing:
        raise ControlError(
            "The OTLP exporter is not installed.",
            safe="Nothing was exported.",
            todo="Install it: pip install 'langgraph-control[otlp]'.",
            code="otlp_not_installed",
        ) from missing
    return ExportTraceServiceResponse.FromString
