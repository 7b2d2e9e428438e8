"""What the gate asks its driver for, and what it is told.

The gate is a generator without I/O: it yields one of these, or a request to the ledger, and is sent the answer.
Failures of a tool or a hook come back as values, never thrown in, and the gate never yields in a ``finally``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from langgraph_control.guards.checks import Check, Proposal
from langgraph_control.guards.retry_rules import BreakerRules
from langgraph_control.nodes.action import Action

__all__ = [
    "Ask",
    "AskCheck",
    "AskFailed",
    "Cancelled",
    "FitArguments",
    "Fits",
    "HasAnswers",
    "Heard",
    "HowIs",
    "NewTicket",
    "NotSent",
    "Noted",
    "Park",
    "Raised",
    "ReplayWakes",
    "Returned",
    "RolledBack",
    "Send",
    "Sleep",
    "Ticket",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTicket:
    """Ask for what one try needs from outside: an id, the time, chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One try.

    Args:
        attempt: its id.
        started: the driver's monotonic clock, read before anything of this try was sent, in seconds.
        now: the wall clock, in UTC; for the record and for Retry-After dates only.
        chance: a number from [0, 1), for jitter.
    """

    attempt: UUID
    started: float
    now: datetime
    chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FitArguments:
    """Hold arguments against the tool's schema, as a model's are. Answered with :class:`Fits`.

    Args:
        args: all of them, plain.
    """

    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fits:
    """Whether arguments fit.

    Args:
        args: as the tool takes them, plain; empty if it does not.
        problem: which does not and what the schema wants there, without values; None if all do.
    """

    args: Mapping[str, Any]
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Ask one of the contract's hooks. Answered with :class:`Heard` or :class:`AskFailed`.

    Args:
        hook: which.
        action: what it gets.
    """

    hook: Literal["read", "expect", "find", "outcome", "target", "fallback"]
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A hook's answer.

    Args:
        value: what it returned.
    """

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class AskFailed:
    """A hook raised.

    Args:
        error: what it raised.
    """

    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class AskCheck:
    """Ask a check. Answered with what it says, or :class:`~langgraph_control.guards.checks.Failed`.

    Args:
        check: the function, sync or async.
        proposal: what it looks at.
    """

    check: Check
    proposal: Proposal


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Call the tool. Answered with one of the five values below.

    Args:
        action: what :func:`current_action` gives inside the tool.
        args: the arguments to call it with.
        not_after: the driver's monotonic time after which it must not be sent any more, in seconds.
        transaction: run it on the ledger's own connection, and keep that open for the settle.
    """

    action: Action
    args: Mapping[str, Any]
    not_after: float
    transaction: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Note how a call to a system came out, for all workers. Answered with nothing; lost, it costs only knowledge.

    Args:
        system: the system of record.
        failed: it did not do what it could be expected to.
        rate_limited_seconds: how long it asked everybody to stay away; 0: it did not.
        probe: others wait for what this call finds out.
        rules: when the system's breaker opens.
    """

    system: str
    failed: bool
    rate_limited_seconds: float
    probe: bool
    rules: BreakerRules


@dataclass(frozen=True, slots=True, kw_only=True)
class HowIs:
    """Ask how a system is doing, as this process heard it a moment ago. Answered with a ``SystemState``.

    Args:
        system: the system of record.
        rules: over which time its calls are counted.
    """

    system: str
    rules: BreakerRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The tool returned.

    Args:
        value: what.
        xid: the open transaction's id; None outside a ``transaction`` effect.
    """

    value: Any
    xid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """The tool raised; an open transaction was rolled back.

    Args:
        error: what it raised.
        ended_transaction: the tool had ended the ledger's transaction by itself, so something may be committed.
        ended: the call is over. False: it was broken off, and a thread of its own may go on and send later.
    """

    error: BaseException
    ended_transaction: bool = False
    ended: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent:
    """The tool was not called.

    Args:
        why: for the record.
    """

    why: str = "its time was over before it was sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """The call was cancelled in the middle: nobody knows. The driver passes it on when the gate is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """The answer to a settle inside a transaction that could not commit.

    Args:
        why: ``stale``: another attempt is current, so effect and record were rolled back together; ``undone``: so were
            they, because it could not come to the commit; ``refused``: Postgres refused the commit; ``ended``: the tool
            ended the transaction by itself; ``unsure``: the connection was lost on commit.
        error: what Postgres refused the commit with.
    """

    why: Literal["stale", "undone", "refused", "ended", "unsure"]
    error: Exception | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayWakes:
    """Consume this task's stored answers that belong to this action, so that later questions get their own.

    These are all answers from the present position to the last one equal to ``{"control": key}``: what lies before it
    answered this gate's questions too, whoever gave it. Answered with those that are nobody's wake-up.

    Args:
        key: the action key in hexadecimal digits.
    """

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HasAnswers:
    """Ask whether answers to questions of the body's own lie ready: a question of ours before it would take them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """Interrupt the graph. Whatever the answer is, it carries no authority: the gate claims again.

    Answered as :class:`ReplayWakes`.

    Args:
        card: JSON primitives only, for people and front ends.
    """

    card: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """Wait a short time in process.

    Args:
        seconds: how long.
    """

    seconds: float
