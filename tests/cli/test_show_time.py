"""How long a long run takes to show: read, put together, written."""

import io
import time
from contextlib import redirect_stdout

import pytest

from langgraph_control.audit.names import run_name
from langgraph_control.cli.record import show
from tests.support.trails import OpenRun, TrailWriter

ATTEMPTS = 500
ENTRIES = 2 * ATTEMPTS + 1
BAR_SECONDS = 0.3
GENEROUS = 4
"""Under a suite that keeps every core busy; the figure of a quiet machine is in docs/cost.md."""


@pytest.fixture
def long_run(trail: TrailWriter) -> OpenRun:
    """A run of a thousand entries."""
    run = trail.open()
    for number in range(ATTEMPTS):
        claim, _ = trail.claim(run, f"refund {number}")
        trail.settle(run, claim)
    return run


@pytest.mark.parametrize("how", [{}, {"html": True}])
def test_a_long_run_is_shown_at_once(trail: TrailWriter, long_run: OpenRun, how: dict[str, bool]) -> None:
    """Processor time of this process, the best of three: what waits for other processes is not counted."""
    best, shown = float("inf"), io.StringIO()
    for _ in range(3):
        shown.truncate(0)
        began = time.process_time()
        with redirect_stdout(shown):
            show(run_name(long_run.run_id), dsn=trail.database.auditor, **how)
        best = min(best, time.process_time() - began)
    assert shown.getvalue().count("refund") >= ENTRIES - 1
    assert best <= BAR_SECONDS * GENEROUS
