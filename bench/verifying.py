"""A bundle of many entries, and how fast it is verified: on one core, no database, as an auditor would.

It does nothing but compute, so its processor time is what counts: others on the machine do not make it slower.
"""

import io
import time
import uuid
from datetime import UTC, datetime
from typing import Final

import orjson

from bench.measuring import Figure
from bench.table import AT_LEAST, Bar, Line
from langgraph_control.audit.asking.rows import EntryRow
from langgraph_control.audit.bundles import offline
from langgraph_control.audit.bundles.bundle import BundleWriter
from langgraph_control.audit.seals.checkpoints import Checkpoint, VerifierKey, sign
from langgraph_control.audit.seals.signers import key_hash
from langgraph_control.audit.seals.tree import CompactRange, leaf_data, leaf_hash
from langgraph_control.audit.trail.chain import ZERO, entry_hash

__all__ = ["verifying_cost"]

ORIGIN: Final = "langgraph-control/bench"
PER_RUN: Final = 10
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)  # the column is no part of a bundle

# As a claim of a small refund leaves them.
FACTS: Final = {
    "at": 1_790_000_000_000_000,
    "login": "agent",
    "events": ["action.proposed", "action.decided", "action.attempt_started"],
    "key": "a" * 64,
    "digest": "b" * 64,
    "attempt": str(uuid.UUID(int=1)),
    "fence": 1,
}
BODY: Final = {
    "who": {"actor": "support-agent", "on_behalf_of": "dora@acme.example"},
    "where": {"worker": "w1", "thread_id": str(uuid.UUID(int=2)), "graph": "support"},
    "tool": "refund",
    "system": "billing",
    "target": "order A-1001",
    "reasons": ["rules[0] control.yaml:6 says allow"],
    "policy": "c" * 64,
}


class _Signer:
    """A key of this benchmark's own."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.generate()

    def name(self) -> str:
        return ORIGIN

    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def verifying_cost(*, entries: int, repetitions: int) -> list[Line]:
    """Verify a bundle of so many entries, in runs of ten, with the whole tree and a pin.

    Args:
        entries: how many.
        repetitions: how often.
    """
    signer = _Signer()
    bundle, note = _bundle(entries, signer)
    key = offline.read_key(str(VerifierKey(name=ORIGIN, public=signer.public_key())))
    assert key.key_hash == key_hash(ORIGIN, signer.public_key())  # noqa: S101 - else nothing is measured
    taken = []
    for _ in range(repetitions):
        began = time.process_time()
        report = offline.verify(offline.lines_of(io.BytesIO(bundle)), keys=[key], pins=[offline.read_checkpoint(note)])
        taken.append(entries / (time.process_time() - began))
        assert report.outcome is offline.Outcome.OK  # noqa: S101 - else nothing is measured
    what = f"audit verify, entries of {len(bundle) // entries} bytes, of processor time"
    return [Line(what, Figure(values=tuple(taken)), " entries/s", bar=Bar(AT_LEAST, 50_000))]


def _bundle(entries: int, signer: _Signer) -> tuple[bytes, str]:
    facts, body = orjson.dumps(FACTS).decode(), orjson.dumps(BODY, option=orjson.OPT_SORT_KEYS)
    runs: list[tuple[uuid.UUID, list[bytes]]] = []
    grown = CompactRange()
    for number in range(entries // PER_RUN):
        run, hashes = uuid.UUID(int=number), [ZERO]
        for seq in range(1, PER_RUN + 1):
            hashes.append(
                entry_hash(
                    tenant="bench", run_id=run, seq=seq, previous=hashes[-1], facts=facts, commitment=None, body=body
                )
            )
        runs.append((run, hashes[1:]))
        grown = grown.append(leaf_hash(leaf_data(tenant="bench", run_id=run, seq=PER_RUN, head=hashes[-1])))
    note = sign(Checkpoint(origin=ORIGIN, size=grown.size, root=grown.root()), [signer])
    file = io.BytesIO()
    writer = BundleWriter(file)
    writer.header(
        origin=ORIGIN, tenant="bench", scope="all", since=None, leaves=True, payloads=False, made_at=0, made_by="bench"
    )
    writer.checkpoint(note, [])
    for index, (run, hashes) in enumerate(runs):
        writer.run(run)
        writer.head(index=index, seq=PER_RUN, head=hashes[-1], proof=None)
        for seq, digest in enumerate(hashes, start=1):
            writer.entry(_row(seq, facts, body, digest), payload=False)
    writer.end()
    return file.getvalue(), note


def _row(seq: int, facts: str, body: bytes, digest: bytes) -> EntryRow:
    return EntryRow(
        seq=seq,
        at=EPOCH,
        tenant="bench",
        facts=facts,
        body=body,
        commitment=None,
        salt=None,
        payload=None,
        hash=digest,
    )
