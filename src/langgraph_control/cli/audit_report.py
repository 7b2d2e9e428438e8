"""``audit report``: what was asked for and done in a period, with which approvals, control by control."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_name, run_name
from langgraph_control.audit.trail.period import HAPPENINGS, Happening, Period, Read, ToldRequest, ToldWrite
from langgraph_control.audit.trail.period_reading import read_period
from langgraph_control.audit.trail.sentences import sentence
from langgraph_control.cli.as_html import as_html
from langgraph_control.cli.as_markdown import as_markdown
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.dossier import Document, Pairs, Part, Section, Table, Verbatim
from langgraph_control.cli.moments import moment_of
from langgraph_control.cli.output import moment, print_json, some
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

RULE: Final = (
    "each write where it was asked for, done or refused in the period, each request where something was said of it in"
    " the period, both as they stood at the period's end; from the entries before that end and from nothing else"
)
"""What is told where, as the document says it."""


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

    From entries alone, whose chains are checked: the first table says whether they are whole. A period that is over is
    told the same whenever it is asked for. On the auditor's, the admin's or an approver's login.
    """
    if html and as_json:
        raise typer.BadParameter("Give one of --json and --html.")
    now = datetime.now(UTC)
    begin, end = moment_of(since, now=now) or now, moment_of(until, now=now) or now
    if begin >= end:
        raise typer.BadParameter("The period ends before it begins.")
    with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        found = read_period(connection, since=begin, until=end)
    if as_json:
        print_json({"made_at": now, **_json(found)})
        return
    document = report_document(found, made_at=now)
    sys.stdout.write(as_html(document) if html else as_markdown(document))


def report_document(found: Period, *, made_at: datetime) -> Document:
    """Return a period as a document.

    Args:
        found: what was done in it.
        made_at: when it was read.
    """
    happened = {name: (Section(title="", parts=(_happenings(getattr(found, name)),)),) for name in HAPPENINGS}
    told = {
        "decided": _decided(found, made_at),
        "oversight": (
            _part("Done in the period with people's yes", _writes(found.approved, "done_at")),
            _part("Requests of the period", _requests(found.requests)),
        ),
        "refused": (Section(title="", parts=(_writes(found.not_done, "since"),)),),
        "open": (Section(title="", parts=(_writes(found.open, "since"),)),),
        **happened,
    }
    nothing = (Section(title="", parts=(Pairs(rows=(("In this period", "nothing"),)),)),)
    sections: list[Section] = []
    for name, title in CONTROLS.items():
        parts = [section for section in told[name] if any(_says(part) for part in section.parts)]
        sections += (Section(title=title, parts=()), *(parts or nothing))
    return Document(title="What was done, and with which approvals", sections=tuple(sections))


def _says(part: Part) -> bool:
    return isinstance(part, Verbatim) or bool(part.rows)


def _part(title: str, table: Table) -> Section:
    return Section(title=title, parts=(table,), level=3)


def _decided(found: Period, made_at: datetime) -> tuple[Section, ...]:
    unended = "" if found.until <= made_at else "; the period has not ended, and more may come"
    figures = (
        ("Asked for in the period", found.asked),
        ("Done in the period, with people's yes", found.approved),
        ("Done in the period, unasked, as the policy allowed", found.unasked),
        ("Not made", found.not_done),
        ("Open at its end", found.open),
    )
    rows = (
        ("From", moment(found.since)),
        ("Until", moment(found.until)),
        ("Made at", f"{moment(made_at)}{unended}"),
        ("Told", RULE),
        *_record(found.read),
        *((label, str(len(writes))) for label, writes in figures),
    )
    states = tuple((tool, state, str(number)) for tool, state, number in found.by_tool)
    return (
        Section(title="", parts=(Pairs(rows=rows), Table(head=("Tool", "State at the end", "Writes"), rows=states))),
        _part("Asked for in the period", _writes(found.asked, "asked_at")),
        _part("Done in the period, unasked, as the policy allowed", _writes(found.unasked, "done_at")),
    )


def _record(read: Read) -> Iterator[tuple[str, str]]:
    """Whether what the report is told from is whole, as ``show`` says it of a run."""
    if not read.broken:
        of = f"{some(read.chains, 'chain')}, {some(read.entries, 'entry')}"
        yield "Record", f"whole: {of}, their chains of hashes recomputed"
    for chain, what in read.broken:
        yield "Record", f"TAMPERED WITH: {run_name(chain)}: {what}"
    if read.dropped:
        yield "Dropped by retention", f"{some(read.dropped, 'entry')} before these, of which nothing can be told"


def _writes(writes: Sequence[ToldWrite], when: str) -> Table:
    return Table(
        head=("At", "What", "Asked by", "First decided", "State at the end", "Request", "Votes", "Run"),
        rows=tuple(
            (
                moment(getattr(one, when)),
                f"{one.tool}, {one.target}" if one.target else one.tool,
                one.actor if one.on_behalf_of is None else f"{one.actor} for {one.on_behalf_of}",
                one.verb,
                one.state,
                "" if one.request is None else _outcome(one.request),
                "" if one.request is None else ", ".join(one.request.votes),
                run_name(one.run_id),
            )
            for one in writes
        ),
    )


def _outcome(request: ToldRequest) -> str:
    return f"{approval_name(request.approval)}: {request.outcome or 'open'}"


def _requests(requests: Sequence[ToldRequest]) -> Table:
    return Table(
        head=("Asked", "Request", "What", "Votes until the end", "Ended", "Run"),
        rows=tuple(
            (
                moment(one.asked_at),
                _outcome(one) + (", put to others" if one.escalated else ""),
                f"{one.tool}, {one.target}" if one.target else one.tool,
                ", ".join(one.votes),
                moment(one.ended_at),
                "" if one.run_id is None else run_name(one.run_id),
            )
            for one in requests
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
    read = found.read
    return {
        "since": found.since,
        "until": found.until,
        "chains": {
            "whole": not read.broken,
            "chains": read.chains,
            "entries": read.entries,
            "dropped": read.dropped,
            "broken": [{"chain": run_name(chain), "what": what} for chain, what in read.broken],
        },
        **{
            name: [_write_json(one) for one in getattr(found, name)]
            for name in ("asked", "unasked", "approved", "not_done", "open")
        },
        "requests": [_request_json(one) for one in found.requests],
        **{
            name: [
                {"chain": run_name(one.chain), "seq": one.entry.seq, "at": one.entry.at, "facts": dict(one.entry.facts)}
                for one in getattr(found, name)
            ]
            for name in HAPPENINGS
        },
    }


def _write_json(one: ToldWrite) -> dict[str, Any]:
    told = asdict(one)
    del told["run_id"], told["request"]
    request = one.request
    return {
        "run": run_name(one.run_id),
        **told,
        "approval": None if request is None else approval_name(request.approval),
        "approval_state": None if request is None else request.outcome,
        "votes": [] if request is None else list(request.votes),
    }


def _request_json(one: ToldRequest) -> dict[str, Any]:
    told = asdict(one)
    del told["run_id"]
    run = None if one.run_id is None else run_name(one.run_id)
    return {**told, "approval": approval_name(one.approval), "run": run}
