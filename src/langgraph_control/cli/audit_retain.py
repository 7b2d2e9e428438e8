"""``audit retain``: whole months go, once they are old enough and nothing stands against it."""

from typing import Annotated

import typer

from langgraph_control.audit.keeping.erasure import retain
from langgraph_control.audit.names import run_name
from langgraph_control.audit.trail.keeping_sentences import places_text
from langgraph_control.cli.audit_erase import Comment, DryRun, span, told_instead
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, indented, some

__all__ = ["retain_months"]


def retain_months(
    *,
    older_than: Annotated[
        str, typer.Option(metavar="TIME", help="How long entries are kept: 400d.", show_default=False)
    ],
    comment: Comment,
    dry_run: DryRun = False,
    dsn: Dsn = None,
    local: Local = False,
) -> None:
    """Drop the entries of whole months that are older, on the admin's login.

    A month stays where a run of it goes on, is unsettled, or is held. Where each chain was cut is on record.
    """
    out, older = console(), span(older_than)
    found = False
    with database("admin", dsn=dsn, local=local) as place:
        for month in retain(place.dsn, older, comment=comment, told=told_instead(), dry_run=dry_run):
            found = True
            name = month.month.strftime("%Y-%m")
            if month.kept_for is not None:
                run = "" if month.run_id is None else f" of {run_name(month.run_id)}"
                heading(out, f"{name} stays: {month.kept_for}{run}", style="yellow")
                continue
            said = "would be dropped" if dry_run else "was dropped"
            heading(out, f"{name} {said}: {some(month.entries, 'entry')} of {some(month.runs, 'run')}")
            indented(out, f"erased beside the trail of {month.whole_runs} whole runs: {places_text(month.erased)}")
    if not found:
        out.print("No month is old enough.")
