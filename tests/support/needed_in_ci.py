"""A plugin for what CI may not skip; apart, so that a run of pytest in a test loads it without all fixtures."""

import os

import pytest

_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember tests that CI must run and that were skipped."""
    if os.environ.get("CI") == "true" and report.skipped and "must_run_in_ci" in report.keywords:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a CI run that skipped what it must run."""
    if _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests those were."""
    for nodeid in _skipped:
        terminalreporter.write_line(f"CI must run this test, but it was skipped: {nodeid}", red=True)
