"""What retention dropped, held against what the tenant's own chain says of it."""

import hashlib
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Final

from langgraph_control.audit.asking.rows import EntryRow
from langgraph_control.audit.connecting.connection import Ask, LedgerConnection
from langgraph_control.audit.keeping.requests import DroppedHead, DroppedHeads
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.findings import Broken

__all__ = ["dropped_heads", "heads_digest", "wrong_heads"]

PAGE: Final = 5000


def heads_digest(heads: Iterable[DroppedHead]) -> bytes:
    """Return the hash by which an entry names the heads of what was dropped: run, place and head, in the runs' order.

    Args:
        heads: of one month.
    """
    digest = hashlib.sha256()
    for one in heads:
        digest.update(one.run_id.bytes + one.seq.to_bytes(8, signed=True) + one.head)
    return digest.digest()


def wrong_heads(connection: LedgerConnection, rows: Iterable[EntryRow], named: AbstractSet[int]) -> Broken | None:
    """Return the first entry of the tenant's chain whose heads are not those that are kept; None if all are.

    Args:
        connection: of any login of the tenant.
        rows: the tenant's own chain, which was checked.
        named: the places that dropped heads named before it was read.
    """
    stated = {row.seq: Entry.of(row).fact("heads") for row in rows if "entries.dropped" in Entry.of(row).events}
    for place, heads in stated.items():
        if heads_digest(dropped_heads(connection.ask, place)).hex() != heads:
            return Broken(seq=place, what="the heads of what it says was dropped are not those that are kept")
    unsaid = sorted(named - set(stated))
    return (
        Broken(seq=unsaid[0], what="entries are said to be dropped by it, and it says nothing of it")
        if unsaid
        else None
    )


def dropped_heads(ask: Ask, place: int, *, page: int = PAGE) -> Iterator[DroppedHead]:
    """Yield the heads that one entry of the tenant's own chain stands for, in the order in which it hashes them.

    Args:
        ask: carries out requests.
        place: the entry.
        page: so many are read at once.
    """
    heads = ask(DroppedHeads(place=place, after=None, limit=page))
    while heads:
        yield from heads
        heads = ask(DroppedHeads(place=place, after=heads[-1].run_id, limit=page))
