"""A run as its entries tell it, held against its row and its chain: read once, by whoever shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from langgraph_control.audit.asking.requests import FindRun
from langgraph_control.audit.asking.rows import EntryRow, RunRow
from langgraph_control.audit.connecting.connection import Ask, LedgerConnection
from langgraph_control.audit.keeping.differences import row_differences
from langgraph_control.audit.keeping.requests import FindDropped
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.rebuild import rebuild
from langgraph_control.audit.trail.rebuilt import Rebuilt
from langgraph_control.audit.trail.reconstruct import Story, reconstruct
from langgraph_control.audit.trail.verify import Verification, verify_run

__all__ = ["RecordedRun", "differing", "recorded_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A run, and how far its record goes together.

    Args:
        row: the ledger's row of it, which says also whose turn it is and what is next; None where it is gone.
        entries: what was recorded, in order.
        told: the run, put together from the entries.
        story: the same entries as a story.
        verified: whether the chain is whole.
        differs: what the row says, and the entries do not.
    """

    row: RunRow | None
    entries: Sequence[Entry]
    told: Rebuilt
    story: Story
    verified: Verification
    differs: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether chain and row are as the ledger left them, as far as the database alone can say."""
        return self.verified.ok and not self.differs


def recorded_run(connection: LedgerConnection, run_id: UUID) -> RecordedRun | None:
    """Read a run and its record, also while a worker goes on with it, and where its row is gone.

    Args:
        connection: of any login of the tenant that reads the record.
        run_id: the run.

    Returns:
        What there is; None if there is no trace of such a run.

    Raises:
        TrailUnavailable: the server cannot be reached; nothing is known.
    """
    chain = list(connection.entries(run_id))
    row = connection.ask(FindRun(run_id=run_id))
    entries = [Entry.of(one) for one in chain]
    told = rebuild(entries)
    differs = () if row is None else differing(connection.ask, row, chain, told)
    verified = verify_run(connection, run_id, read=chain)
    if verified is None:
        return None
    return RecordedRun(
        row=row, entries=entries, told=told, story=reconstruct(entries), verified=verified, differs=differs
    )


def differing(ask: Ask, row: RunRow, chain: Sequence[EntryRow], told: Rebuilt) -> tuple[str, ...]:
    """Return what a run's row says, and its entries do not; nothing where they are of different moments.

    Args:
        ask: on any login of the tenant that reads the record.
        row: the run's row, read after the entries.
        chain: the entries.
        told: the run, put together from them.
    """
    if not chain or row.entries > chain[-1].seq:
        return ()
    cut = ask(FindDropped(run_id=row.run_id))
    return tuple(one.what for one in row_differences(row, Entry.of(chain[0]), told, cut))
