"""Verify a bundle of the record, with no database, no network and nothing installed but ``cryptography``.

    python offline.py bundle.jsonl --key VKEY [--pin PINFILE] [--json]

This is one file on purpose, to be read by whoever has to rely on it; it imports nothing of the project that wrote the
record. Read it from the top: what is checked stands in the order in which a bundle is read.

A bundle is lines of JSON, each in one canonical form, so that no byte of it can change without being noticed:

    {"bundle":1, …}         what it is: origin and tenant, and what was exported
    {"key":{…}}             the signing keys that the log has had; only one that a trusted key endorsed is trusted, too
    {"checkpoint":{…}}      signed tree heads, the newest first; the others with the proof that it extends them
    {"dropped":[…]}         where retention cut chains: the heads that the tenant's own chain names by one hash a month
    {"run":{…}}             a chain begins: of a run, or of what belongs to no run; runs in the order of their ids
    {"head":{…}}            leaves of the tree: the chain had this head when it was so long; with a proof of inclusion
    {"entry":{…}}           its entries, byte for byte, each hashed with the one before it
    {"leaf":[…]}            the leaves of all other chains, where the bundle brings the whole tree
    {"policy":{…}}          the texts of policies that entries name by their SHA-256
    {"end":{…}}             how many lines, and the SHA-256 of all of them

What is proved, and by what:

1. No entry of a chain was changed, taken out, put in or moved: each hash covers the entry's exact bytes, its place and
   the hash before it.
2. The chain is the one that was sealed: its head is a leaf of a Merkle tree (RFC 6962), whose root is signed.
3. Where the whole tree is there: no other version of the chain was ever sealed, and no leaf is missing.
4. Nobody, not even who holds the signing key, has changed it since it was pinned: the tree extends the signed tree
   heads that were kept outside the database (``--pin``).
5. What is not here because it was too old was dropped on record: an entry that is sealed names the heads it left.

Exit codes: 0 all of it is proved; 2 nothing can be said: no bundle, another origin, another version; 3 tampered or
damaged; 4 incomplete: something is missing, not sealed yet, or older than a pin; 5 proved, but not pinned: who holds
the signing key could have made all of it anew. Where several hold: 3 before 4, 4 before 5.
"""

import argparse
import base64
import bisect
import hashlib
import json
import re
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = [
    "Checkpoint",
    "Finding",
    "Key",
    "Outcome",
    "Report",
    "consistent",
    "entry_hash",
    "included_root",
    "leaf_hash",
    "main",
    "read_checkpoint",
    "read_key",
    "read_pins",
    "tell",
    "verify",
    "verify_file",
]

VERSION: Final = 1

# A bundle may be of any length, for it is read line by line: what is kept of it is bounded. Of what there may be many,
# these bytes, end to end in one piece of memory: 32 for each leaf of the tree, 16 for each chain, 64 for each chain
# that retention cut, 48 for each leaf about the chain that is being read. Of what there are few, Python's objects: some
# 250 bytes for each policy, 2 kB at most for each key, checkpoint and month that was dropped. Nothing for an entry.
# Where there are checkpoints, nothing but these and keys before the newest was found to be signed. And one line while
# it is read: some 350 MB for the longest, made to need most. Pins, some 350 bytes each, are not the bundle's.
LINE_BYTES_MAX: Final = 8 * 1024 * 1024
LEAVES_MAX: Final = 1 << 25
CHAINS_MAX: Final = 10_000_000
HEADS_MAX: Final = 1_000_000  # of one chain
DROPPED_MAX: Final = 4_000_000
MONTHS_MAX: Final = 10_000  # that were dropped, or have entries
POLICIES_MAX: Final = 100_000
KEYS_MAX: Final = 1_000
CHECKPOINTS_MAX: Final = 1_000
SIGNATURES_MAX: Final = 16  # of one checkpoint
PINS_MAX: Final = 2_000_000
NOTE_BYTES_MAX: Final = 16 * 1024
TENANT_BYTES_MAX: Final = 2_704  # a longer name fits into no index of Postgres
TOLD_CHARS: Final = 300  # so much is told of a text of the bundle
NAMED_MAX: Final = 5  # so many chains are named where more have the same to be said
INTEGER_MAX: Final = (1 << 63) - 1

NO_HASH: Final = bytes(32)
SALT_BYTES: Final = 16  # of every salt; the commitment is over salt and payload in one, and this says where one ends


class Outcome(IntEnum):
    """What a verification comes to; the number is the exit code."""

    OK = 0  # everything in the bundle is proved, and pinned
    UNUSABLE = 2  # nothing can be said about it
    TAMPERED = 3  # it contradicts itself, a signature or a pin: tampered with, or damaged
    INCOMPLETE = 4  # something that would be needed is not there
    UNPINNED = 5  # proved as far as the signing key can be trusted; no pin covers it


class Finding(Exception):  # noqa: N818 - what was found, which is the result
    """The first thing that is wrong; nothing behind it was looked at.

    Args:
        outcome: what the verification comes to.
        what: what is wrong, for people.
    """

    def __init__(self, outcome: Outcome, what: str) -> None:
        super().__init__(what)
        self.outcome, self.what = outcome, what


# --- Hashes: an entry's, a leaf's, and the tree's (RFC 6962, section 2.1) ---

ENTRY_TAG: Final = b"langgraph-control/entry/v1"
LEAF_TAG: Final = b"langgraph-control/leaf/v1"
TENANT_TAG: Final = b"langgraph-control/tenant/"
NEXT_KEY_TAG: Final = "langgraph-control/next-key/v1"


def framed(value: bytes) -> bytes:
    """Return a value behind its length in four bytes, so that no two lists of values share bytes."""
    return len(value).to_bytes(4) + value


def chain_prefix(tenant: str, chain: uuid.UUID) -> bytes:
    """Return what the hashes of all entries of a chain begin with."""
    return ENTRY_TAG + framed(tenant.encode()) + chain.bytes


def entry_hash(prefix: bytes, *, seq: int, previous: bytes, facts: bytes, commitment: bytes, body: bytes) -> bytes:
    """Return the hash of an entry.

    Args:
        prefix: :func:`chain_prefix`.
        seq: its place in the chain, from 1.
        previous: the hash of the entry before it, 32 zeros for the first.
        facts: what the database decided, as stored.
        commitment: SHA-256 of the salt, 16 bytes, and the payload behind it; empty where there was no payload.
        body: what the client said, as stored.
    """
    parts = (
        prefix,
        seq.to_bytes(8),
        previous,
        len(facts).to_bytes(4),
        facts,
        len(commitment).to_bytes(4),
        commitment,
        len(body).to_bytes(4),
        body,
    )
    return hashlib.sha256(b"".join(parts)).digest()


def tenant_chain(tenant: str) -> uuid.UUID:
    """Return the id of the chain for what belongs to no run: policies published, signing keys rotated."""
    digest = bytearray(hashlib.sha256(TENANT_TAG + tenant.encode()).digest()[:16])
    digest[6] = 0x80 | digest[6] & 0x0F  # version 8: no run's id is
    return uuid.UUID(bytes=bytes(digest))


def leaf_hash(tenant: str, chain: uuid.UUID, seq: int, head: bytes) -> bytes:
    """Return the hash of a leaf, which says: this chain had this head when it had so many entries."""
    return hashlib.sha256(b"\x00" + LEAF_TAG + framed(tenant.encode()) + chain.bytes + seq.to_bytes(8) + head).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node of the tree."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def roots_at(leaves: Iterable[bytes], sizes: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Yield the root that the tree had at each of these sizes.

    Args:
        leaves: hashes of the leaves in their order.
        sizes: in any order, none larger than there are leaves.
    """
    wanted = sorted(set(sizes), reverse=True)
    peaks: list[bytes] = []  # roots of the complete subtrees so far, the largest first
    while wanted and wanted[-1] == 0:
        yield wanted.pop(), hashlib.sha256().digest()
    for index, leaf in enumerate(leaves):
        peak, size = leaf, index
        while size & 1:
            peak, size = node_hash(peaks.pop(), peak), size >> 1
        peaks.append(peak)
        if wanted and wanted[-1] == index + 1:
            root = peaks[-1]
            for left in reversed(peaks[:-1]):
                root = node_hash(left, root)
            yield wanted.pop(), root


def included_root(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """Return the root that a proof of inclusion leads to; None for one of the wrong length (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return None
    place, last, root = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if place & 1 or place == last:
            root = node_hash(sibling, root)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        place, last = place >> 1, last >> 1
    return root if last == 0 else None


def consistent(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether a tree begins with an older one (RFC 9162, 2.1.4.2).

    Args:
        old_size: of the older tree, in leaves.
        old_root: its root.
        size: of the newer tree.
        root: its root.
        proof: the hashes that show it.
    """
    if old_size == size:
        return not proof and old_root == root
    if old_size == 0:
        return not proof and old_root == hashlib.sha256().digest()
    if not 0 < old_size < size:
        return False
    rest = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not rest:
        return False
    place, last = old_size - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = rest[0]
    for sibling in rest[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and old == old_root and new == root


# --- Keys and checkpoints: signed notes as C2SP has them (signed-note, tlog-checkpoint), signed with Ed25519 ---

_NAME: Final = r"[!-*,-~]{1,500}"  # printable ASCII but the plus sign, of keys and origins
_VKEY: Final = re.compile(rf"(?P<name>{_NAME})\+(?P<hash>[0-9a-f]{{8}})\+(?P<key>[A-Za-z0-9+/]{{44}})")
_SIGNATURE: Final = re.compile(rf"\u2014 (?P<name>{_NAME}) (?P<signature>[A-Za-z0-9+/]{{1,1000}}={{0,2}})")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_NOTE_AT_END: Final = re.compile("[^\n]+\n[^\n]+\n[^\n]+\n\n(?:\u2014 [^\n]+\n)+\\Z")
_ED25519: Final = b"\x01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A public key by which checkpoints are verified.

    Args:
        name: under which it signs.
        key_hash: the four bytes that tell keys of one name apart.
        public: the Ed25519 key, 32 bytes.
    """

    name: str
    key_hash: bytes
    public: bytes

    def signed(self, text: str, signature: bytes) -> bool:
        """Say whether a signature over a text is this key's."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A signed tree head: the log of this origin had this root when it had so many leaves.

    Args:
        origin: which log.
        size: how many leaves.
        root: of the tree, 32 bytes.
        text: what was signed.
        signatures: the signing key's name, its hash, and the signature.
    """

    origin: str
    size: int
    root: bytes
    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    def signed_by(self, key: Key) -> bool | None:
        """Say whether a key has signed it; None where there is no signature of that name and hash."""
        for name, key_hash, signature in self.signatures:
            if (name, key_hash) == (key.name, key.key_hash):
                return key.signed(self.text, signature)
        return None


def key_hash_of(name: str, public: bytes) -> bytes:
    """Return what tells keys of one name apart in signatures."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def read_key(text: str) -> Key:
    """Return a verifier key written as ``<name>+<hash>+<base64>``.

    Raises:
        Finding: it is none, or its hash is not its own.
    """
    found = _VKEY.fullmatch(text)
    raw = base64.b64decode(found["key"]) if found else b""
    if found is None or raw[:1] != _ED25519 or base64.b64encode(raw).decode() != found["key"]:
        raise Finding(Outcome.UNUSABLE, "the key cannot be read: one is written <name>+<8 hex digits>+<base64>")
    key_hash = key_hash_of(found["name"], raw[1:])
    if key_hash.hex() != found["hash"]:
        raise Finding(Outcome.UNUSABLE, "the key's own hash does not fit it: it was mistyped or cut off")
    return Key(name=found["name"], key_hash=key_hash, public=raw[1:])


def read_checkpoint(note: str) -> Checkpoint:
    """Return a checkpoint from its note; who signed it is to be asked afterwards.

    Raises:
        ValueError: it is none; the text says what is wrong with it.
    """
    text, blank, signatures = note.partition("\n\n")
    lines = text.split("\n")
    if not blank or len(lines) != 3 or not signatures.endswith("\n") or len(note) > NOTE_BYTES_MAX:  # noqa: PLR2004
        raise ValueError("it is not three lines, a blank one and signatures")
    origin, size, root = lines
    if re.fullmatch(_NAME, origin) is None or _SIZE.fullmatch(size) is None:
        raise ValueError("its origin or its size cannot be read")
    signed = []
    written = signatures[:-1].split("\n")
    if len(written) > SIGNATURES_MAX:
        raise ValueError(f"it has more than {SIGNATURES_MAX} signatures")
    for line in written:
        found = _SIGNATURE.fullmatch(line)
        raw = _from_base64(found["signature"]) if found else b""
        if found is None or len(raw) <= 4:  # noqa: PLR2004 - the key's hash is in front of the signature
            raise ValueError("a line of its signatures cannot be read")
        signed.append((found["name"], raw[:4], raw[4:]))
    read = _from_base64(root)
    if len(read) != len(NO_HASH):
        raise ValueError("its root is no hash")
    return Checkpoint(origin=origin, size=int(size), root=read, text=text + "\n", signatures=tuple(signed))


def read_pins(file: BinaryIO) -> Iterator[Checkpoint]:
    """Yield the checkpoints of a file of pins: notes one after the other, with empty lines between.

    What is in front of a note, as a full disk leaves it of the one before, is passed over.

    Raises:
        Finding: it holds something else.
    """
    read, kept, signed = 0, "", False
    while raw := file.readline(NOTE_BYTES_MAX + 1):
        line = raw.decode(errors="replace")
        signature = line.startswith("\u2014 ")
        if signed and not signature:  # the note is over
            yield _note_at_end(kept)
            read, kept = read + 1, ""
        kept, signed = kept + line, signature
        if len(kept) > 2 * NOTE_BYTES_MAX:
            raise Finding(Outcome.UNUSABLE, "the file of pins holds what is too long to be a checkpoint")
    if signed:
        yield _note_at_end(kept)
    elif not read and kept.strip():
        raise Finding(Outcome.UNUSABLE, "the file of pins holds no checkpoint")


def _note_at_end(kept: str) -> Checkpoint:
    found = _NOTE_AT_END.search(kept)
    try:
        return read_checkpoint(found[0] if found else kept)
    except ValueError as wrong:
        raise Finding(Outcome.UNUSABLE, f"the file of pins holds what is no checkpoint: {wrong}") from None


def _from_base64(text: str) -> bytes:
    """Decode base64 in its one canonical form."""
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("base64 that is not canonical")
    return raw


# --- One line, read strictly ---

_ENTRY_WRITTEN: Final = ("body", "commitment", "facts", "hash", "payload", "salt")
_ENTRY: Final = frozenset({*_ENTRY_WRITTEN, "seq"})


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"a number that a bundle has no use for: {text[:20]}")


_READ: Final[Callable[[str], Any]] = json.JSONDecoder(parse_float=_refuse, parse_constant=_refuse).raw_decode
_WRITE: Final[Callable[[Any], str]] = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_QUOTE: Final[Callable[[str], str]] = json.encoder.encode_basestring_ascii


def read_line(line: bytes) -> dict[str, Any]:
    """Return the object that a line holds.

    A line has one form only: ASCII, names sorted, no spaces, nothing written in two ways. That is checked by writing it
    again, which also finds names that stand twice and anything behind the object.

    Raises:
        ValueError: it is no JSON object in that form.
    """
    text = line[:-1].decode("ascii")
    try:
        value, _ = _READ(text)
        written = type(value) is dict and (_entry_text(value["entry"]) if "entry" in value else _WRITE(value))
    except RecursionError:  # what was just shallow enough to be read may be too deep to be written
        raise ValueError("it is nested deeper than anything in a bundle") from None
    if type(value) is not dict or written != text:
        raise ValueError("it is not written in the one canonical form")
    return value


def _entry_text(entry: object) -> str:
    """Return what ``_WRITE`` returns for the line of an entry, in less time: most lines are entries."""
    values = _fields(entry, _ENTRY)
    body, commitment, facts, digest, payload, salt = (
        "null" if value is None else _QUOTE(value) if type(value) is str else _WRITE(value)
        for value in map(values.__getitem__, _ENTRY_WRITTEN)
    )
    return (
        f'{{"entry":{{"body":{body},"commitment":{commitment},"facts":{facts},"hash":{digest},"payload":{payload},'
        f'"salt":{salt},"seq":{_number(values["seq"])}}}}}'
    )


def _fields(value: object, names: frozenset[str]) -> Mapping[str, Any]:
    if type(value) is not dict or value.keys() != names:
        raise ValueError(f"it does not have exactly the fields {', '.join(sorted(names))}")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("a text is missing")
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= INTEGER_MAX:
        raise ValueError("a number is missing")
    return value


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError("true or false is missing")
    return value


def _hash(value: object) -> bytes:
    raw = bytes.fromhex(value) if type(value) is str else b""
    if len(raw) != len(NO_HASH) or raw.hex() != value:
        raise ValueError("a hash is missing: 64 hex digits in lower case")
    return raw


def _hashes(value: object) -> list[bytes]:
    if type(value) is not list or len(value) > 130:  # noqa: PLR2004 - twice the height of any tree
        raise ValueError("a list of hashes is missing")
    return [_hash(one) for one in value]


def _uuid(value: object) -> uuid.UUID:
    read = uuid.UUID(_text(value))
    if str(read) != value:
        raise ValueError("an id is missing, in lower case and with dashes")
    return read


def _bytes(value: object) -> bytes:
    """Return stored bytes: a text stands for its UTF-8 bytes, ``{"base64":…}`` for bytes that are no UTF-8."""
    if type(value) is str:
        return value.encode()
    raw = _from_base64(_text(_fields(value, frozenset({"base64"}))["base64"]))
    try:
        raw.decode()
    except UnicodeDecodeError:
        return raw
    raise ValueError("bytes that are a text are written as one")


# --- The verification ---

_HEADER: Final = frozenset({"bundle", "leaves", "made_at", "made_by", "origin", "payloads", "scope", "since", "tenant"})
_SCOPES: Final = ("run", "since", "all", "receipt")
_KEY: Final = frozenset({"endorsed", "vkey"})
_CHECKPOINT: Final = frozenset({"consistency", "note"})
_POLICY: Final = frozenset({"hash", "text"})
_RUN: Final = frozenset({"after", "id", "previous"})
_HEAD: Final = frozenset({"head", "index", "proof", "seq"})
_END: Final = frozenset({"lines", "sha256"})
_AT: Final = re.compile(rb'\{"at": ?([0-9]{1,18})[,}]')  # facts begin with it: of all names it is the shortest
_POLICY_NAMED: Final = re.compile(rb'"policy": ?"([0-9a-f]{64})"')
_STAGES: Final = {
    "key": 1,
    "checkpoint": 2,
    "dropped": 3,
    "run": 4,
    "head": 4,
    "entry": 4,
    "leaf": 5,
    "policy": 6,
    "end": 7,
}


class _Records:
    """Records of one length, each begun by a chain's id and in the order of these; kept end to end, as bytes alone.

    Args:
        size: how many bytes one has.
    """

    def __init__(self, size: int) -> None:
        self.size, self.kept = size, bytearray()

    def __len__(self) -> int:
        return len(self.kept) // self.size

    def __getitem__(self, at: int) -> bytes:
        return bytes(self.kept[at * self.size : (at + 1) * self.size])

    def last(self) -> bytes:
        """Return the newest record; zeros where there is none."""
        return bytes(self.kept[-self.size :]) or bytes(self.size)

    def put(self, record: bytes) -> None:
        """Add a record, or put it in the place of the newest one where that is about the same chain."""
        if self.kept[-self.size :][:16] == record[:16]:
            del self.kept[-self.size :]
        self.kept += record

    def find(self, chain: bytes) -> bytes:
        """Return the record of a chain; empty where there is none."""
        at = bisect.bisect_left(self, chain)
        found = self[at] if at < len(self) else b""
        return found if found[:16] == chain else b""


_CHAIN_BYTES: Final = 16
_CUT_BYTES: Final = 64  # chain, last entry that was dropped, place that says so, head
_HEAD_BYTES: Final = 48  # entry, leaf, head


@dataclass(slots=True, kw_only=True)
class _Chain:
    """The chain that is being read."""

    id: uuid.UUID
    own: bool  # whether it is the tenant's own, of what belongs to no run
    name: str
    prefix: bytes
    first: int  # the place of its first entry here; 1 but in a receipt, and behind what retention dropped
    seq: int
    previous: bytes
    cut: int = 0  # the place in the tenant's own chain that says where retention cut it
    headed: int  # the last place that a leaf is about; what is read next is about a later one
    heads: bytearray = field(default_factory=bytearray)  # the leaves about entries that are here, in their order
    met: int = 0  # so many bytes of these were compared
    expected: int = 0  # the place of the next one; 0 behind the last
    sealed: int = 0  # the last place that a leaf covers
    finished: int = 0

    def expect(self, seq: int, index: int, head: bytes) -> None:
        """Keep a head for the entry that it is said to be the hash of."""
        self.heads += seq.to_bytes(8) + index.to_bytes(8) + head
        self.expected = self.expected or seq

    def meet(self) -> tuple[int, bytes]:
        """Return leaf and head for the entry that is expected, and expect the next one."""
        record = self.heads[self.met : self.met + _HEAD_BYTES]
        self.met += _HEAD_BYTES
        self.expected = int.from_bytes(self.heads[self.met : self.met + 8])
        return int.from_bytes(record[8:16]), bytes(record[16:])


@dataclass(slots=True)
class _Dropped:
    """What the bundle says was dropped by one entry of the tenant's own chain."""

    digest: Any = field(default_factory=hashlib.sha256)  # over the heads that were left
    entries: int = 0
    chains: int = 0
    oldest: tuple[int, str] | None = None  # the oldest entry behind one of its cuts, and whose it is


@dataclass(frozen=True, slots=True, kw_only=True)
class _Retention:
    """What an entry says of a month that was dropped."""

    heads: str  # the hash over the heads that it left
    month: str  # its first day
    at: int  # when, in microseconds since 1970
    entries: int
    chains: int
    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a verification came to.

    Args:
        outcome: in a word; its number is the exit code.
        found: what is wrong or missing, for people; the first is the reason for the outcome.
        proved: what was proved.
        not_proved: what was not, and why.
        chains: how many chains were read.
        entries: how many entries were checked.
        lines: how many lines were read.
        scope: what the bundle says it is: ``run``, ``since``, ``all`` or ``receipt``; empty where it says nothing.
    """

    outcome: Outcome
    found: tuple[str, ...]
    proved: tuple[str, ...]
    not_proved: tuple[str, ...]
    chains: int
    entries: int
    lines: int
    scope: str = ""


class _Verification:
    """Takes a bundle line by line and keeps what has to be compared."""

    def __init__(self, keys: Sequence[Key], pins: Iterable[Checkpoint] | None, *, newer_pins: bool) -> None:
        self.given = {(key.name, key.key_hash): key for key in keys}
        self.trusted = dict(self.given)  # and those that one of them endorsed, or one of these
        self.pins_given = pins is not None
        self.pins_read = pins or ()
        self.newer_pins = newer_pins  # whether a pin that is newer than the bundle counts against it
        self.pins: dict[int, bytes] = {}
        self.header: Mapping[str, Any] = {}
        self.tenant, self.own = "", uuid.UUID(int=0)
        self.stage = 0
        self.lines = self.entries = self.chains_read = 0
        self.digest = hashlib.sha256()
        self.known = set(self.given)  # names and hashes of all keys that were seen, trusted or not
        self.checkpoints: list[Checkpoint] = []
        self.policies_named: set[bytes] = set()  # their hashes in hex, as entries name them, and no text is here yet
        self.policies = 0
        self.chain: _Chain | None = None
        self.chains = _Records(_CHAIN_BYTES)  # all but the tenant's own
        self.own_read = False
        self.names: list[str] = []  # of the first chains
        self.slots = bytearray()  # hashes of the leaves that were seen, by index
        self.rotations: list[tuple[int, Key]] = []  # place in the tenant's own chain, and the key that signs from there
        self.named_keys: list[Key] = []  # by sealed entries
        self.restored: str | None = None  # when the last restore was accepted, and by whom
        self.newest_leaf = -1  # the newest leaf that an entry here needs
        self.finished = self.payloads = self.payloads_missing = self.others = self.bodies_unread = 0
        self.unsealed: list[str] = []
        self.unsealed_entries = 0
        self.cuts = _Records(_CUT_BYTES)  # where retention cut chains last
        self.dropped: dict[int, _Dropped] = {}  # place in the tenant's own chain → what it is said to have dropped
        self.oldest_of_month: dict[str, tuple[int, str]] = {}  # month → its oldest entry here, and whose it is
        self.retentions: list[tuple[int, _Retention]] = []  # place in the tenant's own chain, and what it says
        self.retentions_sealed: dict[int, _Retention] = {}
        self.dropped_entries = self.dropped_chains = 0  # of what is missing here and was dropped
        self.gone: list[str] = []  # chains whose first entries are not here, the first of them named
        self.gone_entries = 0
        self.listed: set[tuple[str, bytes]] = set()  # keys that a line brought
        self.other_leaf = -1  # the newest leaf about a chain that is not here
        self.incomplete: list[str] = []
        self.proved: list[str] = []
        self.not_proved: list[str] = []
        self.ended = False
        self.kinds: Mapping[str, Callable[[object], None]] = {
            "key": self.take_key,
            "checkpoint": self.take_checkpoint,
            "dropped": self.take_dropped,
            "run": self.take_run,
            "head": self.take_head,
            "entry": self.take_entry,
            "leaf": self.take_leaf,
            "policy": self.take_policy,
            "end": self.take_end,
        }

    # Each kind of line has a method; they stand in the order of the lines.

    def take(self, line: bytes) -> None:
        """Check one line, its end of line included."""
        self.lines += 1
        if self.ended:
            raise self.damaged("there is something behind the last line")
        try:
            record = read_line(line)
            if self.lines == 1:
                self.take_header(record)
            else:
                ((kind, value),) = record.items()
                self.enter(_STAGES[kind])
                self.kinds[kind](value)
        except (ValueError, KeyError) as wrong:
            if self.lines == 1:
                raise Finding(Outcome.UNUSABLE, "this is no bundle: its first line is none of a bundle's") from None
            said = "what it is, is not known" if isinstance(wrong, KeyError) else str(wrong)
            raise self.damaged(said) from None
        if not self.ended:
            self.digest.update(line)

    def enter(self, stage: int) -> None:
        """Hold the lines to their order."""
        if stage < self.stage:
            raise ValueError("it stands behind what it has to stand before")
        if self.stage <= _STAGES["checkpoint"] < stage:
            self.check_signed()  # before anything else is kept
        self.stage = stage

    def take_header(self, record: Mapping[str, Any]) -> None:
        """What the bundle is."""
        version = _number(record.get("bundle"))
        if version != VERSION:
            raise Finding(
                Outcome.UNUSABLE,
                f"the bundle is of version {version}, and this verifier reads version {VERSION}: take a newer one",
            )
        header = _fields(record, _HEADER)
        self.tenant = _text(header["tenant"])
        if len(self.tenant.encode()) > TENANT_BYTES_MAX:
            raise ValueError("no tenant has such a name")
        self.own = tenant_chain(self.tenant)
        if header["scope"] not in _SCOPES or _flag(header["leaves"]) is (header["scope"] == "receipt"):
            raise ValueError("only a receipt does without the whole tree")
        _number(header["made_at"]), _text(header["made_by"]), _flag(header["payloads"])
        if header["since"] is not None:
            _number(header["since"])
        origin = header["origin"]
        if origin is not None:
            for key in self.given.values():
                if not _of_origin(key.name, _text(origin)):
                    raise Finding(
                        Outcome.UNUSABLE,
                        f"the key is that of {_shown(key.name)}, and the bundle is one of {_shown(origin)}",
                    )
        self.header = header
        self.take_pins()

    def take_pins(self) -> None:
        """The pins come from elsewhere; they are compared when the tree is known."""
        for pin in self.pins_read:
            if self.header["origin"] not in (None, pin.origin):
                raise Finding(
                    Outcome.UNUSABLE,
                    f"the file of pins has one of {_shown(pin.origin)}, and the bundle is one of"
                    f" {_shown(str(self.header['origin']))}",
                )
            if any(pin.signed_by(key) is False for key in self.trusted.values()):
                raise Finding(Outcome.UNUSABLE, f"the pin of size {pin.size} has a signature that is not the key's")
            if self.pins.setdefault(pin.size, pin.root) != pin.root:
                raise Finding(
                    Outcome.TAMPERED,
                    f"two pins of size {pin.size} have different roots: the log was shown in two versions, or pins of"
                    " before a restore of the database and pins of after it are in one file",
                )
            if len(self.pins) > PINS_MAX:
                raise Finding(Outcome.UNUSABLE, f"there are more than {PINS_MAX} pins")

    def take_key(self, value: object) -> None:
        """A key the log has had, the oldest first. It is trusted once a trusted one has signed that it comes next."""
        record = _fields(value, _KEY)
        vkey = _text(record["vkey"])
        try:
            key = read_key(vkey)
        except Finding as unreadable:
            raise ValueError(unreadable.what) from None
        if (key.name, key.key_hash) in self.listed:
            raise self.damaged("a key is there twice")
        self.listed.add((key.name, key.key_hash))
        self.known.add((key.name, key.key_hash))
        self.limit(self.known, KEYS_MAX, "keys")
        if record["endorsed"] is None or (key.name, key.key_hash) in self.trusted:
            return
        endorsed = bytes.fromhex(_text(record["endorsed"]))
        said = f"{NEXT_KEY_TAG}\n{vkey}\n"
        if _of_origin(key.name, str(self.header["origin"])) and any(
            before.signed(said, endorsed) for before in self.trusted.values()
        ):
            self.trusted[key.name, key.key_hash] = key

    def take_checkpoint(self, value: object) -> None:
        """A signed tree head: the newest first, then older ones, each shown to be its beginning."""
        record = _fields(value, _CHECKPOINT)
        checkpoint, proof = read_checkpoint(_text(record["note"])), _hashes(record["consistency"])
        if checkpoint.origin != self.header["origin"]:
            raise self.damaged(f"a checkpoint is of another origin, {_shown(checkpoint.origin)}")
        for key in self.trusted.values():
            if checkpoint.signed_by(key) is False:
                raise self.tampered(f"the signature of the checkpoint of size {checkpoint.size} is not its key's")
        if self.checkpoints:
            newest = self.checkpoints[0]
            if checkpoint.size >= self.checkpoints[-1].size:
                raise ValueError("checkpoints are not ordered by size")
            if not consistent(checkpoint.size, checkpoint.root, newest.size, newest.root, proof):
                raise self.tampered(
                    f"the tree of size {newest.size} does not begin with the one of size {checkpoint.size}:"
                    " the log was forked"
                )
            kept = tuple(one for one in checkpoint.signatures if one[:2] in self.known)
            checkpoint = replace(checkpoint, signatures=kept)
        elif proof:
            raise ValueError("the newest checkpoint needs no proof")
        self.checkpoints.append(checkpoint)
        self.limit(self.checkpoints, CHECKPOINTS_MAX, "checkpoints")

    def take_dropped(self, value: object) -> None:
        """Where retention cut a chain. It counts if an entry of the tenant's own chain has the hash over all such."""
        if not self.header["leaves"] or not self.checkpoints or type(value) is not list or len(value) != 4:  # noqa: PLR2004
            raise ValueError("what was dropped is place, chain, last entry and its head, and no part of a receipt")
        place, chain, seq, head = _number(value[0]), _uuid(value[1]), _number(value[2]), _hash(value[3])
        if chain == self.own:
            raise self.tampered(f"{self.named(chain)} is never shortened, and entries of it are said to be dropped")
        last = self.cuts.last()
        before, cut = _cut(last) if last[:16] == chain.bytes else (0, 0)
        if chain.bytes < last[:16] or place <= cut or seq <= before:
            raise ValueError("what was dropped is ordered by chain, place and entry, each once")
        self.cuts.put(chain.bytes + seq.to_bytes(8) + place.to_bytes(8) + head)
        self.limit(self.cuts, DROPPED_MAX, "chains that were cut")
        dropped = self.dropped.setdefault(place, _Dropped())
        self.limit(self.dropped, MONTHS_MAX, "months that were dropped")
        dropped.digest.update(chain.bytes + seq.to_bytes(8) + head)
        dropped.entries, dropped.chains = dropped.entries + seq - before, dropped.chains + 1

    def take_run(self, value: object) -> None:
        """A chain begins; the one before it is over."""
        self.close_chain()
        record = _fields(value, _RUN)
        chain, after, previous = _uuid(record["id"]), _number(record["after"]), _hash(record["previous"])
        if previous != NO_HASH and not after:
            raise self.tampered(f"{self.named(chain)} does not begin with its first entry")
        receipt = self.header["scope"] == "receipt"
        if after and not receipt:
            self.note_gone(chain, after, previous)
        self.note_chain(chain)
        if len(self.names) <= NAMED_MAX:
            self.names.append(self.named(chain))
        self.chain = _Chain(
            id=chain,
            own=chain == self.own,
            name=self.named(chain),
            prefix=chain_prefix(self.tenant, chain),
            first=after + 1,
            seq=after,
            previous=previous,
            cut=_cut(self.cuts.find(chain.bytes))[1] if after else 0,
            headed=after if receipt else 0,
        )

    def take_head(self, value: object) -> None:
        """A leaf of the tree that is about this chain."""
        chain, record = self.chain, _fields(value, _HEAD)
        if chain is None or chain.seq >= chain.first or not self.checkpoints:
            raise ValueError("a head stands between a chain's first line and its entries, where there is a checkpoint")
        index, seq, head = _number(record["index"]), _number(record["seq"]), _hash(record["head"])
        newest = self.checkpoints[0]
        leaf = leaf_hash(self.tenant, chain.id, seq, head)
        if record["proof"] is not None:
            proof = _hashes(record["proof"])
            if included_root(index, newest.size, leaf, proof) != newest.root:
                raise self.tampered(
                    f"{chain.name} up to entry {seq} is not in the tree: leaf {index} does not lead to the signed root"
                )
        elif not self.header["leaves"]:
            raise ValueError("a head has a proof, or the bundle brings all leaves")
        if seq <= chain.headed:
            twice = (
                f"twice at entry {seq}" if seq == chain.headed else f"with {chain.headed} entries, and then with {seq}"
            )
            raise self.tampered(f"{chain.name} was sealed {twice}: two versions of it were sealed")
        chain.headed = seq
        if seq >= chain.first:
            chain.expect(seq, index, head)
            self.limit(range(len(chain.heads) // _HEAD_BYTES), HEADS_MAX, "heads of one chain")
        elif seq == chain.seq and head != chain.previous:
            raise self.tampered(f"{chain.name} goes on after entry {seq} from another head than was sealed")
        if seq == chain.seq:
            chain.sealed = seq
            self.newest_leaf = max(self.newest_leaf, index)
        self.fill(index, leaf)

    def take_entry(self, value: object) -> None:  # noqa: C901 - read from top to bottom, it is the proof
        """An entry: its hash from its exact bytes, its place, its payload, and the leaf that covers it."""
        chain, record = self.chain, _fields(value, _ENTRY)
        if chain is None:
            raise ValueError("an entry without a chain")
        seq = chain.seq + 1
        if record["seq"] != seq:
            raise self.tampered(f"entry {seq} of {chain.name} is missing: the next one is {_number(record['seq'])}")
        facts, body = _text(record["facts"]).encode(), _bytes(record["body"])
        if not (type(record["body"]) is str and body[:1] == b"{" and body[-1:] == b"}"):
            self.bodies_unread += 1
        commitment = b"" if record["commitment"] is None else _hash(record["commitment"])
        computed = entry_hash(
            chain.prefix, seq=seq, previous=chain.previous, facts=facts, commitment=commitment, body=body
        )
        if computed.hex() != record["hash"]:
            raise self.tampered(
                f"entry {seq} of {chain.name}: its hash does not follow from its contents and the entry before it:"
                " one of them was changed"
            )
        if commitment or record["payload"] is not None or record["salt"] is not None:
            self.check_payload(record, commitment)
        chain.seq, chain.previous = seq, computed
        self.entries += 1
        if seq == chain.expected:
            index, head = chain.meet()
            if head != computed:
                raise self.tampered(
                    f"{chain.name} up to entry {seq} is not what was sealed in leaf {index}: an entry was changed, and"
                    " the hashes after it were made anew"
                )
            chain.sealed = seq
            self.newest_leaf = max(self.newest_leaf, index)
        if b'"run.finished"' in facts:
            self.check_finished(chain, facts)
        if chain.own:
            self.note_own(seq, facts)
        elif self.dropped:
            self.note_time(chain, facts)
        for named in _POLICY_NAMED.findall(body):
            if named not in self.policies_named:
                self.policies_named.add(named)
                self.limit(self.policies_named, POLICIES_MAX, "policies")

    def take_leaf(self, value: object) -> None:
        """A leaf about a chain that is not in the bundle; it is needed for the root."""
        self.close_chain()
        if not self.header["leaves"] or not self.checkpoints or type(value) is not list or len(value) != 4:  # noqa: PLR2004
            raise ValueError("a leaf is index, chain, place and head, where the bundle brings the whole tree")
        index, chain, seq, head = _number(value[0]), _uuid(value[1]), _number(value[2]), _hash(value[3])
        if index <= self.other_leaf:
            raise self.damaged("leaves are not ordered by their index")
        self.other_leaf = index
        if (chain == self.own and self.own_read) or self.chains.find(chain.bytes):
            raise self.tampered(
                f"leaf {index} is about {self.named(chain)} at entry {seq}, and was kept apart from it: another version"
                " of it was sealed"
            )
        self.others += 1
        if self.header["scope"] == "all" and len(self.incomplete) < NAMED_MAX:
            self.incomplete.append(
                f"{self.named(chain)} was sealed with {seq} entries in leaf {index}, and is not in the bundle: deleted"
            )
        self.fill(index, leaf_hash(self.tenant, chain, seq, head))

    def take_policy(self, value: object) -> None:
        """A policy's text, of one that an entry here names."""
        self.close_chain()
        record = _fields(value, _POLICY)
        named = _hash(record["hash"])
        if hashlib.sha256(_text(record["text"]).encode()).digest() != named:
            raise self.tampered(f"the text of policy {named.hex()} is not the one that has this hash")
        if named.hex().encode() not in self.policies_named:
            raise self.tampered(f"no entry here names policy {named.hex()}, or its text is here twice")
        self.policies_named.remove(named.hex().encode())
        self.policies += 1

    def take_end(self, value: object) -> None:
        """The last line: how many there were, and that none was damaged on the way."""
        self.close_chain()
        record = _fields(value, _END)
        if _number(record["lines"]) != self.lines or _hash(record["sha256"]) != self.digest.digest():
            raise self.damaged("the lines are not those that were written: the file was changed or damaged")
        self.ended = True

    # What the lines have in common.

    def close_chain(self) -> None:
        """Settle the chain that was read."""
        chain, self.chain = self.chain, None
        if chain is None:
            return
        self.chains_read += 1
        if chain.expected:
            raise self.tampered(
                f"{chain.name} was sealed with {chain.headed} entries, and ends with entry {chain.seq}: the tail was"
                " cut off"
            )
        if chain.seq > chain.sealed:
            self.unsealed_entries += chain.seq - max(chain.sealed, chain.first - 1)
            if len(self.unsealed) < NAMED_MAX:
                after = f" after entry {chain.sealed}" if chain.sealed else ""
                self.unsealed.append(f"{chain.name}{after}")
        self.finished += bool(chain.finished)
        self.named_keys += [key for seq, key in self.rotations if seq <= chain.sealed]
        self.rotations = []
        self.retentions_sealed |= {seq: heads for seq, heads in self.retentions if seq <= chain.sealed}
        self.retentions = []

    def note_chain(self, chain: uuid.UUID) -> None:
        """Note which chains are here, each once."""
        own = chain == self.own
        behind = own or not self.chains or chain.bytes > self.chains.last()
        if self.own_read if own else not behind and self.chains.find(chain.bytes):
            raise self.tampered(f"{self.named(chain)} is there twice")
        if not behind:
            raise ValueError("chains are ordered by id, but the tenant's own")
        if own:
            self.own_read = True
        else:
            self.chains.put(chain.bytes)
            self.limit(self.chains, CHAINS_MAX, "chains")

    def note_gone(self, chain: uuid.UUID, after: int, previous: bytes) -> None:
        """A chain goes on from the head of entries that are not here. Retention does that; a hand can, too."""
        if chain == self.own:
            raise self.tampered(f"{self.named(chain)} does not begin with its first entry, and is never shortened")
        found = self.cuts.find(chain.bytes)
        (seq, _), head = _cut(found), found[32:]
        if seq == after and head != previous:
            raise self.tampered(
                f"{self.named(chain)} goes on after entry {after} from another head than retention left it"
            )
        if seq == after:
            self.dropped_entries, self.dropped_chains = self.dropped_entries + after, self.dropped_chains + 1
            return
        self.gone_entries += after
        if len(self.gone) < NAMED_MAX:
            self.gone.append(f"{self.named(chain)} up to entry {after}")

    def check_payload(self, record: Mapping[str, Any], commitment: bytes) -> None:
        """A payload is held against its commitment; one that is not here was left out, erased, or taken out."""
        place = f"entry {record['seq']} of {self.chain.name if self.chain else ''}"
        if record["payload"] is None and record["salt"] is None:
            self.payloads_missing += 1
            return
        if not commitment:
            raise self.tampered(f"{place}: it has a payload that was added later: the hash commits to none")
        payload, salt = _bytes(record["payload"]), _from_base64(_text(record["salt"]))
        if len(salt) != SALT_BYTES:
            raise self.tampered(
                f"{place}: its salt has {len(salt)} bytes, and each has {SALT_BYTES}: bytes of the payload may have"
                " been moved into it, or out of it"
            )
        if hashlib.sha256(salt + payload).digest() != commitment:
            raise self.tampered(f"{place}: its payload was changed: it does not match the commitment that was hashed")
        self.payloads += 1

    def check_finished(self, chain: _Chain, facts: bytes) -> None:
        """The entry that ends a run counts the entries."""
        told = _facts(facts, "run.finished")
        if told is None:
            return
        if told.get("entries") != chain.seq:
            raise self.tampered(f"entry {chain.seq} of {chain.name} ends the run and counts another number of entries")
        chain.finished = chain.seq

    def note_own(self, seq: int, facts: bytes) -> None:
        """Note what an entry of the tenant's own chain says of keys, restores and retention."""
        for event, note in (
            ("key.rotated", self.note_key),
            ("restore.accepted", self.note_restore),
            ("entries.dropped", self.note_retention),
        ):
            told = _facts(facts, event) if f'"{event}"'.encode() in facts else None
            if told is not None:
                note(seq, told)

    def note_key(self, seq: int, told: Mapping[str, Any]) -> None:
        """Note a key that an entry names. It vouches for what was signed before it, and not for what comes after."""
        name, public = _text(told.get("name")), _hash(told.get("public"))
        if re.fullmatch(_NAME, name) is None:
            raise ValueError("a key's name is missing")
        self.rotations.append((seq, Key(name=name, key_hash=key_hash_of(name, public), public=public)))
        self.limit(self.rotations, KEYS_MAX, "keys that entries name")

    def note_restore(self, _seq: int, told: Mapping[str, Any]) -> None:
        """Note when a restore was accepted. It excuses nothing: whoever can have entries written can have this one."""
        self.restored = f"{_day(_number(told.get('at')))} by {_shown(_text(told.get('person')))}"

    def note_retention(self, seq: int, told: Mapping[str, Any]) -> None:
        """Note what an entry says of heads that retention left."""
        said = _Retention(
            heads=_hash(told.get("heads")).hex(),
            month=_text(told.get("month"))[:TOLD_CHARS],
            at=_number(told.get("at")),
            entries=_number(told.get("entries")),
            chains=_number(told.get("runs")),
            person=_text(told.get("person"))[:TOLD_CHARS],
        )
        self.retentions.append((seq, said))
        self.limit(self.retentions, MONTHS_MAX, "months that were dropped")

    def note_time(self, chain: _Chain, facts: bytes) -> None:
        """Note from which months there are entries: retention drops a month of all chains but the tenant's own."""
        found = _AT.match(facts)
        if found is None:
            return
        oldest = int(found[1]), chain.name
        if chain.cut:
            dropped = self.dropped[chain.cut]
            dropped.oldest = min(dropped.oldest or oldest, oldest)
        if self.header["scope"] == "all":
            month = _month(oldest[0])
            self.oldest_of_month[month] = min(self.oldest_of_month.get(month, oldest), oldest)
            self.limit(self.oldest_of_month, MONTHS_MAX, "months with entries")

    def check_dropped(self) -> None:
        """Hold the heads that were dropped against the entries that say so."""
        unsaid = []
        for place, dropped in self.dropped.items():
            said = self.retentions_sealed.get(place)
            if said is None:
                unsaid.append(place)
            elif said.heads != dropped.digest.hexdigest():
                raise self.tampered(
                    f"entry {place} of the tenant's own chain says what was dropped, and it is not what is said here"
                )
            else:
                self.check_retention(place, dropped, said)
        if unsaid:
            self.incomplete.append(
                f"no sealed entry of the tenant's own chain says what is missing as dropped by its entry {min(unsaid)}"
            )
        elif self.dropped_chains:
            self.proved.append(
                f"{_counted(self.dropped_entries, 'entry')} of {_counted(self.dropped_chains, 'chain')} that are not"
                " here were dropped by retention, and the chains go on from the heads they left: sealed entries of the"
                " tenant's own chain (entries.dropped) say so, by whom and why"
            )

    def check_retention(self, place: int, dropped: _Dropped, said: _Retention) -> None:
        """Say what an entry says was dropped, which no bundle can prove to be right, and what speaks against it."""
        self.not_proved.append(
            f"that it was right to drop what is said to be of {_shown(said.month[:7])}:"
            f" {_counted(said.entries, 'entry')} of {_counted(said.chains, 'chain')}, dropped on {_day(said.at)} by"
            f" {_shown(said.person)}"
        )
        entries, chains, behind = dropped.entries, dropped.chains, dropped.oldest
        wrong = chains != said.chains or (self.header["scope"] == "all" and entries != said.entries)
        kept = self.oldest_of_month.get(said.month)
        against = ""
        if wrong:
            against = f"its heads are those of {_counted(chains, 'chain')} and {_counted(entries, 'entry')}"
        elif kept is not None and kept[0] < said.at:
            against = f"entries of that month, from before, are still there, of {kept[1]}: retention drops them all"
        elif behind is not None and behind[0] < said.at and _month(behind[0]) <= said.month:
            against = f"behind the cut {behind[1]} goes on with an entry that is not newer than that month"
        if against:
            self.incomplete.append(
                f"entry {place} of the tenant's own chain says that {_shown(said.month[:7])} was dropped, and"
                f" {against}. What is missing may have been taken out by hand"
            )

    def check_signed(self) -> None:
        """The newest checkpoint has to be signed by a trusted key: by the one that was given, or one linked to it."""
        if not self.checkpoints or self.signed(self.checkpoints[0]):
            return
        if any(self.signed(checkpoint) for checkpoint in self.checkpoints):
            raise self.tampered(
                "the newest checkpoint is signed by a key that nothing here links to the one that was given:"
                " somebody else made it, or the key was put in place of one that was lost, and is to be given, too"
            )
        given = ", ".join(f"{key.name}+{key.key_hash.hex()}" for key in self.given.values())
        signed = [(name, key_hash) for name, key_hash, _ in self.checkpoints[0].signatures]
        signers = {f"{name}+{key_hash.hex()}" for name, key_hash in signed}
        origin = self.checkpoints[0].origin
        if max(_number_of(name, origin) for name, _ in signed) < min(
            _number_of(key.name, origin) for key in self.given.values()
        ):
            raise Finding(
                Outcome.UNUSABLE,
                f"the bundle is signed by {_shown(', '.join(sorted(signers)))}, which would be a key before the one"
                f" that was given, {_shown(given)}: verify it by the key before, or export it again",
            )
        raise self.tampered(
            f"no checkpoint of the bundle is signed by the key that was given, {_shown(given)}, but by"
            f" {_shown(', '.join(sorted(signers)))}: it is the wrong key, or somebody else made the bundle"
        )

    def signed(self, checkpoint: Checkpoint) -> bool:
        """Whether a key has signed it that is trusted."""
        return any(checkpoint.signed_by(key) for key in self.trusted.values())

    def fill(self, index: int, leaf: bytes) -> None:
        """Keep a leaf's hash for the root of the whole tree."""
        if index >= self.checkpoints[0].size:
            raise self.tampered(f"leaf {index} is outside the tree of {self.checkpoints[0].size} leaves")
        if not self.header["leaves"]:
            return
        if index >= LEAVES_MAX:
            raise Finding(Outcome.UNUSABLE, f"the tree has more than {LEAVES_MAX} leaves")
        begin, end = index * 32, index * 32 + 32
        if len(self.slots) < end:
            self.slots.extend(bytes(end - len(self.slots)))
        if self.slots[begin:end] != NO_HASH:
            raise self.tampered(f"leaf {index} is there twice")
        self.slots[begin:end] = leaf

    def finish(self) -> Report:
        """Compare what was kept, and say what it comes to."""
        if not self.ended:
            raise Finding(
                Outcome.INCOMPLETE,
                f"the bundle ends after line {self.lines}, without its last line: it was cut off",
            )
        linked = self.check_tree()
        self.check_keys()
        self.check_dropped()
        pinned = self.check_pins(linked)
        self.conclude()
        outcome = Outcome.INCOMPLETE if self.incomplete else Outcome.OK if pinned else Outcome.UNPINNED
        return self.report(outcome, tuple(self.incomplete))

    def check_tree(self) -> dict[int, bytes]:
        """Return the roots, by size, that the newest signed tree is known to extend, its own among them."""
        linked = {checkpoint.size: checkpoint.root for checkpoint in self.checkpoints}
        if not self.checkpoints:
            cut = ", and there are pins: the log was cut off together with its checkpoints" if self.pins else " yet"
            self.incomplete.append(f"nothing of it is sealed: no checkpoint was signed{cut}")
            return linked
        if not self.header["leaves"]:
            self.not_proved.append(
                "that no other version of these entries was sealed as well: that takes the whole tree, and the bundle"
                " has only their proofs of inclusion"
            )
            return linked
        size = self.checkpoints[0].size
        gap = next((at // 32 for at in range(0, size * 32, 32) if self.slots[at : at + 32] in (b"", NO_HASH)), None)
        if gap is not None:
            raise self.tampered(f"leaf {gap} of the tree of {size} leaves is missing: what was sealed was deleted")
        leaves = (bytes(self.slots[at : at + 32]) for at in range(0, size * 32, 32))
        for at_size, root in roots_at(leaves, {*linked, *(pin for pin in self.pins if pin <= size)}):
            if linked.setdefault(at_size, root) != root:
                raise self.tampered(f"the leaves do not give the signed root of the tree of {at_size} leaves")
        self.proved.append(f"the whole tree of {size} leaves is here and gives the signed root: no leaf was taken out")
        return linked

    def check_keys(self) -> None:
        """Say who signed: the newest checkpoint is by a trusted key, the others are its beginnings."""
        for checkpoint in self.checkpoints[1:]:
            if self.signed(checkpoint) or any(checkpoint.signed_by(key) for key in self.named_keys):
                continue
            self.not_proved.append(
                f"who signed the checkpoint of size {checkpoint.size}: nothing links its key to the one that was"
                " given; the newest one extends it"
            )
        if self.checkpoints:
            newest = self.checkpoints[0]
            name, key_hash = next(at for at, key in self.trusted.items() if newest.signed_by(key))
            linked = (
                "" if (name, key_hash) in self.given else ", which the one that was given endorsed, or one after it"
            )
            self.proved.append(
                f"the checkpoint of size {newest.size} is signed by {_shown(name)}+{key_hash.hex()}{linked}"
            )

    def check_pins(self, linked: Mapping[int, bytes]) -> bool:
        """Say whether pins cover everything that is sealed here."""
        if not self.pins_given:
            self.not_proved.append(
                "that it was not all made anew: no pin was given, so whoever holds the signing key could have done that"
            )
            return False
        if not self.checkpoints:
            return False
        size = self.checkpoints[0].size
        met = [at for at in self.pins if at in linked]
        for at in met:
            if linked[at] != self.pins[at]:
                taken_back = ""
                if self.restored is not None:
                    taken_back = (
                        f", or taken back by the restore that was accepted on {self.restored}: then a bundle of before"
                        " it bears out the pins of before it, and this one those of after"
                    )
                raise self.tampered(
                    f"the tree is not the one that was pinned with {at} leaves: what was sealed before was replaced"
                    f"{taken_back}"
                )
        newer = [at for at in self.pins if at > size]
        if newer:
            said = (
                f"the newest pin is of {max(newer)} leaves, and the bundle's tree has {size}: the bundle was made"
                " before the pin, or the end of the log was cut off together with its checkpoints"
            )
            if self.newer_pins:
                self.incomplete.append(f"{said}. Export it again; if that brings no larger tree, it was cut off")
            else:
                self.not_proved.append(said)
        unmet = len(self.pins) - len(met) - len(newer)
        if unmet:
            self.not_proved.append(
                f"that the tree extends {unmet} of {len(self.pins)} pins: the bundle has no proofs for them"
            )
        newest = max(met, default=0)
        if newest <= self.newest_leaf or not met:
            self.not_proved.append(
                f"that it was not made anew with the signing key: the newest pin that could be compared has {newest}"
                f" leaves, and not leaf {self.newest_leaf}, which seals the newest of this"
            )
            return False
        self.proved.append(
            f"it is what was pinned: the tree extends {_counted(len(met), 'pin')}, and the one of {newest} leaves"
            " covers all of it"
        )
        return True

    def conclude(self) -> None:
        """Say the rest of what was proved and what was not."""
        chains = _counted(self.chains_read, "chain")
        if self.header["scope"] in ("run", "receipt") and 0 < len(self.names) <= NAMED_MAX:
            chains = ", ".join(self.names)
        part = " from the entry on that the receipt is for" if self.header["scope"] == "receipt" else ""
        self.proved.insert(
            0, f"{_counted(self.entries, 'entry')} of {chains}{part}: none was changed, taken out, put in or moved"
        )
        if self.finished:
            ends = "run ends" if self.finished == 1 else "runs end"
            self.proved.insert(1, f"{self.finished} {ends} with an entry that counts them all")
        if not self.entries:
            self.incomplete.append("there is no entry in it")
        self.conclude_seals()
        if self.policies:
            have = "text has the hash by which decisions name it"
            if self.policies > 1:
                have = "texts have the hashes by which decisions name them"
            self.proved.append(f"{self.policies} policy {have}")
        without_text = len(self.policies_named)
        if without_text:
            self.not_proved.append(f"what {_counted(without_text, 'policy')} said that entries name: no text is here")
        self.conclude_contents()
        if self.header["scope"] in ("run", "since"):
            self.not_proved.append("that these are all runs: the bundle was not made of all of them")
        self.not_proved.append("that what was recorded is true: only that it was recorded so")

    def conclude_contents(self) -> None:
        """Say what of the contents is here, and can be read."""
        if self.payloads:
            self.proved.append(f"{_counted(self.payloads, 'payload')} fit what the entries commit to")
        if self.payloads_missing:
            out = "" if self.header["payloads"] else "left out, "
            why = f"they were {out}erased, or taken out by hand"
            missing = _counted(self.payloads_missing, "payload")
            self.not_proved.append(f"what {missing} said: {why}; their commitments are proved")
        if self.bodies_unread:
            self.not_proved.append(
                f"what {_counted(self.bodies_unread, 'body')} of entries said: no object of JSON, which the gate would"
                " have written; the bytes are proved"
            )

    def conclude_seals(self) -> None:
        """Say how much is sealed, and what is gone."""
        if self.gone:
            more = "" if len(self.gone) < NAMED_MAX else " and others"
            self.incomplete.append(
                f"{_counted(self.gone_entries, 'entry')} {'is' if self.gone_entries == 1 else 'are'} not here:"
                f" {', '.join(self.gone)}{more}. No entry says that retention dropped them"
            )
        sealed, unsealed = self.entries - self.unsealed_entries, self.unsealed_entries
        if self.checkpoints and sealed:
            are = "entry is sealed: its chain's head is a leaf"
            if sealed > 1:
                are = "entries are sealed: their chains' heads are leaves"
            self.proved.append(f"{sealed} {are} of the signed tree")
        if self.checkpoints and unsealed:
            more = "" if len(self.unsealed) < NAMED_MAX else " and others"
            self.incomplete.append(
                f"{unsealed} {'entry is' if unsealed == 1 else 'entries are'} chained, but not sealed:"
                f" {', '.join(self.unsealed)}{more}. Who owns the database could still change them, or cut them off"
            )

    def report(self, outcome: Outcome, found: tuple[str, ...]) -> Report:
        """Put the result together."""
        return Report(
            outcome=outcome,
            found=found,
            proved=tuple(self.proved),
            not_proved=tuple(self.not_proved),
            chains=self.chains_read,
            entries=self.entries,
            lines=self.lines,
            scope=self.header.get("scope", ""),
        )

    def named(self, chain: uuid.UUID) -> str:
        """How a chain is called."""
        return "the tenant's own chain" if chain == self.own else f"run_{chain.hex}"

    def tampered(self, what: str) -> Finding:
        """Say that the bundle contradicts itself, a signature or a pin."""
        return Finding(Outcome.TAMPERED, what)

    def damaged(self, what: str) -> Finding:
        """Say that a line cannot be what was written."""
        chain = self.chain
        place = f", where entry {chain.seq + 1} of {chain.name} should stand" if chain else ""
        return Finding(Outcome.TAMPERED, f"line {self.lines}{place}: {_shown(what)}")

    def limit(self, kept: Sized, most: int, what: str) -> None:
        """Refuse what would need too much memory."""
        if len(kept) > most:
            raise Finding(Outcome.UNUSABLE, f"there are more than {most} {what}")


def _cut(record: bytes) -> tuple[int, int]:
    """The last entry that was dropped, and the place that says so; zeros for no record."""
    return int.from_bytes(record[16:24]), int.from_bytes(record[24:32])


def _of_origin(name: str, origin: str) -> bool:
    """Whether a key of this name signs for an origin: it has its name, with a number behind it once it was rotated."""
    return name == origin or name.startswith(f"{origin}/")


def _number_of(name: str, origin: str) -> int:
    """Which of an origin's keys has this name; 0 for none of them."""
    behind = name.removeprefix(f"{origin}/")
    return 1 if name == origin else int(behind) if re.fullmatch("[1-9][0-9]{0,8}", behind) else 0


def _facts(text: bytes, event: str) -> dict[str, Any] | None:
    """Return facts that tell of an event; None for those that only have its name in them."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("facts that are nested too deeply") from None
    if type(value) is not dict or type(value.get("events")) is not list:
        raise ValueError("facts that are no object with events")
    return value if event in value["events"] else None


def _day(at: int) -> str:
    """The day of a moment in microseconds since 1970, in UTC; empty for one that no calendar has."""
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).date().isoformat()
    except OverflowError:
        return ""


def _month(at: int) -> str:
    """The first day of the month of a moment."""
    return _day(at)[:8] + "01"


def _counted(number: int, noun: str) -> str:
    """A number with its noun."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{number} {noun}s"


def _shown(text: str) -> str:
    """A text of the bundle as it may be shown on a terminal."""
    return ascii(text[:TOLD_CHARS])[1:-1]


def verify(
    lines: Iterable[bytes], *, keys: Sequence[Key], pins: Iterable[Checkpoint] | None = None, newer_pins: bool = True
) -> Report:
    """Verify a bundle.

    Args:
        lines: its lines, each with its end of line, as :func:`lines_of` gives them.
        keys: the keys that are trusted, come by some other way than with the bundle.
        pins: checkpoints that were kept outside the database; None for no pins.
        newer_pins: whether pins of a larger tree than the bundle's make it incomplete.
    """
    verification = _Verification(keys, pins, newer_pins=newer_pins)
    try:
        for line in lines:
            verification.take(line)
        return verification.finish()
    except Finding as found:
        return verification.report(found.outcome, (found.what,))


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file; none is ever longer than ``LINE_BYTES_MAX``.

    Raises:
        Finding: a line is longer, or the last one is cut off.
    """
    number = 0
    while line := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            raise Finding(Outcome.UNUSABLE, f"line {number} has more than {LINE_BYTES_MAX} bytes")
        if not line.endswith(b"\n"):
            raise Finding(Outcome.INCOMPLETE, f"the bundle ends within line {number}: it was cut off")
        yield line


def verify_file(path: str, *, keys: Sequence[str], pins: str | None = None, newer_pins: bool = True) -> Report:
    """Verify a bundle in a file.

    Args:
        path: the bundle; ``-`` for standard input.
        keys: verifier keys, or files that hold one.
        pins: a file of checkpoints; None for no pins.
        newer_pins: see :func:`verify`.
    """
    try:
        trusted = [_key_from(key) for key in keys]
        with ExitStack() as opened:
            kept = None if pins is None else read_pins(opened.enter_context(Path(pins).open("rb")))
            file = sys.stdin.buffer if path == "-" else opened.enter_context(Path(path).open("rb"))
            return verify(lines_of(file), keys=trusted, pins=kept, newer_pins=newer_pins)
    except Finding as found:
        outcome, what = found.outcome, found.what
    except OSError as error:
        outcome, what = Outcome.UNUSABLE, f"{_shown(str(error.filename))} cannot be read: {error.strerror}"
    except ValueError:  # a path that no system can have
        outcome, what = Outcome.UNUSABLE, f"{_shown(path)} or {_shown(str(pins))} is no path of a file"
    return Report(outcome=outcome, found=(what,), proved=(), not_proved=(), chains=0, entries=0, lines=0)


def _key_from(given: str) -> Key:
    if _VKEY.fullmatch(given) is None and len(given) < 4096 and Path(given).is_file():  # noqa: PLR2004 - a path
        with Path(given).open("rb") as file:
            given = file.read(NOTE_BYTES_MAX).decode(errors="replace").strip()
    return read_key(given)


# --- For people ---

WIDTH: Final = 80
_SAID: Final = {
    Outcome.OK: "OK",
    Outcome.UNUSABLE: "NOTHING CAN BE SAID",
    Outcome.TAMPERED: "TAMPERED",
    Outcome.INCOMPLETE: "INCOMPLETE",
    Outcome.UNPINNED: "OK, BUT NOT PINNED",
}


def tell(report: Report, *, as_json: bool) -> str:
    """Return a report as text or as JSON."""
    if as_json:
        told = {
            "outcome": report.outcome.name.lower(),
            "exit_code": int(report.outcome),
            "found": list(report.found),
            "proved": list(report.proved),
            "not_proved": list(report.not_proved),
            "chains": report.chains,
            "entries": report.entries,
            "lines": report.lines,
            "scope": report.scope,
        }
        return json.dumps(told, indent=2) + "\n"
    a_receipt = " (a receipt)" if report.scope == "receipt" else ""
    parts = [f"verify: {_SAID[report.outcome]}{a_receipt}", *(_wrapped("  ", what) for what in report.found)]
    for title, told_lines in (("proved", report.proved), ("not proved", report.not_proved)):
        if told_lines:
            parts += [f"{title}:", *(_wrapped("  - ", what) for what in told_lines)]
    return "\n".join(parts) + "\n"


def _wrapped(begin: str, what: str) -> str:
    return textwrap.fill(
        what,
        WIDTH,
        initial_indent=begin,
        subsequent_indent=" " * len(begin),
        break_long_words=False,
        break_on_hyphens=False,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify what the command line names, print the report and return the exit code."""
    parser = argparse.ArgumentParser(prog="offline.py", description="Verify a bundle of the record, offline.")
    parser.add_argument("bundle", help="the file; - for standard input")
    parser.add_argument("--key", action="append", required=True, help="verifier key, or a file that holds it")
    parser.add_argument("--pin", help="file of checkpoints that were kept outside the database")
    parser.add_argument("--older", action="store_true", help="the bundle may be older than the newest pin")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    report = verify_file(given.bundle, keys=given.key, pins=given.pin, newer_pins=not given.older)
    sys.stdout.write(tell(report, as_json=given.json))
    return int(report.outcome)


if __name__ == "__main__":
    sys.exit(main())
