"""What calls find out about the systems they go to: told to all workers, and heeded before the next call."""

from collections.abc import Generator
from typing import Any, Final

from langgraph_control.guards.classification import classify
from langgraph_control.guards.failures import Failure, Fault, Sent, Verdict
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.signals import Breaker, SystemState
from langgraph_control.nodes import requests as ask

__all__ = ["LIMITED_SECONDS", "held_back", "hook_failed", "news"]

LIMITED_SECONDS: Final = 1.0
"""How long everybody stays away from a system that asks for fewer calls and does not say for how long."""


def news(
    policy: Policy, system: str, fault: Fault | None, asked_seconds: float | None, *, lost: bool = False, probe: bool
) -> ask.Noted:
    """Return what a call says of the system it went to. What that refuses for good, it has answered all the same.

    Args:
        policy: the rules; they say when the system's breaker opens.
        system: the system.
        fault: what another call would meet; None where an answer came, or nothing is known of it.
        asked_seconds: how long it asked to be left alone; None or 0: it did not say.
        lost: no answer came, and nothing says why.
        probe: others wait for what this call found out.
    """
    limited = max(asked_seconds or 0.0, LIMITED_SECONDS) if fault is Fault.RATE_LIMITED else 0.0
    return ask.Noted(
        system=system,
        failed=lost or fault is Fault.TRANSIENT,
        rate_limited_seconds=limited,
        probe=probe,
        rules=policy.breaker_for(system),
    )


def hook_failed(policy: Policy, system: str | None, error: BaseException) -> Generator[Any, Any, Failure]:
    """Tell of a hook that failed while it asked a write's system, and return how it failed.

    Args:
        policy: the rules.
        system: the system of record; None where the contract names none.
        error: what the hook raised.
    """
    ticket = yield ask.NewTicket()
    failure = classify(error, kind=None, now=ticket.now)
    if system is not None and failure.fault is not Fault.PERMANENT:
        yield news(policy, system, failure.fault, failure.retry_after_seconds, probe=False)
    return failure


def held_back(state: SystemState, ticket: ask.Ticket) -> Failure | None:
    """Return what a call of a system would meet that asked for no calls, or is down; None where it may be called.

    Args:
        state: how the system is doing.
        ticket: says when it would be called.
    """
    limited, down = state.rate_limited_until, state.open_until if state.breaker is Breaker.OPEN else None
    until = max((at for at in (limited, down) if at is not None and at > ticket.now), default=None)
    if until is None:
        return None
    return Failure(
        verdict=Verdict.NOT_DONE_RATE_LIMITED if until == limited else Verdict.NOT_DONE_TRANSIENT,
        fault=Fault.RATE_LIMITED if until == limited else Fault.TRANSIENT,
        sent=Sent.NO,
        error="HeldBack",
        retry_after_seconds=(until - ticket.now).total_seconds(),
        reason="it asked for no calls until later" if until == limited else "its breaker is open",
    )
