"""Reading back: finding out what became of a lost attempt, and confirming one that says it is done."""

from collections.abc import Generator, Sized
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from langgraph_control.audit.asking.ledger import Claimed, Outcome, Settle, Settled, Verdict
from langgraph_control.audit.asking.requests import LastError
from langgraph_control.audit.asking.wakes import NotifyWaiters
from langgraph_control.guards.failures import Failure, Sent
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.action import ABSENT, Action, Done, NotDone, Unknown
from langgraph_control.nodes.call import GovernedCall, View, as_record, holds
from langgraph_control.nodes.hopeless import noted, told
from langgraph_control.nodes.results import decode, encode
from langgraph_control.nodes.steps import Delivered, Later
from langgraph_control.nodes.system_news import hook_failed
from langgraph_control.nodes.what_runs import NOT_AS_KEPT, what_runs

__all__ = ["Confirmation", "confirm", "find_out", "not_as_kept", "tell_waiters", "tells_nothing"]

SECOND_LOOK_SECONDS: Final = 0.1
"""Between the two reads that "not there" takes."""

CONFIRM_WITHIN_SECONDS: Final = 2.0
"""How long a finished write is waited for to show. What shows later than that is left unconfirmed."""

TRY_AGAIN_SECONDS: Final = 1.0


class Confirmation(StrEnum):
    """What reading back says about a write that reports success."""

    UNASKED = "unasked"  # the contract cannot read it back
    VERIFIED = "verified"  # it is there
    PENDING = "pending"  # not there yet, and it may take longer to show than was waited
    MISMATCH = "mismatch"  # not there, and it would show by now
    UNREADABLE = "unreadable"  # the hook failed or could not tell

    @property
    def events(self) -> tuple[str, ...]:
        """The facts to record beside the outcome."""
        named = {Confirmation.VERIFIED: ("effect.verified",), Confirmation.MISMATCH: ("effect.mismatch",)}
        return named.get(self, ())


class _Sight(StrEnum):
    """One look."""

    THERE = "there"
    NOT_THERE = "not_there"
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one look gave.

    Args:
        sight: whether it is there.
        result: the tool's result, where it is.
        asked_seconds: how long the system asked to be left alone; 0: it did not.
    """

    sight: _Sight
    result: Any = None
    asked_seconds: float = 0.0


def find_out(
    call: GovernedCall, view: View, claimed: Claimed, ticket: ask.Ticket
) -> Generator[Any, Any, Delivered | Later]:
    """Find out whether a lost attempt had its effect, and settle what is found.

    Args:
        call: the write.
        view: the target as it is now.
        claimed: the claim that said verify; it also says whether "not there" may be believed.
        ticket: the try it was made with.
    """
    runs = what_runs(call, view, claimed)
    if runs is None:
        return (yield from not_as_kept(call, ticket))
    action = call.action(args=runs.args, attempt=claimed.attempts, before=runs.before)
    look = yield from _look(call, action)
    if look.sight is _Sight.NOT_THERE and claimed.absence_counts:
        yield ask.Sleep(seconds=SECOND_LOOK_SECONDS)
        look = yield from _look(call, action)
    sight, result = look.sight, look.result
    if sight is _Sight.THERE:
        outcome = Outcome.FOUND
    elif sight is _Sight.NOT_THERE and claimed.absence_counts:
        outcome = Outcome.ABSENT
    else:
        outcome = Outcome.UNDETERMINED
    hopeless = None
    if outcome is not Outcome.FOUND:
        hopeless = told((yield LastError(key=call.key)), attempt=claimed.attempts)
    settled = yield Settle(
        run_id=call.run.run_id,
        attempt=ticket.attempt,
        key=call.key,
        outcome=outcome,
        # A reader that could not tell leaves the note as it found it, for the next one.
        error=None if hopeless is None else noted(hopeless, attempt=claimed.attempts),
        events=("effect.verified",) if outcome is Outcome.FOUND else (),
        result=encode(result) if outcome is Outcome.FOUND else None,
        call_id=call.call_id,
        body=call.outcome_body(sight=sight.value, call_id=call.call_id),
    )
    yield from tell_waiters(call, settled)
    if settled.answer is Verdict.SETTLED and outcome is Outcome.FOUND:
        return Delivered(value=decode(encode(result)), replayed=True)
    if outcome is Outcome.UNDETERMINED:
        again = max(TRY_AGAIN_SECONDS, look.asked_seconds)
        until_believed = claimed.wait_ms / 1000 if sight is _Sight.NOT_THERE else again
        return Later(seconds=max(until_believed, SECOND_LOOK_SECONDS), why="it cannot be told yet whether it happened")
    return Later(seconds=0.0, why="it did not happen", hopeless=hopeless)


def not_as_kept(call: GovernedCall, ticket: ask.Ticket) -> Generator[Any, Any, Later]:
    """Leave to people a write that is on record as another one than this call asks for: nothing is sent or read.

    Args:
        call: the write.
        ticket: the try it was claimed with.
    """
    settled = yield Settle(
        run_id=call.run.run_id,
        attempt=ticket.attempt,
        key=call.key,
        outcome=Outcome.CONTRADICT,
        call_id=call.call_id,
        body=call.outcome_body(sent=Sent.NO.value, why=NOT_AS_KEPT),
    )
    yield from tell_waiters(call, settled)
    return Later(seconds=0.0, why=NOT_AS_KEPT)


def tell_waiters(call: GovernedCall, settled: object) -> Generator[Any, Any, None]:
    """Notify workers where other runs wait for what was settled: a statement of its own, never inside the settle.

    Args:
        call: the write.
        settled: the settle's answer.
    """
    if isinstance(settled, Settled) and settled.woke:
        yield NotifyWaiters(key=call.key)


def confirm(call: GovernedCall, action: Action) -> Generator[Any, Any, Confirmation]:
    """Read back a write that reports success.

    Args:
        call: the write.
        action: with the tool's result.
    """
    visible = call.contract.visible_within_seconds
    look = yield from _look(call, action)
    if look.sight is _Sight.NOT_THERE and visible <= CONFIRM_WITHIN_SECONDS:
        if visible > 0:
            yield ask.Sleep(seconds=visible)
        look = yield from _look(call, action)
        if look.sight is _Sight.NOT_THERE:
            return Confirmation.MISMATCH
    match look.sight:
        case _Sight.THERE:
            return Confirmation.VERIFIED
        case _Sight.NOT_THERE:
            return Confirmation.PENDING
        case _:
            return Confirmation.UNREADABLE


def tells_nothing(found: object) -> bool:
    """Whether an answer of ``find`` is none: an empty search, taken for a result, would be recorded as done.

    Args:
        found: what the hook answered; one that fails over being looked at tells nothing either.
    """
    if found is None or found is False:
        return True
    try:
        return isinstance(found, (Done, NotDone, Unknown)) or (isinstance(found, Sized) and len(found) == 0)
    except Exception:  # noqa: BLE001 - an answer is an object of others, read while an effect waits for its settle
        return True


def _look(call: GovernedCall, action: Action) -> Generator[Any, Any, _Look]:
    if call.contract.find is not None:
        heard = yield ask.Ask(hook="find", action=action)
        if isinstance(heard, ask.AskFailed):
            return (yield from _not_told(call, heard))
        if tells_nothing(heard.value):
            return _Look(sight=_Sight.CANNOT_TELL)
        if heard.value is ABSENT:
            return _Look(sight=_Sight.NOT_THERE)
        return _Look(sight=_Sight.THERE, result=heard.value)
    heard = yield ask.Ask(hook="read", action=action)
    if isinstance(heard, ask.AskFailed):
        return (yield from _not_told(call, heard))
    record = heard.value if heard.value is ABSENT else as_record(heard.value)
    heard = yield ask.Ask(hook="expect", action=action)
    after = None if isinstance(heard, ask.AskFailed) else as_record(heard.value)
    if record is None or not after:
        # No record, or no field to hold against it: neither proof that it happened nor proof that it did not.
        return _Look(sight=_Sight.CANNOT_TELL)
    if holds(after, record):
        shows = action.result if action.result is not None else f"{call.tool} is done; the record shows it."
        return _Look(sight=_Sight.THERE, result=shows)
    return _Look(sight=_Sight.NOT_THERE)


def _not_told(call: GovernedCall, heard: ask.AskFailed) -> Generator[Any, Any, _Look]:
    """A hook that failed tells nothing of the effect, and something of its system."""
    failure: Failure = yield from hook_failed(call.run.policy, call.contract.system, heard.error)
    return _Look(sight=_Sight.CANNOT_TELL, asked_seconds=failure.retry_after_seconds or 0.0)
