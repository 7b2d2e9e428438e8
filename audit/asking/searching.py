"""Requests that look things up in the record: writes by who, what and when; chains of a period; policies by hash."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.guards.spoken_texts import RECORD_CHARS_MAX, check_name

__all__ = [
    "ChainsBetween",
    "FindPolicies",
    "FoundWrite",
    "PolicyText",
    "Search",
    "chains_between",
    "writes_found",
]

PAGE: Final = 500
PAGE_CHAINS: Final = 5000

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWrite:
    """A write on record.

    Args:
        run_id: the run that first asked for it.
        key: the action key.
        started_at: when that run began.
        trigger: the delivery that began it.
        intent: the business request.
        actor: who asked.
        on_behalf_of: for whom.
        graph: the graph's name.
        tool: the tool's name.
        system: the system of record.
        impact: what it affects.
        kind: of the effect.
        state: where it stands now.
        attempts: tries.
        undoes: the action that it takes back; None for what takes nothing back.
        at: when it was first decided about.
        verb: what was decided then.
        target: the record.
        policy: hash of the policy that decided.
        approval_id: the newest request for it; None where nobody was asked.
        approval_state: where that stands.
        voters: ``person:decision`` in the order they voted.
        rejected_for: why it was rejected, a stable word.
        in_review: it was done on one person's word, and nobody has looked at that since.
    """

    run_id: UUID
    key: bytes
    started_at: datetime
    trigger: str
    intent: str
    actor: str
    on_behalf_of: str | None
    graph: str
    tool: str
    system: str | None
    impact: str
    kind: str
    state: str
    attempts: int
    undoes: bytes | None
    at: datetime
    verb: str
    target: str | None
    policy: str | None
    approval_id: UUID | None
    approval_state: str | None
    voters: tuple[str, ...]
    rejected_for: str | None
    in_review: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Search(FieldsAreParameters):
    """Ask for writes, newest runs first. What is None is not asked about.

    Args:
        actor: who asked, or for whom.
        record: the record's name, as entries and cards have it.
        tool: the tool's name.
        approver: somebody who voted on a request for it.
        state: where it stands.
        since: first decided about at this time or later.
        until: before this time.
        before: of the last row of the page before, its run's beginning.
        before_key: and its key.
        limit: at most so many, up to 1000.
    """

    statement: ClassVar[str] = "search"

    actor: str | None = None
    record: str | None = None
    tool: str | None = None
    approver: str | None = None
    state: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: datetime | None = None
    before_key: bytes | None = None
    limit: int = PAGE

    def read(self, rows: Rows) -> tuple[FoundWrite, ...]:
        """Return the answer as values."""
        return tuple(FoundWrite(**{**row, "voters": tuple(row["voters"])}) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainsBetween(FieldsAreParameters):
    """Ask for the chains with an entry in a period, or a run that began in it, in the order of their ids.

    Args:
        since: at this time or later.
        until: before this time.
        after: the last chain of the page before.
        limit: at most so many, up to 10,000.
    """

    statement: ClassVar[str] = "chains_between"

    since: datetime
    until: datetime
    after: UUID | None = None
    limit: int = PAGE_CHAINS

    def read(self, rows: Rows) -> tuple[tuple[UUID, str | None], ...]:
        """Return each chain with its business request; None for one that has no run."""
        return tuple((row["run_id"], row["intent"]) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyText:
    """A policy that was published.

    Args:
        hash: of its text.
        body: the text.
        published_by: the login that published it last.
        published_at: when.
    """

    hash: str
    body: str
    published_by: str
    published_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FindPolicies(FieldsAreParameters):
    """Ask for the texts of policies.

    Args:
        hashes: of which: in hex, whole or at least their first twelve digits.
    """

    statement: ClassVar[str] = "policies"

    hashes: list[str]

    def read(self, rows: Rows) -> tuple[PolicyText, ...]:
        """Return the answer as values."""
        return tuple(PolicyText(**row) for row in rows)


def writes_found(connection: LedgerConnection, search: Search) -> Iterator[FoundWrite]:
    """Yield every write that a search finds, a page at a time.

    Args:
        connection: of an auditor's, an admin's or an approver's login.
        search: what to look for; its limit is the size of a page.

    Raises:
        ArgumentError: what is looked for can be on no record: it is too long, or no text that can be kept.
        TrailUnavailable: the server cannot be reached.
    """
    for at in ("actor", "record", "tool", "approver"):
        check_name(getattr(search, at), at=at, chars_max=RECORD_CHARS_MAX)
    while page := connection.ask(search):
        yield from page
        if len(page) < search.limit:
            return
        search = replace(search, before=page[-1].started_at, before_key=page[-1].key)


def chains_between(
    connection: LedgerConnection, *, since: datetime, until: datetime
) -> Iterator[tuple[UUID, str | None]]:
    """Yield every chain with an entry in a period, with its business request, a page at a time.

    Args:
        connection: of an auditor's, an admin's or an approver's login.
        since: at this time or later.
        until: before this time.

    Raises:
        TrailUnavailable: the server cannot be reached.
    """
    asked = ChainsBetween(since=since, until=until)
    while page := connection.ask(asked):
        yield from page
        if len(page) < asked.limit:
            return
        asked = replace(asked, after=page[-1][0])
