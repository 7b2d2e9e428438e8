"""Months of entries: made ahead, dropped when they are old enough, and what a verification says of what is gone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest

from langgraph_control.audit.asking.ledger import Answer, Request
from langgraph_control.audit.asking.requests import FindTenantChain
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.differences import Difference
from langgraph_control.audit.keeping.erasure import Month, retain
from langgraph_control.audit.keeping.reconcile import reconcile, reconcile_rest
from langgraph_control.audit.keeping.requests import HoldScope, HoldSet, MonthsAhead
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.audit.trail.verify import Verification, verify_all, verify_run, verify_tenant
from langgraph_control.errors import RequestRefused, TrailUnavailable
from tests.support.complete_entries import incomplete_entries
from tests.support.cut_runs import TOLD, dropped, over_two_months
from tests.support.postgres import Database
from tests.support.trails import OpenRun, TrailWriter, bytes_of, json_bytes, tamper
from tests.support.waiting import until_somebody_waits

T = TypeVar("T")

ANOTHER = "INSERT INTO control.dropped SELECT tenant, gen_random_uuid(), month, seq, head,"


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """A writer of trails, with finance published."""
    with TrailWriter(database) as writer:
        writer.publish()
        yield writer
    assert incomplete_entries(database, "entries", "hold", "payload") == []


def refunded(trail: TrailWriter, trigger: str) -> OpenRun:
    """A run with one write, done: four entries."""
    run = trail.open(trigger)
    request, _ = trail.claim(run)
    trail.settle(run, request, result=b'"refunded"')
    trail.release(run)
    return run


def months(database: Database) -> list[str]:
    """Return the names of the partitions."""
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'control.entry'::regclass ORDER BY 1"
        ).fetchall()
    return [str(name) for (name,) in rows]


def verified(database: Database, run_id: UUID) -> Verification:
    """Verify a run on the auditor's login."""
    with LedgerConnection(database.auditor) as auditor:
        found = verify_run(auditor, run_id)
    assert found is not None
    return found


def month_of(moment: datetime) -> str:
    """Return the partition of a moment."""
    return moment.strftime("entry_%Y_%m")


def test_months_are_made_ahead_and_entries_go_into_theirs(trail: TrailWriter) -> None:
    """A migrated database has this month and the next two; an entry lies in the partition of its month."""
    now = datetime.now(UTC)
    assert next(name for name in months(trail.database) if name != "entry_default") == month_of(now)
    assert len(months(trail.database)) == 4
    refunded(trail, "ticket/1")
    with psycopg.connect(trail.database.admin) as connection:
        tables = connection.execute("SELECT DISTINCT tableoid::regclass::text FROM control.entry").fetchall()
    assert tables == [(f"control.{month_of(now)}",)]


def test_an_entry_without_a_month_is_not_refused_and_moves_into_it_later(trail: TrailWriter) -> None:
    """What comes before its month was made lies in the default partition, and moves once a worker makes the month."""
    trail.pass_time(days=200)
    run = refunded(trail, "ticket/1")
    with psycopg.connect(trail.database.admin) as connection:
        assert connection.execute("SELECT count(*) FROM control.entry_default").fetchone() == (4,)
    assert trail.agent.ask(MonthsAhead()) == 3
    with psycopg.connect(trail.database.admin) as connection:
        assert connection.execute("SELECT count(*) FROM control.entry_default").fetchone() == (0,)
        open_ones = (
            "SELECT relname FROM pg_class WHERE relname LIKE 'entry\\_20%' AND relkind = 'r' AND NOT relrowsecurity"
        )
        assert connection.execute(open_ones.encode()).fetchall() == []  # nor is a new one open to other tenants
    assert verified(trail.database, run.run_id) == Verification(entries=4, erased=0, broken=None)


def test_making_months_waits_for_nobody(trail: TrailWriter) -> None:
    """While somebody reads the entries for long, no month is made, and nothing waits behind the attempt."""
    trail.pass_time(days=200)
    with psycopg.connect(trail.database.admin) as reader:
        reader.execute("SELECT count(*) FROM control.entry")
        assert trail.agent.ask(MonthsAhead()) == 0
        refunded(trail, "ticket/1")
    assert trail.agent.ask(MonthsAhead()) == 3


def test_a_month_that_is_over_and_done_goes_as_a_whole(trail: TrailWriter) -> None:
    """The partition is gone, the tenant's own chain is not, and what is left of the trail verifies."""
    run = refunded(trail, "ticket/1")
    trail.pass_time(days=100)
    young = refunded(trail, "ticket/2")
    (month,) = dropped(trail, days=60)
    assert (month.kept_for, month.entries, month.runs, month.whole_runs) == (None, 4, 1, 1)
    assert month_of(datetime.now(UTC)) not in months(trail.database)
    found = verified(trail.database, run.run_id)
    assert (found.ok, found.entries, found.dropped) == (True, 0, 4)
    assert found.dropped_at is not None
    assert verified(trail.database, young.run_id).dropped == 0
    with LedgerConnection(trail.database.auditor) as auditor:
        assert verify_tenant(auditor).ok
        assert all(one.ok for _, one in verify_all(auditor))
        chain = auditor.ask(FindTenantChain()).run_id
        last = list(auditor.entries(chain))[-1]
    assert "entries.dropped" in last.facts
    assert "400 days" in last.facts


def test_a_repeat_of_what_was_dropped_is_not_done_anew(trail: TrailWriter) -> None:
    """However old a change is, the same change of the same request is known to be done."""
    refunded(trail, "ticket/1")
    trail.pass_time(days=100)
    dropped(trail, days=60)
    _, claimed = trail.claim(trail.open("ticket/2"), key=bytes_of("ticket/1/refund"))
    assert (claimed.answer, claimed.result) == (Answer.STORED, TOLD)


def test_a_run_over_two_months_is_cut_where_the_month_ended(trail: TrailWriter) -> None:
    """Of a run that went on for long the old part goes, and the rest follows from the head that it left."""
    run = over_two_months(trail)
    done = dropped(trail, days=45)
    assert [month.kept_for for month in done] == [None] * len(done)
    assert [month.whole_runs for month in done] == [0] * len(done)
    found = verified(trail.database, run.run_id)
    assert found.ok
    assert found.dropped >= 3
    assert found.entries > 0


def test_a_dry_run_drops_nothing(trail: TrailWriter) -> None:
    """What would go is said, and all is there afterwards."""
    run = refunded(trail, "ticket/1")
    (month,) = dropped(trail, days=60, dry_run=True)
    assert (month.entries, month.kept_for) == (4, None)
    assert verified(trail.database, run.run_id).entries == 4


def test_a_month_in_which_a_run_goes_on_stays(trail: TrailWriter) -> None:
    """One open run keeps its month, and the run is named."""
    refunded(trail, "ticket/1")
    run = trail.open("ticket/2")
    (month,) = dropped(trail, days=60)
    assert (month.kept_for, month.run_id) == ("open_run", run.run_id)
    assert month_of(datetime.now(UTC)) in months(trail.database)


def test_a_month_under_a_legal_hold_stays(trail: TrailWriter) -> None:
    """A hold by run, intent or record keeps every month in which its runs have entries."""
    run = refunded(trail, "ticket/1")
    with LedgerConnection(trail.database.admin) as admin:
        hold = HoldSet(
            hold_id=uuid4(),
            scope=HoldScope.TARGET,
            run_id=None,
            name="invoice 17",
            comment="case 12",
            body=json_bytes(),
        )
        assert admin.ask(hold) is None
    (month,) = dropped(trail, days=60)
    assert (month.kept_for, month.run_id) == ("held", run.run_id)


def test_the_month_that_is_not_over_by_then_stays(trail: TrailWriter) -> None:
    """Only months that ended before the moment go; the one it lies in does not."""
    refunded(trail, "ticket/1")
    assert dropped(trail) == []


def test_the_ledgers_clock_says_what_is_old(trail: TrailWriter) -> None:
    """The clock that dated the entries measures their age: on a machine whose clock is ahead nothing goes too early."""
    trail.pass_time(days=-100)
    refunded(trail, "ticket/1")
    assert list(retain(trail.database.admin, timedelta(0), comment="over", told=TOLD)) == []
    assert list(retain(trail.database.admin, timedelta(days=30), comment="over", told=TOLD)) == []
    trail.pass_time(days=70)
    assert list(retain(trail.database.admin, timedelta(days=75), comment="over", told=TOLD)) == []
    (month,) = retain(trail.database.admin, timedelta(days=30), comment="over", told=TOLD)
    assert (month.kept_for, month.entries) == (None, 4)


@pytest.mark.parametrize("older", [timedelta(days=-40), timedelta(days=500_000)])
def test_an_age_that_is_none_is_refused(trail: TrailWriter, older: timedelta) -> None:
    """Nothing is dropped before it is over."""
    with pytest.raises(RequestRefused):
        list(retain(trail.database.admin, older, comment="over", told=TOLD))


@contextmanager
def appending(trail: TrailWriter, run_id: UUID, at: datetime) -> Iterator[psycopg.Connection]:
    """An entry of a moment in the past, in a transaction that has not ended."""
    with psycopg.connect(trail.database.admin) as late:
        late.execute("SELECT 1 FROM control.run_state WHERE run_id = %s FOR UPDATE", (run_id,))
        late.execute(
            "SELECT control.append('default', %s, %s, ARRAY['effect.late'], '{}', '{}'::bytea, NULL)", (run_id, at)
        )
        yield late


def test_what_comes_while_a_month_is_counted_is_counted(trail: TrailWriter) -> None:
    """A late answer whose commit comes while the month is dropped goes with it, and the chain verifies."""
    run = refunded(trail, "ticket/1")
    then = datetime.now(UTC)
    trail.pass_time(days=60)
    with ThreadPoolExecutor(1) as pool:
        with appending(trail, run.run_id, then) as late:
            done = pool.submit(retain_now, trail)
            until_somebody_waits(trail.database)
            late.commit()
        (month,) = done.result(60)
    assert (month.kept_for, month.entries, month.whole_runs) == (None, 5, 1)
    assert (verified(trail.database, run.run_id).ok, verified(trail.database, run.run_id).dropped) == (True, 5)


def test_what_comes_of_a_run_that_was_not_seen_stops_the_drop(trail: TrailWriter) -> None:
    """An entry of a run that had nothing in that month is not dropped uncounted: all stays, and it can be repeated."""
    run = refunded(trail, "ticket/1")
    then = datetime.now(UTC)
    trail.pass_time(days=60)
    young = refunded(trail, "ticket/2")
    with ThreadPoolExecutor(1) as pool:
        with appending(trail, young.run_id, then) as late:
            done = pool.submit(retain_now, trail)
            until_somebody_waits(trail.database)
            late.commit()
        with pytest.raises(TrailUnavailable) as busy:
            done.result(60)
    assert busy.value.code == "entries_busy"
    assert verified(trail.database, run.run_id) == Verification(entries=4, erased=0, broken=None)
    assert verified(trail.database, young.run_id) == Verification(entries=5, erased=0, broken=None)
    assert [month.kept_for for month in retain_now(trail)] == ["order"]


def retain_now(trail: TrailWriter) -> list[Month]:
    """Drop every month that is over."""
    return list(retain(trail.database.admin, timedelta(0), comment="over", told=TOLD))


def test_another_tenants_entries_of_that_month_stay(trail: TrailWriter) -> None:
    """One tenant's retention deletes its own entries; the partition goes with the last tenant's."""
    add_login(trail.database.admin, "test_second_admin", role="admin", tenant="other", create=True)
    run = refunded(trail, "ticket/1")
    with ExitStack() as undo:
        other = TrailWriter(trail.database)
        other.agent.close()
        other.agent = undo.enter_context(LedgerConnection(trail.database.second_tenant_agent))
        theirs = refunded(other, "ticket/1")
    (month,) = dropped(trail, days=60)
    assert month.runs == 1
    assert month_of(datetime.now(UTC)) in months(trail.database)
    with LedgerConnection(trail.database.second_tenant_agent) as agent:
        assert verify_run(agent, theirs.run_id) == Verification(entries=4, erased=0, broken=None)
    second = list(retain(trail.database.dsn("test_second_admin"), timedelta(0), comment="old", told=TOLD))
    assert [one.runs for one in second] == [1]
    assert month_of(datetime.now(UTC)) not in months(trail.database)
    assert verified(trail.database, run.run_id).ok
    with LedgerConnection(trail.database.second_tenant_agent) as agent:
        assert all(one.ok for _, one in verify_all(agent))


class Interrupted(LedgerConnection):
    """Lets something happen before each of its requests, from one of them on."""

    def __init__(self, dsn: str, happen: Iterator[object], *, at: int) -> None:
        super().__init__(dsn)
        self.asked = 0
        self._happen = happen
        self._at = at

    def ask(self, request: Request[T]) -> T:
        """Carry out a request."""
        if self.asked >= self._at:
            next(self._happen, None)
        self.asked += 1
        return super().ask(request)


def several_months(trail: TrailWriter) -> list[UUID]:
    """Runs of three months, one of which goes over two of them; all are done."""
    long = trail.open("ticket/long")
    runs = [refunded(trail, "ticket/1").run_id, long.run_id]
    trail.release(long, RunState.WAITING, "later")
    trail.pass_time(days=40)
    long = trail.resume(long)
    request, _ = trail.claim(long)
    trail.settle(long, request)
    trail.release(long)
    runs.append(refunded(trail, "ticket/2").run_id)
    trail.publish()
    trail.pass_time(days=40)
    runs.append(refunded(trail, "ticket/3").run_id)
    return runs


@pytest.mark.parametrize("at", range(0, 24, 3))
def test_a_verification_beside_retention_calls_nothing_tampered_with(
    trail: TrailWriter, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Whenever a month is dropped while everything is verified, and the next one right after, all is whole."""
    monkeypatch.setattr("langgraph_control.audit.connecting.connection.PAGE_ENTRIES", 2)
    several_months(trail)
    months = retain(trail.database.admin, timedelta(days=5), comment="over", told=TOLD)
    with Interrupted(trail.database.auditor, months, at=at) as auditor:
        assert [found.broken for _, found in verify_all(auditor) if not found.ok] == []
        assert auditor.asked > at


@pytest.mark.parametrize("at", range(8))
def test_a_run_that_is_verified_beside_retention_is_whole(
    trail: TrailWriter, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The same for one run over two months, of which both go while it is read, and as it was read before."""
    monkeypatch.setattr("langgraph_control.audit.connecting.connection.PAGE_ENTRIES", 2)
    run_id = several_months(trail)[1]
    months = retain(trail.database.admin, timedelta(days=5), comment="over", told=TOLD)
    with Interrupted(trail.database.auditor, months, at=at) as auditor:
        read = list(auditor.entries(run_id)) if at % 2 else None
        found = verify_run(auditor, run_id, read=read)
    assert found is not None
    assert found.broken is None


def test_entries_that_move_while_they_are_verified_are_not_missing(trail: TrailWriter) -> None:
    """Who waits for a partition that is taken off finds the tenant's own entries where they went."""
    refunded(trail, "ticket/1")
    trail.pass_time(days=60)
    with ThreadPoolExecutor(2) as pool:
        with psycopg.connect(trail.database.admin) as retaining:
            retaining.execute(
                "SELECT control.retain_v1(interval '0', NULL, %s, 'over', %s)", (TOLD, json_bytes(comment="over"))
            )
            verifying = pool.submit(everything, trail.database)
            reconciling = pool.submit(reconciled, trail.database)
            until_somebody_waits(trail.database, sessions=2)
            retaining.commit()
        assert [found.broken for found in verifying.result(60)] == [None, None]
        assert reconciling.result(60) == []


def everything(database: Database) -> list[Verification]:
    """Verify all chains."""
    with LedgerConnection(database.auditor) as auditor:
        return [found for _, found in verify_all(auditor)]


def reconciled(database: Database) -> list[Difference]:
    """Reconcile everything."""
    with LedgerConnection(database.auditor) as auditor:
        requests = list(reconcile(auditor))
        known = {run_id for request in requests for run_id in request.run_ids}
        return [one for request in requests for one in request.differences] + list(reconcile_rest(auditor, known))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM control.dropped",
        "UPDATE control.dropped SET head = '\\x00'",
        "UPDATE control.dropped SET seq = seq - 1",
        f"{ANOTHER} place, now() FROM control.dropped",
        f"{ANOTHER} 1, now() FROM control.dropped",
    ],
)
def test_what_is_said_to_be_dropped_is_held_against_the_record(trail: TrailWriter, statement: str) -> None:
    """Whoever deletes entries and calls it retention is found: the tenant's own chain names all heads."""
    refunded(trail, "ticket/1")
    trail.pass_time(days=100)
    dropped(trail, days=60)
    tamper(trail.database, statement)
    with LedgerConnection(trail.database.auditor) as auditor:
        assert not all(one.ok for _, one in verify_all(auditor))
