"""What is measured: each scenario takes its figures and returns the lines it has for the table."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from bench import exporting, voting, waking
from bench import inbox as requests
from bench.counting import count
from bench.dbos_steps import dbos_steps
from bench.deciding import RULES, deciding, many_tools, one_tool
from bench.filling import fill
from bench.floor import FloorWorker
from bench.governed import GovernedRun, governed_runs
from bench.ground import Ground, Place
from bench.langgraph_runs import LongRun, control_of, governed_supersteps, plain_supersteps
from bench.looking_up import looking_up_cost
from bench.measuring import Figure, in_turn, p50_ms, rate, ratios
from bench.sealing import sealing_cost
from bench.slow_commits import LONGER_MS, slow_commits_cost
from bench.table import AT_LEAST, AT_MOST, TIMES, Bar, Line
from bench.verifying import verifying_cost
from langgraph_control.audit.connecting.store import Store

__all__ = ["FULL", "QUICK", "Scale", "scenarios"]

PARALLEL_CALLS: Final = 8
LATE_CALL: Final = 1000
COUNTED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is done.

    Args:
        repetitions: of everything; contestants take turns.
        calls: timed one after the other in one repetition.
        seconds: that all workers call for in one repetition.
        rows: entries of the full ledger.
        actions: of the long run that is resumed.
        writes_per_step: of that run; more than one saves supersteps.
        supersteps: of a graph, in one repetition.
        waits: runs that wait for a decision, and as many for a time.
        deaths: of workers.
        due: runs that are due at one instant.
        parked: runs that wait for people.
    """

    repetitions: int
    calls: int
    seconds: float
    rows: int
    actions: int
    writes_per_step: int
    supersteps: int
    waits: int
    deaths: int
    due: int
    parked: int


FULL: Final = Scale(
    repetitions=7,
    calls=200,
    seconds=1.5,
    rows=1_000_000,
    actions=1000,
    writes_per_step=1,
    supersteps=50,
    waits=200,
    deaths=5,
    due=10_000,
    parked=1_000,
)
QUICK: Final = Scale(
    repetitions=5,
    calls=50,
    seconds=0.25,
    rows=100_000,
    actions=1000,
    writes_per_step=20,
    supersteps=15,
    waits=30,
    deaths=1,
    due=200,
    parked=1_000,
)

Scenario = Callable[[Ground, Scale], list[Line]]


def counts(ground: Ground, scale: Scale) -> list[Line]:
    """Commits, statements and log of a call; asserted in the tests, too."""
    del scale
    place = ground.place("counts")
    with _store(place) as store, _run(store) as run, ground.without_page_images():
        for _ in range(COUNTED):  # the indexes double meanwhile: each of their pages splits once, as in the long run
            run()
        taken = count(store, run, calls=COUNTED)
    return [
        Line("commits per write", _one(taken.commits), "", bar=Bar(AT_MOST, 2), goal=Bar(AT_MOST, 2)),
        Line("statements per write", _one(taken.statements), "", bar=Bar(AT_MOST, 2), goal=Bar(AT_MOST, 2)),
        Line(
            "log per write, no page images",
            _one(taken.wal_bytes / 1000),
            " kB",
            bar=Bar(AT_MOST, 2.8),
            goal=Bar(AT_MOST, 2),
        ),
        *(Line(f"heap-only updates of {table}", _one(share), "") for table, share in taken.hot_shares.items()),
    ]


def one_worker(ground: Ground, scale: Scale) -> list[Line]:
    """Time and client CPU of a call with nobody else there."""
    place = ground.place("one_worker")
    with _store(place) as store, _run(store) as run, FloorWorker(place.agent) as floor:
        p50_ms(run, calls=scale.calls // 4)
        p50_ms(floor, calls=scale.calls // 4)
        taken = in_turn(
            scale.repetitions,
            floor=lambda: p50_ms(floor, calls=scale.calls),
            governed=lambda: p50_ms(run, calls=scale.calls),
            floor_cpu=lambda: _cpu_ms(floor, calls=scale.calls),
            governed_cpu=lambda: _cpu_ms(run, calls=scale.calls),
        )
    return [
        Line("floor g2: p50, c=1", taken["floor"], " ms"),
        Line("governed: p50, c=1", taken["governed"], " ms"),
        Line(
            "p50 against g2, c=1",
            ratios(taken["governed"], taken["floor"]),
            TIMES,
            bar=Bar(AT_MOST, 1.7),
            goal=Bar(AT_MOST, 1.2),
        ),
        Line("floor g2: client CPU per call", taken["floor_cpu"], " ms"),
        Line("client CPU per call", taken["governed_cpu"], " ms", bar=Bar(AT_MOST, 1), goal=Bar(AT_MOST, 0.5)),
    ]


def many_workers(ground: Ground, scale: Scale) -> list[Line]:
    """Rates with one run per worker, and with eight workers in one run."""
    place = ground.place("many_workers")
    lines = []
    with _store(place) as store, ExitStack() as open_floors:
        floors = [open_floors.enter_context(FloorWorker(place.agent)) for _ in range(32)]
        runs = governed_runs(store, 32)
        for floor in floors:
            floor()
        for workers, bar, goal in ((8, 0.4, 0.7), (32, 0.6, 1.5)):
            taken = _rates(scale, floors[:workers], runs[:workers])
            lines += _rate_lines(f"c={workers}", taken, bar, goal)
        taken = _rates(scale, floors[:PARALLEL_CALLS], [runs[0]] * PARALLEL_CALLS)
        lines += _rate_lines(f"{PARALLEL_CALLS} parallel calls in one run", taken, 0.2, 0.6)
    return lines


def slow_commits(ground: Ground, scale: Scale) -> list[Line]:
    """The same where a commit takes a millisecond longer: for information."""
    floor, p50, rate_of_8 = slow_commits_cost(
        ground, repetitions=scale.repetitions, calls=scale.calls, seconds=scale.seconds
    )
    return [
        Line(f"floor g2: p50, c=1, commits {LONGER_MS:g} ms longer", floor, " ms"),
        Line("p50 against it", p50, TIMES),
        Line("rate against it, c=8", rate_of_8, TIMES),
    ]


def late_call(ground: Ground, scale: Scale) -> list[Line]:
    """A call late in a run against one near its beginning."""
    place = ground.place("late_call")
    with _store(place) as store, _run(store) as long:
        for _ in range(LATE_CALL - 1):
            long()

        def early() -> float:
            with _run(store) as fresh:
                for _ in range(8):
                    fresh()
                return p50_ms(fresh, calls=20)

        early()
        taken = in_turn(2 * scale.repetitions, early=early, late=lambda: p50_ms(long, calls=20))
    against = ratios(taken["late"], taken["early"])
    return [Line("call 1000 of a run against call 10", against, TIMES, bar=Bar(AT_MOST, 1.1), goal=Bar(AT_MOST, 1.05))]


def full_ledger(ground: Ground, scale: Scale) -> list[Line]:
    """A call on a ledger with many rows against one on an empty ledger."""
    empty, full = ground.place("empty"), ground.place("full")
    fill(full, rows=scale.rows)
    with (
        _store(empty) as small,
        _store(full) as large,
        _run(small) as few,
        _run(large) as many,
    ):
        p50_ms(few, calls=scale.calls)
        p50_ms(many, calls=scale.calls)
        taken = in_turn(
            2 * scale.repetitions,
            few=lambda: p50_ms(few, calls=scale.calls // 2),
            many=lambda: p50_ms(many, calls=scale.calls // 2),
        )
    what = f"ledger of {scale.rows:,} rows against empty"
    return [
        Line(what, ratios(taken["many"], taken["few"]), TIMES, bar=Bar(AT_MOST, 1.1), goal=Bar(AT_MOST, 1.05)),
    ]


def policy(_ground: Ground, scale: Scale) -> list[Line]:
    """A decision of a policy with a hundred rules."""
    spread = deciding(many_tools(), amount="1200.00")
    packed = deciding(one_tool(), amount=f"{100 * RULES}.00")
    taken = in_turn(
        scale.repetitions,
        spread=lambda: p50_ms(spread, calls=10 * scale.calls) * 1000,
        packed=lambda: p50_ms(packed, calls=10 * scale.calls) * 1000,
    )
    bar = Bar(AT_MOST, 50)
    return [
        Line(f"decision, {RULES} rules about many tools", taken["spread"], " µs", bar=bar),
        Line(f"decision, {RULES} rules about the tool called", taken["packed"], " µs", bar=bar),
    ]


def supersteps(ground: Ground, scale: Scale) -> list[Line]:
    """A superstep of LangGraph on its own saver, without and with a governed write: for information."""
    place = ground.place("supersteps")
    with control_of(place) as control, plain_supersteps(ground.empty_database("plain")) as plain:
        governed = governed_supersteps(control)
        plain(3)
        governed(3)
        taken = in_turn(
            scale.repetitions,
            plain=lambda: _each_ms(lambda: plain(scale.supersteps), scale.supersteps),
            governed=lambda: _each_ms(lambda: governed(scale.supersteps), scale.supersteps),
        )
    return [
        Line("LangGraph superstep on PostgresSaver", taken["plain"], " ms"),
        Line("the same with a governed write, in control.run", taken["governed"], " ms"),
        Line("against the plain superstep", ratios(taken["governed"], taken["plain"]), TIMES),
    ]


def resuming(ground: Ground, scale: Scale) -> list[Line]:
    """Resuming a run that has made many writes against one that has made few."""
    place = ground.place("resuming")
    with control_of(place) as control:
        few = LongRun(control, actions=10, writes_per_step=1)
        many = LongRun(control, actions=scale.actions, writes_per_step=scale.writes_per_step)
        few.resume()
        many.resume()
        taken = in_turn(
            2 * scale.repetitions,
            few=lambda: p50_ms(few.resume, calls=3),
            many=lambda: p50_ms(many.resume, calls=3),
        )
    return [
        Line("resume after 10 actions", taken["few"], " ms"),
        Line(f"resume after {scale.actions} actions", taken["many"], " ms"),
        Line(
            f"resume after {scale.actions} actions against after 10",
            ratios(taken["many"], taken["few"]),
            TIMES,
            bar=Bar(AT_MOST, 1.5),
            goal=Bar(AT_MOST, 1.1),
        ),
    ]


def dbos(ground: Ground, scale: Scale) -> list[Line]:
    """A step of DBOS, where the bench extra is installed."""
    if find_spec("dbos") is None:
        return []
    place = ground.place("dbos")
    with FloorWorker(place.agent) as floor, dbos_steps(ground.empty_database("dbos_system")) as steps:
        floor()
        steps(5)
        taken = in_turn(
            scale.repetitions,
            floor=lambda: p50_ms(floor, calls=scale.calls),
            step=lambda: _each_ms(lambda: steps(scale.supersteps), scale.supersteps),
        )
    return [
        Line("DBOS step, c=1", taken["step"], " ms"),
        Line("against g2", ratios(taken["step"], taken["floor"]), TIMES),
    ]


def woken(ground: Ground, scale: Scale) -> list[Line]:
    """From a decision, and from a timer's moment, to the run going on in another process."""
    return [*waking.decisions(ground, runs=scale.waits), *waking.timers(ground, runs=scale.waits)]


def executed(ground: Ground, scale: Scale) -> list[Line]:
    """From a person's vote to the write being done by a worker in another process."""
    return voting.votes(ground, runs=scale.waits)


def taken_over(ground: Ground, scale: Scale) -> list[Line]:
    """From the end of a killed worker's lease to its run going on in another process."""
    return waking.takeovers(ground, deaths=scale.deaths)


def due_at_once(ground: Ground, scale: Scale) -> list[Line]:
    """Many runs that are due at one instant, and two workers."""
    return waking.many_due(ground, runs=scale.due)


def parked(ground: Ground, scale: Scale) -> list[Line]:
    """Many runs that wait for people, and what that costs."""
    return waking.parked(ground, runs=scale.parked)


def inbox(ground: Ground, scale: Scale) -> list[Line]:
    """Pages of the console's inbox with many requests, open and decided."""
    calls = max(4, scale.calls // 10)
    return requests.pages(ground, closed=scale.rows // 10, calls=calls, repetitions=scale.repetitions)


def sealing(ground: Ground, scale: Scale) -> list[Line]:
    """Sealing beside many leaves, and beside many callers."""
    return sealing_cost(ground, rows=scale.rows, seconds=2 * scale.seconds, repetitions=scale.repetitions)


def looking_up(ground: Ground, scale: Scale) -> list[Line]:
    """Looking at the record beside a long trail."""
    return looking_up_cost(ground, rows=scale.rows, repetitions=scale.repetitions)


def verifying(_: Ground, scale: Scale) -> list[Line]:
    """Verifying a bundle of the record, offline."""
    return verifying_cost(entries=min(scale.rows, 50_000), repetitions=scale.repetitions)


def spans(ground: Ground, scale: Scale) -> list[Line]:
    """Spans a process sends a second, calls beside a sink that is down, and looks for spans beside many chains."""
    return [
        *exporting.spans_a_second(ground, spans=scale.rows // 20, repetitions=scale.repetitions),
        *exporting.calls_beside(ground, calls=2 * scale.calls, repetitions=scale.repetitions),
        *exporting.beside_many_chains(ground, rows=scale.rows, repetitions=scale.repetitions),
    ]


def scenarios() -> list[Scenario]:
    """Return all of them, in the order of the table."""
    return [
        counts,
        one_worker,
        many_workers,
        slow_commits,
        late_call,
        full_ledger,
        resuming,
        policy,
        supersteps,
        woken,
        executed,
        taken_over,
        due_at_once,
        parked,
        inbox,
        sealing,
        looking_up,
        verifying,
        spans,
        dbos,
    ]


def _rates(scale: Scale, floors: list[FloorWorker], runs: list[GovernedRun]) -> dict[str, Figure]:
    return in_turn(
        scale.repetitions,
        floor=lambda: rate(floors, seconds=scale.seconds),
        governed=lambda: rate(runs, seconds=scale.seconds),
    )


def _rate_lines(what: str, taken: dict[str, Figure], bar: float, goal: float) -> list[Line]:
    against = ratios(taken["governed"], taken["floor"])
    return [
        Line(f"floor g2: {what}", taken["floor"], " calls/s"),
        Line(f"governed: {what}", taken["governed"], " calls/s"),
        Line(f"rate against g2, {what}", against, TIMES, bar=Bar(AT_LEAST, bar), goal=Bar(AT_LEAST, goal)),
    ]


def _cpu_ms(work: Callable[[], None], *, calls: int) -> float:
    began = time.thread_time()
    for _ in range(calls):
        work()
    return (time.thread_time() - began) / calls * 1000


def _each_ms(work: Callable[[], object], steps: int) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) / steps * 1000


def _one(value: float) -> Figure:
    return Figure(values=(value,))


@contextmanager
def _store(place: Place) -> Iterator[Store]:
    store = Store(place.agent)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _run(store: Store) -> Iterator[GovernedRun]:
    run = GovernedRun(store)
    run()
    try:
        yield run
    finally:
        run.close()
