"""Sealing: whether it keeps up with the writes of many callers, and what a round costs beside a long trail."""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from bench.filling import fill_chains
from bench.governed import governed_runs
from bench.ground import Ground, Place
from bench.measuring import in_turn, rate, ratios
from bench.table import AT_LEAST, AT_MOST, TIMES, Bar, Line
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.seals.pins import FilePin
from langgraph_control.audit.seals.rotation import create_key
from langgraph_control.audit.seals.sealing import Sealer
from langgraph_control.audit.seals.signers import FileSigner

__all__ = ["sealing_cost"]

CALLERS: Final = 32
MOVED: Final = 500
HEADS: Final = 10_000
EVERY_SECONDS: Final = 1.0

PAGES: Final = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT control.seal_v1(100000)"


def sealing_cost(ground: Ground, *, rows: int, seconds: float, repetitions: int) -> list[Line]:
    """Measure rounds of a sealer beside 10,000 and beside very many leaves, and writes beside a sealer.

    Args:
        ground: the server.
        rows: how many leaves are very many.
        seconds: that all callers call for in one repetition.
        repetitions: of everything.
    """
    with tempfile.TemporaryDirectory() as folder:
        rounds = _rounds(ground, Path(folder) / "rounds", rows=rows, repetitions=repetitions)
        return [*rounds, *_beside(ground, Path(folder) / "beside", seconds=seconds, repetitions=repetitions)]


def _rounds(ground: Ground, folder: Path, *, rows: int, repetitions: int) -> list[Line]:
    few, many = ground.place("sealed_few"), ground.place("sealed_many")
    with _sealer(few, folder / "few") as small, _sealer(many, folder / "many") as large:
        for place, sealer, count in ((few, small, 10_000), (many, large, rows)):
            fill_chains(place, "old", count)
            sealer.once()
            with psycopg.connect(place.admin, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")
        ground.checkpoint()
        names = itertools.count()

        def round_ms(place: Place, sealer: Sealer, moved: int) -> Callable[[], float]:
            def take() -> float:
                if moved:
                    fill_chains(place, f"new{next(names)}/", moved)
                began = time.perf_counter()
                sealer.once()
                return (time.perf_counter() - began) * 1000

            return take

        def pages(place: Place) -> Callable[[], float]:
            def take() -> float:
                fill_chains(place, f"new{next(names)}/", MOVED)
                with psycopg.connect(place.admin, autocommit=True) as connection:
                    plan = connection.execute(PAGES).fetchone()
                root = (plan or ([{}],))[0][0]["Plan"]
                return float(root["Shared Hit Blocks"] + root["Shared Read Blocks"])

            return take

        contestants = {
            "pages_few": pages(few),
            "pages_many": pages(many),
            "idle_few": round_ms(few, small, 0),
            "idle_many": round_ms(many, large, 0),
            "few": round_ms(few, small, MOVED),
            "many": round_ms(many, large, MOVED),
            "heads": round_ms(many, large, HEADS),
        }
        for take in contestants.values():
            take()
        taken = in_turn(max(repetitions, 7), **contestants)
    flat = Bar(AT_MOST, 1.1)
    return [
        Line(f"a round with nothing to seal, {rows:,} leaves", taken["idle_many"], " ms"),
        Line("the same against 10,000 leaves", ratios(taken["idle_many"], taken["idle_few"]), TIMES),
        Line(f"a round that seals {MOVED} chains, {rows:,} leaves", taken["many"], " ms"),
        Line("the same against 10,000 leaves", ratios(taken["many"], taken["few"]), TIMES, bar=flat),
        Line("pages it looks at", taken["pages_many"], ""),
        Line("the same against 10,000 leaves", ratios(taken["pages_many"], taken["pages_few"]), TIMES),
        Line(f"a round that seals {HEADS:,} chains, {rows:,} leaves", taken["heads"], " ms"),
    ]


def _beside(ground: Ground, folder: Path, *, seconds: float, repetitions: int) -> list[Line]:
    place = ground.place("sealed_beside")
    store = Store(place.agent, connections_max=CALLERS)
    runs = governed_runs(store, CALLERS)

    def alone() -> float:
        return rate(runs, seconds=seconds)

    def sealed() -> float:
        with _sealer(place, folder) as sealer, sealer:
            return rate(runs, seconds=seconds)

    def keeping_up() -> float:
        """Seconds of writing for each second that it takes to seal what was written."""
        with _sealer(place, folder) as sealer:
            sealer.once()
            rate(runs, seconds=seconds)
            began = time.perf_counter()
            sealer.once()
            return seconds / (time.perf_counter() - began)

    try:
        alone()
        taken = in_turn(repetitions, alone=alone, sealed=sealed, keeping_up=keeping_up)
    finally:
        for run in runs:
            run.close()
        store.close()
    return [
        Line(f"writes by {CALLERS} callers, a sealer each second", taken["sealed"], "/s"),
        Line("the same against none", ratios(taken["sealed"], taken["alone"]), TIMES, bar=Bar(AT_LEAST, 0.95)),
        Line("time to write against time to seal it", taken["keeping_up"], TIMES, bar=Bar(AT_LEAST, 1)),
    ]


@contextmanager
def _sealer(place: Place, folder: Path) -> Iterator[Sealer]:
    """Yield a sealer with a file to pin in."""
    create_key(place.admin, folder / "seal.key")
    sealer = Sealer(
        place.agent, FileSigner(folder / "seal.key"), [FilePin(folder / "pins")], every_seconds=EVERY_SECONDS
    )
    try:
        yield sealer
    finally:
        sealer.close()
