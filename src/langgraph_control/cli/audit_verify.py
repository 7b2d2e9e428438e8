"""``audit verify``: is a bundle what was recorded, sealed and pinned? Asks no database and no network."""

import sys
from typing import Annotated

import typer

from langgraph_control.cli.record import Json

__all__ = ["verify_bundle"]


def verify_bundle(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="The file; - for standard input.")],
    *,
    key: Annotated[
        list[str],
        typer.Option(metavar="VKEY", help="The verifier key, or a file that holds it; not one from the bundle."),
    ],
    pin: Annotated[
        str | None, typer.Option(metavar="FILE", help="Checkpoints that were kept outside.", show_default=False)
    ] = None,
    older: Annotated[bool, typer.Option("--older", help="The bundle may be older than the newest pin.")] = False,
    as_json: Json = False,
) -> None:
    """Verify a bundle; the same as python offline.py, the one file that does it.

    Exit code 0: proved; 2: nothing can be said; 3: tampered with or damaged; 4: incomplete; 5: proved, but not pinned.
    """
    from langgraph_control.audit.bundles import offline

    report = offline.verify_file(bundle, keys=key, pins=pin, newer_pins=not older)
    sys.stdout.write(offline.tell(report, as_json=as_json))
    raise typer.Exit(int(report.outcome))
