"""Making and changing the key that signs checkpoints. Broken off anywhere, the same call goes on from there."""

from dataclasses import dataclass
from pathlib import Path

from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.seals.checkpoints import VerifierKey
from langgraph_control.audit.seals.requests import FindTree, RotateKey, SigningKeys
from langgraph_control.audit.seals.sealing import Sealer
from langgraph_control.audit.seals.signers import FileSigner, Signer, key_hash, sync_folder
from langgraph_control.errors import SealRefused
from langgraph_control.guards.canonical import canonical_bytes

__all__ = ["Rotated", "create_key", "rotate_key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What changing the key came to.

    Args:
        key: the one that signs from now on.
        kept: where the private key before is now.
        checkpoint: signed with both; None where another sealer had signed that size already.
    """

    key: VerifierKey
    kept: Path
    checkpoint: str | None


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
            raise SealRefused(
                f"The key in {path} is for another tree: {signer.name()}.",
                todo="Name another file with --key; a tree has a key of its own.",
                code="key_of_another_tree",
            )
        return _register(admin, signer)


def rotate_key(dsn: str, path: Path) -> Rotated:
    """Have a new key sign from now on, and sign the tree with the old and the new one once.

    The new key takes the old one's place in the file; the old one stays beside it under its hash.

    Args:
        dsn: of the admin's login.
        path: the key file.

    Raises:
        SealRefused: the file does not hold the present key, or cannot be used.
        TrailUnavailable, DatabaseRefused, SchemaMismatch: the ledger cannot be asked.
    """
    old, following = FileSigner(path), path.with_name(f"{path.name}.next")
    with LedgerConnection(dsn) as admin:
        origin, keys = admin.ask(FindTree()).origin, admin.ask(SigningKeys())
        known = {key.public for key in keys}
        begun = following.exists() and FileSigner(following).public_key() in known
        if old.public_key() not in known or (not begun and keys[-1].public != old.public_key()):
            raise SealRefused(
                f"The key in {path} is not the one that signs for this tree now.",
                todo="Name the file of the present key, which langgraph-control keys list shows.",
                code="key_not_current",
            )
        if following.exists():
            new = FileSigner(following)
        else:
            new = FileSigner.create(following, name=f"{origin}/{len(keys) + 1}")
        key = _register(admin, new)
    sealer = Sealer(dsn, new, beside=[old])
    try:
        checkpoint = sealer.once().checkpoint
    finally:
        sealer.close()
    both = checkpoint is not None and all(f"\n— {signer.name()} " in checkpoint for signer in (old, new))
    kept = path.with_name(f"{path.name}.{key_hash(old.name(), old.public_key()).hex()}")
    path.replace(kept)
    following.replace(path)
    sync_folder(path.parent)
    return Rotated(key=key, kept=kept, checkpoint=checkpoint if both else None)


def _register(admin: LedgerConnection, signer: Signer) -> VerifierKey:
    key = VerifierKey(name=signer.name(), public=signer.public_key())
    admin.ask(RotateKey(name=key.name, public=key.public, body=canonical_bytes({"key": str(key)})))
    return key


def _another_key() -> SealRefused:
    return SealRefused(
        "The tree has a key already.",
        todo="Seal with it (langgraph-control keys list names it), or change it: langgraph-control keys rotate.",
        code="key_exists",
    )
