"""``audit search``: which writes, by who, what and when."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from langgraph_control.audit.asking.searching import FoundWrite, Search, writes_found
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_name, run_name
from langgraph_control.audit.printable import printable
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.moments import moment_of
from langgraph_control.cli.output import console, moment, pairs, print_json
from langgraph_control.cli.record import Json
from langgraph_control.guards.lifecycle import State

__all__ = ["search"]

LIMIT: Final = 50
_GOOD: Final = frozenset({State.SUCCEEDED})
_BAD: Final = frozenset({State.NEEDS_HUMAN, State.UNKNOWN, State.ABANDONED})


def search(
    *,
    actor: Annotated[str | None, typer.Option(help="Who asked, or for whom.", show_default=False)] = None,
    record: Annotated[
        str | None, typer.Option(help="The record's name, as show prints it.", show_default=False)
    ] = None,
    tool: Annotated[str | None, typer.Option(help="The tool's name.", show_default=False)] = None,
    approver: Annotated[str | None, typer.Option(help="Somebody who voted on it.", show_default=False)] = None,
    outcome: Annotated[State | None, typer.Option(help="Where it stands.", show_default=False)] = None,
    since: Annotated[str | None, typer.Option(help="A moment, or a span such as 24h.", show_default=False)] = None,
    until: Annotated[str | None, typer.Option(help="Likewise.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = LIMIT,
    dsn: Dsn = None,
    local: Local = False,
    as_json: Json = False,
) -> None:
    """Find writes: the newest runs first. What is given together must all hold.

    On the auditor's, the admin's or an approver's login.
    """
    now = datetime.now(UTC)
    asked = Search(
        actor=actor,
        record=record,
        tool=tool,
        approver=approver,
        state=None if outcome is None else outcome.value,
        since=moment_of(since, now=now),
        until=moment_of(until, now=now),
        limit=min(limit + 1, 500),
    )
    with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        found = list(islice(writes_found(connection, asked), limit + 1))
    more = len(found) > limit
    found = found[:limit]
    if as_json:
        print_json({"writes": [write_json(one) for one in found], "more": more})
        return
    _print(found)
    if more:
        console().print(f"There are more than {limit}: raise --limit, or ask more closely.")


def write_json(one: FoundWrite) -> dict[str, Any]:
    """Return a write as JSON has it.

    Args:
        one: the write.
    """
    approval = None if one.approval_id is None else approval_name(one.approval_id)
    return {**asdict(one), "run_id": run_name(one.run_id), "approval_id": approval}


def _print(found: Iterable[FoundWrite]) -> None:
    out, any_found = console(), False
    for one in found:
        any_found = True
        style = "green" if one.state in _GOOD else "red" if one.state in _BAD else "yellow"
        what = printable(f"{one.tool}, {one.target}" if one.target else one.tool)
        out.print(Text(f"{what}: {one.state}", style=style), soft_wrap=True)
        actor = one.actor if one.on_behalf_of is None else f"{one.actor} for {one.on_behalf_of}"
        pairs(
            out,
            [
                ("at", moment(one.at)),
                ("run", run_name(one.run_id)),
                ("intent", one.intent),
                ("asked by", actor),
                (
                    "request",
                    None if one.approval_id is None else f"{approval_name(one.approval_id)}: {one.approval_state}",
                ),
                ("votes", ", ".join(one.voters)),
                ("rejected for", one.rejected_for),
                ("review", "nobody has looked at the emergency since" if one.in_review else None),
            ],
        )
    if not any_found:
        out.print("Nothing on record is like that.")
