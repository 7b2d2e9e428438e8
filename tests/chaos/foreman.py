"""The foreman: submits runs to a crew of workers, kills them, restarts Postgres, and waits until every run is at rest.

Nobody but the crew drives anything here: what is left by the dead, parked for a time, decided by people or expired is
taken up by whoever of the crew finds it.
"""

import itertools
import multiprocessing
import random
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Final

import psycopg

from demo.billing.client import Billing
from langgraph_control import Control, ControlError
from tests.chaos.conductor import LABELLED, STOP_SECONDS, Score
from tests.chaos.crew import Berth, serve
from tests.chaos.deaths import WORKER_PLACES, Death
from tests.chaos.people import Office, attend
from tests.chaos.plans import Job, jobs
from tests.chaos.shop import GRAPH, POLICY, open_shop
from tests.chaos.worker import Report, reported, to_say
from tests.chaos.world import World

OPEN_RUNS: Final = 100
OPEN_RUNS_MIN: Final = 8
RUNS_PER_KILL: Final = 5
PAUSE_SECONDS: Final = 0.2
STEPS_MAX: Final = 2
CALLS_MAX: Final = 2
RUNS_PER_RESTART: Final = 120
TWICE: Final = 0.15
PASSES_MAX: Final = 40
TELL_SECONDS: Final = 20.0
REST_SECONDS: Final = 120.0

_STANDING: Final = (
    "SELECT count(*) FILTER (WHERE state = 'done'), count(*) FROM control.run_state WHERE state <> 'chain'"
)


class Foreman:
    """Runs one session of chaos among workers.

    Args:
        world: where.
        seed: draws plans, faults, deaths and restarts.
        workers: how many at once.
        runs: how many runs are to be submitted.
        seconds_max: how long that may take; what is not submitted by then is not.
        say: told how it goes.
    """

    def __init__(
        self,
        world: World,
        *,
        seed: int,
        workers: int,
        runs: int,
        seconds_max: float,
        say: Callable[[str], None],
    ) -> None:
        self._world = world
        self._dice = random.Random(seed)
        self._plans = jobs(random.Random(f"plans {seed}"), steps_max=STEPS_MAX, calls_max=CALLS_MAX)
        self._count, self._runs, self._seconds_max, self._say = workers, runs, seconds_max, say
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.chaos.crew", "tests.chaos.people"])
        self._crew: list[ForkServerProcess] = []
        self._doomed: set[ForkServerProcess] = set()
        self._restart: threading.Thread | None = None
        self._refused: list[Job] = []
        self.jobs: dict[str, Job] = {}
        self.reports: dict[str, Report] = {}
        self.score = Score()

    @property
    def missing(self) -> str:
        """What there was no time for; "" if nothing."""
        short = self._runs - len(self.jobs)
        return f"{short} of {self._runs} runs" if short > 0 else ""

    def run(self) -> None:
        """Do all of it: work under fire, then come to rest, then deliver everything once more and look at it."""
        office = Office(
            approver=self._world.database.approver("ana"),
            admin=self._world.database.admin,
            billing_db=self._world.billing.db,
        )
        people_end, people_pipe = self._context.Pipe()
        people = self._context.Process(target=attend, args=(people_end, office), daemon=True)
        people.start()
        try:
            with Control(POLICY, dsn=self._world.database.agent) as control:
                self._world.misbehave(self._dice, pausing=True)
                self._under_fire(control)
                self._say(f"{self.score.kills} kills; bringing {self._open()} runs to rest")
                self._world.billing.clear_faults()
                self._come_to_rest()
                for job in self.jobs.values():
                    self._submit(control, job)
                self._look(control)
        finally:
            for process in self._crew:
                process.kill()
                process.join()
            people_pipe.send(None)
            people.join(STOP_SECONDS)
            people.kill()

    def _under_fire(self, control: Control) -> None:
        end = time.monotonic() + self._seconds_max
        next_told = time.monotonic() + TELL_SECONDS
        next_kill, next_restart = self._dice.expovariate(1 / RUNS_PER_KILL), min(RUNS_PER_RESTART, self._runs // 2)
        while (len(self.jobs) < self._runs or self._refused) and time.monotonic() < end:
            self._keep_crew(mortal=True)
            still_open = self._open()
            # Few at once where there are few in all: the killing ends when the last one is submitted.
            open_max = min(OPEN_RUNS, max(OPEN_RUNS_MIN, self._runs // 4))
            self._submit_more(control, room=open_max - still_open)
            # By what was done and not by the clock: a slow machine is no reason to do nothing but die.
            if len(self.jobs) - still_open >= next_kill:
                self._kill_one()
                next_kill += self._dice.expovariate(1 / RUNS_PER_KILL)
            if len(self.jobs) - still_open >= next_restart:
                next_restart += RUNS_PER_RESTART
                self._restart_postgres()
            if time.monotonic() >= next_told:
                next_told += TELL_SECONDS
                self._tell()
            time.sleep(PAUSE_SECONDS)
        if self._restart is not None:
            self._restart.join()

    def _submit_more(self, control: Control, *, room: int) -> None:
        again, self._refused = self._refused, []
        for job in again:
            self._submit(control, job)
        for job in itertools.islice(self._plans, max(0, min(room, self._runs - len(self.jobs)))):
            self._world.prepare(job)
            self.jobs[job.trigger] = job
            for _ in range(2 if self._dice.random() < TWICE else 1):
                self._submit(control, job)

    def _submit(self, control: Control, job: Job) -> None:
        self.score.deliveries += 1
        try:
            control.submit(GRAPH, to_say(job), trigger=job.trigger, intent=job.intent, actor="chaos-bot")
        except ControlError:
            self._refused.append(job)  # Postgres is being restarted: the delivery is made again

    def _come_to_rest(self) -> None:
        for process in self._crew:
            self._doomed.add(process)  # some are still to die somewhere, and now they may not
            process.kill()
        began = time.monotonic()
        next_told = began + TELL_SECONDS
        while self._open() and time.monotonic() - began < REST_SECONDS:
            self._keep_crew(mortal=False)
            if time.monotonic() >= next_told:
                next_told += TELL_SECONDS
                self._tell()
            time.sleep(PAUSE_SECONDS)

    def _look(self, control: Control) -> None:
        open_shop(control, Billing(self._world.billing.url))
        for trigger in self.jobs:
            self.reports[trigger] = reported(control.get(trigger=trigger))

    def _open(self) -> int:
        """How many runs are not over; all there may be, while nobody can tell."""
        try:
            with psycopg.connect(self._world.database.admin, autocommit=True) as connection:
                done, known = connection.execute(_STANDING).fetchone() or (0, 0)
        except psycopg.Error:
            return OPEN_RUNS
        return int(known) - int(done)

    def _tell(self) -> None:
        score, still_open = self.score, self._open()
        done = f"{len(self.jobs)} runs submitted, {still_open} of them open"
        self._say(f"{done}; {score.kills} kills, {score.restarts} restarts")

    def _keep_crew(self, *, mortal: bool) -> None:
        for process in [process for process in self._crew if not process.is_alive()]:
            self._buried(process)
        while len(self._crew) < self._count:
            death = None
            if mortal and self._dice.random() < LABELLED:
                death = Death(place=self._dice.choice(WORKER_PLACES), passes=self._dice.randint(0, PASSES_MAX))
            berth = Berth(dsn=self._world.database.agent, billing_url=self._world.billing.url, death=death)
            process = self._context.Process(target=serve, args=(berth,), daemon=True)
            process.start()
            self._crew.append(process)

    def _buried(self, process: ForkServerProcess) -> None:
        process.join()
        self._crew.remove(process)
        if process.exitcode == -signal.SIGKILL and process not in self._doomed:
            self.score.kills += 1
            self.score.labelled += 1

    def _kill_one(self) -> None:
        alive = [process for process in self._crew if process not in self._doomed]
        if alive:
            process = self._dice.choice(alive)
            self._doomed.add(process)
            process.kill()
            self.score.kills += 1

    def _restart_postgres(self) -> None:
        """In the background: the workers are killed meanwhile, too."""
        if self._restart is not None:
            self._restart.join()
        mode = self._dice.choice(("immediate", "fast"))
        self._restart = threading.Thread(target=self._world.restart, args=(mode,))
        self._restart.start()
        self.score.restarts += 1
