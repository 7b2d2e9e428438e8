"""What the four signals decide by themselves, as rows of a table: what is found, what follows, and why.

``RUN_STATE`` and then ``CONTEXT`` are read from the top, before the rules, and the first row that applies decides: what
it finds makes the rules' answer pointless or premature. ``SYSTEM_STATE`` is about the system written to: its rows hold
back what the rules would let through, and change nothing about what they would not.

What ``RUN_STATE`` looks for, rate limits and breakers, the claim looks for itself, under its lock: said before it, it
could be outdated by then. ``UNCLAIMED`` is what is left of ``SYSTEM_STATE``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from langgraph_control.guards.decisions import Source, Verb
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.signals import (
    NO_CONTEXT,
    NO_PROGRESS,
    NO_SYSTEM_STATE,
    Breaker,
    Equal,
    Prior,
    Signals,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from langgraph_control.guards.policy import Policy

__all__ = [
    "CONTEXT",
    "RUN_STATE",
    "SYSTEM_STATE",
    "UNCLAIMED",
    "Row",
    "row_before_claim",
    "row_before_rules",
    "row_beside_rules",
    "row_not_claimed",
]

LOOK_AGAIN_SECONDS: Final = 60.0
"""When to look again at a record that could not be read, or at an equal action under way."""


def _until_changed(_signals: Signals, _policy: Policy) -> None:
    return None


def _look_again(_signals: Signals, _policy: Policy) -> float:
    return LOOK_AGAIN_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row.

    Args:
        source: the signal it looks at.
        found: what it looks for, for people.
        holds: whether it is there.
        verb: what follows.
        why: the reason that is recorded and told.
        seconds: with ``retry_later``, how long to wait; None: until something changes.
    """

    source: Source
    found: str
    holds: Callable[[Signals, Policy], bool]
    verb: Verb
    why: str
    seconds: Callable[[Signals, Policy], float | None] = _until_changed


def _is_unknown(signals: Signals, *kinds: Kind) -> bool:
    return signals.progress.prior is Prior.UNKNOWN and signals.kind in kinds


def _deadline_passed(signals: Signals, _policy: Policy) -> bool:
    return signals.progress.deadline is not None and signals.now >= signals.progress.deadline


def _fails_alike(signals: Signals, policy: Policy) -> bool:
    failures = signals.progress.same_failures
    return failures > 1 and failures >= policy.retries_for(signals.tool, signals.system).same_failure


def _attempts_used_up(signals: Signals, policy: Policy) -> bool:
    attempts = signals.progress.attempts
    return attempts > 0 and attempts >= policy.retries_for(signals.tool, signals.system).attempts


def _time_used_up(signals: Signals, policy: Policy) -> bool:
    seconds = signals.progress.retrying_seconds
    return seconds > 0 and seconds >= policy.retries_for(signals.tool, signals.system).give_up_after_seconds


RUN_STATE: Final = (
    Row(
        source=Source.RUN_STATE,
        found="an earlier attempt may have had its effect, which can be read back",
        holds=lambda signals, _: _is_unknown(signals, Kind.VERIFIED),
        verb=Verb.VERIFY_FIRST,
        why="an earlier attempt may have had its effect: it is read back before anything else",
    ),
    Row(
        source=Source.RUN_STATE,
        found="an earlier attempt may have had its effect, and nothing can tell",
        holds=lambda signals, _: _is_unknown(signals, Kind.BLIND),
        verb=Verb.ESCALATE,
        why="an earlier attempt may have had its effect and nothing can tell: a person must find out",
    ),
    Row(
        source=Source.RUN_STATE,
        found="an earlier attempt succeeded",
        holds=lambda signals, _: signals.progress.prior is Prior.SUCCEEDED,
        verb=Verb.DEDUPLICATE,
        why="this very action is done: its stored result is given",
    ),
    Row(
        source=Source.RUN_STATE,
        found="writes of this tenant, agent, system or tool are frozen",
        holds=lambda signals, _: signals.progress.frozen,
        verb=Verb.RETRY_LATER,
        why="writes are frozen here until somebody unfreezes them",
    ),
    Row(
        source=Source.RUN_STATE,
        found="the run's deadline has passed",
        holds=_deadline_passed,
        verb=Verb.ESCALATE,
        why="the run's deadline has passed",
    ),
    Row(
        source=Source.RUN_STATE,
        found="the same failure came as often in a row as `same_failure` says",
        holds=_fails_alike,
        verb=Verb.ESCALATE,
        why="the same failure came again and again: trying once more will not help",
    ),
    Row(
        source=Source.RUN_STATE,
        found="the action has had its `attempts`",
        holds=_attempts_used_up,
        verb=Verb.ESCALATE,
        why="the action was tried as often as the policy allows",
    ),
    Row(
        source=Source.RUN_STATE,
        found="the action's first attempt is `give_up_after` ago",
        holds=_time_used_up,
        verb=Verb.ESCALATE,
        why="the action was tried for as long as the policy allows",
    ),
    Row(
        source=Source.RUN_STATE,
        found="the run has waited for retries as long as `caps: {retry_time: …}` says",
        holds=lambda signals, policy: signals.progress.run_retrying_seconds >= policy.caps.retry_seconds,
        verb=Verb.ESCALATE,
        why="the run has waited for retries for as long as the policy allows",
    ),
    Row(
        source=Source.RUN_STATE,
        found="the run has made as many tool calls as `caps: {tool_calls: …}` says",
        holds=lambda signals, policy: signals.progress.tool_calls >= policy.caps.tool_calls,
        verb=Verb.ESCALATE,
        why="the run has made as many tool calls as the policy allows",
    ),
)

CONTEXT: Final = (
    Row(
        source=Source.CONTEXT,
        found="the record could not be read",
        holds=lambda signals, _: signals.context.read_failed,
        verb=Verb.RETRY_LATER,
        why="the record could not be read, so nothing can be decided about it now",
        seconds=_look_again,
    ),
    Row(
        source=Source.CONTEXT,
        found="there is no such record",
        holds=lambda signals, _: signals.context.record_missing,
        verb=Verb.DENY,
        why="the record this write is about does not exist",
    ),
    Row(
        source=Source.CONTEXT,
        found="the record is already in the target state",
        holds=lambda signals, _: signals.context.already_done,
        verb=Verb.DEDUPLICATE,
        why="the record is already in the target state",
    ),
    Row(
        source=Source.CONTEXT,
        found="another request has an equal action under way",
        holds=lambda signals, _: signals.context.equal is Equal.UNDER_WAY,
        verb=Verb.RETRY_LATER,
        why="another request is doing the same to the same record: its outcome comes first",
        seconds=_look_again,
    ),
    Row(
        source=Source.CONTEXT,
        found="another request has done an equal action",
        holds=lambda signals, _: signals.context.equal is Equal.DONE,
        verb=Verb.ESCALATE,
        why="another request has done the same already: a person must say whether it is meant twice",
    ),
    Row(
        source=Source.CONTEXT,
        found="the record has changed since this run last saw it, and the action has not begun",
        holds=lambda signals, _: signals.context.changed and signals.progress.prior is Prior.NONE,
        verb=Verb.DENY,
        why="the record has changed since this run last saw it: read it again, then decide anew",
    ),
)


def _seconds_to_unlimited(signals: Signals, _policy: Policy) -> float:
    until = signals.system_state.rate_limited_until
    return (until - signals.now).total_seconds() if until is not None else 0.0


def _open_seconds(signals: Signals, policy: Policy) -> float:
    until = signals.system_state.open_until
    if until is None:
        return policy.breaker_for(signals.system).open_seconds
    return max((until - signals.now).total_seconds(), 0.0)


def _pause(signals: Signals, policy: Policy) -> float:
    return policy.breaker_for(signals.system).open_seconds


def _is_slow(signals: Signals, policy: Policy) -> bool:
    slow = policy.breaker_for(signals.system).degraded_seconds
    latency = signals.system_state.latency_seconds
    return slow is not None and latency is not None and latency >= slow


UNCLAIMED: Final = (
    Row(
        source=Source.SYSTEM_STATE,
        found="calls take longer than `degraded_above`, and a lost answer could not be cleared up (effect `blind`)",
        holds=lambda signals, policy: signals.kind is Kind.BLIND and _is_slow(signals, policy),
        verb=Verb.RETRY_LATER,
        why="the system is slow, and if this write's answer were lost, nobody could tell what happened",
        seconds=_pause,
    ),
)

SYSTEM_STATE: Final = (
    Row(
        source=Source.SYSTEM_STATE,
        found="the system asked for no calls until a later time",
        holds=lambda signals, policy: _seconds_to_unlimited(signals, policy) > 0,
        verb=Verb.RETRY_LATER,
        why="the system is rate limited: it asked to be left alone for a while",
        seconds=_seconds_to_unlimited,
    ),
    Row(
        source=Source.SYSTEM_STATE,
        found="its breaker is open",
        holds=lambda signals, _: signals.system_state.breaker is Breaker.OPEN,
        verb=Verb.RETRY_LATER,
        why="too many calls to the system failed: its breaker is open",
        seconds=_open_seconds,
    ),
    Row(
        source=Source.SYSTEM_STATE,
        found="its breaker is half open, and this call is not one of the probes",
        holds=lambda signals, _: signals.system_state.breaker is Breaker.HALF_OPEN and not signals.system_state.probe,
        verb=Verb.RETRY_LATER,
        why="the system may be back: other calls find out first",
        seconds=_pause,
    ),
    *UNCLAIMED,
)


def row_before_rules(signals: Signals, policy: Policy) -> Row | None:
    """Return the row that settles a call before the rules are heard, or None.

    Args:
        signals: everything known about the call.
        policy: the rules.
    """
    # Most calls bring nothing along, and then no row applies: they need not be asked one by one.
    if signals.progress is not NO_PROGRESS and (row := _first(RUN_STATE, signals, policy)) is not None:
        return row
    return row_before_claim(signals, policy)


def row_before_claim(signals: Signals, policy: Policy) -> Row | None:
    """Return what :func:`row_before_rules` does, without what the claim looks for itself.

    Args:
        signals: everything known about the call.
        policy: the rules.
    """
    return _first(CONTEXT, signals, policy) if signals.context is not NO_CONTEXT else None


def row_beside_rules(signals: Signals, policy: Policy) -> Row | None:
    """Return the row that holds back what the rules would let through, or None.

    Args:
        signals: everything known about the call.
        policy: the rules.
    """
    return _first(SYSTEM_STATE, signals, policy) if signals.system_state is not NO_SYSTEM_STATE else None


def row_not_claimed(signals: Signals, policy: Policy) -> Row | None:
    """Return what :func:`row_beside_rules` does, without what the claim looks for itself.

    Args:
        signals: everything known about the call.
        policy: the rules.
    """
    return _first(UNCLAIMED, signals, policy) if signals.system_state is not NO_SYSTEM_STATE else None


def _first(rows: tuple[Row, ...], signals: Signals, policy: Policy) -> Row | None:
    return next((row for row in rows if row.holds(signals, policy)), None)
