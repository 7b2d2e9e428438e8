"""Does a run go in circles? The same call with the same answer, and to and fro between two calls.

What counts is what one conversation of a run did since the run last changed something: reads, and writes that were
refused, or had been done before and were told from what is stored. A call whose answer differs from the last time, or
that comes long after it, is no loop: somebody waits for something, as they may. A call that runs again in the task it
was made in (after a crash, or because another call of that task parked) is the same call, not another one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

__all__ = ["STEPS_MAX", "Loop", "LoopRules", "Step", "alike", "bounced", "judge", "last_like", "noted"]

STEPS_MAX: Final = 64
"""How many steps of a run are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopRules:
    """From where on a run goes in circles.

    Args:
        same_answer: the same answer to the same call that often: the model is told. Once more: a read is not called
            any more. Twice that often: the run is for a person.
        bounces: to and fro between two calls that often: the model is told. Twice that often: for a person.
        within_seconds: calls that lie further apart than that do not count together.
    """

    same_answer: int = 3
    bounces: int = 2
    within_seconds: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of a model that changed nothing: a read, or a write that was refused or done before.

    Args:
        origin: which call of which task; the same where that task runs again.
        scope: the conversation that made it: a subagent's is its own.
        turn: the model's message that asked for it: what it asks for at one time, it asks for before it is told.
        call: equal for equal tools and arguments.
        result: equal for equal answers.
        at: when, by the clock of the worker that made it.
        writes: how often the run had begun to change something by then.
    """

    origin: bytes
    scope: bytes
    turn: bytes
    call: bytes
    result: bytes
    at: datetime
    writes: int


class Loop(StrEnum):
    """What a step says of its run."""

    NONE = "none"  # nothing
    SAME = "same"  # the same answer again: the model is told, this once
    BOUNCING = "bouncing"  # to and fro between two calls: the model is told, this once
    STOPPED = "stopped"  # it was told, and asks again: a read is not called
    PARKED = "parked"  # it does not stop: a person has to look


def judge(steps: Sequence[Step], step: Step, rules: LoopRules) -> Loop:
    """Return what a step says of its run.

    Args:
        steps: the run's, oldest first.
        step: the newest; where it is among them already, it is judged by what came before it.
        rules: from where on it counts.
    """
    same, to_and_fro = alike(steps, step, rules), bounced(steps, step, rules)
    if same >= 2 * rules.same_answer or to_and_fro >= 4 * rules.bounces:
        return Loop.PARKED
    if same > rules.same_answer:
        return Loop.STOPPED
    if to_and_fro == 2 * rules.bounces:
        return Loop.BOUNCING
    return Loop.SAME if same == rules.same_answer else Loop.NONE


def alike(steps: Sequence[Step], step: Step, rules: LoopRules) -> int:
    """Return in how many turns the same call has had the same answer without another in between, this one included.

    Args:
        steps: the run's, oldest first.
        step: the newest.
        rules: how far apart two calls may lie.
    """
    count, newer = 1, step
    for older in _backwards(steps, step):
        if older.call != step.call:
            continue
        if older.result != step.result or _far_apart(older, newer, rules):
            break
        count, newer = count + (older.turn != newer.turn), older
    return count


def bounced(steps: Sequence[Step], step: Step, rules: LoopRules) -> int:
    """Return how many steps on end, this one included, go to and fro between two calls with their same two answers.

    Args:
        steps: the run's, oldest first.
        step: the newest.
        rules: how far apart two steps may lie.
    """
    tail = [step]
    for older in _backwards(steps, step):
        if older.call == tail[-1].call or older.turn == tail[-1].turn or _far_apart(older, tail[-1], rules):
            break
        if len(tail) > 1 and (older.call, older.result) != (tail[-2].call, tail[-2].result):
            break
        tail.append(older)
    return len(tail)


def last_like(steps: Sequence[Step], step: Step) -> Step | None:
    """Return the newest step of the same call since the run last changed something, before this one; None for none.

    Args:
        steps: the run's, oldest first.
        step: with any result.
    """
    return next((older for older in _backwards(steps, step) if older.call == step.call), None)


def noted(steps: Sequence[Step], step: Step) -> tuple[Step, ...]:
    """Return the run's steps with one more, which takes the place of the same call's earlier one.

    Args:
        steps: the run's, oldest first.
        step: the newest.
    """
    return (*(older for older in steps if older.origin != step.origin), step)[-STEPS_MAX:]


def _backwards(steps: Sequence[Step], step: Step) -> Iterator[Step]:
    """What this step follows, newest first: in its conversation, since the run last changed something."""
    end = next((place for place, older in enumerate(steps) if older.origin == step.origin), len(steps))
    for older in reversed(steps[:end]):
        if older.scope == step.scope and older.writes == step.writes:
            yield older


def _far_apart(older: Step, newer: Step, rules: LoopRules) -> bool:
    return newer.at - older.at > timedelta(seconds=rules.within_seconds)
