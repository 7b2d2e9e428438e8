"""The support desk the story plays at: the agent's process, the billing service, the database, and other processes."""

import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from demo.billing.client import BillingProcess
from demo.ground import Ground
from demo.serving import ARGUMENTS, BILLING_VARIABLE, MODEL_VARIABLE, Serving, serving
from demo.telling import WIDTH, say
from demo.tickets import Ticket
from demo.worker import ACTOR
from langgraph_control import Control, Run

ROOT: Final = Path(__file__).resolve().parent.parent
COMMAND: Final = str(Path(sys.executable).with_name("langgraph-control"))
PREFIX: Final = "LANGGRAPH_CONTROL_"
EFFECT_SECONDS_MAX: Final = 30.0
STATE_SECONDS_MAX: Final = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Everything a scene needs.

    Args:
        ground: the database.
        billing: the system of record, running.
        control: this process's control layer.
        agent: the bound support agent.
        model_name: the model of agents in other processes; None for the script.
    """

    ground: Ground
    billing: BillingProcess
    control: Control
    agent: Any
    model_name: str | None

    def deliver(self, ticket: Ticket) -> Run:
        """Deliver a ticket to the agent in this process.

        Args:
            ticket: the delivery.
        """
        return self.control.run(self.agent, ticket.delivery(), trigger=ticket.trigger, actor=ACTOR)

    def worker(self, ticket: Ticket) -> "subprocess.Popen[str]":
        """Start another process that delivers a ticket to an agent of its own.

        Args:
            ticket: the delivery.
        """
        command = [sys.executable, "-m", "demo.worker", "--billing", self.billing.url]
        command += ["--trigger", ticket.trigger, "--text", ticket.text]
        command += ["--model", self.model_name] if self.model_name else []
        environment = _environment(dsn=self.ground.agent)
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module

    def submit(self, ticket: Ticket) -> Run:
        """Hand a ticket over to whatever worker there is.

        Args:
            ticket: the delivery.
        """
        return self.control.submit(self.agent.name, ticket.delivery(), trigger=ticket.trigger, actor=ACTOR)

    def serving(self) -> AbstractContextManager[Serving]:
        """Start ``langgraph-control worker``, for the length of a block."""
        _say_typed(*ARGUMENTS)
        mine = {BILLING_VARIABLE: self.billing.url, MODEL_VARIABLE: self.model_name or ""}
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = _environment(dsn=self.ground.agent) | mine | {"PYTHONPATH": paths}
        return serving(COMMAND, folder=ROOT, environment=environment)

    def until(self, ticket: Ticket, state: str) -> Run:
        """Wait until a ticket's run stands in a state, or is over; return it as it stands then.

        Args:
            ticket: whose run.
            state: the state.
        """
        give_up = time.monotonic() + STATE_SECONDS_MAX
        while True:
            run = self.control.get(trigger=ticket.trigger)
            if run.state in {state, "done"} or time.monotonic() >= give_up:
                return run
            time.sleep(0.05)

    def kill_after_effect(self, worker: "subprocess.Popen[str]", ticket: Ticket) -> bool:
        """Kill a worker with ``kill -9`` as soon as billing's log shows its refund. Returns whether it died of that.

        Args:
            worker: the process, under way.
            ticket: what it works on.
        """
        give_up = time.monotonic() + EFFECT_SECONDS_MAX
        while not self.refunded(ticket) and worker.poll() is None and time.monotonic() < give_up:
            time.sleep(0.01)
        worker.kill()
        worker.communicate()
        return worker.returncode == -signal.SIGKILL

    def command(self, *arguments: str, folder: Path | None = None) -> int:
        """Run ``langgraph-control`` in a process of its own, and print what it prints. Returns its exit code.

        Args:
            *arguments: as typed.
            folder: where; None for here.
        """
        _say_typed(*arguments)
        environment = _environment(dsn=self.ground.auditor, approver_dsn=self.ground.approver)
        ended = subprocess.run(  # noqa: S603 - our own command, no shell
            [COMMAND, *arguments], check=False, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        )
        for line in ended.stdout.splitlines():
            say(line.rstrip())
        say()
        return ended.returncode

    def asked_at(self, ticket: Ticket) -> list[float]:
        """Return when billing was asked to refund a ticket's order by its own log, in seconds.

        Args:
            ticket: whose order.
        """
        requests = self.billing.log_page("requests")
        return [
            request["at_ms"] / 1000
            for request in requests
            if (request["method"], request["target"]) == ("POST", ticket.order)
        ]

    def refunded(self, ticket: Ticket) -> list[int]:
        """Return the refunds of a ticket's order by billing's own log, in cents.

        Args:
            ticket: whose order.
        """
        return [effect["cents"] for effect in self.billing.log_page("effects") if effect["target"] == ticket.order]


def _say_typed(*arguments: str) -> None:
    typed = f"   $ langgraph-control {shlex.join(arguments)}"
    say(typed if len(typed) <= WIDTH else typed.replace(" --", " \\\n       --"))


def _environment(**dsns: str) -> dict[str, str]:
    """Each process gets the logins it plays and no others."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return others | {f"{PREFIX}{name.upper()}": value for name, value in dsns.items()}
