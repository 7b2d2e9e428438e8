"""Read what a report of a period is told from: one business request's chains after the other, each checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from langgraph_control.audit.asking.ledger_rows import LedgerRun, LedgerRuns
from langgraph_control.audit.asking.requests import FindTenantChain
from langgraph_control.audit.asking.rows import EntryRow
from langgraph_control.audit.asking.searching import chains_between
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.requests import FindDropped
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.period import Period, Read
from langgraph_control.audit.trail.period_telling import Telling
from langgraph_control.audit.trail.verify import verify_chain, verify_run, verify_tenant

__all__ = ["read_period"]

READINGS: Final = 3
"""So often chains are read before what is broken is believed: a month that is dropped just then looks like a hole."""


def read_period(connection: LedgerConnection, *, since: datetime, until: datetime) -> Period:
    """Tell a period from its entries, and check the chains that they are in. A run's entries are held at a time.

    Args:
        connection: of an auditor's, an admin's or an approver's login.
        since: the period's beginning.
        until: its end.

    Raises:
        TrailUnavailable: the server cannot be reached; nothing is known.
    """
    reading = _Reading(connection=connection, until=until, telling=Telling(since=since, until=until))
    own = connection.ask(FindTenantChain()).run_id
    reading.of_the_tenant(own)
    requests: set[str] = set()
    for run_id, intent in chains_between(connection, since=since, until=until):
        if intent is not None and intent not in requests:
            requests.add(intent)
            reading.of_a_request(intent)
        elif intent is None and run_id != own:
            reading.of_no_run(run_id)
    return reading.whole()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    entries: Sequence[Entry]
    dropped: int = 0
    broken: str | None = None


@dataclass(slots=True, kw_only=True)
class _Reading:
    connection: LedgerConnection
    until: datetime
    telling: Telling
    chains: int = 0
    entries: int = 0
    dropped: int = 0
    broken: list[tuple[UUID, str]] = field(default_factory=list)

    def of_the_tenant(self, own: UUID) -> None:
        entries = self._entries(list(self.connection.entries(own)))
        found = verify_tenant(self.connection)
        broken = None if found.broken is None else f"what belongs to no run: {found.broken}"
        self._take({own: _Chain(entries=entries, broken=broken)})

    def of_no_run(self, run_id: UUID) -> None:
        rows = list(self.connection.entries(run_id))
        found = verify_run(self.connection, run_id, read=rows)
        broken = None if found is None or found.broken is None else str(found.broken)
        self._take({run_id: _Chain(entries=self._entries(rows), broken=broken)})

    def of_a_request(self, intent: str) -> None:
        for _ in range(READINGS):
            with self.connection.one_instant():
                runs = self.connection.ask(LedgerRuns(intent=intent))
                chains = {run.run_id: self._chain(run) for run in runs}
            if not any(chain.broken for chain in chains.values()):
                break
        self._take(chains)

    def whole(self) -> Period:
        broken = tuple(sorted(self.broken))
        read = Read(chains=self.chains, entries=self.entries, dropped=self.dropped, broken=broken)
        return self.telling.whole(read)

    def _chain(self, run: LedgerRun) -> _Chain:
        rows = list(self.connection.entries(run.run_id))
        entries = self._entries(rows)
        if run.entries is None or run.head is None:
            return _Chain(entries=entries, broken="the row that says where it ends is missing")
        gone = not rows or rows[0].seq > 1
        cut = self.connection.ask(FindDropped(run_id=run.run_id)) if gone else None
        found = verify_chain(run.run_id, rows, head=run.head, entries=run.entries, cut=cut)
        if found.broken is not None:
            return _Chain(entries=entries, dropped=found.dropped, broken=str(found.broken))
        first = Entry.of(rows[0]) if rows else None
        if first is not None and "run.started" in first.events and first.fact("intent") != run.intent:
            said = "its row names another business request than the entry that started it"
            return _Chain(entries=entries, broken=said)
        return _Chain(entries=entries, dropped=found.dropped)

    def _entries(self, rows: Sequence[EntryRow]) -> list[Entry]:
        """Those that are told of, without what they say of arguments and records."""
        return [replace(Entry.of(row), payload=None) for row in rows if row.at < self.until]

    def _take(self, chains: Mapping[UUID, _Chain]) -> None:
        self.telling.take({run_id: chain.entries for run_id, chain in chains.items()})
        for run_id, chain in chains.items():
            if chain.broken is not None:
                self.broken.append((run_id, chain.broken))
            if chain.entries or chain.dropped or chain.broken is not None:
                self.chains += 1
                self.entries += len(chain.entries)
                self.dropped += chain.dropped
