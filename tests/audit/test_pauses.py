"""Pauses after failures against the bounds of a retry, on the real SQL with the clock of the test's."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langgraph_control.audit.asking.ledger import Answer, Outcome, Reason
from tests.simulation.database import Ledger, SimulationDatabase, simulation_database
from tests.support.ledger_requests import claim, run_open, settle

ROUNDED = timedelta(milliseconds=1)


@pytest.fixture(scope="module")
def timed(postgres_dsn: str) -> Iterator[SimulationDatabase]:
    """A database whose clock the test moves."""
    with simulation_database(postgres_dsn) as simulation:
        yield simulation


seconds = st.floats(0, 90).map(lambda value: round(value, 3))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tries=st.lists(st.tuples(seconds, seconds), min_size=2, max_size=12),
    deadline=st.floats(1, 200),
    give_up=st.floats(1, 200),
)
def test_no_retry_overruns_a_deadline_or_a_pause(
    timed: SimulationDatabase, tries: list[tuple[float, float]], deadline: float, give_up: float
) -> None:
    """No attempt begins in a pause, after the deadline or the time to give up; nobody waits beyond what comes first."""
    ledger, clock = Ledger(timed.database.agent), timed.clock
    ends, gives_up = clock.now + timedelta(seconds=deadline), clock.now + timedelta(seconds=give_up)
    not_before, begun = clock.now, False

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
            give_up_ms=int(give_up * 1000),
        )
        for gap, pause in tries:
            again = replace(first, attempt=uuid4())
            claimed = send(again)
            if claimed.answer is Answer.GO:
                assert not_before - ROUNDED <= clock.now < ends
                assert clock.now < gives_up + ROUNDED or not begun
                failed = settle(again, outcome=Outcome.NOT_DONE)
                send(replace(failed, result=None, pause_ms=int(pause * 1000)))
                not_before, begun = clock.now + timedelta(seconds=pause), True
            elif claimed.reason == Reason.RETRY_LATER:
                waits_until = clock.now + timedelta(milliseconds=claimed.wait_ms)
                assert clock.now < waits_until <= min(not_before, ends, gives_up) + 2 * ROUNDED
            else:
                assert clock.now >= min(ends, gives_up) - ROUNDED
            clock.seconds += gap
    finally:
        ledger.close()
