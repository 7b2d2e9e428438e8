"""The console as a process: one port, no more than it needs, gone at Ctrl-C."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from langgraph_control.console.address import is_loopback
from langgraph_control.console.app import console_app
from langgraph_control.console.visiting import Console
from langgraph_control.errors import ConsoleRefused

__all__ = ["Server", "serve"]

HEADERS_BYTES_MAX: Final = 32_768
CONNECTIONS_MAX: Final = 512
LEAVING_SECONDS_MAX: Final = 3


class Server(uvicorn.Server):
    """A server that lets the pages which wait for news go when it is told to stop, and says when it is ready.

    Args:
        console: what the pages share.
        host: the address to listen on.
        port: the port; 0 for any free one.
        certificate: PEM files of certificate and key, for https of its own.
        ready: called once it listens.
    """

    def __init__(
        self,
        console: Console,
        *,
        host: str,
        port: int,
        certificate: tuple[Path, Path] | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._console, self._ready = console, ready
        super().__init__(
            uvicorn.Config(
                console_app(console),
                host=host,
                port=port,
                ssl_certfile=certificate[0] if certificate else None,
                ssl_keyfile=certificate[1] if certificate else None,
                http="h11",
                ws="none",
                loop="asyncio",
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=HEADERS_BYTES_MAX,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_graceful_shutdown=LEAVING_SECONDS_MAX,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let who waits for news go, then end."""
        await self._console.heart.stop()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in order, and let whoever called go on to tidy up: the signal is heeded, and not raised once more."""
        super().handle_exit(sig, frame)
        self._captured_signals.clear()


def serve(
    console: Console,
    *,
    host: str,
    port: int,
    certificate: tuple[Path, Path] | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until the process is told to stop.

    Args:
        console: what the pages share; closed at the end.
        host: the address to listen on.
        port: the port.
        certificate: PEM files of certificate and key.
        ready: called once it listens.

    Raises:
        ConsoleRefused: ``console_clear``: others could reach it unencrypted. ``console_port``: the port is taken.
    """
    if certificate is None and not is_loopback(host) and not console.address.secure:
        raise ConsoleRefused(
            f"On {host} others could reach the console, and its address is not https.",
            todo="Leave out --host; or say under which https address people find it: --url https://…",
            code="console_clear",
        )
    server = Server(console, host=host, port=port, certificate=certificate, ready=ready)
    try:
        asyncio.run(server.serve())
    except SystemExit:
        raise ConsoleRefused(
            f"Port {port} of {host} cannot be used: something else may be listening there.",
            todo="Choose another one: --port 8701",
            code="console_port",
        ) from None
    finally:
        console.close()
