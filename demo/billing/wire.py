"""Closing a connection without an answer, which ASGI has no message for."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

ABORT = "demo.abort"


class AbortableProtocol(H11Protocol):
    """Uvicorn's HTTP protocol, with a way to abort the connection in the scope's extensions."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn narrows it
        """Offer the transport's ``abort`` to the application."""
        super().connection_made(transport)
        app = self.app

        async def abortable(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "extensions": {ABORT: transport.abort}}, receive, send)

        self.app = abortable


class Dropped(Response):
    """No response at all: the connection is closed, now or when the client gives up."""

    def __init__(self, *, silent: bool = False) -> None:
        super().__init__()
        self._silent = silent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is sent
        """Close the connection, or leave it open until the client does; return once it is gone."""
        if not self._silent:
            scope["extensions"][ABORT]()
        # Uvicorn answers 500 for an application that returns early, unless the connection is already lost.
        while (await receive())["type"] != "http.disconnect":
            pass
