"""``verify``: is what was recorded still what was recorded?"""

import sys
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_name
from langgraph_control.audit.telemetry.verifications import AddVerification
from langgraph_control.audit.trail.verify import Verification, verify_all, verify_run, verify_tenant
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, moment, print_error, print_json, some
from langgraph_control.cli.record import TAMPERED, UNREACHABLE, USAGE, Json, named_run, unknown_run
from langgraph_control.errors import ControlError, UnknownRun

__all__ = ["verify"]


def verify(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="A run's name (run_…), or its trigger.")] = None,
    *,
    tenant: Annotated[
        bool, typer.Option("--tenant", help="What belongs to no run: which policies were published.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Every run, and what belongs to none.")] = False,
    dsn: Dsn = None,
    local: Local = False,
    as_json: Json = False,
) -> None:
    """Check the chain of a run, of what belongs to no run, or all of them.

    On the auditor's login what was found is noted, for metrics. Exit code 0: whole; 1: tampered with; 2: no such run;
    3: it could not be read.
    """
    if [run is not None, tenant, every].count(True) != 1:
        raise typer.BadParameter("Give a run, or --tenant, or --all.")
    try:
        with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
            if every:
                whole = _tell_all(connection, as_json=as_json)
            else:
                whole = _tell(connection, _one(connection, run), as_json=as_json)
    except ControlError as error:
        print_error(error)
        raise typer.Exit(USAGE if isinstance(error, UnknownRun) else UNREACHABLE) from None
    if not whole:
        raise typer.Exit(TAMPERED)


def _one(connection: LedgerConnection, run: str | None) -> Verification:
    if run is None:
        return verify_tenant(connection)
    found = verify_run(connection, named_run(connection, run))
    if found is None:
        raise unknown_run()
    return found


def _tell(connection: LedgerConnection, found: Verification, *, as_json: bool) -> bool:
    if not found.ok:
        _note(connection, AddVerification(every=False, chains=1, tampered=1, took_ms=0))
    if as_json:
        print_json({**asdict(found), "ok": found.ok})
    else:
        console().print(f"verify: {_said(found)}")
    return found.ok


def _note(connection: LedgerConnection, found: AddVerification) -> bool:
    """Leave what was found for those who watch; that it cannot be left changes nothing of what was found."""
    try:
        connection.ask(found)
    except ControlError:
        print(
            "verify: what was found is not noted for metrics; on the auditor's login, where it can write, it is.",
            file=sys.stderr,
        )
        return False
    return True


def _said(found: Verification) -> str:
    if found.ok:
        return f"OK ({_counted(found.entries, found.erased)}{_dropped(found)})"
    return f"TAMPERED, {found.broken} ({found.entries} entries before it are whole)"


def _counted(entries: int, erased: int) -> str:
    told = some(entries, "entry")
    return f"{told}, {some(erased, 'payload')} erased" if erased else told


def _dropped(found: Verification) -> str:
    if not found.dropped:
        return ""
    return f"; {found.dropped} entries before them were dropped by retention on {moment(found.dropped_at)}"


def _tell_all(connection: LedgerConnection, *, as_json: bool) -> bool:
    out, began, noted = console(), time.monotonic(), True
    runs, entries, erased, dropped = -1, 0, 0, 0  # the tenant's own chain is no run
    broken: list[dict[str, Any]] = []
    for run, found in verify_all(connection):
        runs, entries, erased = runs + 1, entries + found.entries, erased + found.erased
        dropped += found.dropped
        if not found.ok:
            if not broken:  # at once: the others may take hours
                noted = _note(connection, AddVerification(every=False, chains=1, tampered=1, took_ms=0))
            name = "tenant" if run is None else run_name(run)
            broken.append({"chain": name, **asdict(found)})
            if not as_json:
                out.print(f"{name}: {_said(found)}")
    if noted:
        took_ms = int((time.monotonic() - began) * 1000)
        _note(connection, AddVerification(every=True, chains=runs + 1, tampered=len(broken), took_ms=took_ms))
    if as_json:
        print_json(
            {"ok": not broken, "runs": runs, "entries": entries, "erased": erased, "dropped": dropped, "broken": broken}
        )
    elif broken:
        out.print(f"verify: TAMPERED, {len(broken)} of {runs + 1} chains")
    else:
        gone = f"; {dropped} entries were dropped by retention" if dropped else ""
        out.print(f"verify: OK ({some(runs, 'run')} and what belongs to none, {_counted(entries, erased)}{gone})")
    return not broken
