"""The Merkle tree over the heads of chains: RFC 6962 hashes, and the proofs of RFC 9162, section 2.1.

Everything here is a function of its arguments. Proofs are made from the hashes of complete subtrees, which whoever
keeps the tree hands in, so that one costs as many look-ups as the tree is high, twice at most.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

__all__ = [
    "EMPTY_ROOT",
    "CompactRange",
    "NodeAt",
    "consistency_proof",
    "inclusion_proof",
    "leaf_data",
    "leaf_hash",
    "node_hash",
    "root_at",
    "root_of_inclusion",
    "verify_consistency",
    "verify_inclusion",
]

TAG: Final = b"langgraph-control/leaf/v1"

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""

NodeAt = Callable[[int, int], bytes]
"""Gives the hash of a complete subtree by its level (0 for a leaf) and its index among those of its level, from 0."""


def leaf_data(*, tenant: str, run_id: UUID, seq: int, head: bytes) -> bytes:
    """Return what a leaf says: a chain of this tenant had this head when it was so many entries long.

    Args:
        tenant: whose.
        run_id: the chain: a run's id, or that of the tenant's own chain.
        seq: how many entries the chain had.
        head: the hash of the last of them, 32 bytes.
    """
    name = tenant.encode()
    return TAG + len(name).to_bytes(4, signed=True) + name + run_id.bytes + seq.to_bytes(8, signed=True) + head


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf, which no inner node can have (RFC 9162, 2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node over its two children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class CompactRange:
    """A tree that still grows, kept as the roots of its complete subtrees: as many hashes as its size has one-bits.

    Attributes:
        size: how many leaves it has.
        hashes: the roots of the complete subtrees, the largest first.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no tree of that size can have.

        Raises:
            ValueError: another number of hashes than the size has one-bits.
        """
        if self.size < 0 or self.size.bit_count() != len(self.hashes):
            raise ValueError(f"a tree of {self.size} leaves is not kept as {len(self.hashes)} hashes")

    def append(self, leaf: bytes) -> "CompactRange":
        """Return the tree with one leaf more.

        Args:
            leaf: its hash, as :func:`leaf_hash` gives it.
        """
        kept, new, size = list(self.hashes), leaf, self.size
        while size & 1:
            new = node_hash(kept.pop(), new)
            size >>= 1
        return CompactRange(self.size + 1, (*kept, new))

    def root(self) -> bytes:
        """Return the root of the tree as it stands."""
        if not self.hashes:
            return EMPTY_ROOT
        *left, root = self.hashes
        while left:
            root = node_hash(left.pop(), root)
        return root


def root_at(size: int, node: NodeAt) -> bytes:
    """Return the root that the tree had when it was of a size.

    Args:
        size: in leaves.
        node: gives complete subtrees of the tree.
    """
    return _span(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: NodeAt) -> list[bytes]:
    """Return the hashes that lead from one leaf to the root (RFC 9162, 2.1.3.1), the leaf's sibling first.

    Args:
        index: of the leaf, from 0.
        size: of the tree whose root is meant, in leaves.
        node: gives complete subtrees of the tree.

    Raises:
        ValueError: a tree of that size has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    begin, end, proof = 0, size, []
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            proof.append(_span(middle, end, node))
            end = middle
        else:
            proof.append(_span(begin, middle, node))
            begin = middle
    return proof[::-1]


def consistency_proof(old_size: int, size: int, node: NodeAt) -> list[bytes]:
    """Return the hashes that show one tree to be the beginning of another (RFC 9162, 2.1.4.1).

    Args:
        old_size: of the smaller tree, in leaves; 0 and ``size`` itself need no hash.
        size: of the larger one.
        node: gives complete subtrees of the larger tree.

    Raises:
        ValueError: the smaller tree is larger.
    """
    if not 0 <= old_size <= size:
        raise ValueError(f"a tree of {size} leaves does not begin with one of {old_size}")
    if old_size in (0, size):
        return []
    begin, end, proof = 0, size, []
    while end != old_size:
        middle = begin + _split(end - begin)
        if old_size <= middle:
            proof.append(_span(middle, end, node))
            end = middle
        else:
            proof.append(_span(begin, middle, node))
            begin = middle
    if begin:  # else the smaller tree is a subtree of the larger one, and its root is known to who asks
        proof.append(_span(begin, end, node))
    return proof[::-1]


def root_of_inclusion(*, index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """Return the root that an inclusion proof leads to (RFC 9162, 2.1.3.2); None for a proof of another length.

    Args:
        index: of the leaf, from 0.
        size: of the tree, in leaves.
        leaf: its hash.
        proof: what :func:`inclusion_proof` returned.
    """
    if not 0 <= index < size:
        return None
    place, last, root = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if place & 1 or place == last:
            root = node_hash(sibling, root)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        place, last = place >> 1, last >> 1
    return root if last == 0 else None


def verify_inclusion(*, index: int, size: int, leaf: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether a leaf is in the tree of this size and root at this index.

    Args:
        index: of the leaf, from 0.
        size: of the tree, in leaves.
        leaf: its hash.
        root: of the tree.
        proof: what :func:`inclusion_proof` returned.
    """
    return root_of_inclusion(index=index, size=size, leaf=leaf, proof=proof) == root


def verify_consistency(*, old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether the tree of one size and root begins with the tree of another (RFC 9162, 2.1.4.2).

    Args:
        old_size: of the smaller tree, in leaves.
        size: of the larger one.
        old_root: of the smaller tree.
        root: of the larger one.
        proof: what :func:`consistency_proof` returned.
    """
    if not 0 <= old_size <= size:
        return False
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    if old_size == size:
        return not proof and old_root == root
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
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and old == old_root and new == root


def _split(width: int) -> int:
    """Return the largest power of two below a width of at least two: how many leaves are on the left."""
    return 1 << ((width - 1).bit_length() - 1)


def _span(begin: int, end: int, node: NodeAt) -> bytes:
    """Return the hash over the leaves from begin to before end, which the tree's shape sets apart."""
    width = end - begin
    if width & (width - 1) == 0:
        return node(width.bit_length() - 1, begin // width)
    middle = begin + _split(width)
    return node_hash(_span(begin, middle, node), _span(middle, end, node))
