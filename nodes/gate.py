"""The one gate: a write is claimed before it happens, happens at most as often as its kind allows, and is settled.

A generator without I/O: it yields what it wants done and is sent the answer (see :mod:`requests` beside it). Two thin
drivers run it, sync and async; the simulator runs this same body with a fault at every yield. The claim's answer is the
only routing.
"""

from collections.abc import Generator
from dataclasses import replace
from typing import Any, Final, TypeAlias

from langgraph_control.audit.asking.ledger import Answer, Claim, Claimed, Reason
from langgraph_control.audit.names import question_name
from langgraph_control.guards.classification import classify
from langgraph_control.guards.decisions import Decision, Source, Verb
from langgraph_control.guards.failures import Failure, Fault
from langgraph_control.guards.told_signals import told_signals
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.action import ABSENT
from langgraph_control.nodes.asking import told_answer, with_answer
from langgraph_control.nodes.attempt import attempt, not_again, pause_seconds
from langgraph_control.nodes.call import TARGET_CHARS_MAX, GovernedCall, View, as_record
from langgraph_control.nodes.card import card_bytes, named_target, parked_card
from langgraph_control.nodes.checking import checked, names_of_checks
from langgraph_control.nodes.deciding import Bounds, bounds_of, decide, signals_of, with_watch_told
from langgraph_control.nodes.editing import edited, told_edit
from langgraph_control.nodes.foreign_answers import ask_graph
from langgraph_control.nodes.gathering import gathered
from langgraph_control.nodes.reading_back import find_out
from langgraph_control.nodes.refusal_texts import refusal_text
from langgraph_control.nodes.results import decode
from langgraph_control.nodes.steps import Abandoned, Delivered, Later, Refused, TakenOver
from langgraph_control.nodes.system_news import hook_failed
from langgraph_control.nodes.texts import said

__all__ = ["PATIENCE_SECONDS", "Gate", "perform"]

PATIENCE_SECONDS: Final = 5.0
"""How long a call waits in process for another holder or a back-off. What must wait longer is parked."""

ROOM_SECONDS: Final = 3600.0
"""When to look again whether a budget has room for what has begun and cannot be left."""

_BRAKES: Final = frozenset({Reason.RATE_LIMITED, Reason.SYSTEM_DOWN})

Gate: TypeAlias = Generator[Any, Any, Delivered | Refused | TakenOver | Abandoned]


def perform(call: GovernedCall) -> Gate:
    """Carry one intended effect through to a settled outcome, park it, or refuse it.

    Args:
        call: the write.
    """
    yield from ask_graph(call.run, call.where, ask.ReplayWakes(key=call.key.hex()))
    later: Later | None = None
    hopeless: str | None = None
    waited, with_card = 0.0, False
    while True:
        view = yield from _look(call)
        looked = yield ask.NewTicket()
        signals = yield from gathered(call, view, signals_of(call, view, now=looked.now))
        decision = (
            _postponed(later, call) if later else (yield from checked(call, signals, decide(call, view, signals)))
        )
        decision, asked = yield from with_answer(call, with_watch_told(call, view, decision))
        decision = replace(decision, signals=told_signals(signals, decision))
        bounds = bounds_of(call, signals)
        ticket = yield ask.NewTicket()  # checks may have taken half a minute, which is not the attempt's
        claimed = yield _claim(call, view, decision, bounds, ticket, with_card=with_card)
        if claimed.answer is Answer.EDIT:
            after = yield from edited(call, claimed)
            if isinstance(after, TakenOver):
                return after
            call, with_card = after, False
            continue
        if _lacks_card(claimed, decision) and not with_card:
            with_card = True
            continue
        if claimed.answer is Answer.PARK:
            pause = _brake_seconds(claimed, ticket)
            if pause > 0 and waited + pause <= PATIENCE_SECONDS:
                yield ask.Sleep(seconds=pause)
                waited += pause
            else:
                wake_ms = int(pause * 1000) or _wake_ms(later, claimed, decision, view)
                park = ask.Park(card=parked_card(call, view, decision, claimed, wake_ms=wake_ms))
                yield from ask_graph(call.run, call.where, park, approval_id=claimed.approval_id)
                waited = 0.0
            later = None
            continue
        step = yield from _go_on(call, view, decision, claimed, ticket, bounds=bounds, waited=waited, hopeless=hopeless)
        later = None
        if not isinstance(step, Later):
            return told_edit(call, told_answer(call, step, asked))
        hopeless = step.hopeless
        pause = pause_seconds(step.seconds, claimed, bounds, ticket) if claimed.answer is Answer.GO else step.seconds
        if waited + pause <= PATIENCE_SECONDS:
            yield ask.Sleep(seconds=pause)
            waited += pause
        elif claimed.answer is Answer.GO:
            later = replace(step, seconds=pause)
        else:
            # That very claim listed it as waiting; one for "later" would only be told to wait or verify again.
            waiting = replace(claimed, reason=_waits_for(claimed))
            park = ask.Park(card=parked_card(call, view, decision, waiting, wake_ms=int(pause * 1000)))
            yield from ask_graph(call.run, call.where, park)
            waited = 0.0


def _go_on(
    call: GovernedCall,
    view: View,
    decision: Decision,
    claimed: Claimed,
    ticket: ask.Ticket,
    *,
    bounds: Bounds,
    waited: float,
    hopeless: str | None,
) -> Generator[Any, Any, Delivered | Refused | TakenOver | Abandoned | Later]:
    match claimed.answer:
        case Answer.GO:
            if hopeless is not None:
                return (yield from not_again(call, claimed, ticket, hopeless))
            return (yield from attempt(call, view, claimed, bounds, ticket))
        case Answer.VERIFY:
            return (yield from find_out(call, view, claimed, ticket))
        case Answer.WAIT:
            seconds = min(0.05 + waited / 4, claimed.wait_ms / 1000 + 0.01)
            return Later(seconds=seconds, why="another worker is at it")
        case _:
            return _ended(call, claimed, decision)


def _look(call: GovernedCall) -> Generator[Any, Any, View]:
    contract = call.contract
    target = (contract.target_text(call.args) or "")[:TARGET_CHARS_MAX] or None
    if callable(contract.target):
        heard = yield ask.Ask(hook="target", action=call.action())
        if isinstance(heard, ask.AskFailed) and (yield from _may_pass(heard.error)):
            return View(failed=True)
        target = _name(heard)
    if contract.read is None:
        return View(target=target)
    heard = yield ask.Ask(hook="read", action=call.action())
    before = _record(heard)
    if before is None:
        return View(failed=True, target=target, asked_seconds=(yield from _asked(call, heard)))
    after = None
    if contract.expect is not None and before is not ABSENT:
        heard = yield ask.Ask(hook="expect", action=call.action(before=before))
        if isinstance(heard, ask.AskFailed):
            return View(failed=True, target=target)
        after = as_record(heard.value)
        if after is None and heard.value is not None:
            return View(failed=True, target=target)
    # Without a field there is nothing to hold against the record: no proof, and no doubt.
    return View(before=before, after=after or None, target=target)


def _asked(call: GovernedCall, heard: ask.Heard | ask.AskFailed) -> Generator[Any, Any, float]:
    """How long the record's system asked to be left alone, in seconds; it is told to all. 0 where it did not."""
    if not isinstance(heard, ask.AskFailed):
        return 0.0
    failure: Failure = yield from hook_failed(call.run.policy, call.contract.system, heard.error)
    return failure.retry_after_seconds or 0.0


def _may_pass(error: BaseException) -> Generator[Any, Any, bool]:
    """Whether a hook failed for what a later try need not meet: then nothing is known now, and nothing refused."""
    ticket = yield ask.NewTicket()
    return classify(error, kind=None, now=ticket.now).fault is not Fault.PERMANENT


def _name(heard: ask.Heard | ask.AskFailed) -> str | None:
    """What the target hook calls the record; None where it names none."""
    if isinstance(heard, ask.AskFailed) or heard.value is None:
        return None
    name = said(heard.value)[:TARGET_CHARS_MAX]
    return name if name.strip() else None


def _record(heard: ask.Heard | ask.AskFailed) -> Any:
    """What read says, a record or ABSENT; None where it failed or said neither."""
    if isinstance(heard, ask.AskFailed):
        return None
    return ABSENT if heard.value is ABSENT else as_record(heard.value)


def _postponed(later: Later, call: GovernedCall) -> Decision:
    return Decision(
        verb=Verb.RETRY_LATER,
        reasons=(later.why,),
        requirement=None,
        matched=(),
        policy_hash=call.run.policy.hash,
        source=Source.RUN_STATE,
    )


def _lacks_card(claimed: Claimed, decision: Decision) -> bool:
    """Whether the ledger asks people where this policy did not, so that there is nothing yet to show them."""
    return (
        claimed.answer is Answer.PARK and claimed.reason == Reason.NEEDS_APPROVAL and decision.verb is not Verb.APPROVE
    )


def _claim(
    call: GovernedCall, view: View, decision: Decision, bounds: Bounds, ticket: ask.Ticket, *, with_card: bool
) -> Claim:
    contract = call.contract
    digest = call.digest(view)
    return Claim(
        run_id=call.run.run_id,
        token=call.run.token,
        attempt=ticket.attempt,
        key=call.key,
        args_hash=call.args_hash,
        scope=call.scope(view),
        digest=digest,
        verb=decision.verb.value,
        requirement=decision.requirement.canonical() if decision.requirement else None,
        tool=call.tool,
        system=contract.system,
        impact=call.impact.value,
        kind=call.kind.value,
        fallback_kind=contract.fallback_kind.value,
        lease_ms=call.lease_ms,
        keyed_ms=int((contract.keyed_for_seconds or 0) * 1000),
        visible_ms=int(contract.visible_within_seconds * 1000),
        attempts_max=bounds.retries.attempts,
        same_max=bounds.retries.same_failure,
        give_up_ms=max(1, int(bounds.retries.give_up_after_seconds * 1000)),
        calls_max=bounds.calls_max,
        retry_ms_max=bounds.retry_ms_max,
        charges=bounds.charges,
        saga=None if call.place is None else call.place.for_claim(),
        call_id=call.call_id,
        body=call.body(
            reasons=list(decision.reasons),
            rules=list(decision.matched),
            signals=dict(decision.signals) or None,
            also=[f"{one.place}: {one.then}" for one in decision.heard if not one.decides] or None,
            observed=decision.observed.verb.value if decision.observed else None,
            fallbacks=[one.as_json() for one in call.run.memory.fallbacks] or None,
            owner=decision.owner,
            question=decision.question,
            question_id=question_name(call.question_id) if decision.question else None,
            checks=names_of_checks(call),
            policy=decision.policy_hash,
            target=named_target(call, view),
            saga=dict(call.place.standing) or None if call.place is not None else None,
            at=ticket.now.isoformat(),
        ),
        payload=call.payload(view),
        card=card_bytes(call, view, decision, now=ticket.now) if with_card or decision.verb is Verb.APPROVE else None,
        edit_no=call.edit_no,
    )


def _brake_seconds(claimed: Claimed, ticket: ask.Ticket) -> float:
    """How long what holds this call back lasts by itself, a little longer for some than for others; 0: nobody knows."""
    if claimed.reason == Reason.LIMIT_REACHED:
        return claimed.wait_ms / 1000 or ROOM_SECONDS
    if claimed.reason == Reason.RETRY_LATER and claimed.wait_ms:
        return claimed.wait_ms / 1000 + 0.01
    return (claimed.wait_ms / 1000 + 0.01) * (1 + ticket.chance / 5) if claimed.reason in _BRAKES else 0.0


def _wake_ms(later: Later | None, claimed: Claimed, decision: Decision, view: View) -> int:
    if later is not None:
        return max(1, int(later.seconds * 1000))
    if claimed.reason == Reason.RETRY_LATER and decision.seconds is not None:
        return max(1, int(decision.seconds * 1000))
    return max(60_000, int(view.asked_seconds * 1000)) if claimed.reason == Reason.RECORD_UNREADABLE else 0


def _waits_for(claimed: Claimed) -> str:
    return Reason.HELD if claimed.answer is Answer.WAIT else Reason.OUTCOME_UNKNOWN


def _ended(call: GovernedCall, claimed: Claimed, decision: Decision) -> Delivered | Refused | TakenOver:
    if claimed.answer is Answer.STALE:
        return TakenOver()
    if claimed.answer is Answer.STORED and claimed.reason == Reason.SUCCEEDED and claimed.result is not None:
        return Delivered(value=decode(claimed.result), replayed=True)
    if claimed.answer is Answer.STORED and claimed.reason == Reason.SUCCEEDED:
        return Delivered(value=f"{call.tool} is done; its result is not on record.", replayed=True)
    if claimed.answer is Answer.STORED:
        return Refused(code=Reason.FAILED, text=claimed.error or f"{call.tool} failed; nothing was changed.")
    return Refused(code=claimed.reason, text=refusal_text(call, claimed, decision), reasons=decision.reasons)
