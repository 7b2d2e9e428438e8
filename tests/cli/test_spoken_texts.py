"""What is typed and the record cannot keep: a named error that says which argument, and nothing is sent."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.support.trails import TrailWriter

NOWHERE = ("--dsn", "postgresql://nobody@127.0.0.1:1/nothing")
REQUEST = f"apr_{'0' * 32}"
BROKEN = "caf\udce9"
"""As Python reads an argument that is no UTF-8."""
LONG = "s" * 10_001

CASES: dict[str, tuple[Sequence[str], str, str]] = {
    "approve in a long word": (("approve", REQUEST, "--comment", LONG), "comment_too_long", "comment: "),
    "approve as nobody": (("approve", REQUEST, "--as", BROKEN), "text_invalid", "as_: "),
    "reject in a broken word": (("reject", REQUEST, "--comment", BROKEN), "text_invalid", "comment: "),
    "edit in a long word": (("edit", REQUEST, "amount=1", "--comment", LONG), "comment_too_long", "comment: "),
    "edit to what is none": (("edit", REQUEST, f"amount={BROKEN}"), "arguments_not_canonical", "changes.amount: "),
    "edit to a NUL": (("edit", REQUEST, 'amount="\\u0000"'), "text_invalid", "changes: "),
    "withdraw": (("withdraw", REQUEST, "--comment", LONG), "comment_too_long", "comment: "),
    "break-glass": (("break-glass", REQUEST, "--comment", LONG), "comment_too_long", "comment: "),
    "review": (("review", REQUEST, "--comment", LONG), "comment_too_long", "comment: "),
    "revoke": (("revoke", str(REQUEST[4:]), "--comment", LONG), "comment_too_long", "comment: "),
    "delegate to nobody": (("delegate", "", "--for", "3d"), "no_stand_in", "to: "),
    "delegate to a long name": (("delegate", "s" * 2000, "--for", "3d"), "name_too_long", "to: "),
    "delegate in a long word": (("delegate", "zoe", "--for", "3d", "--comment", LONG), "comment_too_long", "comment: "),
    "inbox of what is no tool": (("inbox", "--tool", BROKEN), "text_invalid", "tool: "),
    "cancel what is no run": (("cancel", BROKEN, "--comment", "because"), "text_invalid", "run: "),
    "freeze": (("freeze", "all", "--comment", LONG), "comment_too_long", "comment: "),
    "freeze a long name": (("freeze", "tool", "s" * 513, "--comment", "because"), "name_too_long", "name: "),
    "accept-restore": (("accept-restore", "--comment", LONG), "comment_too_long", "comment: "),
    "declare-restored": (("declare-restored", "--comment", LONG), "comment_too_long", "comment: "),
    "erase nothing": (("audit", "erase", "--target", "", "--comment", "because"), "name_missing", "target: "),
    "erase a long name": (("audit", "erase", "--intent", "s" * 1025, "--comment", "x"), "name_too_long", "intent: "),
    "erase in a long word": (("audit", "erase", "--intent", "i", "--comment", LONG), "comment_too_long", "comment: "),
    "retain": (("audit", "retain", "--older-than", "400d", "--comment", LONG), "comment_too_long", "comment: "),
    "hold nothing": (("audit", "hold", "add", "intent", "", "--comment", "because"), "name_missing", "intent: "),
    "hold in a long word": (
        ("audit", "hold", "add", "intent", "i", "--comment", LONG),
        "comment_too_long",
        "comment: ",
    ),
    "login for nobody": (("login", "add", "ana", "--role", "approver", "--person", BROKEN), "text_invalid", "person: "),
    "login of a broken group": (
        ("login", "add", "ana", "--role", "approver", "--person", "ana", "--group", BROKEN),
        "text_invalid",
        "group: ",
    ),
    "login that is none": (("login", "add", BROKEN, "--role", "agent"), "text_invalid", "login: "),
    "login of a long tenant": (
        ("login", "add", "ana", "--role", "agent", "--tenant", "s" * 257),
        "name_too_long",
        "tenant: ",
    ),
    "lift in a long word": (("audit", "hold", "lift", REQUEST[4:], "--comment", LONG), "comment_too_long", "comment: "),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_kept_is_refused_by_the_argument(command: Command, case: str) -> None:
    """The error names the field and the kind of its value, never the value; no server was asked."""
    arguments, code, says = CASES[case]
    refused = command(*arguments, *NOWHERE)
    assert (refused.exit_code, f"Code:  {code}\n" in refused.stderr) == (1, True), refused.output
    assert refused.stderr.startswith(f"Error: {says}"), refused.stderr
    assert "sss" not in refused.output
    assert "caf" not in refused.output


def test_a_token_for_what_cannot_be_kept_is_refused_by_the_argument(command: Command, tmp_path: Path) -> None:
    """Whom a token is for, and what, can be written down; or no file is made."""
    file = tmp_path / "tokens"
    for arguments, at in (
        ((BROKEN,), "person"),
        (("ana", "--group", BROKEN), "group"),
        (("ana", "--label", BROKEN), "label"),
    ):
        refused = command("token", "add", *arguments, "--file", str(file))
        assert (refused.exit_code, "Code:  text_invalid\n" in refused.stderr) == (1, True), refused.output
        assert refused.stderr.startswith(f"Error: {at}: "), refused.stderr
    assert not file.exists()


@pytest.mark.parametrize(
    ("arguments", "at"),
    [
        (("show", BROKEN), "run"),
        (("verify", BROKEN), "run"),
        (("audit", "search", "--record", BROKEN), "record"),
        (("audit", "search", "--approver", "s" * 1025), "approver"),
    ],
)
def test_what_is_on_no_record_is_not_looked_for(
    command: Command, trail: TrailWriter, arguments: Sequence[str], at: str
) -> None:
    """A run, a record or a person that can be on no record is refused by its kind, and not looked up."""
    refused = command(*arguments, "--dsn", trail.database.auditor)
    assert (refused.exit_code > 0, refused.stderr.startswith(f"Error: {at}: a text")) == (True, True), refused.output


def test_a_shells_bytes_are_refused_without_a_traceback() -> None:
    """An argument as another encoding's terminal sends it is three lines and a code, like any other error."""
    typed = [b"reject", REQUEST.encode(), b"--comment", "zu teuer für uns".encode("latin-1"), *map(str.encode, NOWHERE)]
    program = [sys.executable, "-c", "from langgraph_control.cli import main; main()"]
    said = subprocess.run([*map(os.fsencode, program), *typed], capture_output=True, check=False)
    assert (said.returncode, b"text_invalid" in said.stderr, b"Traceback" in said.stderr) == (1, True, False)
