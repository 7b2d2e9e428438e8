"""``audit hold``: what may not be erased or dropped, whatever its age."""

import uuid
from typing import Annotated
from uuid import UUID

import orjson
import typer

from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.erasure import refusal
from langgraph_control.audit.keeping.requests import HoldLift, Holds, HoldScope, HoldSet
from langgraph_control.audit.names import run_name
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, indented, moment, print_json
from langgraph_control.cli.record import Json, find_run
from langgraph_control.errors import OperationRefused
from langgraph_control.guards.spoken_texts import RECORD_CHARS_MAX, check_comment, check_name

__all__ = ["hold"]

Why = Annotated[str, typer.Option(help="Why; for the record.", show_default=False)]

hold = typer.Typer(help="Legal holds: what may not be erased.", no_args_is_help=True, rich_markup_mode=None)


@hold.command("add")
def add(
    scope: Annotated[HoldScope, typer.Argument(metavar="SCOPE", help="run, intent or target.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the run, intent or target.")],
    *,
    comment: Why,
    dsn: Dsn = None,
    local: Local = False,
) -> None:
    """Put a legal hold on a run, or on all runs of an intent or that touched a record, on the admin's login."""
    _check_comment(comment)
    check_name(name, at=scope, chars_max=RECORD_CHARS_MAX, needed=True)
    hold_id = uuid.uuid4()
    with database("admin", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        run_id = find_run(connection, name).run_id if scope is HoldScope.RUN else None
        refused = connection.ask(
            HoldSet(
                hold_id=hold_id,
                scope=scope,
                run_id=run_id,
                name="" if scope is HoldScope.RUN else name,
                comment=comment,
                body=orjson.dumps({"comment": comment}),
            )
        )
    if refused is not None:
        raise refusal(refused)
    heading(console(), f"Held: {scope} {name}. Nothing of it is erased or dropped.")
    indented(console(), f"to lift it: langgraph-control audit hold lift {hold_id}")


@hold.command("lift")
def lift(
    name: Annotated[UUID, typer.Argument(metavar="HOLD", help="As hold list prints it.")],
    *,
    comment: Why,
    dsn: Dsn = None,
    local: Local = False,
) -> None:
    """Lift a legal hold, on the admin's login."""
    _check_comment(comment)
    with database("admin", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        refused = connection.ask(HoldLift(hold_id=name, comment=comment, body=orjson.dumps({"comment": comment})))
    if refused is not None:
        raise refusal(refused)
    heading(console(), "The hold is lifted.")


@hold.command("list")
def list_holds(dsn: Dsn = None, local: Local = False, as_json: Json = False) -> None:
    """Print the holds that stand, on the admin's or an auditor's login."""
    with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        holds = connection.ask(Holds())
    out = console()
    if as_json:
        print_json([{name: getattr(one, name) for name in one.__slots__} for one in holds])
        return
    for one in holds:
        heading(out, f"{one.scope} {one.name if one.run_id is None else run_name(one.run_id)}")
        indented(out, f"{one.hold_id} by {one.set_by} since {moment(one.since)}: {one.comment}")
    if not holds:
        out.print("Nothing is held.")


def _check_comment(comment: str) -> None:
    check_comment(comment)
    if not comment.strip():
        raise OperationRefused("A comment is required: why.", todo="Give --comment.", code="comment_missing")
