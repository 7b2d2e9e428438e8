"""What people changed about a call: checked as the model's own arguments are, and then decided about afresh."""

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

import orjson

from langgraph_control.audit.asking.authority_requests import EditTaken
from langgraph_control.audit.asking.ledger import Claimed
from langgraph_control.guards.canonical import from_canonical
from langgraph_control.guards.redaction import paths_inside
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.call import GovernedCall
from langgraph_control.nodes.presenting import presentable
from langgraph_control.nodes.steps import Delivered, TakenOver

__all__ = ["edited", "told_edit"]

NOTE_CHARS_MAX: Final = 500
AGAIN: Final = "again"

S = TypeVar("S")


def edited(call: GovernedCall, claimed: Claimed) -> Generator[Any, Any, GovernedCall | TakenOver]:
    """Return the call with the arguments that people gave it; the call as it was, if its tool does not take them.

    Args:
        call: the call as the model made it.
        claimed: the claim's answer, with the changes.
    """
    changes: Mapping[str, Any] = from_canonical(claimed.payload or b"{}")
    problem = _untouchable(call, changes)
    after: GovernedCall | None = None
    if problem is None:
        fits = yield ask.FitArguments(args={**call.args, **changes})
        problem = fits.problem
        if problem is None:
            after = replace(call, args=fits.args, changes=changes, edit_no=claimed.edit_no)
            problem = _other(call, after, again=claimed.code == AGAIN)
    taken = yield EditTaken(
        run_id=call.run.run_id,
        token=call.run.token,
        edit_no=claimed.edit_no or 0,
        became=None if after is None or problem is not None else after.args_hash,
        problem=problem,
        body=call.outcome_body(edit=claimed.edit_no, problem=problem),
    )
    if not taken:
        return TakenOver()
    return call if after is None or problem is not None else after


def told_edit(call: GovernedCall, step: S) -> S | Delivered:
    """Return how a call ends: what was done with other arguments than the model's own says so.

    Args:
        call: the call as it was made in the end.
        step: what it ended with.
    """
    if not call.changes or not isinstance(step, Delivered):
        return step
    values = ", ".join(f"{name} = {_short(value)}" for name, value in sorted(call.changes.items()))
    return replace(step, note=f"A person changed this before it was done: {values}."[:NOTE_CHARS_MAX])


def _untouchable(call: GovernedCall, changes: Mapping[str, Any]) -> str | None:
    for name in sorted(changes):
        if name in call.contract.key:
            return f"{name} says which change this is and cannot be edited"
        if paths_inside(name, call.contract.redact):
            return f"{name} is kept out of the record and cannot be edited"
    return None


def _other(call: GovernedCall, after: GovernedCall, *, again: bool) -> str | None:
    if after.key != call.key:
        return "the change would be another one"
    # A change of a change may well lead back to what was asked first.
    same = after.args_hash == call.args_hash and after.args == call.args  # the hash has no free text in it
    return "nothing would be different" if same and not again else None


def _short(value: object) -> str:
    shown = presentable(value)
    return shown if isinstance(shown, str) else orjson.dumps(shown).decode()
