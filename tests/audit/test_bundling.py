"""Bundles and receipts made from a real ledger: they verify, and say what they are."""

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import orjson
import psycopg
import pytest

from langgraph_control.audit.asking.ledger import Request
from langgraph_control.audit.asking.requests import FindTenantChain, NewestRuns
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.bundles import offline
from langgraph_control.audit.bundles.bundling import chains_since, export_bundle, receipt
from langgraph_control.audit.bundles.offline import Outcome
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.erasure import Month, retain
from langgraph_control.audit.keeping.requests import FindDropped
from langgraph_control.audit.people.approvals import Approvals
from langgraph_control.audit.seals.requests import Checkpoints
from langgraph_control.audit.seals.rotation import replace_lost_key, rotate_key
from langgraph_control.audit.whole_file import whole_file
from langgraph_control.errors import ControlError
from tests.support.bundles import rewritten
from tests.support.postgres import Database
from tests.support.sealing import SealedRecord
from tests.support.trails import POLICY, TrailWriter

T = TypeVar("T")


@pytest.fixture
def record(sealed_runs: SealedRecord, postgres_dsn: str, tmp_path: Path) -> Iterator[SealedRecord]:
    """Two finished runs, sealed and pinned one after the other."""
    with sealed_runs.copied(postgres_dsn, tmp_path) as made:
        yield made


def lines(bundle: bytes, kind: str) -> list[Any]:
    """The lines of one kind."""
    return [value[kind] for value in map(orjson.loads, bundle.splitlines()) if kind in value]


def test_everything_is_proved(record: SealedRecord) -> None:
    """All chains of a sealed and pinned ledger, the tenant's own among them, are proved."""
    report = record.verified(record.bundle())
    assert report.outcome is Outcome.OK
    assert (report.chains, report.entries) == (3, 20)
    assert any("1 policy text has" in what for what in report.proved)


def test_one_run_is_proved(record: SealedRecord) -> None:
    """The bundle of one run has its entries alone, and all leaves."""
    bundle = record.bundle([record.runs[0]])
    assert record.verified(bundle).outcome is Outcome.OK
    assert len(lines(bundle, "entry")) == 9
    assert len(lines(bundle, "leaf")) == 2
    assert record.verified(bundle, pinned=False).outcome is Outcome.UNPINNED


def dropped(record: SealedRecord) -> list[Month]:
    """Drop what there is, 75 days later."""
    with TrailWriter(record.database) as trail:
        trail.pass_time(days=75)
    return list(retain(record.database.admin, timedelta(0), comment="over", told=b'"gone"'))


@pytest.fixture
def retained(record: SealedRecord) -> SealedRecord:
    """The same, its months dropped, and that sealed and pinned."""
    gone = dropped(record)
    assert {month.kept_for for month in gone} == {None}
    record.seal()
    return record


def test_what_retention_dropped_is_proved_to_be_that(retained: SealedRecord) -> None:
    """Months that went as a whole leave a record that is proved: a sealed entry names the heads they left."""
    for bundle, entries, chains in ((retained.bundle(), 18, 2), (retained.bundle([retained.runs[0]]), 9, 1)):
        report = retained.verified(bundle)
        assert (report.outcome, report.found) == (Outcome.OK, ())
        chain = "chain" if chains == 1 else "chains"
        said = f"{entries} entries of {chains} {chain} that are not here were dropped by retention"
        assert any(said in what for what in report.proved)


def test_a_run_that_was_dropped_month_by_month_is_proved_to_be_that(database: Database, tmp_path: Path) -> None:
    """Of several months, and of one run cut in two of them, each entry that says so has its own heads in the bundle."""
    record = SealedRecord(database=database, folder=tmp_path)
    with TrailWriter(database) as trail:
        trail.publish()
        long = trail.open("ticket/long")
        trail.release(long, RunState.WAITING, "later")
        record.runs = [long.run_id, trail.refund("ticket/1").run_id]
        trail.pass_time(days=40)
        long = trail.resume(long)
        trail.release(long)
        record.runs.append(trail.refund("ticket/2").run_id)
    gone = [month for month in dropped(record) if month.kept_for is None]
    assert len(gone) > 1
    record.seal()
    bundle = record.bundle()
    heads = lines(bundle, "dropped")
    assert heads == sorted(heads, key=lambda one: (one[1], one[0]))
    assert len({place for place, *_ in heads}) == len(gone)
    assert len([one for one in heads if one[1] == str(long.run_id)]) > 1
    for one in (bundle, record.bundle([long.run_id])):
        report = record.verified(one)
        assert (report.outcome, report.found) == (Outcome.OK, ())


def test_heads_that_retention_left_stand_where_something_is_sealed(database: Database) -> None:
    """Of a ledger that nobody seals, a bundle has none: nothing sealed says so, and what is missing is missing."""
    with TrailWriter(database) as trail:
        trail.publish()
        trail.refund("ticket/1")
        trail.pass_time(days=75)
    assert list(retain(database.admin, timedelta(0), comment="over", told=b'"gone"'))
    file = io.BytesIO()
    with LedgerConnection(database.auditor) as auditor:
        export_bundle(auditor.ask, file, chains_since(auditor.ask, None), scope="all")
    assert lines(file.getvalue(), "dropped") == []
    key = offline.read_key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    report = offline.verify(offline.lines_of(io.BytesIO(file.getvalue())), keys=[key])
    assert report.outcome is Outcome.INCOMPLETE
    assert "nothing of it is sealed" in report.found[0]


def test_what_was_dropped_counts_once_that_is_sealed(record: SealedRecord) -> None:
    """As long as no checkpoint covers the entry that says so, what is missing is missing."""
    dropped(record)
    report = record.verified(record.bundle(sealed_only=True))
    assert report.outcome is Outcome.INCOMPLETE
    assert any("no sealed entry of the tenant's own chain says" in what for what in report.found)


def test_what_is_said_to_be_dropped_is_what_the_entry_says(retained: SealedRecord) -> None:
    """Heads that are changed, left out, added, moved or not there at all are found."""
    bundle = retained.bundle()
    places = [place for place, one in enumerate(map(orjson.loads, bundle.splitlines())) if "dropped" in one]

    def verified(change: Callable[[list[dict[str, Any]], int], object]) -> tuple[Outcome, str]:
        report = retained.verified(rewritten(bundle, lambda records: change(records, places[-1])))
        return report.outcome, " ".join(report.found)

    def other_head(records: list[dict[str, Any]], at: int) -> None:
        run = next(one for one in records if one.get("run", {}).get("id") == records[at]["dropped"][1])
        records[at]["dropped"][3] = run["run"]["previous"] = "ab" * 32

    for change in (
        lambda records, at: records.pop(at),
        lambda records, at: records[at]["dropped"].__setitem__(2, 8),
        lambda records, at: records[at]["dropped"].__setitem__(3, "ab" * 32),
        lambda records, at: records.insert(at + 1, {"dropped": [1000, *records[at]["dropped"][1:]]}),
        lambda records, at: records.insert(at - 1, records.pop(at)),
        lambda records, at: records.insert(at, records[at]),
        other_head,
    ):
        outcome, what = verified(change)
        assert outcome in (Outcome.TAMPERED, Outcome.INCOMPLETE), what
    outcome, what = verified(lambda records, at: records[at]["dropped"].__setitem__(2, 8))
    assert (outcome, "it is not what is said here" in what) == (Outcome.TAMPERED, True)
    outcome, what = verified(lambda records, _: records.__delitem__(slice(places[0], places[-1] + 1)))
    assert (outcome, "No entry says that retention dropped them" in what) == (Outcome.INCOMPLETE, True)


def forge_retention(record: SealedRecord, run: UUID, month: str, *, seq: int = 9, entries: int | None = None) -> None:
    """Take out what one run has up to an entry, and have the record say that retention did it, as who owns it can."""
    with psycopg.connect(record.database.admin, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(
            "INSERT INTO control.dropped (tenant, run_id, month, seq, head, place, dropped_at)"
            " SELECT e.tenant, e.run_id, %s, e.seq, e.hash, o.seq + 1, now() FROM control.entry e,"
            " control.run_state o WHERE e.run_id = %s AND e.seq = %s AND o.run_id = control.tenant_chain_id('default')",
            (month, run, seq),
        )
        owner.execute("DELETE FROM control.entry WHERE run_id = %s AND seq <= %s", (run, seq))
        owner.execute(
            "SELECT control.append('default', control.tenant_chain_id('default'), control.clock(),"
            " '{entries.dropped}', jsonb_build_object('month', %s::text, 'entries', %s::bigint, 'runs', 1, 'heads',"
            " encode(sha256(uuid_send(run_id) || int8send(seq) || head), 'hex'), 'erased', '{}'::jsonb,"
            " 'person', 'somebody', 'comment', 'over'), '{}', NULL) FROM control.dropped",
            (month, entries or seq),
        )
    record.seal()


def test_a_retention_of_one_chosen_run_is_found(record: SealedRecord) -> None:
    """Retention drops a month of all runs: where others have entries of it still, a bundle of everything says so."""
    with psycopg.connect(record.database.admin) as owner:
        ((month,),) = owner.execute(
            "SELECT to_char(max(at) AT TIME ZONE 'UTC', 'YYYY-MM-01') FROM control.entry WHERE run_id = %s",
            (record.runs[0],),
        ).fetchall()
    forge_retention(record, record.runs[0], month)
    report = record.verified(record.bundle())
    assert report.outcome is Outcome.INCOMPLETE
    assert f"entries of that month, from before, are still there, of run_{record.runs[1].hex}" in report.found[0]


def test_each_retention_is_told(record: SealedRecord) -> None:
    """What a bundle takes for retention is named, with month, day, person and numbers, among what is not proved."""
    forge_retention(record, record.runs[0], "2020-03-01")
    for bundle in (record.bundle(), record.bundle(record.runs[:1])):
        report = record.verified(bundle)
        assert report.outcome is Outcome.OK
        said = "that it was right to drop what is said to be of 2020-03: 9 entries of 1 chain, dropped on 20"
        assert any(said in what and what.endswith("by somebody") for what in report.not_proved)


def test_a_retention_that_counts_wrong_is_found(record: SealedRecord) -> None:
    """The entry that says what was dropped says how much that was."""
    forge_retention(record, record.runs[0], "2020-03-01", entries=3)
    report = record.verified(record.bundle())
    assert report.outcome is Outcome.INCOMPLETE
    assert "its heads are those of 1 chain and 9 entries" in report.found[0]


def test_a_cut_behind_which_older_entries_stand_is_found(record: SealedRecord) -> None:
    """A month that is newer than what a chain goes on with was not dropped in front of it."""
    forge_retention(record, record.runs[0], "2100-03-01", seq=4)
    for bundle in (record.bundle(), record.bundle(record.runs[:1])):
        report = record.verified(bundle)
        assert report.outcome is Outcome.INCOMPLETE
        assert "goes on with an entry that is not newer than that month" in report.found[0]


def split_at(record: SealedRecord, run: UUID, seq: int, *, head: str | None = None) -> None:
    """Take the first entries of a chain out as retention does where a month ended behind them."""
    with psycopg.connect(record.database.admin, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(
            "INSERT INTO control.dropped (tenant, run_id, month, seq, head, place, dropped_at)"
            " SELECT tenant, run_id, '2020-01-01', seq, coalesce(decode(%s, 'hex'), hash), 1, now()"
            " FROM control.entry WHERE run_id = %s AND seq = %s",
            (head, run, seq),
        )
        owner.execute("DELETE FROM control.entry WHERE run_id = %s AND seq <= %s", (run, seq))


def test_a_chain_goes_on_from_the_head_that_retention_left(record: SealedRecord) -> None:
    """What is left of a run that is cut is proved from there on, by a bundle and by the receipt of its first entry."""
    run = record.runs[0]
    split_at(record, run, 4)
    report = record.verified(record.bundle([run]))
    assert report.outcome is Outcome.INCOMPLETE
    assert report.entries == 5 + 2  # and those of the tenant's own chain
    file = io.BytesIO()
    with LedgerConnection(record.database.auditor) as auditor:
        assert receipt(auditor.ask, file, run, 5) == 9
        with pytest.raises(ControlError) as refused:
            receipt(auditor.ask, io.BytesIO(), run, 4)
    assert refused.value.code == "entry_unknown"
    assert record.verified(file.getvalue()).outcome is Outcome.OK


def test_no_other_head_and_no_other_chain_is_passed_off_as_retention(record: SealedRecord) -> None:
    """A made-up head does not lead to what was sealed; and the tenant's own chain is never shortened."""
    run = record.runs[0]
    split_at(record, run, 9, head="ab" * 32)
    assert record.verified(record.bundle([run])).outcome is Outcome.TAMPERED
    with LedgerConnection(record.database.auditor) as auditor:
        own = auditor.ask(FindTenantChain()).run_id
    split_at(record, own, 1)
    report = record.verified(record.bundle([own]))
    assert report.outcome is Outcome.TAMPERED
    assert "never shortened" in report.found[0]


def test_payloads_stay_at_home(record: SealedRecord) -> None:
    """Arguments and before-images are in a bundle only when they were asked for."""
    assert b"status" not in record.bundle()
    bundle = record.bundle(payloads=True)
    assert b"status" in bundle
    report = record.verified(bundle)
    assert report.outcome is Outcome.OK
    assert any("payloads fit what the entries commit to" in what for what in report.proved)


def test_what_came_since_is_not_sealed(record: SealedRecord) -> None:
    """Entries after the newest checkpoint make a bundle incomplete, and may be left out of it."""
    record.refund("ticket/3")
    report = record.verified(record.bundle())
    assert report.outcome is Outcome.INCOMPLETE
    assert "9 entries are chained, but not sealed" in report.found[0]
    assert record.verified(record.bundle(sealed_only=True)).outcome is Outcome.OK


def test_a_ledger_that_nobody_seals(database: Database) -> None:
    """Without a checkpoint the chains are checked, and it is said that nothing is sealed."""
    with TrailWriter(database) as trail, LedgerConnection(database.auditor) as auditor:
        run = trail.open()
        file = io.BytesIO()
        done = export_bundle(auditor.ask, file, [run.run_id], scope="run")
    assert (done.size, done.unsealed) == (0, 1)
    key = offline.read_key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    report = offline.verify(offline.lines_of(io.BytesIO(file.getvalue())), keys=[key])
    assert report.outcome is Outcome.INCOMPLETE
    assert "nothing of it is sealed" in report.found[0]


def test_since_takes_what_moved(record: SealedRecord) -> None:
    """Chains are taken by their newest entry."""
    with LedgerConnection(record.database.auditor) as auditor:
        assert len(list(chains_since(auditor.ask, None))) == 3
        assert list(chains_since(auditor.ask, datetime.now(UTC) + timedelta(days=30))) == []
        moved = list(chains_since(auditor.ask, datetime.now(UTC) + timedelta(days=1)))
    assert set(moved) == set(record.runs)  # the ledger's clock went on three days in each


def test_other_tenants_see_none_of_it(record: SealedRecord) -> None:
    """A login of another tenant gets a bundle of its own tenant, without a run, a leaf or a policy of this one."""
    file = io.BytesIO()
    with LedgerConnection(record.database.second_tenant_agent) as agent:
        export_bundle(agent.ask, file, [*record.runs, *chains_since(agent.ask, None)], scope="all")
    bundle = file.getvalue()
    assert lines(bundle, "entry") == lines(bundle, "leaf") == lines(bundle, "policy") == []
    assert POLICY.encode() not in bundle


def test_a_new_key_is_linked_to_the_old_one(record: SealedRecord) -> None:
    """After a rotation the bundle has what links the keys: the first key is enough for what the new one signed."""
    rotate_key(record.database.admin, record.key)
    record.refund("ticket/3")
    record.seal()
    file = io.BytesIO()
    with LedgerConnection(record.database.auditor) as auditor:
        receipt(auditor.ask, file, record.runs[0], 3)
    for bundle in (record.bundle(), record.bundle(record.runs[2:]), file.getvalue()):
        assert record.verified(bundle).outcome is Outcome.OK


def test_what_a_key_in_place_of_a_lost_one_signed_takes_its_own(record: SealedRecord) -> None:
    """The key before says nothing about it; with both, all is proved. A bundle of before takes the key of before."""
    before = record.bundle()
    record.key.unlink()
    new = str(replace_lost_key(record.database.admin, record.key))
    record.refund("ticket/3")
    record.seal()
    report = record.verified(record.bundle())
    assert report.outcome is Outcome.TAMPERED
    assert "put in place of one that was lost" in report.found[0]
    old, record.vkey = record.vkey, new
    assert record.verified(record.bundle()).outcome is Outcome.OK
    report = record.verified(before)
    assert report.outcome is Outcome.UNUSABLE
    assert "verify it by the key before" in report.found[0]
    record.vkey = old
    assert record.verified(before, newer_pins=False).outcome is Outcome.OK


def test_the_cost_of_an_export_does_not_grow_with_what_was_signed(record: SealedRecord) -> None:
    """However many checkpoints there are, and however often the key was changed, an export reads a page of them."""
    for number in range(20):
        record.refund(f"ticket/more/{number}")
        record.seal()
        if number in (3, 9):
            rotate_key(record.database.admin, record.key)
    asked = list[object]()
    file = io.BytesIO()
    with LedgerConnection(record.database.auditor) as auditor:

        def ask(request: Request[T]) -> T:
            if request.statement == Checkpoints.statement:
                asked.append(request)
            return auditor.ask(request)

        export_bundle(ask, file, record.runs[:1], scope="run")
        export_bundle(ask, io.BytesIO(), record.runs[:1], scope="run")
        receipt(ask, io.BytesIO(), record.runs[0], 3)
    assert len(asked) == 4
    assert record.verified(file.getvalue()).outcome is Outcome.OK


def test_false_signatures_hide_none_that_is_right(record: SealedRecord) -> None:
    """However many notes with false signatures are newer, a bundle is made of the newest that a key signed."""
    newest = lines(record.bundle(), "checkpoint")[0]
    with psycopg.connect(record.database.agent, autocommit=True) as agent:
        for number in range(18):
            with TrailWriter(record.database) as trail:
                trail.open(f"ticket/more/{number}")
            origin, size, root = agent.execute(
                "SELECT origin, size, encode(root, 'base64') FROM control.seal_v1(1000)"
            ).fetchall()[0]
            signed = newest["note"].partition("\n\n")[2]
            note = f"{origin}\n{size}\n{root}\n\n{signed}"
            assert agent.execute("SELECT control.checkpoint_add_v1(%s, %s)", (size, note)).fetchall() == [("stored",)]
    bundle = record.bundle(sealed_only=True)
    assert lines(bundle, "checkpoint")[0] == newest


def test_retention_beside_an_export_is_said(record: SealedRecord) -> None:
    """What retention drops while it is exported makes no bundle that looks tampered with: export it again."""
    gone = list[Month]()
    with LedgerConnection(record.database.auditor) as auditor:

        def ask(request: Request[T]) -> T:
            answer = auditor.ask(request)
            if request.statement == FindDropped.statement and not gone:
                gone.extend(dropped(record))
            return answer

        for export in (
            lambda: export_bundle(ask, io.BytesIO(), record.runs[-1:], scope="run"),
            lambda: export_bundle(ask, io.BytesIO(), record.runs, scope="all"),
            lambda: receipt(ask, io.BytesIO(), record.runs[-1], 1),
        ):
            gone.clear()
            record.refund(f"ticket/{len(record.runs) + 1}")
            record.seal()
            with pytest.raises(ControlError) as overtaken:
                export()
            assert overtaken.value.code == "export_overtaken"
    record.seal()
    assert record.verified(record.bundle()).outcome is Outcome.OK


def test_since_leaves_out_what_retention_dropped(retained: SealedRecord) -> None:
    """A run of which no entry is left has moved at no moment."""
    with LedgerConnection(retained.database.auditor) as auditor:
        moved = list(chains_since(auditor.ask, datetime.now(UTC) - timedelta(days=1)))
        assert moved == [auditor.ask(FindTenantChain()).run_id]
        assert len(list(chains_since(auditor.ask, None))) == 3


# --- Receipts ---


def test_a_receipt_proves_an_entry(record: SealedRecord) -> None:
    """The receipt of an entry has it, the entries to the sealed head, a proof and checkpoints, and verifies."""
    file = io.BytesIO()
    with LedgerConnection(record.database.agent) as agent:
        assert receipt(agent.ask, file, record.runs[0], 7) == 9
        with pytest.raises(ControlError) as unknown:
            receipt(agent.ask, io.BytesIO(), record.runs[0], 10)
    assert unknown.value.code == "entry_unknown"
    report = record.verified(file.getvalue())
    assert (report.outcome, report.entries) == (Outcome.OK, 3)


async def test_approvers_get_the_receipt_of_their_word(record: SealedRecord) -> None:
    """An approver fetches what was asked and answered, sync and async, and it verifies with the pins."""
    with LedgerConnection(record.database.auditor) as auditor:
        assert len(auditor.ask(NewestRuns(limit=10))) == 2
        entries = list(auditor.entries(record.runs[0]))
    name = next(orjson.loads(row.facts)["approval"] for row in entries if "approval.voted" in row.facts)
    with Approvals(record.database.approver("ana")) as approvals:
        got = approvals.receipt(name)
        assert len(await approvals.areceipt(name)) == len(got)
        with pytest.raises(ControlError) as unknown:
            approvals.receipt("apr_" + "0" * 32)
    assert unknown.value.code == "entry_unknown"
    report = record.verified(got)
    assert report.outcome is Outcome.OK
    facts = [orjson.loads(entry["facts"])["events"] for entry in lines(got, "entry")]
    assert "approval.requested" in facts[0]
    assert any("approval.granted" in events for events in facts)


def test_no_receipt_before_the_seal(database: Database) -> None:
    """What no checkpoint covers has no receipt yet."""
    with TrailWriter(database) as trail:
        run = trail.open()
        with pytest.raises(ControlError) as early:
            receipt(trail.agent.ask, io.BytesIO(), run.run_id, 1)
    assert early.value.code == "receipt_unsealed"


# --- The file ---


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """A file that was broken off leaves nothing; one that is there is not written over; it is its owner's alone."""
    path = tmp_path / "bundle.jsonl"

    def broken_off() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert list(tmp_path.iterdir()) == []
    with whole_file(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ControlError) as there, whole_file(path):
        pass
    assert there.value.code == "bundle_exists"
    with pytest.raises(ControlError) as nowhere, whole_file(tmp_path / "no" / "folder"):
        pass
    assert nowhere.value.code == "bundle_unwritable"
