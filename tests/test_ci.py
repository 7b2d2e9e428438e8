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
    """Run one test file under this suite's settings and what it says of CI, and return pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
    command += ["-p", "tests.support.needed_in_ci", "--rootdir", str(test_file.parent), *arguments, str(test_file)]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, env=_afresh() | {"CI": ci}).returncode


def _afresh() -> dict[str, str]:
    """The environment without what this run's own pytest put there."""
    ours = {"PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS", "CONTROL_TEST_DATA"}
    return {name: value for name, value in os.environ.items() if name not in ours}


def test_this_run_is_held_to_it(request: pytest.FixtureRequest) -> None:
    """The suite's own runs load what the tests below try."""
    assert request.config.pluginmanager.has_plugin("tests.support.needed_in_ci")


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


def test_tests_of_one_group_run_in_one_process(tmp_path: Path) -> None:
    """What they share is made once: pytest and pytest-xdist have to agree on how a group is marked."""
    (tmp_path / "test_grouped.py").write_text(
        "import pytest\n\n\n"
        '@pytest.mark.xdist_group("one")\n'
        '@pytest.mark.parametrize("number", range(6))\n'
        "def test_grouped(number, worker_id):\n"
        f'    with open("{tmp_path}/workers", "a") as file:\n'
        '        file.write(f"{worker_id}\\n")\n'
    )
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider"]
    command += ["-p", "no:langsmith_plugin"]
    subprocess.run([*command, "test_grouped.py"], cwd=tmp_path, check=True, capture_output=True, env=_afresh())
    workers = (tmp_path / "workers").read_text().split()
    assert (len(workers), len(set(workers))) == (6, 1)
