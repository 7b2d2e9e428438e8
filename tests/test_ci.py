"""A run of CI that left out what it must run does not pass."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SKIPPED = """
import pytest

def test_passes():
    pass

@pytest.mark.must_run_in_ci
@pytest.mark.skip(reason="as if its database were missing")
def test_needed():
    pass
"""


def exit_code(test_file: Path, *arguments: str, ci: str) -> int:
    """Run one test file under this suite's conftest and return pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), "-p"]
    command += ["no:cacheprovider", "--rootdir", str(test_file.parent), *arguments, str(test_file)]
    environment = os.environ | {"CI": ci}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS", "CONTROL_TEST_DATA"):
        environment.pop(name, None)
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, env=environment).returncode


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_a_skip_of_what_ci_must_run_fails_there(tmp_path: Path, workers: tuple[str, ...]) -> None:
    """A skipped test marked so fails the run in CI, with workers as without, and only in CI."""
    test_file = tmp_path / "test_needs.py"
    test_file.write_text(SKIPPED)
    assert exit_code(test_file, *workers, ci="true") == pytest.ExitCode.TESTS_FAILED
    assert exit_code(test_file, *workers, ci="") == pytest.ExitCode.OK


def test_a_run_without_tests_fails(tmp_path: Path) -> None:
    """A run that collected no test at all does not count as passed."""
    test_file = tmp_path / "test_nothing.py"
    test_file.write_text("")
    assert exit_code(test_file, ci="true") == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_folder_is_no_mark(tmp_path: Path) -> None:
    """Where the checkout or a folder in it is called ``ci``, other skips are as they are elsewhere."""
    test_file = tmp_path / "ci" / "test_needs.py"
    test_file.parent.mkdir()
    test_file.write_text(SKIPPED.replace("@pytest.mark.must_run_in_ci\n", ""))
    assert exit_code(test_file, ci="true") == pytest.ExitCode.OK
