"""Months of entries: made ahead, dropped when they are old enough, and what a verification says of what is gone."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from langgraph_control.audit.asking.ledger import Answer
from langgraph_control.audit.asking.requests import FindTenantChain
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.erasure import Month, retain
from langgraph_control.audit.keeping.requests import HoldScope, HoldSet, MonthsAhead
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.audit.trail.verify import Verification, verify_all, verify_run, verify_tenant
from tests.support.complete_entries import incomplete_entries
from tests.support.postgres import Database
from tests.support.trails import OpenRun, TrailWriter, bytes_of, json_bytes, tamper

TOLD = b'"This was done."'
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


def dropped(database: Database, *, days: int = 0, dry_run: bool = False) -> list[Month]:
    """Drop what is over by so many days from now."""
    before = datetime.now(UTC) + timedelta(days=days)
    return list(retain(database.admin, before, comment="400 days", told=TOLD, dry_run=dry_run))


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
    (month,) = dropped(trail.database, days=60)
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
    dropped(trail.database, days=60)
    _, claimed = trail.claim(trail.open("ticket/2"), key=bytes_of("ticket/1/refund"))
    assert (claimed.answer, claimed.result) == (Answer.STORED, TOLD)


def test_a_run_over_two_months_is_cut_where_the_month_ended(trail: TrailWriter) -> None:
    """Of a run that went on for long the old part goes, and the rest follows from the head that it left."""
    run = trail.open()
    trail.claim(run, verb="approve")
    trail.release(run, RunState.NEEDS_APPROVAL, "needs_approval")
    with psycopg.connect(trail.database.admin) as connection:
        row = connection.execute("SELECT approval_id FROM control.approval").fetchone()
    assert row is not None
    before = len(list(trail.agent.entries(run.run_id)))
    trail.pass_time(days=6)
    trail.vote(row[0])
    trail.pass_time(days=70)
    run = trail.resume(run)
    request, _ = trail.claim(run, verb="approve")
    trail.release(run, RunState.WAITING, "later")
    trail.pass_time(seconds=1)
    tamper(trail.database, "UPDATE control.action SET state = 'denied'")
    tamper(trail.database, "DELETE FROM control.waiter")
    run = trail.resume(run)
    trail.release(run)
    done = dropped(trail.database, days=45)
    assert [month.kept_for for month in done] == [None] * len(done)
    assert [month.whole_runs for month in done] == [0] * len(done)
    found = verified(trail.database, run.run_id)
    assert found.ok
    assert found.dropped >= before
    assert found.entries > 0
    assert request.key


def test_a_dry_run_drops_nothing(trail: TrailWriter) -> None:
    """What would go is said, and all is there afterwards."""
    run = refunded(trail, "ticket/1")
    (month,) = dropped(trail.database, days=60, dry_run=True)
    assert (month.entries, month.kept_for) == (4, None)
    assert verified(trail.database, run.run_id).entries == 4


def test_a_month_in_which_a_run_goes_on_stays(trail: TrailWriter) -> None:
    """One open run keeps its month, and the run is named."""
    refunded(trail, "ticket/1")
    run = trail.open("ticket/2")
    (month,) = dropped(trail.database, days=60)
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
    (month,) = dropped(trail.database, days=60)
    assert (month.kept_for, month.run_id) == ("held", run.run_id)


def test_the_month_that_is_not_over_by_then_stays(trail: TrailWriter) -> None:
    """Only months that ended before the moment go; the one it lies in does not."""
    refunded(trail, "ticket/1")
    assert dropped(trail.database) == []


def test_another_tenants_entries_of_that_month_stay(trail: TrailWriter) -> None:
    """One tenant's retention deletes its own entries; the partition goes with the last tenant's."""
    add_login(trail.database.admin, "test_second_admin", role="admin", tenant="other", create=True)
    run = refunded(trail, "ticket/1")
    with ExitStack() as undo:
        other = TrailWriter(trail.database)
        other.agent.close()
        other.agent = undo.enter_context(LedgerConnection(trail.database.second_tenant_agent))
        theirs = refunded(other, "ticket/1")
    (month,) = dropped(trail.database, days=60)
    assert month.runs == 1
    assert month_of(datetime.now(UTC)) in months(trail.database)
    with LedgerConnection(trail.database.second_tenant_agent) as agent:
        assert verify_run(agent, theirs.run_id) == Verification(entries=4, erased=0, broken=None)
    before = datetime.now(UTC) + timedelta(days=60)
    second = list(retain(trail.database.dsn("test_second_admin"), before, comment="old", told=TOLD))
    assert [one.runs for one in second] == [1]
    assert month_of(datetime.now(UTC)) not in months(trail.database)
    assert verified(trail.database, run.run_id).ok
    with LedgerConnection(trail.database.second_tenant_agent) as agent:
        assert all(one.ok for _, one in verify_all(agent))


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
    dropped(trail.database, days=60)
    tamper(trail.database, statement)
    with LedgerConnection(trail.database.auditor) as auditor:
        assert not all(one.ok for _, one in verify_all(auditor))
