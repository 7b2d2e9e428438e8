"""Pauses after failures against the bounds of a retry, on the real SQL with the clock of the test's."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from langgraph_control.audit.asking.ledger import Answer, Outcome, Reason
from langgraph_control.audit.asking.rows import Release, RunState
from tests.simulation.database import Ledger, SimulationDatabase, simulation_database
from tests.support.ledger_requests import claim, run_acquire, run_open, run_release, settle

ROUNDED = timedelta(milliseconds=1)
PARKED_ROUNDED = 12 * ROUNDED  # each time that a run was parked counts in whole milliseconds


@pytest.fixture(scope="module")
def timed(postgres_dsn: str) -> Iterator[SimulationDatabase]:
    """A database whose clock the test moves."""
    with simulation_database(postgres_dsn) as simulation:
        yield simulation


seconds = st.integers(0, 90_000).map(lambda milliseconds: milliseconds / 1000)
spans = st.integers(1, 200) | st.just(10_000)  # one that is over within the test, or one that never is


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tries=st.lists(st.tuples(st.just(0.0) | seconds, seconds, st.booleans()), min_size=2, max_size=12),
    deadline=spans,
    give_up=spans,
    retry_time=spans,
)
@example(tries=[(0.0, 80.0, False), (80.0, 1.0, True), (0.0, 0.0, False)], deadline=99, give_up=99, retry_time=20)
@example(tries=[(0.0, 80.0, False), (80.0, 1.0, True), (0.0, 0.0, False)], deadline=20, give_up=99, retry_time=99)
@example(tries=[(0.0, 80.0, False), (80.0, 1.0, True), (0.0, 0.0, False)], deadline=99, give_up=20, retry_time=99)
def test_no_retry_overruns_a_deadline_or_a_pause(
    timed: SimulationDatabase,
    tries: list[tuple[float, float, bool]],
    deadline: int,
    give_up: int,
    retry_time: int,
) -> None:
    """No attempt begins in a pause, after the deadline, the time to give up or the run's time for retries.

    And nobody waits beyond what comes first, whether the run is parked meanwhile or not.
    """
    ledger, clock = Ledger(timed.database.agent), timed.clock
    ends, gives_up = clock.now + timedelta(seconds=deadline), clock.now + timedelta(seconds=give_up)
    not_before, begun, parked_seconds = clock.now, False, 0.0

    def send(request: Any) -> Any:
        clock.write()
        return ledger.send(request)

    try:
        opened = send(replace(run_open(), deadline=ends))
        first = replace(
            claim(opened.run_id, opened.token),
            tool="keyed",  # the policy in force allows it
            attempts_max=1000,
            same_max=1000,
            give_up_ms=give_up * 1000,
            retry_ms_max=retry_time * 1000,
        )
        for gap, pause, parks in tries:
            again = replace(first, attempt=uuid4(), token=opened.token)
            claimed = send(again)
            runs_out = clock.now + timedelta(seconds=retry_time - parked_seconds)
            if claimed.answer is Answer.GO:
                assert not_before - ROUNDED <= clock.now < min(ends, runs_out + PARKED_ROUNDED)
                assert clock.now < gives_up + ROUNDED or not begun
                failed = settle(again, outcome=Outcome.NOT_DONE)
                send(replace(failed, result=None, pause_ms=int(pause * 1000)))
                not_before, begun = clock.now + timedelta(seconds=pause), True
            elif claimed.reason == Reason.RETRY_LATER:
                waits_until = clock.now + timedelta(milliseconds=claimed.wait_ms)
                assert (
                    clock.now < waits_until <= min(not_before, ends, gives_up, runs_out + PARKED_ROUNDED) + 2 * ROUNDED
                )
                if parks:
                    release = run_release(opened, RunState.RETRYING, wake_ms=claimed.wait_ms)
                    assert send(release).answer is Release.RELEASED
                    clock.seconds += gap
                    parked_seconds += gap
                    opened = send(run_acquire(opened.run_id))
                    continue
            else:
                assert clock.now >= min(ends, gives_up, runs_out) - PARKED_ROUNDED
            clock.seconds += gap
    finally:
        ledger.close()
