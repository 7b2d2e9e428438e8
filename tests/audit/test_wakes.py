"""Which runs the ledger calls due, to whom it offers them, and to whom it gives one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from psycopg import sql

from langgraph_control.audit.asking.ledger import Answer, Claim
from langgraph_control.audit.asking.requests import FindRun, RunEntries, RunRelease
from langgraph_control.audit.asking.rows import Release, RunAnswer, RunLease, RunState
from langgraph_control.audit.asking.wakes import DueRun, FindDue, NotifyWaiters, RunSubmit, RunTake, Why
from langgraph_control.audit.connecting.statements import statement
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.errors import DatabaseRefused
from tests.support.ledger_requests import claim, run_open, settle
from tests.support.postgres import Database

SECOND_MS = 1000
ONE_OF_FINANCE = {
    "quorum": {"finance": 1},
    "not_by": ["requester"],
    "within_seconds": 3600,
    "execute_within_seconds": 3600,
    "on_expiry": "deny",
    "comment_required": False,
}


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    """An agent's store on a ledger of its own."""
    made = Store(database.agent)
    yield made
    made.close()


def due(
    store: Store, *run_ids: UUID, graphs: tuple[str, ...] = ("graph",), ahead: int = 0, limit: int = 100
) -> tuple[DueRun, ...]:
    """Ask what is due, of these runs or of all; times in seconds. What is offered is kept from others for 15 s."""
    request = FindDue(
        graphs=list(graphs),
        run_ids=list(run_ids) or None,
        ahead_ms=ahead * SECOND_MS,
        hold_ms=15 * SECOND_MS,
        limit=limit,
        others=not run_ids,
    )
    return store.call(request)


def offered(found: tuple[DueRun, ...]) -> list[UUID]:
    """Return the runs that were offered."""
    return [run.run_id for run in found if run.offered]


def take(store: Store, run_id: UUID, *, graph: str = "graph", lease: int = 15) -> RunAnswer:
    """Ask for the lease of a run that is due."""
    request = RunTake(run_id=run_id, graphs=[graph], holder=str(uuid4()), lease_ms=lease * SECOND_MS, body=b"{}")
    return store.call(request)


def driven(store: Store, *, graph: str = "graph", lease: int = 15) -> RunAnswer:
    """Return a new run with a driver."""
    return store.call(replace(run_open(lease_ms=lease * SECOND_MS), graph=graph))


def park(store: Store, run: RunAnswer, *, wake: int | None = None, state: RunState = RunState.WAITING) -> UUID:
    """Have a run wait, for a time in seconds from now or for something to happen."""
    request = released(run, wake=wake, state=state)
    assert store.call(request).answer is Release.RELEASED
    return request.run_id


def released(run: RunAnswer, *, wake: int | None = None, state: RunState = RunState.WAITING) -> RunRelease:
    """Return the request that gives a run's lease up."""
    assert run.run_id is not None
    assert run.token is not None
    assert run.generation is not None
    return RunRelease(
        run_id=run.run_id,
        token=run.token,
        generation=run.generation,
        state=state,
        reason="because",
        wake_ms=None if wake is None else wake * SECOND_MS,
        body=b"{}",
    )


def joins(store: Store, run: RunAnswer, claimed: Claim) -> None:
    """Have a run wait for an action that another one holds."""
    assert run.run_id is not None
    assert run.token is not None
    answer = store.call(replace(claimed, run_id=run.run_id, token=run.token, attempt=uuid4()))
    assert answer.answer is Answer.WAIT


def held(store: Store) -> Claim:
    """Have a new run hold an action, and return its claim."""
    run = driven(store)
    assert run.run_id is not None
    assert run.token is not None
    claimed = claim(run.run_id, run.token)
    assert store.call(claimed).answer is Answer.GO
    return claimed


def waited_for(store: Store) -> tuple[Claim, RunAnswer]:
    """Return the claim of an action, and a driven run of its own that waits for it."""
    claimed, second = held(store), driven(store)
    joins(store, second, claimed)
    return claimed, second


def later(database: Database, seconds: int) -> None:
    """Let the ledger's clock be ahead."""
    body = sql.Literal(f"SELECT pg_catalog.clock_timestamp() + interval '{seconds} s'")
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            sql.SQL(
                "CREATE OR REPLACE FUNCTION control.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS {}"
            ).format(body)
        )


def submission(**changes: object) -> RunSubmit:
    """Return a request that registers a run for later."""
    opened = run_open()
    common = {name: getattr(opened, name) for name in RunSubmit.__slots__}
    return RunSubmit(**{**common, **changes})


# --- due, by time, lease and word ---


def test_a_run_is_due_at_its_time(store: Store, database: Database) -> None:
    """A run that waits for a time is offered from then on, and not before."""
    run_id = park(store, driven(store), wake=60)
    assert due(store) == ()
    later(database, 61)
    assert [(run.run_id, run.why, run.offered) for run in due(store)] == [(run_id, Why.TIMER, True)]


def test_a_time_that_is_near_is_offered_ahead(store: Store) -> None:
    """Who looks ahead is offered a run before its time, and told how long that is."""
    run_id = park(store, driven(store), wake=5)
    (found,) = due(store, ahead=6)
    assert (found.run_id, found.offered) == (run_id, True)
    assert 4 * SECOND_MS < found.in_ms <= 5 * SECOND_MS


def test_a_run_is_due_when_its_lease_is_over(store: Store, database: Database) -> None:
    """A driven run is offered once its driver has not renewed the lease in time, and shown before that."""
    run = driven(store, lease=15)
    assert due(store, ahead=6) == ()
    later(database, 10)
    (soon,) = due(store, ahead=6)
    assert (soon.why, soon.offered, 0 < soon.in_ms <= 5 * SECOND_MS) == (Why.LEASE, False, True)
    later(database, 16)
    (over,) = due(store)
    assert (over.run_id, over.why, over.offered) == (run.run_id, Why.LEASE, True)


def test_a_run_is_due_when_what_it_waits_for_is_settled(store: Store) -> None:
    """Two runs of one action: the one that waits is offered when the other one has settled it."""
    claimed, second = waited_for(store)
    run_id = park(store, second)
    assert due(store) == ()
    store.call(settle(claimed))
    assert [(run.run_id, run.why, run.offered) for run in due(store)] == [(run_id, Why.WOKEN, True)]


def test_a_run_is_due_when_another_one_closes_the_request_both_wait_for(store: Store, database: Database) -> None:
    """At its own deadline a run withdraws a request; whoever waits for it with no time left either hears of it."""
    deadline = datetime.now(UTC) + timedelta(seconds=8)
    runs = [store.call(replace(run_open(lease_ms=15 * SECOND_MS), deadline=deadline)) for _ in range(2)]
    claimed = replace(claim(UUID(int=0), 0), verb="approve", requirement=ONE_OF_FINANCE)
    claims = [replace(claimed, run_id=run.run_id or UUID(int=0), token=run.token or 0) for run in runs]
    for one in claims:
        assert store.call(replace(one, attempt=uuid4())).reason == "needs_approval"
    later(database, 10)
    assert store.call(replace(claims[0], attempt=uuid4())).reason == "deadline_passed"
    assert store.call(released(runs[1], state=RunState.NEEDS_APPROVAL)).answer is Release.AGAIN


def test_a_word_that_comes_as_the_lease_is_given_up_is_not_lost(store: Store, database: Database) -> None:
    """Committed after the release has looked and before it commits, a wake-up makes the run due."""
    claimed, second = waited_for(store)
    request = released(second)
    with psycopg.connect(database.agent) as releasing:
        releasing.execute(statement(request.statement), request.parameters())
        store.call(settle(claimed))
    assert offered(due(store)) == [second.run_id]


def test_what_a_run_has_seen_makes_it_due_no_more(store: Store) -> None:
    """Woken, driven and parked again, a run waits for the next wake-up."""
    claimed, second = waited_for(store)
    run_id = park(store, second)
    store.call(settle(claimed))
    park(store, take(store, run_id))
    assert due(store) == ()
    assert take(store, run_id).answer is RunLease.NOT_DUE


def test_a_finished_run_is_never_due(store: Store, database: Database) -> None:
    """Done is done, whatever its lease and its times were."""
    run_id = park(store, driven(store), state=RunState.DONE)
    later(database, 3600)
    assert due(store) == ()
    assert due(store, run_id) == ()
    assert take(store, run_id).answer is RunLease.FINISHED


# --- offered to one, and again ---


def test_what_is_offered_is_offered_once(store: Store, database: Database) -> None:
    """The second worker that looks is offered what the first was not; after a while everything again."""
    runs = {park(store, driven(store), wake=0) for _ in range(5)}
    first, second = offered(due(store, limit=3)), offered(due(store, limit=3))
    assert (len(first), len(second), {*first, *second}) == (3, 2, runs)
    assert due(store) == ()
    later(database, 16)
    assert set(offered(due(store))) == runs


def test_a_new_time_is_offered_although_the_old_one_was(store: Store) -> None:
    """A run that was offered, driven and parked for another time is offered for that."""
    run_id = park(store, driven(store), wake=0)
    assert offered(due(store)) == [run_id]
    park(store, take(store, run_id), wake=0)
    assert offered(due(store)) == [run_id]


def test_a_wake_up_is_offered_although_a_time_was(store: Store) -> None:
    """Offered ahead for its time, a run that is then woken is offered at once."""
    claimed, second = waited_for(store)
    run_id = park(store, second, wake=5)
    assert [run.why for run in due(store, ahead=6)] == [Why.TIMER]
    store.call(settle(claimed))
    assert [(run.run_id, run.why) for run in due(store, run_id)] == [(run_id, Why.WOKEN)]


def test_eight_workers_are_offered_each_run_once(store: Store, database: Database) -> None:
    """Looking at one instant, eight workers get disjoint parts of what is due, and all of it together."""
    runs = {park(store, driven(store), wake=0) for _ in range(40)}
    stores = [Store(database.agent) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        parts = list(threads.map(lambda one: offered(due(one, limit=10)), stores))
    for one in stores:
        one.close()
    given = [run_id for part in parts for run_id in part]
    assert len(given) == len(set(given))
    assert {*given, *offered(due(store))} == runs


# --- given to one ---


def test_a_due_run_is_given_once(store: Store, database: Database) -> None:
    """Of eight workers that take a due run at one instant one gets it; it is not due for whoever comes after."""
    run_id = park(store, driven(store), wake=0)
    stores = [Store(database.agent) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda one: take(one, run_id), stores))
    for one in stores:
        one.close()
    won = [answer for answer in answers if answer.answer is RunLease.ACQUIRED]
    assert len(won) == 1
    assert {answer.answer for answer in answers} == {RunLease.ACQUIRED, RunLease.HELD}
    park(store, won[0])
    assert take(store, run_id).answer is RunLease.NOT_DUE


def test_what_is_not_due_yet_says_when(store: Store) -> None:
    """A worker that is woken too early is told how long it is too early."""
    answer = take(store, park(store, driven(store), wake=60))
    assert answer.answer is RunLease.NOT_DUE
    assert 59 * SECOND_MS < (answer.lease_ms_left or 0) <= 60 * SECOND_MS


def test_a_take_whose_answer_was_lost_finds_its_lease(store: Store) -> None:
    """Sent again by the same holder, it is given the same token."""
    run_id = park(store, driven(store), wake=0)
    request = RunTake(run_id=run_id, graphs=["graph"], holder="me", lease_ms=15_000, body=b"{}")
    first, again = store.call(request), store.call(request)
    assert (first.answer, again.answer, again.token) == (RunLease.ACQUIRED, RunLease.ACQUIRED, first.token)


def test_a_graph_that_a_worker_lacks_is_left_to_others(store: Store) -> None:
    """A due run of another graph is shown but not offered, cannot be taken, and stays as it is."""
    run_id = park(store, driven(store, graph="another"), wake=0)
    assert [(run.run_id, run.graph, run.why, run.offered) for run in due(store)] == [
        (run_id, "another", Why.GRAPH, False)
    ]
    assert take(store, run_id).answer is RunLease.UNKNOWN
    row = store.call(FindRun(run_id=run_id))
    assert row is not None
    assert (row.state, row.reason) == (RunState.WAITING, "because")
    assert offered(due(store, graphs=("another",))) == [run_id]


def test_another_tenant_is_offered_and_given_nothing(store: Store, database: Database) -> None:
    """A login of another tenant sees no due run, and cannot take one whose id it knows."""
    run_id = park(store, driven(store), wake=0)
    other = Store(database.second_tenant_agent)
    assert due(other) == ()
    assert due(other, run_id) == ()
    assert take(other, run_id).answer is RunLease.UNKNOWN
    other.close()
    assert offered(due(store)) == [run_id]


@pytest.mark.parametrize("login", ["auditor", "local_approver"])
def test_only_agents_ask(database: Database, login: str) -> None:
    """Neither an auditor nor an approver is offered runs."""
    store = Store(getattr(database, login))
    with pytest.raises(DatabaseRefused):
        due(store)
    store.close()


# --- registered for later ---


def test_a_submitted_run_waits_for_a_worker(store: Store) -> None:
    """It is registered with its input on record, waits, is due at once, and is on record as queued."""
    request = submission()
    assert store.call(request).answer is RunLease.QUEUED
    row = store.call(FindRun(run_id=request.run_id))
    assert row is not None
    assert (row.state, row.reason) == (RunState.WAITING, "queued")
    entries = store.call(RunEntries(run_id=request.run_id, after=0, limit=10))
    assert [orjson.loads(entry.facts)["events"] for entry in entries] == [["run.started"], ["wait.started"]]
    assert entries[0].payload == b"{}"
    assert offered(due(store)) == [request.run_id]
    assert take(store, request.run_id).answer is RunLease.ACQUIRED


def test_a_known_trigger_is_not_submitted_twice(store: Store) -> None:
    """Sent again, or by somebody else, it finds the run as it stands, driven or not, and writes nothing."""
    request = submission()
    store.call(request)
    taken = take(store, request.run_id)
    again = store.call(replace(request, run_id=uuid4()))
    assert (again.answer, again.run_id) == (RunLease.QUEUED, request.run_id)
    assert take(store, request.run_id).answer is RunLease.HELD
    park(store, taken)
    assert len(store.call(RunEntries(run_id=request.run_id, after=0, limit=10))) == 4


def test_eight_submissions_of_one_trigger_are_one_run(store: Store, database: Database) -> None:
    """Delivered eight times at one instant, a trigger gets one run, and all are told which."""
    trigger = f"trigger/{uuid4()}"
    stores = [Store(database.agent) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda one: one.call(submission(trigger=trigger, intent="the same")), stores))
    for one in stores:
        one.close()
    assert {answer.answer for answer in answers} == {RunLease.QUEUED}
    (run_id,) = {answer.run_id for answer in answers}
    assert offered(due(store)) == [run_id]


def test_a_busy_thread_takes_no_submission(store: Store) -> None:
    """A thread with an unfinished run refuses a second one and says which run that is."""
    request = submission(own_thread=False)
    store.call(request)
    refused = store.call(submission(thread=request.thread, own_thread=False))
    assert (refused.answer, refused.other_run) == (RunLease.THREAD_BUSY, request.run_id)


@pytest.mark.parametrize("what", ["intent", "graph"])
def test_a_trigger_with_another_meaning_is_refused(store: Store, what: str) -> None:
    """The same trigger with another intent or graph is no redelivery."""
    request = submission()
    store.call(request)
    changed = {"intent": request.intent, "graph": request.graph, what: "another"}
    assert store.call(submission(trigger=request.trigger, **changed)).answer is RunLease.MISMATCH


# --- told ---


def heard(connection: psycopg.Connection[tuple[object, ...]]) -> list[str]:
    """Return the payloads of what was notified so far."""
    connection.execute("SELECT 1")
    return [notified.payload for notified in connection.notifies(timeout=0.2)]


def test_one_notification_names_all_that_wait(store: Store, database: Database) -> None:
    """After a settle, one statement tells listeners once which runs wait; the settle itself tells nobody."""
    claimed, others = held(store), [driven(store) for _ in range(3)]
    with psycopg.connect(database.agent, autocommit=True) as listening:
        listening.execute("LISTEN control_wake")
        store.call(NotifyWaiters(key=claimed.key))
        assert heard(listening) == []
        for other in others:
            joins(store, other, claimed)
        store.call(settle(claimed))
        assert heard(listening) == []
        store.call(NotifyWaiters(key=claimed.key))
        (payload,) = heard(listening)
    assert {UUID(name) for name in payload.split(",")} == {other.run_id for other in others}


def test_more_than_a_payload_holds_is_told_without_names(store: Store, database: Database) -> None:
    """With more waiting runs than a notification holds, it names none, and workers look for themselves."""
    claimed = held(store)
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO control.waiter SELECT 'default', %s, gen_random_uuid(), '' FROM generate_series(1, 201)",
            (claimed.key,),
        )
    with psycopg.connect(database.agent, autocommit=True) as listening:
        listening.execute("LISTEN control_wake")
        store.call(NotifyWaiters(key=claimed.key))
        assert heard(listening) == [""]


# --- the queue's tables ---


def test_a_tenants_jobs_are_its_own(database: Database) -> None:
    """What one tenant puts on the queue no other tenant's login sees, takes or deletes."""
    with psycopg.connect(database.agent, autocommit=True) as ours:
        ours.execute("SET search_path TO control_queue")
        ours.execute(
            "SELECT procrastinate_defer_jobs_v1(ARRAY[ROW('q', 'advance', 0, NULL, NULL, '{}', NULL)]"
            "::procrastinate_job_to_defer_v1[])"
        )
        with psycopg.connect(database.second_tenant_agent, autocommit=True) as theirs:
            theirs.execute("SET search_path TO control_queue")
            assert theirs.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (0,)
            assert theirs.execute("SELECT id FROM procrastinate_fetch_job_v2(NULL, NULL)").fetchone() == (None,)
            assert theirs.execute("DELETE FROM procrastinate_jobs").rowcount == 0
        assert ours.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (1,)


@pytest.mark.parametrize("login", ["auditor", "local_approver"])
def test_only_agents_come_near_the_queue(database: Database, login: str) -> None:
    """Neither an auditor nor an approver may look at the queue."""
    with psycopg.connect(getattr(database, login)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT 1 FROM control_queue.procrastinate_jobs")


def test_a_new_agent_login_may_use_the_queue(database: Database) -> None:
    """Rights on the queue come with the agent's role, to logins mapped later, too."""
    add_login(database.admin, "test_second_agent", role="agent", create=True)
    with psycopg.connect(database.admin) as connection:
        usable = connection.execute(
            "SELECT has_table_privilege('test_second_agent', 'control_queue.procrastinate_jobs', 'INSERT, DELETE')"
        ).fetchone()
        owned = connection.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'control_queue'"
        ).fetchall()
    assert (usable, owned) == ((True,), [("control_owner",)])
