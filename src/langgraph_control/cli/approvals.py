"""``inbox``, ``approve`` and ``reject``: the approver's side, on the approver's login."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, TypedDict
from uuid import UUID

import orjson
import typer
from rich.console import Console

from langgraph_control.audit.asking.observing import fallback_texts
from langgraph_control.audit.asking.rows import ApprovalRow, ApprovalState, Voted, Voting
from langgraph_control.audit.names import approval_name, run_name
from langgraph_control.audit.people.approvals import INBOX_LIMIT, Approvals
from langgraph_control.audit.people.words import said_yes
from langgraph_control.cli.databases import Dsn, Local, Place, database
from langgraph_control.cli.output import console, heading, indented, moment, pairs, print_error, print_json
from langgraph_control.cli.record import Json
from langgraph_control.cli.seen import suspicious
from langgraph_control.cli.signing_in import Auth, SignIn, sign_in
from langgraph_control.errors import ApprovalRefused, ArgumentError
from langgraph_control.guards.approvals import REJECTIONS
from langgraph_control.guards.card_arguments import called_with
from langgraph_control.guards.spoken_texts import check_comment
from langgraph_control.guards.told_signals import signal_texts

__all__ = [
    "LISTED_CHARS_MAX",
    "As",
    "Comment",
    "approve",
    "inbox",
    "print_request",
    "reject",
    "request_json",
    "shown_first",
    "speaking",
    "voted_json",
]

LOOK_CLOSELY: Final = "something here hides or disguises text; it is shown as <U+202E>, or followed by [what it is]"
LISTED_CHARS_MAX: Final = 20_000
"""Of one text in a list of requests, where it is said what is cut. Who approves sees all of it."""
NOTHING: Final[Mapping[UUID, int]] = MappingProxyType({})


class Speaker(TypedDict):
    """What says who speaks."""

    as_: str | None
    credential: str | None


Names = Annotated[list[str], typer.Argument(metavar="APR...", help="Requests, as the inbox names them (apr_…).")]
Comment = Annotated[str | None, typer.Option(help="Why, for the record and for the model.", show_default=False)]
As = Annotated[
    str | None,
    typer.Option("--as", metavar="PERSON", help="Who votes; with the development server only.", show_default=False),
]


def inbox(
    *,
    mine: Annotated[
        bool, typer.Option("--mine", help="Only those on which your vote would count; yours by --as or --auth, too.")
    ] = False,
    state: Annotated[
        ApprovalState, typer.Option(help="Those that stand there; the newest first, where it is not open.")
    ] = ApprovalState.OPEN,
    tool: Annotated[str | None, typer.Option(help="Only those of this tool.", show_default=False)] = None,
    actor: Annotated[
        str | None, typer.Option(help="Only those of runs that this actor asked for.", show_default=False)
    ] = None,
    dsn: Dsn = None,
    local: Local = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = INBOX_LIMIT,
    as_json: Json = False,
    as_person: As = None,
    auth: Auth = None,
) -> None:
    """List the requests that wait for a person's word, oldest first; or, by --state, those that were decided."""
    if mine and state is not ApprovalState.OPEN:
        raise ArgumentError(
            f"--mine lists what your vote would count on: open requests, none that are {state}.", code="mine_not_open"
        )
    signed = sign_in(auth) if mine else SignIn(authenticator=None, credential=None)
    with (
        database("approver", dsn=dsn, local=local) as place,
        Approvals(place.dsn, authenticator=signed.authenticator) as approvals,
    ):
        if state is ApprovalState.OPEN:
            who: Speaker = {"as_": as_person, "credential": signed.credential}
            rows = approvals.inbox(limit, mine=mine, tool=tool, actor=actor, **who)
        else:
            rows = approvals.decided(limit, state=state, tool=tool, actor=actor)
        counted = approvals.yes_counted(rows)
    if as_json:
        print_json([request_json(row, counted=counted) for row in rows])
        return
    out = console()
    for row in rows:
        print_request(out, row, counted=counted, chars_max=LISTED_CHARS_MAX)
        out.print()
    out.print(f"{len(rows)} {state}." if rows else _nothing(state, filtered=bool(mine or tool or actor)))


def _nothing(state: ApprovalState, *, filtered: bool) -> str:
    if state is ApprovalState.OPEN:
        return "Nothing like that waits for approval." if filtered else "Nothing waits for approval."
    return f"No request like that is {state}." if filtered else f"No request is {state}."


def approve(
    names: Names,
    *,
    dsn: Dsn = None,
    local: Local = False,
    comment: Comment = None,
    as_person: As = None,
    auth: Auth = None,
    as_json: Json = False,
) -> None:
    """Say yes to exactly what is shown. The command is the decision; nothing further is asked."""
    check_comment(comment)  # before the request is shown
    with speaking(dsn, local=local, person=as_person, auth=auth) as (approvals, said):
        _vote(approvals, names, partial(approvals.approve, comment=comment, **said), said, as_json=as_json)


def reject(
    names: Names,
    *,
    dsn: Dsn = None,
    local: Local = False,
    comment: Comment = None,
    code: Annotated[
        str | None, typer.Option(help=f"Why, as the model can act on it: {', '.join(REJECTIONS)}.", show_default=False)
    ] = None,
    as_person: As = None,
    auth: Auth = None,
    as_json: Json = False,
) -> None:
    """Say no. The request is closed, and the model is told, with reason and comment."""
    check_comment(comment)
    with speaking(dsn, local=local, person=as_person, auth=auth) as (approvals, said):
        _vote(approvals, names, partial(approvals.reject, code=code, comment=comment, **said), said, as_json=as_json)


def _vote(
    approvals: Approvals, names: Iterable[str], vote: Callable[[str], Voted], who: Speaker, *, as_json: bool
) -> None:
    """Vote on each; what is voted on is shown before the vote is sent."""
    out, refused, told = console(), 0, list[dict[str, Any]]()
    for name in names:
        try:
            row = shown_first(approvals, name, vote, who)
            counted = approvals.yes_counted([row])
            if not as_json:
                print_request(out, row, counted=counted)
            voted = vote(name)
            if not as_json:
                _print_vote(out, voted)
            told.append({**voted_json(voted), "request": request_json(row, counted=counted)})
        except ApprovalRefused as error:  # one request's rule says nothing about the next one
            print_error(error)
            told.append({"approval": name, "answer": Voting.REFUSED, "reason": error.code})
            refused += 1
    if as_json:
        print_json(told)
    if refused:
        raise typer.Exit(1)


def shown_first(approvals: Approvals, name: str, vote: Callable[[str], Voted], who: Speaker) -> ApprovalRow:
    """Return the request that is voted on. Where there is none, the word is sent all the same, for the record.

    Args:
        approvals: on the approver's login.
        name: the request's.
        vote: gives the word.
        who: whose it is.

    Raises:
        ApprovalRefused: there is no such request; what was said is on record.
    """
    try:
        return approvals.get(name, **who)
    except ApprovalRefused as unknown:
        if unknown.code == "unknown_request":
            vote(name)
        raise


@contextmanager
def speaking(
    dsn: str | None, *, local: bool, person: str | None, auth: Path | None
) -> Iterator[tuple[Approvals, Speaker]]:
    """Yield what a person decides with, and what says who it is.

    Args:
        dsn: ``--dsn``.
        local: ``--local``.
        person: ``--as``.
        auth: ``--auth``.
    """
    signed = sign_in(auth)
    with (
        database("approver", dsn=dsn, local=local) as place,
        Approvals(place.dsn, authenticator=signed.authenticator) as approvals,
    ):
        if signed.authenticator is None:
            _check_person(place, person)
        yield approvals, {"as_": person, "credential": signed.credential}


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


def print_request(
    out: Console, row: ApprovalRow, *, counted: Mapping[UUID, int] = NOTHING, chars_max: int | None = None
) -> None:
    """Print what would change, where and why. All of it comes from models and records: nothing is trusted to print.

    Args:
        out: where to.
        row: the request.
        counted: by request, how many of the yes count now; of one that is not in it, all that were given do.
        chars_max: longer texts are cut, and it is said by how much; None: nothing is cut.
    """
    card = _card(row)
    what, where, why = (_part(card, name) for name in ("what", "where", "why"))
    heading(out, f"{approval_name(row.approval_id)}: {row.state}", style="yellow")
    version = _part(card, "who").get("version")
    asked = row.actor if row.on_behalf_of is None else f"{row.actor} for {row.on_behalf_of}"
    rows: list[tuple[str, str | None]] = [
        ("what", f"{row.tool} ({_text(what.get('impact'))})"),
        *_listed("with", (f"{name} = {_text(value)}" for name, value in called_with(card).items())),
        ("where", ", ".join(_text(where[name]) for name in ("system", "target") if where.get(name))),
        ("look at", _text(where["link"]) if where.get("link") else None),
        *_listed("changes", _changes(_part(card, "diff"))),
        ("all of it", _seen_by(card)),
        *_listed("why", (row.intent, *map(_text, _list(why.get("reasons"))))),
        *_listed("signals", signal_texts(why.get("signals"))),
        *_listed("by fallback", fallback_texts(why.get("fallbacks"))),
        *_listed("model says", (f"{name}: {_text(said)}" for name, said in _part(why, "model_says").items())),
        ("asked by", f"{asked}, version {_text(version)}" if version else asked),
        ("needs", _needs(row.requirement)),
        ("votes", _votes(row, counted)),
        *([("changed by", row.edited_by)] if row.edited_by else []),
        *([("in place of", approval_name(row.supersedes))] if row.supersedes else []),
        ("until", moment(row.expires_at)),
        ("then", _unanswered(row.requirement) if row.state is ApprovalState.OPEN else None),
        ("closed", moment(row.closed_at)),
        ("comment", row.comment),
    ]
    if any(suspicious(text) for _, text in rows if text):
        rows.insert(0, ("LOOK CLOSELY", LOOK_CLOSELY))
    pairs(out, rows, chars_max=chars_max)


def _listed(label: str, texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(texts):
        yield (label if number == 0 else ""), text


def _seen_by(card: Mapping[str, Any]) -> str | None:
    """Who sees what is hidden from others; None where nothing is."""
    roles = ", ".join(map(_text, _list(card.get("by_role"))))
    return f"is shown to {roles} alone" if roles else None


def _changes(diff: Mapping[str, Any]) -> Iterator[str]:
    for name, change in diff.items():
        before, after = change if isinstance(change, list) and len(change) == 2 else (None, change)  # noqa: PLR2004 - before and after
        yield f"{name}: {_text(before)} -> {_text(after)}"


def _votes(row: ApprovalRow, counted: Mapping[UUID, int]) -> str | None:
    if not row.voters:
        return None
    yes, lapsed = _yes(row, counted)
    more = f" ({lapsed} more no longer count{'s' if lapsed == 1 else ''})" if lapsed else ""
    return f"{yes} yes{more}: {', '.join(row.voters)}"


def _yes(row: ApprovalRow, counted: Mapping[UUID, int]) -> tuple[int, int]:
    """How many of the yes count now, and how many do not any more."""
    given = said_yes(row)
    yes = counted.get(row.approval_id, given)
    return yes, given - yes


def _needs(requirement: Mapping[str, Any]) -> str:
    people = ", ".join(f"{count} of {role}" for role, count in sorted(_part(requirement, "quorum").items()))
    return f"{people}, with a comment" if requirement.get("comment_required") else people


def _unanswered(requirement: Mapping[str, Any]) -> str:
    """What happens if nobody answers."""
    if requirement.get("on_expiry") == "deny":
        return "it is denied"
    others = _part(requirement, "on_expiry")
    people = ", ".join(f"{count} of {role}" for role, count in sorted(_part(others, "escalate").items()))
    seconds = others.get("within_seconds")
    within = f", within {timedelta(seconds=seconds)}" if isinstance(seconds, int) else ""
    return f"{people} are asked{within}" if people else "others are asked"


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


def voted_json(voted: Voted) -> dict[str, Any]:
    """Return what came of a word on a request, as data.

    Args:
        voted: what came of it.
    """
    return {
        "approval": approval_name(voted.approval_id),
        "run": None if voted.run_id is None else run_name(voted.run_id),
        "tool": voted.tool,
        "answer": voted.answer,
        "votes": voted.votes,
        "expires_at": voted.expires_at,
    }


def request_json(row: ApprovalRow, *, counted: Mapping[UUID, int] = NOTHING) -> dict[str, Any]:
    """Return a request as data.

    Args:
        row: the request.
        counted: by request, how many of the yes count now; of one that is not in it, all that were given do.
    """
    yes, lapsed = _yes(row, counted)
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
        "yes": yes,
        "lapsed": lapsed,
        "code": row.code,
        "supersedes": None if row.supersedes is None else approval_name(row.supersedes),
        "edited_by": row.edited_by,
        "in_review": row.in_review,
        "requested_at": row.requested_at,
        "expires_at": row.expires_at,
        "closed_at": row.closed_at,
        "comment": row.comment,
        "digest": row.digest,
        "card": _card(row),
    }
