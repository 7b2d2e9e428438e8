"""Actions that another run has taken up than the one that first asked: an attempt is whose that makes it."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from langgraph_control.audit.asking.ledger import Answer, Claim, Outcome
from langgraph_control.audit.asking.operator_requests import Scope
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.requests import RunRelease
from langgraph_control.audit.asking.rows import Release, RunAnswer, RunState
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.people.operators import Operators
from langgraph_control.errors import OperationRefused
from tests.support.desk import POLICY
from tests.support.ledger_requests import claim, run_open, settle
from tests.support.postgres import Database


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    """An agent's store on a ledger of its own."""
    publish_policy(database.admin, POLICY)
    made = Store(database.agent)
    yield made
    made.close()


@pytest.fixture
def operators(database: Database) -> Iterator[Operators]:
    """Ana of finance, who owns what the program cannot settle."""
    with Operators(database.approver("ana")) as operators:
        yield operators


def driven(store: Store, actor: str) -> RunAnswer:
    """Return a new run with a driver."""
    return store.call(replace(run_open(), actor=actor))


def of(run: RunAnswer) -> UUID:
    """Return a run's id."""
    assert run.run_id is not None
    return run.run_id


def taken_up(by: RunAnswer, before: Claim) -> Claim:
    """Return another run's claim of the same action."""
    return replace(before, run_id=of(by), token=by.token or 0, attempt=uuid4())


def over(store: Store, run: RunAnswer) -> Release:
    """Give up a run whose graph has ended."""
    request = RunRelease(
        run_id=of(run),
        token=run.token or 0,
        generation=run.generation or 0,
        state=RunState.DONE,
        reason="",
        owner="",
        next_step="",
        wake_ms=None,
        body=b"{}",
    )
    answer = store.call(request)
    while answer.answer is Release.AGAIN:  # it was told what became of its attempt
        answer = store.call(replace(request, generation=answer.generation))
    return answer.answer


def under_way(operators: Operators, scope: Scope, name: str) -> list[tuple[UUID, str]]:
    """Return what a freeze says is under way, and lift it again."""
    seen = operators.freeze(scope, name, comment="stop")
    operators.unfreeze(scope, name, comment="go")
    return [(one.run_id, one.state) for one in seen]


def test_whoever_looks_up_a_lost_attempt_is_at_it(store: Store, operators: Operators) -> None:
    """A run that reads back what another one lost is what is under way, and not the other one."""
    loser, reader = driven(store, "bot1"), driven(store, "bot2")
    lost = claim(of(loser), loser.token or 0, kind="verified")
    assert store.call(lost).answer is Answer.GO
    store.call(settle(lost, outcome=Outcome.LOSE))
    assert store.call(taken_up(reader, lost)).answer is Answer.VERIFY
    assert under_way(operators, Scope.AGENT, "bot2") == [(of(reader), "verifying")]
    assert under_way(operators, Scope.AGENT, "bot1") == []


def test_a_run_that_repeats_a_lost_attempt_is_not_cancelled(store: Store, operators: Operators) -> None:
    """Its attempt is its own, though another run asked first and the arguments are those of that run."""
    loser, other = driven(store, "bot1"), driven(store, "bot2")
    lost = claim(of(loser), loser.token or 0)
    store.call(lost)
    store.call(settle(lost, outcome=Outcome.LOSE))
    again = taken_up(other, lost)
    assert store.call(again).answer is Answer.GO
    assert under_way(operators, Scope.TENANT, "") == [(of(other), "executing")]
    with pytest.raises(OperationRefused) as refused:
        operators.cancel(of(other), comment="enough")
    assert refused.value.code == "unsettled"
    store.call(settle(again))
    operators.cancel(of(other), comment="enough")


def test_what_its_own_run_tries_again_is_its_own(store: Store, operators: Operators) -> None:
    """Taken up by another and found undone, an action that the first run begins again is under way there."""
    first, other = driven(store, "bot1"), driven(store, "bot2")
    asked = claim(of(first), first.token or 0)
    again = taken_up(other, asked)
    last = taken_up(first, asked)
    for attempt in (asked, again):
        assert store.call(attempt).answer is Answer.GO
        store.call(settle(attempt, outcome=Outcome.NOT_DONE))
    assert store.call(last).answer is Answer.GO
    assert under_way(operators, Scope.TENANT, "") == [(of(first), "executing")]


def test_a_graph_that_ended_hands_over_what_it_had_taken_up(store: Store, operators: Operators) -> None:
    """Nobody comes back to the lost attempt of a run that has ended at what a finished run had asked for first."""
    first, other = driven(store, "bot1"), driven(store, "bot2")
    refused = claim(of(first), first.token or 0, kind="verified")
    store.call(refused)
    store.call(settle(refused, outcome=Outcome.FAIL))
    assert over(store, first) is Release.RELEASED
    lost = taken_up(other, refused)
    assert store.call(lost).answer is Answer.GO
    store.call(settle(lost, outcome=Outcome.LOSE))
    assert over(store, other) is Release.UNSETTLED
    assert [action.state for action in operators.stuck(of(other))] == ["needs_human"]


def test_what_another_run_still_waits_for_is_not_handed_over(store: Store, operators: Operators) -> None:
    """A third run that waits for the same lost attempt finds out itself: no person is asked."""
    first, other, third = driven(store, "bot1"), driven(store, "bot2"), driven(store, "bot3")
    refused = claim(of(first), first.token or 0, kind="verified")
    store.call(refused)
    store.call(settle(refused, outcome=Outcome.FAIL))
    assert over(store, first) is Release.RELEASED
    lost = taken_up(other, refused)
    store.call(lost)
    assert store.call(taken_up(third, refused)).answer is Answer.WAIT
    store.call(settle(lost, outcome=Outcome.LOSE))
    assert over(store, other) is Release.UNSETTLED
    assert [action.state for action in operators.stuck(of(other))] == ["unknown"]
