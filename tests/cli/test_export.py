"""`export`: what each place lacks is sent to it, how far it is is said, and what it refused can be sent again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.telemetry.sinks.requests import SpanSinks
from langgraph_control.cli import export, worker
from tests.cli.conftest import Command
from tests.cli.test_worker import AGENT
from tests.support.collector import Collector, collector
from tests.support.desk import POLICY, POLICY_TEXT
from tests.support.trails import TrailWriter
from tests.support.waiting import until

MAIN = [sys.executable, "-c", "from langgraph_control.cli import main; main()"]


@pytest.fixture
def options(trail: TrailWriter, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command on the auditor's login."""
    monkeypatch.setattr(export, "log_lines", lambda: None)
    for name in ("LANGGRAPH_CONTROL_SINKS", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return ["export", "--dsn", trail.database.auditor]


def names(tmp_path: Path, place: Collector) -> str:
    """Write a file that names a place, and return its path."""
    file = tmp_path / "sinks.yaml"
    file.write_text(f'version: 1\nsinks:\n  tempo: {{otlp: "{place.url}"}}\n')
    return str(file)


def test_once(command: Command, options: list[str], trail: TrailWriter, tmp_path: Path) -> None:
    """With --once each span is sent once, however often the command runs."""
    trail.refund()
    with collector() as place:
        file = names(tmp_path, place)
        assert "tempo: 6 spans were sent, 0 refused." in command(*options, "--once", "--sinks", file).stdout
        assert "tempo: 0 spans were sent" in command(*options, "--once", "--sinks", file).stdout
        assert len(place.arrived) == 6


def test_a_place_that_is_down(command: Command, options: list[str], trail: TrailWriter, tmp_path: Path) -> None:
    """With --once a place that takes nothing is exit code 3, and the status says why; its lease is given back."""
    trail.refund()
    with collector() as place:
        place.status = lambda _: 503
        file = names(tmp_path, place)
        assert command(*options, "--once", "--sinks", file).exit_code == 3
        (row,) = json.loads(command(*options, "--status", "--json").stdout)
        assert (row["sink"], row["behind"], row["error"], row["served"]) == ("tempo", 10, "answered 503", False)
        assert "error    answered 503" in command(*options, "--status").stdout
        place.status = lambda _: 200
        assert command(*options, "--once", "--sinks", file).exit_code == 0


def test_what_was_refused(command: Command, options: list[str], trail: TrailWriter, tmp_path: Path) -> None:
    """--dead lists what a place refused with what it said; after --retry-dead it is sent again."""
    run = trail.refund()
    with collector() as place:
        place.refuses = lambda span: span.name == "control.approval"
        file = names(tmp_path, place)
        command(*options, "--once", "--sinks", file)
        told = command(*options, "--dead").stdout
        assert "tempo: control.approval" in told
        assert f"run_{run.run_id.hex}" in told
        assert "To be sent again: 1 span." in command(*options, "--retry-dead", "--sink", "tempo").stdout
        place.refuses = lambda _: False
        command(*options, "--once", "--sinks", file)
        assert "control.approval" in {one.name for one in place.once}
        assert json.loads(command(*options, "--dead", "--json").stdout) == []


def test_nothing_says_where_to(command: Command, options: list[str]) -> None:
    """Without a file, an endpoint or OpenTelemetry's variables it says what to give."""
    result = command(*options, "--once")
    assert (result.exit_code, "Code:  export_endpoint" in result.stderr) == (1, True)


def test_one_thing_at_a_time(command: Command, options: list[str]) -> None:
    """Two ways of calling it at once are refused."""
    assert command(*options, "--once", "--follow").exit_code == 2
    assert command(*options).exit_code == 2


def test_until_told_to_stop(options: list[str], trail: TrailWriter, tmp_path: Path) -> None:
    """Started as a process it sends what happens, and SIGTERM ends it well."""
    with collector() as place:
        command = [*MAIN, *options, "--follow", "--sinks", names(tmp_path, place)]
        with subprocess.Popen(command, env=os.environ) as process:
            try:
                until(lambda: place.once, seconds=60)
                trail.refund()
                until(lambda: "invoke_agent support" in {one.name for one in place.once}, seconds=30)
            finally:
                process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        assert not [state for state in trail.agent.ask(SpanSinks()) if state.served]


def test_a_worker_sends_beside_its_work(
    options: list[str], trail: TrailWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is given the file sends spans on the agent's login while it drives runs."""
    assert options
    publish_policy(trail.database.admin, POLICY)
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "control.yaml").write_text(POLICY_TEXT)
    (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": {"support": "./agent.py:builder"}}))
    monkeypatch.chdir(tmp_path)
    with collector() as place:
        monkeypatch.setenv("LANGGRAPH_CONTROL_SINKS", names(tmp_path, place))
        command = [*MAIN, "worker", "--dsn", trail.database.agent, "--policy", "control.yaml"]
        with subprocess.Popen(command, env=os.environ) as process:
            try:
                until(lambda: "policy.loaded" in {one.name for one in place.once}, seconds=60)
            finally:
                process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def test_a_worker_reads_the_file_first(
    command: Command, options: list[str], trail: TrailWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose file of places is wrong does not start."""
    assert options
    monkeypatch.setattr(worker, "log_lines", lambda: None)
    (tmp_path / "sinks.yaml").write_text("version: 1\n")
    result = command("worker", "--dsn", trail.database.agent, "--export", str(tmp_path / "sinks.yaml"))
    assert (result.exit_code, "sinks: this key is required" in result.stderr) == (1, True)
