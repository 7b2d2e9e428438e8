"""Making bundles from the ledger: of runs, of all there is since a moment, of everything; and receipts for one entry.

A bundle is made as of the newest checkpoint there was when it was begun: leaves that were sealed since are left out,
entries that were appended since are chained in it and not sealed.
"""

import heapq
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from itertools import chain as one_after_the_other
from typing import BinaryIO, Final
from uuid import UUID

from langgraph_control.audit.asking.requests import FindRun, RunEntries
from langgraph_control.audit.asking.rows import EntryRow
from langgraph_control.audit.bundles.bundle import BundleWriter, Scope
from langgraph_control.audit.bundles.requests import ApprovalEntries, ChainsMoved, FindBundleTenant, PolicyTexts, Whose
from langgraph_control.audit.connecting.connection import Ask
from langgraph_control.audit.keeping.dropped import dropped_heads
from langgraph_control.audit.keeping.requests import DroppedHead, DroppedPlaces, FindDropped
from langgraph_control.audit.seals.checkpoints import NotACheckpointError, SignedCheckpoint, VerifierKey
from langgraph_control.audit.seals.requests import Checkpoints, LeafRow, Leaves, SigningKeyRow, SigningKeys, with_nodes
from langgraph_control.audit.seals.tree import consistency_proof, inclusion_proof
from langgraph_control.audit.seals.verified import verified_checkpoints
from langgraph_control.audit.trail.chain import ZERO
from langgraph_control.errors import ControlError

__all__ = ["Bundled", "approval_receipt", "chains_since", "export_bundle", "receipt", "run_receipt"]

PAGE: Final = 500
LEAVES_PAGE: Final = 5000
CHAINS_PAGE: Final = 5000
POLICIES_PAGE: Final = 100
DROPPED_HELD: Final = 20_000
"""So many heads that retention left are held at once, of all months together."""

CHECKPOINTS: Final = 16
"""So many of the newest checkpoints go along. With the whole tree every pin can be compared without any."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
POLICY_NAMED: Final = re.compile(rb'"policy": ?"([0-9a-f]{64})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """What an export wrote.

    Args:
        chains: how many chains.
        entries: how many entries.
        unsealed: entries of them that no checkpoint covers yet.
        size: of the tree it was made of, in leaves; 0 where nothing was sealed.
        lines: how many lines.
    """

    chains: int
    entries: int
    unsealed: int
    size: int
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seal:
    """A checkpoint that a bundle is made of."""

    size: int
    note: str


def chains_since(ask: Ask, since: datetime | None) -> Iterator[UUID]:
    """Yield the ids of all chains, or of those that have an entry of after a moment.

    Args:
        ask: carries out requests.
        since: with a time zone; None for all.
    """
    after: UUID | None = None
    while page := ask(ChainsMoved(after=after, limit=PAGE)):
        for chain, newest in page:
            if since is None or (newest is not None and newest >= since):
                yield chain
        after = page[-1][0]


def export_bundle(
    ask: Ask,
    file: BinaryIO,
    chains: Iterable[UUID],
    *,
    scope: Scope,
    since: datetime | None = None,
    payloads: bool = False,
    sealed_only: bool = False,
    progress: Callable[[int, int], None] = lambda _chains, _entries: None,
) -> Bundled:
    """Write the chains with the whole tree, and return what was written.

    Args:
        ask: carries out requests, on a login that may read.
        file: where to; it is left open.
        chains: which; of everything, in the order of their ids.
        scope: what that is.
        since: the moment, where the scope is ``since``.
        payloads: whether arguments and before-images go along. The hashes need them not, and who verifies that nothing
            was changed need not see them.
        sealed_only: leave out entries that no checkpoint covers yet.
        progress: told now and then how many chains and entries were written.

    Raises:
        ControlError: retention dropped some of it meanwhile (``export_overtaken``); the file is not whole.
        TrailUnavailable: the ledger cannot be read; the file is not whole.
    """
    whose, writer, keys = ask(FindBundleTenant()), BundleWriter(file), ask(SigningKeys())
    seals = _seals(ask, keys)
    size = seals[0].size if seals else 0
    _begin(writer, whose, scope=scope, since=since, leaves=True, payloads=payloads)
    _write_seals(ask, writer, keys, seals)
    named = None if scope == "all" else sorted(chains)
    places = _places(ask, named)
    if seals:  # else no sealed entry says so
        for place, head in _dropped(ask, places):
            writer.dropped(place=place, chain=head.run_id, seq=head.seq, head=head.head)
    written: set[bytes] = set()
    policies: set[str] = set()
    entries = unsealed = 0
    # What names the keys that signed before, and says what was dropped.
    own = (whose.own_chain,) if (len(keys) > 1 or places) and scope != "all" else ()
    for chain in one_after_the_other(own, chains if named is None else named):
        if chain.bytes in written:
            continue
        written.add(chain.bytes)
        leaves = [leaf for leaf in _leaves_of(ask, chain) if leaf.index < size]
        cut = ask(FindDropped(run_id=chain))
        writer.run(chain, after=cut.seq if cut else 0, previous=cut.head if cut else ZERO)
        for leaf in leaves:
            _write_head(ask, writer, leaf, size)
        sealed = leaves[-1].seq if leaves else 0
        for row in _entries(ask, chain, up_to=sealed if sealed_only else None):
            writer.entry(row, payload=payloads)
            policies.update(named.decode() for named in POLICY_NAMED.findall(row.body))
            entries, unsealed = entries + 1, unsealed + (row.seq > sealed)
            if entries % PAGE == 0:
                progress(len(written), entries)
    _write_other_leaves(ask, writer, size, written)
    _write_policies(ask, writer, policies)
    if _places(ask, named) != places:
        raise _overtaken()
    progress(len(written), entries)
    return Bundled(chains=len(written), entries=entries, unsealed=unsealed, size=size, lines=writer.end())


def receipt(ask: Ask, file: BinaryIO, chain: UUID, seq: int, *, last: int | None = None, payloads: bool = False) -> int:
    """Write the receipt of an entry: the chain from it to the next sealed head, the proof of that, and checkpoints.

    Args:
        ask: carries out requests.
        file: where to; it is left open.
        chain: the run, or the tenant's own chain.
        seq: the entry's place.
        last: a later entry that the sealed head has to cover, too.
        payloads: whether arguments and before-images go along.

    Returns:
        The place of the sealed head.

    Raises:
        ControlError: there is no such entry (``entry_unknown``), no checkpoint covers it yet (``receipt_unsealed``), or
            retention dropped some of it meanwhile (``export_overtaken``).
        TrailUnavailable: the ledger cannot be read.
    """
    rows = {row.seq: row.hash for row in ask(RunEntries(run_id=chain, after=max(0, seq - 2), limit=2))}
    cut = ask(FindDropped(run_id=chain))
    hashes = {0: ZERO, **({cut.seq: cut.head} if cut else {}), **rows}
    if seq not in rows or seq - 1 not in hashes:
        raise ControlError(
            "There is no such entry.", todo="langgraph-control show RUN numbers a run's entries.", code="entry_unknown"
        )
    whose, keys = ask(FindBundleTenant()), ask(SigningKeys())
    seals = _seals(ask, keys)
    size = seals[0].size if seals else 0
    leaf = next((one for one in _leaves_of(ask, chain) if one.seq >= (last or seq) and one.index < size), None)
    if leaf is None:
        raise ControlError(
            "No checkpoint covers that entry yet.",
            safe="It is on record and chained.",
            todo="Ask again when it was sealed: langgraph-control seal, or the worker that seals.",
            code="receipt_unsealed",
        )
    writer = BundleWriter(file)
    _begin(writer, whose, scope="receipt", since=None, leaves=False, payloads=payloads)
    first = _first_seal(ask, keys, leaf.index + 1)
    _write_seals(ask, writer, keys, _ordered([*seals, first] if first else seals))
    writer.run(chain, after=seq - 1, previous=hashes[seq - 1])
    _write_head(ask, writer, leaf, size)
    policies: set[str] = set()
    for row in _entries(ask, chain, after=seq - 1, up_to=leaf.seq):
        writer.entry(row, payload=payloads)
        policies.update(named.decode() for named in POLICY_NAMED.findall(row.body))
    _write_policies(ask, writer, policies)
    if ask(FindDropped(run_id=chain)) != cut:
        raise _overtaken()
    writer.end()
    return leaf.seq


def approval_receipt(ask: Ask, file: BinaryIO, approval: UUID, *, payloads: bool = False) -> int:
    """Write the receipt of a request for approval: from its first entry to a sealed head behind its last one.

    Args:
        ask: carries out requests.
        file: where to; it is left open.
        approval: the request.
        payloads: whether arguments and before-images go along.

    Returns:
        The place of the sealed head.

    Raises:
        ControlError: there is no such request (``entry_unknown``), or no checkpoint covers it yet
            (``receipt_unsealed``).
        TrailUnavailable: the ledger cannot be read.
    """
    found = ask(ApprovalEntries(approval_id=approval))
    if found is None:
        raise ControlError(
            "There is no entry about such a request.", todo="List them: langgraph-control inbox.", code="entry_unknown"
        )
    chain, first, last = found
    return receipt(ask, file, chain, first, last=last, payloads=payloads)


def run_receipt(ask: Ask, file: BinaryIO, run: UUID, *, payloads: bool = False) -> int:
    """Write the receipt of a whole run: from its first entry that is there to a sealed head behind its newest.

    Args:
        ask: carries out requests.
        file: where to; it is left open.
        run: the run.
        payloads: whether arguments and before-images go along.

    Returns:
        The place of the sealed head.

    Raises:
        ControlError: nothing of such a run is there (``entry_unknown``), no checkpoint covers its newest entry yet
            (``receipt_unsealed``), or retention dropped some of it meanwhile (``export_overtaken``).
        TrailUnavailable: the ledger cannot be read.
    """
    row, cut = ask(FindRun(run_id=run)), ask(FindDropped(run_id=run))
    return receipt(ask, file, run, cut.seq + 1 if cut else 1, last=row.entries if row else None, payloads=payloads)


def _places(ask: Ask, chains: list[UUID] | None) -> list[int]:
    """The entries of the tenant's own chain that say what was dropped: of these chains, or of all."""
    if chains is None:
        return sorted(ask(DroppedPlaces()))
    parts = (chains[begin : begin + CHAINS_PAGE] for begin in range(0, len(chains), CHAINS_PAGE))
    return sorted({place for part in parts for place in ask(DroppedPlaces(runs=part))})


def _dropped(ask: Ask, places: Sequence[int]) -> Iterator[tuple[int, DroppedHead]]:
    """Where retention cut chains, ordered by chain and place; so a verifier has only the newest to hold."""
    page = max(1, DROPPED_HELD // max(1, len(places)))

    def of(place: int) -> Iterator[tuple[int, DroppedHead]]:
        return ((place, head) for head in dropped_heads(ask, place, page=page))

    return heapq.merge(*map(of, places), key=lambda one: (one[1].run_id, one[0]))


def _overtaken() -> ControlError:
    return ControlError(
        "Retention dropped some of it while it was exported.",
        safe="The record is whole; what was written of the file is no bundle.",
        todo="Export it again.",
        code="export_overtaken",
    )


def _begin(
    writer: BundleWriter, whose: Whose, *, scope: Scope, since: datetime | None, leaves: bool, payloads: bool
) -> None:
    writer.header(
        origin=whose.origin,
        tenant=whose.tenant,
        scope=scope,
        since=None if since is None else (since - EPOCH) // timedelta(microseconds=1),
        leaves=leaves,
        payloads=payloads,
        made_at=int(time.time() * 1_000_000),
        made_by=version("langgraph-control"),
    )


def _seals(ask: Ask, keys: Sequence[SigningKeyRow]) -> list[_Seal]:
    """The newest checkpoints that a key of the log signed, from large to small."""
    seals: dict[int, _Seal] = {}
    for row in verified_checkpoints(ask, [key.verifier() for key in keys]):
        seals.setdefault(row.size, _Seal(size=row.size, note=row.note))
        if len(seals) == CHECKPOINTS:
            break
    return list(seals.values())


def _first_seal(ask: Ask, keys: Sequence[SigningKeyRow], size: int) -> _Seal | None:
    """The smallest checkpoint from a size on that a key of the log signed: it is the most likely to be pinned."""
    while page := ask(Checkpoints(from_size=size, limit=CHECKPOINTS)):
        for row in page:
            if _signed(row.note, [key.verifier() for key in keys]):
                return _Seal(size=row.size, note=row.note)
        size = page[-1].size + 1
    return None


def _signed(note: str, keys: list[VerifierKey]) -> bool:
    try:
        return bool(SignedCheckpoint.parse(note).signed_by(keys))
    except NotACheckpointError:
        return False


def _ordered(seals: Iterable[_Seal]) -> list[_Seal]:
    return sorted({seal.size: seal for seal in seals}.values(), key=lambda seal: -seal.size)


def _write_seals(ask: Ask, writer: BundleWriter, keys: Sequence[SigningKeyRow], seals: list[_Seal]) -> None:
    for key in keys:
        writer.key(str(key.verifier()), endorsed=key.endorsed)
    for seal in seals:
        try:
            proof = with_nodes(partial(consistency_proof, seal.size, seals[0].size), ask)
        except KeyError:
            continue  # the tree was damaged; the verifier is not convinced without a proof, and says what is missing
        writer.checkpoint(seal.note, proof)


def _write_head(ask: Ask, writer: BundleWriter, leaf: LeafRow, size: int) -> None:
    try:
        proof = with_nodes(partial(inclusion_proof, leaf.index, size), ask)
    except KeyError:
        proof = None
    writer.head(index=leaf.index, seq=leaf.seq, head=leaf.head, proof=proof)


def _write_other_leaves(ask: Ask, writer: BundleWriter, size: int, written: set[bytes]) -> None:
    for leaf in _leaves(ask, size):
        if leaf.run_id.bytes not in written:
            writer.leaf(index=leaf.index, chain=leaf.run_id, seq=leaf.seq, head=leaf.head)


def _write_policies(ask: Ask, writer: BundleWriter, hashes: set[str]) -> None:
    wanted = sorted(hashes)
    for begin in range(0, len(wanted), POLICIES_PAGE):
        for digest, text in ask(PolicyTexts(hashes=wanted[begin : begin + POLICIES_PAGE])):
            writer.policy(digest, text)


def _entries(ask: Ask, chain: UUID, *, after: int = 0, up_to: int | None) -> Iterator[EntryRow]:
    while page := ask(RunEntries(run_id=chain, after=after, limit=PAGE)):
        for row in page:
            if up_to is not None and row.seq > up_to:
                return
            yield row
        after = page[-1].seq


def _leaves_of(ask: Ask, chain: UUID) -> Iterator[LeafRow]:
    return _paged(lambda index: ask(Leaves(run_id=chain, from_index=index, limit=LEAVES_PAGE)))


def _leaves(ask: Ask, size: int) -> Iterator[LeafRow]:
    for leaf in _paged(lambda index: ask(Leaves(run_id=None, from_index=index, limit=LEAVES_PAGE))):
        if leaf.index >= size:
            return
        yield leaf


def _paged(read: Callable[[int], tuple[LeafRow, ...]]) -> Iterator[LeafRow]:
    index = 0
    while page := read(index):
        yield from page
        index = max(leaf.index for leaf in page) + 1
