"""Parking by ``interrupt()``, and this task's stored answers that are only our own wake-ups.

Answers are positional per task: an ``interrupt()`` that is skipped when a task runs again shifts every later answer
onto the wrong question. A call whose claim need not park any more therefore first consumes the wake-ups it parked for.
"""

import itertools
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphInterrupt
from langgraph.types import interrupt

from langgraph_control.nodes import requests as ask

__all__ = ["at_langgraph", "configurable", "execution", "has_answers", "park", "placed", "replay_wakes", "uses"]

TASKS_MAX: Final = 4096  # only tasks that were resumed and have wake-ups are kept

FOREIGN_MAX: Final = 50
"""At most so many answers of one task that are none of ours are told of; whoever writes checkpoints may put more."""

_EVIDENCE: Final = ("checkpoint_id", "checkpoint_ns", "task_id")
_KEY: Final = re.compile("[0-9a-f]{64}")
_FOREIGN: Final = ""  # among the keys of the actions

_taken: Final[OrderedDict[int, tuple[object, Counter[str]]]] = OrderedDict()
_lock: Final = threading.Lock()


def configurable() -> Mapping[str, Any]:
    """Return the ``configurable`` in force; empty outside a runnable."""
    config = var_child_runnable_config.get()
    return (config or {}).get("configurable") or {}


def placed() -> dict[str, str]:
    """Return where in the graph this call is, as LangGraph tells it; evidence, never identity."""
    info = getattr(configurable().get("__pregel_runtime"), "execution_info", None)
    return {name: value for name in _EVIDENCE if (value := getattr(info, name, None))}


def at_langgraph(request: ask.ReplayWakes | ask.Park | ask.HasAnswers) -> Sequence[object] | bool:
    """Carry out what the gate asks of LangGraph, and return which answers that are none of ours it met, or are there.

    Args:
        request: replay our answers, park, or see what lies ready.

    Raises:
        GraphInterrupt: the call parks.
    """
    match request:
        case ask.Park(card=card):
            return park(card)
        case ask.ReplayWakes(key=key):
            return replay_wakes(key)
        case _:
            return has_answers()


def park(card: Mapping[str, Any]) -> Sequence[object]:
    """Interrupt the graph, or consume an answer that is there. Whatever it is, it carries no authority.

    Args:
        card: JSON primitives only.

    Returns:
        The answer, where it is no wake-up of anybody's; else nothing.

    Raises:
        GraphInterrupt: LangGraph stores the card and runs the task again when it is answered.
    """
    return _note(interrupt(dict(card)))


def replay_wakes(key: str) -> Sequence[object]:
    """Consume this task's answers up to the last wake-up for one action, unless this execution of the task has already.

    What lies before that wake-up and was not consumed answered the same call's questions, too, whoever gave it.

    Args:
        key: the action key, hexadecimal.

    Returns:
        Those that are no wake-up of anybody's.
    """
    scratchpad = _scratchpad()
    stored = 0 if scratchpad is None else scratchpad.resume.count(_wake(key))
    if not stored:
        return ()
    taken = _taken_by(scratchpad)
    # Calls of one ToolNode share a task and its answers: a sibling on another thread may be faster and leave none.
    foreign: list[object] = []
    with suppress(GraphInterrupt):
        while taken[key] < stored:
            foreign += _note(interrupt(_wake(key)))
    return foreign


def has_answers() -> bool:
    """Whether this task was given answers that are no wake-ups of ours: to what its body asks, or to nothing."""
    scratchpad = _scratchpad()
    if scratchpad is None:
        return False
    to_nothing = scratchpad.get_null_resume(consume=False)
    return to_nothing is not None or any(_woken(answer) is None for answer in scratchpad.resume)


def execution() -> object | None:
    """Return what tells this execution of the task from any other, for as long as it is kept; None outside tasks."""
    scratchpad = _scratchpad()
    return None if scratchpad is None else scratchpad.interrupt_counter


def uses() -> tuple[object, ...]:
    """Return how much this task has asked and how many child graphs it has run, to be compared with a later answer.

    Where that has changed, running again in process what ran meanwhile would meet other answers and another child's
    state.
    """
    scratchpad = _scratchpad()
    if scratchpad is None:
        return ()
    return tuple(_used(counter) for counter in (scratchpad.interrupt_counter, scratchpad.subgraph_counter))


def _used(counter: Any) -> object:
    # Counting is the only thing its interface offers; where a release keeps it otherwise, it counts as used.
    step = getattr(counter, "_counter", counter)
    counted = getattr(step, "__self__", step)
    return repr(counted) if counted is None or isinstance(counted, itertools.count) else object()


def _scratchpad() -> Any:
    return configurable().get("__pregel_scratchpad")


def _wake(key: str) -> dict[str, str]:
    return {"control": key}


def _note(answer: object) -> Sequence[object]:
    """Count an answer, and return it where it is no wake-up, of this call or of another one in the same task."""
    taken, key = _taken_by(_scratchpad()), _woken(answer)
    if key is not None:
        taken[key] += 1
        return ()
    taken[_FOREIGN] += 1
    return (answer,) if taken[_FOREIGN] <= FOREIGN_MAX else ()


def _woken(answer: object) -> str | None:
    """The key of the action that an answer wakes; None where it is no wake-up."""
    key = answer["control"] if isinstance(answer, Mapping) and set(answer) == {"control"} else None
    return key if isinstance(key, str) and _KEY.fullmatch(key) else None


def _taken_by(scratchpad: Any) -> Counter[str]:
    """How many wake-ups of each action this execution of the task has consumed, and how many other answers."""
    execution = scratchpad.interrupt_counter
    with _lock:
        # The counter is kept, so that its id cannot come to mean another task's; the scratchpad itself holds much more.
        _, counts = _taken.setdefault(id(execution), (execution, Counter()))
        _taken.move_to_end(id(execution))
        if len(_taken) > TASKS_MAX:
            _taken.popitem(last=False)
    return counts
