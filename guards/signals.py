"""What a decision may look at. Plain values only, gathered by the gate before anything is decided.

Four signals: the risk of the write, the context it meets (the record as it is), the state of the system it goes to, and
the state of its own run and action. What is not known has its neutral default; what is *missing* never allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from langgraph_control.guards.lifecycle import Kind

__all__ = [
    "NO_CONTEXT",
    "NO_PROGRESS",
    "NO_SYSTEM_STATE",
    "OPERATION_OF",
    "Breaker",
    "Context",
    "Equal",
    "Impact",
    "Operation",
    "Prior",
    "Progress",
    "Risk",
    "Signals",
    "SystemState",
]


class Impact(StrEnum):
    """What a write touches if it is wrong or happens twice. Each contract names one."""

    MONEY = "money"  # moves funds, or promises to
    ACCESS = "access"  # grants or takes permissions, roles, credentials
    MESSAGE = "message"  # reaches a customer or the public
    DELETE = "delete"  # removes what cannot simply be put back
    BULK = "bulk"  # changes many records at once
    PRODUCTION = "production"  # changes a running system
    RECORD = "record"  # changes one record in a system of record


class Operation(StrEnum):
    """What kind of operation a write is."""

    CREATE = "create"  # makes something new
    UPDATE = "update"  # changes what is there
    DELETE = "delete"  # removes it
    SEND = "send"  # tells somebody outside
    TRANSFER = "transfer"  # moves funds
    GRANT = "grant"  # gives or takes access
    RUN = "run"  # starts, stops or deploys something


OPERATION_OF: Final[Mapping[Impact, Operation]] = MappingProxyType(
    {
        Impact.MONEY: Operation.TRANSFER,
        Impact.ACCESS: Operation.GRANT,
        Impact.MESSAGE: Operation.SEND,
        Impact.DELETE: Operation.DELETE,
        Impact.BULK: Operation.UPDATE,
        Impact.PRODUCTION: Operation.RUN,
        Impact.RECORD: Operation.UPDATE,
    }
)
"""The operation of a contract that names none."""


class Equal(StrEnum):
    """Whether another request has an action of the same tool with the same arguments."""

    NONE = "none"  # none is known
    UNDER_WAY = "under_way"  # one is being decided about or done right now
    DONE = "done"  # one is done


class Breaker(StrEnum):
    """Where the circuit breaker of a system stands, for all workers."""

    CLOSED = "closed"  # calls go through
    OPEN = "open"  # too many calls failed: none goes through for a while
    HALF_OPEN = "half_open"  # a few probes go through, to find out


class Prior(StrEnum):
    """What earlier attempts of this very action came to."""

    NONE = "none"  # there was none
    NOT_DONE = "not_done"  # all of them are provably without effect
    UNKNOWN = "unknown"  # one of them may have had its effect
    SUCCEEDED = "succeeded"  # one of them had it


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """What would be at stake, as far as the contract says; the policy's ``risk:`` adds the rest.

    Args:
        operation: what kind of operation it is; None: the one that the impact implies.
        amount: how much money it moves; None: the policy names the argument, or nothing does.
        count: how many records it touches; None: likewise.
        reversible: the contract can undo the effect.
    """

    operation: Operation | None = None
    amount: int | Decimal | None = None
    count: int | None = None
    reversible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What was concluded from looking at the record, beside its fields.

    Args:
        read_failed: the read hook failed, so the record's state is not known now.
        record_missing: the read hook says there is no such record.
        already_done: ``expect`` holds before the write: the record is in the target state.
        changed: the record is not as this run last saw it. Only said of an action that has not begun: one that has may
            have changed it itself.
        equal: whether another request has an equal action.
    """

    read_failed: bool = False
    record_missing: bool = False
    already_done: bool = False
    changed: bool = False
    equal: Equal = Equal.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemState:
    """How the system written to is doing, as all workers together know it.

    Args:
        rate_limited_until: the system asked for no calls before then; None: it did not.
        breaker: where its circuit breaker stands.
        open_until: when an open breaker lets probes through; None where it is not open.
        probe: this call is one of the probes that a half-open breaker lets through.
        error_rate: the share of calls that failed lately, 0 to 1; None: not known.
        calls: how many calls that share is of.
        latency_seconds: how long calls take lately; None: not known.
    """

    rate_limited_until: datetime | None = None
    breaker: Breaker = Breaker.CLOSED
    open_until: datetime | None = None
    probe: bool = False
    error_rate: float | None = None
    calls: int = 0
    latency_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far this run and this action have come.

    Args:
        prior: what earlier attempts of the action came to.
        attempts: how many there were.
        same_failures: how often in a row the last failure was the same one.
        retrying_seconds: since the action's first attempt.
        run_retrying_seconds: how long the run has waited for retries of all its actions.
        tool_calls: how many tool calls the run has made.
        deadline: when the run must be over; None: it has no deadline.
        frozen: writes of this tenant, agent, system or tool are frozen.
        applied: how many other writes of the same saga are in effect.
    """

    prior: Prior = Prior.NONE
    attempts: int = 0
    same_failures: int = 0
    retrying_seconds: float = 0.0
    run_retrying_seconds: float = 0.0
    tool_calls: int = 0
    deadline: datetime | None = None
    frozen: bool = False
    applied: int = 0


NO_CONTEXT: Final = Context()
NO_SYSTEM_STATE: Final = SystemState()
NO_PROGRESS: Final = Progress()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Everything a decision may look at.

    Args:
        tool: the tool's name, as the policy's rules write it.
        impact: what the contract says the write touches.
        kind: what is known of the effect after a lost answer.
        system: the system of record written to, None where the contract names none.
        arguments: normalised argument values: str, int, bool, None, Decimal, datetime, list, dict.
        record: the target as ``read`` returned it, normalised likewise; None where there is no read hook.
        actor: the identity the agent runs under.
        on_behalf_of: the person the run was started for, None where there is none.
        tenant: whose data this is.
        now: the time of the decision, with a zone.
        agent: the bound graph's name, None where it is not known.
        environment: where the agent runs, like ``production``; None where nobody said.
        risk: what would be at stake.
        context: what was concluded from the record.
        system_state: how the system written to is doing.
        progress: how far this run and this action have come.
    """

    tool: str
    impact: Impact
    kind: Kind
    system: str | None
    arguments: Mapping[str, Any]
    record: Mapping[str, Any] | None
    actor: str
    on_behalf_of: str | None
    tenant: str
    now: datetime
    agent: str | None = None
    environment: str | None = None
    risk: Risk = Risk()
    context: Context = NO_CONTEXT
    system_state: SystemState = NO_SYSTEM_STATE
    progress: Progress = NO_PROGRESS
