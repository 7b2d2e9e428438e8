"""Workers in processes of their own, runs for them, and what the database wrote down about when they went on."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import tuple_row

from bench.ground import POLICY, Ground, Place
from bench.waiting_agent import NAME
from langgraph_control import Approvals, Control, Run
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.names import run_id
from langgraph_control.audit.postgres.logins import add_login

__all__ = ["Waking", "waking"]

ROOT: Final = Path(__file__).parents[1]
APPROVER: Final = "bench_approver"
POLL_SECONDS: Final = 0.02
PATIENCE_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waking:
    """A ledger whose runs are driven elsewhere.

    Args:
        place: the database.
        control: submits and asks.
        folder: where the workers' file and their lines are.
    """

    place: Place
    control: Control
    folder: Path

    @property
    def approver(self) -> str:
        """The connection string of somebody who may approve."""
        return make_conninfo(self.place.admin, user=APPROVER)

    @contextmanager
    def worker(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a worker, from when it is ready until the end of the block."""
        log = self.folder / f"{secrets.token_hex(4)}.log"
        command = [sys.executable, "-c", "from langgraph_control.cli import main; main()", "worker", "--graphs"]
        command += [str(self.folder / "langgraph.json"), "--policy", str(self.folder / "control.yaml")]
        environment = {**os.environ, "LANGGRAPH_CONTROL_DSN": self.place.agent, "PYTHONPATH": str(ROOT)}
        with log.open("wb") as lines:
            process = subprocess.Popen(command, env=environment, stdout=lines, stderr=lines)  # noqa: S603 - our own
        try:
            until(lambda: "ready" in log.read_text() or process.poll() is not None)
            if process.poll() is not None:
                raise RuntimeError(f"a worker ended: {log.read_text()}")
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def submit(self, **payment: Any) -> Run:
        """Submit a payment of its own."""
        order = secrets.token_hex(8)
        given = {"messages": [], "payment": {"order_id": order, "amount": "50", **payment}}
        return self.control.submit(NAME, given, trigger=f"bench/{order}", actor="bench")

    def approve(self, run: Run) -> None:
        """Wait until a run is parked for approval, and give it: before that, its driver would go on by itself."""
        until(lambda: self.control.get(run.id).state is RunState.NEEDS_APPROVAL)
        with Approvals(self.approver) as approvals:
            for name in self.control.get(run.id).approvals:
                approvals.approve(name)

    def at(self, run: Run, event: str) -> list[datetime]:
        """Return the database's moments of a run's entries of one kind."""
        found = self.rows(
            "SELECT at FROM control.entry WHERE run_id = %s AND facts::jsonb -> 'events' ? %s ORDER BY seq",
            run_id(run.id),
            event,
        )
        return [moment for (moment,) in found]

    def resumed(self, run: Run, *, times: int) -> datetime:
        """Wait until a run has been resumed so often, and return when it last was."""
        until(lambda: len(self.at(run, "run.resumed")) >= times)
        return self.at(run, "run.resumed")[times - 1]

    def connections(self) -> int:
        """Return how many connections to this database there are, without the one that asks."""
        ((count,),) = self.rows(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        return int(count)

    def processes(self) -> int:
        """Return how many processes there are that work on this folder's graphs."""
        listed = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True)  # noqa: S607 - as found
        return sum(str(self.folder) in line for line in listed.stdout.splitlines())

    def standing(self, state: RunState) -> int:
        """Return how many runs stand in a state.

        Args:
            state: the state.
        """
        ((count,),) = self.rows("SELECT count(*) FROM control.run_state WHERE state = %s", state.value)
        return int(count)

    def driver(self, run: Run) -> tuple[int, datetime]:
        """Wait until a run is being driven; return the driver's process and until when its lease is."""

        def held() -> list[tuple[Any, ...]]:
            return self.rows(
                "SELECT holder, lease_until FROM control.run_state WHERE run_id = %s AND state = 'running'",
                run_id(run.id),
            )

        until(held)
        ((holder, lease_until),) = held()
        return int(holder.partition("/")[0].rpartition(":")[2]), lease_until

    def rows(self, text: LiteralString, *values: Any) -> list[tuple[Any, ...]]:
        """Return a statement's rows, as whoever may read everything."""
        with psycopg.connect(self.place.admin, autocommit=True, row_factory=tuple_row) as connection:
            cursor = connection.execute(text, values)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def waking(ground: Ground, name: str) -> Iterator[Waking]:
    """Make a ledger for workers, with people who may approve.

    Args:
        ground: the server.
        name: the database's.
    """
    place = ground.place(name)
    add_login(place.admin, APPROVER, role="approver", person="ana@acme.example", create=True)
    with tempfile.TemporaryDirectory() as folder, Control(POLICY, dsn=place.agent) as control:
        made = Waking(place=place, control=control, folder=Path(folder))
        (made.folder / "control.yaml").write_text(POLICY.text)
        (made.folder / "langgraph.json").write_text(json.dumps({"graphs": {NAME: "bench.waiting_agent:graph"}}))
        yield made


def until(condition: Callable[[], object], *, poll_seconds: float = POLL_SECONDS) -> None:
    """Return once the condition holds.

    Args:
        condition: asked again and again.
        poll_seconds: how often.

    Raises:
        TimeoutError: it does not hold in a quarter of an hour.
    """
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() >= give_up:
            raise TimeoutError("what a worker was to do was not done")
        time.sleep(poll_seconds)
