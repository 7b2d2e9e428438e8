"""The record as evidence: sealed, pinned, exported, verified with no database; and a copy with one byte flipped."""

import tempfile
from pathlib import Path

from demo.desk import Desk
from demo.ground import APPROVER
from demo.telling import Teller
from demo.worker import ACTOR
from langgraph_control import Run
from langgraph_control.audit.bundles.offline import Outcome
from langgraph_control.audit.seals.rotation import create_key

__all__ = ["evidence"]

VERIFIED = ("--key", "log.vkey", "--pin", "pins.txt")


def evidence(desk: Desk, teller: Teller, run: Run) -> None:
    """Seal the record, verify a run's bundle, and find the byte that was flipped in a copy of it.

    Args:
        desk: where the story was played.
        teller: told what happens.
        run: whose bundle is made.
    """
    teller.scene(
        "The record as evidence",
        "Somebody who trusts neither this process nor the database gets one file. The heads of all chains are sealed "
        "in a signed tree, the signed checkpoint is pinned outside the database, and the run is exported with all it "
        "takes to verify it anywhere.",
    )
    with tempfile.TemporaryDirectory(prefix="langgraph-control-demo-") as name:
        folder = Path(name)
        (folder / "log.vkey").write_text(f"{create_key(desk.ground.admin, folder / 'seal.key')}\n", "ascii")
        sealed = desk.command("seal", "--once", "--key", "seal.key", "--pin", "file:pins.txt", folder=folder)
        exported = desk.command("audit", "export", run.id, "--out", "bundle.jsonl", folder=folder)
        teller.claim("sealed, pinned and exported", holds=sealed == exported == 0)
        found = desk.command("audit", "verify", "bundle.jsonl", *VERIFIED, folder=folder)
        teller.claim("verified, from two files and a key alone", holds=found == Outcome.OK)
        teller.note("forger", "One byte of a copy is flipped: in the name of somebody on record.")
        (folder / "copy.jsonl").write_bytes(_flipped((folder / "bundle.jsonl").read_bytes()))
        found = desk.command("audit", "verify", "copy.jsonl", *VERIFIED, folder=folder)
        teller.claim("found, and the entry is named", holds=found == Outcome.TAMPERED)


def _flipped(bundle: bytes) -> bytes:
    """Flip a bit of the approver's name; of the agent's, where nobody approved."""
    name = next(name for name in (APPROVER.encode(), ACTOR.encode()) if name in bundle)
    at = bundle.index(name)
    return bundle[:at] + bytes([bundle[at] ^ 4]) + bundle[at + 1 :]
