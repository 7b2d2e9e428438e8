"""A graph for workers: one governed write that can wait, be slow or need a yes, and a file that notes what it did."""

import json
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

import httpx
from langgraph.graph import START, StateGraph

from langgraph_control import ABSENT, Action, Control, current_action, writes
from tests.support.desk import POLICY
from tests.support.postgres import Database
from tests.support.waiting import until
from tests.support.worker_process import LEASE_MS, SWEEP_SECONDS

ROOT = Path(__file__).parents[2]
AGENT = """\
import os
from pathlib import Path
from langgraph_control import Control
from tests.support.desk import POLICY
from tests.support.workshop import build

control = Control(POLICY, dsn=os.environ["LANGGRAPH_CONTROL_DSN"])
graph = build(control, Path({effects!r}), name={name!r})
"""
READY_SECONDS = 30


class State(TypedDict, total=False):
    """One order: what to do, and what was done."""

    order: Required[str]
    amount: Required[str]  # more than 100 needs a yes
    later: int  # the first attempt is told to come again after so many seconds
    slow_ms: int  # how long the write takes
    steps: float  # how long each of the two steps after it takes
    log: Annotated[list[str], operator.add]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One line of the file.

    Args:
        at: when, in seconds since the epoch.
        process: in which process.
        what: ``begun`` or ``done``.
        order: of which order.
        key: the action key.
    """

    at: float
    process: int
    what: str
    order: str
    key: str


def build(control: Control, effects: Path, *, name: str = "workshop") -> Any:
    """Return the bound graph."""

    def found(action: Action) -> object:
        return "refunded" if any(one.key == action.key and one.what == "done" for one in read(effects)) else ABSENT

    @writes(key="order_id", impact="money", find=found, visible_within="1s")
    def refund(order_id: str, amount: Decimal, later: int = 0, slow_ms: int = 0) -> str:
        """Refund an order."""
        del amount
        key = current_action().key
        before = [one for one in read(effects) if one.key == key]
        _write(effects, "begun", order_id, key)
        if later and not before:
            request = httpx.Request("POST", "http://127.0.0.1/refunds")
            answer = httpx.Response(429, headers={"retry-after": str(later)}, request=request)
            raise httpx.HTTPStatusError("slow down", request=request, response=answer)
        time.sleep(slow_ms / 1000)
        _write(effects, "done", order_id, key)
        return "refunded"

    (governed,) = control.govern([refund])

    def act(state: State) -> dict[str, Any]:
        arguments = {
            "order_id": state["order"],
            "amount": state["amount"],
            "later": state.get("later", 0),
            "slow_ms": state.get("slow_ms", 0),
        }
        return {"log": [str(governed.invoke(arguments))]}

    def first(state: State) -> dict[str, Any]:
        time.sleep(state.get("steps", 0))
        return {"log": ["first"]}

    def second(state: State) -> dict[str, Any]:
        time.sleep(state.get("steps", 0))
        return {"log": ["second"]}

    builder: Any = StateGraph(State)
    builder.add_sequence([("act", act), ("first", first), ("second", second)])
    builder.add_edge(START, "act")
    return control.bind(builder.compile(), name=name)


def read(effects: Path) -> list[Effect]:
    """Return what the file notes, in order."""
    return [Effect(**json.loads(line)) for line in effects.read_text().splitlines()] if effects.exists() else []


def _write(effects: Path, what: str, order: str, key: str) -> None:
    line = json.dumps({"at": time.time(), "process": os.getpid(), "what": what, "order": order, "key": key})
    with effects.open("a") as file:
        file.write(f"{line}\n")


@dataclass(slots=True, kw_only=True)
class WorkerProcess:
    """``langgraph-control worker`` in a process of its own.

    Args:
        process: the process.
        log: where its lines go.
    """

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def lines(self) -> str:
        """What it has said so far."""
        return self.log.read_text()

    def says(self, words: str, *, seconds: float = READY_SECONDS) -> None:
        """Return once it has said something; fail if it ends or does not say it in time."""
        until(lambda: words in self.lines or self.process.poll() is not None, seconds=seconds)
        assert words in self.lines, self.lines

    def kill(self) -> None:
        """``kill -9``."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, *, seconds: float = 60) -> int:
        """SIGTERM, and wait. Returns its exit code."""
        self.process.terminate()
        return self.process.wait(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """A folder with ``langgraph.json``, and the database its agent works on.

    Args:
        folder: the folder.
        database: the ledger.
    """

    folder: Path
    database: Database

    @classmethod
    def at(cls, folder: Path, database: Database) -> "Workshop":
        """Return one whose file names the graph above."""
        made = cls(folder=folder, database=database)
        made.put_graph("workshop")
        made.name_graphs({"workshop": "./workshop.py:graph"})
        return made

    @property
    def effects(self) -> Path:
        """What the tool notes."""
        return self.folder / "effects"

    def put(self, name: str, text: str) -> None:
        """Write a file."""
        (self.folder / name).write_text(text)

    def put_graph(self, name: str) -> None:
        """Write a module with the graph above under a name."""
        self.put(f"{name}.py", AGENT.format(effects=str(self.effects), name=name))

    def name_graphs(self, graphs: object) -> None:
        """Write ``langgraph.json``."""
        self.put("langgraph.json", json.dumps({"graphs": graphs}))

    def control(self) -> Control:
        """Return a Control for whoever submits."""
        return Control(POLICY, dsn=self.database.agent)

    @contextmanager
    def worker(
        self, *options: str, lease_ms: int | None = None, sweep_seconds: float | None = None, ready: bool = True
    ) -> Iterator[WorkerProcess]:
        """Run a worker; it is killed at the end, if it still runs."""
        log = self.folder / f"worker-{time.monotonic_ns()}.log"
        environment = {**os.environ, "LANGGRAPH_CONTROL_DSN": self.database.agent}
        if lease_ms is not None:
            environment[LEASE_MS] = str(lease_ms)
        if sweep_seconds is not None:
            environment[SWEEP_SECONDS] = str(sweep_seconds)
        command = [sys.executable, "-m", "tests.support.worker_process", "worker"]
        command += ["--graphs", str(self.folder / "langgraph.json"), *options]
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        made = WorkerProcess(process=process, log=log)
        try:
            if ready:
                made.says("ready")
            yield made
        finally:
            if process.poll() is None:
                made.kill()


def order(number: int | str, *, amount: str = "50", **more: Any) -> dict[str, Any]:
    """Return a graph's input."""
    return {"order": f"o{number}", "amount": amount, "log": [], **more}
