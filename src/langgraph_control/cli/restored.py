"""``declare-restored`` and ``accept-restore``: stopping writes after a restore, and letting them go on."""

from typing import Annotated

import typer

from langgraph_control.audit.keeping.restored import declare_restored
from langgraph_control.audit.people.operators import Operators
from langgraph_control.cli.approvals import As
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.operators import Comment
from langgraph_control.cli.output import console, heading, indented
from langgraph_control.cli.signing_in import Auth, sign_in

__all__ = ["accept", "declare"]


def declare(*, comment: Comment, dsn: Dsn = None, local: Local = False) -> None:
    """Stop the writes of all tenants: the database was restored, and commits may be lost.

    On the login that migrates. Where the server has another identifier or timeline, that happens by itself.
    """
    with database("admin", dsn=dsn, local=local) as place:
        declare_restored(place.dsn, comment=comment)
    out = console()
    heading(out, "Stopped: writes of every tenant.", style="red")
    indented(out, "what was lost is named by: langgraph-control reconcile --graphs langgraph.json")
    indented(out, "then: langgraph-control accept-restore --comment …")


def accept(
    *,
    comment: Comment,
    unreconciled: Annotated[
        int | None,
        typer.Option(
            metavar="ENTRY",
            help="The restore, by its entry, that is accepted although nothing was reconciled. On record as that.",
            show_default=False,
        ),
    ] = None,
    dsn: Dsn = None,
    local: Local = False,
    as_person: As = None,
    auth: Auth = None,
) -> None:
    """Let the tenant's writes go on after a restore: a reconciliation has named what was lost."""
    signed = sign_in(auth)
    with (
        database("approver", dsn=dsn, local=local) as place,
        Operators(place.dsn, authenticator=signed.authenticator) as operators,
    ):
        woken = operators.accept_restore(
            comment=comment, unreconciled=unreconciled, as_=as_person, credential=signed.credential
        )
    out = console()
    heading(out, f"Writes go on; runs woken: {woken}.", style="green" if unreconciled is None else "yellow")
    if unreconciled is not None:
        indented(out, "NOT RECONCILED: what the restore took back may be done again. That is on record.")
