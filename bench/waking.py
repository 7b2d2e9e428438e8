"""How soon a waiting run goes on in another process: after a decision, at its time, after a death, and many at once.

Every moment is one that the database wrote down: of the decision, of the timer, of the lease's end, of the resuming.
"""

import os
import random
import signal
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Final

from bench.ground import Ground
from bench.measuring import Figure
from bench.table import AT_LEAST, AT_MOST, Bar, Line
from bench.waking_ground import Waking, until, waking
from langgraph_control.audit.asking.rows import RunState

__all__ = ["decisions", "many_due", "parked", "takeovers", "timers"]

LEASE_SECONDS: Final = 15
IDLE_SECONDS: Final = 8.0
"""Some sweeps and heartbeats long, each of which could open something."""

MS: Final = timedelta(milliseconds=1)


def decisions(ground: Ground, *, runs: int) -> list[Line]:
    """Measure from a person's yes to the run being resumed, with notifications and without any.

    Args:
        ground: the server.
        runs: with notifications; fewer without, where each takes seconds.
    """
    with waking(ground, "decisions") as place, place.worker():
        _decided_ms(place)
        told = Figure(values=tuple(_decided_ms(place) for _ in range(runs)))
        place.rows(
            "CREATE OR REPLACE FUNCTION control.notify_waiters(p_tenant text, p_key bytea) RETURNS void"
            " LANGUAGE sql AS ''"
        )
        found = Figure(values=tuple(_decided_ms(place) for _ in range(max(5, runs // 4))))
    return [
        Line("approval to resumed in another process", told, " ms", bar=Bar(AT_MOST, 100)),
        Line("the same, p99", _p99(told), " ms", bar=Bar(AT_MOST, 500)),
        Line("the same, notification lost, worst", _one(found.high), " ms", bar=Bar(AT_MOST, 5000)),
    ]


def timers(ground: Ground, *, runs: int) -> list[Line]:
    """Measure from the moments that runs wait for to their being resumed.

    Args:
        ground: the server.
        runs: how many, due at different moments.
    """
    with waking(ground, "timers") as place, place.worker():
        submitted = [place.submit(later=random.randint(6, 12)) for _ in range(runs)]  # noqa: S311 - spread
        late = []
        for run in submitted:
            resumed = place.resumed(run, times=2)
            ((wake_at,),) = place.rows(
                "SELECT to_timestamp((facts::jsonb ->> 'wake_at')::double precision / 1000000) FROM control.entry"
                " WHERE run_id = %s::uuid AND facts::jsonb ->> 'state' = 'retrying'",
                run.id.removeprefix("run_"),
            )
            late.append((resumed - wake_at) / MS)
    figure = Figure(values=tuple(late))
    return [
        Line("timer lateness", figure, " ms", bar=Bar(AT_MOST, 500)),
        Line("the same, p99", _p99(figure), " ms", bar=Bar(AT_MOST, 2000)),
    ]


def takeovers(ground: Ground, *, deaths: int) -> list[Line]:
    """Kill a worker in the middle of a write, and measure from the end of its lease to its run's being resumed.

    Args:
        ground: the server.
        deaths: how many.
    """
    after = []
    with waking(ground, "takeovers") as place, ExitStack() as workers:
        workers.enter_context(place.worker())
        for _ in range(deaths):
            workers.enter_context(place.worker())
            run = place.submit(slow=600)
            place.resumed(run, times=1)
            victim, _ = place.driver(run)
            os.kill(victim, signal.SIGKILL)
            _, lease_until = place.driver(run)
            after.append((place.resumed(run, times=2) - lease_until) / MS)
    what = f"kill -9: from its lease's end ({LEASE_SECONDS} s) to taken over"
    return [Line(what, Figure(values=tuple(after)), " ms", bar=Bar(AT_MOST, 1000))]


def parked(ground: Ground, *, runs: int) -> list[Line]:
    """Park many runs for people, and count what they hold: connections, processes and jobs.

    Args:
        ground: the server.
        runs: how many.
    """
    with waking(ground, "parked") as place:
        with place.worker():
            time.sleep(IDLE_SECONDS)
            empty = place.connections()
        with place.worker(), place.worker():
            began = time.monotonic()
            for _ in range(runs):
                place.submit(amount="500")
            until(lambda: place.standing(RunState.NEEDS_APPROVAL) == runs, poll_seconds=0.5)
            seconds = time.monotonic() - began
        place.control.close()
        until(lambda: not place.connections())
        alone, processes = place.connections(), place.processes()
        with place.worker():
            time.sleep(IDLE_SECONDS)
            idle, jobs = place.connections(), place.rows("SELECT count(*) FROM control_queue.procrastinate_jobs")
            still = place.standing(RunState.NEEDS_APPROVAL)
    return [
        Line(f"{runs:,} runs submitted and parked by two workers", _one(runs / seconds), " runs/s"),
        Line("still parked after all that", _one(still), "", bar=Bar(AT_LEAST, runs)),
        Line("connections they hold, no worker there", _one(alone), "", bar=Bar(AT_MOST, 0)),
        Line("processes they hold, no worker there", _one(processes), "", bar=Bar(AT_MOST, 0)),
        Line("an idle worker's connections beyond those without them", _one(idle - empty), "", bar=Bar(AT_MOST, 0)),
        Line("their jobs on the queue", _one(jobs[0][0]), "", bar=Bar(AT_MOST, 0)),
    ]


def many_due(ground: Ground, *, runs: int) -> list[Line]:
    """Have many runs be due at one instant, and two workers drive them.

    Args:
        ground: the server.
        runs: how many.
    """
    with waking(ground, "many_due") as place:
        for _ in range(runs):
            place.submit()
        _due_in(place, "1 hour")
        with place.worker(), place.worker():
            _due_in(place, "2 s")
            began = time.monotonic() + 2
            until(lambda: place.rows("SELECT count(*) FROM control.open_run") == [(0,)], poll_seconds=0.5)
            seconds = time.monotonic() - began
        ((most,),) = place.rows(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM control.entry WHERE facts::jsonb -> 'events' ? 'run.resumed'"
            " GROUP BY run_id) x"
        )
    return [
        Line(f"{runs:,} runs due at one instant, two workers", _one(runs / seconds), " runs/s"),
        Line("how often any of them was driven", _one(most), "", bar=Bar(AT_MOST, 1)),
    ]


def _decided_ms(place: Waking) -> float:
    run = place.submit(amount="500")
    place.approve(run)
    (granted,) = place.at(run, "approval.granted")
    return (place.resumed(run, times=2) - granted) / MS


def _due_in(place: Waking, span: str) -> None:
    ((at,),) = place.rows("SELECT clock_timestamp() + %s::interval", span)
    place.rows("UPDATE control.run_state SET wake_at = %s WHERE state = 'waiting'", at)
    place.rows("UPDATE control.open_run SET due_at = %s", at)


def _p99(figure: Figure) -> Figure:
    ordered = sorted(figure.values)
    return _one(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))])


def _one(value: float) -> Figure:
    return Figure(values=(value,))
