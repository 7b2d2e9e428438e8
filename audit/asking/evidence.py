"""What was known when a request was opened, as the ledger found it: what its run had read, what was asked and done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters
from langgraph_control.audit.names import approval_name, run_name

__all__ = ["EarlierRequest", "EarlierWrite", "Evidence", "FindEvidence", "ReadBefore"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBefore:
    """A read that the run had made.

    Args:
        tool: which tool read.
        system: the system of record.
        target: the record.
        at: when, by the ledger's clock.
        digest: equal for equal answers within a tenant; None where there was none.
        failed: the system did not answer.
        fallback: something stood in for its answer.
    """

    tool: str
    system: str | None
    target: str | None
    at: datetime
    digest: str | None
    failed: bool
    fallback: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRequest:
    """A request on the same record, by the same tool or another of its system, as it stood then.

    Args:
        approval: its name.
        tool: what was to be called.
        state: where it stood.
        action: where its write stood; None where that has another request since.
        at: when it was asked for.
        intent: the business request it belonged to.
        asked_by: who asked.
        voters: ``person:decision`` in the order they voted.
    """

    approval: str
    tool: str
    state: str
    action: str | None
    at: datetime
    intent: str
    asked_by: str
    voters: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierWrite:
    """A write to the same record that nobody was asked about, as it stood when the request was opened.

    Args:
        tool: what was called.
        state: where it stood: succeeded, under way, or open to doubt.
        at: when it was allowed.
        run: the run that made it.
        intent: the business request it belonged to.
        asked_by: the agent.
    """

    tool: str
    state: str
    at: datetime
    run: str
    intent: str
    asked_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was known when a request was opened.

    Args:
        reads: what the run had read, newest first, at most twenty.
        earlier: requests of the last 30 days on the same record, newest first, at most ten.
        writes: what was done to it in that time without asking anybody, newest first, at most ten.
    """

    reads: tuple[ReadBefore, ...] = ()
    earlier: tuple[EarlierRequest, ...] = ()
    writes: tuple[EarlierWrite, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FindEvidence(FieldsAreParameters):
    """Ask what was known when a request was opened; nothing for one that this login's tenant does not have.

    Args:
        approval_id: the request.
    """

    statement: ClassVar[str] = "evidence"

    approval_id: UUID

    def read(self, rows: Sequence[Mapping[str, Any]]) -> Evidence:
        """Return the answer as a value."""
        if not rows:
            return Evidence()
        return Evidence(
            reads=tuple(_read(one) for one in rows[0]["reads"]),
            earlier=tuple(_earlier(one) for one in rows[0]["earlier"]),
            writes=tuple(_write(one) for one in rows[0]["writes"]),
        )


def _read(one: Mapping[str, Any]) -> ReadBefore:
    return ReadBefore(
        tool=one["tool"],
        system=one.get("system"),
        target=one.get("target"),
        at=_moment(one["at"]),
        digest=one.get("digest"),
        failed=one.get("failed", False),
        fallback=one.get("fallback", False),
    )


def _earlier(one: Mapping[str, Any]) -> EarlierRequest:
    return EarlierRequest(
        approval=approval_name(one["approval"]),
        tool=one["tool"],
        state=one["state"],
        action=one.get("action"),
        at=_moment(one["at"]),
        intent=one["intent"],
        asked_by=one["asked_by"],
        voters=tuple(one.get("voters", ())),
    )


def _write(one: Mapping[str, Any]) -> EarlierWrite:
    return EarlierWrite(
        tool=one["tool"],
        state=one["state"],
        at=_moment(one["at"]),
        run=run_name(one["run"]),
        intent=one["intent"],
        asked_by=one["asked_by"],
    )


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
