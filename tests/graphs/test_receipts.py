"""The proof of a run, for the program that asked for it."""

import asyncio
from pathlib import Path

import orjson
import pytest

from langgraph_control.audit.bundles.offline import Outcome
from langgraph_control.errors import ControlError, UnknownRun
from tests.support.desk import Desk, How, new_trigger, publish
from tests.support.postgres import Database
from tests.support.sealing import SealedRecord


@pytest.mark.parametrize("how", ["sync", "async"])
def test_who_asked_for_a_run_fetches_its_receipt(database: Database, tmp_path: Path, how: How) -> None:
    """By the run's name or its trigger, once it is sealed, from the first entry to the last; it verifies by itself."""
    publish(database)
    record, desk = SealedRecord(database=database, folder=tmp_path), Desk.on(database)

    def receipt(run_id: str | None = None, *, trigger: str | None = None) -> bytes:
        if how == "sync":
            return desk.control.receipt(run_id, trigger=trigger)
        return asyncio.run(desk.control.areceipt(run_id, trigger=trigger))

    with desk.control:
        run = desk.run(desk.refunding(50), trigger=new_trigger())
        with pytest.raises(ControlError) as early:
            receipt(run.id)
        assert early.value.code == "receipt_unsealed"
        record.seal()
        got = receipt(trigger=run.trigger)
        assert len(receipt(run.id)) == len(got)
        with pytest.raises(UnknownRun):
            receipt("run_" + "0" * 32)
    report = record.verified(got)
    assert (report.outcome, report.scope) == (Outcome.OK, "receipt")
    entries = [one["entry"] for one in map(orjson.loads, got.splitlines()) if "entry" in one]
    events = [orjson.loads(entry["facts"])["events"] for entry in entries]
    assert events[0] == ["run.started"]
    assert "run.finished" in events[-1]
