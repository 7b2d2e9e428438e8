"""What the two drivers share: where a gate runs, and what they tell it."""

import random
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from langgraph_control.audit.asking.health import Report
from langgraph_control.audit.asking.signal_requests import SystemRow, Systems
from langgraph_control.audit.connecting import transactions
from langgraph_control.audit.connecting.drives import DriveId
from langgraph_control.audit.connecting.failures import LedgerRefused
from langgraph_control.audit.connecting.store import Store
from langgraph_control.errors import SchemaMismatch, TrailUnavailable
from langgraph_control.guards.signals import NO_SYSTEM_STATE, SystemState
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.contexts import acting
from langgraph_control.nodes.contracts import Contract

__all__ = [
    "CHECK_SECONDS_MAX",
    "HOOK_SECONDS_MAX",
    "LOST",
    "NOTE_SECONDS",
    "Surroundings",
    "as_answer",
    "asking_about",
    "at_hand",
    "due_report",
    "must_settle_again",
    "new_ticket",
    "rolled_back",
    "state_of",
    "swallowed_error",
]

LOST: Final = (TrailUnavailable, SchemaMismatch, LedgerRefused)
"""What the ledger's client raises: nothing more can be recorded, so the call leaves as a bubble-up."""


CHECK_SECONDS_MAX: Final = 30.0
"""How long a check may take, which may ask a model; then it could not be made."""

HOOK_SECONDS_MAX: Final = 30.0
"""How long a contract's hook may take; then it has failed. A settle may be waiting for it, and whoever is stopped."""

NOTE_SECONDS: Final = 1.0
"""How long the ledger is tried when all that is to be told is how a system is doing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where a gate runs.

    Args:
        store: the ledger.
        contract: whose hooks are asked.
        tool: its name, for error texts.
        drive: the run and its token, for calls made inside the tool's body.
        body: the tool's own function.
        given: what it was called with, injected arguments included.
        prepare: makes what it is to be called with out of the arguments the gate sends.
        fit: holds other arguments against the tool's schema.
    """

    store: Store
    contract: Contract
    tool: str
    drive: DriveId
    body: Callable[..., Any]
    given: Mapping[str, Any]
    prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    fit: Callable[[Mapping[str, Any]], ask.Fits]

    def acting(self, request: ask.Send, connection: Any) -> AbstractContextManager[None]:
        """Return the block in which the tool's body is called.

        Args:
            request: what is sent.
            connection: the ledger's open connection, for ``sql=True``; None otherwise.
        """
        action = request.action
        before = self.contract.before_image(action.before)
        return acting(action, not_after=request.not_after, connection=connection, precondition=before)

    def hook(self, request: ask.Ask) -> Callable[[Any], Any]:
        """Return the hook that is to be asked.

        Args:
            request: names it.
        """
        hook: Callable[[Any], Any] = getattr(self.contract, request.hook)
        return hook


def at_hand(request: ask.NewTicket | ask.FitArguments, at: Surroundings) -> ask.Ticket | ask.Fits:
    """Return what needs nobody else: what one try needs from outside, or whether arguments fit the tool.

    Args:
        request: which.
        at: where the gate runs.
    """
    return at.fit(request.args) if isinstance(request, ask.FitArguments) else new_ticket()


def new_ticket() -> ask.Ticket:
    """Return what one try needs from outside."""
    return ask.Ticket(
        attempt=uuid4(),
        started=time.monotonic(),
        now=datetime.now(UTC),
        chance=random.random(),  # noqa: S311 - jitter
    )


def due_report(store: Store, noted: ask.Noted, *, took_seconds: float) -> Report | None:
    """Count a call to a system, and return the report that is due, if one is.

    Args:
        store: the ledger, whose process counts.
        noted: what the gate says of the call.
        took_seconds: how long the call took.
    """
    return store.health.note(
        noted.system,
        failed=noted.failed,
        took_seconds=took_seconds,
        rate_limited_seconds=noted.rate_limited_seconds,
        probe=noted.probe,
        rules=noted.rules,
    )


def asking_about(request: ask.HowIs) -> Systems:
    """Return what to ask the ledger, where this process did not hear it a moment ago.

    Args:
        request: names the system.
    """
    return Systems(window_ms=int(request.rules.window_seconds * 1000))


def state_of(request: ask.HowIs, rows: Mapping[str, SystemRow]) -> SystemState:
    """Return how a system is doing.

    Args:
        request: names the system.
        rows: what the ledger knows of all of them.
    """
    row = rows.get(request.system)
    return NO_SYSTEM_STATE if row is None else row.state(datetime.now(UTC))


def as_answer(error: LedgerRefused) -> ask.RolledBack | None:
    """Return what the gate is told of a settle that the ledger refused inside the tool's transaction.

    Args:
        error: what the ledger raised; None is returned where it does not speak of the transaction.
    """
    match error.sqlstate:
        case "LC003":
            return ask.RolledBack(why="ended")
        case "LC004":
            return ask.RolledBack(why="stale")
        case _:
            return None


def rolled_back(error: transactions.RolledBack, *, committed: bool) -> ask.RolledBack:
    """Return what the gate is told of a settle whose transaction was rolled back.

    Args:
        error: what undid it.
        committed: whether the ledger knows it as committed all the same: by the tool.
    """
    if committed:
        return ask.RolledBack(why="ended")
    return ask.RolledBack(why="undone" if error.error is None else "refused", error=error.error)


def must_settle_again(answer: object) -> bool:
    """Return whether the attempt is still in hand after a settle inside its transaction.

    Args:
        answer: what the gate is told.
    """
    return isinstance(answer, ask.RolledBack) and answer.why != "unsure"


def swallowed_error(*, ended_transaction: bool) -> ask.Raised:
    """Return the outcome of a tool that returned although its transaction cannot be committed.

    Args:
        ended_transaction: whether the tool had ended it by itself.
    """
    return ask.Raised(
        error=transactions.RolledBack("A statement failed inside the tool's transaction, and the tool went on."),
        ended_transaction=ended_transaction,
    )
