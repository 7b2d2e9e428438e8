"""One workflow for each run: it waits for a time or a signal, has the run advanced, and waits again.

It decides nothing about the run and keeps nothing of it but the moment of the next look. This module is loaded inside
Temporal's sandbox, so it imports nothing of the library.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy

__all__ = ["ADVANCE", "HEARTBEAT_SECONDS", "SCHEDULE", "WAKE", "Looked", "Run", "RunWorkflow"]

ADVANCE: Final = "control.advance"
WAKE: Final = "wake"
SCHEDULE: Final = "schedule"

HEARTBEAT_SECONDS: Final = 15.0
"""How long a worker that drives a run may be silent before another one is asked."""

DRIVE_HOURS_MAX: Final = 24
RETRY_SECONDS_MAX: Final = 10


@dataclass(frozen=True)
class Run:
    """Which run a workflow looks after.

    Args:
        run_id: the run's id.
        graph: its graph's name.
        at: when to look next, in ISO 8601; None: when woken.
    """

    run_id: str
    graph: str
    at: str | None = None


@dataclass(frozen=True)
class Looked:
    """What came of one look.

    Args:
        finished: the run is done.
        again_at: when to look again, in ISO 8601; None: when woken.
    """

    finished: bool
    again_at: str | None


@workflow.defn(name="control.run")
class RunWorkflow:
    """Waits for a run."""

    def __init__(self) -> None:
        self._woken = False
        self._at: datetime | None = None

    @workflow.signal(name=WAKE)
    def wake(self) -> None:
        """Look now, or once more if a look is under way."""
        self._woken = True

    @workflow.signal(name=SCHEDULE)
    def schedule(self, at: str) -> None:
        """Look at a moment, unless an earlier one is noted.

        Args:
            at: the moment, in ISO 8601.
        """
        self._note(at)

    @workflow.run
    async def run(self, run: Run) -> None:
        """Look whenever it is time, until the run is done.

        Args:
            run: the run.
        """
        self._note(run.at)
        while True:
            await self._time_or_signal()
            self._woken, self._at = False, None
            looked = await workflow.execute_activity(
                ADVANCE,
                run,
                result_type=Looked,
                start_to_close_timeout=timedelta(hours=DRIVE_HOURS_MAX),
                heartbeat_timeout=timedelta(seconds=HEARTBEAT_SECONDS),
                retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=RETRY_SECONDS_MAX)),
            )
            self._note(looked.again_at)
            if looked.finished and not self._woken:
                return
            if workflow.info().is_continue_as_new_suggested() and not self._woken:
                workflow.continue_as_new(
                    Run(run_id=run.run_id, graph=run.graph, at=None if self._at is None else self._at.isoformat())
                )

    def _note(self, at: str | None) -> None:
        if at is not None:
            moment = datetime.fromisoformat(at)
            self._at = moment if self._at is None else min(self._at, moment)

    async def _time_or_signal(self) -> None:
        while not self._woken:
            noted = self._at
            left = None if noted is None else noted - workflow.now()
            if left is not None and left <= timedelta():
                return

            def changed(noted: datetime | None = noted) -> bool:
                return self._woken or self._at != noted

            try:
                await workflow.wait_condition(changed, timeout=left)
            except TimeoutError:
                return
