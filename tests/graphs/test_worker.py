"""Workers as operators run them: real processes, real signals, one database."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from psycopg import sql

from langgraph_control import Approvals, Control, Run
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.audit.postgres.server import PostgresServer
from langgraph_control.audit.seals.checkpoints import SignedCheckpoint
from langgraph_control.audit.seals.pins import pinned_notes
from langgraph_control.audit.seals.requests import FindTree, Leaves
from langgraph_control.audit.seals.rotation import create_key
from tests.support.desk import new_trigger, publish
from tests.support.postgres import Database, cloned, template
from tests.support.temporal_server import temporal_address
from tests.support.waiting import until
from tests.support.workshop import WorkerProcess, Workshop, build, order, read

LEASE_MS = 3_000


@pytest.fixture
def workshop(database: Database, tmp_path: Path) -> Workshop:
    """A folder with a graph, and a ledger with its policy."""
    publish(database)
    return Workshop.at(tmp_path, database)


@pytest.fixture
def client(workshop: Workshop) -> Iterator[Control]:
    """Whoever submits and asks: a process without any graph."""
    with workshop.control() as control:
        yield control


def submitted(client: Control, number: int | str = 1, **order_of: Any) -> Run:
    """Submit an order."""
    return client.submit("workshop", order(number, **order_of), trigger=new_trigger(), actor="bot")


def until_state(client: Control, run: Run, state: RunState, *, seconds: float = 20) -> Run:
    """Return the run once it stands there."""
    until(lambda: client.get(run.id).state is state, seconds=seconds)
    return client.get(run.id)


def approve(database: Database, run: Run) -> float:
    """Say yes to what a run waits for. Returns the moment just before."""
    with Approvals(database.approver("ana")) as approvals:
        approvals.inbox()  # connected before the clock is read
        began = time.time()
        for name in run.approvals:
            approvals.approve(name)
    return began


def entries(database: Database, run: Run) -> list[tuple[datetime, list[str]]]:
    """Return the moments and events of a run's entries."""
    with LedgerConnection(database.auditor) as auditor:
        return [(entry.at, orjson.loads(entry.facts)["events"]) for entry in auditor.entries(run_id(run.id))]


def resumed_at(database: Database, run: Run) -> list[datetime]:
    """Return when a run was taken up again."""
    return [at for at, events in entries(database, run) if "run.resumed" in events]


def test_a_submitted_run_is_driven(workshop: Workshop, client: Control) -> None:
    """Submitted by a process that has no graph, it is driven by a worker, and each step of that is one line."""
    with workshop.worker("--name", "w1") as worker:
        run = submitted(client)
        assert (run.state, run.reason, run.next_step) == (RunState.WAITING, "queued", "langgraph-control worker")
        until_state(client, run, RunState.DONE)
        assert {one.process for one in read(workshop.effects)} == {worker.process.pid}
        worker.says("done after")
        assert worker.stop() == 0
    told = [line.split(" INFO    ")[1] for line in worker.lines.splitlines()]
    assert told[0] == "worker w1: ready for workshop; 8 at a time"
    assert told[1] == f"{run.id} of workshop: driving it (was waiting: queued)"
    assert told[2].startswith(f"{run.id} of workshop: done after ")
    assert told[3:] == ["worker w1: stopping; in hand: nothing", "worker w1: stopped"]
    with LedgerConnection(workshop.database.auditor) as auditor:
        said = [orjson.loads(entry.body) for entry in auditor.entries(run_id(run.id))]
    assert "w1" in {body.get("where", {}).get("worker") for body in said}


def test_what_was_submitted_before_is_driven_when_a_worker_comes(workshop: Workshop, client: Control) -> None:
    """Nobody was there to hear of it: the first sweep of the first worker finds it."""
    run = submitted(client)
    with workshop.worker():
        until_state(client, run, RunState.DONE)


def test_a_decision_wakes_the_run_elsewhere(workshop: Workshop, client: Control) -> None:
    """Parked by this process, a run goes on in a worker once people said yes: by notification, for nobody sweeps."""
    with workshop.control() as here, workshop.worker(sweep_seconds=3600) as worker:
        graph = build(here, workshop.effects)
        run = here.run(graph, order(1, amount="500"), trigger=new_trigger(), actor="bot")
        assert run.state is RunState.NEEDS_APPROVAL
        approve(workshop.database, run)
        until_state(client, run, RunState.DONE)
    assert {one.process for one in read(workshop.effects)} == {worker.process.pid}


def test_a_decision_whose_notification_is_lost_is_found(workshop: Workshop, client: Control) -> None:
    """Without any notification, a sweep finds what was decided within five seconds."""
    with psycopg.connect(workshop.database.admin) as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION control.notify_waiters(p_tenant text, p_key bytea) RETURNS void"
            " LANGUAGE sql AS ''"
        )
    with workshop.worker():
        run = until_state(client, submitted(client, amount="500"), RunState.NEEDS_APPROVAL)
        decided = approve(workshop.database, run)
        until_state(client, run, RunState.DONE)
    assert read(workshop.effects)[0].at - decided < 5


def test_an_unanswered_request_is_told_when_it_expires(workshop: Workshop, client: Control) -> None:
    """When a request expires, its run goes on by itself and the model is told; it is woken once for that."""
    with workshop.worker():
        run = until_state(client, submitted(client, amount="500"), RunState.NEEDS_APPROVAL)
        with psycopg.connect(workshop.database.admin) as connection:
            connection.execute("UPDATE control.approval SET expires_at = clock_timestamp()")
        run = until_state(client, run, RunState.BLOCKED)  # this graph lets the refusal through
        time.sleep(5)
        assert len(resumed_at(workshop.database, run)) == 2
    assert "WriteRefused" in run.reason
    assert read(workshop.effects) == []


@pytest.mark.parametrize("where", ["worker", "here"])
def test_a_timer_is_kept(workshop: Workshop, client: Control, where: str) -> None:
    """Told to come again in six seconds, a run goes on then, not before and at most two seconds after."""
    with workshop.control() as here, workshop.worker():
        if where == "worker":
            run = submitted(client, later=6)
        else:
            graph = build(here, workshop.effects)
            run = here.run(graph, order(1, later=6), trigger=new_trigger(), actor="bot")
        run = until_state(client, run, RunState.RETRYING)
        assert run.wake_at is not None
        until_state(client, run, RunState.DONE)
    late = resumed_at(workshop.database, run)[-1] - run.wake_at
    assert timedelta() <= late < timedelta(seconds=2)


def test_a_timer_that_the_queue_lost_is_found(workshop: Workshop, client: Control) -> None:
    """With every job deleted from the queue, the sweep puts the run on it again."""
    with workshop.worker():
        run = until_state(client, submitted(client, later=6), RunState.RETRYING)
        with psycopg.connect(workshop.database.admin, autocommit=True) as connection:
            connection.execute("SET search_path TO control_queue")
            until(lambda: connection.execute("DELETE FROM procrastinate_jobs WHERE status = 'todo'").rowcount)
        until_state(client, run, RunState.DONE, seconds=40)


def of_the_two(first: WorkerProcess, second: WorkerProcess, workshop: Workshop) -> tuple[WorkerProcess, WorkerProcess]:
    """Return the worker that drives, and the other one."""
    until(lambda: read(workshop.effects))
    drives = read(workshop.effects)[0].process
    return (first, second) if drives == first.process.pid else (second, first)


def test_a_killed_workers_run_goes_on_elsewhere(workshop: Workshop, client: Control) -> None:
    """Killed in the middle of a write, its run is taken over within its lease and a second."""
    with workshop.worker(lease_ms=LEASE_MS) as one, workshop.worker(lease_ms=LEASE_MS) as two:
        run = submitted(client, slow_ms=60_000)
        drives, other = of_the_two(one, two, workshop)
        drives.kill()
        with psycopg.connect(workshop.database.admin) as connection:
            row = connection.execute(
                "SELECT lease_until FROM control.run_state WHERE run_id = %s", (run_id(run.id),)
            ).fetchone()
        assert row is not None
        other.says("driving it (taken over from a worker that is gone)")
        taken = resumed_at(workshop.database, run)[-1]
    assert timedelta() <= taken - row[0] <= timedelta(seconds=1)


def test_a_stalled_worker_is_fenced(workshop: Workshop, client: Control) -> None:
    """Stopped for longer than its lease in mid-step and then let go, a worker neither stores nor does anything more."""
    with workshop.worker(lease_ms=LEASE_MS) as one, workshop.worker(lease_ms=LEASE_MS) as two:
        run = submitted(client, steps=2)
        drives, _ = of_the_two(one, two, workshop)
        # Not before the write is on record: until then its action is held for longer than the run.
        until(lambda: any("action.succeeded" in events for _, events in entries(workshop.database, run)))
        os.kill(drives.process.pid, signal.SIGSTOP)
        until_state(client, run, RunState.DONE, seconds=30)
        os.kill(drives.process.pid, signal.SIGCONT)
        drives.says("another worker drives it")
    with workshop.control() as control:
        build(control, workshop.effects)
        assert control.get(run.id).output["log"] == ["refunded", "first", "second"]
    assert [effect.what for effect in read(workshop.effects)] == ["begun", "done"]


def test_a_stopped_worker_leaves_its_runs_to_others(workshop: Workshop, client: Control) -> None:
    """Told to stop, it ends the step in hand, gives the run up and exits; another goes on with the next step."""
    with workshop.worker() as one, workshop.worker() as two:
        run = submitted(client, steps=2)
        drives, other = of_the_two(one, two, workshop)
        until(lambda: len(read(workshop.effects)) == 2)
        assert drives.stop() == 0
        until_state(client, run, RunState.DONE)
        other.says("driving it (was waiting: drained)")
    assert f"in hand: {run.id}" in drives.lines
    assert f"{run.id} of workshop: waiting (drained)" in drives.lines
    assert [effect.process for effect in read(workshop.effects)] == [drives.process.pid] * 2


def test_what_does_not_end_in_time_is_given_up(workshop: Workshop, client: Control) -> None:
    """A step that outlives the time for draining is left: its run's lease is given up, and the process ends."""
    with workshop.worker("--drain-seconds", "0.5") as first:
        run = submitted(client, slow_ms=40_000)
        until(lambda: read(workshop.effects))
        assert first.stop(seconds=20) == 0
        run = client.get(run.id)
    assert (run.state, run.reason) == (RunState.WAITING, "worker stopped")


def test_a_graph_that_raises_blocks_its_run_and_no_other(workshop: Workshop, client: Control) -> None:
    """One run's error is one line and that run's reason; the worker goes on, and leaves the run to people."""
    with workshop.worker() as worker:
        broken = client.submit("workshop", {"log": []}, trigger=new_trigger(), actor="bot")
        fine = submitted(client)
        until_state(client, fine, RunState.DONE)
        broken = until_state(client, broken, RunState.BLOCKED)
        time.sleep(3)
        assert len(resumed_at(workshop.database, broken)) == 1
    assert broken.reason == "the graph raised KeyError"
    assert f"{broken.id} of workshop: the graph raised KeyError" in worker.lines


def test_a_run_of_an_unknown_graph_is_left(workshop: Workshop, client: Control) -> None:
    """A worker that lacks a run's graph says so and leaves it as it is; a worker that has the graph drives it."""
    workshop.put_graph("other")
    with workshop.worker() as first:
        run = client.submit("other", order(1), trigger=new_trigger(), actor="bot")
        first.says(f"{run.id} is due, but this worker has no graph 'other'")
        assert client.get(run.id).reason == "queued"
        workshop.name_graphs({"other": "./other.py:graph"})
        with workshop.worker() as second:
            until_state(client, run, RunState.DONE)
    assert {one.process for one in read(workshop.effects)} == {second.process.pid}


def test_one_name_one_worker(workshop: Workshop) -> None:
    """A second worker of a living one's name is refused; a killed one's name is free at once."""
    with workshop.worker("--name", "w1") as first:
        with workshop.worker("--name", "w1", ready=False) as second:
            assert second.process.wait(30) == 1
            assert "worker_name_taken" in second.lines
        first.kill()
        with workshop.worker("--name", "w1") as third:
            assert third.stop() == 0


def test_waiting_runs_cost_no_process_and_no_connection(workshop: Workshop, client: Control) -> None:
    """A thousand waiting runs hold nothing; a worker that looks after them has a handful of connections and no jobs."""
    runs = [submitted(client, number, amount="500") for number in range(40)]
    with workshop.worker() as first:
        for run in runs:
            until_state(client, run, RunState.NEEDS_APPROVAL, seconds=60)
        first.stop()
    assert copy_runs(workshop.database, times=24) == len(runs) * 25 == 1000
    client.close()
    until(lambda: connections_of_ours(workshop.database) == 0)
    with workshop.worker(), psycopg.connect(workshop.database.admin, autocommit=True) as connection:
        time.sleep(5)  # some sweeps, each of which could open something
        # one listens for votes, one for jobs, the others look for what is due and fetch jobs
        assert 2 <= connections_of_ours(workshop.database) <= 6
        assert connection.execute("SELECT count(*) FROM control_queue.procrastinate_jobs").fetchone() == (0,)


def copy_runs(database: Database, *, times: int) -> int:
    """Have each parked run so many times more, and return how many there are then."""
    copied = (
        "INSERT INTO control.{table} SELECT n.* FROM control.{table} r, generate_series(1, %(times)s) i,"
        " jsonb_populate_record(r, to_jsonb(r) || jsonb_strip_nulls(jsonb_build_object("
        " 'run_id', md5(r.run_id::text || i), 'trigger', to_jsonb(r) ->> 'trigger' || '/' || i,"
        " 'thread_id', to_jsonb(r) ->> 'thread_id' || '/' || i))) n WHERE {which}"
    )
    parked = "r.run_id IN (SELECT run_id FROM control.run_state WHERE state = 'needs_approval' AND seq > 0)"
    with psycopg.connect(database.admin) as connection:
        for table in ("run", "open_run", "run_state"):
            connection.execute(
                sql.SQL(copied).format(table=sql.Identifier(table), which=sql.SQL(parked)), {"times": times}
            )
        (count,) = connection.execute("SELECT count(*) FROM control.open_run").fetchone() or (-1,)
    return int(count)


def connections_of_ours(database: Database) -> int:
    """Return how many connections the agent's login has."""
    with psycopg.connect(database.admin) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usename = 'test_agent'", (database.name,)
        ).fetchone() or (-1,)
    return int(count)


def test_many_due_at_once_are_shared(workshop: Workshop, client: Control) -> None:
    """Sixty runs that are due at one instant are driven by two workers, each run by one and once."""
    runs = [submitted(client, number) for number in range(60)]
    set_due(workshop.database, "1 hour")
    with workshop.worker() as first, workshop.worker() as second:
        set_due(workshop.database, "1 s")
        for run in runs:
            until_state(client, run, RunState.DONE, seconds=60)
    assert all(len(resumed_at(workshop.database, run)) == 1 for run in runs)
    done = [one for one in read(workshop.effects) if one.what == "done"]
    assert len(done) == len({one.key for one in done}) == len(runs)
    assert {one.process for one in done} == {first.process.pid, second.process.pid}


def set_due(database: Database, after: str) -> None:
    """Have everything that waits be due at one instant."""
    with psycopg.connect(database.admin) as connection:
        at = connection.execute("SELECT clock_timestamp() + %s::interval", (after,)).fetchone()
        connection.execute("UPDATE control.run_state SET wake_at = %s WHERE state = 'waiting'", at)
        connection.execute("UPDATE control.open_run SET due_at = %s", at)


def test_a_restarted_postgres_is_outlived(server_folder: Path, tmp_path: Path) -> None:
    """With Postgres restarted under it as by a loss of power, a worker goes on by itself: it hears and drives again."""
    with PostgresServer.start(server_folder) as server, cloned(server.dsn(), template(server.dsn())) as database:
        publish(database)
        workshop = Workshop.at(tmp_path, database)
        with workshop.control() as client, workshop.worker() as worker:
            before = submitted(client, 1)
            until_state(client, before, RunState.DONE)
            half_way = until_state(client, submitted(client, 2, amount="500"), RunState.NEEDS_APPROVAL)
            cluster = server.cluster
            arguments = ("restart", "-D", str(cluster.folder), "-m", "immediate", "-w", "-l", str(cluster.log))
            cluster.programs.run("pg_ctl", *arguments, within_seconds=60)
            cluster.wait_until_ready()
            worker.says("listening again")
            approve(database, half_way)
            until_state(client, half_way, RunState.DONE, seconds=30)
            until_state(client, submitted(client, 3), RunState.DONE, seconds=30)
            assert worker.stop() == 0


@pytest.mark.xdist_group("temporal")
def test_temporal_wakes_a_worker(workshop: Workshop, client: Control) -> None:
    """With Temporal in procrastinate's place, a run is driven, parks, goes on when decided, and ends."""
    with temporal_address() as address, workshop.worker("--queue", "temporal", "--temporal-address", address):
        run = until_state(client, submitted(client, amount="500", later=6), RunState.NEEDS_APPROVAL)
        approve(workshop.database, run)
        run = until_state(client, run, RunState.RETRYING)
        assert run.wake_at is not None
        until_state(client, run, RunState.DONE)
    assert timedelta() <= resumed_at(workshop.database, run)[-1] - run.wake_at < timedelta(seconds=2)


def test_a_worker_seals_beside_its_work(workshop: Workshop, client: Control, tmp_path: Path) -> None:
    """Given a key and pins, a worker seals what it drives; a pin whose disk is full is told once and stops no run."""
    key, pins = tmp_path / "seal.key", tmp_path / "pins"
    verifier = create_key(workshop.database.admin, key)
    options = ("--seal-key", str(key), "--pin", "file:/dev/full", "--pin", f"file:{pins}")
    with workshop.worker(*options) as worker:
        run = submitted(client)
        until_state(client, run, RunState.DONE)
        worker.says("No space left on device")
        assert worker.stop() == 0
    assert worker.lines.count("No space left on device") == 1
    with workshop.worker(*options[:2], "--pin", f"file:{pins}"), LedgerConnection(workshop.database.auditor) as auditor:
        until(lambda: {leaf.run_id for leaf in auditor.ask(Leaves())} > {run_id(run.id)}, seconds=30)
        size = auditor.ask(FindTree()).size
        until(lambda: newest(pins).checkpoint.size >= size, seconds=30)
    assert newest(pins).signed_by([verifier]) == (verifier,)


def newest(pins: Path) -> SignedCheckpoint:
    """Return the last checkpoint of a file of pins."""
    return SignedCheckpoint.parse(pinned_notes(pins.read_text())[-1])
