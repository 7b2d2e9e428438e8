"""``keys create``, ``rotate``, ``list`` and ``show``: the key that signs checkpoints, and those before it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.seals.requests import SigningKeys
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, moment, pairs, print_json
from langgraph_control.cli.record import Json
from langgraph_control.cli.seal import KeyFile
from langgraph_control.errors import SealRefused

__all__ = ["keys"]

keys = typer.Typer(
    help="Make, change and list the key that signs checkpoints of the record.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@keys.command("create")
def create(
    *,
    key: KeyFile = None,
    in_place_of_lost: Annotated[
        bool,
        typer.Option(
            "--in-place-of-lost",
            help="The present key is gone for good: another one takes its place, which it has not endorsed.",
        ),
    ] = False,
    dsn: Dsn = None,
    local: Local = False,
) -> None:
    """Make the first signing key, and print the verifier key, which is to be kept away from the database.

    On the admin login. Where the file is there already, its key is registered; repeated, it changes nothing. In place
    of a lost one it is on record as that; whoever has only the verifier keys before has to be given the new one.
    """
    from langgraph_control.audit.seals.rotation import create_key, replace_lost_key

    file = _file(key)
    with database("admin", dsn=dsn, local=local) as place:
        made = replace_lost_key(place.dsn, file) if in_place_of_lost else create_key(place.dsn, file)
    print(f"The private key is in {file}. Keep what is printed now where nobody can change it.", file=sys.stderr)
    print(made)


@keys.command("rotate")
def rotate(*, key: KeyFile = None, dsn: Dsn = None, local: Local = False) -> None:
    """Have a new key sign from now on, and print its verifier key. What the old one signed stays verified by it.

    On the admin login, where the key file is. The old key endorses the new one, and the tree is signed with both once;
    only then the new one takes its place. Broken off before, the same command goes on. Sealers elsewhere refuse to sign
    until they are given the new file.
    """
    from langgraph_control.audit.seals.rotation import rotate_key

    file = _file(key)
    with database("admin", dsn=dsn, local=local) as place:
        done = rotate_key(place.dsn, file)
    print(
        f"{done.before.name}, which signed since {moment(done.before_since)}, has endorsed {done.key.name}.\n"
        f"The private key is in {file}; the one before it in {done.kept}.",
        file=sys.stderr,
    )
    print(done.key)


@keys.command("list")
def listed(*, as_json: Json = False, dsn: Dsn = None, local: Local = False) -> None:
    """List the keys that signed, the oldest first, and the one that signs now."""
    with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        rows = connection.ask(SigningKeys())
    if as_json:
        print_json(
            [{"key": str(row.verifier()), "name": row.name, "since": row.since, "until": row.until} for row in rows]
        )
        return
    out = console()
    for row in rows:
        heading(out, row.name, style="" if row.until is None else "dim")
        pairs(out, [("key", str(row.verifier())), ("since", moment(row.since)), ("until", moment(row.until))])
    if not rows:
        out.print("No key: nothing is sealed. Make one with langgraph-control keys create.")


@keys.command("show")
def show(*, dsn: Dsn = None, local: Local = False) -> None:
    """Print the verifier key that signs now, and nothing else."""
    with database("auditor", dsn=dsn, local=local) as place, LedgerConnection(place.dsn) as connection:
        present = [row for row in connection.ask(SigningKeys()) if row.until is None]
    if not present:
        raise SealRefused(
            "There is no signing key.",
            todo="Make one on the admin login: langgraph-control keys create.",
            code="key_none",
        )
    print(present[0].verifier())


def _file(given: Path | None) -> Path:
    from langgraph_control.audit.seals.signers import default_key_file

    return given or default_key_file()
