"""Where the ledger says that runs stand: owner and next step as stored, and what is due with nobody to drive it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from langgraph_control.audit.asking.ledger import Answer, Outcome
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.requests import FindRun, NewestRuns, RunAcquire, RunRelease
from langgraph_control.audit.asking.rows import Release, RunAnswer, RunRow, RunState
from langgraph_control.audit.asking.wakes import FindDue, RunSubmit, RunWake, Wake
from langgraph_control.audit.connecting.store import Store
from langgraph_control.errors import DatabaseRefused
from langgraph_control.guards.run_reasons import RunReason
from tests.support.desk import POLICY
from tests.support.ledger_requests import claim, run_open, settle
from tests.support.postgres import Database

MINUTE = timedelta(seconds=61)


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    """An agent's store on a ledger of its own, whose policy's owner is finance."""
    publish_policy(database.admin, POLICY)
    made = Store(database.agent)
    yield made
    made.close()


def later(database: Database, ahead: timedelta) -> None:
    """Let the ledger's clock be ahead."""
    body = sql.Literal(f"SELECT pg_catalog.clock_timestamp() + interval '{ahead.total_seconds()} s'")
    statement = sql.SQL("CREATE OR REPLACE FUNCTION control.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS {}")
    with psycopg.connect(database.admin) as connection:
        connection.execute(statement.format(body))


def driven(store: Store, *, graph: str = "graph", lease: timedelta = timedelta(seconds=15)) -> RunAnswer:
    """Return a new run with a driver."""
    return store.call(replace(run_open(lease_ms=int(lease.total_seconds() * 1000)), graph=graph))


def park(
    store: Store,
    run: RunAnswer,
    *,
    state: RunState = RunState.WAITING,
    owner: str = "workers",
    wake_ms: int | None = None,
) -> UUID:
    """Have a run wait, for a time or for something to happen."""
    assert run.run_id is not None
    request = RunRelease(
        run_id=run.run_id,
        token=run.token or 0,
        generation=run.generation or 0,
        state=state,
        reason="because",
        owner=owner,
        next_step="langgraph-control inbox",
        wake_ms=wake_ms,
        body=b"{}",
    )
    assert store.call(request).answer is Release.RELEASED
    return run.run_id


def look(store: Store, *graphs: str) -> None:
    """Look for work, as a worker with these graphs does."""
    store.call(FindDue(graphs=[*graphs], run_ids=None, ahead_ms=0, hold_ms=0, limit=10, others=True))


def row(store: Store, run: UUID | None) -> RunRow:
    """Return a run."""
    found = store.call(FindRun(run_id=run))
    assert found is not None
    return found


def test_owner_and_next_step_are_kept_beside_state_and_reason(store: Store, database: Database) -> None:
    """What whoever gave the lease up said, any login of the tenant reads; taken up again, it is the workers'."""
    run = driven(store)
    assert (row(store, run.run_id).owner, row(store, run.run_id).next_step) == ("workers", "")
    park(store, run, state=RunState.NEEDS_HUMAN, owner="fraud")
    auditor = Store(database.auditor)
    (seen,) = auditor.call(NewestRuns(limit=10, state=RunState.NEEDS_HUMAN, owner="fraud"))
    auditor.close()
    assert (seen.owner, seen.next_step, seen.tools) == ("fraud", "langgraph-control inbox", ())


def test_people_who_are_asked_now_own_what_needs_approval(store: Store) -> None:
    """Whatever the caller says: the roles of the open requests that the run waits for, and the tools of its writes."""
    run = driven(store)
    assert run.run_id is not None
    needed = {
        "quorum": {"support": 1, "finance": 1},
        "not_by": [],
        "comment_required": False,
        "within_seconds": 60,
        "execute_within_seconds": 60,
        "on_expiry": "deny",
    }
    asked = replace(claim(run.run_id, run.token or 0), verb="approve", requirement=needed, card=b"{}")
    assert store.call(asked).answer is Answer.PARK
    seen = row(store, park(store, run, state=RunState.NEEDS_APPROVAL, owner="somebody"))
    assert (seen.owner, seen.tools) == ("finance, support", (asked.tool,))


def test_a_submitted_run_is_the_workers(store: Store) -> None:
    """Registered for later, it says that a worker is to come."""
    opened = run_open()
    request = RunSubmit(**{name: getattr(opened, name) for name in RunSubmit.__slots__})
    store.call(request)
    seen = row(store, request.run_id)
    assert (seen.owner, seen.next_step) == ("workers", "langgraph-control worker")


@pytest.mark.parametrize("why", ["its time has come", "its worker is gone"])
def test_what_is_due_and_has_no_worker_is_shown_as_blocked(store: Store, database: Database, why: str) -> None:
    """A minute after it was due, with no worker that has its graph, a run says so, until one comes."""
    run = driven(store, graph="old", lease=timedelta(milliseconds=1))
    if "time" in why:
        park(store, run, wake_ms=0)
    look(store, "another")
    assert row(store, run.run_id).state is not RunState.BLOCKED
    later(database, 2 * MINUTE)
    look(store, "another")
    seen = row(store, run.run_id)
    assert (seen.state, seen.reason, seen.owner) == (RunState.BLOCKED, "no worker has graph old", "finance")
    assert [one.run_id for one in store.call(NewestRuns(limit=10, state=RunState.BLOCKED))] == [run.run_id]
    look(store, "another", "old")
    assert row(store, run.run_id).state is not RunState.BLOCKED


def test_what_was_woken_is_blocked_only_where_there_are_workers(store: Store, database: Database) -> None:
    """Without any worker, whoever drives runs there comes by; with workers of other graphs, nobody will."""
    run = park(store, driven(store, graph="old"))
    assert store.call(RunWake(run_id=run)).answer is Wake.WOKEN
    later(database, MINUTE)
    assert row(store, run).state is RunState.WAITING
    look(store, "another")
    assert row(store, run).reason == "no worker has graph old"


def test_what_waits_for_something_else_is_not_blocked(store: Store, database: Database) -> None:
    """A run that is not due says what it waits for, however long, and whoever looks for work."""
    run = park(store, driven(store, graph="old"))
    later(database, timedelta(days=3))
    look(store, "another")
    assert (row(store, run).state, row(store, run).reason) == (RunState.WAITING, "because")


def test_a_wake_makes_a_parked_run_due(store: Store, database: Database) -> None:
    """Asked for by an approver, it is due at once, and it is said whether a worker has its graph."""
    run = park(store, driven(store))
    approver = Store(database.approver("ana"))
    assert approver.call(RunWake(run_id=run)).served is False
    request = FindDue(graphs=["graph"], run_ids=[run], ahead_ms=0, hold_ms=0, limit=10)
    assert [due.run_id for due in store.call(request)] == [run]
    look(store, "graph")
    assert approver.call(RunWake(run_id=run)).served is True
    assert row(store, run).reason == "because"
    approver.close()


def test_what_cannot_be_woken(store: Store, database: Database) -> None:
    """A driven run, a finished one, one of another tenant; and nobody wakes a run on an auditor's login."""
    run = driven(store)
    assert run.run_id is not None
    assert store.call(RunWake(run_id=run.run_id)).answer is Wake.HELD
    park(store, run, state=RunState.DONE, owner="")
    assert store.call(RunWake(run_id=run.run_id)).answer is Wake.FINISHED
    other = Store(database.second_tenant_agent)
    assert other.call(RunWake(run_id=run.run_id)).answer is Wake.UNKNOWN
    other.close()
    auditor = Store(database.auditor)
    with pytest.raises(DatabaseRefused):
        auditor.call(RunWake(run_id=run.run_id))
    auditor.close()


def test_what_is_under_way_when_a_run_stops_is_looked_at_in_time(store: Store, database: Database) -> None:
    """A run that waits for people is due when the lease of its blind write is over, and is then a person's first."""
    run = driven(store)
    assert run.run_id is not None
    lost = replace(claim(run.run_id, run.token or 0, kind="blind"), lease_ms=30_000)
    assert store.call(lost).answer is Answer.GO
    park(store, run, state=RunState.NEEDS_APPROVAL, owner="finance")
    waits = row(store, run.run_id)
    assert waits.state is RunState.NEEDS_APPROVAL
    assert waits.wake_at is not None
    later(database, MINUTE)
    again = store.call(RunAcquire(run_id=run.run_id, holder="other", lease_ms=15_000, body=b"{}"))
    park(store, again, state=RunState.NEEDS_APPROVAL, owner="support")
    found = row(store, run.run_id)
    assert (found.state, found.reason) == (RunState.NEEDS_HUMAN, f"{RunReason.LEFT_TO_PEOPLE}{lost.tool}")
    assert (found.owner, found.tools, found.wake_at) == ("finance", (lost.tool,), None)


def test_a_release_that_is_sent_again_is_known_by_what_was_made_of_it(store: Store) -> None:
    """Whoever lost the answer to such a release is told that it landed, and not that the run is another worker's."""
    run = driven(store)
    assert run.run_id is not None
    lost = claim(run.run_id, run.token or 0, kind="blind")
    store.call(lost)
    store.call(settle(lost, outcome=Outcome.LOSE))
    park(store, run, state=RunState.NEEDS_APPROVAL)
    park(store, run, state=RunState.NEEDS_APPROVAL)
    assert row(store, run.run_id).state is RunState.NEEDS_HUMAN


def test_what_is_driven_on_at_once_is_left_to_nobody_yet(store: Store) -> None:
    """A run that a worker was made to leave says where it stands when it is driven on, which is now."""
    run = driven(store)
    assert run.run_id is not None
    lost = claim(run.run_id, run.token or 0, kind="blind")
    store.call(lost)
    store.call(settle(lost, outcome=Outcome.LOSE))
    park(store, run, wake_ms=0)
    assert row(store, run.run_id).state is RunState.WAITING


def test_sql_gives_the_same_reason(store: Store, database: Database) -> None:
    """What the ledger says of a run with something left to people is what guards/run_reasons.py explains."""
    with psycopg.connect(database.admin) as admin:
        said = admin.execute("SELECT control.left_to_people_reason()").fetchone()
    assert said == (RunReason.LEFT_TO_PEOPLE.value,)
