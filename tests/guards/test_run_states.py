"""From what a run's calls wait for to the one state an operator acts on."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.audit.ledger import Reason
from langgraph_control.guards.routing import Verb
from langgraph_control.guards.run_states import RunState, parked_state

REASONS = sorted({*Reason, *Verb, "something of a later release"})


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("needs_human", RunState.NEEDS_HUMAN),
        ("escalate", RunState.NEEDS_HUMAN),
        ("deadline_passed", RunState.NEEDS_HUMAN),
        ("needs_approval", RunState.NEEDS_APPROVAL),
        ("retry_later", RunState.RETRYING),
        ("record_unreadable", RunState.RETRYING),
        ("outcome_unknown", RunState.RETRYING),
        ("held", RunState.WAITING),
        ("ask", RunState.WAITING),
        ("something of a later release", RunState.WAITING),
    ],
)
def test_each_reason_has_its_state(reason: str, state: RunState) -> None:
    """A run that waits for one thing stands where that thing puts it, and shows it as the reason."""
    assert parked_state([reason]) == (state, reason)


def test_without_a_reason_only_the_users_question_is_open() -> None:
    """A parked run none of whose governed calls waits for anything waits for an answer."""
    assert parked_state([]) == (RunState.WAITING, "question")


def test_the_state_that_most_needs_a_person_wins() -> None:
    """A person who must find out comes before people who must vote, before what goes on by itself."""
    by_urgency = ["needs_human", "needs_approval", "retry_later", "held"]
    for place, reason in enumerate(by_urgency):
        assert parked_state(by_urgency[place:])[1] == reason


@given(st.lists(st.sampled_from(REASONS), max_size=4))
def test_the_order_of_calls_does_not_count(reasons: list[str]) -> None:
    """Which of several parked calls is looked at first changes neither state nor reason."""
    assert len({parked_state(order) for order in permutations(reasons)}) == 1


@given(st.lists(st.sampled_from(REASONS), min_size=1, max_size=4))
def test_the_reason_explains_the_state(reasons: list[str]) -> None:
    """The reason that is shown is one of the run's own, and alone it would give the same state."""
    state, reason = parked_state(reasons)
    assert reason in reasons
    assert parked_state([reason]) == (state, reason)


@given(st.lists(st.sampled_from(REASONS), max_size=4))
def test_a_parked_run_is_neither_running_nor_over(reasons: list[str]) -> None:
    """Parking never makes a run look done or driven."""
    assert parked_state(reasons)[0] not in {RunState.RUNNING, RunState.DONE}
