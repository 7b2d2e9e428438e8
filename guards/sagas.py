"""What is to happen next when a saga is taken back: one pure function over what the ledger says of its actions.

What nobody knows is settled before anything is taken back, so that a late success joins the list. Then what was done is
taken back, the last step first. Where that fails, a person decides, and nothing before it is touched meanwhile.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from langgraph_control.guards.lifecycle import State

__all__ = [
    "Closed",
    "Part",
    "SagaOutcome",
    "SettleFirst",
    "TakeBack",
    "half_done",
    "next_move",
    "standing",
    "still_applied",
]

_SETTLED: Final = frozenset({State.SUCCEEDED, State.FAILED, State.DENIED, State.ABANDONED})
_WITHOUT_EFFECT: Final = frozenset({State.READY, State.NEEDS_APPROVAL, State.FAILED, State.DENIED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One action of a saga.

    Args:
        step: the number of its step, from 1.
        key: the action key, 32 bytes.
        tool: the tool's name.
        state: where the action stands.
        undo: where taking it back stands; None: nothing was tried.
    """

    step: int
    key: bytes
    tool: str
    state: State
    undo: State | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleFirst:
    """Find out what came of an action, and begin nothing new for it.

    Args:
        part: the action.
    """

    part: Part


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBack:
    """Take back what an action did.

    Args:
        part: the action.
        to_people: it was tried and refused or failed for good: a person says what is to become of it.
    """

    part: Part
    to_people: bool


class SagaOutcome(StrEnum):
    """How a saga ended."""

    DONE = "done"  # every step is in effect
    UNDONE = "undone"  # nothing of it is in effect
    PARTLY_UNDONE = "partly_undone"  # a person decided that some of it stays, or that nobody can find out


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Nothing is left to be done.

    Args:
        outcome: how it ended.
    """

    outcome: SagaOutcome


Move: TypeAlias = SettleFirst | TakeBack | Closed


def next_move(parts: Collection[Part]) -> Move:
    """Return what to do next so that nothing of a saga stays in effect.

    Args:
        parts: every action that was ever claimed for it, in any order.
    """
    last_first = sorted(parts, key=lambda part: (part.step, part.key), reverse=True)
    for part in last_first:
        if part.state not in _SETTLED:
            return SettleFirst(part=part)
    for part in last_first:
        if part.state is State.SUCCEEDED and part.undo not in (State.SUCCEEDED, State.ABANDONED):
            return TakeBack(part=part, to_people=part.undo in (State.FAILED, State.DENIED))
    return Closed(outcome=_outcome_of(parts))


def half_done(parts: Collection[Part], *, steps: int) -> bool:
    """Return whether a saga would stay half done, or half taken back, if it were left alone now.

    Args:
        parts: every action that was ever claimed for it, in any order.
        steps: how many steps it has. With the last one in effect, it is done.
    """
    if any(part.undo is not None for part in parts):
        return True
    whole = any(part.step >= steps and part.state is State.SUCCEEDED for part in parts)
    return not whole and any(part.state not in _WITHOUT_EFFECT for part in parts)


def still_applied(parts: Collection[Part]) -> tuple[Part, ...]:
    """Return the actions that are in effect, in the order of their steps.

    Args:
        parts: the saga's actions.
    """
    applied = [part for part in parts if part.state is State.SUCCEEDED and part.undo is not State.SUCCEEDED]
    return tuple(sorted(applied, key=lambda part: (part.step, part.key)))


def standing(part: Part) -> str:
    """Return where an action of a saga stands, in words for people.

    Args:
        part: the action.
    """
    match part.state:
        case State.SUCCEEDED:
            return _OF_UNDO.get(part.undo, "in effect; to be taken back") if part.undo is not None else "in effect"
        case State.FAILED | State.DENIED:
            return "not done"
        case State.ABANDONED:
            return "closed by a person; nobody knows whether it is in effect"
        case State.NEEDS_HUMAN:
            return "only a person can say whether it is in effect"
        case State.NEEDS_APPROVAL:
            return "waits for approval"
        case State.READY:
            return "not begun"
        case _:
            return "under way, or not known yet"


_OF_UNDO: Final = {
    State.SUCCEEDED: "taken back",
    State.ABANDONED: "in effect; a person left it so",
    State.NEEDS_HUMAN: "in effect, as far as the program knows; taking it back waits for a person",
    State.NEEDS_APPROVAL: "in effect; taking it back waits for approval",
    State.EXECUTING: "being taken back",
    State.VERIFYING: "being taken back",
    State.UNKNOWN: "being taken back; the outcome is not known yet",
}


def _outcome_of(parts: Collection[Part]) -> SagaOutcome:
    unclear = any(part.state is State.ABANDONED for part in parts)
    return SagaOutcome.PARTLY_UNDONE if unclear or still_applied(parts) else SagaOutcome.UNDONE
