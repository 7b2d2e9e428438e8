"""What a drive remembers of its run: the steps that changed nothing, and what was answered by a fallback.

One worker drives a run at a time, so its memory is the ledger's: filled from the ledger when the lease is taken, and
changed with every step that is put on record. Calls of one run may come from several threads.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from langgraph_control.audit.asking.observing import Fallback, Recall
from langgraph_control.guards.loops import Loop, LoopRules, Step, alike, judge, last_like, noted

__all__ = ["CallMade", "RunMemory"]

CallMade: TypeAlias = tuple[bytes, str, str]
"""A write's key, the id of the task that called it, and the id of its tool call."""


class RunMemory:
    """The memory of one drive.

    Args:
        recall: what earlier drives knew.
        started: before that was asked for, by the monotonic clock.
    """

    __slots__ = ("_answered", "_done", "_fallbacks", "_late_from", "_lock", "_newest", "_steps", "_told", "_writes")

    def __init__(self, recall: Recall | None = None, *, started: float = 0.0) -> None:
        known = recall or Recall()
        self._lock = threading.Lock()
        self._steps = known.steps
        self._writes = known.writes
        self._fallbacks = known.fallbacks
        self._told = frozenset(step.origin for step in known.steps)
        self._done: set[CallMade] = set()
        self._late_from = _late_from(known.left_ms, started)
        self._answered = False
        # As which step the newest write is told if it is asked for again, made when it is; and the count with it.
        self._newest: tuple[Callable[[], Step], int] | None = None

    @property
    def fallbacks(self) -> tuple[Fallback, ...]:
        """What was answered by a fallback in this run so far, the newest first."""
        return self._fallbacks

    def seems_late(self, started: float) -> bool:
        """Return whether the run's deadline seems to be over. The ledger knows; this says only when to ask it.

        Args:
            started: now, by the monotonic clock.
        """
        late_from = self._late_from
        return late_from is not None and started >= late_from and not self._answered

    def heard_what_is_left(self, left_ms: int | None, *, started: float) -> None:
        """Remember how far the run's deadline is: rather too near than too far.

        Args:
            left_ms: as the ledger said.
            started: before it was asked, by the monotonic clock.
        """
        self._late_from = _late_from(left_ms, started)

    def question_answered(self) -> None:
        """A person answered the graph's own question, and the graph goes on with that, however late it is."""
        self._answered = True

    def judge(self, step: Step, rules: LoopRules) -> Loop:
        """Return what a step says of the run, before it is kept.

        Args:
            step: the newest; how many writes came before it is filled in here.
            rules: from where on it counts.
        """
        with self._lock:
            return judge(self._all(), replace(step, writes=self._writes), rules)

    def again(self, step: Step, rules: LoopRules) -> Step | None:
        """Return the step as it will be if its call is not made, where it has had the same answer too often; else None.

        Args:
            step: of the call that is to be made, with any result.
            rules: how often is too often.
        """
        with self._lock:
            here = replace(step, writes=self._writes)
            steps = self._all()
            last = last_like(steps, here)
            if last is None:
                return None
            same = replace(here, result=last.result)
            return same if alike(steps, same, rules) > rules.same_answer else None

    def keep(self, step: Step | None, *, writes: int, fallbacks: Sequence[Fallback] | None = None) -> None:
        """Remember what has just been put on record.

        Args:
            step: the newest step; None where no model made it.
            writes: how many writes the run has begun, as the ledger counts.
            fallbacks: what was answered by a fallback so far; None: as before.
        """
        with self._lock:
            self._writes = writes
            if step is not None:
                self._steps = noted(self._all(), replace(step, writes=writes))
            if fallbacks is not None:
                self._fallbacks = tuple(fallbacks)

    def changed_something(self, made: CallMade | None = None, step: Callable[[], Step] | None = None) -> None:
        """A write went through: what was done before it counts as no repetition any more. Costs no statement.

        Args:
            made: the call that it was; None where no model made it.
            step: returns as which step the same write will be told if it is asked for again.
        """
        with self._lock:
            self._writes += 1
            self._newest = None if step is None else (step, self._writes)
            if made is not None:
                self._done.add(made)

    def runs_again(self, made: CallMade, step: Step, rules: LoopRules) -> bool:
        """Return whether a call is one that was told before, whose task runs again, and that says nothing of the run.

        Args:
            made: the call.
            step: of a write that is told from what is stored.
            rules: from where on it counts.
        """
        return (made in self._done or step.origin in self._told) and self.judge(step, rules) is Loop.NONE

    def _all(self) -> tuple[Step, ...]:
        if self._newest is not None:
            (step, writes), self._newest = self._newest, None
            self._steps = noted(self._steps, replace(step(), writes=writes))
        return self._steps


def _late_from(left_ms: int | None, started: float) -> float | None:
    return None if left_ms is None else started + left_ms / 1000
