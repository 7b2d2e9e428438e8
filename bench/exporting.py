"""Spans: how many a process sends a second, whether calls notice that a sink is down, and what many chains cost."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Final
from uuid import UUID

import psycopg
from opentelemetry.sdk.trace import ReadableSpan

from bench.filling import fill_chains
from bench.governed import GovernedRun
from bench.ground import Ground, Place
from bench.measuring import Figure, in_turn, p50_ms, ratios
from bench.table import AT_LEAST, AT_MOST, TIMES, Bar, Line
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.telemetry.gauges import readings
from langgraph_control.audit.telemetry.sinks.following import Following, Stepped
from langgraph_control.audit.telemetry.sinks.gathering import CHAINS, CHAINS_LOOKED_AT
from langgraph_control.audit.telemetry.sinks.otlp import OtlpSink
from langgraph_control.audit.telemetry.sinks.requests import SpansBehind, SpansRecent
from langgraph_control.audit.telemetry.sinks.sink import Answer, Verdict

__all__ = ["beside_many_chains", "calls_beside", "spans_a_second"]

CALLS: Final = 50  # of the run that is copied
NOBODY: Final = "http://127.0.0.1:9/v1/traces"
FEW: Final = 10_000
LOOKS: Final = 16
SETTLING_SECONDS: Final = 3.0  # until an exporter has started and sent what there is

COPIES: Final = (
    """
INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, hash)
SELECT md5('copy' || n)::uuid, e.seq, e.tenant, e.at, e.facts, e.body, e.hash
FROM generate_series(1, %(copies)s::integer) n, control.entry e WHERE e.run_id = %(run_id)s
""",
    """
INSERT INTO control.run_state (run_id, tenant, seq, head, state, state_since)
SELECT md5('copy' || n)::uuid, s.tenant, s.seq, s.head, s.state, s.state_since
FROM generate_series(1, %(copies)s::integer) n, control.run_state s WHERE s.run_id = %(run_id)s
""",
)

TAKEN: Final = """
INSERT INTO control.span_cursor (tenant, role, sink, run_id, seq)
SELECT s.tenant, 'agent', 'nowhere', s.run_id, s.seq FROM control.run_state s ORDER BY s.run_id
"""


def spans_a_second(ground: Ground, *, spans: int, repetitions: int) -> list[Line]:
    """Send so many spans from one process to a receiver in another, each time to a new sink.

    Args:
        ground: the server.
        spans: how many, about.
        repetitions: how often.
    """
    place, numbers = ground.place("spans"), count(1)
    store = Store(place.agent)
    run = GovernedRun(store)
    for _ in range(CALLS):
        run()
    _copy(place, run.context.run_id, copies=spans // CALLS)
    with _receiver() as url:

        def sending() -> tuple[float, float]:
            following = Following(store, OtlpSink(f"sink-{next(numbers)}", url))
            began, cpu_began = time.perf_counter(), time.process_time()
            following.once()
            took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
            following.sink.close()
            return following.sent / took, following.sent / cpu

        taken, of_cpu = zip(*(sending() for _ in range(repetitions)), strict=True)
    run.close()
    store.close()
    return [
        Line("spans sent per process", Figure(values=taken), " spans/s", bar=Bar(AT_LEAST, 5000)),
        Line("spans sent per second of its CPU", Figure(values=of_cpu), " spans/s"),
    ]


def calls_beside(ground: Ground, *, calls: int, repetitions: int) -> list[Line]:
    """Time governed calls beside an exporter whose sink is up, and beside one whose sink is down.

    Args:
        ground: the server.
        calls: timed one after the other in one repetition.
        repetitions: of either.
    """
    place = ground.place("sink_down")
    store = Store(place.agent)
    run = GovernedRun(store)
    p50_ms(run, calls=calls)
    with _receiver() as url:

        def beside(to: str) -> float:
            with _exporter(place, to):
                return p50_ms(run, calls=calls)

        taken = in_turn(repetitions, up=lambda: beside(url), down=lambda: beside(NOBODY))
    run.close()
    store.close()
    return [
        Line("governed: p50 beside a sink that is up", taken["up"], " ms"),
        Line("governed: p50 beside a sink that is down", taken["down"], " ms"),
        Line("p50, sink down against up", ratios(taken["down"], taken["up"]), TIMES, bar=Bar(AT_MOST, 1.05)),
    ]


def beside_many_chains(ground: Ground, *, rows: int, repetitions: int) -> list[Line]:
    """Time a look of an exporter that finds nothing to send, and the gauges while one run has something to be sent.

    Args:
        ground: the server.
        rows: how many chains are many, of one entry each, all of which the sink has.
        repetitions: of everything.
    """
    contestants: dict[str, Callable[[], float]] = {}
    with ExitStack() as open_places:
        for name, count_of in (("few", FEW), ("many", rows)):
            place = ground.place(f"sink_{name}")
            fill_chains(place, "old", count_of)
            with psycopg.connect(place.admin, autocommit=True) as connection:
                connection.execute(TAKEN)
                connection.execute("VACUUM ANALYZE")
            store = Store(place.agent)
            open_places.callback(store.close)
            run = GovernedRun(store)
            open_places.callback(run.close)
            looks = _looks(place, store, run, several=count_of > FEW)
            contestants |= {f"{what}_{name}": take for what, take in looks.items()}
        ground.checkpoint()
        for take in contestants.values():
            take()
        taken = in_turn(max(repetitions, 7), **contestants)
    flat, against = Bar(AT_MOST, 1.1), f"the same against {FEW:,}"
    return [
        Line(f"an exporter's idle look, {rows:,} chains", taken["idle_many"], " ms"),
        Line(against, ratios(taken["idle_many"], taken["idle_few"]), TIMES),
        Line("pages of the stretch that it looks at", taken["idle_pages_many"], ""),
        Line(against, ratios(taken["idle_pages_many"], taken["idle_pages_few"]), TIMES, bar=flat),
        Line(f"gauges, a sink behind by one run of {rows:,}", taken["gauges_many"], " ms"),
        Line(against, ratios(taken["gauges_many"], taken["gauges_few"]), TIMES, bar=flat),
    ]


class _Nowhere:
    """A sink that takes everything, so that what is measured is the ledger's part."""

    name, batch_spans, timeout_seconds = "nowhere", 512, 5.0

    def send(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Take them.

        Args:
            spans: what is let go.
        """
        del spans
        return Answer(verdict=Verdict.TAKEN)

    def takes_nothing(self) -> bool | None:
        """Take nothing, too."""
        return True

    def close(self) -> None:
        """Nothing is open."""


def _looks(place: Place, store: Store, run: GovernedRun, *, several: bool) -> dict[str, Callable[[], float]]:
    following, after = Following(store, _Nowhere()), None

    def look() -> None:
        """What a step asks that finds nothing to send: what is new, and a full stretch of all chains, the next one."""
        nonlocal after
        store.call(SpansRecent(sink="nowhere", back_ms=6000, limit=CHAINS))
        last = store.call(SpansBehind(sink="nowhere", after=after, chains=CHAINS_LOOKED_AT)).last
        after = last if several else None

    def idle() -> float:
        while following.step() is Stepped.SENT:
            pass
        return _fastest_ms(look)

    def gauges() -> float:
        run()
        return _fastest_ms(lambda: _read(store))

    def pages(question: str) -> Callable[[], float]:
        asked = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM {question}".encode()

        def take() -> float:
            with psycopg.connect(place.agent, autocommit=True) as connection:
                connection.execute(asked)  # the catalogue is known from here on
                plan = connection.execute(asked).fetchone()
            root = (plan or ([{}],))[0][0]["Plan"]
            return float(root["Shared Hit Blocks"] + root["Shared Read Blocks"])

        return take

    return {
        "idle": idle,
        "gauges": gauges,
        "idle_pages": pages(f"control.span_behind_v1('nowhere', NULL, {CHAINS_LOOKED_AT})"),
    }


def _fastest_ms(work: Callable[[], None]) -> float:
    took = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return min(took)  # what other work does to it is left out


def _read(store: Store) -> None:
    for _ in readings(store):
        pass


def _copy(place: Place, run_id: UUID, *, copies: int) -> None:
    with psycopg.connect(place.admin, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for statement in COPIES:
            connection.execute(statement, {"copies": copies, "run_id": run_id})
        connection.execute("VACUUM ANALYZE")


@contextmanager
def _receiver() -> Iterator[str]:
    command = [sys.executable, "-m", "bench.spans_receiver"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own module
        if process.stdout is None:
            raise AssertionError("started with a pipe")
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1/traces"
        finally:
            process.kill()


@contextmanager
def _exporter(place: Place, url: str) -> Iterator[None]:
    program = "from langgraph_control.cli import main; main()"
    command = [sys.executable, "-c", program, "export", "--follow", "--dsn", place.agent, "--endpoint", url]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - our own command
        try:
            time.sleep(SETTLING_SECONDS)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
