"""Commands as a shell runs them: their own environment, no development server of whoever runs the tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from langgraph_control.cli import app
from tests.support.postgres import Database
from tests.support.trails import TrailWriter

Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command line and return what it printed; an exception that escapes is the test's failure."""
    for name in ("DSN", "ADMIN_DSN", "APPROVER_DSN", "AUTH", "TOKEN"):
        monkeypatch.delenv(f"LANGGRAPH_CONTROL_{name}", raising=False)
    monkeypatch.setenv("LANGGRAPH_CONTROL_DATA", str(tmp_path / "none"))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    return run


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """A writer of trails in a database of its own, with finance published."""
    with TrailWriter(database) as writer:
        writer.publish()
        yield writer
