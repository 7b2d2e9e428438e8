"""When a worker looks again, as a function of what it found."""

from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.audit.asking.wakes import DueRun, Why
from langgraph_control.graphs.sweep import AFTER_LEASE_SECONDS, AHEAD_SECONDS, JITTER, SWEEP_SECONDS, pause_seconds

found = st.builds(
    DueRun,
    run_id=st.just(uuid4()),
    graph=st.just("g"),
    why=st.sampled_from(Why),
    in_ms=st.integers(-10_000, 10_000),
    offered=st.booleans(),
)
jitters = st.floats(-1, 1)


@given(runs=st.lists(found, max_size=5), jitter=jitters)
def test_a_pause_is_never_longer_than_promised(runs: list[DueRun], jitter: float) -> None:
    """Whatever was found, the next sweep comes within two and a half seconds, and never in the past."""
    assert 0 <= pause_seconds(runs, jitter=jitter) <= SWEEP_SECONDS * (1 + JITTER) <= 2.5


@given(in_ms=st.integers(1, int(SWEEP_SECONDS * (1 - JITTER) * 1000)), jitter=jitters)
def test_a_lease_is_looked_at_when_it_ends(in_ms: int, jitter: float) -> None:
    """A lease that ends before the next sweep would be due is looked at just after it ends, not before."""
    ending = DueRun(run_id=uuid4(), graph="g", why=Why.LEASE, in_ms=in_ms, offered=False)
    pause = pause_seconds([ending], jitter=jitter)
    assert pause <= in_ms / 1000 + AFTER_LEASE_SECONDS
    assert pause > in_ms / 1000 or pause >= SWEEP_SECONDS * (1 - JITTER)


def test_nothing_comes_due_between_two_looks() -> None:
    """Each sweep looks further ahead than the next one can be away, so every time is on the queue before it comes."""
    assert SWEEP_SECONDS * (1 + JITTER) < AHEAD_SECONDS
