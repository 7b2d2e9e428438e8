"""`notify`: what is due is told, what was given up is tried again, and how far each place is behind is said."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from langgraph_control.audit.asking.notices import NoticeSinks
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.cli import notify, worker
from tests.cli.conftest import Command
from tests.cli.test_worker import AGENT
from tests.support.desk import POLICY, POLICY_TEXT
from tests.support.receivers import SECRET, Receiver, receiver
from tests.support.trails import TrailWriter
from tests.support.waiting import until

FILE = """\
version: 1
sinks:
  ops: {{webhook: "{url}", secrets: env:HOOK_SECRET, allow_private: true, attempts: 1, timeout: 2s}}
"""


@pytest.fixture
def options(tmp_path: Path, trail: TrailWriter, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command on the agent's login, with a file that names the places."""
    monkeypatch.setattr(notify, "log_lines", lambda: None)
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("LANGGRAPH_CONTROL_NOTIFY", str(tmp_path / "notify.yaml"))
    return ["notify", "--dsn", trail.database.agent]


def names(tmp_path: Path, place: Receiver) -> None:
    """Write the file."""
    (tmp_path / "notify.yaml").write_text(FILE.format(url=place.url))


def test_once(command: Command, options: list[str], trail: TrailWriter, tmp_path: Path) -> None:
    """With --once it tells what is due and ends; the command to look at it is what stands where there is no console."""
    with receiver() as place:
        names(tmp_path, place)
        command(*options, "--once")
        trail.claim(trail.open(), verb="approve")
        assert "1 notices were sent." in command(*options, "--once").stdout
        assert place.events == ["requested"]
        assert "link" not in place.received[0].data["data"]


def test_what_was_given_up(command: Command, options: list[str], trail: TrailWriter, tmp_path: Path) -> None:
    """The status names what was given up and why; after --retry-dead it is told."""
    with receiver() as place:
        names(tmp_path, place)
        command(*options, "--once")
        trail.claim(trail.open(), verb="approve")
        place.status = 500
        command(*options, "--once")
        (row,) = json.loads(command(*options, "--status", "--json").stdout)
        assert (row["sink"], row["waiting"], row["dead"], row["error"]) == ("ops", 0, 1, "answered 500")
        assert "given up  1" in command(*options, "--status").stdout
        place.status = 204
        assert "1 notices will be tried again." in command(*options, "--retry-dead").stdout
        command(*options, "--once")
        assert [one.id for one in place.received] == [place.received[0].id] * 2


def test_without_a_file(command: Command, options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file that says who is told it does not start, and says how to name one."""
    monkeypatch.delenv("LANGGRAPH_CONTROL_NOTIFY")
    result = command(*options)
    assert (result.exit_code, "Code:  notify_file" in result.stderr) == (1, True)


def test_until_told_to_stop(options: list[str], trail: TrailWriter, tmp_path: Path) -> None:
    """Started as a process it tells what happens, and SIGTERM ends it well."""
    with receiver() as place:
        names(tmp_path, place)
        program = [sys.executable, "-c", "from langgraph_control.cli import main; main()"]
        with subprocess.Popen([*program, *options], env=os.environ) as process:
            try:
                until(lambda: trail.agent.ask(NoticeSinks()), seconds=30)
                trail.claim(trail.open(), verb="approve")
                until(lambda: place.events == ["requested"], seconds=30)
            finally:
                process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


@pytest.mark.timeout(120)
def test_a_worker_tells_beside_its_work(
    options: list[str], trail: TrailWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is given the file tells of requests while it drives runs, and SIGTERM ends both."""
    publish_policy(trail.database.admin, POLICY)
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "control.yaml").write_text(POLICY_TEXT)
    (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": {"support": "./agent.py:builder"}}))
    monkeypatch.chdir(tmp_path)
    with receiver() as place:
        names(tmp_path, place)
        program = [sys.executable, "-c", "from langgraph_control.cli import main; main()", "worker", *options[1:]]
        with subprocess.Popen([*program, "--policy", "control.yaml"], env=os.environ) as process:
            try:
                until(lambda: trail.agent.ask(NoticeSinks()), seconds=60)
                trail.claim(trail.open(), verb="approve")
                until(lambda: place.events == ["requested"], seconds=30)
            finally:
                process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def test_a_worker_reads_the_file_first(
    command: Command, options: list[str], trail: TrailWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose file of places is wrong does not start."""
    monkeypatch.setattr(worker, "log_lines", lambda: None)
    (tmp_path / "notify.yaml").write_text("version: 1\n")
    result = command("worker", "--dsn", trail.database.agent)
    assert (result.exit_code, "sinks: this key is required" in result.stderr) == (1, True)
    assert options
