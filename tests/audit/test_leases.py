"""Run leases on a clock of the test's own: over here before they are over in the database, and never alive again."""

import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from uuid import UUID

import psycopg
import pytest

from langgraph_control.audit.asking.requests import FindRun, RunAcquire
from langgraph_control.audit.asking.rows import RunLease
from langgraph_control.audit.connecting.leases import LEASE_MS, RunLeases
from langgraph_control.audit.connecting.store import Store
from langgraph_control.errors import TrailUnavailable
from tests.support.ledger_requests import run_open
from tests.support.postgres import Database
from tests.support.waiting import until

LEASE_SECONDS = LEASE_MS / 1000


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def store(shared_database: Database) -> Iterator[Store]:
    """A store on the agent's login."""
    store = Store(shared_database.agent)
    yield store
    store.close()


@pytest.fixture
def clock() -> Clock:
    """The clock of the leases under test."""
    return Clock()


@pytest.fixture
def leases(store: Store, clock: Clock) -> RunLeases:
    """Leases whose heartbeat, in real time, never comes: the tests call it themselves."""
    return RunLeases(store, clock=clock)


def opened(store: Store, *, lease_ms: int) -> tuple[UUID, int]:
    """Open a run."""
    answer = store.call(run_open(lease_ms=lease_ms))
    assert answer.run_id is not None
    assert answer.token is not None
    return answer.run_id, answer.token


def held(store: Store, leases: RunLeases, *, started: float) -> tuple[UUID, int]:
    """Open a run and note its lease."""
    run_id, token = opened(store, lease_ms=LEASE_MS)
    leases.hold(run_id, token, lease_ms=LEASE_MS, started=started)
    return run_id, token


def lease_until(store: Store, run_id: UUID) -> datetime:
    """Return when the database takes the lease to end."""
    found = store.call(FindRun(run_id=run_id))
    assert found is not None
    assert found.lease_until is not None
    return found.lease_until


def is_later(store: Store, run_id: UUID, than: datetime) -> bool:
    """Return whether a lease was renewed."""
    return lease_until(store, run_id) > than


def test_a_lease_counts_from_before_it_was_asked_for(store: Store, leases: RunLeases, clock: Clock) -> None:
    """A slow answer shortens the lease here, and a margin ends it before the database does."""
    run_id, token = held(store, leases, started=clock.now - 5)
    clock.now += LEASE_SECONDS - 5 - 1.001
    assert (leases.alive(run_id, token), leases.driven(run_id)) == (True, True)
    clock.now += 0.002
    assert (leases.alive(run_id, token), leases.driven(run_id)) == (False, False)


def test_a_run_of_somebody_else_is_not_alive(store: Store, leases: RunLeases, clock: Clock) -> None:
    """A run this process never took has no lease here, and neither has a drive of its own run under another token."""
    stranger = UUID(int=1)
    assert (leases.alive(stranger, 1), leases.driven(stranger)) == (False, False)
    run_id, token = held(store, leases, started=clock.now)
    assert not leases.alive(run_id, token + 1)


def test_a_dropped_run_is_forgotten(store: Store, leases: RunLeases, clock: Clock) -> None:
    """What was released is not alive, whatever its lease said."""
    run_id, token = held(store, leases, started=clock.now)
    leases.drop(run_id, token)
    leases.drop(run_id, token)
    assert (leases.alive(run_id, token), leases.driven(run_id)) == (False, False)


def test_dropping_an_older_lease_keeps_the_newer(leases: RunLeases, clock: Clock) -> None:
    """When this process took a run again, the end of its older drive leaves the newer drive's lease as it is."""
    run_id = UUID(int=2)
    for token in (1, 2):
        leases.hold(run_id, token, lease_ms=LEASE_MS, started=clock.now)
    leases.drop(run_id, 1)
    assert (leases.alive(run_id, 2), leases.driven(run_id)) == (True, True)


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["as given", "noted late"])
def test_a_newer_token_ends_the_older_lease(leases: RunLeases, clock: Clock, order: tuple[int, int]) -> None:
    """That a later token was given proves the earlier lease over, whatever the clock says; it does not come back."""
    run_id = UUID(int=3)
    for token in order:
        leases.hold(run_id, token, lease_ms=LEASE_MS, started=clock.now)
    assert (leases.alive(run_id, 1), leases.alive(run_id, 2)) == (False, True)
    leases.drop(run_id, 2)
    assert (leases.alive(run_id, 1), leases.driven(run_id)) == (False, False)


async def test_a_beat_renews_the_newer_drive_only(store: Store, leases: RunLeases, clock: Clock) -> None:
    """Of two drives of a run, the one that lost it is not asked for again."""
    run_id, token = held(store, leases, started=clock.now)
    leases.hold(run_id, token - 1, lease_ms=LEASE_MS, started=clock.now)
    clock.now += 10
    assert await leases.beat()
    clock.now += 10
    assert (leases.alive(run_id, token - 1), leases.alive(run_id, token)) == (False, True)


async def test_one_beat_renews_every_lease(store: Store, leases: RunLeases, clock: Clock) -> None:
    """A heartbeat lengthens all leases here and in the database."""
    runs = [held(store, leases, started=clock.now) for _ in range(3)]
    before = [lease_until(store, run_id) for run_id, _ in runs]
    clock.now += 10
    assert await leases.beat()
    clock.now += 10
    assert all(leases.alive(run_id, token) for run_id, token in runs)
    assert all(lease_until(store, run_id) > was for (run_id, _), was in zip(runs, before, strict=True))


async def test_a_lease_taken_over_runs_out(
    store: Store, leases: RunLeases, clock: Clock, shared_database: Database
) -> None:
    """A run that another worker took in the meantime is renewed neither here nor there."""
    run_id, token = held(store, leases, started=clock.now)
    with psycopg.connect(shared_database.admin) as connection:
        connection.execute("UPDATE control.run_state SET lease_until = '-infinity' WHERE run_id = %s", (run_id,))
    taken = store.call(RunAcquire(run_id=run_id, holder="another", lease_ms=LEASE_MS, body=b"{}"))
    assert taken.answer is RunLease.ACQUIRED
    assert taken.token == token + 1
    assert not await leases.beat()
    clock.now += LEASE_SECONDS
    assert not leases.alive(run_id, token)


async def test_a_lease_that_is_over_stays_over(store: Store, leases: RunLeases, clock: Clock) -> None:
    """A heartbeat that comes too late does not ask for the run again, and brings nothing back to life."""
    run_id, token = held(store, leases, started=clock.now)
    before = lease_until(store, run_id)
    clock.now += LEASE_SECONDS
    assert await leases.beat()
    assert not leases.alive(run_id, token)
    assert lease_until(store, run_id) == before


async def test_a_busy_run_is_not_waited_for(
    store: Store, leases: RunLeases, clock: Clock, shared_database: Database
) -> None:
    """A heartbeat passes a row that a claim has locked, says so, and gets it the next time."""
    run_id, token = held(store, leases, started=clock.now)
    with psycopg.connect(shared_database.admin) as connection:
        connection.execute("SELECT 1 FROM control.run_state WHERE run_id = %s FOR UPDATE", (run_id,))
        assert not await leases.beat()
        assert leases.alive(run_id, token)
    assert await leases.beat()


async def test_a_server_that_is_gone_ends_the_lease(clock: Clock) -> None:
    """Without an answer there is no renewal: the lease runs out by the clock."""
    store = Store("postgresql://agent@127.0.0.1:1/nothing")
    leases = RunLeases(store, lease_ms=300, clock=clock)
    run_id, token = UUID(int=7), 1
    leases.hold(run_id, token, lease_ms=300, started=clock.now)
    with pytest.raises(TrailUnavailable):
        await leases.beat()
    clock.now += 0.3
    assert not leases.alive(run_id, token)
    store.close()


def test_the_heartbeat_beats_by_itself_and_ends_with_the_last_run(store: Store) -> None:
    """A held run is renewed in the background until it is dropped; the next one starts the heartbeat again."""
    leases = RunLeases(store, lease_ms=150)
    for run_id, token in [opened(store, lease_ms=150), opened(store, lease_ms=150)]:
        leases.hold(run_id, token, lease_ms=LEASE_MS, started=time.monotonic())
        first = lease_until(store, run_id)
        until(partial(is_later, store, run_id, first))
        leases.drop(run_id, token)
        until(lambda: not leases._beating)
