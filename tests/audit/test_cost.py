"""What one governed write costs, counted exactly on a server that nobody else uses.

The server of this test writes no full-page images, whose number depends on when the last checkpoint was and not on what
a call writes; and it runs no autovacuum, whose transactions would be counted, too.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from bench.counting import Counts, count
from bench.governed import CONTRACT, GovernedRun
from langgraph_control import writes
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.postgres.programs import programs_on_the_path
from langgraph_control.audit.postgres.server import PostgresServer
from tests.support.postgres import Database, cloned, make_data_folder, template

# As many calls as were made before: each page of the indexes splits once meanwhile, so that its share is neither missed
# nor met twice; and so many that single splits do not matter.
CALLS = 2000
WAL_BYTES_MAX = 2800
HOT_SHARE_MIN = 0.95
CONTRACTS = {
    "blind": CONTRACT,
    "keyed": writes(key="order_id", impact="money", explain="reason", keyed_for="24h"),
}


pytestmark = pytest.mark.xdist_group("cost")  # one process makes the measurements, once


@pytest.fixture(scope="module")
def quiet_database() -> Iterator[Database]:
    """A migrated database on a server of its own."""
    if os.environ.get("CONTROL_TEST_DSN"):
        pytest.skip("the log of a given server is not this test's alone, and its settings are not ours to change")
    wanted = os.environ.get("CONTROL_TEST_SERVER", "")
    programs = programs_on_the_path() if wanted == "path" else (Path(wanted) if wanted else None)
    settings = {"full_page_writes": "off", "autovacuum": "off"}
    folder = make_data_folder(in_memory=True)
    with (
        PostgresServer.start(folder, programs_folder=programs, settings=settings) as server,
        cloned(server.dsn(), template(server.dsn())) as database,
    ):
        yield database
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def measured(quiet_database: Database) -> Callable[[str], Counts]:
    """What calls of a kind took, each of a change of its own, in one run entered by hand. Measured once."""

    @cache
    def measure(kind: str) -> Counts:
        store = Store(quiet_database.agent)
        run = GovernedRun(store, CONTRACTS[kind])
        for _ in range(CALLS):  # plans are made, and the tables have pages
            run()
        taken = count(store, run, calls=CALLS)
        run.close()
        store.close()
        return taken

    return measure


@pytest.fixture(params=list(CONTRACTS))
def counts(request: pytest.FixtureRequest, measured: Callable[[str], Counts]) -> Counts:
    """What calls of one kind took."""
    return measured(request.param)


def test_an_allowed_write_is_two_statements(counts: Counts) -> None:
    """One claim and one settle: nothing else is sent to the server, not even a BEGIN."""
    assert counts.statements == 2


def test_an_allowed_write_is_two_commits(counts: Counts) -> None:
    """The claim is committed before the effect, the outcome after it, and nothing between or behind."""
    # A backend may keep the count of its last commit to itself for a moment: one of the four hundred.
    assert counts.commits == pytest.approx(2, abs=1 / CALLS)


def test_an_allowed_write_keeps_to_its_share_of_the_log(counts: Counts) -> None:
    """Two chained entries with their payload and an action cost at most 2.8 kB of write-ahead log."""
    assert counts.wal_bytes <= WAL_BYTES_MAX


@pytest.mark.parametrize("table", ["run_state", "action"])
def test_updates_of_the_hot_tables_touch_no_index(counts: Counts, table: str) -> None:
    """At least 95 of 100 updates are heap-only: no index holds a column that changes, and pages keep room."""
    assert counts.hot_shares[table] >= HOT_SHARE_MIN
