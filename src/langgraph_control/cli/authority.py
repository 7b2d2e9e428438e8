"""What people can say beside yes and no: edit, withdraw, break-glass, review, delegate. The approver's login."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
import typer

from langgraph_control.audit.asking.rows import Voted, Voting
from langgraph_control.audit.people.approvals import Approvals
from langgraph_control.cli.approvals import (
    LISTED_CHARS_MAX,
    As,
    Comment,
    print_request,
    request_json,
    shown_first,
    speaking,
    voted_json,
)
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, indented, moment, pairs, print_json
from langgraph_control.cli.record import Json
from langgraph_control.cli.signing_in import Auth
from langgraph_control.errors import ArgumentError
from langgraph_control.guards.spoken_texts import check_comment
from langgraph_control.nodes.durations import seconds_of

__all__ = ["break_glass", "delegate", "delegations", "edit", "review", "reviews", "revoke", "withdraw"]

ITS_NAME: Final = "As the inbox names it (apr_…)."
Request = Annotated[str, typer.Argument(metavar="APR", help=ITS_NAME)]


def edit(
    name: Request,
    changes: Annotated[
        list[str], typer.Argument(metavar="ARGUMENT=VALUE...", help="JSON, or plain text where it is no JSON.")
    ],
    *,
    dsn: Dsn = None,
    local: Local = False,
    comment: Comment = None,
    as_person: As = None,
    auth: Auth = None,
    as_json: Json = False,
) -> None:
    """Say with which arguments instead. The run checks them, decides afresh and asks for approval of exactly those."""
    asked = _changes(changes)
    with speaking(dsn, local=local, person=as_person, auth=auth) as (approvals, who):
        edited = approvals.edit(name, asked, comment=comment, **who)
    if as_json:
        print_json({**voted_json(edited), "changes": asked})
        return
    out = console()
    heading(out, f"Changed: {name}. A new request shows it once the run has taken it up.", style="yellow")
    indented(out, f"if it does not fit, this says so, and why: langgraph-control card {name}")


def withdraw(
    name: Request,
    *,
    dsn: Dsn = None,
    local: Local = False,
    comment: Comment = None,
    as_person: As = None,
    auth: Auth = None,
    as_json: Json = False,
) -> None:
    """Take one's yes back, as long as nothing was done with it."""
    with speaking(dsn, local=local, person=as_person, auth=auth) as (approvals, who):
        voted = approvals.withdraw(name, comment=comment, **who)
    if as_json:
        print_json(voted_json(voted))
        return
    rest = "it is approved without it" if voted.answer is Voting.GRANTED else f"{voted.votes} yes left"
    heading(console(), f"Taken back: {name}; {rest}.", style="yellow")


def break_glass(
    name: Request,
    *,
    comment: Annotated[str, typer.Option(help="What the emergency is; for the record and the review.")],
    dsn: Dsn = None,
    local: Local = False,
    as_person: As = None,
    auth: Auth = None,
    as_json: Json = False,
) -> None:
    """Approve alone in an emergency, where the policy lets you. It is on record as that, and others review it."""
    check_comment(comment)  # before the request is shown
    with speaking(dsn, local=local, person=as_person, auth=auth) as (approvals, who):

        def broke(which: str) -> Voted:
            return approvals.break_glass(which, comment=comment, **who)

        if not as_json:
            row = shown_first(approvals, name, broke, who)
            print_request(console(), row, counted=approvals.yes_counted([row]))
        voted = broke(name)
    if as_json:
        print_json(voted_json(voted))
        return
    heading(console(), f"Approved alone: {name}. A review of it is open.", style="red")


def reviews(dsn: Dsn = None, local: Local = False, as_json: Json = False) -> None:
    """List what one person approved alone and nobody has looked at since."""
    with database("approver", dsn=dsn, local=local) as place, Approvals(place.dsn) as approvals:
        rows = approvals.reviews()
    if as_json:
        print_json([request_json(row) for row in rows])
        return
    out = console()
    for row in rows:
        print_request(out, row, chars_max=LISTED_CHARS_MAX)
        out.print()
    out.print(f"{len(rows)} to review." if rows else "Nothing is to be reviewed.")


def review(
    name: Request,
    *,
    objected: Annotated[bool, typer.Option("--object", help="It was not right; needs a comment.")] = False,
    dsn: Dsn = None,
    local: Local = False,
    comment: Comment = None,
    as_person: As = None,
    auth: Auth = None,
    as_json: Json = False,
) -> None:
    """Say afterwards whether it was right to decide alone. It changes nothing that was done."""
    finding: Literal["accepted", "objected"] = "objected" if objected else "accepted"
    with speaking(dsn, local=local, person=as_person, auth=auth) as (approvals, who):
        approvals.review(name, finding, comment=comment, **who)
    if as_json:
        print_json({"approval": name, "finding": finding})
        return
    heading(console(), f"Reviewed: {name}.", style="red" if objected else "green")


def delegate(
    to: Annotated[str, typer.Argument(metavar="PERSON", help="Who votes for you, as the policy names people.")],
    *,
    days: Annotated[str, typer.Option("--for", metavar="TIME", help="For how long: 3d, 12h.")],
    role: Annotated[
        str | None, typer.Option(help="In which of your roles; all by default.", show_default=False)
    ] = None,
    dsn: Dsn = None,
    local: Local = False,
    comment: Comment = None,
    as_person: As = None,
    auth: Auth = None,
    as_json: Json = False,
) -> None:
    """Let somebody vote in your roles for a while."""
    until = datetime.now(UTC) + timedelta(seconds=seconds_of(days, field="--for"))
    with speaking(dsn, local=local, person=as_person, auth=auth) as (approvals, who):
        given = approvals.delegate(to, until=until, role=role, comment=comment, **who)
    if as_json:
        print_json({"delegation": given, "to_person": to, "role": role, "until": until})
        return
    heading(console(), f"{to} votes for you until {moment(until)}.", style="yellow")
    indented(console(), f"ends earlier with: langgraph-control revoke {given}")


def revoke(
    delegation: Annotated[UUID, typer.Argument(metavar="ID", help="As delegations lists it.")],
    *,
    dsn: Dsn = None,
    local: Local = False,
    comment: Comment = None,
    as_person: As = None,
    auth: Auth = None,
    as_json: Json = False,
) -> None:
    """End a delegation you gave. Votes under it that nothing was done with yet do not count any more."""
    with speaking(dsn, local=local, person=as_person, auth=auth) as (approvals, who):
        approvals.revoke(delegation, comment=comment, **who)
    if as_json:
        print_json({"delegation": delegation, "ended": True})
        return
    heading(console(), "Ended.", style="yellow")


def delegations(dsn: Dsn = None, local: Local = False, as_json: Json = False) -> None:
    """List who votes for whom now."""
    with database("approver", dsn=dsn, local=local) as place, Approvals(place.dsn) as approvals:
        found = approvals.delegations()
    if as_json:
        print_json([{name: getattr(one, name) for name in one.__slots__} for one in found])
        return
    out = console()
    for one in found:
        heading(out, f"{one.to_person} for {one.from_person}")
        pairs(out, [("role", one.role or "all"), ("until", moment(one.until)), ("id", str(one.delegation_id))])
    out.print(f"{len(found)} now." if found else "Nobody stands in for anybody.")


def _changes(given: Sequence[str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for one in given:
        argument, equals, value = one.partition("=")
        if not equals or not argument:
            raise ArgumentError("A change is written as argument=value.", code="edit_form")
        try:
            changes[argument] = orjson.loads(value)
        except orjson.JSONDecodeError:
            changes[argument] = value
        if isinstance(changes[argument], float):
            changes[argument] = value  # as written: a binary float cannot hold 0.10
    return changes
