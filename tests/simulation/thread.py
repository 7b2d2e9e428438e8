"""A LangGraph thread in miniature, with the habits that the compat tests pin down.

Durability is sync, answers are positional, tasks run again from their start, and a crash may lose the writes of a
finished sibling.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from langgraph_control.graphs.advance import Thread
from tests.simulation.program import Call, Task

__all__ = ["Checkpoint", "SimulatedThread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One stored state of a thread."""

    number: int = 0
    step: int = -1
    asked: tuple[Task, ...] | None = None
    done: Mapping[int, Any] = field(default_factory=dict)
    answers: Mapping[int, tuple[Any, ...]] = field(default_factory=dict)
    interrupts: Mapping[str, tuple[int, Mapping[str, Any]]] = field(default_factory=dict)
    finished: bool = False


class SimulatedThread:
    """The newest checkpoint, and every call that a stored state ever held."""

    def __init__(self) -> None:
        self.newest = Checkpoint()
        self.asked: set[Call] = set()

    def put(self, **changes: Any) -> Checkpoint:
        """Store a new state over the newest one."""
        self.newest = replace(self.newest, number=self.newest.number + 1, **changes)
        for task in self.newest.asked or ():
            self.asked.update(task.calls)
        return self.newest

    def lose_writes(self, kept: Any) -> None:
        """A process died before the writes of its finished tasks were stored."""
        done = {task: value for task, value in self.newest.done.items() if kept()}
        self.newest = replace(self.newest, done=done)

    def view(self) -> Thread:
        """Return what a driver sees of it."""
        newest = self.newest
        return Thread(
            checkpoint=str(newest.number) if newest.number else "",
            pending=not newest.finished,
            parked={name: card for name, (_, card) in newest.interrupts.items() if "control" in card},
            questions=frozenset(name for name, (_, card) in newest.interrupts.items() if "control" not in card),
        )
