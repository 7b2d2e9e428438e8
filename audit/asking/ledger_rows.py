"""What the ledger says of one business request: its runs, actions and requests, as rows to be held against entries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters

__all__ = [
    "FindIntents",
    "LedgerAction",
    "LedgerActions",
    "LedgerRequest",
    "LedgerRequests",
    "LedgerRun",
    "LedgerRuns",
    "Standing",
]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRun:
    """A run's rows.

    Args:
        run_id: its id.
        trigger: the delivery.
        intent: the business request.
        graph: the graph's name.
        thread_id: its thread.
        actor: who asked.
        on_behalf_of: for whom.
        deadline: nothing new is begun after it.
        state: where it stands; None, with the next three, where that row is gone.
        reason: why.
        entries: how many entries it has.
        head: hash of the newest.
    """

    run_id: UUID
    trigger: str
    intent: str
    graph: str
    thread_id: str
    actor: str
    on_behalf_of: str | None
    deadline: datetime | None
    state: str | None
    reason: str | None
    entries: int | None
    head: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerAction:
    """An action's row.

    Args:
        key: its key.
        run_id: the run that first asked.
        tool: the tool's name.
        kind: of the effect.
        state: where it stands.
        attempts: tries.
        execution_id: the newest try that was allowed to have an effect.
        undoes: the action it takes back.
    """

    key: bytes
    run_id: UUID
    tool: str
    kind: str
    state: str
    attempts: int
    execution_id: UUID | None
    undoes: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRequest:
    """A request's row.

    Args:
        approval_id: its id.
        run_id: the run that asked.
        key: the action.
        tool: the tool's name.
        state: where it stands.
        card: SHA-256 of what people are shown; None where there is nothing yet, or it was erased.
        yes: whose yes stands.
        no: who rejected it.
    """

    approval_id: UUID
    run_id: UUID
    key: bytes
    tool: str
    state: str
    card: str | None
    yes: tuple[str, ...]
    no: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Everything that the ledger says of one business request.

    Args:
        runs: its runs.
        actions: their actions.
        requests: their requests.
    """

    runs: tuple[LedgerRun, ...]
    actions: tuple[LedgerAction, ...]
    requests: tuple[LedgerRequest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindIntents(FieldsAreParameters):
    """Ask for business requests in order.

    Args:
        run_id: only that of this run.
        since: only those with a run from this time on.
        after: after this one.
        limit: at most so many, up to 1000.
    """

    statement: ClassVar[str] = "ledger_intents"

    run_id: UUID | None = None
    since: datetime | None = None
    after: str | None = None
    limit: int = 500

    def read(self, rows: Rows) -> tuple[str, ...]:
        """Return the answer as texts."""
        return tuple(row["intent"] for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRuns(FieldsAreParameters):
    """Ask for the runs of a business request.

    Args:
        intent: the request.
    """

    statement: ClassVar[str] = "ledger_runs"

    intent: str

    def read(self, rows: Rows) -> tuple[LedgerRun, ...]:
        """Return the answer as values."""
        return tuple(LedgerRun(**row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerActions(FieldsAreParameters):
    """Ask for its actions.

    Args:
        intent: the request.
    """

    statement: ClassVar[str] = "ledger_actions"

    intent: str

    def read(self, rows: Rows) -> tuple[LedgerAction, ...]:
        """Return the answer as values."""
        return tuple(LedgerAction(**row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRequests(FieldsAreParameters):
    """Ask for its requests for approval.

    Args:
        intent: the request.
    """

    statement: ClassVar[str] = "ledger_requests"

    intent: str

    def read(self, rows: Rows) -> tuple[LedgerRequest, ...]:
        """Return the answer as values."""
        return tuple(LedgerRequest(**{**row, "yes": tuple(row["yes"]), "no": tuple(row["no"])}) for row in rows)
