"""A server on loopback that treats each connection as it is told, and keeps what it was sent.

It speaks just enough HTTP/1.1 to know whether a request arrived whole. The record is the judge of the clients' words:
an error that says "nothing was sent" is wrong if a byte arrived here.
"""

import contextlib
import functools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

BACKLOG_FILLERS: Final = 4
HEAD_END: Final = b"\r\n\r\n"


@dataclass(kw_only=True)
class Exchange:
    """One connection, as the server saw it."""

    connection: socket.socket
    received: bytearray = field(default_factory=bytearray)
    answered: bool = False  # with a status

    def read(self, size: int = 65_536) -> bytes:
        """Take what has come, up to a size; empty at its end."""
        try:
            data = self.connection.recv(size)
        except OSError:  # the client gave up first
            data = b""
        self.received += data
        return data

    def read_request(self) -> None:
        """Take a request off the wire, body included."""
        while not self.whole and self.read():
            pass

    @property
    def whole(self) -> bool:
        """Whether a whole request has arrived."""
        head, end, body = bytes(self.received).partition(HEAD_END)
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return bool(end) and len(body) >= int(lengths[0].partition(b":")[2] if lengths else 0)

    def send(self, data: bytes) -> None:
        """Send something, whoever still listens."""
        with contextlib.suppress(OSError):
            self.connection.sendall(data)

    def close(self) -> None:
        """End the connection in an orderly way."""
        # A plain close would answer unread bytes with a reset.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def reset(self) -> None:
        """End the connection with a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


Answer: TypeAlias = Callable[[Exchange], None]
"""How a connection is treated. What it leaves open is held open until the server closes."""


class MisbehavingServer:
    """Treats its connections as told, one after the other, in a thread of its own."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.exchanges: list[Exchange] = []
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/refunds"
        self._thread: threading.Thread | None = None

    def answer(self, *answers: Answer) -> str:
        """Treat the next connections in this way; return the address to call.

        When all are used up nobody accepts any more, but the port still takes connections.
        """
        self._thread = threading.Thread(target=self._serve, args=(answers,))
        self._thread.start()
        return self.url

    @property
    def received(self) -> bytes:
        """All that arrived, over all connections."""
        return b"".join(bytes(one.received) for one in self.exchanges)

    @property
    def whole(self) -> bool:
        """Whether at least one request arrived whole."""
        return any(one.whole for one in self.exchanges)

    def _serve(self, answers: tuple[Answer, ...]) -> None:
        for answer in answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed: the test expected no further connection
                return
            exchange = Exchange(connection=connection)
            self.exchanges.append(exchange)
            answer(exchange)

    def then_gone(self, answer: Answer) -> Answer:
        """Return the same treatment, before which the server stops listening: a further try is refused."""

        def last(exchange: Exchange) -> None:
            self._stop_listening()
            answer(exchange)

        return last

    def settled(self) -> None:
        """Wait until all answers have been given: what the record holds then is all there will be."""
        self._stop_listening()
        if self._thread is not None:
            self._thread.join()

    def _stop_listening(self) -> None:
        # A plain close does not wake a blocking accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def close(self) -> None:
        """Stop listening and drop what is open."""
        for exchange in self.exchanges:
            with contextlib.suppress(OSError):
                exchange.connection.shutdown(socket.SHUT_RDWR)
        self.settled()
        for exchange in self.exchanges:
            exchange.connection.close()


# How a connection can be treated


def reset_at_once(exchange: Exchange) -> None:
    """Reset, perhaps before the client knows that it is connected."""
    exchange.reset()


def reset_before_request(exchange: Exchange) -> None:
    """Reset without having read anything of what has come."""
    exchange.connection.recv(1, socket.MSG_PEEK)
    exchange.reset()


def reset_within_request(exchange: Exchange) -> None:
    """Take a single byte, then reset."""
    exchange.read(1)
    exchange.reset()


def reset_after_request(exchange: Exchange) -> None:
    """Take the request, then reset."""
    exchange.read_request()
    exchange.reset()


def close_after_request(exchange: Exchange) -> None:
    """Take the request, then close without an answer."""
    exchange.read_request()
    exchange.close()


def half_response(exchange: Exchange) -> None:
    """Begin an answer and close in its middle."""
    exchange.read_request()
    exchange.send(b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    exchange.close()


def half_open(exchange: Exchange) -> None:
    """Begin an answer and leave it there."""
    exchange.read_request()
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")


def not_http(exchange: Exchange) -> None:
    """Answer in no protocol the client knows."""
    exchange.read_request()
    exchange.send(b"220 mail.example ESMTP\r\n")
    exchange.close()


def not_tls(exchange: Exchange) -> None:
    """Answer a TLS greeting in clear text."""
    exchange.connection.recv(65_536)  # a greeting is no byte of the request
    exchange.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    exchange.close()


def silence(exchange: Exchange) -> None:
    """Take the request and say nothing."""
    exchange.read_request()


def deaf(_exchange: Exchange) -> None:
    """Take nothing off the wire at all."""


def status(code: int, body: str = "", **headers: str) -> Answer:
    """Answer with a status, and with headers whose underscores are dashes."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {code} X\r\n{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"

    def answer(exchange: Exchange) -> None:
        exchange.read_request()
        exchange.send((head + body).encode())
        exchange.answered = True
        exchange.close()

    return answer


# Where nobody answers at all


@functools.cache
def _taken() -> socket.socket:
    """One socket for this process that has a port and never listens: nobody else can come to listen there."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken


def closed_port() -> int:
    """Return a port nobody listens on."""
    return int(_taken().getsockname()[1])


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """Yield a port on which connections are never accepted."""
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(BACKLOG_FILLERS):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)  # noqa: FBT003 - the socket module's own signature
            one.connect_ex(full.getsockname())
        yield int(full.getsockname()[1])
