"""What ``verify`` leaves behind for those who watch: when all chains were verified last, and what was found."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.telemetry import meter_names as metrics
from langgraph_control.audit.telemetry.gauges import readings
from langgraph_control.audit.trail.verify import verify_all
from langgraph_control.cli import verify as verify_command
from tests.cli.conftest import Command
from tests.support.postgres import Database
from tests.support.trails import TrailWriter, tamper

DAY_SECONDS = 86_400


def told(database: Database, login: str = "agent") -> dict[str, float]:
    """Return what a process that collects says of verifications, by metric."""
    store = Store(getattr(database, login))
    found = {metric.name: value for metric, value, _ in readings(store)}
    store.close()
    return {name: found[name] for name in (metrics.TAMPERED.name, metrics.VERIFIED_AGE.name) if name in found}


def break_chain(trail: TrailWriter, trigger: str) -> None:
    """Write a run, and change an entry of it as the owner of the database can."""
    run = trail.open(trigger)
    tamper(trail.database, "UPDATE control.entry SET body = '{}' WHERE run_id = %s AND seq = 1", run.run_id)


@pytest.mark.parametrize("login", ["agent", "auditor"])
def test_workers_and_exporters_tell_what_verify_found(command: Command, trail: TrailWriter, login: str) -> None:
    """Nothing before all was verified once; then when that was, and how many chains were tampered with."""
    database = trail.database
    trail.open("ticket/1")
    assert told(database, login) == {}
    assert command("verify", "--all", "--dsn", database.auditor).exit_code == 0
    trail.pass_time(days=2)
    assert told(database, login) == {
        "control.verified.tampered": 0,
        "control.verified.age": pytest.approx(2 * DAY_SECONDS, abs=60),
    }
    break_chain(trail, "ticket/2")
    break_chain(trail, "ticket/3")
    assert command("verify", "--all", "--dsn", database.auditor).exit_code == 1
    assert told(database, login) == {
        "control.verified.tampered": 2,
        "control.verified.age": pytest.approx(0, abs=60),
    }


def test_one_chain_that_was_tampered_with_is_told(command: Command, trail: TrailWriter) -> None:
    """Found by itself it counts until all chains were verified; that one is whole says nothing of the others."""
    database = trail.database
    whole = trail.open("ticket/whole")
    assert command("verify", whole.trigger, "--dsn", database.auditor).exit_code == 0
    assert command("verify", "--tenant", "--dsn", database.auditor).exit_code == 0
    assert told(database) == {}
    run = trail.open("ticket/1")
    with psycopg.connect(database.admin) as owner:
        row = owner.execute("SELECT body FROM control.entry WHERE run_id = %s", (run.run_id,)).fetchone()
    assert row is not None
    tamper(database, "UPDATE control.entry SET body = '{}' WHERE run_id = %s", run.run_id)
    for _ in range(2):
        assert command("verify", "ticket/1", "--dsn", database.auditor).exit_code == 1
        assert told(database) == {"control.verified.tampered": 1}
    assert command("verify", whole.trigger, "--dsn", database.auditor).exit_code == 0
    assert told(database) == {"control.verified.tampered": 1}
    tamper(database, "UPDATE control.entry SET body = %s WHERE run_id = %s", row[0], run.run_id)
    trail.pass_time(minutes=1)
    assert command("verify", "--all", "--dsn", database.auditor).exit_code == 0
    assert told(database)["control.verified.tampered"] == 0


def test_what_was_found_is_told_before_all_was_looked_through(
    command: Command, trail: TrailWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off behind a chain that was tampered with, it is on record; and that is no verification of all."""
    break_chain(trail, "ticket/1")

    def broken_off(connection: LedgerConnection) -> Iterator[object]:
        for chain, found in verify_all(connection):
            yield chain, found
            if not found.ok:
                raise KeyboardInterrupt

    monkeypatch.setattr(verify_command, "verify_all", broken_off)
    command("verify", "--all", "--dsn", trail.database.auditor)
    assert told(trail.database) == {"control.verified.tampered": 1}


def test_what_is_found_meanwhile_outlives_a_verification_of_all(
    command: Command, trail: TrailWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain found tampered with while all were gone through is not taken for whole because that began earlier."""
    trail.open("ticket/1")

    def meanwhile(connection: LedgerConnection) -> Iterator[object]:
        yield from verify_all(connection)
        break_chain(trail, "ticket/2")
        assert command("verify", "ticket/2", "--dsn", trail.database.auditor).exit_code == 1

    monkeypatch.setattr(verify_command, "verify_all", meanwhile)
    assert command("verify", "--all", "--dsn", trail.database.auditor).exit_code == 0
    assert told(trail.database)["control.verified.tampered"] == 1


def test_an_agents_login_reports_nothing(command: Command, trail: TrailWriter) -> None:
    """It verifies and says so, and that nothing was noted; what was found before stays, however it asks."""
    database = trail.database
    break_chain(trail, "ticket/1")
    assert command("verify", "--all", "--dsn", database.auditor).exit_code == 1
    for dsn in (database.agent, database.local_approver):
        verified = command("verify", "--all", "--dsn", dsn)
        assert verified.exit_code == 1
        assert verified.stdout.endswith("verify: TAMPERED, 1 of 2 chains\n")
        assert verified.stderr.count("not noted") == 1
        with psycopg.connect(dsn, autocommit=True) as login:
            for statement in (
                "SELECT control.verified_add_v1(true, 2, 0, 0)",
                "DELETE FROM control.verified",
                "UPDATE control.verified SET tampered = 0",
            ):
                with pytest.raises(errors.InsufficientPrivilege):
                    login.execute(statement.encode())
    assert told(database)["control.verified.tampered"] == 1


@pytest.mark.parametrize(
    "values", ["NULL, 1, 0, 0", "true, 0, 0, 0", "true, 2, 3, 0", "true, 2, -1, 0", "true, 2, 0, -1"]
)
def test_a_report_that_cannot_be_one_is_refused(database: Database, values: str) -> None:
    """More chains tampered with than there were, or none at all, is nothing that was found."""
    with (
        psycopg.connect(database.auditor, autocommit=True) as auditor,
        pytest.raises(psycopg.Error, match="a report that cannot be one"),
    ):
        auditor.execute(f"SELECT control.verified_add_v1({values})".encode())
