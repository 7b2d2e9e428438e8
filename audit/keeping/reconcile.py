"""Read what the ledger says and what its entries say, one business request after the other, and name what differs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from langgraph_control.audit.asking.ledger_rows import FindIntents, LedgerActions, LedgerRequests, LedgerRuns, Standing
from langgraph_control.audit.asking.requests import FindRun, FindTenantChain
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.differences import Difference, Kind, Seen, Thread, differences
from langgraph_control.audit.keeping.requests import Dropped, FindDropped
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.rebuild import rebuild
from langgraph_control.audit.trail.rebuilt import Rebuilt
from langgraph_control.audit.trail.verify import verify_tenant

if TYPE_CHECKING:
    from langgraph_control.audit.asking.rows import EntryRow

__all__ = ["Outside", "Reconciled", "nothing_outside", "reconcile", "reconcile_rest"]

PAGE: Final = 500
READINGS: Final = 3
"""So often a request is read before what differs is believed: a month that is dropped at that very moment looks like a
hole, for a partition that is taken off is gone also for who reads as of a moment before. What was lost stays lost.
"""

Outside: TypeAlias = Callable[[Standing, Mapping[UUID, Rebuilt]], tuple[Mapping[str, Seen], Mapping[UUID, Thread]]]
"""Asks systems of record and threads: action key → what its system says, run → what its thread says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What was found about one business request.

    Args:
        intent: the request.
        run_ids: its runs.
        actions: how many actions.
        entries: how many entries were read.
        asked: how many actions were looked up in their systems of record.
        open: tools of the actions whose outcome is open: no difference, but nobody knows.
        differences: everything that differs.
    """

    intent: str
    run_ids: tuple[UUID, ...]
    actions: int
    entries: int
    asked: int
    open: tuple[str, ...]
    differences: tuple[Difference, ...]


def nothing_outside(
    _standing: Standing, _told: Mapping[UUID, Rebuilt]
) -> tuple[Mapping[str, Seen], Mapping[UUID, Thread]]:
    """Ask nobody outside."""
    return {}, {}


def reconcile(
    connection: LedgerConnection,
    *,
    run_id: UUID | None = None,
    since: datetime | None = None,
    outside: Outside = nothing_outside,
) -> Iterator[Reconciled]:
    """Compare business requests, one after the other, each at one instant, also while workers go on.

    Args:
        connection: of the admin's or an auditor's login.
        run_id: only the request of this run, with all of its runs.
        since: only requests with a run that began at this time or later.
        outside: asks systems of record and threads.

    Yields:
        What was found, also where nothing differs.

    Raises:
        TrailUnavailable: the server cannot be reached; what was not yielded is not known.
    """
    asked = FindIntents(run_id=run_id, since=since, limit=PAGE)
    while page := connection.ask(asked):
        for intent in page:
            yield _reconciled(connection, intent, outside)
        if len(page) < PAGE:
            return
        asked = FindIntents(run_id=run_id, since=since, after=page[-1], limit=PAGE)


def reconcile_rest(connection: LedgerConnection, known: set[UUID]) -> Iterator[Difference]:
    """Yield what differs about the tenant's own chain, and chains of runs that the ledger does not have.

    Args:
        connection: of the admin's or an auditor's login.
        known: the runs that were looked at already; what began meanwhile is no finding.
    """
    own = connection.ask(FindTenantChain()).run_id
    verified = verify_tenant(connection)
    if verified.broken is not None:
        yield Difference(kind=Kind.CHAIN_BROKEN, what=f"what belongs to no run: {verified.broken}", run_id=own)
    for run_id in connection.chains():
        if run_id not in known and run_id != own and connection.ask(FindRun(run_id=run_id)) is None:
            entries = sum(1 for _ in connection.entries(run_id))
            what = f"the ledger has no such run, and {entries} entries of it"
            yield Difference(kind=Kind.RUN_MISSING, what=what, run_id=run_id)


_OPEN: Final = frozenset({"unknown", "needs_human", "verifying", "executing"})


def _reconciled(connection: LedgerConnection, intent: str, outside: Outside) -> Reconciled:
    for _ in range(READINGS):
        standing, chains, cuts = _read(connection, intent)
        if not differences(standing, chains, cuts=cuts):
            break
    told = {run_id: rebuild(map(Entry.of, rows)) for run_id, rows in chains.items()}
    seen, threads = outside(standing, told)
    return Reconciled(
        intent=intent,
        run_ids=tuple(chains),
        actions=len(standing.actions),
        entries=sum(map(len, chains.values())),
        asked=len(seen),
        open=tuple(sorted(action.tool for action in standing.actions if action.state in _OPEN)),
        differences=differences(standing, chains, cuts=cuts, seen=seen, threads=threads),
    )


def _read(
    connection: LedgerConnection, intent: str
) -> tuple[Standing, dict[UUID, list["EntryRow"]], dict[UUID, Dropped]]:
    """Read what the ledger and the entries say of one business request, all as of one moment."""
    with connection.one_instant():
        standing = Standing(
            runs=connection.ask(LedgerRuns(intent=intent)),
            actions=connection.ask(LedgerActions(intent=intent)),
            requests=connection.ask(LedgerRequests(intent=intent)),
        )
        chains = {run.run_id: list(connection.entries(run.run_id)) for run in standing.runs}
        cuts: dict[UUID, Dropped] = {}
        for run_id, rows in chains.items():
            if not rows or rows[0].seq > 1:  # what is said to be gone and is there is looked at from its beginning
                cut = connection.ask(FindDropped(run_id=run_id))
                if cut is not None:
                    cuts[run_id] = cut
        return standing, chains, cuts
