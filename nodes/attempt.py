"""One attempt: send while there is time, learn what came of it, settle before anyone sees it."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from langgraph.errors import GraphInterrupt

from langgraph_control.audit.asking import ledger
from langgraph_control.audit.asking.ledger import Claimed, Outcome, Reason, Settle
from langgraph_control.guards.classification import classify
from langgraph_control.guards.classifiers.recognising import class_name
from langgraph_control.guards.failures import Failure, Fault, Sent, Verdict
from langgraph_control.guards.lifecycle import Kind, State
from langgraph_control.guards.retries import backoff_seconds
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.action import Action, Done, NotDone, Unknown
from langgraph_control.nodes.bodies import NOT_RUN, has_not_run
from langgraph_control.nodes.bubbles import QUESTION_INSIDE, question_inside
from langgraph_control.nodes.call import GovernedCall, View
from langgraph_control.nodes.deciding import Bounds
from langgraph_control.nodes.hopeless import noted
from langgraph_control.nodes.reading_back import Confirmation, confirm, not_as_kept, tell_waiters
from langgraph_control.nodes.results import decode, encode
from langgraph_control.nodes.steps import Abandoned, Delivered, Later, Refused
from langgraph_control.nodes.system_news import news
from langgraph_control.nodes.texts import keepable, said
from langgraph_control.nodes.what_runs import what_runs

__all__ = ["attempt", "not_again", "pause_seconds"]

FAILURE_CHARS_MAX: Final = 200

_TRIED_AGAIN: Final = frozenset({Outcome.NOT_DONE, Outcome.LOSE})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Came:
    """What came of the send, ready to be settled."""

    outcome: Outcome
    value: Any = None
    failure: Failure | None = None
    fault: Fault | None = None  # what another try would meet, whether an exception or the outcome hook tells
    retry_after_seconds: float | None = None  # likewise: the pause that was asked for
    said: str = ""  # fit to be kept
    confirmation: Confirmation = Confirmation.UNASKED
    xid: str | None = None
    ended: bool = True


def attempt(
    call: GovernedCall, view: View, claimed: Claimed, bounds: Bounds, ticket: ask.Ticket
) -> Generator[Any, Any, Delivered | Refused | Later | Abandoned]:
    """Have the effect once and settle what came of it.

    Args:
        call: the write.
        view: the target as it was when the claim was made.
        claimed: the claim that said go.
        bounds: what the policy says of retries.
        ticket: the try it was made with.
    """
    runs = what_runs(call, view, claimed)
    if runs is None:
        return (yield from not_as_kept(call, ticket))
    args, timeout = runs.args, call.contract.timeout_seconds
    action = call.action(
        args=args,
        before=runs.before,
        attempt=claimed.attempts,
        deadline=ticket.now + timedelta(seconds=timeout),
    )
    answer = yield ask.Send(
        action=action, args=args, not_after=ticket.started + timeout, transaction=call.kind is Kind.TRANSACTION
    )
    came = yield from _judge(call, action, answer, ticket)
    settled = yield _settle(call, ticket, came, attempt=claimed.attempts, pause=_pause(came, claimed, bounds, ticket))
    if isinstance(settled, ask.RolledBack) and settled.error is not None:
        came = yield from _judge(call, action, ask.Raised(error=settled.error), ticket)
        pause = _pause(came, claimed, bounds, ticket)
        settled = yield _settle(call, ticket, came, attempt=claimed.attempts, pause=pause)
    yield from tell_waiters(call, settled)
    if call.contract.system is not None and not isinstance(answer, ask.NotSent | ask.Cancelled):
        lost, probe = came.outcome is Outcome.LOSE and came.fault is None, claimed.reason == Reason.PROBE
        asked = came.retry_after_seconds
        yield news(call.run.policy, call.contract.system, came.fault, asked, lost=lost, probe=probe)
    if isinstance(answer, ask.Cancelled):
        return Abandoned()
    if isinstance(settled, ask.RolledBack):
        return (yield from _rolled_back(call, claimed, ticket, settled))
    if settled.answer is not ledger.Verdict.SETTLED:
        # Ours was no longer the current attempt. What is true now is for the ledger to say.
        return Later(seconds=0.0, why="a newer attempt is current")
    if came.outcome is Outcome.FAIL and settled.state != State.FAILED:
        return Later(seconds=0.0, why="this attempt did nothing, but an earlier one may have")
    return _next(call, came)


def not_again(
    call: GovernedCall, claimed: Claimed, ticket: ask.Ticket, text: str
) -> Generator[Any, Any, Refused | Later]:
    """Settle an attempt as failed without sending it: the one before had no effect, and this one would have none.

    Args:
        call: the write.
        claimed: the claim that said go.
        ticket: the try it was made with.
        text: what the model is told, now and when the same call is made again.
    """
    settled = yield Settle(
        run_id=call.run.run_id,
        attempt=ticket.attempt,
        key=call.key,
        outcome=Outcome.FAIL,
        error=text,
        call_id=call.call_id,
        body=call.outcome_body(
            sent=Sent.NO.value,
            fault=Fault.PERMANENT.value,
            why=f"attempt {claimed.attempts} was not sent: the one before had no effect, and the same call fails again",
        ),
    )
    yield from tell_waiters(call, settled)
    if settled.answer is ledger.Verdict.SETTLED and settled.state == State.FAILED:
        return Refused(code="failed", text=text)
    return Later(seconds=0.0, why="a newer attempt is current")


def _judge(call: GovernedCall, action: Action, answer: Any, ticket: ask.Ticket) -> Generator[Any, Any, _Came]:
    """What came of a send. Whatever came back, there is something to settle."""
    try:
        return (yield from _looked_at(call, action, answer, ticket))
    except Exception as error:  # noqa: BLE001 - what came back is an object of others, and may raise at every touch
        why = f"what came back cannot be looked at: {class_name(error)}"
        return _Came(outcome=Outcome.LOSE, said=why, ended=not isinstance(answer, ask.Raised) or answer.ended)


def _looked_at(call: GovernedCall, action: Action, answer: Any, ticket: ask.Ticket) -> Generator[Any, Any, _Came]:
    match answer:
        case ask.Returned(value=value, xid=xid):
            return (yield from _returned(call, action, value, xid))
        case ask.NotSent(why=why):
            return _Came(outcome=Outcome.NOT_DONE, said=why)
        case ask.Cancelled():
            # A cancelled transaction was rolled back; anything else may have been sent.
            return _Came(outcome=Outcome.LOSE, said="cancelled in the middle of the call", ended=False)
        case ask.Raised(error=error, ended_transaction=True):
            return _Came(outcome=Outcome.CONTRADICT, said=f"{class_name(error)} after the tool ended the transaction")
        case ask.Raised(error=error, ended=ended):
            asked, not_run = isinstance(error, GraphInterrupt), has_not_run(error)
            error = question_inside(call.tool) if asked else error
            refusals = () if not_run else call.contract.refusals  # no answer that a contract could speak of
            failure = classify(error, kind=call.kind, now=ticket.now, attempt=action.attempt, refusals=refusals)
            failure = replace(failure, error="interrupt", reason=QUESTION_INSIDE) if asked else failure
            failure = replace(failure, reason=NOT_RUN) if not_run else failure
            return _Came(
                outcome=_OUTCOMES[failure.verdict],
                failure=failure,
                fault=failure.fault,
                retry_after_seconds=failure.retry_after_seconds,
                said=_text(error),
                ended=ended,
            )
        case _:
            raise TypeError(f"a send was answered with {type(answer).__name__}")


_OUTCOMES: Final[Mapping[Verdict, Outcome]] = {
    Verdict.NOT_DONE_TRANSIENT: Outcome.NOT_DONE,
    Verdict.NOT_DONE_RATE_LIMITED: Outcome.NOT_DONE,
    Verdict.NOT_DONE_PERMANENT: Outcome.FAIL,
    Verdict.UNKNOWN: Outcome.LOSE,
}


def _returned(call: GovernedCall, action: Action, value: Any, xid: str | None) -> Generator[Any, Any, _Came]:
    if call.contract.outcome is not None:
        heard = yield ask.Ask(hook="outcome", action=_with_result(action, value))
        match heard.value if isinstance(heard, ask.Heard) else None:
            case Done(result=result):
                value = value if result is None else result
            case NotDone() as told:
                return _not_done(told)
            case Unknown(reason=reason):
                return _Came(outcome=Outcome.LOSE, said=said(reason))
            case _:
                return _Came(outcome=Outcome.LOSE, said="the outcome hook could not tell")
    if xid is not None or not call.contract.can_verify:
        return _Came(outcome=Outcome.SUCCEED, value=value, xid=xid)
    confirmation = yield from confirm(call, _with_result(action, value))
    if confirmation is Confirmation.MISMATCH:
        # The tool says done, the record says not: conflicting sources are for a person.
        return _Came(
            outcome=Outcome.CONTRADICT, value=value, confirmation=confirmation, said="read back, it is not there"
        )
    return _Came(outcome=Outcome.SUCCEED, value=value, confirmation=confirmation)


def _not_done(told: NotDone) -> _Came:
    if not told.transient:
        return _Came(outcome=Outcome.FAIL, fault=Fault.PERMANENT, said=said(told.reason))
    limited = told.retry_after_seconds is not None
    return _Came(
        outcome=Outcome.NOT_DONE,
        fault=Fault.RATE_LIMITED if limited else Fault.TRANSIENT,
        retry_after_seconds=told.retry_after_seconds,
        said=said(told.reason),
    )


def _with_result(action: Action, value: Any) -> Action:
    return Action(
        tool=action.tool,
        args=action.args,
        key=action.key,
        intent=action.intent,
        run_id=action.run_id,
        attempt=action.attempt,
        before=action.before,
        result=value,
        deadline=action.deadline,
    )


def pause_seconds(wanted: float, claimed: Claimed, bounds: Bounds, ticket: ask.Ticket) -> float:
    """Return how long to wait before another attempt.

    Args:
        wanted: what the other side asked for, in seconds.
        claimed: the claim of the attempt that failed.
        bounds: what the policy says of retries.
        ticket: of that attempt; its chance is drawn once.
    """
    backoff = backoff_seconds(
        max(1, claimed.attempts),
        base=bounds.retries.base_seconds,
        cap=bounds.retries.cap_seconds,
        unit_random=ticket.chance,
    )
    return max(wanted, backoff)


def _pause(came: _Came, claimed: Claimed, bounds: Bounds, ticket: ask.Ticket) -> float:
    if came.outcome not in _TRIED_AGAIN:
        return 0.0
    return pause_seconds(came.retry_after_seconds or 0.0, claimed, bounds, ticket)


def _settle(call: GovernedCall, ticket: ask.Ticket, came: _Came, *, attempt: int, pause: float = 0.0) -> Settle:
    has_result = came.outcome in (Outcome.SUCCEED, Outcome.CONTRADICT)
    failure = came.failure
    return Settle(
        run_id=call.run.run_id,
        attempt=ticket.attempt,
        key=call.key,
        outcome=came.outcome,
        events=came.confirmation.events,
        result=encode(came.value) if has_result else None,
        error=_words(call, came, attempt),
        failure=_kind_of_failure(came),
        call_id=call.call_id,
        xid=came.xid,
        ended=came.ended,
        pause_ms=int(pause * 1000),
        body=call.outcome_body(
            confirmation=None if came.confirmation is Confirmation.UNASKED else came.confirmation.value,
            error=failure.error if failure else None,
            sent=failure.sent.value if failure else None,
            fault=came.fault.value if came.fault else None,
            why=said(failure.reason) if failure else came.said or None,
        ),
    )


def _kind_of_failure(came: _Came) -> str | None:
    """What tells the same failure from another one: nothing of what was sent."""
    if came.failure is not None:
        return keepable(f"{came.failure.error}: {came.failure.reason}")[:FAILURE_CHARS_MAX]
    return None if came.outcome is Outcome.SUCCEED else (came.said or came.outcome.value)[:FAILURE_CHARS_MAX]


def _next(call: GovernedCall, came: _Came) -> Delivered | Refused | Later:
    match came.outcome:
        case Outcome.SUCCEED:
            # What was stored is what is delivered, so that the first delivery and every repeat are equal.
            return Delivered(value=decode(encode(came.value)), replayed=False)
        case Outcome.FAIL:
            return Refused(code="failed", text=_refusal(call, came))
        case Outcome.NOT_DONE:
            return Later(
                seconds=came.retry_after_seconds or 0.0, why=came.failure.reason if came.failure else came.said
            )
        case _:
            return Later(seconds=0.0, why="the outcome is unknown")


def _words(call: GovernedCall, came: _Came, attempt: int) -> str | None:
    """What the ledger keeps for repeats of a failure, or for whoever finds out that a lost attempt did nothing."""
    if came.outcome in (Outcome.FAIL, Outcome.NOT_DONE):
        return _refusal(call, came)
    lost = came.outcome is Outcome.LOSE and call.contract.can_verify
    if lost and came.failure is not None and came.failure.fault is Fault.PERMANENT:
        return noted(_refusal(call, came), attempt=attempt)
    return None


def _refusal(call: GovernedCall, came: _Came) -> str:
    return f"{call.tool} failed and nothing was changed. {came.said}".strip()


def _text(error: BaseException) -> str:
    """What the tool itself would have told the model."""
    name, words = class_name(error), said(error)
    return said(f"{name}: {words}" if words else name)


_ROLLED_BACK: Final[Mapping[str, str]] = {
    "ended": "the tool ended the ledger's transaction",
    "stale": "rolled back: a newer attempt is current",
    "undone": "rolled back before its commit",
}


def _rolled_back(
    call: GovernedCall, claimed: Claimed, ticket: ask.Ticket, settled: ask.RolledBack
) -> Generator[Any, Any, Delivered | Refused | Later]:
    if settled.why == "unsure":
        # Effect and record are one commit: whichever happened, the ledger knows once the lease is over.
        return Later(seconds=0.0, why="the connection was lost while committing")
    outcome = Outcome.CONTRADICT if settled.why == "ended" else Outcome.NOT_DONE
    why = _ROLLED_BACK[settled.why]
    yield _settle(call, ticket, _Came(outcome=outcome, said=why), attempt=claimed.attempts)
    return Later(seconds=0.0, why=why)
