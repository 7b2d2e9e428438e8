"""A run as the caller sees it: where it stands, why, and what to do next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from langgraph_control.audit.asking.rows import ActionRow, RunRow
from langgraph_control.audit.names import approval_name, run_name
from langgraph_control.guards.lifecycle import State
from langgraph_control.guards.run_reasons import RunReason, explained
from langgraph_control.guards.run_states import WORKERS, RunState, next_step

__all__ = ["Run", "run_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One request from trigger to outcome, as it stood when it was looked at.

    Args:
        id: its name, ``run_…``; what ``control.resume`` and ``langgraph-control show`` take.
        trigger: the delivery that began it.
        intent: the business request it serves.
        graph: the bound graph's name.
        thread: the LangGraph thread it runs on.
        state: where it stands.
        reason: why it stands there; "" for a run that is done.
        owner: who has to act: roles, whoever asked for the run, or ``workers``; "" for a run that is done.
        next_step: what to do, as a command or a call; "" where there is nothing to do.
        approvals: names of the requests it waits for, ``apr_…``.
        questions: what the user is asked, by the graph's own pending interrupts and by writes that wait for an answer
            (``qst_…``): id → what was asked. Answer with ``resume(id, answers={…})``.
        output: the graph's final values; None unless the run is done.
        state_since: when it came to stand there, by the database's clock.
        wake_at: when it may go on by itself; None: when something happens.
    """

    id: str
    trigger: str
    intent: str
    graph: str
    thread: str
    state: RunState
    reason: str
    owner: str
    next_step: str
    approvals: tuple[str, ...] = ()
    questions: Mapping[str, Any] = field(default_factory=dict)
    output: Any = field(default=None, repr=False)
    state_since: datetime
    wake_at: datetime | None = None

    def __str__(self) -> str:
        return f"{self.state} - {self.next_step}" if self.next_step else str(self.state)


def run_of(row: RunRow, *, actions: tuple[ActionRow, ...] = (), questions: Mapping[str, Any], output: Any) -> Run:
    """Put together what the ledger and the checkpoint say.

    Args:
        row: the run's row.
        actions: what it asked for or waits for and is not decided.
        questions: what the user is asked.
        output: the graph's final values.
    """
    approvals = tuple(
        approval_name(action.approval_id)
        for action in actions
        if action.approval_id is not None and action.state == State.NEEDS_APPROVAL
    )
    name = run_name(row.run_id)
    return Run(
        id=name,
        trigger=row.trigger,
        intent=row.intent,
        graph=row.graph,
        thread=row.thread_id,
        state=row.state,
        reason=row.reason,
        owner=row.owner,
        next_step=_next_step(row, name, approvals, tuple(questions)),
        approvals=approvals,
        questions=questions,
        output=output,
        state_since=row.state_since,
        wake_at=row.wake_at,
    )


def _next_step(row: RunRow, name: str, approvals: tuple[str, ...], questions: tuple[str, ...]) -> str:
    if row.owner == WORKERS and row.state in {RunState.NEEDS_HUMAN, RunState.NEEDS_APPROVAL, RunState.WAITING}:
        return row.next_step  # people have said what they had to
    match row.state:
        case RunState.DONE:
            return ""
        case RunState.RUNNING:
            return f"langgraph-control show {name}"
        case RunState.NEEDS_HUMAN if explained(row.reason).state is not RunState.NEEDS_HUMAN:
            return row.next_step
        case RunState.NEEDS_HUMAN if row.reason.startswith(RunReason.LEFT_TO_PEOPLE):
            return row.next_step  # it names the tool
        case RunState.WAITING if row.reason == RunReason.QUESTION and not questions:
            return row.next_step  # from outside the graph only what was stored names the question
        case _:
            step = next_step(row.reason, name, approvals=approvals, questions=questions)
            if row.state is RunState.RETRYING and row.wake_at:
                return f"{step} from {row.wake_at.isoformat(timespec='seconds')}"
            return step
