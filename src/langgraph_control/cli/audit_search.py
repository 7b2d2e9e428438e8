"""``audit search``: which writes, by who, what and when."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Final, TypeAlias

import typer
from rich.text import Text

from langgraph_control.audit.asking.searching import FoundWrite, Search, writes_found
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.differences import Difference
from langgraph_control.audit.keeping.reconcile import reconcile_request
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

    What is found is what the ledger's rows say; what does not follow from its entries is marked.
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
        hits = _against_entries(connection, found[:limit])
    if as_json:
        print_json({"writes": [_json(one, differs) for one, differs in hits], "more": more})
        return
    _print(hits)
    if more:
        console().print(f"There are more than {limit}: raise --limit, or ask more closely.")


Hits: TypeAlias = Sequence[tuple[FoundWrite, tuple[str, ...]]]
"""What was found, and what of it does not follow from its entries."""


def _against_entries(connection: LedgerConnection, found: Sequence[FoundWrite]) -> Hits:
    """What is found is what rows say, which can be changed: each is held against the entries of its request."""
    known = {intent: reconcile_request(connection, intent).differences for intent in {one.intent for one in found}}
    return [(one, tuple(_differs(one, known[one.intent]))) for one in found]


def _differs(one: FoundWrite, differences: Sequence[Difference]) -> Iterator[str]:
    """What concerns this write, or a run of its request: the votes on it may be in another one's chain."""
    for differing in differences:
        if differing.key in {None, one.key.hex()}:
            whose = "" if differing.run_id == one.run_id else f"{run_name(differing.run_id)}: "
            yield f"{whose}{differing.what}"


def _json(one: FoundWrite, differs: Sequence[str]) -> dict[str, Any]:
    approval = None if one.approval_id is None else approval_name(one.approval_id)
    return {**asdict(one), "run_id": run_name(one.run_id), "approval_id": approval, "differs": list(differs)}


def _print(hits: Hits) -> None:
    out = console()
    for one, differs in hits:
        style = "green" if one.state in _GOOD else "red" if one.state in _BAD else "yellow"
        what = printable(f"{one.tool}, {one.target}" if one.target else one.tool)
        out.print(Text(f"{what}: {one.state}", style=style), soft_wrap=True)
        for said in differs:
            out.print(Text(f"  DIFFERS from its entries: {printable(said)}", style="bold red"), soft_wrap=True)
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
    if not hits:
        out.print(
            "No row of the ledger is like that. Whether rows follow from the entries: langgraph-control reconcile.",
            soft_wrap=True,
        )
    elif any(differs for _, differs in hits):
        out.print(
            "Rows were changed, or entries: do not go by them. Next: langgraph-control reconcile, and show RUN.",
            soft_wrap=True,
        )
