"""Why a run stands where it stands: each reason's state, who has to act, what it says to people, and the next step."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["REASONS", "Acts", "Explained", "RunReason", "RunState", "explained"]


class RunState(StrEnum):
    """Where a run stands: being driven, or one of the six states an operator can act on."""

    RUNNING = "running"  # a worker holds its lease, or died with it
    DONE = "done"  # ended, and nothing it asked for is undecided
    WAITING = "waiting"  # for an answer, a time or a driver
    RETRYING = "retrying"  # for a dependency; it goes on by itself
    NEEDS_APPROVAL = "needs_approval"  # people must say yes or no
    NEEDS_HUMAN = "needs_human"  # only a person can say what happened
    BLOCKED = "blocked"  # it cannot go on as it is


class Acts(StrEnum):
    """Who has to act for a run to go on."""

    ASKED = "asked"  # the roles that a request asks
    OWNER = "owner"  # the policy's owner of the action, else of everything
    REQUESTER = "requester"  # the person or the service that asked for the run
    WORKERS = "workers"  # nobody: a worker goes on with it


class RunReason(StrEnum):
    """Why a run waits where it is not one of its calls that says so. Texts that end in a blank go on with a name."""

    QUESTION = "question"  # the graph asks something of its own
    QUEUED = "queued"  # registered for a worker
    DRAINED = "drained"  # left between two steps by a worker that was told to stop
    WORKER_STOPPED = "worker stopped"  # left in the middle of a step by a worker that was told to stop
    STREAM_CLOSED = "stream closed"  # the caller closed the stream
    LEFT = "left in the middle"  # the graph was interrupted by something that is no question and no parked call
    LEDGER_AWAY = "the ledger could not be reached"  # in the middle of a drive
    RAISED = "the graph raised "  # an exception, named by its class
    UNDECIDED = "the graph ended while "  # a write of it is undecided
    LEFT_TO_PEOPLE = "a person has to settle "  # a write that it does not wait for itself
    STEP_GONE = "the graph has no step "  # which the checkpoint names as the next one
    NO_WORKER = "no worker has graph "  # it is due, and no worker that has its graph has asked lately
    CANCELLED = "cancelled"  # a person ended it
    REPLACED = "replaced"  # a new message came on its thread while it waited for people


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What a reason means.

    Args:
        state: where a run stands for this reason alone.
        acts: who has to act.
        says: one sentence for people: what happened, what is safe, what to do next.
        step: the next step, a command or a call, with ``{run}`` for the run's name; "" where there is nothing to do.
    """

    state: RunState
    acts: Acts
    says: str
    step: str


_RESUME: Final = "langgraph-control resume {run}"
_SHOW: Final = "langgraph-control show {run}"
_GIVE_UP: Final = f"{_SHOW}, then langgraph-control resolve {{run}} --give-up, or langgraph-control cancel {{run}}"


def _people(says: str, *, step: str = _GIVE_UP) -> Explained:
    return Explained(state=RunState.NEEDS_HUMAN, acts=Acts.OWNER, says=says, step=step)


def _retrying(says: str) -> Explained:
    return Explained(state=RunState.RETRYING, acts=Acts.WORKERS, says=says, step=_RESUME)


def _blocked(says: str, *, step: str) -> Explained:
    return Explained(state=RunState.BLOCKED, acts=Acts.OWNER, says=says, step=step)


def _waiting(says: str, *, acts: Acts = Acts.WORKERS, step: str = _RESUME) -> Explained:
    return Explained(state=RunState.WAITING, acts=acts, says=says, step=step)


REASONS: Final[Mapping[str, Explained]] = MappingProxyType(
    {
        # What a call waits for, as the ledger or the gate says it.
        "needs_human": _people(
            "The program cannot settle a write by itself: its outcome is unknown, or it failed too often; it is not"
            " repeated; look into the system of record and say what you found.",
            step=f"{_SHOW}, then langgraph-control resolve {{run}}",
        ),
        "deadline_passed": _people(
            "The run's deadline is over; nothing new is begun and open requests are withdrawn; give up what is left, or"
            " cancel the run and start it anew under another trigger."
        ),
        "escalate": _people(
            "The policy hands this write to a person; it was not done; do it by hand or not at all, then give it up"
            " here so that the run goes on, or cancel the run."
        ),
        "calls_used_up": _people(
            "The run has made as many tool calls as the policy allows; nothing more is begun; find out why it needs so"
            " many, then give up what is left, or cancel it."
        ),
        "retry_time_used_up": _people(
            "The run has waited for retries as long as the policy allows; nothing is tried again; see what failed, then"
            " give up what is left, or cancel it."
        ),
        "looping": _people(
            "The run goes in circles and was told so; nothing is in doubt; find out what the model lacks, then resume"
            " the run or cancel it.",
            step=f"{_SHOW}, then {_RESUME} or langgraph-control cancel {{run}}",
        ),
        "needs_approval": Explained(
            state=RunState.NEEDS_APPROVAL,
            acts=Acts.ASKED,
            says="A person has to say yes before the write; nothing was changed; approve or reject the request.",
            step=_RESUME,
        ),
        "ask": _waiting(
            "The policy has the user asked before a write; nothing was changed; answer the question, or cancel the"
            " run.",
            acts=Acts.REQUESTER,
            step="langgraph-control questions, then langgraph-control answer {run}",
        ),
        "retry_later": _retrying(
            "What the write depends on is not ready; it is not under way; nothing to do, a worker tries again at the"
            " time shown."
        ),
        "rate_limited": _retrying(
            "The system asked everybody to slow down; the write is not under way; nothing to do, a worker tries again"
            " at the time shown."
        ),
        "system_down": _retrying(
            "Too many calls to the system failed; the write is not under way; see whether the system works, a worker"
            " tries again at the time shown."
        ),
        "limit_reached": _retrying(
            "A budget of the policy has no room for a write that has begun; it is not repeated meanwhile; nothing to"
            " do, a worker tries again once there may be room."
        ),
        "record_unreadable": _retrying(
            "The record could not be read, so nothing was decided; nothing was changed; see whether the system works, a"
            " worker tries again at the time shown."
        ),
        "outcome_unknown": _retrying(
            "The answer to a write was lost; it is not repeated before it is known what happened; nothing to do, a"
            " worker looks it up at the time shown."
        ),
        "verify_first": _retrying(
            "An earlier attempt has to be looked into; the write is not repeated before that; nothing to do, a worker"
            " looks it up."
        ),
        "frozen": _blocked(
            "Somebody stopped such writes; nothing was changed; find out why, and lift the freeze when it is over.",
            step="langgraph-control freeze --list, then langgraph-control unfreeze",
        ),
        "held": _waiting(
            "Another worker is doing the same write; it is done once for both; nothing to do, the run goes on when that"
            " is settled."
        ),
        # What a whole run waits for.
        RunReason.QUESTION: _waiting(
            "The graph asks a question of its own; nothing is under way; answer it.", acts=Acts.REQUESTER
        ),
        RunReason.QUEUED: _waiting(
            "The run is registered and was not begun; nothing was changed; have a worker that has its graph.",
            step="langgraph-control worker",
        ),
        RunReason.DRAINED: _waiting(
            "A worker that was told to stop left the run between two steps; nothing is under way; nothing to do,"
            " another worker goes on."
        ),
        RunReason.WORKER_STOPPED: _waiting(
            "A worker that was told to stop left the run within a step; a write that was under way is looked up before"
            " it is repeated; nothing to do, another worker goes on."
        ),
        RunReason.STREAM_CLOSED: _waiting(
            "Whoever drove the run stopped reading; a write that was under way is looked up before it is repeated;"
            " resume the run.",
            acts=Acts.REQUESTER,
        ),
        RunReason.LEFT: _waiting(
            "The graph stopped before its end; what is done is on record and not repeated; resume the run.",
            acts=Acts.REQUESTER,
        ),
        RunReason.LEDGER_AWAY: _retrying(
            "The ledger could not be reached; nothing is done that cannot be recorded; nothing to do, a worker goes on"
            " in a moment."
        ),
        RunReason.RAISED: _blocked(
            "The graph's code raised an exception; what is done is on record and not repeated; mend the graph or what"
            " it met, then resume the run.",
            step=f"{_SHOW}, then {_RESUME}",
        ),
        RunReason.UNDECIDED: _blocked(
            "The graph ended although a write of it is undecided; it is not repeated; mend the code that swallowed what"
            " its call raised or lost its tool, then cancel the run and start it anew.",
            step=f"{_SHOW}, then langgraph-control cancel {{run}}",
        ),
        RunReason.LEFT_TO_PEOPLE: _people(
            "A write was broken off and its outcome is unknown, as beside a call that waits; it is not repeated; look"
            " into the system of record and say what you found, and answer what else the run waits for.",
            step=f"{_SHOW}, then langgraph-control resolve {{run}}",
        ),
        RunReason.STEP_GONE: _blocked(
            "The graph was changed and lacks the step the run would go on with; what is done is on record and not"
            " repeated; run it with code that has the step, or cancel it.",
            step=f"{_RESUME}, with a graph that has the step; or langgraph-control cancel {{run}}",
        ),
        RunReason.NO_WORKER: _blocked(
            "The run could go on, and no worker has had its graph lately; nothing is under way; start a worker that has"
            " the graph under this name, or cancel the run.",
            step="langgraph-control worker, with this graph; or langgraph-control cancel {run}",
        ),
        RunReason.CANCELLED: Explained(
            state=RunState.DONE,
            acts=Acts.WORKERS,
            says="A person ended the run; what was not begun will not be; nothing to do.",
            step="",
        ),
        RunReason.REPLACED: Explained(
            state=RunState.DONE,
            acts=Acts.WORKERS,
            says=(
                "A new message came on the thread while the run waited for people, and the policy lets it withdraw what"
                " they were asked; what was not begun will not be; nothing to do."
            ),
            step="",
        ),
    }
)

_BEGINNINGS: Final = tuple(reason for reason in RunReason if reason.endswith(" "))
_OTHER: Final = _waiting("The run waits for something; nothing is done that is not on record; resume it.")


def explained(reason: str) -> Explained:
    """Return what a reason means; an unknown one, as of a later release, is an ordinary wait.

    Args:
        reason: as stored with a run.
    """
    known = REASONS.get(reason)
    if known is not None:
        return known
    return next((REASONS[one] for one in _BEGINNINGS if reason.startswith(one)), _OTHER)
