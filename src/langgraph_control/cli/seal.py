"""``seal``: extends the tree over the chains' heads, signs it, and pins that, until it is told to stop."""

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, pairs
from langgraph_control.cli.worker import log_lines
from langgraph_control.errors import SealRefused

if TYPE_CHECKING:
    from langgraph_control.audit.seals.sealing import SealRound

__all__ = ["KeyFile", "seal"]

KeyFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help="The file of the signing key; by default LANGGRAPH_CONTROL_SEAL_KEY, else in the user's configuration.",
        show_default=False,
    ),
]
Pins: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--pin",
        metavar="PIN",
        help="Where checkpoints are kept outside the database: file:PATH, https://… or s3://BUCKET/PREFIX; repeatable.",
    ),
]


def seal(
    *,
    once: Annotated[bool, typer.Option("--once", help="Seal what there is, and end.")] = False,
    every: Annotated[str, typer.Option(help="How long to wait between rounds, at most.", metavar="DURATION")] = "10s",
    leaves: Annotated[
        int, typer.Option(min=1, max=100_000, help="Sign after so many leaves, also before that.")
    ] = 10_000,
    pin: Pins = None,
    key: KeyFile = None,
    dsn: Dsn = None,
    local: Local = False,
) -> None:
    """Seal the record: extend the tree over the chains' heads, sign it, and pin the signed checkpoint.

    On the auditor's login, or the agent's. Any number may run; they take turns, and no run waits for them. Make the key
    first: langgraph-control keys create.
    """
    from langgraph_control.audit.seals.sealing import Sealer
    from langgraph_control.audit.seals.signers import FileSigner, default_key_file
    from langgraph_control.graphs.pins import pins_named

    signer, pins = FileSigner(key or default_key_file()), pins_named(pin or [])
    with database("auditor", dsn=dsn, local=local) as place:
        sealer = Sealer(place.dsn, signer, pins, every_seconds=_seconds(every), leaves=leaves)
        if once:
            try:
                _print(sealer.once())
            finally:
                sealer.close()
            return
        log_lines()
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        with sealer:
            stop.wait()


def _seconds(text: str) -> float:
    from pydantic import TypeAdapter, ValidationError

    from langgraph_control.guards.policy_words import Duration

    try:
        return float(TypeAdapter(Duration).validate_python(text))
    except ValidationError:
        raise SealRefused(
            "That is no time to wait between rounds.",
            todo="Write it like --every 10s or --every 5m.",
            code="seal_every",
        ) from None


def _print(done: "SealRound") -> None:
    out = console()
    if done.busy:
        out.print("Another sealer is at work; nothing was sealed here.")
    heads = "1 head" if done.sealed == 1 else f"{done.sealed} heads"
    heading(out, f"Sealed {heads} of chains.")
    pairs(out, [("checkpoint", None if done.checkpoint is None else " ".join(done.checkpoint.split("\n")[1:3]))])
    if done.unpinned:
        for name, what in done.unpinned:
            pairs(out, [("not pinned", f"{name}: {what}")])
        raise typer.Exit(1)
