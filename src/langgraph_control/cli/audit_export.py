"""``audit export``: the record as one file that can be verified far from here."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.whole_file import whole_file
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.record import named_run

if TYPE_CHECKING:
    from langgraph_control.audit.bundles.bundling import Bundled

__all__ = ["Out", "WithPayloads", "export_bundle_of"]

MOMENTS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]

Out = Annotated[Path, typer.Option("--out", help="The file to write; there must be none of that name.")]
WithPayloads = Annotated[
    bool,
    typer.Option("--with-payloads", help="Arguments and before-images, too: they may name customers and amounts."),
]


def export_bundle_of(
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN...", help="Names of runs, or triggers.")] = None,
    *,
    out: Out,
    since: Annotated[
        datetime | None, typer.Option(formats=MOMENTS, help="All that got an entry since, in UTC.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All runs, and what belongs to none.")] = False,
    with_payloads: WithPayloads = False,
    sealed_only: Annotated[
        bool, typer.Option("--sealed-only", help="Leave out entries that no checkpoint covers yet.")
    ] = False,
    dsn: Dsn = None,
    local: Local = False,
) -> None:
    """Write a bundle: entries byte for byte, the tree, the checkpoints. Verify it with langgraph-control audit verify.

    Payloads are left out unless asked for: no proof needs them, and whoever gets the file could read them.
    """
    if [bool(runs), since is not None, every].count(True) != 1:
        raise typer.BadParameter("Give runs, or --since, or --all.")
    from langgraph_control.audit.bundles.bundling import chains_since, export_bundle

    moment = None if since is None else since.replace(tzinfo=UTC)
    with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        named = [named_run(connection, run) for run in runs or ()]
        with whole_file(out) as file:
            done = export_bundle(
                connection.ask,
                file,
                named or chains_since(connection.ask, moment),
                scope="run" if runs else "since" if since is not None else "all",
                since=moment,
                payloads=with_payloads,
                sealed_only=sealed_only,
                progress=_progress,
            )
    print(_said(done, out))


def _progress(chains: int, entries: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{entries} entries of {chains} chains")
        sys.stderr.flush()


def _said(done: "Bundled", out: Path) -> str:
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    sealed = f"sealed in a tree of {done.size} leaves" if done.size else "nothing is sealed yet"
    if done.size and done.unsealed:
        sealed += f", but {done.unsealed} entries that came since"
    chains = f"{done.chains} chain{'s' if done.chains != 1 else ''}"
    return f"{out}: {done.entries} entries of {chains}; {sealed}."
