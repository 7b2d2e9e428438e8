"""Checks that were handed in, heard after the policy: what they add makes a decision stricter and nothing else."""

from collections.abc import Generator
from typing import Any

from langgraph_control.audit.asking.signal_requests import IsStored
from langgraph_control.guards.checks import Proposal, tightened
from langgraph_control.guards.decisions import Decision, Verb
from langgraph_control.guards.signals import Signals
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.call import GovernedCall

__all__ = ["checked", "names_of_checks"]


def checked(call: GovernedCall, signals: Signals, decision: Decision) -> Generator[Any, Any, Decision]:
    """Return the decision with what the checks add to it.

    They are not asked where they could add nothing, nor about a write whose outcome is stored, and is only given again.

    Args:
        call: the write.
        signals: everything known about it.
        decision: the policy's.
    """
    checks = call.run.checks
    # What is handed over to people is theirs to say: a check has been heard about the undo that was refused.
    handed_over = call.place is not None and call.place.for_people is not None
    if not checks or decision.verb is Verb.DENY or handed_over:
        return decision
    if (yield IsStored(run_id=call.run.run_id, key=call.key, call_id=call.call_id)):
        return decision
    proposal = Proposal(
        intent=call.run.intent, tool=call.tool, impact=call.impact, arguments=call.args, record=signals.record
    )
    answers: list[tuple[str, object]] = []
    for check in checks:
        answer = yield ask.AskCheck(check=check.function, proposal=proposal)
        answers.append((check.name, answer))
    return tightened(decision, answers, tool=call.tool)


def names_of_checks(call: GovernedCall) -> list[str] | None:
    """Return what the record says was asked; None where there are no checks.

    Args:
        call: the write.
    """
    return [check.name for check in call.run.checks] or None
