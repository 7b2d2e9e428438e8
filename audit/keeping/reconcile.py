"""Read what the ledger says and what its entries say, one business request after the other, and name what differs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from langgraph_control.audit.asking.ledger_rows import FindIntents, LedgerActions, LedgerRequests, LedgerRuns, Standing
from langgraph_control.audit.asking.requests import FindRun, FindTenantChain
from langgraph_control.audit.asking.thread_rows import CheckpointThreads, ThreadRuns
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.differences import Difference, Kind, Said, differences, ill_formed
from langgraph_control.audit.keeping.outside import Answers, Seen, Unasked
from langgraph_control.audit.keeping.requests import Dropped, FindDropped
from langgraph_control.audit.keeping.thread_calls import Calls
from langgraph_control.audit.names import run_id as run_of
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.rebuild import rebuild
from langgraph_control.audit.trail.rebuilt import Rebuilt
from langgraph_control.audit.trail.verify import verify_tenant

if TYPE_CHECKING:
    from langgraph_control.audit.asking.rows import EntryRow

__all__ = ["Outside", "Reconciled", "nothing_outside", "reconcile", "reconcile_request", "reconcile_rest"]

PAGE: Final = 500
READINGS: Final = 3
"""So often a request is read before what differs is believed: a month that is dropped at that very moment looks like a
hole, for a partition that is taken off is gone also for who reads as of a moment before. What was lost stays lost.
"""

Outside: TypeAlias = Callable[[Standing, Mapping[UUID, Rebuilt]], Answers]
"""Asks systems of record and threads about one business request, as its entries tell its runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What was found about one business request.

    Args:
        intent: the request.
        run_ids: its runs.
        actions: how many actions.
        entries: how many entries were read.
        asked: how many actions were looked up in their systems of record, which said whether they have them.
        unclear: tools of the actions whose system was asked and cannot tell.
        unasked: why there is no word of an action's system, and the system or tool, one for each such action.
        no_graph: the graphs of its runs that were not named; nothing of those was asked outside.
        open: tools of the actions whose outcome is open: no difference, but nobody knows.
        differences: everything that differs.
    """

    intent: str
    run_ids: tuple[UUID, ...]
    actions: int
    entries: int
    asked: int
    unclear: tuple[str, ...]
    unasked: tuple[tuple[Unasked, str], ...]
    no_graph: tuple[str, ...]
    open: tuple[str, ...]
    differences: tuple[Difference, ...]


def nothing_outside(_standing: Standing, _told: Mapping[UUID, Rebuilt]) -> Answers:
    """Ask nobody outside."""
    return Answers()


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
    compared: set[str] = set()
    while page := connection.ask(asked):
        for intent in page:
            yield reconcile_request(connection, intent, outside=outside, compared=compared)
        if len(page) < PAGE:
            return
        asked = FindIntents(run_id=run_id, since=since, after=page[-1], limit=PAGE)


def reconcile_rest(connection: LedgerConnection, known: set[UUID]) -> Iterator[Difference]:
    """Yield what differs about the tenant's own chain, and chains and threads of runs that the ledger does not have.

    Args:
        connection: of the admin's or an auditor's login.
        known: the runs that were looked at already; what began meanwhile is no finding.
    """
    own = connection.ask(FindTenantChain()).run_id
    verified = verify_tenant(connection)
    if verified.broken is not None:
        yield Difference(kind=Kind.CHAIN_BROKEN, what=f"what belongs to no run: {verified.broken}", run_id=own)
    yield from ill_formed(own, ((row, Entry.of(row)) for row in connection.entries(own)))
    for run_id in connection.chains():
        if run_id not in known and run_id != own and connection.ask(FindRun(run_id=run_id)) is None:
            entries = sum(1 for _ in connection.entries(run_id))
            what = f"the ledger has no such run, and {entries} entries of it"
            yield Difference(kind=Kind.RUN_MISSING, what=what, run_id=run_id)
    asked = CheckpointThreads(limit=PAGE)
    while page := connection.ask(asked):
        for thread in page:
            if thread.missing:
                what = "LangGraph's tables have a thread of it, and the ledger has no such run"
                yield Difference(kind=Kind.THREAD_WITHOUT_RUN, what=what, run_id=run_of(thread.thread_id))
        asked = CheckpointThreads(after=page[-1].thread_id, limit=PAGE)


_OPEN: Final = frozenset({"unknown", "needs_human", "verifying", "executing"})


def reconcile_request(
    connection: LedgerConnection, intent: str, *, outside: Outside = nothing_outside, compared: set[str] | None = None
) -> Reconciled:
    """Compare one business request.

    Args:
        connection: of the admin's, an auditor's or an approver's login.
        intent: the request.
        outside: asks systems of record and threads.
        compared: threads that several requests share and whose answers were looked at; added to.

    Raises:
        TrailUnavailable: the server cannot be reached.
    """
    for _ in range(READINGS):
        standing, chains, cuts = _read(connection, intent)
        if not differences(standing, chains, cuts=cuts):
            break
    told = {run_id: rebuild(map(Entry.of, rows)) for run_id, rows in chains.items()}
    answers = outside(standing, told)
    threads = _threads(connection, standing, chains, answers, set() if compared is None else compared)
    tools = {action.key.hex(): action.tool for action in standing.actions}
    return Reconciled(
        intent=intent,
        run_ids=tuple(chains),
        actions=len(standing.actions),
        entries=sum(map(len, chains.values())),
        asked=sum(said is not Seen.UNCLEAR for said in answers.seen.values()),
        unclear=tuple(tools[key] for key, said in answers.seen.items() if said is Seen.UNCLEAR),
        unasked=tuple(answers.unasked.values()),
        no_graph=tuple(answers.no_graph.values()),
        open=tuple(sorted(action.tool for action in standing.actions if action.state in _OPEN)),
        differences=differences(standing, chains, cuts=cuts, seen=answers.seen, threads=threads),
    )


def _threads(
    connection: LedgerConnection,
    standing: Standing,
    chains: Mapping[UUID, list["EntryRow"]],
    answers: Answers,
    compared: set[str],
) -> dict[UUID, Said]:
    """What each run's thread is held against. The answers of one that runs share are looked at once.

    Args:
        connection: of the admin's or an auditor's login.
        standing: what the ledger says of one business request.
        chains: the entries of its runs.
        answers: what was found outside.
        compared: shared threads whose answers were looked at; added to.
    """
    said: dict[UUID, Said] = {}
    for run in standing.runs:
        thread = answers.threads.get(run.run_id)
        if thread is None:
            continue
        own = connection.ask(ThreadRuns(thread=run.thread_id)) == (run.run_id,)
        calls: Calls | None = None
        if own or run.thread_id not in compared:
            calls = Calls.of(map(Entry.of, chains[run.run_id]))
            if not own:
                compared.add(run.thread_id)
            if calls.untold(thread.wrote):  # told by other runs, or in an entry that came since the chains were read
                calls = _calls_now(connection, run.thread_id)
        said[run.run_id] = Said(thread=thread, own=own, calls=calls)
    return said


def _calls_now(connection: LedgerConnection, thread_id: str) -> Calls | None:
    """The calls that the entries of all runs of a thread tell of; None where some of these were dropped."""
    calls = Calls()
    for run_id in connection.ask(ThreadRuns(thread=thread_id)):
        calls |= Calls.of(map(Entry.of, connection.entries(run_id)))
        if connection.ask(FindDropped(run_id=run_id)) is not None:  # after that: it may happen in between
            return None
    return calls


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
