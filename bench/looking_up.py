"""What looking at the record costs beside a short and beside a long trail: a run's story, a search, a bundle."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from bench.filling import fill
from bench.governed import GovernedRun
from bench.ground import Ground, Place
from bench.measuring import in_turn, ratios
from bench.table import AT_MOST, TIMES, Bar, Line
from langgraph_control.audit.asking.searching import Search
from langgraph_control.audit.bundles.bundling import export_bundle
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.reconstruct import reconstruct

__all__ = ["looking_up_cost"]

FEW: Final = 10_000
CALLS: Final = 50
EACH: Final = 5
NOWHERE: Final = "search for a record nobody wrote to"


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
    with _asking(few) as small, _asking(many) as large:
        contestants = {f"{what} few": work for what, work in small.items()}
        contestants |= {f"{what} many": work for what, work in large.items()}
        for work in contestants.values():
            work()
        taken = in_turn(max(repetitions, 7), **contestants)
    lines = []
    for what in small:
        lines.append(Line(f"{what}, {rows:,} entries of others", taken[f"{what} many"], " ms"))
        if what == NOWHERE:
            continue  # it goes through the record of the period asked for, and tells so by its time
        against = ratios(taken[f"{what} many"], taken[f"{what} few"])
        lines.append(Line(f"the same against {FEW:,}", against, TIMES, bar=Bar(AT_MOST, 1.1)))
    return lines


@contextmanager
def _asking(place: Place) -> Iterator[dict[str, Callable[[], float]]]:
    store = Store(place.agent)
    run = GovernedRun(store)
    for _ in range(CALLS):
        run()
    run_id = run.context.run_id
    run.close()
    store.close()
    with LedgerConnection(place.admin) as reader:

        def story() -> None:
            reconstruct(Entry.of(row) for row in reader.entries(run_id))

        def search() -> None:
            reader.ask(Search(tool="pay", limit=100))

        def nowhere() -> None:
            reader.ask(Search(record="invoice 4711", limit=100))

        def bundle() -> None:
            export_bundle(reader.ask, io.BytesIO(), [run_id], scope="run")

        yield {
            "story of 50 writes": _ms(story),
            "page of a search": _ms(search),
            NOWHERE: _ms(nowhere),
            "bundle of a run": _ms(bundle),
        }


def _ms(work: Callable[[], None]) -> Callable[[], float]:
    def take() -> float:
        began = time.perf_counter()
        for _ in range(EACH):
            work()
        return (time.perf_counter() - began) * 1000 / EACH

    return take
