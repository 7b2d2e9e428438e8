"""The record tampered with in the database itself, by each who could: found by whoever verifies a bundle with a pin."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from langgraph_control.audit.bundles.offline import Outcome
from tests.support.postgres import Database
from tests.support.sealing import SealedRecord
from tests.support.tampering import ATTACKS, Attack, Hand

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def record(sealed_runs: SealedRecord, postgres_dsn: str, tmp_path: Path) -> Iterator[SealedRecord]:
    """Two finished runs, sealed and pinned one after the other."""
    with sealed_runs.copied(postgres_dsn, tmp_path) as made:
        assert made.verified(made.bundle()).outcome is Outcome.OK
        yield made


@contextmanager
def owner(record: SealedRecord) -> Iterator[Connection]:
    """The owner of the tables, with the triggers that refuse changes switched off."""
    with psycopg.connect(record.database.admin, autocommit=True) as connection:
        connection.execute("SET ROLE control_owner")
        for table in ("entry", "leaf", "tree_node", "checkpoint", "signing_key", "run_state"):
            connection.execute(f"ALTER TABLE control.{table} DISABLE TRIGGER USER".encode())
        yield connection


@contextmanager
def superuser(record: SealedRecord) -> Iterator[Connection]:
    """A superuser, for whom no trigger fires."""
    with psycopg.connect(record.database.admin, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


@pytest.mark.parametrize("attack", [pytest.param(attack, id=name) for name, attack in ATTACKS.items()])
@pytest.mark.parametrize("who", [owner, superuser], ids=["owner", "superuser"])
def test_tampering_in_the_database_is_found(
    record: SealedRecord, attack: Attack, who: Callable[[SealedRecord], Any]
) -> None:
    """Whatever the owner or a superuser does to the record, a bundle made afterwards contradicts the pins."""
    with who(record) as connection:
        attack.does(Hand(connection, record))
    bundle = record.bundle(payloads=attack.payloads)
    report = record.verified(bundle)
    assert report.outcome in (Outcome.TAMPERED, Outcome.INCOMPLETE)
    said = attack.found.format(run=f"run_{record.runs[0].hex}")
    assert any(said in what for what in report.found), report.found
    without = record.verified(bundle, pinned=False).outcome
    assert (without is Outcome.UNPINNED) is attack.pin


@pytest.mark.parametrize(
    "attack", [pytest.param(attack, id=name) for name, attack in ATTACKS.items() if not attack.pin]
)
def test_the_bundle_of_the_run_alone_is_enough(record: SealedRecord, attack: Attack) -> None:
    """What is done to a run is found in the bundle of that run, too, for it brings all leaves."""
    with superuser(record) as connection:
        attack.does(Hand(connection, record))
    bundle = record.bundle([record.runs[0]], payloads=attack.payloads)
    assert record.verified(bundle).outcome in (Outcome.TAMPERED, Outcome.INCOMPLETE)


REFUSED = [
    "UPDATE control.entry SET body = '{}'",
    "DELETE FROM control.entry",
    (
        "INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, hash)"
        " VALUES (gen_random_uuid(), 1, 'default', now(), '{}', '', '')"
    ),
    "TRUNCATE control.entry",
    "UPDATE control.run_state SET head = '', seq = 0",
    "UPDATE control.leaf SET head = ''",
    "DELETE FROM control.tree_node",
    "DELETE FROM control.checkpoint",
    "UPDATE control.signing_key SET public = ''",
    "UPDATE control.tree SET size = 0",
    "SELECT control.append('default', gen_random_uuid(), now(), '{}', '{}', '', NULL)",
    "SELECT control.grow('default', 0, 1)",
    "ALTER TABLE control.leaf DISABLE TRIGGER ALL",
    "SET session_replication_role = replica",
    "SET ROLE control_owner",
]


@pytest.mark.parametrize("statement", REFUSED)
@pytest.mark.parametrize("login", ["agent", "auditor", "approver"])
def test_other_logins_are_refused(shared_database: Database, statement: str, login: str) -> None:
    """What the owner could do, Postgres refuses to the logins that agents, auditors and approvers have."""
    dsn = {
        "agent": shared_database.agent,
        "auditor": shared_database.auditor,
        "approver": shared_database.approver("ana"),
    }[login]
    with psycopg.connect(dsn, autocommit=True) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_no_checkpoint_without_the_key(record: SealedRecord) -> None:
    """An agent can hand in a note with a signature that is none; bundles pass it over."""
    record.refund("ticket/3")
    with psycopg.connect(record.database.agent, autocommit=True) as agent:
        sealed = agent.execute("SELECT origin, size, encode(root, 'base64') FROM control.seal_v1(1000)").fetchone()
        notes = agent.execute("SELECT note FROM control.checkpoints_v1(NULL, 1)").fetchone()
        assert sealed is not None
        assert notes is not None
        forged = f"{sealed[0]}\n{sealed[1]}\n{sealed[2]}\n\n{notes[0].partition(chr(10) * 2)[2]}"
        agent.execute("SELECT control.checkpoint_add_v1(%s, %s)", (sealed[1], forged))
    report = record.verified(record.bundle(record.runs[:2]))
    assert report.outcome is Outcome.OK
