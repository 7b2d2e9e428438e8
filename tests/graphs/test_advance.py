"""Driving one run, played by hand: what is asked for, and where the run stands after each answer."""

from collections.abc import Generator, Mapping
from typing import Any
from uuid import UUID

import orjson
import pytest

from langgraph_control.audit.asking.requests import RunRelease
from langgraph_control.audit.asking.rows import Release, Released
from langgraph_control.errors import DatabaseRefused, TrailUnavailable
from langgraph_control.graphs.advance import Drive, Driven, Ended, Lease, LookAtThread, Thread, advance
from langgraph_control.guards.run_states import RunState

LEASE = Lease(run_id=UUID(int=1), token=7, generation=3, base="c0")
BEFORE = Thread(checkpoint="c0", pending=False)
OVER = Thread(checkpoint="c9", pending=False)
LEFT = Thread(checkpoint="c1", pending=True)
GIVEN_UP = Released(answer=Release.RELEASED, generation=3, entries=9, unsettled=(), needs_human=False)
STALE = Released(answer=Release.STALE, generation=3, entries=9, unsettled=(), needs_human=False)


def again(generation: int) -> Released:
    """Return the answer to a release before which something happened."""
    return Released(answer=Release.AGAIN, generation=generation, entries=9, unsettled=(), needs_human=False)


def unsettled(*tools: str, needs_human: bool = False) -> Released:
    """Return the answer to a release over open actions."""
    return Released(answer=Release.UNSETTLED, generation=3, entries=9, unsettled=tools, needs_human=needs_human)


def parked(questions: frozenset[str] = frozenset(), **waits: tuple[str, int]) -> Thread:
    """Return a thread on which calls wait: interrupt id → (reason, milliseconds until it looks again)."""
    cards = {
        name: {"control": f"key-{name}", "reason": reason, "wake_ms": wake_ms}
        for name, (reason, wake_ms) in waits.items()
    }
    return Thread(checkpoint="c1", pending=True, parked=cards, questions=questions)


def play(
    *told: Any, answers: Mapping[str, Any] | None = None, lease: Lease = LEASE, unattended: bool = False
) -> tuple[list[Any], Ended]:
    """Answer request after request; return all requests and what the generator ended with."""
    steps: Generator[Any, Any, Ended] = advance(lease, answers or {}, unattended=unattended)
    asked = [next(steps)]
    for answer in told:
        try:
            asked.append(steps.send(answer))
        except StopIteration as end:
            assert len(asked) == len(told), "not every answer was needed"
            ended: Ended = end.value
            return asked, ended
    raise AssertionError(f"it still asks: {asked[-1]}")


def drives(asked: list[Any]) -> list[Drive]:
    """Return the requests to run the graph."""
    return [one for one in asked if isinstance(one, Drive)]


def releases(asked: list[Any]) -> list[RunRelease]:
    """Return the requests to give the lease up."""
    return [one for one in asked if isinstance(one, RunRelease)]


def test_a_new_run_is_started_and_ends() -> None:
    """With nothing on the thread since the run began, the graph gets its input; with nothing left, the run is done."""
    asked, ended = play(BEFORE, Driven(), OVER, GIVEN_UP)
    assert asked[:3] == [LookAtThread(resuming=True), Drive(how="start"), LookAtThread()]
    assert ended == Ended(state=RunState.DONE, reason="")


def test_the_lease_is_given_up_with_what_was_taken() -> None:
    """The release names run, token and the wake-ups seen so far, and its body says what its columns say."""
    asked, _ = play(BEFORE, Driven(), OVER, GIVEN_UP)
    (release,) = releases(asked)
    assert (release.run_id, release.token, release.generation) == (LEASE.run_id, 7, 3)
    assert (release.state, release.wake_ms) == (RunState.DONE, None)
    assert orjson.loads(release.body) == {"state": "done", "reason": ""}


def test_a_run_that_is_over_is_not_driven_again() -> None:
    """A worker died between the graph's last checkpoint and the release: the next one only gives the lease up."""
    asked, ended = play(OVER, GIVEN_UP)
    assert drives(asked) == []
    assert ended.state is RunState.DONE


def test_a_crash_is_gone_on_from() -> None:
    """With tasks left and nobody waiting, the graph goes on without any input."""
    asked, _ = play(LEFT, Driven(), OVER, GIVEN_UP)
    assert drives(asked) == [Drive(how="go_on")]


def test_all_our_interrupts_are_woken_by_id() -> None:
    """Each parked call is answered with its own key, which says nothing of the decision."""
    asked, _ = play(parked(a=("needs_approval", 0), b=("held", 10)), Driven(), OVER, GIVEN_UP)
    assert drives(asked) == [Drive(how="answer", answers={"a": {"control": "key-a"}, "b": {"control": "key-b"}})]


def test_the_users_own_questions_get_the_callers_answers() -> None:
    """Answers go to the user's questions by id; one for a parked call, or for no question at all, is ignored."""
    thread = parked(frozenset({"q"}), a=("needs_approval", 0))
    asked, _ = play(
        thread, Driven(), OVER, GIVEN_UP, answers={"q": "blue", "a": {"approved": True}, "elsewhere": "red"}
    )
    assert drives(asked) == [Drive(how="answer", answers={"q": "blue", "a": {"control": "key-a"}}, questions=True)]


def test_an_unanswered_question_is_waited_for() -> None:
    """With only the user's question open and no answer given, nothing is driven and the run waits."""
    thread = Thread(checkpoint="c1", pending=True, questions=frozenset({"q"}))
    asked, ended = play(thread, GIVEN_UP)
    assert drives(asked) == []
    assert ended == Ended(state=RunState.WAITING, reason="question")


def test_a_parked_run_says_what_it_waits_for_and_until_when() -> None:
    """The most urgent reason names the state; the earliest wake says when the run may go on by itself."""
    waits = parked(a=("outcome_unknown", 9_000), b=("retry_later", 4_000), c=("held", 0))
    asked, ended = play(BEFORE, Driven(), waits, GIVEN_UP)
    assert (ended.state, ended.wake_ms) == (RunState.RETRYING, 4_000)
    assert releases(asked)[0].wake_ms == 4_000


def test_a_decision_that_came_meanwhile_is_driven_on() -> None:
    """Told `again`, it looks afresh, wakes what is parked and gives up with the generation it was told."""
    waits = parked(a=("needs_approval", 0))
    asked, ended = play(BEFORE, Driven(), waits, again(4), waits, Driven(), OVER, GIVEN_UP)
    assert [one.how for one in drives(asked)] == ["start", "answer"]
    assert [one.generation for one in releases(asked)] == [3, 4]
    assert ended.state is RunState.DONE


def test_an_answer_is_given_once() -> None:
    """Driven again, a question under a known id does not get the caller's answer a second time."""
    asks = Thread(checkpoint="c1", pending=True, questions=frozenset({"q"}))
    asked, ended = play(asks, Driven(), asks, again(4), asks, GIVEN_UP, answers={"q": "blue"})
    assert len(drives(asked)) == 1
    assert ended.state is RunState.WAITING


@pytest.mark.parametrize(("needs_human", "state"), [(False, RunState.BLOCKED), (True, RunState.NEEDS_HUMAN)])
def test_a_graph_that_ended_over_an_open_action_is_not_done(*, needs_human: bool, state: RunState) -> None:
    """A graph that swallowed our parking has ended and its run has not: blocked, or for a person, naming the tools."""
    asked, ended = play(BEFORE, Driven(), OVER, unsettled("refund", "mail", needs_human=needs_human), GIVEN_UP)
    assert [one.state for one in releases(asked)] == [RunState.DONE, state]
    assert (ended.state, ended.reason) == (state, "the graph ended while refund, mail is undecided")


def test_a_stale_worker_leaves_without_a_word() -> None:
    """With the token gone nothing is claimed about the run: another worker drives it."""
    _, ended = play(BEFORE, Driven(), OVER, STALE)
    assert ended.state is RunState.RUNNING


def test_a_worker_that_lost_its_run_gives_nothing_up() -> None:
    """Fenced off in mid-drive, it neither looks at the thread nor releases what is another's lease."""
    asked, ended = play(BEFORE, Driven(lost=True))
    assert releases(asked) == []
    assert ended.state is RunState.RUNNING


def test_a_closed_stream_leaves_a_run_that_waits() -> None:
    """Whoever stops reading gives the lease back, and nothing is driven for them any more, whatever lands meanwhile."""
    asked, ended = play(BEFORE, Driven(closed=True), LEFT, again(4), LEFT, GIVEN_UP)
    assert len(drives(asked)) == 1
    assert [one.generation for one in releases(asked)] == [3, 4]
    assert (ended.state, ended.reason) == (RunState.WAITING, "stream closed")


def test_a_graphs_error_blocks_the_run_and_reaches_the_caller() -> None:
    """The run keeps the error's type and not its text; the caller gets the error itself."""
    error = ValueError("card 4111 1111")
    asked, ended = play(BEFORE, Driven(error=error), LEFT, GIVEN_UP)
    assert ended == Ended(state=RunState.BLOCKED, reason="the graph raised ValueError", error=error)
    assert b"4111" not in releases(asked)[0].body


def test_an_error_does_not_hide_a_decision() -> None:
    """A sibling failed while a decision landed: the run is driven once more, and only that drive's end counts."""
    waits = parked(a=("needs_approval", 0))
    asked, ended = play(BEFORE, Driven(error=ValueError()), waits, again(4), waits, Driven(), OVER, GIVEN_UP)
    assert [one.how for one in drives(asked)] == ["start", "answer"]
    assert ended == Ended(state=RunState.DONE, reason="")


def test_what_a_worker_breaks_off_is_due_at_once() -> None:
    """No caller will come back for it, so another worker is to go on with it now."""
    asked, ended = play(BEFORE, Driven(closed=True), LEFT, GIVEN_UP, unattended=True)
    assert [one.wake_ms for one in releases(asked)] == [0]
    assert (ended.state, ended.reason, ended.wake_ms) == (RunState.WAITING, "worker stopped", 0)


@pytest.mark.parametrize("left", [LEFT, BEFORE])
def test_a_run_that_was_asked_to_stop_is_due_at_once(left: Thread) -> None:
    """Drained between two steps, or before the first, a run goes on wherever there is a worker."""
    _, ended = play(BEFORE, Driven(drained=True), left, GIVEN_UP)
    assert (ended.state, ended.reason, ended.wake_ms) == (RunState.WAITING, "drained", 0)


@pytest.mark.parametrize(
    "left", [parked(a=("needs_approval", 0)), OVER, Thread(checkpoint="c1", pending=True, questions=frozenset("q"))]
)
def test_a_drain_hides_nothing(left: Thread) -> None:
    """A drained run that came to its end, to a decision or to a question all the same stands there."""
    _, drained = play(BEFORE, Driven(drained=True), left, GIVEN_UP)
    _, ended = play(BEFORE, Driven(), left, GIVEN_UP)
    assert drained == ended


def test_a_ledger_that_cannot_be_reached_blocks_nothing() -> None:
    """A drive that ended for want of the ledger goes on by itself; one whose login is refused waits for a person."""
    lost = TrailUnavailable("gone")
    _, ended = play(BEFORE, Driven(error=lost), LEFT, GIVEN_UP)
    assert (ended.state, ended.error, ended.wake_ms) == (RunState.RETRYING, lost, 5_000)
    _, refused = play(BEFORE, Driven(error=DatabaseRefused("no")), LEFT, GIVEN_UP)
    assert (refused.state, refused.wake_ms) == (RunState.BLOCKED, None)


@pytest.mark.parametrize("left", [LEFT, BEFORE])
def test_a_drive_that_ended_early_is_not_done(left: Thread) -> None:
    """A drive that ended without an error but left tasks, or left nothing stored, leaves a run that waits."""
    _, ended = play(BEFORE, Driven(), left, GIVEN_UP)
    assert (ended.state, ended.reason) == (RunState.WAITING, "left in the middle")


def test_a_thread_that_had_checkpoints_before_starts_all_the_same() -> None:
    """On a shared thread a run starts although there are checkpoints: none of them is newer than the run."""
    asked, _ = play(
        Thread(checkpoint="c5", pending=False),
        Driven(),
        OVER,
        GIVEN_UP,
        lease=Lease(run_id=UUID(int=1), token=1, generation=0, base="c5"),
    )
    assert drives(asked) == [Drive(how="start")]
