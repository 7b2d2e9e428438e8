"""Questions to the user: asked once for a call, and what was answered goes to the model. It lets no write run."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any, Final, TypeVar

from langgraph_control.audit.asking.questions import Asked, AskUser
from langgraph_control.guards.decisions import Decision, Verb
from langgraph_control.nodes.call import GovernedCall
from langgraph_control.nodes.steps import Refused
from langgraph_control.nodes.texts import keepable

__all__ = ["told_answer", "with_answer"]

QUESTION_CHARS_MAX: Final = 4000

S = TypeVar("S")


def with_answer(call: GovernedCall, decision: Decision) -> Generator[Any, Any, tuple[Decision, Asked | None]]:
    """Return the decision, and what was answered if the user was asked before: then this very call is not done.

    Args:
        call: the write.
        decision: the decision; any but ``ask`` stays as it is.
    """
    if decision.verb is not Verb.ASK or decision.question is None:
        return decision, None
    asked: Asked | None = yield AskUser(
        run_id=call.run.run_id,
        token=call.run.token,
        question_id=call.question_id,
        key=call.key,
        tool=call.tool,
        question=keepable(decision.question)[:QUESTION_CHARS_MAX],
    )
    if asked is None or asked.answer is None:
        return decision, None
    # The answer itself is no reason: reasons are hashed, and what a user says may have to be erased.
    reasons = ("the user was asked about this very call and has answered", *decision.reasons)
    return replace(decision, verb=Verb.DENY, reasons=reasons, question=None), asked


def told_answer(call: GovernedCall, step: S, asked: Asked | None) -> S | Refused:
    """Return how a call ends: one that was refused because of an answer, with the answer.

    Args:
        call: the write.
        step: what it ended with.
        asked: what was answered; None where nothing was.
    """
    if asked is None or not isinstance(step, Refused) or step.code != Verb.DENY:
        return step
    text = (
        f'{call.tool} was not done. The user was asked: "{asked.question}" and answered: "{asked.answer}". '
        f"If the answer says so, call {call.tool} again with arguments that follow from it; the same call is not done."
    )
    return replace(step, code="answered", text=text)
