"""Receipts from the console: the proof of what was asked and answered, for whoever may look at it."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from langgraph_control.audit.bundles.offline import Outcome
from langgraph_control.console import receipts
from langgraph_control.console.guarding import SAFE_HEADERS
from tests.console.conftest import People, Served, cast, served
from tests.support.desk import Desk, new_trigger, publish
from tests.support.postgres import Database
from tests.support.sealing import SealedRecord


@pytest.fixture
def record(database: Database, tmp_path: Path) -> SealedRecord:
    """A ledger with a signing key."""
    publish(database)
    return SealedRecord(database=database, folder=tmp_path)


@pytest.fixture
def own_desk(record: SealedRecord) -> Iterator[Desk]:
    """A desk on it."""
    made = Desk.on(record.database)
    with made.control:
        yield made


@pytest.fixture
def own_site(record: SealedRecord) -> Iterator[Served]:
    """A console on it."""
    with served(record.database.local_approver, People()) as one:
        yield one


def events(receipt: bytes) -> list[list[str]]:
    """What the entries in a receipt tell of, one after the other."""
    entries = [one["entry"] for one in map(orjson.loads, receipt.splitlines()) if "entry" in one]
    return [orjson.loads(entry["facts"])["events"] for entry in entries]


def test_a_request_and_a_run_have_receipts(own_desk: Desk, own_site: Served, record: SealedRecord) -> None:
    """Both pages lead to a file, under a name of ours, that is kept nowhere and is verified far from the database."""
    run = own_desk.run(graph := own_desk.refunding(900), trigger=new_trigger())
    (name,) = run.approvals
    with own_site.signed_in() as client:
        cast(client, name)
        own_desk.run(graph, trigger=run.trigger)
        record.seal()
        of_request, of_run = f"/requests/{name}/receipt", f"/runs/{run.id}/receipt"
        assert f'href="{of_request}"' in client.get(f"/requests/{name}").text
        assert f'href="{of_run}"' in client.get(f"/runs/{run.id}").text
        for path, called in ((of_request, name), (of_run, run.id)):
            answer = client.get(path)
            assert answer.status_code == 200
            assert {one: answer.headers[one] for one in SAFE_HEADERS} == SAFE_HEADERS
            assert answer.headers["content-type"] == "application/octet-stream"
            assert answer.headers["content-disposition"] == f'attachment; filename="receipt-{called}.jsonl"'
            assert answer.headers["cache-control"] == "no-store"
            report = record.verified(answer.content)
            assert (report.outcome, report.scope) == (Outcome.OK, "receipt")
            assert any("approval.granted" in told for told in events(answer.content))
            assert b'"900"' not in answer.content.replace(b"\\", b"")  # payloads stay at home
    assert events(answer.content)[0] == ["run.started"]
    assert "run.finished" in events(answer.content)[-1]


def test_reading_a_receipt_changes_nothing(own_desk: Desk, own_site: Served, record: SealedRecord) -> None:
    """Whoever fetches one leaves no entry; with no session there is none; posting is refused."""
    run = own_desk.run(own_desk.refunding(900), trigger=new_trigger())
    record.seal()
    paths = (f"/requests/{run.approvals[0]}/receipt", f"/runs/{run.id}/receipt")
    with own_site.browser() as stranger:
        for path in paths:
            assert stranger.get(path).headers["location"].startswith("/sign-in")
    before = record.bundle()
    with own_site.signed_in() as client:
        for path in paths:
            assert client.get(path).status_code == 200
            assert client.post(path, data={"csrf": "x"}).status_code == 405
    assert [one for one in before.splitlines() if b'"entry"' in one] == [
        one for one in record.bundle().splitlines() if b'"entry"' in one
    ]


def test_a_receipt_that_cannot_be_had_is_said(
    own_desk: Desk, own_site: Served, record: SealedRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not sealed yet, not there, or too long for a page: each says so, with what to do, and gives no file."""
    run = own_desk.run(own_desk.refunding(900), trigger=new_trigger())
    paths = (f"/requests/{run.approvals[0]}/receipt", f"/runs/{run.id}/receipt")
    with own_site.signed_in() as client:
        for path in paths:
            answer = client.get(path)
            assert (answer.status_code, "No checkpoint covers" in answer.text) == (409, True)
        for path in (f"/requests/apr_{'0' * 32}/receipt", f"/runs/run_{'0' * 32}/receipt", "/runs/x/receipt"):
            assert client.get(path).status_code == 404
        record.seal()
        monkeypatch.setattr(receipts, "RECEIPT_BYTES_MAX", 1_000)
        for path in paths:
            answer = client.get(path)
            assert (answer.status_code, "langgraph-control audit receipt" in answer.text) == (409, True)
            assert "content-disposition" not in answer.headers
