"""What a drive remembers of its run: the steps that changed nothing, and what was answered by a fallback.

One worker drives a run at a time, so its memory is the ledger's: filled from the ledger when the lease is taken, and
changed with every step that is put on record. Calls of one run may come from several threads.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace

from langgraph_control.audit.asking.observing import Fallback, Recall
from langgraph_control.guards.loops import Loop, LoopRules, Step, alike, judge, last_like, noted

__all__ = ["RunMemory"]


class RunMemory:
    """The memory of one drive.

    Args:
        recall: what earlier drives knew.
    """

    __slots__ = ("_fallbacks", "_lock", "_steps", "_told", "_writes")

    def __init__(self, recall: Recall | None = None) -> None:
        known = recall or Recall()
        self._lock = threading.Lock()
        self._steps = known.steps
        self._writes = known.writes
        self._fallbacks = known.fallbacks
        self._told = frozenset(step.origin for step in known.steps)

    @property
    def fallbacks(self) -> tuple[Fallback, ...]:
        """What was answered by a fallback in this run so far, the newest first."""
        return self._fallbacks

    def judge(self, step: Step, rules: LoopRules) -> Loop:
        """Return what a step says of the run, before it is kept.

        Args:
            step: the newest; how many writes came before it is filled in here.
            rules: from where on it counts.
        """
        with self._lock:
            return judge(self._steps, replace(step, writes=self._writes), rules)

    def again(self, step: Step, rules: LoopRules) -> Step | None:
        """Return the step as it will be if its call is not made, where it has had the same answer too often; else None.

        Args:
            step: of the call that is to be made, with any result.
            rules: how often is too often.
        """
        with self._lock:
            here = replace(step, writes=self._writes)
            last = last_like(self._steps, here)
            if last is None:
                return None
            same = replace(here, result=last.result)
            return same if alike(self._steps, same, rules) > rules.same_answer else None

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
                self._steps = noted(self._steps, replace(step, writes=writes))
            if fallbacks is not None:
                self._fallbacks = tuple(fallbacks)

    def changed_something(self, step: Step | None) -> None:
        """A write went through: what was done before it counts as no repetition any more. Costs no statement.

        Args:
            step: as which the same write will be told if it is asked for again; None where no model made it.
        """
        with self._lock:
            self._writes += 1
            if step is not None:
                self._steps = noted(self._steps, replace(step, writes=self._writes))
                self._told |= {step.origin}

    def runs_again(self, step: Step, rules: LoopRules) -> bool:
        """Return whether a call is one that was told before, whose task runs again, and that says nothing of the run.

        Args:
            step: of a write that is told from what is stored.
            rules: from where on it counts.
        """
        return step.origin in self._told and self.judge(step, rules) is Loop.NONE
