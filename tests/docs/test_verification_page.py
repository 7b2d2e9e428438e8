"""docs/verification.md: its commands run as written, its tables are what the code and the attacks say."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from langgraph_control.audit.bundles import offline
from tests.support.postgres import Database
from tests.support.tampering import ATTACKS
from tests.support.trails import TrailWriter

PAGE = (Path(__file__).parents[2] / "docs" / "verification.md").read_text("utf-8")
NAMES = re.compile(r"langgraph-control/\S+")


def fenced(language: str) -> list[str]:
    """The page's blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def rows_of(head: str) -> list[list[str]]:
    """The rows of the table with this head."""
    (table,) = re.findall(rf"^\| {head} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


@pytest.mark.timeout(300)
def test_its_commands_run_as_written(database: Database, tmp_path: Path) -> None:
    """From the key to the receipt, each command of the page does what it says, and the report is the one shown."""
    with TrailWriter(database) as trail:
        trail.publish()
        trail.refund("ticket/1")
        trail.refund("ticket/2")
    shutil.copy(offline.__file__, tmp_path / "offline.py")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LANGGRAPH_CONTROL_ADMIN_DSN": database.admin,
        "LANGGRAPH_CONTROL_DSN": database.auditor,
    }
    printed: list[str] = []
    for command in (line for block in fenced("sh") for line in block.splitlines()):
        done = subprocess.run(
            ["sh", "-ec", command], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        printed.append(done.stdout)
    (shown,) = fenced("text")
    verified = [text for text in printed if text.startswith("verify: ")]
    assert len(verified) == 3
    assert NAMES.sub("langgraph-control/…", verified[0]) == NAMES.sub("langgraph-control/…", shown)


def test_its_table_of_attacks_is_what_was_found() -> None:
    """The page lists each attack that the tests play, and which of them take a pin to find."""
    rows = rows_of("What was done")
    assert [(name, without == "no") for name, without, _ in rows] == [(name, one.pin) for name, one in ATTACKS.items()]
    assert {with_pin for _, _, with_pin in rows} == {"yes"}


def test_its_exit_codes_are_the_verifiers() -> None:
    """The page has each exit code and its outcome."""
    assert [(int(code), outcome.strip("`")) for code, outcome, _ in rows_of("Code")] == [
        (int(outcome), outcome.name.lower()) for outcome in offline.Outcome
    ]


def test_its_table_of_lines_is_the_formats() -> None:
    """The page names each kind of line and each of its fields."""
    rows = {re.findall(r'"(\w+)"', line)[0]: set(re.findall(r"`(\w+)`", holds)) for line, holds in rows_of("Line")}
    assert set(rows) == {"bundle", *offline._STAGES}
    scopes = {*offline._SCOPES} - {"since"}  # which is a field, too
    assert rows["bundle"] - scopes == offline._HEADER - {"bundle"}
    assert rows["key"] == offline._KEY
    assert rows["checkpoint"] == offline._CHECKPOINT
    assert rows["run"] == offline._RUN
    assert rows["head"] == offline._HEAD
    assert rows["entry"] == offline._ENTRY
    assert rows["policy"] == offline._POLICY
    assert rows["end"] == offline._END
    assert orjson.loads(b'{"bundle":1}')["bundle"] == offline.VERSION
