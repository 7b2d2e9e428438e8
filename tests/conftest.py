"""Fixtures of the whole suite: a real Postgres and fresh databases; and that no event of the trail is left out."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.complete_entries import incomplete_entries, never_written
from tests.support.desk import Desk, How, new_trigger, publish
from tests.support.plain_checkpoints import own_types_in_checkpoints
from tests.support.postgres import DATA_VARIABLE, Database, cloned, make_data_folder, server_dsn, template
from tests.support.sealing import SealedRecord

pytest_plugins = ["tests.support.needed_in_ci"]

# Here agents, workers and people write every entry through the project's own doors; elsewhere tests make some up.
WRITTEN_THROUGH_DOORS = frozenset({"graphs", "frontends", "demo"})
_never_written: set[str] = set()


def pytest_configure(config: pytest.Config) -> None:
    """Choose the data folder before workers are started; they inherit it and share one server.

    How long one drawn example takes is a fact about the machine, which others may use: no property is about that.
    """
    settings.register_profile(
        "unhurried", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("unhurried")
    if not hasattr(config, "workerinput"):
        folder = make_data_folder(in_memory=True)
        os.environ[DATA_VARIABLE] = str(folder)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_finish() -> None:
    """Leave the eight thousand tests and all modules out of each later garbage collection: a twentieth of the time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run of the whole suite that left out an event of the trail."""
    config = session.config
    if (
        not hasattr(config, "workerinput")
        and config.args_source is config.ArgsSource.TESTPATHS
        and not _selects(config)
    ):
        _never_written.update(never_written())
    if _never_written and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _selects(config: pytest.Config) -> bool:
    return any(
        config.getoption(name) for name in ("keyword", "markexpr", "lf", "failedfirst", "collectonly", "deselect")
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which events those were."""
    for event in sorted(_never_written):
        terminalreporter.write_line(f"no test writes an entry with {event}", red=True)


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
def database(request: pytest.FixtureRequest, postgres_dsn: str, control_template: str) -> Iterator[Database]:
    """A fresh migrated database for one test."""
    with cloned(postgres_dsn, control_template) as fresh:
        yield fresh
        _check_entries(request, fresh)


@pytest.fixture(scope="module")
def shared_database(request: pytest.FixtureRequest, postgres_dsn: str, control_template: str) -> Iterator[Database]:
    """A migrated database for the tests of one module, which mostly read."""
    with cloned(postgres_dsn, control_template) as fresh:
        yield fresh
        _check_entries(request, fresh)


@pytest.fixture(scope="session")
def sealed_runs(
    postgres_dsn: str, control_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SealedRecord]:
    """Two finished runs, sealed and pinned one after the other: to be copied, and left as they are."""
    with cloned(postgres_dsn, control_template) as fresh:
        yield SealedRecord.of_two_runs(fresh, tmp_path_factory.mktemp("sealed"))


def _check_entries(request: pytest.FixtureRequest, database: Database) -> None:
    """Every entry that was written is complete, and no checkpoint holds what a later LangGraph would not read."""
    if request.path.parent.name in WRITTEN_THROUGH_DOORS:
        assert incomplete_entries(database) == []
        assert own_types_in_checkpoints(database) == []


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder for a Postgres server of a test's own."""
    folder = make_data_folder(in_memory=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


# A desk for each test, on a ledger the tests of one module share: each has triggers, and so actions, of its own.


@pytest.fixture(scope="module")
def desk_database(shared_database: Database) -> Database:
    """A ledger with the desk's policy."""
    publish(shared_database)
    return shared_database


@pytest.fixture
def desk(desk_database: Database) -> Iterator[Desk]:
    """A desk that is closed at the end."""
    made = Desk.on(desk_database)
    with made.control:
        yield made


@pytest.fixture
def trigger() -> str:
    """A delivery nobody has seen."""
    return new_trigger()


@pytest.fixture(params=["sync", "async"])
def how(request: pytest.FixtureRequest) -> How:
    """Both ways of driving a run."""
    way: How = request.param
    return way
