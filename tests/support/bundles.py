"""Bundles made in memory, for tests of what reads them: chains, a tree, a signing key; written by the real writer."""

import base64
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from langgraph_control.audit.asking.rows import EntryRow
from langgraph_control.audit.bundles import offline
from langgraph_control.audit.bundles.bundle import BundleWriter, Scope
from langgraph_control.audit.seals.checkpoints import VerifierKey, endorsement
from langgraph_control.audit.seals.tree import consistency_proof, inclusion_proof, leaf_data, leaf_hash, node_hash
from langgraph_control.audit.trail.chain import ZERO, commitment_to, entry_hash

ORIGIN = "langgraph-control/00112233445566778899aabbccddeeff"
POLICY = "version: 1\n"
POLICY_HASH = hashlib.sha256(POLICY.encode()).hexdigest()


@dataclass(slots=True)
class SigningKey:
    """A key of a test's own."""

    name: str = ORIGIN
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> bytes:
        """The public key's bytes."""
        return self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def hash(self) -> bytes:
        """What tells keys of one name apart."""
        return hashlib.sha256(self.name.encode() + b"\n\x01" + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """The verifier key as text."""
        encoded = base64.b64encode(b"\x01" + self.public).decode()
        return f"{self.name}+{self.hash.hex()}+{encoded}"

    def note(self, size: int, root: bytes, *, origin: str = ORIGIN) -> str:
        """Sign a tree head."""
        text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
        signature = base64.b64encode(self.hash + self.private.sign(text.encode())).decode()
        return f"{text}\n\u2014 {self.name} {signature}\n"


@dataclass(slots=True)
class Log:
    """A tenant's record in memory: what the ledger and the sealer would have written."""

    tenant: str = "default"
    chains: dict[UUID, list[EntryRow]] = field(default_factory=dict)
    leaves: list[tuple[UUID, int, bytes]] = field(default_factory=list)
    key: SigningKey = field(default_factory=SigningKey)
    notes: dict[int, str] = field(default_factory=dict)
    keys: dict[str, bytes | None] = field(default_factory=dict)

    def append(
        self, chain: UUID, *, facts: Mapping[str, object], body: bytes = b"{}", payload: bytes | None = None
    ) -> None:
        """Append an entry."""
        rows = self.chains.setdefault(chain, [])
        salt = None if payload is None else os.urandom(16)
        commitment = None if payload is None or salt is None else commitment_to(payload, salt)
        told = orjson.dumps(facts).decode()
        seq = len(rows) + 1
        rows.append(
            EntryRow(
                seq=seq,
                at=datetime.now(UTC),
                tenant=self.tenant,
                facts=told,
                body=body,
                commitment=commitment,
                salt=salt,
                payload=payload,
                hash=entry_hash(
                    tenant=self.tenant,
                    run_id=chain,
                    seq=seq,
                    previous=rows[-1].hash if rows else ZERO,
                    facts=told,
                    commitment=commitment,
                    body=body,
                ),
            )
        )

    def run(self, chain: UUID, entries: int = 5) -> None:
        """Append a whole run."""
        body = orjson.dumps({"policy": POLICY_HASH, "who": {"actor": "support-agent"}})
        for seq in range(1, entries):
            self.append(chain, facts={"at": seq, "events": ["action.decided"]}, body=body, payload=b'{"n":%d}' % seq)
        self.append(chain, facts={"at": entries, "events": ["run.finished"], "entries": entries}, body=b"{}")

    def seal(self, *chains: UUID) -> str:
        """Seal chains, by default all, and return the checkpoint."""
        sealed = {(chain, seq) for chain, seq, _ in self.leaves}
        for chain in chains or tuple(self.chains):
            rows = self.chains[chain]
            if (chain, len(rows)) not in sealed:
                self.leaves.append((chain, len(rows), rows[-1].hash))
        size = len(self.leaves)
        self.notes[size] = self.key.note(size, self.node_over(0, size))
        self.keys.setdefault(self.key.vkey, None)
        return self.notes[size]

    def rotate(self, following: SigningKey) -> None:
        """Have another key sign from now on, which the one before endorses."""
        self.keys[following.vkey] = self.key.private.sign(endorsement(VerifierKey.parse(following.vkey)))
        self.key = following

    def node(self, level: int, index: int) -> bytes:
        """Return a complete subtree's hash."""
        return self.node_over(index << level, (index + 1) << level)

    def node_over(self, begin: int, end: int) -> bytes:
        """Return the root over some leaves, straight from the definition in RFC 6962."""
        if end == begin:
            return hashlib.sha256().digest()
        if end - begin == 1:
            chain, seq, head = self.leaves[begin]
            return leaf_hash(leaf_data(tenant=self.tenant, run_id=chain, seq=seq, head=head))
        middle = begin + (1 << ((end - begin - 1).bit_length() - 1))
        return node_hash(self.node_over(begin, middle), self.node_over(middle, end))

    def bundle(
        self,
        chains: Sequence[UUID] | None = None,
        *,
        scope: Scope = "all",
        leaves: bool = True,
        payloads: bool = False,
        after: int = 0,
    ) -> bytes:
        """Write a bundle of chains, by default of all."""
        file = io.BytesIO()
        writer = BundleWriter(file)
        writer.header(
            origin=ORIGIN if self.notes else None,
            tenant=self.tenant,
            scope=scope,
            since=None,
            leaves=leaves,
            payloads=payloads,
            made_at=1_700_000_000_000_000,
            made_by="0.1.0",
        )
        for vkey, endorsed in self.keys.items():
            writer.key(vkey, endorsed=endorsed)
        sizes = sorted(self.notes, reverse=True)
        for size in sizes:
            proof = consistency_proof(size, sizes[0], self.node) if size != sizes[0] else []
            writer.checkpoint(self.notes[size], proof)
        wanted = sorted(self.chains if chains is None else chains)
        heads = [(at, *leaf) for at, leaf in enumerate(self.leaves[: sizes[0] if sizes else 0])]
        for chain in wanted:
            rows = self.chains[chain]
            writer.run(chain, after=after, previous=rows[after - 1].hash if after else ZERO)
            for index, about, seq, head in heads:
                if about == chain and seq > after:
                    writer.head(index=index, seq=seq, head=head, proof=inclusion_proof(index, sizes[0], self.node))
            for row in rows[after:]:
                writer.entry(row, payload=payloads)
        for index, about, seq, head in heads:
            if leaves and about not in wanted:
                writer.leaf(index=index, chain=about, seq=seq, head=head)
        if any(POLICY_HASH.encode() in row.body for chain in wanted for row in self.chains[chain][after:]):
            writer.policy(POLICY_HASH, POLICY)
        writer.end()
        return file.getvalue()


def verified(bundle: bytes, key: str, pins: Sequence[str] | None = None, *, newer_pins: bool = True) -> offline.Report:
    """Verify a bundle as the verifier's command does, from a file's bytes."""
    try:
        kept = None if pins is None else list(offline.read_pins(io.BytesIO("\n".join(pins).encode())))
        lines = offline.lines_of(io.BytesIO(bundle))
        return offline.verify(lines, keys=[offline.read_key(key)], pins=kept, newer_pins=newer_pins)
    except offline.Finding as found:
        return offline.Report(
            outcome=found.outcome, found=(found.what,), proved=(), not_proved=(), chains=0, entries=0, lines=0
        )


def rewritten(bundle: bytes, change: Callable[[list[dict[str, Any]]], object]) -> bytes:
    """Return a bundle with its lines changed and its last line made to fit, as whoever tampers with it would."""
    records = [orjson.loads(line) for line in bundle.splitlines()[:-1]]
    change(records)
    lines = [(json.dumps(one, sort_keys=True, separators=(",", ":")) + "\n").encode() for one in records]
    end = {"lines": len(lines) + 1, "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    return b"".join(lines) + json.dumps({"end": end}, separators=(",", ":")).encode() + b"\n"
