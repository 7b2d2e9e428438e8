"""Where a run goes in circles: which step a call is, what the model is told of it, and when a person has to look."""

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from langchain_core.messages import ToolMessage
from langgraph.types import Command

from langgraph_control.audit.asking.ledger import Reason
from langgraph_control.audit.asking.observing import KeepStep, Kept, KeptAs
from langgraph_control.guards.loops import Loop, LoopRules, Step
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.call import GovernedCall
from langgraph_control.nodes.foreign_answers import ask_graph
from langgraph_control.nodes.gate import Gate, perform
from langgraph_control.nodes.run_memory import CallMade
from langgraph_control.nodes.steps import Delivered, Refused, TakenOver

__all__ = ["LOOPING", "Turn", "mark", "noted_on", "stopped_text", "told", "turn_of", "watched"]

LOOPING: Final = "looping"
"""The reason of a run that was parked because it goes in circles."""

_ORIGIN: Final = b"langgraph-control/step-origin/1"
_CALL: Final = b"langgraph-control/step-call/1"
_RESULT: Final = b"langgraph-control/step-result/1"
_SCOPE: Final = b"langgraph-control/step-scope/1"
_TURN: Final = b"langgraph-control/step-turn/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """When a model made a call.

    Args:
        scope: tells its conversation from others of the run: a subagent has not been told what the agent was told.
        message: tells the message that asked for the call from others of the conversation.
    """

    scope: bytes
    message: bytes


def mark(tag: bytes, *parts: bytes) -> bytes:
    """Return the 32 bytes that name something for comparison.

    Args:
        tag: what is named.
        *parts: what it is made of; each is framed by its length.
    """
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hashlib.sha256(tag + framed).digest()


def turn_of(messages: object, task: str) -> Turn:
    """Return when a call is made.

    Args:
        messages: in sight of the call, oldest first; whatever a graph keeps under that name.
        task: the id of the task that it is made in, for graphs that keep no messages.
    """
    listed = messages if isinstance(messages, list) and messages else [None]
    first, last = (str(getattr(one, "id", "")).encode("utf-8", "replace") for one in (listed[0], listed[-1]))
    place = task if listed == [None] else str(len(listed))
    return Turn(scope=mark(_SCOPE, first), message=mark(_TURN, last, place.encode("utf-8", "replace")))


def watched(call: GovernedCall, turn: Turn) -> Gate:
    """Carry a write through its gate, and notice where a model asks for what changes nothing again and again.

    That is a write which is refused, or one that was done before and is told from what is stored. Such a repeat counts
    among the run's tool calls; a call whose task runs again is no repeat.

    Args:
        call: the write.
        turn: when a model made it.
    """
    memory = call.run.memory
    while True:
        ended = yield from perform(call)
        if not isinstance(ended, (Delivered, Refused)):
            return ended
        did_it = isinstance(ended, Delivered) and not ended.replayed
        if call.call_id is None:
            if did_it:
                memory.changed_something()
            return ended
        ticket = yield ask.NewTicket()
        if did_it:
            memory.changed_something(_made(call), partial(_step, call, ended, turn, ticket.now))
            return ended
        step = _step(call, ended, turn, ticket.now)
        told_so = yield from _judged(call, ended, step)
        if told_so is not None:
            return told_so


def _judged(
    call: GovernedCall, ended: Delivered | Refused, step: Step
) -> Generator[Any, Any, Delivered | Refused | TakenOver | None]:
    """What the model is told of a write that changed nothing; None where its run waits for a person first."""
    memory, rules = call.run.memory, call.run.policy.caps.loops
    if isinstance(ended, Delivered) and memory.runs_again(_made(call), step, rules):
        return ended
    loop = memory.judge(step, rules)
    # Nothing is called off: what is refused or done already costs nothing and changes nothing.
    loop = Loop.NONE if loop is Loop.STOPPED else loop
    kept: Kept = yield _kept(call, step, loop, done=isinstance(ended, Delivered))
    if kept.answer is KeptAs.STALE:
        return TakenOver()
    if kept.answer is KeptAs.CALLS_USED_UP:
        card = _card(call, Reason.CALLS_USED_UP, "the run has made as many tool calls as it may")
        yield from ask_graph(call.run, call.where, ask.Park(card=card))
        return None
    memory.keep(step, writes=kept.writes)
    if loop is Loop.PARKED:
        what = "refused" if isinstance(ended, Refused) else "asked for after it was done"
        card = _card(call, LOOPING, f"the run goes in circles: this was {what} again and again")
        yield from ask_graph(call.run, call.where, ask.Park(card=card))
        return None
    return _noted(ended, told(loop, call.tool, rules, write=ended))


def _noted(ended: Delivered | Refused, note: str) -> Delivered | Refused:
    if not note:
        return ended
    if isinstance(ended, Refused):
        return replace(ended, text=f"{ended.text}{note}")
    return replace(ended, note="\n".join(filter(None, (ended.note, note.strip()))))


def told(loop: Loop, tool: str, rules: LoopRules, *, write: Delivered | Refused | None = None) -> str:
    """Return what the model is told of its going in circles, to be put behind an answer; "" where there is nothing.

    Args:
        loop: what the step says.
        tool: the tool.
        rules: how often is too often.
        write: what a write ended with that changed nothing; None for a read.
    """
    match loop:
        case Loop.SAME:
            what = "refusal" if isinstance(write, Refused) else "answer"
            then = "it will not be made" if write is None else "a person has to look at this run"
            again = "Do not repeat the call"
            again = f"It is done, and was not done again. {again}" if isinstance(write, Delivered) else again
            return (
                f"\n\n[{tool} has had the same {what} to the same call {rules.same_answer} times, and nothing was "
                f"changed in between. {again}: if you go on, {then}. Go on with what you have, or tell "
                "the user what is missing.]"
            )
        case Loop.BOUNCING:
            return (
                f"\n\n[You are going to and fro between {tool} and another call, with the same two answers each time. "
                "Do something else, or tell the user what is missing: if you go on, a person has to look at this run.]"
            )
        case _:
            return ""


def stopped_text(tool: str, rules: LoopRules) -> str:
    """Return what the model is told instead of an answer that it has had too often.

    Args:
        tool: the tool.
        rules: how often is too often.
    """
    return (
        f"{tool} was not called: the same call has had the same answer {rules.same_answer} times, and nothing was "
        "changed in between. Use that answer, or tell the user what is missing. It can be asked again when "
        f"{_span(rules)} have passed since the last time."
    )


def noted_on(value: Any, note: str, call_id: str) -> Any:
    """Return a read's result with a note for the model behind it; where it has no text for one, as it is.

    Args:
        value: what the read returned.
        note: the note; "" for none.
        call_id: the tool call that it answers.
    """
    if not note:
        return value
    match value:
        case str():
            return value + note
        case (content, artifact) if isinstance(value, tuple):
            return noted_on(content, note, call_id), artifact
        case ToolMessage():
            return value.model_copy(update={"content": noted_on(value.content, note, call_id)})
        case Command(update=Mapping() as update):
            messages = [
                noted_on(one, note, call_id) if isinstance(one, ToolMessage) and one.tool_call_id == call_id else one
                for one in update.get("messages", ())
            ]
            return replace(value, update={**update, "messages": messages}) if messages else value
        case Command():
            return value
        case list() if value and all(isinstance(part, (str, Mapping)) for part in value):
            return [*value, {"type": "text", "text": note}] if _are_blocks(value) else _text(value) + note
        case _:
            return _text(value) + note


def _are_blocks(parts: Sequence[Any]) -> bool:
    return all(isinstance(part, str) or part.get("type") in {"text", "image_url", "image", "json"} for part in parts)


def _text(value: Any) -> str:
    """What LangChain makes of a result that is no text."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except Exception:  # noqa: BLE001 - LangChain's own rule: JSON where it can be, else the object's text
        return str(value)


def _span(rules: LoopRules) -> str:
    seconds = rules.within_seconds
    return f"{seconds / 60:g} minutes" if seconds > 120 else f"{seconds:g} seconds"  # noqa: PLR2004 - reads better


def _made(call: GovernedCall) -> CallMade:
    return call.key, call.where.get("task_id", ""), call.call_id or ""


def _step(call: GovernedCall, ended: Delivered | Refused, turn: Turn, now: datetime) -> Step:
    at = (call.where.get("task_id", ""), call.call_id or "")
    # What is done has one answer, which is stored under its key.
    answer = (ended.code, *ended.reasons) if isinstance(ended, Refused) else ("done",)
    return Step(
        origin=mark(_ORIGIN, call.key, *(part.encode("utf-8", "replace") for part in at)),
        scope=turn.scope,
        turn=turn.message,
        call=mark(_CALL, call.key, call.args_hash),
        result=mark(_RESULT, *(part.encode("utf-8", "replace") for part in answer)),
        at=now,
        writes=0,
    )


def _kept(call: GovernedCall, step: Step, loop: Loop, *, done: bool) -> KeepStep:
    return KeepStep(
        run_id=call.run.run_id,
        token=call.run.token,
        tool=call.tool,
        loop=None if loop is Loop.NONE else loop.value,
        origin=step.origin,
        scope=step.scope,
        turn=step.turn,
        call=step.call,
        result=step.result,
        at=step.at,
        repeats=call.key if done else None,
        calls_max=call.run.policy.caps.tool_calls,
        body=call.body(at=step.at.isoformat()),
    )


def _card(call: GovernedCall, reason: str, why: str) -> dict[str, Any]:
    shown = {
        "what": {"tool": call.tool, "impact": call.impact.value},
        "where": {"system": call.contract.system, "target": call.contract.target_text(call.args)},
        "why": {"intent": call.run.intent, "reasons": [why]},
        "who": {"actor": call.run.actor, "on_behalf_of": call.run.on_behalf_of},
    }
    return {"control": call.key.hex(), "reason": str(reason), "wake_ms": 0, **shown}
