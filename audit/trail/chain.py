"""The hash that chains a run's entries, as ``control.append`` in ``sql/migrations/0003_trail.sql`` makes it.

Whoever has the rows can compute it, so that a verification needs nothing but reading. A test holds both equal.
"""

import hashlib
from typing import Final
from uuid import UUID

__all__ = ["SALT_BYTES", "ZERO", "commitment_to", "entry_hash"]

TAG: Final = b"langgraph-control/entry/v1"

ZERO: Final = bytes(32)
"""What stands for the hash before the first entry."""

SALT_BYTES: Final = 16
"""Every salt has so many. A commitment is over salt and payload in one, so that their border is known by this alone."""


def entry_hash(
    *, tenant: str, run_id: UUID, seq: int, previous: bytes, facts: str, commitment: bytes | None, body: bytes
) -> bytes:
    """Return the hash of one entry: 32 bytes over everything it says and everything before it.

    Args:
        tenant: whose.
        run_id: the run it belongs to.
        seq: its place, from 1.
        previous: the hash of the entry before it, :data:`ZERO` for the first.
        facts: what the database decided, the stored text to the letter.
        commitment: to the payload; None where there was none.
        body: what the client said, the stored bytes.
    """
    parts = (
        TAG,
        _framed(tenant.encode()),
        run_id.bytes,
        seq.to_bytes(8, signed=True),
        previous,
        _framed(facts.encode()),
        _framed(commitment or b""),
        _framed(body),
    )
    return hashlib.sha256(b"".join(parts)).digest()


def commitment_to(payload: bytes, salt: bytes) -> bytes:
    """Return what the hash holds in a payload's place, so that the payload can be erased and the proof stays.

    Args:
        payload: the stored bytes.
        salt: drawn for this entry, :data:`SALT_BYTES`; without it a short payload could be guessed from the commitment.
    """
    return hashlib.sha256(salt + payload).digest()


def _framed(value: bytes) -> bytes:
    """Return a value behind its length, so that no two lists of values share bytes."""
    return len(value).to_bytes(4, signed=True) + value
