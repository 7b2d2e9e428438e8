"""The lines of a bundle, as ``offline.py`` reads them: each in one canonical form, the last one counts them."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Final, Literal, TypeAlias
from uuid import UUID

from langgraph_control.audit.asking.rows import EntryRow
from langgraph_control.audit.trail.chain import ZERO

__all__ = ["VERSION", "BundleWriter", "Scope"]

VERSION: Final = 1

Scope: TypeAlias = Literal["run", "since", "all", "receipt"]


class BundleWriter:
    """Writes the lines of one bundle, in the order of the methods.

    Args:
        file: where to; it is left open.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lines = 0
        self._digest = hashlib.sha256()

    def header(
        self,
        *,
        origin: str | None,
        tenant: str,
        scope: Scope,
        since: int | None,
        leaves: bool,
        payloads: bool,
        made_at: int,
        made_by: str,
    ) -> None:
        """Write the first line.

        Args:
            origin: of the tenant's log; None where it has none yet.
            tenant: whose entries these are.
            scope: what was exported.
            since: from when on, in microseconds since 1970; None where that was not asked.
            leaves: whether every leaf of the tree is in the bundle.
            payloads: whether payloads were asked for.
            made_at: when, in microseconds since 1970.
            made_by: by which release.
        """
        self._write(
            {
                "bundle": VERSION,
                "leaves": leaves,
                "made_at": made_at,
                "made_by": made_by,
                "origin": origin,
                "payloads": payloads,
                "scope": scope,
                "since": since,
                "tenant": tenant,
            }
        )

    def key(self, vkey: str, *, endorsed: bytes | None) -> None:
        """Write a key the log has signed with, the oldest first.

        Args:
            vkey: as ``<name>+<hash>+<base64>``.
            endorsed: the signature of the key before over it; None: it is the first, or that one was lost.
        """
        self._write({"key": {"endorsed": None if endorsed is None else endorsed.hex(), "vkey": vkey}})

    def checkpoint(self, note: str, consistency: Sequence[bytes]) -> None:
        """Write a signed tree head: the newest first, the others from large to small.

        Args:
            note: the signed note.
            consistency: the proof that the newest one extends it.
        """
        self._write({"checkpoint": {"note": note, "consistency": [one.hex() for one in consistency]}})

    def dropped(self, *, place: int, chain: UUID, seq: int, head: bytes) -> None:
        """Write where retention cut a chain, ordered by chain and place, where there is a checkpoint.

        Args:
            place: the entry of the tenant's own chain that says so.
            chain: the chain.
            seq: its last entry that was dropped.
            head: that entry's hash.
        """
        self._write({"dropped": [place, str(chain), seq, head.hex()]})

    def run(self, chain: UUID, *, after: int = 0, previous: bytes = ZERO) -> None:
        """Begin a chain, in the order of their ids; the tenant's own stands anywhere.

        Args:
            chain: its id.
            after: how many entries are left out in front: in a receipt, or dropped by retention.
            previous: the hash of the last of those.
        """
        self._write({"run": {"id": str(chain), "after": after, "previous": previous.hex()}})

    def head(self, *, index: int, seq: int, head: bytes, proof: Sequence[bytes] | None) -> None:
        """Write a leaf about the chain that was begun, in the tree's order.

        Args:
            index: the leaf's place in the tree, from 0.
            seq: how many entries the chain had.
            head: the hash of the last of them.
            proof: of inclusion in the newest checkpoint's tree; None where the bundle has the whole tree.
        """
        hashes = None if proof is None else [one.hex() for one in proof]
        self._write({"head": {"index": index, "seq": seq, "head": head.hex(), "proof": hashes}})

    def entry(self, row: EntryRow, *, payload: bool) -> None:
        """Write an entry.

        Args:
            row: as it was read.
            payload: whether its payload goes along.
        """
        with_payload = payload and row.payload is not None and row.salt is not None
        self._write(
            {
                "entry": {
                    "seq": row.seq,
                    "facts": row.facts,
                    "body": _stored(row.body),
                    "commitment": None if row.commitment is None else row.commitment.hex(),
                    "salt": base64.b64encode(row.salt or b"").decode() if with_payload else None,
                    "payload": _stored(row.payload or b"") if with_payload else None,
                    "hash": row.hash.hex(),
                }
            }
        )

    def leaf(self, *, index: int, chain: UUID, seq: int, head: bytes) -> None:
        """Write a leaf about a chain that is not in the bundle.

        Args:
            index: the leaf's place in the tree, from 0.
            chain: the chain.
            seq: how many entries it had.
            head: the hash of the last of them.
        """
        self._write({"leaf": [index, str(chain), seq, head.hex()]})

    def policy(self, digest: str, text: str) -> None:
        """Write the text of a policy that an entry in the bundle names, once.

        Args:
            digest: SHA-256 of its bytes, in hex.
            text: the policy.
        """
        self._write({"policy": {"hash": digest, "text": text}})

    def end(self) -> int:
        """Write the last line and return how many there are."""
        self._write({"end": {"lines": self._lines + 1, "sha256": self._digest.hexdigest()}})
        return self._lines

    def _write(self, record: Mapping[str, Any]) -> None:
        line = (json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n").encode("ascii")
        self._digest.update(line)
        self._lines += 1
        self._file.write(line)


def _stored(value: bytes) -> str | dict[str, str]:
    """Stored bytes as a text, which whoever opens the file can read; as base64 where they are none."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
