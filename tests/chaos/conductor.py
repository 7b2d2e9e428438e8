"""The conductor: hands deliveries to workers, kills them, restarts Postgres, and drives all runs to rest at the end."""

import heapq
import itertools
import multiprocessing
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Final

from tests.chaos.deaths import PLACES, Death
from tests.chaos.judge import AT_REST
from tests.chaos.people import vote
from tests.chaos.plans import Job, jobs
from tests.chaos.worker import JOBS_AT_ONCE, Report, Settings, work
from tests.chaos.world import World

OPEN_JOBS: Final = 24
KILLS_PER_SECOND: Final = 2.0
KILLS_PER_RESTART: Final = 40
DOUBLE_DELIVERY: Final = 0.15
LABELLED: Final = 0.6
AGAIN_SECONDS: Final = (0.2, 1.5)  # before a run that is not at rest is delivered again
REST_SECONDS: Final = 120.0
KILLING_SECONDS_PER_KILL: Final = 3.0
KILLING_SECONDS_MIN: Final = 60.0
STOP_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 1.0


@dataclass(slots=True, eq=False)
class _Worker:
    process: ForkServerProcess
    pipe: Connection
    busy: dict[str, int] = field(default_factory=dict)  # trigger → deliveries under way
    doomed: bool = False

    @property
    def load(self) -> int:
        return sum(self.busy.values())


@dataclass(slots=True, kw_only=True)
class Score:
    """What was done to the workers.

    Args:
        kills: workers killed, by us or at a label of their own.
        labelled: of these, how many died at a label.
        restarts: of Postgres.
        deliveries: jobs handed to a worker.
    """

    kills: int = 0
    labelled: int = 0
    restarts: int = 0
    deliveries: int = 0


class Conductor:
    """Runs one session of chaos.

    Args:
        world: where.
        seed: draws plans, faults, deaths and restarts.
        workers: how many processes at once.
        kills: how many of them are to die.
        say: told how it goes.
    """

    def __init__(self, world: World, *, seed: int, workers: int, kills: int, say: Callable[[str], None]) -> None:
        self._world = world
        self._dice = random.Random(seed)
        self._plans = jobs(random.Random(f"plans {seed}"))
        self._count, self._kills, self._say = workers, kills, say
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.chaos.worker", "tests.chaos.people"])
        self._workers: list[_Worker] = []
        self._later: list[tuple[float, int, str]] = []  # when, tie-breaker, trigger
        self._ties = itertools.count()
        self._restart: threading.Thread | None = None
        self.jobs: dict[str, Job] = {}
        self.reports: dict[str, Report] = {}
        self.score = Score()

    @property
    def missing(self) -> str:
        """What there was no time for; "" if nothing."""
        short = self._kills - self.score.kills
        return f"{short} of {self._kills} kills" if short > 0 else ""

    def run(self) -> None:
        """Do all of it: work under fire, then come to rest, then deliver everything once more."""
        voter_end, voter_pipe = self._context.Pipe()
        voter = self._context.Process(target=vote, args=(voter_end, self._world.database.approver("ana")), daemon=True)
        voter.start()
        try:
            self._world.misbehave(self._dice)
            self._under_fire()
            self._say(f"{self.score.kills} kills; bringing {len(self._unfinished())} runs to rest")
            self._world.billing.clear_faults()
            self._come_to_rest()
            self._deliver_again(self.reports)
            self._let_requests_expire()
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()
                worker.pipe.close()
            voter_pipe.send(None)
            voter.join(STOP_SECONDS)
            voter.kill()

    def _under_fire(self) -> None:
        end = time.monotonic() + max(KILLING_SECONDS_MIN, self._kills * KILLING_SECONDS_PER_KILL)
        next_kill, next_restart = time.monotonic() + 1, min(KILLS_PER_RESTART, self._kills // 2)
        while self.score.kills < self._kills and time.monotonic() < end:
            self._keep_workers(mortal=True)
            while len(self._unfinished()) < min(OPEN_JOBS, self._kills + 4):
                job = next(self._plans)
                self._world.prepare(job)
                self.jobs[job.trigger] = job
                self._again(job.trigger, 0)
            self._hand_out()
            self._listen(0.05)
            if time.monotonic() >= next_kill:
                self._kill_one()
                next_kill = time.monotonic() + self._dice.expovariate(KILLS_PER_SECOND)
            if self.score.kills >= next_restart:
                next_restart += KILLS_PER_RESTART
                self._restart_postgres()
        if self._restart is not None:
            self._restart.join()

    def _come_to_rest(self) -> None:
        for worker in self._workers:
            worker.doomed = True  # some are still to die somewhere, and now they may not
            worker.process.kill()
        end = time.monotonic() + REST_SECONDS
        while (self._unfinished() or self._under_way()) and time.monotonic() < end:
            self._keep_workers(mortal=False)
            self._hand_out()
            self._listen(0.05)

    def _deliver_again(self, triggers: Iterable[str]) -> None:
        """Every trigger once more: nothing may happen, and everyone is told what was told before."""
        for trigger in list(triggers):
            if self.reports[trigger].state in AT_REST:
                self._again(trigger, 0)
        end = time.monotonic() + REST_SECONDS
        while (self._later or self._under_way()) and time.monotonic() < end:
            self._keep_workers(mortal=False)
            self._hand_out()
            self._listen(0.05)

    def _let_requests_expire(self) -> None:
        """Nobody here wakes a run that needs a person when its request expires: deliver those until none is open."""
        end = time.monotonic() + REST_SECONDS
        while self._world.asks_people() and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
            self._deliver_again(trigger for trigger, report in self.reports.items() if report.state == "needs_human")

    def _unfinished(self) -> list[str]:
        at_rest = {trigger for trigger, report in self.reports.items() if report.state in AT_REST}
        return [trigger for trigger in self.jobs if trigger not in at_rest]

    def _under_way(self) -> bool:
        return any(worker.busy for worker in self._workers)

    def _keep_workers(self, *, mortal: bool) -> None:
        while len(self._workers) < self._count:
            death = None
            if mortal and self._dice.random() < LABELLED:
                death = Death(place=self._dice.choice(PLACES), passes=self._dice.randint(0, 5))
            ours, theirs = self._context.Pipe()
            settings = Settings(
                dsn=self._world.database.agent,
                billing_url=self._world.billing.url,
                way=self._dice.choice(("sync", "async")),
                death=death,
            )
            process = self._context.Process(target=work, args=(theirs, settings), daemon=True)
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, ours))

    def _hand_out(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            free = [worker for worker in self._workers if worker.load < JOBS_AT_ONCE]
            if not free:
                return
            _, _, trigger = heapq.heappop(self._later)
            twice = self._dice.random() < DOUBLE_DELIVERY
            for worker in self._dice.sample(free, min(len(free), 2 if twice else 1)):
                self._deliver(worker, trigger)

    def _deliver(self, worker: _Worker, trigger: str) -> None:
        try:
            worker.pipe.send(self.jobs[trigger])
        except OSError:
            self._again(trigger)  # dead already; noticed in a moment
            return
        worker.busy[trigger] = worker.busy.get(trigger, 0) + 1
        self.score.deliveries += 1

    def _listen(self, seconds: float) -> None:
        pipes = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(pipes), timeout=seconds):
            worker = pipes[pipe]  # type: ignore[index]  # they are what was waited for
            try:
                self._heard(worker, worker.pipe.recv())
            except (EOFError, OSError):
                self._buried(worker)

    def _heard(self, worker: _Worker, report: Report) -> None:
        worker.busy[report.trigger] -= 1
        if not worker.busy[report.trigger]:
            del worker.busy[report.trigger]
        known = self.reports.get(report.trigger)
        if known is None or known.state not in AT_REST or report.state in AT_REST:
            self.reports[report.trigger] = report
        if self.reports[report.trigger].state not in AT_REST:
            self._again(report.trigger)

    def _buried(self, worker: _Worker) -> None:
        worker.process.join(STOP_SECONDS)
        self._workers.remove(worker)
        for trigger in worker.busy:
            self._again(trigger)
        if worker.process.exitcode == -signal.SIGKILL and not worker.doomed:
            self.score.kills += 1
            self.score.labelled += 1
        worker.pipe.close()
        worker.process.close()

    def _again(self, trigger: str, seconds: float | None = None) -> None:
        if any(waiting == trigger for _, _, waiting in self._later):
            return
        pause = self._dice.uniform(*AGAIN_SECONDS) if seconds is None else seconds
        heapq.heappush(self._later, (time.monotonic() + pause, next(self._ties), trigger))

    def _kill_one(self) -> None:
        busy = [worker for worker in self._workers if worker.busy and not worker.doomed]
        if busy:
            worker = self._dice.choice(busy)
            worker.doomed = True
            worker.process.kill()
            self.score.kills += 1
            if self.score.kills % 25 == 0:
                done = len(self.jobs) - len(self._unfinished())
                self._say(f"{self.score.kills} kills, {self.score.restarts} restarts, {done} runs at rest")

    def _restart_postgres(self) -> None:
        """In the background: the workers are killed meanwhile, too."""
        if self._restart is not None:
            self._restart.join()
        mode = self._dice.choice(("immediate", "fast"))
        self._restart = threading.Thread(target=self._world.restart, args=(mode,))
        self._restart.start()
        self.score.restarts += 1
