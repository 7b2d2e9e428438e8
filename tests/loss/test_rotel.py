"""A real collector as a hop: what is sent to it arrives behind it, whole."""

import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import rotel

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.telemetry.sinks.following import Following
from langgraph_control.audit.telemetry.sinks.otlp import OtlpSink
from tests.loss.judge import expected, nothing_is_lost
from tests.support.collector import Collector, collector
from tests.support.many_runs import copy_run
from tests.support.postgres import Database
from tests.support.trails import TrailWriter
from tests.support.waiting import until

AGENT = Path(rotel.__file__).parent / "rotel-agent"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def hop(behind: Collector) -> Iterator[str]:
    """Run the collector in front of another one, and yield its address."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "otlp-http-endpoint": f"127.0.0.1:{port}",
            "otlp-grpc-endpoint": f"127.0.0.1:{free_port()}",
            "exporter": "otlp",
            "otlp-exporter-endpoint": behind.url.removesuffix("/v1/traces"),
            "otlp-exporter-protocol": "http",
            "batch-timeout": "100ms",
            "pid-file": f"{folder}/pid",
            "log-file": f"{folder}/log",
        }
        command = [str(AGENT), "start", *(f"--{name}={value}" for name, value in options.items())]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                until(lambda: _listens(port), seconds=20)
                yield f"http://127.0.0.1:{port}/v1/traces"
            finally:
                process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.must_run_in_ci
@pytest.mark.skipif(not AGENT.exists(), reason="rotel has no collector for this machine")
def test_a_real_collector_passes_everything_on(database: Database) -> None:
    """Rotel takes what it is sent for OTLP, and what comes out behind it is every span, unchanged."""
    with TrailWriter(database) as trail:
        trail.publish()
        copy_run(database, trail.refund().run_id, 100)
    store = Store(database.auditor)
    with collector() as direct, collector() as behind, hop(behind) as url:
        for name, to in (("direct", direct.url), ("hop", url)):
            following = Following(store, OtlpSink(name, to))
            assert following.once()
            following.sink.close()
        until(lambda: len(behind.once) == len(expected(database)), seconds=30)
        nothing_is_lost(database, behind)
        plain = {one.id: one.span.SerializeToString(deterministic=True) for one in direct.once}
        assert {one.id: one.span.SerializeToString(deterministic=True) for one in behind.once} == plain
    store.close()
