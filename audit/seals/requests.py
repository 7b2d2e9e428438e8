"""What is asked of the ledger about its tree: to grow it, to keep checkpoints and keys, and to read them.

See ``sql/migrations/0024_seals.sql``: leaves come from the ledger's own heads, never from a client.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from langgraph_control.audit.asking.requests import FieldsAreParameters
from langgraph_control.audit.seals.checkpoints import VerifierKey
from langgraph_control.audit.seals.tree import NodeAt

__all__ = [
    "AddCheckpoint",
    "Added",
    "CheckpointRow",
    "Checkpoints",
    "FindTree",
    "LeafRow",
    "Leaves",
    "RotateKey",
    "Seal",
    "SealDue",
    "Sealed",
    "Sealing",
    "SigningKeyRow",
    "SigningKeys",
    "TreeNodes",
    "TreeRow",
    "with_nodes",
]

Rows = Sequence[Mapping[str, Any]]
Nodes = Mapping[tuple[int, int], bytes]


class Sealing(StrEnum):
    """How far sealing has come."""

    SEALED = "sealed"  # every head that was there is a leaf
    MORE = "more"  # there are more; ask again
    BUSY = "busy"  # somebody else is at it; nothing was done


class Added(StrEnum):
    """What came of handing in a checkpoint."""

    STORED = "stored"  # it is kept
    KNOWN = "known"  # this login handed in one of that size, which stays
    WRONG = "wrong"  # it does not say what the tree says
    KEY = "key"  # it is not signed with the key that signs now


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What sealing came to.

    Args:
        answer: how far it has come.
        origin: the tree's name; None where somebody else is at it, as are the others.
        sealed: how many leaves were added.
        size: of the tree now, in leaves.
        root: its root now.
    """

    answer: Sealing
    origin: str | None
    sealed: int | None
    size: int | None
    root: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeRow:
    """The tree as it stands.

    Args:
        origin: its name in checkpoints.
        size: in leaves.
        root: its root.
    """

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKeyRow:
    """A key that signs or signed.

    Args:
        name: its name.
        public: the public key, 32 bytes.
        key_hash: what signatures name it by, 4 bytes.
        endorsed: the signature of the key before over this one; None: it is the first, or that one was lost.
        since: when it was registered.
        until: when another took its place; None: it signs now.
    """

    name: str
    public: bytes
    key_hash: bytes
    endorsed: bytes | None
    since: datetime
    until: datetime | None

    def verifier(self) -> VerifierKey:
        """Return the key as verifiers take it."""
        return VerifierKey(name=self.name, public=self.public)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    """A checkpoint that is kept.

    Args:
        size: of the tree, in leaves.
        root: its root.
        note: the signed note.
        made_at: when it was handed in.
    """

    size: int
    root: bytes
    note: str
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafRow:
    """A leaf: a chain had this head.

    Args:
        index: in the tree, from 0.
        run_id: the chain.
        seq: its length then, in entries.
        head: the hash of its last entry then.
        at: when it was sealed, by the ledger's clock.
    """

    index: int
    run_id: UUID
    seq: int
    head: bytes
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal(FieldsAreParameters):
    """Append the heads of chains that are no leaves yet.

    Args:
        limit: at most so many leaves, from 1 to 100000.
    """

    statement: ClassVar[str] = "seal"

    limit: int

    def read(self, rows: Rows) -> Sealed:
        """Return the answer as a value."""
        row = rows[0]
        return Sealed(**{**row, "answer": Sealing(row["answer"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class SealDue(FieldsAreParameters):
    """Ask whether so many chains moved since all was sealed. Answers None: they did; else what to hand in next time.

    Args:
        leaves: how many, from 1 to 100000.
        not_before: what the same question was answered with before: until then it costs nothing. None: it is the first.
    """

    statement: ClassVar[str] = "seal_due"

    leaves: int
    not_before: int | None

    def read(self, rows: Rows) -> int | None:
        """Return the answer as a value."""
        not_before: int | None = rows[0]["not_before"]
        return not_before


@dataclass(frozen=True, slots=True, kw_only=True)
class FindTree(FieldsAreParameters):
    """Ask for the tree as it stands. It is made where it is not there yet."""

    statement: ClassVar[str] = "tree"

    def read(self, rows: Rows) -> TreeRow:
        """Return the answer as a value."""
        return TreeRow(**rows[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateKey(FieldsAreParameters):
    """Make a key the one that signs from now on, on the admin's login. Answers its entry's place; 0: it was already.

    Args:
        name: the tree's origin for the first key; for the next ones a slash and their number behind it.
        public: the public key, 32 bytes.
        body: the entry's body, canonical bytes.
        endorsed: the signature of the key before over this one; None: it is the first, or that one was lost.
    """

    statement: ClassVar[str] = "rotate_key"

    name: str
    public: bytes
    body: bytes
    endorsed: bytes | None = None

    def read(self, rows: Rows) -> int:
        """Return the answer as a value."""
        seq: int = rows[0]["seq"]
        return seq


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKeys(FieldsAreParameters):
    """Ask for the keys, the oldest first."""

    statement: ClassVar[str] = "signing_keys"

    def read(self, rows: Rows) -> tuple[SigningKeyRow, ...]:
        """Return the answer as a value."""
        return tuple(SigningKeyRow(**row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCheckpoint(FieldsAreParameters):
    """Hand in a signed checkpoint.

    Args:
        size: of the tree, in leaves.
        note: the signed note.
    """

    statement: ClassVar[str] = "add_checkpoint"

    size: int
    note: str

    def read(self, rows: Rows) -> Added:
        """Return the answer as a value."""
        return Added(rows[0]["answer"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints(FieldsAreParameters):
    """Ask for checkpoints.

    Args:
        from_size: at least of this size, the smallest first; None: the newest first.
        below: without ``from_size``, those that are smaller than this; None: all.
        limit: so many; more where several are of the last one's size.
    """

    statement: ClassVar[str] = "checkpoints"

    from_size: int | None = None
    below: int | None = None
    limit: int = 1

    def read(self, rows: Rows) -> tuple[CheckpointRow, ...]:
        """Return the answer as a value."""
        return tuple(CheckpointRow(**row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaves(FieldsAreParameters):
    """Ask for leaves, in order.

    Args:
        run_id: of this chain; None: of all.
        from_index: from this index on.
        limit: at most so many.
    """

    statement: ClassVar[str] = "leaves"

    run_id: UUID | None = None
    from_index: int = 0
    limit: int = 1000

    def read(self, rows: Rows) -> tuple[LeafRow, ...]:
        """Return the answer as a value."""
        return tuple(LeafRow(**row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeNodes(FieldsAreParameters):
    """Ask for nodes of the tree; those that are not complete are not in the answer.

    Args:
        levels: of the nodes, 0 for leaves.
        indexes: likewise, among those of their level.
    """

    statement: ClassVar[str] = "tree_nodes"

    levels: list[int]
    indexes: list[int]

    def read(self, rows: Rows) -> Nodes:
        """Return the answer as a value."""
        return {(row["level"], row["index"]): row["hash"] for row in rows}


def with_nodes(make: Callable[[NodeAt], list[bytes]], ask: Callable[[TreeNodes], Nodes]) -> list[bytes]:
    """Return what is made from nodes of the tree, all of which are asked for at once.

    Args:
        make: makes it; called twice, with nodes that are not the tree's at first.
        ask: carries out the request.

    Raises:
        KeyError: a node is not there, which no tree of that size lacks.
    """
    wanted: dict[tuple[int, int], None] = {}

    def note(level: int, index: int) -> bytes:
        wanted[level, index] = None
        return b""

    make(note)
    asked = TreeNodes(levels=[level for level, _ in wanted], indexes=[index for _, index in wanted])
    found = ask(asked) if wanted else {}
    return make(lambda level, index: found[level, index])
