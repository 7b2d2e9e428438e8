"""``audit receipt``: the proof of one entry, or of what was asked and answered about one request."""

from typing import Annotated
from uuid import UUID

import typer

from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_id
from langgraph_control.audit.whole_file import whole_file
from langgraph_control.cli.audit_export import Out, WithPayloads
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.record import named_run

__all__ = ["receipt_of"]


def receipt_of(
    entry: Annotated[
        str,
        typer.Argument(metavar="ENTRY|APR", help="RUN/PLACE as show numbers a run's entries, or a request (apr_…)."),
    ],
    *,
    out: Out,
    with_payloads: WithPayloads = False,
    dsn: Dsn = None,
    local: Local = False,
) -> None:
    """Write a receipt: the entry, the chain to the sealed head, its proof, and the checkpoint.

    It is verified as a bundle is: langgraph-control audit verify.
    """
    from langgraph_control.audit.bundles.bundling import approval_receipt, receipt

    with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        if entry.startswith("apr_"):
            approval = approval_id(entry)
            with whole_file(out) as file:
                sealed = approval_receipt(connection.ask, file, approval, payloads=with_payloads)
        else:
            chain, seq = _place(connection, entry)
            with whole_file(out) as file:
                sealed = receipt(connection.ask, file, chain, seq, payloads=with_payloads)
    print(f"{out}: sealed with entry {sealed}.")


def _place(connection: LedgerConnection, entry: str) -> tuple[UUID, int]:
    run, slash, seq = entry.rpartition("/")
    if not slash or not seq.isdecimal() or not seq.isascii() or len(seq) > 9:  # noqa: PLR2004 - no chain is so long
        raise typer.BadParameter("Write an entry as RUN/PLACE, such as run_…/5.")
    return named_run(connection, run), int(seq)
