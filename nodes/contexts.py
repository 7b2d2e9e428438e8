"""Which run a governed call belongs to, and what a tool may know of the call it is in.

``configurable`` names the drive: the run, and the fencing token of the lease it was taken under. What belongs to it is
in a table of this process. A run may be driven here twice, by a worker that lost it and by its successor, and a call
never gets the other one's token. The drive is looked up in the config, then in a context variable: a child graph with a
thread of its own loses its parent's whole ``configurable``.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast
from urllib.parse import quote
from uuid import UUID

from langgraph_control.audit.connecting.drives import RUN_KEY, DriveId, drive_of
from langgraph_control.audit.telemetry.span_ids import span_id, trace_id
from langgraph_control.errors import NoRun
from langgraph_control.nodes.action import Action
from langgraph_control.nodes.bubbles import RunTakenOver
from langgraph_control.nodes.run_context import RunContext
from langgraph_control.nodes.tracing import in_trace

__all__ = [
    "CurrentAction",
    "acting",
    "current_action",
    "current_run",
    "enter_run",
    "in_a_write",
    "inside_run",
    "leave_run",
    "within",
]

_runs: Final[dict[DriveId, RunContext]] = {}
_drive: ContextVar[DriveId | None] = ContextVar("langgraph_control_drive", default=None)


def enter_run(context: RunContext) -> None:
    """Make a drive of a run known to this process, for as long as it lasts.

    Args:
        context: the run, with the token of the lease just taken. An older drive of the same run keeps its own.
    """
    _runs[context.drive] = context


def leave_run(context: RunContext) -> None:
    """Forget a drive of a run; others of the same run stay.

    Args:
        context: as entered.
    """
    _runs.pop(context.drive, None)


@contextmanager
def within(drive: DriveId) -> Iterator[None]:
    """Mark a block as part of a drive, for calls whose config does not say so, and have it in the run's trace.

    Never around a generator's yield.

    Args:
        drive: the run and the token it is driven with.
    """
    reset = _drive.set(drive)
    try:
        with in_trace(drive[0]):
            yield
    finally:
        _drive.reset(reset)


def current_run(configurable: Mapping[str, Any]) -> RunContext | None:
    """Return the run this code is part of, as its own drive sees it; None outside any.

    Args:
        configurable: of the config in force; empty where there is none.

    Raises:
        RunTakenOver: the drive that this code was started in is over.
        NoRun: code ``run_not_here``: the config names a run, or a drive of it, that is not under way in this process,
            so nothing may be done for it.
    """
    surrounding, named = _drive.get(), configurable.get(RUN_KEY)
    drive = surrounding if named is None else drive_of(named)
    if drive is None:
        return None
    context = _runs.get(drive)
    if context is not None:
        return context
    # Only a block of that very drive can have been a part of it: any other config was copied, which is to be said.
    if drive == surrounding:
        raise RunTakenOver
    raise NoRun(
        "The run named in the config is not driven by this process, or not any more.",
        todo="Do not copy or keep a run's config; start work with control.run or control.resume, which enter the run.",
        code="run_not_here",
    )


def inside_run() -> bool:
    """Return whether this code was started by a drive of a run in this process, whatever any config says."""
    return _drive.get() is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentAction:
    """The governed write a tool is in.

    Args:
        key: the action key, 64 hexadecimal digits: the same on every attempt, so it can be an idempotency key.
        intent: the business request the change belongs to.
        run_id: the run that carries it now.
        attempt: 1 for the first try.
        deadline: when this attempt must have sent its last byte, in UTC.
        precondition: the watched fields of the record as they were when it was decided and approved; ``ABSENT`` where
            there was none, None without a ``read`` hook. Make the write conditional on them (``If-Match``, ``WHERE
            version = ...``): between the last look and the send only the system can tell that another was faster.
    """

    key: str
    intent: str
    run_id: str
    attempt: int
    deadline: datetime
    precondition: Any = field(default=None, repr=False)
    _not_after: float = field(default=0.0, repr=False)
    _connection: Any = field(default=None, repr=False)

    def seconds_left(self) -> float:
        """Return how long this attempt may still take, in seconds, by the monotonic clock; 0 if it is over."""
        return max(0.0, self._not_after - time.monotonic())

    @property
    def headers(self) -> dict[str, str]:
        """Headers for outbound requests: the idempotency key, and ids that lead from the other side's log back here."""
        run_id = UUID(self.run_id)
        return {
            "Idempotency-Key": self.key,
            "X-Action-Key": self.key,
            "X-Run-Id": self.run_id,
            # An intent is free text: only ASCII without control characters may stand in a header.
            "X-Correlation-Id": quote(self.intent, safe="/:@._-"),
            # W3C Trace Context: the same trace that the run's entries are exported as.
            "traceparent": f"00-{trace_id(run_id):032x}-{span_id(run_id):016x}-01",
        }

    @property
    def connection(self) -> Any:
        """The ledger's own psycopg connection, in an open transaction, which it must not end; async in an async tool.

        Raises:
            NoRun: code ``no_connection``: the tool's contract does not say ``sql=True``.
        """
        if self._connection is None:
            raise NoRun(
                "This tool has no connection to the ledger's database.",
                safe="",
                todo="Declare the tool with writes(..., sql=True).",
                code="no_connection",
            )
        return self._connection


_action: ContextVar[CurrentAction | None] = ContextVar("langgraph_control_action", default=None)


def current_action() -> CurrentAction:
    """Return the governed write this code runs in; call it inside a tool declared with ``writes``.

    Raises:
        NoRun: code ``no_action``: this code runs outside such a tool.
    """
    action = _action.get()
    if action is None:
        raise NoRun(
            "There is no current action outside the body of a governed write.",
            safe="",
            todo="Call current_action() inside a tool declared with writes() and called in a run.",
            code="no_action",
        )
    return action


def in_a_write() -> bool:
    """Return whether this code runs inside the body of a governed write."""
    return _action.get() is not None


@contextmanager
def acting(action: Action, *, not_after: float, connection: Any = None, precondition: Any = None) -> Iterator[None]:
    """Make a write the current action of a block: the tool's body. Never around a generator's yield.

    Args:
        action: what the gate sends.
        not_after: when the attempt is over, on the monotonic clock, in seconds.
        connection: the ledger's open connection, for ``sql=True``.
        precondition: the watched fields as they were when it was decided.
    """
    current = CurrentAction(
        key=action.key,
        intent=action.intent,
        run_id=action.run_id,
        attempt=action.attempt,
        deadline=cast("datetime", action.deadline),  # an attempt always has one
        precondition=precondition,
        _not_after=not_after,
        _connection=connection,
    )
    token = _action.set(current)
    try:
        yield
    finally:
        _action.reset(token)
