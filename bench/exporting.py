"""Spans: how many a process sends a second, and whether calls notice that a sink is down."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final
from uuid import UUID

import psycopg

from bench.governed import GovernedRun
from bench.ground import Ground, Place
from bench.measuring import Figure, in_turn, p50_ms, ratios
from bench.table import AT_LEAST, AT_MOST, TIMES, Bar, Line
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.telemetry.sinks.following import Following
from langgraph_control.audit.telemetry.sinks.otlp import OtlpSink

__all__ = ["calls_beside", "spans_a_second"]

CALLS: Final = 50  # of the run that is copied
NOBODY: Final = "http://127.0.0.1:9/v1/traces"
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
