"""Making and changing the key that signs checkpoints. Broken off anywhere, the same call goes on from there."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.seals.checkpoints import SignedCheckpoint, VerifierKey, endorsement
from langgraph_control.audit.seals.requests import FindTree, RotateKey, SigningKeys
from langgraph_control.audit.seals.sealing import Sealer
from langgraph_control.audit.seals.signers import FileSigner, Signer, key_hash, sync_folder
from langgraph_control.audit.seals.verified import verified_checkpoints
from langgraph_control.errors import SealRefused
from langgraph_control.guards.canonical import canonical_bytes

__all__ = ["Rotated", "create_key", "replace_lost_key", "rotate_key"]


BUSY_SECONDS: Final = 60.0
"""So long another sealer may hold the tree before a rotation gives up."""

PAUSE_SECONDS: Final = 0.2
CHECKPOINTS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What changing the key came to.

    Args:
        key: the one that signs from now on.
        before: the one that did.
        before_since: from when on.
        kept: where the private key before is now.
        checkpoint: signed with both.
    """

    key: VerifierKey
    before: VerifierKey
    before_since: datetime
    kept: Path
    checkpoint: str


def create_key(dsn: str, path: Path) -> VerifierKey:
    """Make the first key of a tenant's tree, or register the one that is in the file.

    Args:
        dsn: of the admin's login.
        path: the key file; made where it is missing.

    Raises:
        SealRefused: the tree has another key already, or the file cannot be used.
        TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger cannot be asked.
    """
    with LedgerConnection(dsn) as admin:
        origin, keys = admin.ask(FindTree()).origin, admin.ask(SigningKeys())
        if keys and not path.exists():
            raise _another_key()
        signer = FileSigner(path) if path.exists() else FileSigner.create(path, name=origin)
        if keys and keys[-1].public != signer.public_key():
            raise _another_key()
        if signer.name() != (keys[-1].name if keys else origin):
            raise _of_another_tree(path, signer)
        return _register(admin, signer)


def replace_lost_key(dsn: str, path: Path) -> VerifierKey:
    """Have a key sign that the one before did not endorse, since that is lost. It is on record as what it is.

    Who has only the verifier keys before is led to it by nothing, and has to be given its own.

    Args:
        dsn: of the admin's login.
        path: the key file; made where it is missing.

    Raises:
        SealRefused: there is no key that could be lost, or the file cannot be used.
        TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger cannot be asked.
    """
    with LedgerConnection(dsn) as admin:
        origin, keys = admin.ask(FindTree()).origin, admin.ask(SigningKeys())
        if not keys:
            raise SealRefused(
                "There is no signing key that could be lost.",
                todo="Make the first one: langgraph-control keys create.",
                code="key_none",
            )
        name = f"{origin}/{len(keys) + 1}"
        signer = FileSigner(path) if path.exists() else FileSigner.create(path, name=name)
        if signer.public_key() in {key.public for key in keys[:-1]}:
            raise _not_current(path)
        if signer.public_key() != keys[-1].public and signer.name() != name:
            raise _of_another_tree(path, signer)
        return _register(admin, signer)


def rotate_key(dsn: str, path: Path) -> Rotated:
    """Have a new key sign from now on, which the old one endorses, and sign the tree with both once.

    The new key takes the old one's place in the file once that is done; the old one stays beside it under its hash.

    Args:
        dsn: of the admin's login.
        path: the key file.

    Raises:
        SealRefused: the file does not hold the present key, or cannot be used; or others kept the tree busy, and the
            same call goes on from there.
        TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger cannot be asked.
    """
    old, following = FileSigner(path), path.with_name(f"{path.name}.next")
    with LedgerConnection(dsn) as admin:
        origin, keys = admin.ask(FindTree()).origin, admin.ask(SigningKeys())
        known = {key.public: key for key in keys}
        begun = following.exists() and FileSigner(following).public_key() in known
        if old.public_key() not in known or (not begun and keys[-1].public != old.public_key()):
            raise _not_current(path)
        if following.exists():
            new = FileSigner(following)
        else:
            new = FileSigner.create(following, name=f"{origin}/{len(keys) + 1}")
        key = _register(admin, new, endorsed=lambda key: old.sign(endorsement(key)))
        checkpoint = _signed_by_both(admin, Sealer(dsn, new, beside=[old]), (old, new))
    kept = path.with_name(f"{path.name}.{key_hash(old.name(), old.public_key()).hex()}")
    _take_place(path, following, kept)
    before = known[old.public_key()]
    return Rotated(key=key, before=before.verifier(), before_since=before.since, kept=kept, checkpoint=checkpoint)


def _signed_by_both(admin: LedgerConnection, sealer: Sealer, signers: tuple[Signer, Signer]) -> str:
    """Seal until there is a checkpoint that both keys signed: another sealer may be at it just now."""
    keys = [VerifierKey(name=signer.name(), public=signer.public_key()) for signer in signers]
    until = time.monotonic() + BUSY_SECONDS
    try:
        while True:
            sealer.once()
            for row in islice(verified_checkpoints(admin.ask, keys), CHECKPOINTS):
                if len(SignedCheckpoint.parse(row.note).signed_by(keys)) == len(keys):
                    return row.note
            if time.monotonic() >= until:
                raise SealRefused(
                    "Another sealer held the tree all the time: it was not signed with both keys yet.",
                    safe="The new key is registered and waits beside the old one; both files are as they were.",
                    todo="Repeat langgraph-control keys rotate: it goes on from there. Until then nothing is signed.",
                    code="key_not_signed",
                )
            time.sleep(PAUSE_SECONDS)
    finally:
        sealer.close()


def _take_place(path: Path, following: Path, kept: Path) -> None:
    """Put the new key in the old one's place, in one step: at no moment is there no key file."""
    with suppress(FileExistsError):  # it was broken off behind this
        os.link(path, kept)
    following.replace(path)
    sync_folder(path.parent)


def _register(
    admin: LedgerConnection, signer: Signer, *, endorsed: Callable[[VerifierKey], bytes | None] = lambda _key: None
) -> VerifierKey:
    key = VerifierKey(name=signer.name(), public=signer.public_key())
    body = canonical_bytes({"key": str(key)})
    admin.ask(RotateKey(name=key.name, public=key.public, body=body, endorsed=endorsed(key)))
    return key


def _not_current(path: Path) -> SealRefused:
    return SealRefused(
        f"The key in {path} is not the one that signs for this tree now.",
        todo="Name the file of the present key, which langgraph-control keys list shows.",
        code="key_not_current",
    )


def _of_another_tree(path: Path, signer: Signer) -> SealRefused:
    return SealRefused(
        f"The key in {path} is for another tree: {signer.name()}.",
        todo="Name another file with --key; a tree has a key of its own.",
        code="key_of_another_tree",
    )


def _another_key() -> SealRefused:
    return SealRefused(
        "The tree has a key already.",
        todo="Seal with it (langgraph-control keys list names it), or change it: langgraph-control keys rotate.",
        code="key_exists",
    )
