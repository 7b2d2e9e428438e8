"""Places that are told of requests: a web server on loopback that verifies signatures and misbehaves as it is told."""

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, ok").decode()
KEY = b"a secret of thirty-two bytes, ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One POST."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The message's id."""
        return self.headers["webhook-id"]

    @property
    def data(self) -> dict[str, Any]:
        """What it says."""
        read: dict[str, Any] = orjson.loads(self.body)
        return read

    @property
    def event(self) -> str:
        """What happened, with the outcome of a decision."""
        outcome = self.data["data"].get("outcome")
        kind = str(self.data["type"]).removeprefix("approval.")
        return f"{kind}: {outcome}" if outcome else kind

    def is_signed(self, key: bytes = KEY) -> bool:
        """Whether one of the signatures is right, reckoned by hand."""
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return wanted in self.headers["webhook-signature"].split(" ")


@dataclass(kw_only=True)
class Receiver:
    """The server, what it was sent, and what it answers."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None
    drip_seconds: float = 0.0

    @property
    def events(self) -> list[str]:
        """What happened, in order."""
        return [one.event for one in self.received]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Serve on a free port of loopback."""
    place = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            place.received.append(Received(path=self.path, headers=headers, body=body))
            place.before()
            try:
                while place.drip_seconds:
                    self.wfile.write(b"H")
                    time.sleep(place.drip_seconds)
                self.send_response(place.status)
                for name, value in place.headers.items():
                    self.send_header(name, value)
                self.end_headers()
            except OSError:
                return  # whoever called has hung up

        def log_message(self, *args: Any, **named: Any) -> None:
            del args, named

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    place.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield place
    finally:
        place.drip_seconds = 0.0
        server.shutdown()
        server.server_close()
