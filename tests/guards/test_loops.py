"""Going in circles: what counts as a repetition, and what does not."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from langgraph_control.guards.loops import (
    STEPS_MAX,
    Loop,
    LoopRules,
    Step,
    alike,
    bounced,
    judge,
    last_like,
    noted,
)

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
RULES = LoopRules()


def steps_of(
    calls: str, *, results: str | None = None, every_seconds: float = 1.0, scope: bytes = b"agent", writes: int = 0
) -> tuple[Step, ...]:
    """Return one step a letter: equal letters are equal calls, equal letters of ``results`` equal answers."""
    return tuple(
        Step(
            origin=f"{scope!r}{place}".encode(),
            scope=scope,
            turn=str(place).encode(),
            call=call.encode(),
            result=result.encode(),
            at=NOON + timedelta(seconds=place * every_seconds),
            writes=writes,
        )
        for place, (call, result) in enumerate(zip(calls, results or calls, strict=True))
    )


def judged(steps: Sequence[Step], rules: LoopRules = RULES) -> list[Loop]:
    """Return what each step said of the run when it was the newest."""
    seen: tuple[Step, ...] = ()
    verdicts = []
    for step in steps:
        verdicts.append(judge(seen, step, rules))
        seen = noted(seen, step)
    return verdicts


def test_the_same_answer_is_told_once_then_stopped_then_parked() -> None:
    """By default the third equal answer is pointed out, the next two calls are stopped, the sixth is for a person."""
    assert judged(steps_of("AAAAAA")) == [
        Loop.NONE,
        Loop.NONE,
        Loop.SAME,
        Loop.STOPPED,
        Loop.STOPPED,
        Loop.PARKED,
    ]


def test_to_and_fro_is_told_once_then_parked() -> None:
    """By default A-B-A-B is pointed out once, and its fourth round is for a person, whatever else is noticed of it."""
    rules = replace(RULES, same_answer=30)
    assert judged(steps_of("ABABABAB"), rules) == [*[Loop.NONE] * 3, Loop.BOUNCING, *[Loop.NONE] * 3, Loop.PARKED]


def test_what_is_asked_at_one_time_counts_once() -> None:
    """Equal calls of one message count as one, and a pair asked together is no going to and fro."""
    at_once = tuple(replace(step, turn=b"one") for step in steps_of("A" * 9))
    assert set(judged(at_once)) == {Loop.NONE}
    pairs = tuple(replace(step, turn=str(place // 2).encode()) for place, step in enumerate(steps_of("ABABAB")))
    assert bounced(pairs[:-1], pairs[-1], RULES) == 1
    assert judged(pairs)[-2:] == [Loop.SAME, Loop.SAME]


def test_polling_is_no_loop() -> None:
    """The same call with another answer each time may go on for ever, alone or in turn with another."""
    assert set(judged(steps_of("A" * 10, results="abcdefghij"))) == {Loop.NONE}
    assert set(judged(steps_of("ABABABABABAB", results="abcdefghijkl"))) == {Loop.NONE}


def test_what_lies_far_apart_is_no_loop() -> None:
    """Equal answers count together only within the time that the rules give."""
    assert set(judged(steps_of("A" * 9, every_seconds=121))) == {Loop.NONE}
    assert set(judged(steps_of("AB" * 9, every_seconds=121))) == {Loop.NONE}
    assert Loop.SAME in judged(steps_of("A" * 9, every_seconds=120))


def test_other_calls_between_do_not_hide_a_repetition() -> None:
    """The same answer to the same call counts, whatever else was asked in between."""
    assert judged(steps_of("ABACA"))[-1] is Loop.SAME


def test_three_steps_in_a_ring_are_no_to_and_fro() -> None:
    """A-B-C-A-B-C is not taken for going between two calls."""
    steps = steps_of("ABCABC")
    assert bounced(steps[:-1], steps[-1], RULES) == 2


def test_a_change_begins_anew() -> None:
    """After the run has changed something, the same answer is news."""
    before, after = steps_of("AAA"), replace(steps_of("A", writes=1)[0], origin=b"after", at=NOON)
    assert alike(before, after, RULES) == 1
    assert last_like(before, after) is None


def test_each_conversation_is_judged_by_itself() -> None:
    """What a subagent asks does not count with what another one has asked."""
    other = replace(steps_of("A", scope=b"another")[0], at=NOON)
    assert alike(steps_of("AAA"), other, RULES) == 1


@pytest.mark.parametrize("times", [2, 3, 30])
def test_the_thresholds_are_the_rules(times: int) -> None:
    """Whatever number is set: it is told at that, stopped after it, and parked at twice as much."""
    verdicts = judged(steps_of("A" * 2 * times), replace(RULES, same_answer=times))
    told = verdicts.index(Loop.SAME) + 1
    assert (told, verdicts.count(Loop.STOPPED), verdicts[-1]) == (times, times - 1, Loop.PARKED)


runs = some.builds(
    lambda calls, results, gaps: tuple(
        replace(step, at=NOON + timedelta(seconds=sum(gaps[: place + 1])))
        for place, step in enumerate(steps_of("".join(calls), results="".join(results)[: len(calls)]))
    ),
    some.lists(some.sampled_from("ABC"), min_size=1, max_size=40),
    some.lists(some.sampled_from("xy"), min_size=40, max_size=40),
    some.lists(some.integers(0, 200), min_size=40, max_size=40),
)


@given(steps=runs)
def test_it_is_told_before_it_is_stopped(steps: tuple[Step, ...]) -> None:
    """No call is stopped, and no run is parked, before the model was told of that loop."""
    verdicts = judged(steps)
    for place, verdict in enumerate(verdicts):
        if verdict is Loop.STOPPED:
            told = [at for at in range(place) if verdicts[at] is Loop.SAME and steps[at].call == steps[place].call]
            assert told
        if verdict is Loop.PARKED:
            assert {Loop.SAME, Loop.BOUNCING} & set(verdicts[:place])


@given(steps=runs, data=some.data())
def test_a_task_that_runs_again_is_told_the_same(steps: tuple[Step, ...], data: some.DataObject) -> None:
    """A call whose task runs again is judged as the first time, however often, and counts once."""
    place = data.draw(some.integers(0, len(steps) - 1))
    seen: tuple[Step, ...] = ()
    for step in steps:
        seen = noted(seen, step)
    again = steps[place]
    assert judge(seen, again, RULES) is judge(steps[:place], again, RULES)
    assert len(noted(noted(seen, again), again)) == len(seen)


@given(steps=runs)
def test_no_more_is_counted_than_there_is(steps: tuple[Step, ...]) -> None:
    """Neither count exceeds the number of steps, and both include the newest."""
    assert 1 <= alike(steps[:-1], steps[-1], RULES) <= len(steps)
    assert 1 <= bounced(steps[:-1], steps[-1], RULES) <= len(steps)


@given(steps=runs, other=some.sampled_from("xy"))
def test_another_answer_frees(steps: tuple[Step, ...], other: str) -> None:
    """A call whose answer differs from its last one is never stopped nor parked."""
    newest = steps[-1]
    last = last_like(steps[:-1], newest)
    if last is not None and last.result != other.encode():
        assert judge(steps[:-1], replace(newest, result=other.encode()), RULES) is Loop.NONE


def test_so_many_are_kept() -> None:
    """A run's newest steps are kept, and no more."""
    seen: tuple[Step, ...] = ()
    steps = steps_of("A" * (STEPS_MAX + 5))
    for step in steps:
        seen = noted(seen, step)
    assert seen == steps[-STEPS_MAX:]
