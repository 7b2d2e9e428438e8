"""From what a run waits for to the one state an operator acts on, its owner and the next step."""

import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.audit.asking.ledger import Reason
from langgraph_control.guards.routing import Verb
from langgraph_control.guards.run_reasons import REASONS, Acts, RunReason, explained
from langgraph_control.guards.run_states import (
    ANY_ROLE,
    OWNER_CHARS_MAX,
    WORKERS,
    About,
    RunState,
    Wait,
    next_step,
    standing,
    stopped,
)

RUN = f"run_{'0' * 32}"
ABOUT = About(run=RUN, requester="dora@acme.example", owner="support")
APPROVAL = f"apr_{'0' * 32}"

# The answers after which a call ends, goes, or is somebody else's: nobody ever waits for one of these.
NEVER_WAITED_FOR = {
    Reason.KEY_CONFLICT,
    Reason.REJECTED,
    Reason.APPROVAL_EXPIRED,
    Reason.TOO_MANY_REQUESTS,
    Reason.ATTEMPTS_USED_UP,
    Reason.ATTEMPT_SETTLED,
    Reason.DEDUPLICATE,
    Reason.DENY,
    Reason.DRY_RUN,
    Reason.ABANDONED,
    Reason.PROBE,
    Reason.RUN_TAKEN_OVER,
    Reason.SUCCEEDED,
    Reason.FAILED,
    Reason.UNDONE,
    Reason.READY_AGAIN,
    Verb.ALLOW,
    Verb.APPROVE,  # the ledger calls it needs_approval
}
COMMANDS = r"((langgraph-control |control\.)[^;|&$<>`\\\x00-\x1f]*(; (or )?langgraph-control [^;|&$<>`\\\x00-\x1f]*)*)?"

words = st.sampled_from(sorted({*Reason, *Verb, *RunReason, "the graph raised X", "something of a later release"}))
waits = st.lists(
    st.builds(
        Wait,
        reason=words,
        owner=st.sampled_from(["", "finance", "fraud", "finance, support"]),
        approval=st.sampled_from(["", APPROVAL, f"apr_{'1' * 32}"]),
    ),
    max_size=4,
)
questions = st.frozensets(st.text("0123456789abcdef", min_size=32, max_size=32), max_size=8)
abouts = st.builds(About, run=st.just(RUN), requester=st.text(max_size=700), owner=st.sampled_from(["", "support"]))


@pytest.mark.parametrize("word", sorted({*Reason, *Verb}))
def test_every_word_a_call_can_wait_for_is_explained(word: str) -> None:
    """Each answer of the ledger either ends a call, or says where its run stands, who acts and what to do."""
    assert (word in REASONS) is (word not in NEVER_WAITED_FOR)


@pytest.mark.parametrize("word", RunReason)
def test_every_word_of_a_run_is_explained(word: RunReason) -> None:
    """Each reason that a drive, a worker or a person gives is explained, also with a name after it."""
    assert explained(f"{word}x" if word.endswith(" ") else word) is REASONS[word]


@pytest.mark.parametrize("word", REASONS)
def test_each_reason_says_what_happened_what_is_safe_and_what_to_do(word: str) -> None:
    """One sentence in three parts, and a next step unless there is nothing to do."""
    meant = REASONS[word]
    assert re.fullmatch(r"[A-Z][^.;]*; [^.;]*; [^.]*\.", meant.says)
    assert (meant.step == "") is (meant.state is RunState.DONE)
    assert re.fullmatch(COMMANDS, meant.step.format(run=RUN))


@pytest.mark.parametrize(
    ("reason", "state", "owner"),
    [
        ("needs_human", RunState.NEEDS_HUMAN, "finance"),
        ("escalate", RunState.NEEDS_HUMAN, "finance"),
        ("deadline_passed", RunState.NEEDS_HUMAN, "finance"),
        ("looping", RunState.NEEDS_HUMAN, "finance"),
        ("frozen", RunState.BLOCKED, "finance"),
        ("needs_approval", RunState.NEEDS_APPROVAL, "finance"),
        ("retry_later", RunState.RETRYING, WORKERS),
        ("record_unreadable", RunState.RETRYING, WORKERS),
        ("outcome_unknown", RunState.RETRYING, WORKERS),
        ("held", RunState.WAITING, WORKERS),
        ("ask", RunState.WAITING, "dora@acme.example"),
        ("something of a later release", RunState.WAITING, WORKERS),
    ],
)
def test_each_reason_has_its_state_and_owner(reason: str, state: RunState, owner: str) -> None:
    """A run that waits for one thing stands where that thing puts it, and whoever can end the wait owns it."""
    stands = standing([Wait(reason=reason, owner="finance")], (), ABOUT)
    assert (stands.state, stands.reason, stands.owner) == (state, reason, owner)


def test_without_a_reason_only_the_users_question_is_open() -> None:
    """A parked run none of whose governed calls waits for anything waits for the requester's answer."""
    stands = standing([], ["abc"], ABOUT)
    assert (stands.state, stands.reason, stands.owner) == (RunState.WAITING, "question", "dora@acme.example")
    assert stands.next_step == f'control.resume("{RUN}", answers={{"abc": …}})'


def test_the_state_that_most_needs_a_person_wins() -> None:
    """A person who must find out comes before a freeze, people who must vote, and what goes on by itself."""
    by_urgency = ["needs_human", "frozen", "needs_approval", "retry_later", "held"]
    for place, reason in enumerate(by_urgency):
        assert standing([Wait(reason=one) for one in by_urgency[place:]], (), ABOUT).reason == reason


def test_without_a_named_role_the_policys_owner_has_it_and_then_any_role() -> None:
    """Nothing that needs a person is nobody's."""
    assert standing([Wait(reason="needs_human")], (), ABOUT).owner == "support"
    assert standing([Wait(reason="needs_human")], (), About(run=RUN)).owner == ANY_ROLE
    assert stopped(f"{RunReason.RAISED}KeyError", ABOUT).owner == "support"


def test_requests_are_named_one_by_one_while_they_are_few() -> None:
    """Up to five requests are commands to type; more are the inbox."""
    few = [f"apr_{number:032x}" for number in range(2)]
    assert next_step("needs_approval", RUN, approvals=few) == (
        f"langgraph-control approve {few[0]}; langgraph-control approve {few[1]}"
    )
    many = [f"apr_{number:032x}" for number in range(6)]
    assert next_step("needs_approval", RUN, approvals=many) == "langgraph-control inbox"


def test_an_undecided_write_that_needs_a_person_is_to_be_settled() -> None:
    """A graph that ended while nobody knows about a write leaves it to a person, and says how it is settled."""
    reason = f"{RunReason.UNDECIDED}refund is undecided"
    stands = stopped(reason, ABOUT, state=RunState.NEEDS_HUMAN)
    assert (stands.state, stands.owner) == (RunState.NEEDS_HUMAN, "support")
    assert stands.next_step == f"langgraph-control show {RUN}, then langgraph-control resolve {RUN}"
    assert stopped(reason, ABOUT).state is RunState.BLOCKED


@given(waits, questions, abouts)
def test_the_order_of_calls_does_not_count(given_waits: list[Wait], asked: frozenset[str], about: About) -> None:
    """Which of several parked calls is looked at first changes nothing of where the run stands."""
    assert len({standing(order, sorted(asked), about) for order in permutations(given_waits)}) == 1
    assert standing(given_waits, sorted(asked, reverse=True), about) == standing(given_waits, sorted(asked), about)


@given(st.lists(st.builds(Wait, reason=words), min_size=1, max_size=4), abouts)
def test_the_reason_explains_the_state(given_waits: list[Wait], about: About) -> None:
    """The reason that is shown is one of the run's own, and alone it would give the same state."""
    stands = standing(given_waits, (), about)
    assert stands.reason in {wait.reason for wait in given_waits} | {RunReason.QUESTION}
    assert explained(stands.reason).state in {stands.state, RunState.DONE}


@given(waits, questions, abouts)
def test_whatever_it_waits_for_a_parked_run_can_be_acted_on(
    given_waits: list[Wait], asked: frozenset[str], about: About
) -> None:
    """It is neither running nor over, somebody owns it, and the next step is a command of ours or a call."""
    stands = standing(given_waits, asked, about)
    assert stands.state not in {RunState.RUNNING, RunState.DONE}
    assert 0 < len(stands.owner) <= OWNER_CHARS_MAX
    assert stands.next_step
    assert re.fullmatch(COMMANDS, stands.next_step)


@given(st.sampled_from(RunReason), abouts)
def test_whatever_stopped_it_a_run_can_be_acted_on(reason: RunReason, about: About) -> None:
    """The same holds for a run that was stopped by something else than its calls."""
    stands = stopped(f"{reason}X" if reason.endswith(" ") else reason, about)
    assert stands.owner
    assert (stands.next_step == "") is (stands.state is RunState.DONE)
    assert explained(stands.reason).acts in Acts
