"""The life of an action: what the table allows, and above all what it does not."""

from itertools import product

import pytest

from langgraph_control.guards.lifecycle import BY_PEOPLE, STEPS, Event, Kind, State, step


def reachable(start: State, kind: Kind, *, people: bool = False) -> set[State]:
    """Return the states that some sequence of events leads to, the start included; people's events only if asked."""
    events = [event for event in Event if people or event not in BY_PEOPLE]
    seen, open_states = {start}, [start]
    while open_states:
        state = open_states.pop()
        following = {step(state, event, kind) for event in events} - seen - {None}
        new = {after for after in following if after is not None}
        seen |= new
        open_states += new
    return seen


UNREACHABLE = {
    Kind.TRANSACTION: {State.UNKNOWN, State.VERIFYING},
    Kind.KEYED: {State.VERIFYING},
    Kind.VERIFIED: set(),
    Kind.BLIND: {State.UNKNOWN, State.VERIFYING},
}


@pytest.mark.parametrize("kind", Kind)
def test_every_state_is_reachable_where_it_means_something(kind: Kind) -> None:
    """From ready every state can be reached, except that only a verified effect is read back and a blind one is not."""
    assert set(State) - reachable(State.READY, kind, people=True) == UNREACHABLE[kind]


def test_every_event_and_every_state_has_a_step() -> None:
    """No word of the table is dead: each event moves some action, and each state is entered and left by some event."""
    assert {event for _, event, _ in STEPS} == set(Event)
    assert {state for state, _, _ in STEPS} == set(State)
    assert set(STEPS.values()) == set(State)


def test_only_a_start_begins_an_attempt() -> None:
    """Executing is entered by `start` and by nothing else."""
    assert {event for (_, event, _), after in STEPS.items() if after is State.EXECUTING} == {Event.START}


@pytest.mark.parametrize("kind", Kind)
def test_unknown_is_repeated_only_under_the_same_key(kind: Kind) -> None:
    """What may have happened goes straight to another attempt only where the provider honours the key."""
    assert step(State.UNKNOWN, Event.START, kind) == (State.EXECUTING if kind is Kind.KEYED else None)


def test_a_verified_effect_is_tried_again_only_after_absence() -> None:
    """From unknown a verified effect gets back to ready by one event: it was read as absent."""
    doubtful = product((State.UNKNOWN, State.VERIFYING), Event)
    back = [(state, event) for state, event in doubtful if step(state, event, Kind.VERIFIED) is State.READY]
    assert back == [(State.VERIFYING, Event.ABSENT)]


def test_a_blind_effect_is_never_repeated() -> None:
    """After a blind attempt whose outcome is unknown no event that a program may cause leads to another attempt."""
    lost = step(State.EXECUTING, Event.LOSE, Kind.BLIND)
    assert lost is State.NEEDS_HUMAN
    assert reachable(lost, Kind.BLIND) == {State.NEEDS_HUMAN}


def test_a_transaction_is_never_unknown() -> None:
    """An open transaction of a dead worker cannot commit, so its loss means that nothing was done."""
    assert step(State.EXECUTING, Event.LOSE, Kind.TRANSACTION) is State.READY


@pytest.mark.parametrize(("event", "kind"), list(product(Event, Kind)))
def test_success_is_final_unless_contradicted(event: Event, kind: Kind) -> None:
    """A succeeded action leaves its state by one event only: a source that says otherwise, and then for a person."""
    expected = State.NEEDS_HUMAN if event is Event.CONTRADICT else None
    assert step(State.SUCCEEDED, event, kind) is expected


@pytest.mark.parametrize("kind", Kind)
def test_the_program_never_leaves_what_only_a_person_can_settle(kind: Kind) -> None:
    """No event that the program knows leads out of needs_human."""
    assert reachable(State.NEEDS_HUMAN, kind) == {State.NEEDS_HUMAN}


def test_success_comes_from_an_attempt_or_from_reading_back() -> None:
    """Three steps lead to succeeded: the attempt had its effect, a reader found it, or a person says so."""
    into = {(state, event) for (state, event, _), after in STEPS.items() if after is State.SUCCEEDED}
    assert into == {
        (State.EXECUTING, Event.SUCCEED),
        (State.VERIFYING, Event.FOUND),
        (State.NEEDS_HUMAN, Event.PERSON_DONE),
    }


@pytest.mark.parametrize("kind", Kind)
def test_people_settle_only_what_was_left_to_them(kind: Kind) -> None:
    """A person's word counts where the program has given up, and nowhere else."""
    assert {state for state in State for event in BY_PEOPLE if step(state, event, kind)} == {State.NEEDS_HUMAN}
    assert reachable(State.ABANDONED, kind) == {State.ABANDONED, State.NEEDS_HUMAN}


@pytest.mark.parametrize("kind", Kind)
def test_an_attempt_can_end_in_every_way(kind: Kind) -> None:
    """Whatever came of an attempt, the table has a step for it: no outcome can fail to be recorded."""
    for outcome in (Event.SUCCEED, Event.NOT_DONE, Event.FAIL, Event.LOSE, Event.CONTRADICT):
        assert step(State.EXECUTING, outcome, kind) is not None


@pytest.mark.parametrize("kind", Kind)
def test_asking_and_denying_need_an_action_without_doubt(kind: Kind) -> None:
    """People are asked, and the policy denies, only where no attempt may have had its effect."""
    undoubted = {State.READY, State.NEEDS_APPROVAL, State.FAILED, State.DENIED}
    for event in (Event.ASK, Event.DENY):
        assert {state for state in State if step(state, event, kind)} == undoubted


def test_a_grant_only_opens_what_waits_for_one() -> None:
    """A grant moves an action that waits for it back to ready, and nothing else; the claim still has to be made."""
    assert {(state, after) for (state, event, _), after in STEPS.items() if event is Event.GRANT} == {
        (State.NEEDS_APPROVAL, State.READY)
    }


def test_what_the_table_lacks_is_no_step() -> None:
    """A combination without an entry gives None, and the table itself cannot be changed."""
    assert step(State.SUCCEEDED, Event.START, Kind.KEYED) is None
    with pytest.raises(TypeError):
        STEPS[State.SUCCEEDED, Event.START, Kind.KEYED] = State.EXECUTING  # type: ignore[index]
