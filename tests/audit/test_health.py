"""What a process counts up of its calls, before it tells the others: no call counts after the breaker's window."""

import pytest

from langgraph_control.audit.asking import health
from langgraph_control.audit.asking.health import TELL_SECONDS, Health, Report
from langgraph_control.guards.retry_rules import BreakerRules

SHORT = BreakerRules(window_seconds=2.0)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that health looks at."""
    clock = Clock()
    monkeypatch.setattr(health, "time", clock)
    return clock


def note(tallies: Health, *, failed: bool = False, rules: BreakerRules = SHORT) -> Report | None:
    """Count a call that took a tenth of a second."""
    return tallies.note("bank", failed=failed, took_seconds=0.1, rate_limited_seconds=0, probe=False, rules=rules)


def counted(report: Report | None) -> tuple[int, int, int]:
    """Return what a report says of its calls."""
    assert report is not None
    return report.calls, report.failed, report.took_ms


@pytest.mark.parametrize("rules", [SHORT, BreakerRules()], ids=["short", "default"])
def test_what_went_well_long_ago_hides_no_failure(clock: Clock, rules: BreakerRules) -> None:
    """Successes older than the window are not told with a failure, as if they were of now."""
    tallies = Health()
    for _ in range(400):
        assert note(tallies, rules=rules) is None
    clock.now += rules.window_seconds + 1
    assert counted(note(tallies, failed=True, rules=rules)) == (1, 1, 100)


def test_what_went_well_lately_is_told_with_a_failure(clock: Clock) -> None:
    """Of calls that were not told yet those within the window are told, and no others; and each of them once."""
    tallies = Health()
    for seconds in (0.0, 1.0, 1.5, 1.0):
        clock.now += seconds
        assert note(tallies) is None
    assert counted(note(tallies, failed=True)) == (3, 1, 300)
    assert counted(note(tallies, failed=True)) == (1, 1, 100)


def test_what_goes_well_is_told_now_and_then(clock: Clock) -> None:
    """Successes alone are told by the first call after some seconds, whatever happened before."""
    tallies = Health()
    assert note(tallies, rules=BreakerRules()) is None
    clock.now += TELL_SECONDS
    assert counted(note(tallies, rules=BreakerRules())) == (2, 0, 200)
    assert note(tallies, rules=BreakerRules()) is None
