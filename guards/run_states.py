"""From what a run waits for to the one state an operator acts on."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["RunState", "parked_state"]


class RunState(StrEnum):
    """Where a run stands: being driven, or one of the six states an operator can act on."""

    RUNNING = "running"  # a worker holds its lease, or died with it
    DONE = "done"  # ended, and nothing it asked for is undecided
    WAITING = "waiting"  # for an answer, a time or a driver
    RETRYING = "retrying"  # for a dependency; it goes on by itself
    NEEDS_APPROVAL = "needs_approval"  # people must say yes or no
    NEEDS_HUMAN = "needs_human"  # only a person can say what happened
    BLOCKED = "blocked"  # it cannot go on as it is


# What a parked call says it waits for. Whatever is not listed is an ordinary wait.
_OF_REASON: Final[Mapping[str, RunState]] = MappingProxyType(
    {
        "needs_human": RunState.NEEDS_HUMAN,
        "deadline_passed": RunState.NEEDS_HUMAN,
        "escalate": RunState.NEEDS_HUMAN,
        "calls_used_up": RunState.NEEDS_HUMAN,
        "retry_time_used_up": RunState.NEEDS_HUMAN,
        "frozen": RunState.BLOCKED,
        "needs_approval": RunState.NEEDS_APPROVAL,
        "retry_later": RunState.RETRYING,
        "rate_limited": RunState.RETRYING,
        "system_down": RunState.RETRYING,
        "limit_reached": RunState.RETRYING,
        "record_unreadable": RunState.RETRYING,
        "outcome_unknown": RunState.RETRYING,
    }
)

# Where several calls of one run wait for different things, the one that most needs a person names the state.
_MOST_URGENT_FIRST: Final = (
    RunState.NEEDS_HUMAN,
    RunState.BLOCKED,
    RunState.NEEDS_APPROVAL,
    RunState.RETRYING,
    RunState.WAITING,
)


def parked_state(reasons: Collection[str]) -> tuple[RunState, str]:
    """Return the state of a run that waits, and the reason to show.

    Args:
        reasons: what its parked calls wait for; empty where only the user's own questions are open.
    """
    by_state = {_OF_REASON.get(reason, RunState.WAITING): reason for reason in sorted(reasons, reverse=True)}
    for state in _MOST_URGENT_FIRST:
        if state in by_state:
            return state, by_state[state]
    return RunState.WAITING, "question"
