"""``runs`` and ``resume``: where runs stand, and having one driven on."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from langgraph_control.audit.asking.requests import NewestRuns
from langgraph_control.audit.asking.rows import RunRow
from langgraph_control.audit.asking.wakes import RunWake, Wake
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_name
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, indented, moment, pairs, print_json
from langgraph_control.cli.record import STATE_STYLES, Json, RunArgument, find_run, run_json
from langgraph_control.errors import ControlError, RunRefused
from langgraph_control.guards.run_reasons import RunState, explained
from langgraph_control.guards.run_states import next_step

__all__ = ["resume", "runs"]


def runs(
    *,
    state: Annotated[RunState | None, typer.Option(help="Only those that stand there.", show_default=False)] = None,
    owner: Annotated[
        str | None,
        typer.Option(help="Only those of this owner: a role, a requester, or workers.", show_default=False),
    ] = None,
    dsn: Dsn = None,
    local: Local = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List runs: where each stands, why, who has to act, and the next step. On any login.

    The newest first; with --state or --owner the unfinished ones, and those that stand there longest first.
    """
    longest = state is not RunState.DONE and (state or owner) is not None
    with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        found = connection.ask(NewestRuns(limit=limit + 1, state=state, owner=owner, longest=longest))
    rows = found[:limit]
    if len(found) > limit:
        sys.stderr.write(f"These are the {'longest' if longest else 'newest'} {limit}; there are more: --limit\n")
    if as_json:
        print_json([_listed_json(row) for row in rows])
        return
    out = console()
    for row in rows:
        _print_run(out, row)
    if not rows:
        out.print("There are no runs yet." if state is None and owner is None else "No run stands there.")


def resume(
    run: RunArgument,
    *,
    graphs: Annotated[
        Path | None,
        typer.Option(
            help="Drive it here, with the graphs this file names, such as langgraph.json.", show_default=False
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="With --graphs, for those that are given their Control: its policy file.", show_default=False
        ),
    ] = None,
    dsn: Dsn = None,
    local: Local = False,
) -> None:
    """Have a parked run driven now, by a worker, or here with --graphs.

    On any login but the auditor's; with --graphs on the agent's. Nothing is decided by it: what waits for people
    goes on waiting.
    """
    if graphs is None:
        _wake(run, dsn=dsn, local=local)
    else:
        _drive(run, graphs, policy=policy, dsn=dsn)


def _wake(run: str, *, dsn: str | None, local: bool) -> None:
    with database("approver", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        row = find_run(connection, run)
        woken = connection.ask(RunWake(run_id=row.run_id))
    name = run_name(row.run_id)
    match woken.answer:
        case Wake.FINISHED | Wake.UNKNOWN:
            raise RunRefused(f"Run {name} is over.", todo=f"See it: langgraph-control show {name}.", code="run_over")
        case Wake.HELD:
            heading(console(), f"{name} is being driven already.", style="cyan")
        case Wake.WOKEN:
            heading(console(), f"{name} is woken: a worker goes on with it.", style="green")
            if not woken.served:
                indented(
                    console(),
                    f"no worker that has the graph {row.graph!r} has looked for work in the last minute: start one"
                    " (langgraph-control worker), or drive it here (--graphs langgraph.json)",
                )


def _drive(run: str, graphs: Path, *, policy: Path | None, dsn: str | None) -> None:
    from langgraph_control.graphs.control import Control
    from langgraph_control.graphs.itinerary import resuming
    from langgraph_control.graphs.langgraph_json import load_graphs
    from langgraph_control.graphs.order import acquiring
    from langgraph_control.graphs.trip import Trip

    ledgers = load_graphs(graphs, own=None if policy is None else lambda: Control(policy, dsn=dsn))
    failed: Exception | None = None
    try:
        with LedgerConnection(next(iter(ledgers.values())).store().dsn) as connection:
            row = find_run(connection, run)
            ledger = ledgers.get(row.graph)
            if ledger is None:
                raise RunRefused(
                    f"{graphs.name} does not name the graph {row.graph!r} of run {run_name(row.run_id)}.",
                    todo="Name it there, under that name.",
                    code="graph_not_bound",
                )
            driver = ledger.runs()
            steps = resuming(
                trip := Trip(),
                row.run_id,
                ledger.policies,
                acquired=partial(acquiring, row.run_id, lease_ms=driver.leases.lease_ms),
                bound=driver.bound,
                driven_here=driver.leases.driven,
            )
            try:
                for _ in driver.drive(trip, steps):
                    pass
            except ControlError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever the graph raises is told by its class, and kept with the run
                failed = error
            _print_run(console(), find_run(connection, run))
    finally:
        for each in {id(ledger): ledger for ledger in ledgers.values()}.values():
            each.close()
    if failed is not None:
        raise typer.Exit(1)


def _print_run(out: Console, row: RunRow) -> None:
    heading(out, f"{run_name(row.run_id)}: {row.state}", style=STATE_STYLES.get(row.state, "yellow"))
    pairs(
        out,
        [
            ("reason", row.reason),
            ("", explained(row.reason).says if row.reason else None),
            ("owner", row.owner),
            ("next", _step(row)),
            ("tools", ", ".join(row.tools)),
            ("since", moment(row.state_since)),
            ("again", moment(row.wake_at)),
            ("run", f"{row.trigger} · {row.graph} · {row.actor} · {moment(row.started_at)}"),
        ],
    )


def _step(row: RunRow) -> str:
    """The stored step; where none was stored, as of a run that is driven, what follows from where it stands."""
    if row.next_step or row.state is RunState.DONE:
        return row.next_step
    name = run_name(row.run_id)
    return next_step(row.reason, name) if row.reason else f"langgraph-control show {name}"


def _listed_json(row: RunRow) -> dict[str, Any]:
    says = explained(row.reason).says if row.reason else ""
    return {**run_json(row), "says": says, "next_step": _step(row)}
