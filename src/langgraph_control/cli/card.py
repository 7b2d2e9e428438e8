"""``card``: one request with everything that is known about it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console

from langgraph_control.audit.asking.evidence import EarlierRequest, EarlierWrite, Evidence, ReadBefore
from langgraph_control.audit.asking.rows import ApprovalRow, ApprovalState
from langgraph_control.audit.asking.waiting import VoteRow
from langgraph_control.audit.people.approvals import Approvals
from langgraph_control.audit.people.words import Words
from langgraph_control.audit.trail.quoted import quoted
from langgraph_control.audit.trail.rebuilt import Edited
from langgraph_control.cli.approvals import As, print_request, request_json
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, moment, pairs, print_json
from langgraph_control.cli.record import Json
from langgraph_control.cli.signing_in import Auth, sign_in
from langgraph_control.guards.card_changes import card_changes

__all__ = ["card"]

DECISIONS: Final[Mapping[str, str]] = MappingProxyType(
    {"approve": "yes", "reject": "no", "break_glass": "yes, alone in an emergency"}
)
DIGEST_CHARS: int = 12
"""Enough to see whether two reads gave the same."""


def card(
    name: Annotated[str, typer.Argument(metavar="APR", help="The request, as the inbox names it (apr_…).")],
    *,
    dsn: Dsn = None,
    local: Local = False,
    as_json: Json = False,
    as_person: As = None,
    auth: Auth = None,
) -> None:
    """Show one request, open or closed: what people said about it, what its run had read, and what was asked before."""
    signed = sign_in(auth)
    with (
        database("approver", dsn=dsn, local=local) as place,
        Approvals(place.dsn, authenticator=signed.authenticator) as approvals,
    ):
        seen = partial(approvals.get, as_=as_person, credential=signed.credential)
        row = seen(name)
        words = approvals.words(row.approval_id)
        evidence = approvals.evidence(row.approval_id)
        earlier = None if row.supersedes is None else seen(row.supersedes)
    counted = {row.approval_id: words.yes}
    shown = request_json(row, counted=counted)
    since = () if earlier is None else card_changes(request_json(earlier)["card"], shown["card"])
    if as_json:
        changes = [{"what": one.what, "before": one.before, "after": one.after} for one in since]
        print_json({**shown, **_said_json(words), "changed_since": changes, "evidence": _json(evidence)})
        return
    out = console()
    print_request(out, row, counted=counted)
    if earlier is not None:
        said = ((one.what, f"{_value(one.before)} -> {_value(one.after)}") for one in since)
        _print_list(out, "Changed since the request before it", said)
    _print_details(out, row)
    if words.votes or words.edits:
        _print_list(out, "What people said", _said(row, words))
    _print_list(out, "Read before it asked, newest first", (_read(one) for one in evidence.reads))
    asked = "Asked about this record in the last 30 days (same tool or system)"
    _print_list(out, asked, (_earlier(one) for one in evidence.earlier))
    _print_list(out, "Done to this record without asking, in that time", (_write(one) for one in evidence.writes))


def _print_details(out: Console, row: ApprovalRow) -> None:
    shown = request_json(row)["card"]
    what, record = (part if isinstance(part := shown.get(name), dict) else {} for name in ("what", "record"))
    kind = " ".join(str(what[name]) for name in ("operation", "impact") if what.get(name))
    pairs(
        out,
        [
            ("kind", f"{kind}, contract version {what['version']}" if what.get("version") else kind),
            ("record read", f"{record.get('at')}, {str(record.get('digest'))[:DIGEST_CHARS]}" if record else None),
            ("asked", moment(row.requested_at)),
            ("usable until", moment(row.execute_by)),
            ("digest", row.digest.hex()),
        ],
        chars_max=None,
    )


def _value(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _print_list(out: Console, title: str, rows: Iterator[tuple[str, str]]) -> None:
    listed = list(rows)
    out.print()
    heading(out, title if listed else f"{title}: nothing")
    pairs(out, listed, chars_max=None)


def _said(row: ApprovalRow, words: Words) -> Iterator[tuple[str, str]]:
    for vote in words.votes:
        yield moment(vote.voted_at), _vote(vote)
        if vote.comment:
            yield "", f'"{vote.comment}"'
    for edit in words.edits:
        values = ", ".join(f"{name}={quoted(value)}" for name, value in edit.changes.items())
        yield moment(edit.at), f"{_speaker(edit)} asks for {values or 'what was erased since'}"
        if edit.problem:
            yield "", f"it does not fit, and the request stays as it was: {edit.problem}"
        elif row.state is ApprovalState.OPEN:
            yield "", "the run takes it up at its next try"
        if edit.comment:
            yield "", f'"{edit.comment}"'


def _vote(vote: VoteRow) -> str:
    said = DECISIONS.get(vote.decision, vote.decision)
    return f"{_speaker(vote)}: {said}{f' (signed in by {vote.issuer})' if vote.issuer else ''}"


def _speaker(word: VoteRow | Edited) -> str:
    return f"{word.person} for {word.delegator}" if word.delegator else word.person


def _said_json(words: Words) -> dict[str, Any]:
    return {
        "votes": [asdict(vote) for vote in words.votes],
        "edits": [
            {
                "person": edit.person,
                "delegator": edit.delegator,
                "at": edit.at,
                "comment": edit.comment,
                "values": edit.changes,
                "problem": edit.problem,
            }
            for edit in words.edits
        ],
    }


def _read(read: ReadBefore) -> tuple[str, str]:
    came = "failed" if read.failed else f"answer {(read.digest or '')[:DIGEST_CHARS]}"
    where = " ".join(part for part in (read.system, read.target) if part)
    said = [read.tool, where, "answered by a fallback" if read.fallback else came]
    return moment(read.at), ", ".join(part for part in said if part)


def _earlier(one: EarlierRequest) -> tuple[str, str]:
    stood = one.state if one.action is None else f"{one.state}, write {one.action}"
    said = [one.approval, one.tool, stood, one.intent, f"asked by {one.asked_by}", *one.voters]
    return moment(one.at), ", ".join(said)


def _write(one: EarlierWrite) -> tuple[str, str]:
    return moment(one.at), ", ".join([one.tool, one.state, one.intent, f"by {one.asked_by}", one.run])


def _json(evidence: Evidence) -> dict[str, Any]:
    return {
        "reads": [{name: getattr(one, name) for name in one.__slots__} for one in evidence.reads],
        "earlier": [{name: getattr(one, name) for name in one.__slots__} for one in evidence.earlier],
        "writes": [{name: getattr(one, name) for name in one.__slots__} for one in evidence.writes],
    }
