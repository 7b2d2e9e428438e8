"""Nothing is lost on the way to a sink, whatever it does and whenever the exporter dies; and nobody waits for it."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from opentelemetry.sdk.trace import ReadableSpan

from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.keeping.erasure import retain
from langgraph_control.audit.telemetry.sinks import following as following_module
from langgraph_control.audit.telemetry.sinks.exporting import Exporting
from langgraph_control.audit.telemetry.sinks.following import Following, Stepped
from langgraph_control.audit.telemetry.sinks.gathering import Batch, Gathering
from langgraph_control.audit.telemetry.sinks.otlp import OtlpSink
from langgraph_control.audit.telemetry.sinks.requests import DeadSpans, RetrySpans, SpansBehind, SpanSinks
from langgraph_control.audit.telemetry.sinks.sink import Answer
from langgraph_control.audit.telemetry.span_ids import span_id
from tests.loss.judge import expected, nothing_is_lost
from tests.support.collector import Collector, collector
from tests.support.many_runs import copy_run
from tests.support.postgres import Database
from tests.support.trails import OpenRun, TrailWriter
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(database: Database) -> OpenRun:
    """A finished run with five spans, beside the publishing of a policy."""
    with TrailWriter(database) as trail:
        trail.publish()
        return trail.refund()


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    """The ledger on the auditor's login."""
    made = Store(database.auditor)
    yield made
    made.close()


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@contextmanager
def sending(
    store: Store, url: str, *, clock: Clock | None = None, batch: int = 512, timeout: float = 5.0
) -> Iterator[Following]:
    """A sink that is followed."""
    sink = OtlpSink("place", url, batch_spans=batch, timeout_seconds=timeout)
    yield Following(store, sink, clock=clock or Clock())
    sink.close()


def steps(following: Following, clock: Clock, *, most: int = 2000) -> None:
    """Step until the sink has everything, and let the time pass that is waited."""
    for _ in range(most):
        if following.step() is Stepped.IDLE:
            return
        clock.now += following.pause_seconds
    raise AssertionError("the sink never had everything")


def test_down_for_an_hour(database: Database, run: OpenRun, store: Store) -> None:
    """A collector that is down for an hour is asked ever more seldom, and then has everything."""
    copy_run(database, run.run_id, 200)
    clock = Clock()
    with collector() as place, sending(store, place.url, clock=clock) as following:
        place.status = lambda _: 503 if clock.now < 3600 else 200
        steps(following, clock)
        assert 3600 <= clock.now < 3600 + following_module.PAUSE_SECONDS_MAX
        assert place.requests < 130
        nothing_is_lost(database, place)


def test_a_sink_says_how_long_it_wants_to_be_left_alone(run: OpenRun, store: Store) -> None:
    """What ``Retry-After`` asks for is waited, within bounds."""
    clock = Clock()
    with collector() as place, sending(store, place.url, clock=clock) as following:
        place.status = lambda number: 200 if number else 429
        place.answer_headers = {"retry-after": "120"}
        assert following.step() is Stepped.FAILED
        assert following.pause_seconds == 120
        place.status = lambda number: 200 if number > 1 else 429
        place.answer_headers = {"retry-after": "86400"}
        assert following.step() is Stepped.FAILED
        assert following.pause_seconds == following_module.ASKED_SECONDS_MAX


class Raising(OtlpSink):
    """A sink that breaks its word: it raises, for a while."""

    tries = 0

    def send(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Raise, or send."""
        self.tries += 1
        if self.tries <= 3:
            raise OverflowError("a header with a secret")
        return super().send(spans)

    def takes_nothing(self) -> bool | None:
        """Raise."""
        raise OverflowError("a header with a secret")


def test_a_sink_that_raises_is_one_that_fails(
    database: Database, run: OpenRun, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """What a sink raises is said without its text, shown by its status, and costs no span."""
    clock = Clock()
    with collector() as place:
        sink = Raising("place", place.url)
        following = Following(store, sink, clock=clock)
        assert following.step() is Stepped.FAILED
        (state,) = store.call(SpanSinks())
        assert state.error == "failed (OverflowError)"
        clock.now += following.pause_seconds
        steps(following, clock)
        nothing_is_lost(database, place)
        sink.close()
    assert "secret" not in caplog.text


@pytest.mark.parametrize("header", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "9" * 400, "0, 0 0 0"])
def test_no_header_ends_an_exporter(database: Database, run: OpenRun, store: Store, header: str) -> None:
    """Whatever a receiver says of when to come again, it is sent to again."""
    clock = Clock()
    with collector() as place, sending(store, place.url, clock=clock) as following:
        place.status = lambda number: 429 if number < 3 else 200
        place.answer_headers = {"retry-after": header}
        steps(following, clock)
        nothing_is_lost(database, place)


def test_a_thread_survives_what_nobody_foresaw(
    database: Database,
    run: OpenRun,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A step that raises anything is told once, and the next ones bring what it left."""
    monkeypatch.setattr(following_module, "PAUSE_SECONDS_MAX", 0.01)
    failing = [KeyError("secret"), KeyError("secret"), RuntimeError("secret")]
    whole = Gathering.batch

    def batch(gathering: Gathering) -> Batch | None:
        if failing:
            raise failing.pop()
        return whole(gathering)

    monkeypatch.setattr(Gathering, "batch", batch)
    with collector() as place, sending(store, place.url) as following:
        stop = threading.Event()
        thread = threading.Thread(target=following.follow, args=(stop,))
        thread.start()
        until(lambda: len(place.once) == len(expected(database)))
        stop.set()
        thread.join(10)
        nothing_is_lost(database, place)
    said = [record.message for record in caplog.records if "unforeseen" in record.message]
    assert [("KeyError" in one, "RuntimeError" in one) for one in said] == [(False, True), (True, False)]
    assert "secret" not in caplog.text


def test_a_slow_collector(database: Database, run: OpenRun, store: Store) -> None:
    """One that answers after the timeout may have taken a batch: it comes again, and counts once."""
    copy_run(database, run.run_id, 20)
    clock = Clock()
    with collector() as place, sending(store, place.url, clock=clock, timeout=0.15) as following:
        place.delay_seconds = 0.4
        assert following.step() is Stepped.FAILED
        until(lambda: len(place.arrived) > 100, seconds=10)
        place.delay_seconds = 0.0
        steps(following, clock)
        assert len(place.arrived) > len(place.once)
        nothing_is_lost(database, place)


def test_one_span_in_a_thousand_is_refused(database: Database, run: OpenRun, store: Store) -> None:
    """A refused span costs itself and a few requests: it is kept apart with what the sink said, all others arrive."""
    copy_run(database, run.run_id, 400)
    all_of_them = sorted(expected(database))
    bad = set(all_of_them[::1000])
    clock = Clock()
    with collector() as place, sending(store, place.url, clock=clock) as following:
        place.refuses = lambda span: (span.trace_id, span.span_id) in bad
        steps(following, clock)
        nothing_is_lost(database, place, refused=bad)
        dead = store.call(DeadSpans(sink="place", limit=100))
        assert len(dead) == following.given_up == len(bad) == 3
        assert {one.run_id.bytes for one in dead} == {trace for trace, _ in bad}
        assert dead[0].error.startswith("refused: too")
        assert dead[0].error.isprintable()
        assert place.requests < len(all_of_them) / 512 + 1 + len(bad) * 2 * 10
        (state,) = store.call(SpanSinks())
        assert (state.sent, state.dead, state.behind) == (len(all_of_them) - 3, 3, 0)


def test_a_quota_costs_no_span(database: Database, run: OpenRun, store: Store) -> None:
    """Where a sink refuses by number, and other spans the second time, none is blamed: all are sent again later."""
    copy_run(database, run.run_id, 30)
    clock, room = Clock(), [50]

    def is_over(_: object) -> bool:
        room[0] -= 1
        return room[0] < 0

    with collector() as place, sending(store, place.url, clock=clock) as following:
        place.refuses = is_over
        assert following.step() is Stepped.FAILED
        (state,) = store.call(SpanSinks())
        assert state.error is not None
        assert "of the same" in state.error
        assert store.call(DeadSpans(sink=None, limit=10)) == ()
        room[0] = 10**6
        clock.now += following.pause_seconds
        steps(following, clock)
        assert following.given_up == 0
        nothing_is_lost(database, place)


def test_what_was_refused_is_sent_again_when_asked(database: Database, run: OpenRun, store: Store) -> None:
    """After ``--retry-dead`` a sink that has come to take it gets it."""
    clock = Clock()
    with collector() as place, sending(store, place.url, clock=clock) as following:
        place.refuses = lambda span: span.name == "control.approval"
        steps(following, clock)
        place.refuses = lambda _: False
        assert store.call(RetrySpans(sink="place")) == 1
        clock.now += 60
        steps(following, clock)
        assert {one.id for one in place.once} == expected(database)
        assert store.call(DeadSpans(sink=None, limit=10)) == ()


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_span_that_spoils_its_request(database: Database, run: OpenRun, store: Store, status: int) -> None:
    """Where a sink refuses the whole request for one span, it is found by halves, and the others arrive."""
    copy_run(database, run.run_id, 100)
    bad = {sorted(expected(database))[77]}
    clock = Clock()
    with collector() as place, sending(store, place.url, clock=clock) as following:
        place.chokes = lambda span: status if (span.trace_id, span.span_id) in bad else 0
        steps(following, clock)
        nothing_is_lost(database, place, refused=bad)
        assert store.call(DeadSpans(sink="place", limit=10))[0].error == f"answered {status}"


def test_a_span_that_breaks_the_sink(database: Database, run: OpenRun, store: Store) -> None:
    """A sink that fails with 500 again and again is searched for the one span that does it."""
    copy_run(database, run.run_id, 10)
    bad = {sorted(expected(database))[7]}
    clock = Clock()
    with collector() as place, sending(store, place.url, clock=clock) as following:
        place.chokes = lambda span: 500 if (span.trace_id, span.span_id) in bad else 0
        steps(following, clock)
        nothing_is_lost(database, place, refused=bad)
        assert 5 <= place.requests < 40


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_a_sink_that_takes_nothing_costs_no_span(database: Database, run: OpenRun, store: Store, status: int) -> None:
    """A wrong login or address gives nothing up, however long it stays; put right, everything arrives."""
    copy_run(database, run.run_id, 30)
    clock = Clock()
    with collector() as place, sending(store, place.url, clock=clock) as following:
        place.status = lambda _: status
        for _ in range(8):
            assert following.step() is Stepped.FAILED
            clock.now += following.pause_seconds
        assert store.call(DeadSpans(sink=None, limit=10)) == ()
        (state,) = store.call(SpanSinks())
        assert state.error == f"answered {status}"
        assert state.failing_since is not None
        place.status = lambda _: 200
        steps(following, clock)
        nothing_is_lost(database, place)


def test_a_collector_that_restarts(database: Database, run: OpenRun, store: Store) -> None:
    """A collector that hangs up in the middle, goes away and comes back has everything in the end."""
    copy_run(database, run.run_id, 60)
    clock = Clock()
    with collector() as place:
        port = int(place.url.split(":")[2].split("/")[0])
        with sending(store, place.url, clock=clock, batch=20) as following:
            place.drop = lambda number: number % 3 == 2
            for _ in range(5):
                following.step()
                clock.now += following.pause_seconds
            before = place.arrived
            following.sink.close()
    with sending(store, f"http://127.0.0.1:{port}/v1/traces", clock=clock, batch=20) as following:
        assert following.step() is not Stepped.SENT  # gone, or the lease of the one before is not over
        with psycopg.connect(database.admin) as connection:
            connection.execute("UPDATE control.span_sink SET lease_until = '-infinity'")
        with collector(port) as again:
            again.arrived = before
            clock.now += 60
            steps(following, clock)
            nothing_is_lost(database, again)


def test_killed_at_every_step(database: Database, run: OpenRun) -> None:
    """An exporter killed with SIGKILL before and after each statement and each request leaves nothing out."""
    copy_run(database, run.run_id, 6)
    with collector() as place:
        assert killed_again_and_again(database, place, batch=3) >= 8
        nothing_is_lost(database, place)


def killed_again_and_again(database: Database, place: Collector, *, batch: int, one_by_one: int = 1000) -> int:
    """Kill exporters, each later than the one before, until one comes to its end; return how many were killed.

    Each step is met by the first so many; those after them die ever later, for only what is left is still to be sent.
    """
    killed, die_at = 0, 1
    while True:
        command = ["--dsn", database.auditor, "--url", place.url, "--batch", str(batch), "--die-at", str(die_at)]
        ended = subprocess.run([sys.executable, "-m", "tests.loss.exporter", *command], cwd=ROOT, check=False)
        if ended.returncode == 0:
            return killed
        assert ended.returncode == -9
        killed += 1
        die_at = die_at + 1 if killed < one_by_one else die_at * 5 // 4


def test_a_late_commit_is_never_skipped(database: Database, run: OpenRun, store: Store) -> None:
    """An entry written before others and committed after them, too late for the look at what is new, arrives."""
    clock = Clock()
    with collector() as place, sending(store, place.url, clock=clock) as following:
        (late,) = copy_run(database, run.run_id, 1, salt="late/")
        with psycopg.connect(database.admin) as slow:
            slow.execute("DELETE FROM control.entry WHERE run_id = %s AND seq > 3", [late])
            slow.execute("UPDATE control.run_state SET seq = 3 WHERE run_id = %s", [late])
            slow.commit()
            slow.execute(
                "INSERT INTO control.entry SELECT %s, seq, tenant, at - interval '1 day', facts, body, NULL, NULL, NULL"
                ", hash FROM control.entry WHERE run_id = %s AND seq > 3",
                [late, run.run_id],
            )
            slow.execute("UPDATE control.run_state SET seq = 9 WHERE run_id = %s", [late])
            copy_run(database, run.run_id, 5, salt="early/")
            steps(following, clock)
            assert late.bytes in {one.span.trace_id for one in place.once}
            assert len([one for one in place.once if one.trace == late]) == 1
            slow.commit()
        clock.now += 3600
        steps(following, clock)
        nothing_is_lost(database, place)


def dropped(database: Database) -> None:
    """Let two months pass, and drop what was before."""
    with TrailWriter(database) as trail:
        trail.pass_time(days=75)
    months = list(retain(database.admin, timedelta(0), comment="over", told=b'"gone"'))
    assert {month.kept_for for month in months} == {None}


def test_what_retention_dropped_is_waited_for_by_nobody(database: Database, run: OpenRun, store: Store) -> None:
    """A place that never had dropped runs lacks nothing of them, and asks for nothing of them again."""
    copy_run(database, run.run_id, 20)
    dropped(database)
    with collector() as place, sending(store, place.url) as following:
        steps(following, Clock())
        nothing_is_lost(database, place)
        (state,) = store.call(SpanSinks())
        assert (state.behind, state.dead) == (0, 0)
        assert store.call(SpansBehind(sink="place", after=None, chains=100)).chains == {}
        assert following.step() is Stepped.IDLE


def test_a_run_that_was_cut_has_no_root_made_of_what_is_left(database: Database, store: Store) -> None:
    """Of a run whose beginning was dropped the rest is sent under its ids, and ends of what is gone by themselves."""
    with TrailWriter(database) as trail:
        trail.publish()
        run = trail.open()
        trail.observe(run)
        trail.release(run, RunState.WAITING, "later")
        trail.pass_time(days=45)
        run = trail.resume(run)
        trail.observe(run)
        trail.release(run)
        had = expected(database)
        months = list(retain(database.admin, timedelta(days=10), comment="over", told=b'"gone"'))
        assert [(month.kept_for, month.whole_runs) for month in months] == [(None, 0)]
    with collector() as place, sending(store, place.url) as following:
        steps(following, Clock())
        nothing_is_lost(database, place)
        sent = [one for one in place.once if one.trace == run.run_id]
        root = span_id(run.run_id).to_bytes(8)
        assert sent
        assert {one.span.span_id for one in sent} & {root} == set()
        assert [one.name for one in sent][-1] == "run.finished"
        assert all(one.span.parent_span_id == root for one in sent)
        assert {one.name for one in sent if one.id not in had} == {"run.resumed", "run.finished"}


def test_a_refused_span_whose_entries_are_gone_stays_on_the_list(
    database: Database, run: OpenRun, store: Store
) -> None:
    """What cannot be made again is not taken off the list of what was given up."""
    bad = {sorted(one for one in expected(database) if one[0] == run.run_id.bytes)[1]}
    with collector() as place, sending(store, place.url) as following:
        place.refuses = lambda span: (span.trace_id, span.span_id) in bad
        steps(following, Clock())
        dropped(database)
        assert store.call(RetrySpans(sink=None)) == 0
        assert len(store.call(DeadSpans(sink=None, limit=10))) == 1


def test_two_processes_send_to_one_place_in_turn(database: Database, run: OpenRun, store: Store) -> None:
    """While one process has the lease another sends nothing; when it is gone the other goes on where it was."""
    clock = Clock()
    with (
        collector() as place,
        sending(store, place.url, clock=clock) as one,
        sending(store, place.url, clock=clock) as two,
    ):
        assert one.step() is Stepped.SENT
        assert two.step() is Stepped.ELSEWHERE
        one.leave()
        copy_run(database, run.run_id, 3)
        steps(two, clock)
        nothing_is_lost(database, place)
        assert len(place.arrived) == len(place.once)


def test_several_places_do_not_wait_for_one_another(database: Database, run: OpenRun, store: Store) -> None:
    """A place that is down keeps nothing from the others, and each has a cursor of its own."""
    copy_run(database, run.run_id, 50)
    with collector() as up, collector() as down:
        down.status = lambda _: 503
        with Exporting(store, [OtlpSink("down", down.url), OtlpSink("up", up.url)]):
            until(lambda: len(up.once) == len(expected(database)), seconds=30)
            nothing_is_lost(database, up)
            assert not down.arrived
            states = {state.sink: state for state in store.call(SpanSinks())}
            until(lambda: not {s.sink: s for s in store.call(SpanSinks())}["up"].behind, seconds=10)
            assert states["down"].behind > 400
            assert states["down"].error == "answered 503"


def test_spans_come_while_runs_go_on(database: Database, store: Store) -> None:
    """What becomes final while the exporter runs arrives soon, a parked run's spans before its end."""
    with TrailWriter(database) as trail, collector() as place:
        trail.publish()
        with Exporting(store, [OtlpSink("place", place.url)]):
            until(lambda: place.once, seconds=30)
            run = trail.open()
            trail.observe(run)
            until(lambda: "execute_tool find_invoice" in {one.name for one in place.once}, seconds=30)
            trail.release(run)
            until(lambda: "invoke_agent support" in {one.name for one in place.once}, seconds=30)
        nothing_is_lost(database, place)


def test_stopping_is_quick(run: OpenRun, store: Store) -> None:
    """Told to stop while a place is down, the exporter does not wait for its next try."""
    with collector() as place:
        place.status = lambda _: 503
        with Exporting(store, [OtlpSink("place", place.url)]):
            until(lambda: place.requests >= 2, seconds=30)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("spans ")]
