"""``audit report``: what was done in a period, with which approvals, control by control."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from langgraph_control.audit.asking.searching import FoundWrite, Search, entries_of, writes_found
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_name, run_name
from langgraph_control.audit.trail.period import EVENTS, Happening, Period, period
from langgraph_control.audit.trail.sentences import sentence
from langgraph_control.cli.as_html import as_html
from langgraph_control.cli.as_markdown import as_markdown
from langgraph_control.cli.audit_search import write_json
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.dossier import Document, Pairs, Section, Table
from langgraph_control.cli.moments import moment_of
from langgraph_control.cli.output import moment, print_json
from langgraph_control.cli.record import Json

__all__ = ["report"]

CONTROLS: Final = {
    "decided": "Every change was decided about and is on record",
    "oversight": "Changes that people decided about",
    "refused": "Changes that were not made",
    "open": "Changes whose outcome is open",
    "emergencies": "Emergencies, and who looked at them afterwards",
    "settled": "Outcomes that people settled, and runs that they ended",
    "authority": "Who may decide what: policies, delegations, changes by people",
    "stops": "What was stopped, and went on",
    "record": "What changed about the record itself",
    "noticed": "Words that did not count, and what was noticed",
}
"""The report's sections; docs/controls.md maps them to frameworks by these titles."""


def report(
    *,
    since: Annotated[str, typer.Option(help="A moment, or a span before now such as 30d.", show_default=False)],
    until: Annotated[str | None, typer.Option(help="Likewise; now if not given.", show_default=False)] = None,
    html: Annotated[bool, typer.Option("--html", help="As one HTML file, to print or to hand on.")] = False,
    dsn: Dsn = None,
    local: Local = False,
    as_json: Json = False,
) -> None:
    """Tell what was done in a period and with which approvals, control by control. Written as Markdown.

    On the auditor's, the admin's or an approver's login.
    """
    if html and as_json:
        raise typer.BadParameter("Give one of --json and --html.")
    now = datetime.now(UTC)
    begin, end = moment_of(since, now=now) or now, moment_of(until, now=now) or now
    if begin >= end:
        raise typer.BadParameter("The period ends before it begins.")
    with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        found = period(
            writes_found(connection, Search(since=begin, until=end)),
            (
                Happening(chain=chain, entry=entry)
                for chain, entry in entries_of(connection, EVENTS, since=begin, until=end)
            ),
            since=begin,
            until=end,
        )
    if as_json:
        print_json(_json(found))
        return
    document = report_document(found)
    sys.stdout.write(as_html(document) if html else as_markdown(document))


def report_document(found: Period) -> Document:
    """Return a period as a document.

    Args:
        found: what was done in it.
    """
    told = {
        "decided": (
            Pairs(rows=(("From", moment(found.since)), ("Until", moment(found.until)), *_figures(found))),
            Table(
                head=("Tool", "State", "Writes"), rows=tuple((tool, state, str(n)) for tool, state, n in found.by_tool)
            ),
        ),
        "oversight": (_writes(found.approved),),
        "refused": (_writes(found.not_done),),
        "open": (_writes(found.open),),
        "emergencies": (_happenings(found.emergencies),),
        "settled": (_happenings(found.settled),),
        "authority": (_happenings(found.authority),),
        "stops": (_happenings(found.stops),),
        "record": (_happenings(found.record),),
        "noticed": (_happenings(found.refused),),
    }
    nothing = (Pairs(rows=(("In this period", "nothing"),)),)
    sections = tuple(
        Section(title=title, parts=told[name] if any(part.rows for part in told[name]) else nothing)
        for name, title in CONTROLS.items()
    )
    return Document(title="What was done, and with which approvals", sections=sections)


def _figures(found: Period) -> Iterable[tuple[str, str]]:
    return (
        ("Done with people's yes", str(len(found.approved))),
        ("Done unasked, as the policy allowed", str(len(found.unasked))),
        ("Not done", str(len(found.not_done))),
        ("Open", str(len(found.open))),
    )


def _writes(writes: Sequence[FoundWrite]) -> Table:
    return Table(
        head=("At", "What", "Asked by", "State", "Request", "Votes", "Run"),
        rows=tuple(
            (
                moment(one.at),
                f"{one.tool}, {one.target}" if one.target else one.tool,
                one.actor if one.on_behalf_of is None else f"{one.actor} for {one.on_behalf_of}",
                one.state,
                "" if one.approval_id is None else f"{approval_name(one.approval_id)}: {one.approval_state}",
                ", ".join(one.voters) + (f" ({one.rejected_for})" if one.rejected_for else ""),
                run_name(one.run_id),
            )
            for one in writes
        ),
    )


def _happenings(happenings: Sequence[Happening]) -> Table:
    return Table(
        head=("At", "Who", "What", "Comment", "Chain"),
        rows=tuple(
            (
                moment(one.entry.at),
                one.entry.fact("person") or one.entry.fact("login") or "",
                f"{sentence(one.entry)[0]} ({', '.join(one.entry.events)})",
                one.entry.fact("comment") or "",
                run_name(one.chain),
            )
            for one in happenings
        ),
    )


def _json(found: Period) -> dict[str, Any]:
    writes = {name: getattr(found, name) for name in ("unasked", "approved", "not_done", "open")}
    happened = {
        name: getattr(found, name) for name in ("emergencies", "settled", "authority", "stops", "record", "refused")
    }
    return {
        "since": found.since,
        "until": found.until,
        **{name: [write_json(one) for one in some] for name, some in writes.items()},
        **{
            name: [
                {"chain": run_name(one.chain), "seq": one.entry.seq, "at": one.entry.at, "facts": dict(one.entry.facts)}
                for one in some
            ]
            for name, some in happened.items()
        },
    }
