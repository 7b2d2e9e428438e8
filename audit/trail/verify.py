"""Is a chain whole, a run's or the tenant's own? Recomputed from the rows alone, by whoever may read them.

It finds every change to an entry, to the order and to the number of entries, as long as the head it is held against
is right. Who can rewrite all rows *and* the chain's head with matching hashes is found only against checkpoints that
are kept outside the database.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from langgraph_control.audit.asking.requests import FindRun, FindTenantChain
from langgraph_control.audit.asking.rows import EntryRow
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.dropped import wrong_heads
from langgraph_control.audit.keeping.requests import Dropped, DroppedPlaces, FindDropped
from langgraph_control.audit.trail.chain import SALT_BYTES, ZERO, commitment_to, entry_hash
from langgraph_control.audit.trail.findings import Broken

__all__ = ["Broken", "Verification", "verify_all", "verify_chain", "verify_run", "verify_tenant"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
READINGS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a verification found.

    Args:
        entries: entries that were checked, up to the first broken one.
        erased: of these, how many had their payload erased; the proof holds without it.
        broken: the first contradiction; None if there is none.
        dropped: so many entries before these were dropped by retention; they are proved by nothing but the head they
            left, which the tenant's own chain and signed checkpoints name.
        dropped_at: when.
    """

    entries: int
    erased: int
    broken: Broken | None
    dropped: int = 0
    dropped_at: datetime | None = None

    @property
    def ok(self) -> bool:
        """Whether the chain is whole."""
        return self.broken is None


def verify_chain(
    run_id: UUID, rows: Iterable[EntryRow], *, head: bytes, entries: int, cut: Dropped | None = None
) -> Verification:
    """Check a chain against itself and against the head and length that its own row states. Pure.

    Args:
        run_id: the run, or the tenant's own chain.
        rows: its entries as they were read, in the order of their places.
        head: hash of its newest entry, as the chain's own row says.
        entries: their number, as the chain's own row says.
        cut: where retention cut it; what is left follows from there.
    """
    start, dropped_at = (0, None) if cut is None else (cut.seq, cut.at)
    previous, checked, erased = ZERO if cut is None else cut.head, start, 0

    def found(broken: Broken | None) -> Verification:
        return Verification(entries=checked - start, erased=erased, broken=broken, dropped=start, dropped_at=dropped_at)

    for row in rows:
        what = _wrong(run_id, row, place=checked + 1, previous=previous, entries=entries)
        if what is not None:
            return found(Broken(seq=checked + 1, what=what))
        previous, checked = row.hash, row.seq
        erased += row.commitment is not None and row.payload is None
    broken = None
    if checked < entries:
        broken = Broken(
            seq=checked + 1, what=f"missing, with all after it: the chain's own row counts {entries} entries"
        )
    elif previous != head:
        broken = Broken(seq=None, what="the newest entry is not the one that the chain's own row names as its head")
    return found(broken)


def verify_run(
    connection: LedgerConnection, run_id: UUID, *, read: Sequence[EntryRow] | None = None
) -> Verification | None:
    """Read a run's chain and check it, also while a worker goes on appending to it.

    Args:
        connection: of any login of the tenant.
        run_id: the run.
        read: its entries, where they have just been read; what was appended since is read.

    Returns:
        What was found; None if there is no trace of such a run.

    Raises:
        TrailUnavailable: the server cannot be reached; nothing is known.
    """
    if read is not None:
        found = _run(connection, run_id, list(read))
        if found is None or found.ok:
            return found
    # Retention may drop a month between two pages, or between the entries and where they were cut. Then what is broken
    # is only this reading, and the next one begins from the new cut; what somebody took out stays taken out.
    cut = connection.ask(FindDropped(run_id=run_id))
    while True:
        found = _run(connection, run_id, list(connection.entries(run_id)))
        before, cut = cut, connection.ask(FindDropped(run_id=run_id))
        if found is None or found.ok or cut == before:
            return found


def verify_tenant(connection: LedgerConnection) -> Verification:
    """Read the chain of what belongs to no run, such as policies published, and check it.

    Also that what retention dropped is what its entries say: the heads that other chains go on from.

    Args:
        connection: of any login of the tenant.

    Raises:
        TrailUnavailable: the server cannot be reached; nothing is known.
    """
    # Its entries stay for ever, but move when retention takes off the partition of their month, any tenant's retention:
    # who waited for that sees them neither where they were nor where they are, once.
    for _ in range(READINGS):
        found = _tenant(connection)
        if found.ok:
            break
    return found


def verify_all(connection: LedgerConnection) -> Iterator[tuple[UUID | None, Verification]]:
    """Check the tenant's own chain, then every run of which there is any trace, one after the other.

    Args:
        connection: of any login of the tenant.

    Yields:
        The run, None for the tenant's own chain, and what was found.

    Raises:
        TrailUnavailable: the server cannot be reached; what was not yielded yet is not known.
    """
    yield None, verify_tenant(connection)
    own = connection.ask(FindTenantChain()).run_id
    for run_id in connection.chains():
        if run_id != own:
            yield run_id, verify_run(connection, run_id) or _rowless(0, "the run's own row")


def _run(connection: LedgerConnection, run_id: UUID, first: list[EntryRow]) -> Verification | None:
    # Read after the entries, so that it counts them all: an entry it does not count was never appended by the ledger.
    run = connection.ask(FindRun(run_id=run_id))
    if run is None:
        return _rowless(len(first), "the run's own row") if first else None
    return _verify(connection, run_id, first, head=run.head, entries=run.entries)


def _tenant(connection: LedgerConnection) -> Verification:
    chain_id = connection.ask(FindTenantChain()).run_id
    # Read before the entries, so that the entry which each of them names was there when those were read.
    places = connection.ask(DroppedPlaces())
    first = list(connection.entries(chain_id))
    end = connection.ask(FindTenantChain())
    if end.entries is None or end.head is None:  # it is made with the tenant, before there is anything to record
        return _rowless(len(first), "the row of the tenant's own chain")
    found = _verify(connection, chain_id, first, head=end.head, entries=end.entries)
    return found if found.broken else replace(found, broken=wrong_heads(connection, first, places))


def _rowless(entries: int, what: str) -> Verification:
    missing = Broken(seq=None, what=f"{what} is missing; {entries} entries are there")
    return Verification(entries=0, erased=0, broken=missing)


def _verify(
    connection: LedgerConnection, run_id: UUID, first: list[EntryRow], *, head: bytes, entries: int
) -> Verification:
    last = first[-1].seq if first else 0
    cut = connection.ask(FindDropped(run_id=run_id))
    if cut is not None and first and first[0].seq <= cut.seq:
        cut = None  # what is said to be gone is there: it is checked from the beginning

    def rows() -> Iterator[EntryRow]:
        yield from first
        yield from (row for row in connection.entries(run_id, after=last) if row.seq <= entries)

    return verify_chain(run_id, rows(), head=head, entries=entries, cut=cut)


def _wrong(run_id: UUID, row: EntryRow, *, place: int, previous: bytes, entries: int) -> str | None:
    if row.seq != place:
        return f"missing; the next one that is there is {row.seq}"
    if row.seq > entries:
        return f"past the end: the chain's own row counts {entries} entries"
    expected = entry_hash(
        tenant=row.tenant,
        run_id=run_id,
        seq=row.seq,
        previous=previous,
        facts=row.facts,
        commitment=row.commitment,
        body=row.body,
    )
    if row.hash != expected:
        return "its hash does not follow from its contents and the entry before it: one of them was changed"
    return _wrong_time(row) or _wrong_payload(row)


def _wrong_time(row: EntryRow) -> str | None:
    stated = _object(row.facts).get("at")
    if stated != (row.at - EPOCH) // timedelta(microseconds=1):
        return "its time was changed: the hashed facts state another one than the column"
    return None


def _wrong_payload(row: EntryRow) -> str | None:
    if row.payload is None:
        return None  # never there, or erased
    if row.commitment is None:
        return "it has a payload that was added later: the hash commits to none"
    if row.salt is not None and len(row.salt) != SALT_BYTES:
        return "its salt is none that the ledger draws: bytes of the payload may have been moved into it, or out of it"
    if row.salt is None or commitment_to(row.payload, row.salt) != row.commitment:
        return "its payload was changed: it does not match the hashed commitment"
    return None


def _object(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
