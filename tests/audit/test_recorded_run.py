"""A run is told with its record while a worker goes on with it."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from langgraph_control.audit.asking.rows import EntryRow, RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.recorded_run import recorded_run
from tests.support.postgres import Database
from tests.support.trails import OpenRun, TrailWriter


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """A writer of trails, with finance published."""
    with TrailWriter(database) as writer:
        writer.publish()
        yield writer


class _Raced(LedgerConnection):
    """A reader behind whose back the run ends, once its entries are read."""

    trail: TrailWriter
    run: OpenRun

    def entries(self, run_id: UUID, *, after: int = 0) -> Iterator[EntryRow]:
        read = list(super().entries(run_id, after=after))
        if not after:
            self.trail.release(self.run)
        return iter(read)


def test_a_run_that_ends_meanwhile_differs_in_nothing(trail: TrailWriter) -> None:
    """Row and entries of two moments are not held against each other, and what came in between is verified, too."""
    with _Raced(trail.database.auditor) as auditor:
        auditor.trail, auditor.run = trail, trail.open()
        seen = recorded_run(auditor, auditor.run.run_id)
    assert seen is not None
    assert seen.row is not None
    assert (seen.told.state, seen.row.state) == ("running", RunState.DONE)
    assert seen.differs == ()
    assert seen.sound
    assert seen.verified.entries == len(seen.entries) + 1
