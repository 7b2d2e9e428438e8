"""What the two drivers share: where a gate runs, and what they tell it."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from langgraph_control.audit import transactions
from langgraph_control.audit.drives import DriveId
from langgraph_control.audit.failures import LedgerRefused
from langgraph_control.audit.health import Report
from langgraph_control.audit.store import Store
from langgraph_control.errors import SchemaMismatch, TrailUnavailable
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.contracts import Contract

__all__ = [
    "LOST",
    "NOTE_SECONDS",
    "Surroundings",
    "as_answer",
    "due_report",
    "must_settle_again",
    "new_ticket",
    "swallowed_error",
]

LOST: Final = (TrailUnavailable, SchemaMismatch, LedgerRefused)
"""What the ledger's client raises: nothing more can be recorded, so the call leaves as a bubble-up."""


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
    """

    store: Store
    contract: Contract
    tool: str
    drive: DriveId
    body: Callable[..., Any]
    given: Mapping[str, Any]
    prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]]

    def hook(self, request: ask.Ask) -> Callable[[Any], Any]:
        """Return the hook that is to be asked.

        Args:
            request: names it.
        """
        hook: Callable[[Any], Any] = getattr(self.contract, request.hook)
        return hook


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
        at_once=noted.at_once,
        rules=noted.rules,
    )


def as_answer(error: LedgerRefused) -> ask.RolledBack | None:
    """Return what the gate is told of a settle that the ledger refused inside the tool's transaction.

    Args:
        error: what the ledger raised; None is returned where it does not speak of the transaction.
    """
    match error.code:
        case "LC003":
            return ask.RolledBack(why="ended")
        case "LC004":
            return ask.RolledBack(why="stale")
        case _:
            return None


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
