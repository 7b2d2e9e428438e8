"""A ``langgraph-control worker`` of the demo's own, as an operator would start one, and what it says."""

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo.telling import Teller

__all__ = ["ARGUMENTS", "BILLING_VARIABLE", "MODEL_VARIABLE", "Serving", "serving"]

BILLING_VARIABLE: Final = "DEMO_BILLING"
MODEL_VARIABLE: Final = "DEMO_MODEL"

ARGUMENTS: Final = ("worker", "--graphs", "demo/langgraph.json", "--name", "night-shift")
LINE: Final = re.compile(r"^\S+ \S+ (?:INFO|WARNING) +(?P<said>.*)$")
READY_SECONDS_MAX: Final = 30.0
STOP_SECONDS_MAX: Final = 30.0


@dataclass(slots=True, kw_only=True)
class Serving:
    """A worker that runs.

    Args:
        process: its process.
        log: where its lines go.
        told: how many of them were told.
    """

    process: "subprocess.Popen[bytes]"
    log: Path
    told: int = 0

    def tell_news(self, teller: Teller) -> None:
        """Pass on what the worker has said since the last time, without the time of day.

        Args:
            teller: told.
        """
        lines = self.log.read_text("utf-8").splitlines()
        for line in lines[self.told :]:
            said = LINE.match(line)
            teller.note("worker", said["said"].removeprefix("worker ") if said else line)
        self.told = len(lines)

    def wait_until_said(self, words: str) -> bool:
        """Wait until the worker has said something; return whether it has.

        Args:
            words: part of a line.
        """
        give_up = time.monotonic() + READY_SECONDS_MAX
        while words not in self.log.read_text("utf-8"):
            if self.process.poll() is not None or time.monotonic() >= give_up:
                return False
            time.sleep(0.02)
        return True


@contextmanager
def serving(command: str, *, folder: Path, environment: Mapping[str, str]) -> Iterator[Serving]:
    """Run a worker for the length of a block, and have it stop in order at the end.

    Args:
        command: ``langgraph-control``.
        folder: where it runs.
        environment: the logins it plays, and where billing is.
    """
    with tempfile.TemporaryDirectory(prefix="langgraph-control-demo-worker-") as place:
        log = Path(place) / "worker.log"
        with log.open("wb") as lines:
            process = subprocess.Popen([command, *ARGUMENTS], cwd=folder, env=environment, stdout=lines, stderr=lines)  # noqa: S603 - our own command, no shell
        try:
            yield Serving(process=process, log=log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
