"""Workers as operators run them: real processes, real signals, one database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from langgraph_control import Control
from langgraph_control.audit.rows import RunState
from tests.support.desk import new_trigger, publish
from tests.support.postgres import Database
from tests.support.waiting import until
from tests.support.workshop import Workshop, order, read


@pytest.fixture
def workshop(database: Database, tmp_path: Path) -> Workshop:
    """A folder with a graph, and a ledger with its policy."""
    publish(database)
    return Workshop.at(tmp_path, database)


@pytest.fixture
def client(workshop: Workshop) -> Iterator[Control]:
    """Whoever submits: a process without any graph."""
    with workshop.control() as control:
        yield control


def is_done(client: Control, run_id: str) -> bool:
    """Whether a run is done."""
    return client.get(run_id).state is RunState.DONE


def test_a_submitted_run_is_driven(workshop: Workshop, client: Control) -> None:
    """Submitted by a process that has no graph, it is driven by a worker at once."""
    with workshop.worker() as worker:
        run = client.submit("workshop", order(1), trigger=new_trigger(), actor="bot")
        assert (run.state, run.reason) == (RunState.WAITING, "queued")
        until(lambda: is_done(client, run.id))
        assert [one.process for one in read(workshop.effects)] == [worker.process.pid] * 2
        assert worker.stop() == 0
    print(worker.lines)
