"""``token add``, ``token list`` and ``token revoke``: a file of tokens, by which a small team signs in."""

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from langgraph_control.audit.people.token_edits import ID_DIGITS, add_token, revoke_token
from langgraph_control.audit.people.token_file import TokenEntry, read_tokens
from langgraph_control.cli.output import console, heading, moment, pairs, print_json
from langgraph_control.cli.record import Json
from langgraph_control.errors import SignInError

__all__ = ["token"]

DAYS: Final = re.compile(r"([1-9][0-9]{0,3})d")

token = typer.Typer(
    help="Make and revoke the tokens by which people of a small team sign in.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Tokens = Annotated[Path, typer.Option("--file", metavar="FILE", help="The file of tokens; this user's alone.")]


@token.command("add")
def add(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="As the policy's roles name people.")],
    *,
    file: Tokens,
    group: Annotated[list[str] | None, typer.Option(help="A group of that person; may be given repeatedly.")] = None,
    label: Annotated[str, typer.Option(help="What the token is for.", show_default=False)] = "",
    expires: Annotated[
        str | None,
        typer.Option(help="Its end: days from now (90d), or a date in UTC (2027-01-31).", show_default=False),
    ] = None,
) -> None:
    """Make a token and print it, once: the file keeps its hash. The file is made if it is missing."""
    made = add_token(file, person, groups=group or [], label=label, expires=_moment(expires))
    print(f"For {person}, shown this once. Pass it on in a way that nobody else can read.", file=sys.stderr)
    print(made)


@token.command("list")
def listed(*, file: Tokens, as_json: Json = False) -> None:
    """List whose tokens the file has. None of them can be shown."""
    tokens, now = read_tokens(file), datetime.now(UTC)
    if as_json:
        print_json([one.model_dump(exclude={"sha256"}) | {"id": _id(one)} for one in tokens])
        return
    out = console()
    for one in tokens:
        over = one.expires is not None and one.expires <= now
        heading(out, f"{_id(one)} {one.person}", style="red" if over else "")
        pairs(
            out,
            [
                ("groups", ", ".join(one.groups)),
                ("label", one.label),
                ("created", moment(one.created)),
                ("expired" if over else "expires", moment(one.expires)),
            ],
        )
    out.print(f"{len(tokens)} tokens." if tokens else "No tokens: nobody can sign in.")


@token.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(metavar="ID", help="As token list shows it, or its first digits.")],
    *,
    file: Tokens,
) -> None:
    """Take a token out of the file. It is refused from the next request on, in every process that reads the file."""
    gone = revoke_token(file, name)
    heading(console(), f"Revoked: {_id(gone)} of {gone.person}.", style="yellow")


def _id(one: TokenEntry) -> str:
    return one.sha256[:ID_DIGITS]


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    if days := DAYS.fullmatch(text):
        return (datetime.now(UTC) + timedelta(days=int(days[1]))).replace(microsecond=0)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise SignInError(
            "That is no end for a token.", todo="Write --expires 90d or --expires 2027-01-31.", code="token_value"
        ) from None
    return given if given.tzinfo is not None else given.replace(tzinfo=UTC)
