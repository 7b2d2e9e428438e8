"""`worker` that cannot start: what is wrong is said in three lines and a code, and nothing is driven."""

import importlib.util
import json
from pathlib import Path

import pytest

from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.cli import worker
from tests.cli.conftest import Command
from tests.support.desk import POLICY, POLICY_TEXT
from tests.support.postgres import Database

AGENT = """\
from langgraph.graph import START, MessagesState, StateGraph

builder = StateGraph(MessagesState)
builder.add_node("work", lambda state: {})
builder.add_edge(START, "work")
"""


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options of a worker with one graph, which is given the worker's own Control."""
    monkeypatch.setattr(worker, "log_lines", lambda: None)  # the runner's streams end with the test
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "control.yaml").write_text(POLICY_TEXT)
    (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": {"support": "./agent.py:builder"}}))
    return ["worker", "--graphs", str(tmp_path / "langgraph.json"), "--policy", str(tmp_path / "control.yaml")]


def test_an_unpublished_policy(command: Command, options: list[str], database: Database) -> None:
    """A worker whose policy no admin has published does not start."""
    result = command(*options, "--dsn", database.agent)
    assert result.exit_code == 1
    assert "Code:  policy_unpublished" in result.stderr


def test_no_database(command: Command, options: list[str]) -> None:
    """Without a DSN, and with one that leads nowhere, it says which."""
    assert "Code:  dsn_missing" in command(*options).stderr
    nowhere = command(*options, "--dsn", "postgresql://nobody@127.0.0.1:1/nowhere")
    assert "Code:  database_unreachable" in nowhere.stderr


def test_no_file(command: Command, options: list[str], tmp_path: Path) -> None:
    """A file of graphs that is not there is named."""
    result = command(*options, "--graphs", str(tmp_path / "another.json"))
    assert (result.exit_code, "There is no file another.json" in result.stderr) == (1, True)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "w" * 101])
def test_a_name_that_is_none(command: Command, options: list[str], name: str) -> None:
    """An empty, long or unprintable name is refused."""
    assert "Code:  worker_name_invalid" in command(*options, "--name", name).stderr


def test_temporal_that_is_not_installed(
    command: Command, options: list[str], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked to use Temporal without its client, it says what to install."""
    publish_policy(database.admin, POLICY)
    monkeypatch.setattr(
        worker, "find_spec", lambda name: None if name == "temporalio" else importlib.util.find_spec(name)
    )
    result = command(*options, "--dsn", database.agent, "--queue", "temporal")
    assert "langgraph-control[temporal]" in result.stderr


def test_temporal_that_is_not_there(
    command: Command, options: list[str], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked to use a Temporal server that does not answer, it says where it looked."""
    publish_policy(database.admin, POLICY)
    monkeypatch.setattr("langgraph_control.graphs.temporal_queue.CONNECT_SECONDS", 1.0)
    result = command(*options, "--dsn", database.agent, "--queue", "temporal", "--temporal-address", "127.0.0.1:1")
    assert "Code:  queue_unavailable" in result.stderr
    assert "127.0.0.1:1" in result.stderr


def test_a_pin_without_a_key(command: Command, options: list[str], database: Database) -> None:
    """Pins without a key to sign with, and a key that is not there, are refused before anything is driven."""
    publish_policy(database.admin, POLICY)
    arguments = [*options, "--dsn", database.agent]
    assert "Code:  worker_pin" in command(*arguments, "--pin", "file:pins").stderr
    assert "Code:  key_missing" in command(*arguments, "--seal-key", "/nowhere/seal.key").stderr
