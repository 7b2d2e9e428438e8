"""What is asked of the ledger for a bundle, beside entries (``audit.asking``) and the tree (``audit.seals``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters

__all__ = ["ApprovalEntries", "ChainsMoved", "FindBundleTenant", "PolicyTexts", "Whose"]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """Whose record it is.

    Args:
        tenant: the login's tenant.
        own_chain: the chain of what belongs to no run.
        origin: of the tenant's log; None as long as nothing was sealed.
    """

    tenant: str
    own_chain: UUID
    origin: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FindBundleTenant(FieldsAreParameters):
    """Ask whose record it is."""

    statement: ClassVar[str] = "bundle"

    def read(self, rows: Rows) -> Whose:
        """Return the answer as a value."""
        return Whose(**rows[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainsMoved(FieldsAreParameters):
    """Read the ids of all the tenant's chains in order, with the time of each one's newest entry.

    Args:
        after: the last id already read; None for the start.
        limit: at most so many.
    """

    statement: ClassVar[str] = "chains_moved"

    after: UUID | None
    limit: int

    def read(self, rows: Rows) -> tuple[tuple[UUID, datetime | None], ...]:
        """Return the answer as values."""
        return tuple((row["chain"], row["newest"]) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTexts(FieldsAreParameters):
    """Read texts of policies by hash; those that were never published are left out.

    Args:
        hashes: in hex.
    """

    statement: ClassVar[str] = "policy_texts"

    hashes: list[str]

    def read(self, rows: Rows) -> tuple[tuple[str, str], ...]:
        """Return hash and text, each."""
        return tuple((row["hash"], row["body"]) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalEntries(FieldsAreParameters):
    """Ask where a run's chain speaks of a request for approval.

    Args:
        approval_id: the request.
    """

    statement: ClassVar[str] = "approval_entries"

    approval_id: UUID

    def read(self, rows: Rows) -> tuple[UUID, int, int] | None:
        """Return the run and the first and the last place; None for a request that is not there."""
        return (rows[0]["run_id"], rows[0]["first"], rows[0]["last"]) if rows else None
