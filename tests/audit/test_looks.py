"""What the ledger says before a decision: equal actions of other requests, changed records, progress."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from langgraph_control.audit.asking.ledger import Claim, Outcome
from langgraph_control.audit.asking.rows import RunAnswer
from langgraph_control.audit.asking.signal_requests import ActionProgress, Look, Looked
from langgraph_control.audit.connecting.store import Store
from langgraph_control.guards.signals import Equal, Prior
from tests.support.ledger_requests import claim, run_open, settle
from tests.support.postgres import Database

TWIN = bytes(range(32))
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def store(shared_database: Database) -> Iterator[Store]:
    """An agent's store."""
    made = Store(shared_database.agent)
    yield made
    made.close()


def opened(store: Store) -> RunAnswer:
    """Open a run of a request of its own."""
    return store.call(run_open())


def look(run: RunAnswer, asked: Claim, *, twin: bytes, seen: bytes | None = None, within_ms: int = HOUR_MS) -> Look:
    """Return the look that goes before a claim."""
    assert run.run_id is not None
    assert run.token is not None
    return Look(run_id=run.run_id, token=run.token, key=asked.key, twin=twin, within_ms=within_ms, seen=seen)


def asked_in(run: RunAnswer) -> Claim:
    """Return a claim of a run."""
    assert run.run_id is not None
    assert run.token is not None
    return claim(run.run_id, run.token)


def test_of_requests_that_ask_at_one_moment_one_goes_on(store: Store) -> None:
    """Eight requests look for equal actions at once: one finds nobody, the others find that one under way."""
    twin = os.urandom(32)
    runs = [opened(store) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda run: store.call(look(run, asked_in(run), twin=twin)).equal, runs))
    assert sorted(found) == sorted([Equal.NONE, *[Equal.UNDER_WAY] * 7])


@pytest.mark.parametrize(
    ("outcome", "found"),
    [
        (Outcome.SUCCEED, Equal.DONE),
        (Outcome.LOSE, Equal.UNDER_WAY),
        (Outcome.NOT_DONE, Equal.UNDER_WAY),
        (Outcome.FAIL, Equal.NONE),
    ],
)
def test_what_counts_is_what_became_of_the_other_one(store: Store, outcome: Outcome, found: Equal) -> None:
    """Done, perhaps done and still to be done count; what has provably failed does not."""
    twin = os.urandom(32)
    first, second = opened(store), opened(store)
    asked = asked_in(first)
    assert store.call(look(first, asked, twin=twin)).equal is Equal.NONE
    store.call(asked)
    store.call(settle(asked, outcome=outcome))
    assert store.call(look(second, asked_in(second), twin=twin)).equal is found


def test_whoever_asked_first_does_not_wait_for_whoever_came_later(store: Store) -> None:
    """The first of two goes on however often it looks; once the later one is done, it counts for the first, too."""
    twin = os.urandom(32)
    first, second = opened(store), opened(store)
    early, late = asked_in(first), asked_in(second)
    assert store.call(look(first, early, twin=twin)).equal is Equal.NONE
    assert store.call(look(second, late, twin=twin)).equal is Equal.UNDER_WAY
    assert store.call(look(first, early, twin=twin)).equal is Equal.NONE
    store.call(late)
    store.call(settle(late))
    assert store.call(look(first, early, twin=twin)).equal is Equal.DONE


def test_what_has_begun_is_looked_at_no_more(store: Store) -> None:
    """Of an action with an attempt nothing is said: what it may have changed itself proves nothing."""
    twin = os.urandom(32)
    first, second = opened(store), opened(store)
    done, begun = asked_in(first), asked_in(second)
    store.call(look(first, done, twin=twin))
    store.call(look(second, begun, twin=twin, seen=bytes(32)))
    store.call(begun)
    store.call(done)
    store.call(settle(done))
    again = replace(look(second, begun, twin=twin, seen=os.urandom(32)))
    assert store.call(again) == Looked(equal=Equal.NONE, changed=False)


def test_the_same_request_is_no_other_one(store: Store, shared_database: Database) -> None:
    """Two runs of one intent are one request: neither stands in the other's way."""
    twin = os.urandom(32)
    opening = run_open()
    other = replace(run_open(), intent=opening.intent)
    for run in (store.call(opening), store.call(other)):
        assert store.call(look(run, asked_in(run), twin=twin)).equal is Equal.NONE


def test_only_the_last_while_counts(store: Store) -> None:
    """An equal action that was asked for longer ago than the policy says does not count."""
    twin = os.urandom(32)
    first, second = opened(store), opened(store)
    asked = asked_in(first)
    store.call(look(first, asked, twin=twin))
    store.call(asked)
    store.call(settle(asked))
    assert store.call(look(second, asked_in(second), twin=twin, within_ms=1)).equal is Equal.NONE


def test_a_change_is_told_once(store: Store) -> None:
    """The record is compared with what this run saw last: a change is told, and then it is what was seen."""
    run, twin = opened(store), os.urandom(32)
    asked = asked_in(run)
    one, other = os.urandom(32), os.urandom(32)
    told = [store.call(look(run, asked, twin=twin, seen=seen)).changed for seen in (one, one, other, other, None, one)]
    assert told == [False, False, True, False, False, False]


def test_a_worker_that_lost_its_run_is_told_nothing(store: Store) -> None:
    """A look with a stale token notes nothing and finds nothing."""
    run, other, twin = opened(store), opened(store), os.urandom(32)
    store.call(look(run, asked_in(run), twin=twin))
    stale = replace(look(other, asked_in(other), twin=twin), token=99)
    assert store.call(stale) == Looked(equal=Equal.NONE, changed=False)


def test_progress_is_that_of_run_and_action(store: Store) -> None:
    """Attempts, outcome and calls are counted as the ledger has them."""
    run = opened(store)
    asked = asked_in(run)
    wanted = ActionProgress(run_id=asked.run_id, key=asked.key)
    assert (store.call(wanted).prior, store.call(wanted).tool_calls) == (Prior.NONE, 0)
    store.call(asked)
    assert (store.call(wanted).prior, store.call(wanted).attempts) == (Prior.UNKNOWN, 1)
    store.call(settle(asked, outcome=Outcome.NOT_DONE))
    assert store.call(wanted).prior is Prior.NOT_DONE
    again = replace(asked, attempt=asked_in(run).attempt)
    store.call(again)
    store.call(settle(again))
    known = store.call(wanted)
    assert (known.prior, known.attempts, known.tool_calls) == (Prior.SUCCEEDED, 2, 2)
