"""A receiver of OTLP over HTTP on loopback: it keeps what arrives, in order, and misbehaves as it is told."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """One span as it arrived."""

    span: Span

    @property
    def trace(self) -> UUID:
        """The trace, which is the run."""
        return UUID(bytes=self.span.trace_id)

    @property
    def id(self) -> tuple[bytes, bytes]:
        """What tells it from any other."""
        return self.span.trace_id, self.span.span_id

    @property
    def name(self) -> str:
        """Its name."""
        return self.span.name

    def told(self, name: str) -> Any:
        """Return one of its attributes, a number or a text; None where it has none of that name."""
        for pair in self.span.attributes:
            if pair.key == name:
                return pair.value.int_value if pair.value.HasField("int_value") else pair.value.string_value
        return None


@dataclass(kw_only=True)
class Collector:
    """The server, what it was sent, and how it answers."""

    url: str = ""
    arrived: list[Arrived] = field(default_factory=list)  # only what was taken
    requests: int = 0
    sizes: list[int] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: Callable[[int], int] = lambda _: 200  # number of the request → status
    refuses: Callable[[Span], bool] = lambda _: False  # alone, by partial success
    chokes: Callable[[Span], int] = lambda _: 0  # on the whole request, with this status
    answer: tuple[str, bytes] | None = None  # in place of an OTLP answer
    answer_headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    drip_seconds: float = 0.0
    drop: Callable[[int], bool] = lambda _: False  # take it, and hang up without an answer

    @property
    def once(self) -> list[Arrived]:
        """What arrived, each once, where it arrived first."""
        known: dict[tuple[bytes, bytes], Arrived] = {}
        for one in self.arrived:
            known.setdefault(one.id, one)
        return list(known.values())

    def take(self, body: bytes) -> tuple[int, bytes]:
        """Take one request, and return status and answer."""
        number, self.requests = self.requests, self.requests + 1
        status = self.status(number)
        if status != 200:
            return status, b""
        request = ExportTraceServiceRequest.FromString(body)
        spans = [span for part in request.resource_spans for scope in part.scope_spans for span in scope.spans]
        self.sizes.append(len(spans))
        if choked := next(filter(None, map(self.chokes, spans)), 0):
            return choked, b""
        taken = [span for span in spans if not self.refuses(span)]
        self.arrived += [Arrived(span=span) for span in taken]
        answer = ExportTraceServiceResponse()
        if len(taken) < len(spans):
            answer.partial_success.rejected_spans = len(spans) - len(taken)
            answer.partial_success.error_message = "too\x1b[31m odd"
        return 200, answer.SerializeToString()


@contextmanager
def collector(port: int = 0) -> Iterator[Collector]:
    """Serve on a free port of loopback, or on one that is given."""
    place = Collector()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            place.headers.append({name.lower(): value for name, value in self.headers.items()})
            time.sleep(place.delay_seconds)
            with lock:
                number = place.requests
                status, answer = place.take(body)
            if place.drop(number):
                self.close_connection = True
                return
            kind, answer = place.answer or (PROTOBUF, answer)
            try:
                while place.drip_seconds:
                    self.wfile.write(b"H")
                    time.sleep(place.drip_seconds)
                self.send_response(status)
                for name, value in {"content-type": kind, **place.answer_headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
            except OSError:
                self.close_connection = True  # whoever called has hung up

        def log_message(self, *args: Any, **named: Any) -> None:
            del args, named

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    place.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield place
    finally:
        place.drip_seconds = 0.0
        server.shutdown()
        server.server_close()


def in_order(arrived: Sequence[Arrived], closed: Callable[[Arrived], int]) -> bool:
    """Whether the spans of each run arrived in the order in which they became final."""
    newest: dict[UUID, int] = {}
    for one in arrived:
        if closed(one) < newest.get(one.trace, 0):
            return False
        newest[one.trace] = closed(one)
    return True
