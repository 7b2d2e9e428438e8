"""What happens next when a saga is taken back: properties of one pure function."""

from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.lifecycle import State
from langgraph_control.guards.sagas import (
    Closed,
    Part,
    SagaOutcome,
    SettleFirst,
    TakeBack,
    half_done,
    next_move,
    standing,
    still_applied,
)

SETTLED = (State.SUCCEEDED, State.FAILED, State.DENIED, State.ABANDONED)


@st.composite
def sagas(draw: st.DrawFn) -> list[Part]:
    """Actions of one saga, in any state and order."""
    states = draw(st.lists(st.tuples(st.sampled_from(State), st.none() | st.sampled_from(State)), max_size=6))
    made = [
        Part(step=number // 2 + 1, key=bytes([number]) * 32, tool=f"tool_{number}", state=state, undo=undo)
        for number, (state, undo) in enumerate(states)
    ]
    return draw(st.permutations(made))


@given(sagas())
def test_what_nobody_knows_is_settled_first(parts: list[Part]) -> None:
    """Nothing is taken back, and nothing closed, while the outcome of any action is open."""
    open_parts = [part for part in parts if part.state not in SETTLED]
    move = next_move(parts)
    assert isinstance(move, SettleFirst) is bool(open_parts)
    if isinstance(move, SettleFirst):
        assert move.part in open_parts


@given(sagas())
def test_the_last_step_is_taken_back_first(parts: list[Part]) -> None:
    """What is taken back is in effect, and no later step is, unless a person left it so."""
    move = next_move(parts)
    if isinstance(move, TakeBack):
        assert move.part in still_applied(parts)
        later = [part for part in still_applied(parts) if part.step > move.part.step]
        assert all(part.undo is State.ABANDONED for part in later)


@given(sagas())
def test_closed_means_that_nothing_is_left_but_what_a_person_left(parts: list[Part]) -> None:
    """A saga is undone if nothing of it is in effect, and partly undone where a person decided or gave up."""
    move = next_move(parts)
    if isinstance(move, Closed):
        applied = still_applied(parts)
        assert all(part.undo is State.ABANDONED for part in applied)
        unclear = any(part.state is State.ABANDONED for part in parts)
        assert (move.outcome is SagaOutcome.UNDONE) is not (bool(applied) or unclear)


@given(sagas(), st.randoms())
def test_the_order_in_which_actions_are_listed_is_nothing(parts: list[Part], chance: object) -> None:
    """The same actions in another order bring the same move."""
    shuffled = list(parts)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert next_move(shuffled) == next_move(parts)


@given(sagas())
def test_each_move_brings_it_nearer_to_its_end(parts: list[Part]) -> None:
    """Settled and taken back one by one, a saga closes after at most two moves an action."""
    known = {part.key: part for part in parts}
    for _ in range(2 * len(parts)):
        move = next_move(known.values())
        match move:
            case Closed():
                break
            case SettleFirst(part=part):
                known[part.key] = Part(step=part.step, key=part.key, tool=part.tool, state=State.SUCCEEDED)
            case TakeBack(part=part):
                known[part.key] = Part(
                    step=part.step, key=part.key, tool=part.tool, state=part.state, undo=State.SUCCEEDED
                )
    assert isinstance(next_move(known.values()), Closed)


def test_what_was_refused_goes_to_people() -> None:
    """An undo that failed or was denied is not tried again by itself; any other is."""
    for undo in (None, *State):
        part = Part(step=1, key=b"k" * 32, tool="t", state=State.SUCCEEDED, undo=undo)
        move = next_move([part])
        if undo in (State.SUCCEEDED, State.ABANDONED):
            assert isinstance(move, Closed)
        else:
            assert isinstance(move, TakeBack)
            assert move.to_people is (undo in (State.FAILED, State.DENIED))


def test_every_standing_has_words() -> None:
    """Whatever the ledger says of an action of a saga, people read where it stands."""
    for state in State:
        for undo in (None, *State):
            assert standing(Part(step=1, key=b"", tool="t", state=state, undo=undo))


@given(sagas(), st.integers(min_value=1, max_value=3))
def test_half_done_is_what_would_stay_so(parts: list[Part], steps: int) -> None:
    """Something is, or may be, in effect and the last step is not; or something was to be taken back."""
    maybe = [part for part in parts if standing(part) not in ("not done", "not begun", "waits for approval")]
    whole = any(part.state is State.SUCCEEDED and part.step >= steps for part in parts)
    undoing = any(part.undo is not None for part in parts)
    assert half_done(parts, steps=steps) is (undoing or (bool(maybe) and not whole))
