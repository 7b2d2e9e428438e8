"""LangGraph's development server with a governed agent, on a port of loopback, for as long as a block lasts."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.postgres import Database

ROOT = Path(__file__).parents[2]
START_SECONDS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class DevServer:
    """A running server.

    Args:
        url: where it listens.
        done: the file in which its tool notes what it did.
        log: what it printed.
    """

    url: str
    done: Path
    log: Path

    def effects(self) -> list[str]:
        """Return what the tool did so far."""
        return self.done.read_text().splitlines() if self.done.exists() else []


@contextmanager
def dev_server(folder: Path, database: Database) -> Iterator[DevServer]:
    """Start it, wait until it answers, and end it with its children."""
    port = _free_port()
    app = ROOT / "tests" / "support" / "server_app.py"
    (folder / "langgraph.json").write_text(
        json.dumps(
            {
                "dependencies": [str(ROOT)],
                "graphs": {"support": f"{app}:agent"},
                "auth": {"path": f"{app}:auth", "disable_studio_auth": False},
            }
        )
    )
    server = DevServer(url=f"http://127.0.0.1:{port}", done=folder / "done.txt", log=folder / "server.log")
    given = {
        "FRONT_END_DONE": str(server.done),
        "FRONT_END_APPROVER_DSN": database.local_approver,
        "LANGGRAPH_CONTROL_DSN": database.agent,
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [str(Path(sys.executable).with_name("langgraph")), "dev", "--no-browser", "--no-reload"]
    with server.log.open("w") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env={**os.environ, **given},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(server, process)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_it_answers(server: DevServer, process: "subprocess.Popen[bytes]") -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        try:
            if httpx.get(f"{server.url}/ok", timeout=2).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"the server did not start:\n{server.log.read_text()[-4000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
