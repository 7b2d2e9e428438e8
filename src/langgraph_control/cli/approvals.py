"""``inbox``, ``approve`` and ``reject``: the approver's side, on the approver's login."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import orjson
import typer
from rich.console import Console

from langgraph_control.audit.approvals import INBOX_LIMIT, Approvals
from langgraph_control.audit.names import approval_name, run_name
from langgraph_control.audit.rows import ApprovalRow, Voted, Voting
from langgraph_control.cli.databases import Dsn, Local, Place, database
from langgraph_control.cli.output import console, heading, indented, moment, pairs, print_error, print_json
from langgraph_control.cli.record import Json
from langgraph_control.errors import ApprovalRefused

__all__ = ["approve", "inbox", "reject"]

CARD_CHARS_MAX: Final = 20_000
"""Who approves sees all of it; what is longer is said to be."""

Names = Annotated[list[str], typer.Argument(metavar="APR...", help="Requests, as the inbox names them (apr_…).")]
Comment = Annotated[str | None, typer.Option(help="Why, for the record and for the model.", show_default=False)]
As = Annotated[
    str | None,
    typer.Option("--as", metavar="PERSON", help="Who votes; with the development server only.", show_default=False),
]


def inbox(
    dsn: Dsn = None,
    local: Local = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = INBOX_LIMIT,
    as_json: Json = False,
) -> None:
    """List the requests that wait for a person's word, oldest first."""
    with database("approver", dsn=dsn, local=local) as place, Approvals(place.dsn) as approvals:
        rows = approvals.inbox(limit)
    if as_json:
        print_json([_json(row) for row in rows])
        return
    out = console()
    for row in rows:
        _print_request(out, row)
        out.print()
    out.print(f"{len(rows)} open." if rows else "Nothing waits for approval.")


def approve(names: Names, dsn: Dsn = None, local: Local = False, comment: Comment = None, as_person: As = None) -> None:
    """Say yes to exactly what is shown. The command is the decision; nothing further is asked."""
    _vote("approve", names, comment, as_person, dsn=dsn, local=local)


def reject(names: Names, dsn: Dsn = None, local: Local = False, comment: Comment = None, as_person: As = None) -> None:
    """Say no. The request is closed, and the model is told, with the comment."""
    _vote("reject", names, comment, as_person, dsn=dsn, local=local)


def _vote(
    decision: Literal["approve", "reject"],
    names: Iterable[str],
    comment: str | None,
    person: str | None,
    *,
    dsn: str | None,
    local: bool,
) -> None:
    out, refused = console(), 0
    with database("approver", dsn=dsn, local=local) as place, Approvals(place.dsn) as approvals:
        _check_person(place, person)
        for name in names:
            try:
                row = approvals.get(name)
                _print_request(out, row)
                cast = approvals.approve if decision == "approve" else approvals.reject
                _print_vote(out, cast(name, comment=comment, as_=person))
            except ApprovalRefused as error:  # one request's rule says nothing about the next one
                print_error(error)
                refused += 1
    if refused:
        raise typer.Exit(1)


def _check_person(place: Place, person: str | None) -> None:
    """The development server's login is nobody in particular: say so before a vote is refused for it."""
    if place.local and person is None:
        raise ApprovalRefused(
            "The development server's approver login belongs to nobody in particular.",
            safe="No vote was given.",
            todo="Say who votes: --as PERSON, a member of the policy's roles.",
            code="unknown_person",
        )


def _print_vote(out: Console, voted: Voted) -> None:
    match voted.answer:
        case Voting.GRANTED:
            heading(out, f"Approved: {approval_name(voted.approval_id)}. It unlocks exactly this write.", style="green")
        case Voting.OPEN:
            count = f"{voted.votes} yes so far"
            heading(out, f"Counted: {approval_name(voted.approval_id)}, {count}; more people are needed.")
        case _:
            heading(out, f"Rejected: {approval_name(voted.approval_id)}. It will not be done.", style="red")
    if voted.run_id is not None:
        indented(out, f"run: {run_name(voted.run_id)}")


def _print_request(out: Console, row: ApprovalRow) -> None:
    """Print what would change, where and why. All of it comes from models and records: nothing is trusted to print."""
    card = _card(row)
    what, where, why = (_part(card, name) for name in ("what", "where", "why"))
    heading(out, f"{approval_name(row.approval_id)}: {row.state}", style="yellow")
    asked = row.actor if row.on_behalf_of is None else f"{row.actor} for {row.on_behalf_of}"
    pairs(
        out,
        [
            ("what", f"{row.tool} ({_text(what.get('impact'))})"),
            *_listed("with", (f"{name} = {_text(value)}" for name, value in _part(what, "arguments").items())),
            ("where", ", ".join(_text(where[name]) for name in ("system", "target") if where.get(name))),
            *_listed("changes", _changes(_part(card, "diff"))),
            *_listed("why", (row.intent, *map(_text, _list(why.get("reasons"))))),
            *_listed("model says", (f"{name}: {_text(said)}" for name, said in _part(why, "model_says").items())),
            ("asked by", asked),
            ("needs", _needs(row.requirement)),
            ("votes", ", ".join(row.voters)),
            ("until", moment(row.expires_at)),
        ],
        chars_max=CARD_CHARS_MAX,
    )


def _listed(label: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(texts):
        yield (label if number == 0 else ""), text


def _changes(diff: Mapping[str, Any]) -> Iterator[str]:
    for name, change in diff.items():
        before, after = change if isinstance(change, list) and len(change) == 2 else (None, change)  # noqa: PLR2004 - before and after
        yield f"{name}: {_text(before)} -> {_text(after)}"


def _needs(requirement: Mapping[str, Any]) -> str:
    people = ", ".join(f"{count} of {role}" for role, count in sorted(_part(requirement, "quorum").items()))
    return f"{people}, with a comment" if requirement.get("comment_required") else people


def _card(row: ApprovalRow) -> Mapping[str, Any]:
    try:
        card = orjson.loads(row.card)
    except orjson.JSONDecodeError:
        return {}
    return card if isinstance(card, dict) else {}


def _part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = whole.get(name)
    return part if isinstance(part, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _json(row: ApprovalRow) -> dict[str, Any]:
    return {
        "approval": approval_name(row.approval_id),
        "run": run_name(row.run_id),
        "tool": row.tool,
        "state": row.state,
        "intent": row.intent,
        "actor": row.actor,
        "on_behalf_of": row.on_behalf_of,
        "requirement": row.requirement,
        "voters": row.voters,
        "requested_at": row.requested_at,
        "expires_at": row.expires_at,
        "digest": row.digest,
        "card": _card(row),
    }
