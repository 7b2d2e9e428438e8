"""What looking at the record costs beside a short and beside a long trail: a story, a search, a receipt, a bundle."""

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import psycopg

from bench.filling import ACTIONS_PER_RUN, fill, fill_chains
from bench.governed import GovernedRun
from bench.ground import Ground, Place
from bench.measuring import Figure, in_turn, ratios
from bench.table import AT_MOST, TIMES, Bar, Line
from langgraph_control.audit.asking.searching import Search
from langgraph_control.audit.bundles.bundling import export_bundle, run_receipt
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.seals.pins import FilePin
from langgraph_control.audit.seals.rotation import create_key
from langgraph_control.audit.seals.sealing import Sealer
from langgraph_control.audit.seals.signers import FileSigner
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.reconstruct import reconstruct

__all__ = ["looking_up_cost"]

FEW: Final = 10_000
CALLS: Final = 50
EACH: Final = 5
NOWHERE: Final = "search for a record nobody wrote to"
BUNDLE: Final = "bundle of a run"
LEAVES_FEW: Final = 1_000
ENTRIES_PER_RUN: Final = 2 * ACTIONS_PER_RUN  # of those that the ledger is filled with; each is a leaf, too


def looking_up_cost(ground: Ground, *, rows: int, repetitions: int) -> list[Line]:
    """Look the same run up in a ledger with few and in one with many entries of others.

    Args:
        ground: the server.
        rows: how many entries are many.
        repetitions: of everything.
    """
    few, many = ground.place("looked_up_few"), ground.place("looked_up_many")
    fill(few, rows=FEW)
    fill(many, rows=rows)
    leaves = rows // 20
    with (
        _asking(few, leaves=LEAVES_FEW - FEW // ENTRIES_PER_RUN) as small,
        _asking(many, leaves=leaves - rows // ENTRIES_PER_RUN) as large,
    ):
        contestants = {f"{what} few": work for what, work in small.items()}
        contestants |= {f"{what} many": work for what, work in large.items()}
        for work in contestants.values():
            work()
        taken = in_turn(max(repetitions, 7), **contestants)
    lines = []
    for what in small:
        if what == BUNDLE:
            continue
        lines.append(Line(f"{what}, {rows:,} entries of others", taken[f"{what} many"], " ms"))
        if what == NOWHERE:
            continue  # it goes through the record of the period asked for, and tells so by its time
        against = ratios(taken[f"{what} many"], taken[f"{what} few"])
        lines.append(Line(f"the same against {FEW:,}", against, TIMES, bar=Bar(AT_MOST, 1.1)))
    return [*lines, *_of_leaves(taken[f"{BUNDLE} few"], taken[f"{BUNDLE} many"], leaves=leaves)]


def _of_leaves(few: Figure, many: Figure, *, leaves: int) -> list[Line]:
    """Return lines without a bar: a bundle brings every leaf of the tree, so it is linear in them by intent."""
    each = tuple((b - a) / (leaves - LEAVES_FEW) * 1000 for a, b in zip(few.values, many.values, strict=True))
    return [
        Line(f"{BUNDLE}, with a tree of {LEAVES_FEW:,} leaves", few, " ms"),
        Line(f"{BUNDLE}, with a tree of {leaves:,} leaves", many, " ms"),
        Line("linear in the leaves, for each of which it takes", Figure(values=each), " µs"),
    ]


@contextmanager
def _asking(place: Place, *, leaves: int) -> Iterator[dict[str, Callable[[], float]]]:
    store = Store(place.agent)
    run = GovernedRun(store)
    for _ in range(CALLS):
        run()
    run_id = run.context.run_id
    run.close()
    store.close()
    _sealed(place, leaves=leaves)
    with LedgerConnection(place.admin) as reader:

        def story() -> None:
            reconstruct(Entry.of(row) for row in reader.entries(run_id))

        def search() -> None:
            reader.ask(Search(tool="pay", limit=100))

        def nowhere() -> None:
            reader.ask(Search(record="invoice 4711", limit=100))

        def receipt() -> None:
            run_receipt(reader.ask, io.BytesIO(), run_id)

        def bundle() -> None:
            export_bundle(reader.ask, io.BytesIO(), [run_id], scope="run")

        yield {
            "story of 50 writes": _ms(story),
            "page of a search": _ms(search),
            NOWHERE: _ms(nowhere),
            "receipt of a run": _ms(receipt),
            BUNDLE: _ms(bundle, each=1),
        }


def _sealed(place: Place, *, leaves: int) -> None:
    """Have all of a ledger sealed, with so many chains more."""
    fill_chains(place, "sealed", leaves)
    with tempfile.TemporaryDirectory() as folder, closing(_sealer(place, Path(folder))) as sealer:
        sealer.once()
    with psycopg.connect(place.admin, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _sealer(place: Place, folder: Path) -> Sealer:
    """Return one that signs once, however much it seals: a receipt brings each checkpoint, and leaves are to count."""
    create_key(place.admin, folder / "seal.key")
    return Sealer(place.agent, FileSigner(folder / "seal.key"), [FilePin(folder / "pins")], leaves=100_000)


def _ms(work: Callable[[], None], *, each: int = EACH) -> Callable[[], float]:
    def take() -> float:
        began = time.perf_counter()
        for _ in range(each):
            work()
        return (time.perf_counter() - began) * 1000 / each

    return take
