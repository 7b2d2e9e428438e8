"""Start the billing service: ``python -m demo.billing --port 0 --db billing.db --ready-file billing.port``."""

import argparse
import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from demo.billing.books import Books
from demo.billing.service import Service
from demo.billing.wire import AbortableProtocol


def main() -> None:
    """Serve on loopback until SIGTERM, SIGINT, or the parent's death."""
    parser = argparse.ArgumentParser(prog="python -m demo.billing", description="A billing service that misbehaves.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 lets the system choose")
    parser.add_argument("--db", type=Path, required=True, help="SQLite file of the service; created if absent")
    parser.add_argument("--ready-file", type=Path, help="file to write the port to, once connections are accepted")
    parser.add_argument("--honour-keys", action="store_true", help="carry out one Idempotency-Key once")
    parser.add_argument("--parent-pid", type=int, help="stop when this process is no longer our parent")
    options = parser.parse_args()
    # Uvicorn raises the signal that stopped it once more after its clean end; that would make a clean stop a death.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        port = listener.getsockname()[1]
        service = Service(Books(options.db), honour_keys=options.honour_keys)
        config = uvicorn.Config(
            service.app(), http=AbortableProtocol, ws="none", log_level="critical", timeout_graceful_shutdown=1
        )
        announce(port, options.ready_file)
        asyncio.run(serve(uvicorn.Server(config), listener, options.parent_pid))


def announce(port: int, ready_file: Path | None) -> None:
    """Say which port it is. The socket is listening already: connections made now are accepted a moment later."""
    sys.stdout.write(f"billing service on http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    if ready_file is not None:
        # Renamed into place, so that a reader never sees half a number.
        unfinished = ready_file.with_suffix(".unfinished")
        unfinished.write_text(str(port), encoding="ascii")
        unfinished.replace(ready_file)


async def serve(server: uvicorn.Server, listener: socket.socket, parent_pid: int | None) -> None:
    """Serve until the server is told to stop."""
    watch = asyncio.create_task(stop_with_parent(server, parent_pid)) if parent_pid else None
    await server.serve(sockets=[listener])
    if watch is not None:
        watch.cancel()


async def stop_with_parent(server: uvicorn.Server, parent_pid: int) -> None:
    """Stop the server once this process has been handed to another parent: the first one is dead."""
    while os.getppid() == parent_pid:  # noqa: ASYNC110 - a death elsewhere sets no event
        await asyncio.sleep(0.2)
    server.should_exit = True


if __name__ == "__main__":
    main()
