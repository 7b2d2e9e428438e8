"""Fixtures of the whole suite: a real Postgres and fresh databases; and what CI may not skip."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import DATA_VARIABLE, Database, cloned, make_data_folder, server_dsn, template

_skipped_in_ci: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Choose the data folder before workers are started; they inherit it and share one server."""
    if not hasattr(config, "workerinput"):
        folder = make_data_folder()
        os.environ[DATA_VARIABLE] = str(folder)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember tests that CI must run and that were skipped."""
    if os.environ.get("CI") == "true" and report.skipped and "ci" in report.keywords:
        _skipped_in_ci.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a CI run that skipped what it must run."""
    if _skipped_in_ci and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests those were."""
    for nodeid in _skipped_in_ci:
        terminalreporter.write_line(f"CI must run this test, but it was skipped: {nodeid}", red=True)


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """The superuser's DSN of this run's server."""
    with server_dsn() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def control_template(postgres_dsn: str) -> str:
    """The name of a migrated database to clone."""
    return template(postgres_dsn)


@pytest.fixture
def database(postgres_dsn: str, control_template: str) -> Iterator[Database]:
    """A fresh migrated database for one test."""
    with cloned(postgres_dsn, control_template) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def shared_database(postgres_dsn: str, control_template: str) -> Iterator[Database]:
    """A migrated database for the tests of one module, which mostly read."""
    with cloned(postgres_dsn, control_template) as fresh:
        yield fresh


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder for a Postgres server of a test's own."""
    folder = make_data_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
