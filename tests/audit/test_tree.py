"""The Merkle tree of RFC 6962 and its proofs: published vectors, the RFC's definitions, and all that must fail."""

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_control.audit.seals.tree import (
    EMPTY_ROOT,
    CompactRange,
    NodeAt,
    consistency_proof,
    inclusion_proof,
    leaf_data,
    leaf_hash,
    node_hash,
    root_at,
    root_of_inclusion,
    verify_consistency,
    verify_inclusion,
)

# The leaves and roots that implementations of Certificate Transparency (RFC 6962) have in common.
INPUTS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 1): (),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
CONSISTENCY = {
    (1, 1): (),
    (1, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
    (6, 7): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
}


class Reference:
    """RFC 9162, section 2.1, as its recursive definitions say it: slow, and independent of what it is held against."""

    def __init__(self, inputs: Sequence[bytes]) -> None:
        self.inputs = inputs

    def mth(self, data: Sequence[bytes]) -> bytes:
        """MTH({}) = HASH(), MTH({d}) = HASH(0x00 || d), MTH(D_n) = HASH(0x01 || MTH(D[0:k]) || MTH(D[k:n]))."""
        if not data:
            return hashlib.sha256().digest()
        if len(data) == 1:
            return hashlib.sha256(b"\x00" + data[0]).digest()
        k = self.k(len(data))
        return hashlib.sha256(b"\x01" + self.mth(data[:k]) + self.mth(data[k:])).digest()

    def path(self, m: int, data: Sequence[bytes]) -> list[bytes]:
        """PATH(m, D_n)."""
        if len(data) == 1:
            return []
        k = self.k(len(data))
        if m < k:
            return [*self.path(m, data[:k]), self.mth(data[k:])]
        return [*self.path(m - k, data[k:]), self.mth(data[:k])]

    def subproof(self, m: int, data: Sequence[bytes], *, known: bool) -> list[bytes]:
        """SUBPROOF(m, D_n, b)."""
        if m == len(data):
            return [] if known else [self.mth(data)]
        k = self.k(len(data))
        if m <= k:
            return [*self.subproof(m, data[:k], known=known), self.mth(data[k:])]
        return [*self.subproof(m - k, data[k:], known=False), self.mth(data[:k])]

    @staticmethod
    def k(n: int) -> int:
        """The largest power of two smaller than n."""
        k = 1
        while k * 2 < n:
            k *= 2
        return k


def nodes_of(inputs: Sequence[bytes]) -> NodeAt:
    """Complete subtrees over these leaves; one that is not complete is not there."""
    levels = [[leaf_hash(data) for data in inputs]]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])

    def node(level: int, index: int) -> bytes:
        return levels[level][index]

    return node


def numbered(size: int) -> list[bytes]:
    """Leaves that say their own number."""
    return [b"leaf %d" % number for number in range(size)]


@pytest.mark.parametrize("size", range(1, 9))
def test_published_roots(size: int) -> None:
    """The tree over the published leaves has the published root at every size, made from nodes or leaf by leaf."""
    tree = CompactRange()
    for data in INPUTS[:size]:
        tree = tree.append(leaf_hash(data))
    assert tree.root().hex() == ROOTS[size - 1]
    assert root_at(size, nodes_of(INPUTS)).hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_published_inclusion_proofs(index: int, size: int) -> None:
    """The published inclusion proofs are the ones made here, and they lead to the published roots."""
    proof = inclusion_proof(index, size, nodes_of(INPUTS))
    assert tuple(part.hex() for part in proof) == INCLUSION[index, size]
    leaf, root = leaf_hash(INPUTS[index]), bytes.fromhex(ROOTS[size - 1])
    assert verify_inclusion(index=index, size=size, leaf=leaf, root=root, proof=proof)


@pytest.mark.parametrize(("old_size", "size"), CONSISTENCY)
def test_published_consistency_proofs(old_size: int, size: int) -> None:
    """The published consistency proofs are the ones made here, and they lead from root to root."""
    proof = consistency_proof(old_size, size, nodes_of(INPUTS))
    assert tuple(part.hex() for part in proof) == CONSISTENCY[old_size, size]
    old_root, root = bytes.fromhex(ROOTS[old_size - 1]), bytes.fromhex(ROOTS[size - 1])
    assert verify_consistency(old_size=old_size, size=size, old_root=old_root, root=root, proof=proof)


def test_everything_up_to_forty_is_what_the_rfc_defines() -> None:
    """At every size up to 40, each root, inclusion proof and consistency proof is the RFC's own definition of it."""
    inputs = numbered(40)
    reference, node = Reference(inputs), nodes_of(inputs)
    tree = CompactRange()
    assert tree.root() == reference.mth([]) == EMPTY_ROOT == root_at(0, node)
    for size in range(1, 41):
        tree = tree.append(leaf_hash(inputs[size - 1]))
        assert tree.root() == root_at(size, node) == reference.mth(inputs[:size])
        for index in range(size):
            assert inclusion_proof(index, size, node) == reference.path(index, inputs[:size])
        for old_size in range(1, size + 1):
            proof = consistency_proof(old_size, size, node)
            assert proof == reference.subproof(old_size, inputs[:size], known=True)
            assert verify_consistency(
                old_size=old_size, size=size, old_root=root_at(old_size, node), root=root_at(size, node), proof=proof
            )


def vectors() -> list[dict[str, Any]]:
    """What Go made of :func:`numbered`."""
    loaded: list[dict[str, Any]] = json.loads((Path(__file__).parent / "tree_vectors.json").read_text())
    return loaded


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: f"{vector['old_size']}-{vector['size']}")
def test_go_makes_the_same_proofs(vector: dict[str, Any]) -> None:
    """The roots and proofs of golang.org/x/mod/sumdb/tlog over the same leaves are the ones made here."""
    size, old_size, index = vector["size"], vector["old_size"], vector["index"]
    node = nodes_of(numbered(size))
    assert root_at(size, node).hex() == vector["root"]
    assert root_at(old_size, node).hex() == vector["old_root"]
    assert [part.hex() for part in inclusion_proof(index, size, node)] == vector["inclusion"]
    assert [part.hex() for part in consistency_proof(old_size, size, node)] == vector["consistency"]


@settings(max_examples=200)
@given(data=st.data())
def test_an_inclusion_proof_proves_its_own_leaf_only(data: st.DataObject) -> None:
    """Another leaf, index, size or root, a hash flipped, added, taken away or moved: an inclusion proof fails."""
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    node = nodes_of(numbered(size))
    leaf, root, proof = node(0, index), root_at(size, node), inclusion_proof(index, size, node)
    assert verify_inclusion(index=index, size=size, leaf=leaf, root=root, proof=proof)
    assert not verify_inclusion(index=index, size=size, leaf=flipped(data, leaf), root=root, proof=proof)
    assert not verify_inclusion(index=index, size=size, leaf=leaf, root=flipped(data, root), proof=proof)
    other = data.draw(st.integers(-3, size + 3).filter(lambda number: number != index))
    assert not verify_inclusion(index=other, size=size, leaf=leaf, root=root, proof=proof)
    assert not verify_inclusion(index=index, size=size, leaf=leaf, root=root, proof=[*proof, root])
    assert not verify_inclusion(index=index, size=size, leaf=leaf, root=root, proof=[root, *proof])
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        assert not verify_inclusion(
            index=index, size=size, leaf=leaf, root=root, proof=proof[:place] + proof[place + 1 :]
        )
        changed = [*proof[:place], flipped(data, proof[place]), *proof[place + 1 :]]
        assert not verify_inclusion(index=index, size=size, leaf=leaf, root=root, proof=changed)


@settings(max_examples=200)
@given(data=st.data())
def test_a_consistency_proof_proves_its_own_trees_only(data: st.DataObject) -> None:
    """Another root on either side, a hash flipped, added or taken away: a consistency proof fails."""
    size = data.draw(st.integers(1, 70))
    old_size = data.draw(st.integers(1, size))
    node = nodes_of(numbered(size))
    old_root, root, proof = root_at(old_size, node), root_at(size, node), consistency_proof(old_size, size, node)

    def holds(old: bytes, new: bytes, parts: Sequence[bytes]) -> bool:
        return verify_consistency(old_size=old_size, size=size, old_root=old, root=new, proof=parts)

    assert holds(old_root, root, proof)
    assert not holds(flipped(data, old_root), root, proof)
    assert not holds(old_root, flipped(data, root), proof)
    assert not holds(old_root, root, [*proof, root])
    assert not holds(old_root, root, [old_root, *proof])
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        assert not holds(old_root, root, proof[:place] + proof[place + 1 :])
        assert not holds(old_root, root, [*proof[:place], flipped(data, proof[place]), *proof[place + 1 :]])


@given(old=st.lists(st.binary(max_size=3), min_size=1, max_size=20), more=st.lists(st.binary(max_size=3), max_size=20))
def test_a_rewritten_tree_is_not_consistent(old: list[bytes], more: list[bytes]) -> None:
    """A tree in which an early leaf was changed has no proof that it begins with the tree that was."""
    was = root_at(len(old), nodes_of(old))
    forged = [old[0] + b"x", *old[1:], *more]
    node = nodes_of(forged)
    proof = consistency_proof(len(old), len(forged), node)
    root = root_at(len(forged), node)
    assert not verify_consistency(old_size=len(old), size=len(forged), old_root=was, root=root, proof=proof)


def test_what_no_tree_has() -> None:
    """A leaf past the end, a smaller tree that is larger, and a range with too few hashes are refused."""
    node = nodes_of(numbered(3))
    for index, size in ((3, 3), (-1, 3), (0, 0)):
        with pytest.raises(ValueError, match="has no leaf"):
            inclusion_proof(index, size, node)
        assert root_of_inclusion(index=index, size=size, leaf=EMPTY_ROOT, proof=[]) is None
    for old_size in (-1, 4):
        with pytest.raises(ValueError, match="does not begin"):
            consistency_proof(old_size, 3, node)
        assert not verify_consistency(old_size=old_size, size=3, old_root=EMPTY_ROOT, root=EMPTY_ROOT, proof=[])
    with pytest.raises(ValueError, match="not kept as"):
        CompactRange(3, (EMPTY_ROOT,))


def test_every_tree_begins_with_the_empty_one() -> None:
    """The empty tree needs no proof, and nothing else counts as it."""
    root = root_at(3, nodes_of(numbered(3)))
    assert consistency_proof(0, 3, nodes_of(numbered(3))) == []
    assert verify_consistency(old_size=0, size=3, old_root=EMPTY_ROOT, root=root, proof=[])
    assert not verify_consistency(old_size=0, size=3, old_root=root, root=root, proof=[])
    assert not verify_consistency(old_size=0, size=3, old_root=EMPTY_ROOT, root=root, proof=[root])


def test_a_proof_looks_up_no_more_than_the_tree_is_high() -> None:
    """Over a million leaves an inclusion or consistency proof takes at most twice twenty look-ups."""
    asked: list[tuple[int, int]] = []

    def node(level: int, index: int) -> bytes:
        asked.append((level, index))
        return EMPTY_ROOT

    size = 2**20 - 1
    for take in (
        partial(inclusion_proof, 0, size, node),
        partial(inclusion_proof, size - 1, size, node),
        partial(consistency_proof, 2**19 - 1, size, node),
    ):
        asked.clear()
        take()
        assert len(asked) <= 40
        assert all((index + 1) << level <= size for level, index in asked)


@given(
    one=st.tuples(st.text(max_size=5), st.uuids(), st.integers(1, 2**62), st.binary(min_size=32, max_size=32)),
    two=st.tuples(st.text(max_size=5), st.uuids(), st.integers(1, 2**62), st.binary(min_size=32, max_size=32)),
)
def test_a_leaf_says_one_thing(one: tuple[str, UUID, int, bytes], two: tuple[str, UUID, int, bytes]) -> None:
    """Two leaves are the same bytes only when they name the same tenant, chain, length and head."""

    def of(parts: tuple[str, UUID, int, bytes]) -> bytes:
        tenant, run_id, seq, head = parts
        return leaf_data(tenant=tenant, run_id=run_id, seq=seq, head=head)

    assert (of(one) == of(two)) == (one == two)


def flipped(data: st.DataObject, value: bytes) -> bytes:
    """The same bytes with one bit the other way."""
    bit = data.draw(st.integers(0, 8 * len(value) - 1))
    return (int.from_bytes(value) ^ 1 << bit).to_bytes(len(value))
