"""``verify`` of what belongs to no run, and of everything."""

import json

import pytest

from tests.cli.conftest import Command
from tests.support.trails import TrailWriter, tamper

OWN = "(SELECT run_id FROM control.run_state WHERE state = 'chain' AND tenant = 'default')"


def test_what_belongs_to_no_run_is_whole(command: Command, trail: TrailWriter) -> None:
    """With --tenant the published policies' chain is checked: the number of its entries, and exit code 0."""
    verified = command("verify", "--tenant", "--dsn", trail.database.auditor)
    assert (verified.stdout, verified.exit_code) == ("verify: OK (1 entry)\n", 0)


def test_what_belongs_to_no_run_was_tampered_with(command: Command, trail: TrailWriter) -> None:
    """With --tenant and with --all a changed entry of that chain is named, and the exit code is 1."""
    trail.refund()
    tamper(trail.database, f"UPDATE control.entry SET body = '{{}} ' WHERE run_id = {OWN}")
    verified = command("verify", "--tenant", "--dsn", trail.database.auditor)
    assert verified.exit_code == 1
    assert verified.stdout.startswith("verify: TAMPERED, entry 1:")
    verified = command("verify", "--all", "--dsn", trail.database.auditor)
    assert verified.exit_code == 1
    assert verified.stdout.startswith("tenant: TAMPERED, entry 1:")
    assert verified.stdout.endswith("verify: TAMPERED, 1 of 2 chains\n")


def test_everything_is_whole(command: Command, trail: TrailWriter) -> None:
    """With --all the runs and their entries are counted, in words and as JSON."""
    trail.refund("ticket/1")
    trail.refund("ticket/2")
    verified = command("verify", "--all", "--dsn", trail.database.auditor)
    assert verified.stdout == "verify: OK (2 runs and what belongs to none, 19 entries)\n"
    assert verified.exit_code == 0
    told = json.loads(command("verify", "--all", "--json", "--dsn", trail.database.auditor).stdout)
    assert told == {"ok": True, "runs": 2, "entries": 19, "erased": 0, "dropped": 0, "broken": []}


def test_everything_names_each_broken_run(command: Command, trail: TrailWriter) -> None:
    """With --all every run that was tampered with is named with its first broken entry, and the others are checked."""
    runs = [trail.refund(f"ticket/{number}") for number in range(3)]
    tamper(trail.database, "UPDATE control.entry SET body = '{}' WHERE run_id = %s AND seq = 5", runs[0].run_id)
    tamper(trail.database, "DELETE FROM control.run WHERE run_id = %s", runs[1].run_id)
    verified = command("verify", "--all", "--dsn", trail.database.auditor)
    assert verified.exit_code == 1
    said = " ".join(verified.stdout.split())
    assert f"run_{runs[0].run_id.hex}: TAMPERED, entry 5:" in said
    assert f"run_{runs[1].run_id.hex}: TAMPERED, the run's own row is missing; 9 entries are there" in said
    assert f"run_{runs[2].run_id.hex}" not in said
    assert said.endswith("verify: TAMPERED, 2 of 4 chains")
    told = json.loads(command("verify", "--all", "--json", "--dsn", trail.database.auditor).stdout)
    assert {one["chain"] for one in told["broken"]} == {f"run_{run.run_id.hex}" for run in runs[:2]}


@pytest.mark.parametrize("arguments", [[], ["--tenant", "--all"], ["ticket/1", "--all"], ["ticket/1", "--tenant"]])
def test_verify_wants_one_thing(command: Command, arguments: list[str]) -> None:
    """Neither a run nor an option, or more than one of them, is a usage error and checks nothing."""
    verified = command("verify", *arguments)
    assert verified.exit_code == 2
    assert "verify:" not in verified.stdout
