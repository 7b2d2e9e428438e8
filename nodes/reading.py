"""Reads: free to repeat, so not claimed; one entry records what was looked at before the model sees it.

A generator like the gate, over the same requests, for the same two drivers. A tool that runs a governed graph is
declared as a read, too: it has no effect of its own, and a bubble-up from inside it (parking, another worker) passes
straight through.

A read that would begin after its run's deadline is not called: the run parks, as it does for a write. Whether it is
over says the ledger, which is asked before the call only where that seems so here.

A read that fails for good may have a fallback, or wait. What it meets is told of its system to all workers, and a
system that asked for no calls, or is down, is not called: the run waits, or the fallback is taken. A read that a model
asks for again and again, with the same answer each time and nothing changed in between, is not called any more.
"""

import hashlib
import hmac
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, Final

from langgraph.errors import GraphBubbleUp

from langgraph_control.audit.asking.ledger import Reason
from langgraph_control.audit.asking.observing import Observe, Observed, ObservedAs, Seen
from langgraph_control.errors import ControlError
from langgraph_control.guards.canonical import observed, observed_bytes
from langgraph_control.guards.classification import classify
from langgraph_control.guards.failures import Failure, Fault
from langgraph_control.guards.loops import Loop, Step
from langgraph_control.guards.retries import backoff_seconds
from langgraph_control.guards.retry_rules import RetryRules
from langgraph_control.guards.signals import Breaker, SystemState
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.fallbacks import WAIT, StoodIn, stand_in
from langgraph_control.nodes.foreign_answers import ask_graph
from langgraph_control.nodes.looping import LOOPING, noted_on, stopped_text, told
from langgraph_control.nodes.read_call import GovernedRead
from langgraph_control.nodes.results import encode
from langgraph_control.nodes.steps import Refused, TakenOver
from langgraph_control.nodes.system_news import held_back, news
from langgraph_control.nodes.texts import said

__all__ = ["Consult", "Found", "Looked", "NotFound", "consult"]

TRIES_MAX: Final = 3
BACKOFF_BASE_SECONDS: Final = 0.2
BACKOFF_CAP_SECONDS: Final = 2.0
"""A dependency that wants a longer pause is not waited for in process: its failure goes to the caller."""

WAIT_SECONDS_MIN: Final = 5.0
"""A read that waits for its system is not tried again sooner: up to then it was waited for in process."""

_RESULT: Final = b"langgraph-control/read-result/1"
_OVER: Final = "the run's deadline is over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consult:
    """Call a read's body as it was called. Answered with :class:`Looked`; a cancellation simply ends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What came of one try of a read.

    Args:
        outcome: what it returned or raised.
        repeatable: it asked nobody and ran no graph, so it may be tried again in process.
    """

    outcome: ask.Returned | ask.Raised
    repeatable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The read gave something, and that is on record.

    Args:
        value: what it returned.
    """

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound:
    """The read raised.

    Args:
        error: to be raised unchanged.
    """

    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class _Came:
    """What came of a read before it is on record.

    Args:
        ended: what its caller gets once it is.
        seen: what it is recorded as.
        ticket: of the last try.
        tries: how many there were.
        result: the stored result; None where there is none.
        failure: of the last try.
        said: what it raised, as a result that may come again.
        repeatable: nothing was asked and no graph ran.
        wait_seconds: how long it had rather wait than fail.
        step: the step it is, where it was not called; else None.
    """

    ended: "Found | NotFound | StoodIn | Refused"
    seen: Seen
    ticket: ask.Ticket
    tries: int = 0
    result: bytes | None = None
    failure: Failure | None = None
    said: str = ""
    repeatable: bool = False
    wait_seconds: float = 0.0
    step: Step | None = None


def consult(call: GovernedRead) -> Generator[Any, Any, Found | NotFound | StoodIn | Refused | TakenOver]:
    """Carry out a read, again where its failure was probably transient, and record it.

    Args:
        call: the read.
    """
    yield from ask_graph(call.run, call.where, ask.ReplayWakes(key=call.origin.hex()))
    rules, memory = call.run.policy.caps.loops, call.run.memory
    while True:
        ticket = yield ask.NewTicket()
        begins = yield from _begins(call, ticket)
        if begins is ObservedAs.STALE:
            return TakenOver()
        if begins is ObservedAs.DEADLINE_PASSED:
            yield from ask_graph(call.run, call.where, ask.Park(card=_late_card(call)))
            continue
        came = yield from _came(call, ticket)
        if isinstance(came, NotFound):
            return came  # a bubble-up from inside
        step = came.step or call.step(_result_mark(call, came), at=came.ticket.now)
        loop = Loop.NONE if step is None or came.wait_seconds else memory.judge(step, rules)
        observed: Observed = yield _observe(call, came, step, loop)
        memory.heard_what_is_left(observed.left_ms, started=came.ticket.started)
        match observed.answer:
            case ObservedAs.STALE:
                return TakenOver()
            case ObservedAs.CALLS_USED_UP:
                card = call.card(Reason.CALLS_USED_UP, why="the run has made as many tool calls as it may")
            case ObservedAs.WAITS:
                why = f"{call.contract.system or call.tool} does not answer"
                card = call.card(Reason.RETRY_LATER, why=why, wake_ms=int(came.wait_seconds * 1000))
            case ObservedAs.OBSERVED:
                memory.keep(step, writes=observed.writes, fallbacks=observed.fallbacks)
                if loop is not Loop.PARKED:
                    return _noted(call, came.ended, told(loop, call.tool, rules))
                card = call.card(LOOPING, why="the run goes in circles: the same is asked again and again")
        yield from ask_graph(call.run, call.where, ask.Park(card=card))


def _begins(call: GovernedRead, ticket: ask.Ticket) -> Generator[Any, Any, ObservedAs]:
    """Whether the read may be called now. Costs a statement only where its run seems to be over."""
    memory = call.run.memory
    if not memory.seems_late(ticket.started):
        return ObservedAs.IN_TIME
    refused = Refused(code=Reason.DEADLINE_PASSED, text=f"{call.tool} was not called: {_OVER}.")
    observed: Observed = yield _observe(call, _Came(ended=refused, seen=Seen.DUE, ticket=ticket), None, Loop.NONE)
    if observed.answer is not ObservedAs.STALE:
        memory.heard_what_is_left(observed.left_ms, started=ticket.started)
    return observed.answer


def _late_card(call: GovernedRead) -> dict[str, Any]:
    owner = call.run.policy.owner_for(call.tool, call.contract.system, None)
    return call.card(Reason.DEADLINE_PASSED, why=_OVER, owner=owner or "")


def _came(call: GovernedRead, ticket: ask.Ticket) -> Generator[Any, Any, _Came | NotFound]:
    stopped = _stopped(call, ticket)
    if stopped is not None:
        return stopped
    held, probe = yield from _held(call)
    came = held or (yield from _tried(call, probe=probe))
    if isinstance(came, NotFound) or came.failure is None:
        return came
    if call.contract.fallback is not None:
        return (yield from _fallen_back(call, came, came.failure))
    return (
        came if held is None else replace(held, seen=Seen.WAITS, wait_seconds=came.failure.retry_after_seconds or 0.0)
    )


def _stopped(call: GovernedRead, ticket: ask.Ticket) -> _Came | None:
    """Whether the same call has had the same answer too often to be made once more."""
    step = call.step(bytes(32), at=ticket.now)
    rules = call.run.policy.caps.loops
    same = None if step is None else call.run.memory.again(step, rules)
    if same is None:
        return None
    refused = Refused(code=LOOPING, text=stopped_text(call.tool, rules))
    return _Came(ended=refused, seen=Seen.STOPPED, ticket=ticket, step=same)


def _held(call: GovernedRead) -> Generator[Any, Any, tuple[_Came | None, bool]]:
    """What stands for a call that is not made, as its system asked for none or is down; else whether it is a probe."""
    system = call.contract.system
    if system is None:
        return None, False
    state: SystemState = yield ask.HowIs(system=system, rules=call.run.policy.breaker_for(system))
    ticket = yield ask.NewTicket()
    failure = held_back(state, ticket)
    seconds = 0.0 if failure is None else failure.retry_after_seconds or 0.0
    if failure is None or seconds <= BACKOFF_CAP_SECONDS:
        if seconds:
            yield ask.Sleep(seconds=seconds)
        return None, state.breaker is not Breaker.CLOSED
    if (yield ask.HasAnswers()):
        return None, False  # what the user has answered would be taken for a wake-up of ours
    error = ControlError(
        f"{call.tool} was not called: {failure.reason}.",
        safe="Nothing was asked.",
        todo="Ask again later, or give the read a fallback.",
        code="system_held_back",
    )
    came = _Came(
        ended=NotFound(error=error), seen=Seen.FAILED, ticket=ticket, failure=failure, said=said(error), repeatable=True
    )
    return came, False


def _tried(call: GovernedRead, *, probe: bool) -> Generator[Any, Any, _Came | NotFound]:
    for tries in range(1, TRIES_MAX + 1):
        ticket = yield ask.NewTicket()
        looked = yield Consult()
        yield from _tell(call, looked, ticket, probe=probe)
        match looked:
            case Looked(outcome=ask.Raised(error=GraphBubbleUp() as bubble)):
                return NotFound(error=bubble)
            case Looked(outcome=ask.Returned(value=value)):
                found = Found(value=value)
                return _Came(ended=found, seen=Seen.SUCCEEDED, ticket=ticket, tries=tries, result=encode(value))
            case Looked(outcome=ask.Raised(error=error), repeatable=repeatable):
                failure = classify(error, kind=None, now=ticket.now, attempt=tries)
                pause = _pause_seconds(failure, tries, ticket)
                if not repeatable or tries == TRIES_MAX or pause is None:
                    return _Came(
                        ended=NotFound(error=error),
                        seen=Seen.FAILED,
                        ticket=ticket,
                        tries=tries,
                        failure=failure,
                        said=said(error),
                        repeatable=repeatable,
                    )
                yield ask.Sleep(seconds=pause)
    raise AssertionError("the last try returns")


def _tell(call: GovernedRead, looked: Looked, ticket: ask.Ticket, *, probe: bool) -> Generator[Any, Any, None]:
    """Tell how the system answered. A bubble-up from inside says nothing of it."""
    system, outcome = call.contract.system, looked.outcome
    error = outcome.error if isinstance(outcome, ask.Raised) else None
    if system is None or isinstance(error, GraphBubbleUp):
        return
    failure = None if error is None else classify(error, kind=None, now=ticket.now)
    fault, asked = (failure.fault, failure.retry_after_seconds) if failure else (None, None)
    yield news(call.run.policy, system, fault, asked, probe=probe)


def _fallen_back(call: GovernedRead, came: _Came, failure: Failure) -> Generator[Any, Any, _Came]:
    """What stands in for a read that failed, or how long it waits instead; as it came where there is nothing."""
    fallback = call.contract.fallback
    if callable(fallback):
        heard = yield ask.Ask(hook="fallback", action=call.action())
        fallback = None if isinstance(heard, ask.AskFailed) else heard.value
    value = stand_in(fallback)
    if value is WAIT:
        # A body that asked or ran a graph would meet other answers if it were run again after a wait of ours.
        hopeless = failure.fault is Fault.PERMANENT or not came.repeatable
        return came if hopeless else replace(came, seen=Seen.WAITS, wait_seconds=_wait_seconds(call, came, failure))
    if value is None:
        return came
    stood_in = StoodIn(value=value, tool=call.tool, system=call.contract.system, failure=failure.error)
    return replace(came, ended=stood_in, seen=Seen.FALLBACK, result=encode(value))


def _pause_seconds(failure: Failure, tries: int, ticket: ask.Ticket) -> float | None:
    """How long to wait before the next try; None: do not try again."""
    wanted = failure.retry_after_seconds or 0.0
    if failure.fault is Fault.PERMANENT or wanted > BACKOFF_CAP_SECONDS:
        return None
    backoff = backoff_seconds(tries, base=BACKOFF_BASE_SECONDS, cap=BACKOFF_CAP_SECONDS, unit_random=ticket.chance)
    return max(wanted, backoff)


def _retries(call: GovernedRead) -> RetryRules:
    return call.run.policy.retries_for(call.tool, call.contract.system)


def _wait_seconds(call: GovernedRead, came: _Came, failure: Failure) -> float:
    """How long the run waits before this read is tried again: as long as its system asked for, else up to the cap."""
    cap = max(_retries(call).cap_seconds, WAIT_SECONDS_MIN)
    spread = WAIT_SECONDS_MIN + (cap - WAIT_SECONDS_MIN) * came.ticket.chance
    return max(failure.retry_after_seconds or 0.0, spread)


def _result_mark(call: GovernedRead, came: _Came) -> bytes:
    """Equal for equal answers, failures included, which are answers, too."""
    whole = came.result or f"{came.failure.error if came.failure else ''}: {came.said}".encode()
    return hmac.digest(call.run.secret, _RESULT + came.seen.value.encode() + whole, hashlib.sha256)


def _observe(call: GovernedRead, came: _Came, step: Step | None, loop: Loop) -> Observe:
    run, failure, retries = call.run, came.failure, _retries(call)
    return Observe(
        run_id=run.run_id,
        token=run.token,
        tool=call.tool,
        system=call.contract.system,
        outcome=came.seen,
        loop=None if loop is Loop.NONE else loop.value,
        origin=call.origin,
        scope=None if step is None else step.scope,
        turn=None if step is None else step.turn,
        call=None if step is None else step.call,
        result=None if step is None else step.result,
        at=None if step is None else step.at,
        calls_max=run.policy.caps.tool_calls,
        attempts_max=retries.attempts,
        give_up_ms=max(1, int(retries.give_up_after_seconds * 1000)),
        retry_ms_max=max(1, int(run.policy.caps.retry_seconds * 1000)),
        wait_ms=int(came.wait_seconds * 1000),
        body=call.body(
            tries=came.tries,
            result=None if came.result is None else _commitment(run.secret, came.result),
            result_bytes=None if came.result is None else len(came.result),
            error=failure.error if failure else None,
            fault=failure.fault.value if failure else None,
            why=failure.reason if failure else None,
            at=came.ticket.now.isoformat(),
        ),
        payload=observed_bytes({"args": observed(dict(call.args))}),
    )


def _noted(
    call: GovernedRead, ended: Found | NotFound | StoodIn | Refused, note: str
) -> Found | NotFound | StoodIn | Refused:
    """What the caller gets, with what the model has to be told behind it. An exception goes on as it was raised."""
    match ended:
        case Found(value=value) if call.call_id is not None:
            return Found(value=noted_on(value, note, call.call_id))
        case StoodIn():
            return replace(ended, note=note)
        case _:
            return ended


def _commitment(secret: bytes, stored: bytes) -> str:
    """Bind the entry to what was seen without telling it: a plain hash of a small result could be guessed."""
    return hmac.digest(secret, _RESULT + stored, hashlib.sha256).hex()
