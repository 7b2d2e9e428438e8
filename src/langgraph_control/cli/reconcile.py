"""``reconcile``: does everything that is recorded follow from everything else that is recorded?"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
import typer
from rich.text import Text

from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.differences import Difference
from langgraph_control.audit.keeping.outside import SHORTFALL, Unasked
from langgraph_control.audit.keeping.reconcile import Outside, Reconciled, nothing_outside, reconcile_rest
from langgraph_control.audit.keeping.reconcile import reconcile as compare
from langgraph_control.audit.keeping.restored import FindRestore, RecordReconciliation, Restore
from langgraph_control.audit.names import run_name
from langgraph_control.audit.printable import printable
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.moments import moment_of
from langgraph_control.cli.output import console, print_error, print_json, some
from langgraph_control.cli.record import Json, find_run
from langgraph_control.errors import ControlError, UnknownRun

if TYPE_CHECKING:
    from uuid import UUID

    from langgraph_control.graphs.ledger import Ledger

__all__ = ["reconcile"]

DIFFERS: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
SHORT: Final = 4

NAMES_MAX: Final = 20


@dataclass(slots=True)
class _Found:
    """What was found so far.

    Args:
        outside: systems of record and threads are asked, too.
        whole: everything was looked at, and not only a part.
        unclear: tool → actions whose system was asked and cannot tell.
        unasked: why there is no word of a system → system or tool → actions.
        no_graph: graph → its runs, of which nothing was asked outside.
    """

    outside: bool
    whole: bool
    requests: int = 0
    runs: int = 0
    actions: int = 0
    entries: int = 0
    asked: int = 0
    unclear: Counter[str] = field(default_factory=Counter)
    unasked: dict[Unasked, Counter[str]] = field(default_factory=lambda: {why: Counter() for why in Unasked})
    no_graph: Counter[str] = field(default_factory=Counter)
    open: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    def take(self, one: Reconciled) -> None:
        self.requests += 1
        self.runs += len(one.run_ids)
        self.actions += one.actions
        self.entries += one.entries
        self.asked += one.asked
        self.unclear.update(one.unclear)
        for why, name in one.unasked:
            self.unasked[why][name] += 1
        self.no_graph.update(one.no_graph)
        self.open += one.open
        self.differences += one.differences

    @property
    def short(self) -> bool:
        """Whether something outside was to be asked, could have been, and was not."""
        return bool(self.no_graph) or any(self.unasked[why] for why in SHORTFALL)


def reconcile(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="A run's name (run_…), or its trigger; all runs if not given.")
    ] = None,
    *,
    since: Annotated[
        str | None,
        typer.Option(help="Only what has a run since then: a moment, or a span such as 24h.", show_default=False),
    ] = None,
    graphs: Annotated[
        Path | None,
        typer.Option(
            help="Also ask systems of record and threads, with the graphs that this file names.", show_default=False
        ),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="For graphs that are given their Control: its policy file.", show_default=False)
    ] = None,
    agent_dsn: Annotated[
        str | None, typer.Option(metavar="DSN", help="For the same: the agent login's DSN.", show_default=False)
    ] = None,
    dsn: Dsn = None,
    local: Local = False,
    as_json: Json = False,
) -> None:
    """Hold the ledger against its entries, and both against LangGraph's threads and the systems of record.

    On the auditor's or the admin's login. Changes nothing; that everything was looked through is put on record. Exit
    code 0: nothing differs; 1: something does, and is named; 2: no such run; 3: it could not be read, or not recorded;
    4: nothing differs in what was looked at, and something outside could not be asked, which is named.
    """
    if run is not None and since is not None:
        raise typer.BadParameter("Give a run, or --since, or neither for everything.")
    begin = moment_of(since, now=datetime.now(UTC))
    found = _Found(outside=graphs is not None, whole=run is None and begin is None)
    try:
        with (
            database("auditor", dsn=dsn, local=local) as place,
            LedgerConnection(place.dsn) as connection,
            _outside(graphs, policy, agent_dsn) as outside,
        ):
            restore = connection.ask(FindRestore()) if found.whole else None  # before anything else is read
            run_id = None if run is None else find_run(connection, run).run_id
            known: set[UUID] = set()
            for one in compare(connection, run_id=run_id, since=begin, outside=outside):
                found.take(one)
                known.update(one.run_ids)
            if found.whole:
                found.differences += reconcile_rest(connection, known)
            _tell(found, as_json=as_json)
            if found.whole:
                _looked_through(connection, found, restore)
    except ControlError as error:
        print_error(error)
        raise typer.Exit(USAGE if isinstance(error, UnknownRun) else UNREACHABLE) from None
    if found.differences:
        raise typer.Exit(DIFFERS)
    if found.short:
        raise typer.Exit(SHORT)


def _looked_through(connection: LedgerConnection, found: _Found, restore: Restore | None) -> None:
    """Put on record that all of it was looked at and named, and say what that allows.

    Writes that were frozen because a restore or a fail-over lost commits may go on from here, and only from here: after
    a reconciliation that was whole and asked outside, whether or not something differed, for it has been named.
    """
    counts = connection.ask(
        RecordReconciliation(
            restore=None if restore is None else restore.place,
            outside=found.outside,
            requests=found.requests,
            runs=found.runs,
            actions=found.actions,
            entries=found.entries,
            asked=found.asked,
            unclear=found.unclear.total(),
            **{why.value: found.unasked[why].total() for why in Unasked},
            no_graph=found.no_graph.total(),
            open=len(found.open),
            differences=len(found.differences),
            body=_missing(found),
        )
    )
    if not counts:
        why = "it was restored again meanwhile" if found.outside else "outside was not asked"
        said = (
            "The database was restored, and this does not let writes go on:"
            f" {'not all that is outside was asked' if found.short else why}."
            " Next: langgraph-control reconcile --graphs langgraph.json."
        )
    elif found.outside and not found.short:
        said = (
            "Everything was looked at, outside too: what a restore has lost is named above."
            " Where writes stand still for it, langgraph-control accept-restore lets them go on."
        )
    else:
        return
    print(said, file=sys.stderr)


def _missing(found: _Found) -> bytes:
    """The entry's body: what was not asked, by name, as far as that is short enough to be kept."""
    names = {
        "graphs": found.no_graph,
        "systems": found.unasked[Unasked.UNANSWERED],
        "tools": found.unasked[Unasked.NO_TOOL],
    }
    return orjson.dumps(
        {name: sorted(each)[:NAMES_MAX] for name, each in names.items() if each}, option=orjson.OPT_SORT_KEYS
    )


@contextmanager
def _outside(graphs: Path | None, policy: Path | None, dsn: str | None) -> Iterator[Outside]:
    """Who asks outside: nobody, or the contracts and graphs that the file names."""
    if graphs is None:
        yield nothing_outside
        return
    from langgraph_control.graphs.control import Control
    from langgraph_control.graphs.langgraph_json import load_graphs
    from langgraph_control.graphs.looking_up import Lookup

    ledgers = load_graphs(graphs, own=None if policy is None else lambda: Control(policy, dsn=dsn))
    each: dict[int, Ledger] = {id(ledger): ledger for ledger in ledgers.values()}
    try:
        yield Lookup(ledgers)
    finally:
        for ledger in each.values():
            ledger.close()


def _tell(found: _Found, *, as_json: bool) -> None:
    if as_json:
        print_json(_json(found))
        return
    out = console()
    for one in found.differences:
        tool = f", {one.tool}" if one.tool else ""
        out.print(Text(printable(f"{one.kind}: {run_name(one.run_id)}{tool}: {one.what}"), style="red"), soft_wrap=True)
    looked = f"{some(found.runs, 'run')}, {some(found.actions, 'action')}, {some(found.entries, 'entry')}"
    if found.outside:
        looked += f", {some(found.asked, 'action')} looked up in their systems"
    verdict = "NOT ALL ASKED" if found.short else "OK"
    verdict = f"{len(found.differences)} DIFFERENCES" if found.differences else verdict
    out.print(f"reconcile: {verdict} ({looked})", soft_wrap=True)
    if found.open:
        unknown = some(len(found.open), "action")
        out.print(f"Open, and no difference: {unknown} whose outcome nobody knows yet.", soft_wrap=True)
    for said, each, what, todo in _not_known(found):
        for name, count in sorted(each.items()):
            out.print(Text(printable(f"{said}: {name}, {some(count, what)}. {todo}")), soft_wrap=True)
    if not found.outside:
        out.print("Not looked at: systems of record and threads. Name the graphs with --graphs.", soft_wrap=True)


def _not_known(found: _Found) -> Iterator[tuple[str, Counter[str], str, str]]:
    """What nobody outside has answered: how it is called, how often by name, of what, and what to do."""
    by_hand = "Look by hand."
    yield "Graph not named", found.no_graph, "run", "Name it in the file of --graphs."
    unasked = found.unasked
    yield "Could not be asked", unasked[Unasked.UNANSWERED], "action", "Run this again when the system answers."
    yield "In no named graph", unasked[Unasked.NO_TOOL], "action", "Name a graph that has the tool."
    yield "Cannot tell", found.unclear, "action", by_hand
    yield "No find", unasked[Unasked.NO_FIND], "action", by_hand
    yield "No arguments", unasked[Unasked.NO_ARGUMENTS], "action", by_hand


def _json(found: _Found) -> dict[str, Any]:
    told = {name: getattr(found, name) for name in ("whole", "requests", "runs", "actions", "entries", "asked", "open")}
    differences = [{**asdict(one), "run_id": run_name(one.run_id)} for one in found.differences]
    return {
        "ok": not differences and not found.short,
        "outside": found.outside and not found.short,
        **told,
        "unclear": found.unclear,
        **{why.value: found.unasked[why] for why in Unasked},
        "no_graph": found.no_graph,
        "differences": differences,
    }
