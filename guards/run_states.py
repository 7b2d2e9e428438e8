"""From what a run waits for to the one state an operator acts on, with its reason, its owner and the next step."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from langgraph_control.guards.run_reasons import Acts, RunReason, RunState, explained

__all__ = ["ANY_ROLE", "WORKERS", "About", "RunState", "Standing", "Wait", "next_step", "standing", "stopped"]

WORKERS: Final = "workers"
"""The owner of what goes on by itself."""

ANY_ROLE: Final = "any role"
"""The owner of what a person has to settle, where the policy names nobody for it."""

OWNER_CHARS_MAX: Final = 600
NAMED_MAX: Final = 5  # so many requests or questions are named one by one

# Where several calls of one run wait for different things, the one that most needs a person names the state.
_MOST_URGENT_FIRST: Final = (
    RunState.NEEDS_HUMAN,
    RunState.BLOCKED,
    RunState.NEEDS_APPROVAL,
    RunState.RETRYING,
    RunState.WAITING,
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Wait:
    """What one parked call waits for.

    Args:
        reason: a stable word.
        owner: the roles that can end the wait, as the call's decision names them; "" if it names none.
        approval: the name of the request it waits for; "" for none.
    """

    reason: str
    owner: str = ""
    approval: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What has to be known of a run beside its calls.

    Args:
        run: its name.
        requester: the person or the service that asked for it.
        owner: the role that the policy names for everything; "" if it names none.
    """

    run: str
    requester: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a run stands.

    Args:
        state: the state.
        reason: why.
        owner: who has to act: roles, the requester, or :data:`WORKERS`.
        next_step: what to do, a command or a call.
    """

    state: RunState
    reason: str
    owner: str
    next_step: str


def standing(waits: Collection[Wait], questions: Collection[str], about: About) -> Standing:
    """Return where a run stands whose calls are parked or whose graph asks something.

    Args:
        waits: what its parked calls wait for.
        questions: ids of the graph's own questions.
        about: the run.
    """
    by_state = {explained(wait.reason).state: wait.reason for wait in sorted(waits, reverse=True)}
    reason = next((by_state[state] for state in _MOST_URGENT_FIRST if state in by_state), RunReason.QUESTION.value)
    chosen = [wait for wait in waits if wait.reason == reason]
    return Standing(
        state=explained(reason).state,
        reason=reason,
        owner=_owner(explained(reason).acts, {wait.owner for wait in chosen if wait.owner}, about),
        next_step=next_step(
            reason, about.run, approvals={wait.approval for wait in chosen if wait.approval}, questions=questions
        ),
    )


def stopped(reason: str, about: About, *, state: RunState | None = None) -> Standing:
    """Return where a run stands for a reason that no call of it gives.

    Args:
        reason: a :class:`RunReason`, where its text asks for it with a name after it.
        about: the run.
        state: where it stands, if the reason alone does not say it.
    """
    meant = explained(reason)
    return Standing(
        state=state or meant.state,
        reason=reason,
        owner=_owner(meant.acts, (), about),
        next_step=next_step("needs_human" if state is RunState.NEEDS_HUMAN else reason, about.run),
    )


def next_step(reason: str, run: str, *, approvals: Collection[str] = (), questions: Collection[str] = ()) -> str:
    """Return what to do about a run: a command or a call.

    Args:
        reason: why it waits.
        run: its name.
        approvals: names of the requests it waits for.
        questions: ids of the graph's own questions.
    """
    if reason == "needs_approval" and approvals:
        if len(approvals) > NAMED_MAX:
            return "langgraph-control inbox"
        return "; ".join(f"langgraph-control approve {approval}" for approval in sorted(approvals))
    if reason == "ask" and questions:
        return "; ".join(f'langgraph-control answer {run} {question} "…"' for question in sorted(questions)[:NAMED_MAX])
    if reason == RunReason.QUESTION and questions:
        wanted = ", ".join(f'"{question}": …' for question in sorted(questions)[:NAMED_MAX])
        return f'control.resume("{run}", answers={{{wanted}}})'
    return explained(reason).step.format(run=run)


def _owner(acts: Acts, named: Iterable[str], about: About) -> str:
    match acts:
        case Acts.WORKERS:
            return WORKERS
        case Acts.REQUESTER:
            return (about.requester or ANY_ROLE)[:OWNER_CHARS_MAX]
        case _:
            return (", ".join(sorted(set(named))) or about.owner or ANY_ROLE)[:OWNER_CHARS_MAX]
