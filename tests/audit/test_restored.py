"""A database that lost commits: real copies of a server, promoted, restored and dumped, and what stands still then."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from langgraph_control.audit.asking.ledger import Answer
from langgraph_control.audit.asking.operator_requests import Brakes, Scope
from langgraph_control.audit.asking.requests import FindTenantChain
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.keeping.restored import (
    FindRestore,
    RecordReconciliation,
    Restore,
    SameServer,
    declare_restored,
)
from langgraph_control.audit.people.operators import Operators
from langgraph_control.audit.postgres.cluster import Cluster
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.audit.postgres.migrate import migrate
from langgraph_control.audit.postgres.programs import Programs, programs_on_the_path
from langgraph_control.audit.postgres.server import PostgresServer
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.keeping_sentences import keeping_sentence
from langgraph_control.audit.trail.tones import Tone
from langgraph_control.audit.trail.verify import verify_all
from langgraph_control.errors import DatabaseRefused, OperationRefused
from tests.support.complete_entries import incomplete_entries
from tests.support.postgres import Database, cloned, make_data_folder, template
from tests.support.trails import TrailWriter, bytes_of

SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A server of a test's own, with a ledger on it, and the programs to copy it with."""

    server: PostgresServer
    database: Database

    @property
    def programs(self) -> Programs:
        """Its programs."""
        return self.server.cluster.programs


@pytest.fixture(scope="module", params=["embedded", "path"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A server of the embedded version, and one of the version on the PATH."""
    folder = programs_on_the_path() if request.param == "path" else None
    if request.param == "path" and folder is None:
        pytest.skip("no Postgres programs on the PATH")
    data = make_data_folder()
    with (
        PostgresServer.start(data, programs_folder=folder) as server,
        cloned(server.dsn(), template(server.dsn())) as database,
    ):
        if not (server.cluster.programs.folder / "pg_basebackup").exists():
            pytest.skip("these programs lack pg_basebackup")
        with TrailWriter(database) as trail:
            trail.publish()
            trail.refund("ticket/before")
        yield Machine(server=server, database=database)
    shutil.rmtree(data, ignore_errors=True)


@contextlib.contextmanager
def copied(machine: Machine, *options: str, signal: str | None = None) -> Iterator[tuple[Cluster, Database]]:
    """Yield a running copy of the server, as ``pg_basebackup`` makes it, and the ledger on it."""
    root = make_data_folder()
    folder = root / machine.server.cluster.folder.name
    owner = machine.programs.owner
    if owner is not None:
        os.chown(root, owner, -1)
    cluster = Cluster(folder=folder, socket_folder=folder, programs=machine.programs)
    host = str(machine.server.cluster.socket_folder)
    try:
        machine.programs.run(
            "pg_basebackup", "-h", host, "-p", "5432", "-U", "postgres", "-D", str(folder), "-X", "stream",
            "-c", "fast", *options, within_seconds=SECONDS,
        )  # fmt: skip
        _settle_paths(folder, host, owner)
        if signal is not None:
            (folder / signal).touch()
            if owner is not None:
                os.chown(folder / signal, owner, -1)
        cluster.start()
        cluster.wait_until_ready()
        yield cluster, replace(machine.database, admin=make_conninfo(machine.database.admin, host=str(folder)))
    finally:
        with contextlib.suppress(Exception):
            cluster.stop()
        shutil.rmtree(root, ignore_errors=True)


def _settle_paths(folder: Path, host: str, owner: int | None) -> None:
    """Have the copy listen in its own folder, wherever the original's settings name the original's."""
    settings = folder / "postgresql.conf"
    text = settings.read_text()
    settings.write_text(re.sub(re.escape(host), str(folder), text))
    if owner is not None:
        os.chown(settings, owner, -1)


def claimed(database: Database, trigger: str) -> tuple[Answer, str | None]:
    """Open a run and ask for a write in it."""
    with TrailWriter(database) as trail:
        _, answer = trail.claim(trail.open(trigger))
        return answer.answer, answer.reason


def events(database: Database) -> list[str]:
    """Return the facts' names of the tenant's own chain."""
    with LedgerConnection(database.auditor) as auditor:
        chain = auditor.ask(FindTenantChain()).run_id
        return [
            name for row in auditor.entries(chain) for name in re.findall(r'"((?:restore|freeze)\.\w+)"', row.facts)
        ]


def reconciled(database: Database, *, outside: bool = True, restore: int | None = None) -> bool:
    """Put on record that everything was looked through, as ``reconcile`` does; the restore is the one that waits."""
    with LedgerConnection(database.auditor) as auditor:
        waits = auditor.ask(FindRestore())
        if restore is None and waits is not None:
            restore = waits.place
        return auditor.ask(
            RecordReconciliation(
                restore=restore,
                outside=outside,
                requests=1,
                runs=1,
                actions=1,
                entries=9,
                asked=1,
                open=0,
                differences=2,
            )
        )


def accepted(database: Database, *, unreconciled: int | None = None) -> str | None:
    """Accept a restore as ana, and return why it is refused."""
    with Operators(database.approver("ana")) as ana:
        try:
            ana.accept_restore(comment="nothing was lost", unreconciled=unreconciled)
        except OperationRefused as refused:
            return refused.code
    return None


def waiting(database: Database) -> Restore:
    """Return the restore that waits."""
    with LedgerConnection(database.auditor) as auditor:
        found = auditor.ask(FindRestore())
    assert found is not None
    return found


def test_only_a_reconciliation_of_everything_that_asked_outside_lets_writes_go_on(database: Database) -> None:
    """One before the restore, one that asked nobody outside, and none: accepting is refused, and says what to do."""
    with TrailWriter(database) as trail:
        trail.publish()
    assert reconciled(database)
    declare_restored(database.admin, comment="last night's snapshot")
    assert accepted(database) == "not_reconciled"
    assert not reconciled(database, outside=False)
    assert accepted(database) == "not_reconciled"
    assert reconciled(database)
    assert accepted(database) is None
    with LedgerConnection(database.auditor) as auditor:
        rows = list(auditor.entries(auditor.ask(FindTenantChain()).run_id))
        assert auditor.ask(FindRestore()) is None
    facts = orjson.loads(rows[-1].facts)
    assert (facts["restore"], facts["reconciled"]) == (rows[-4].seq, rows[-2].seq)
    assert incomplete_entries(database, "restore", "record") == []


def test_what_is_accepted_is_the_restore_that_was_looked_at(database: Database) -> None:
    """A second restore that is found meanwhile is lifted by nothing that was said about the first."""
    with TrailWriter(database) as trail:
        trail.publish()
    declare_restored(database.admin, comment="the first")
    first = waiting(database)
    assert reconciled(database)
    declare_restored(database.admin, comment="the second")
    assert (waiting(database).comment, waiting(database).reconciled) == ("the second", None)
    assert accepted(database) == "not_reconciled"
    assert not reconciled(database, restore=first.place)  # it had begun before
    assert accepted(database) == "not_reconciled"
    assert accepted(database, unreconciled=first.place) == "restored_again"
    with LedgerConnection(database.agent) as agent:
        assert [brake.cause for brake in agent.ask(Brakes())] == ["restored"]


def test_going_on_without_a_reconciliation_names_the_restore_and_is_on_record(database: Database) -> None:
    """Whoever cannot reconcile says which restore is meant; the entry says that nobody reconciled it."""
    with TrailWriter(database) as trail:
        trail.publish()
    declare_restored(database.admin, comment="last night's snapshot")
    assert accepted(database, unreconciled=waiting(database).place) is None
    with LedgerConnection(database.auditor) as auditor:
        *_, last = auditor.entries(auditor.ask(FindTenantChain()).run_id)
    said = keeping_sentence(Entry.of(last))
    assert said == ("writes go on after a restore, and NOBODY RECONCILED what it took back", Tone.BAD)
    assert incomplete_entries(database, "restore") == []


def test_the_same_server_stays_the_same(machine: Machine) -> None:
    """Opening runs, and restarting the server, stop nothing."""
    assert claimed(machine.database, "ticket/same 1") == (Answer.GO, "allow")
    machine.server.cluster.stop()
    machine.server.cluster.start()
    machine.server.cluster.wait_until_ready()
    assert claimed(machine.database, "ticket/same 2") == (Answer.GO, "allow")
    assert events(machine.database) == []


def test_a_promoted_copy_stops_all_writes_until_a_person_has_looked(machine: Machine) -> None:
    """On another timeline the next opened run stops every tenant's writes, until a person of each lets theirs go on."""
    with copied(machine, signal="standby.signal") as (cluster, copy):
        cluster.programs.run("pg_ctl", "promote", "-w", "-D", str(cluster.folder), within_seconds=SECONDS)
        assert claimed(copy, "ticket/lost") == (Answer.PARK, "frozen")
        with LedgerConnection(copy.agent) as agent:
            (brake,) = agent.ask(Brakes())
            assert (brake.cause, brake.set_by) == ("restored", "the ledger")
            assert "timeline was 1 and is 2" in (brake.comment or "")
            assert not agent.ask(SameServer())
        with LedgerConnection(copy.second_tenant_agent) as other:
            assert [one.cause for one in other.ask(Brakes())] == ["restored"]
        with Operators(copy.approver("ana")) as ana:
            with pytest.raises(OperationRefused) as refused:
                ana.unfreeze(Scope.TENANT, comment="let go")
            assert refused.value.code == "restored"
            with pytest.raises(OperationRefused) as refused:
                ana.accept_restore(comment="nobody has looked")
            assert refused.value.code == "not_reconciled"
            reconciled(copy)
            assert ana.accept_restore(comment="two refunds were lost, and are on record again") == 1
            with pytest.raises(OperationRefused) as refused:
                ana.accept_restore(comment="again")
            assert refused.value.code == "not_restored"
        assert claimed(copy, "ticket/after") == (Answer.GO, "allow")
        assert events(copy) == ["restore.detected", "freeze.set", "restore.accepted", "freeze.lifted"]
        assert incomplete_entries(copy, "restore") == []
        with LedgerConnection(copy.second_tenant_agent) as other:
            assert [one.cause for one in other.ask(Brakes())] == ["restored"]
        with LedgerConnection(copy.auditor) as auditor:
            assert all(found.ok for _, found in verify_all(auditor))


def test_a_process_that_lost_its_connection_finds_out_who_answers_now(machine: Machine) -> None:
    """A worker in the middle of a run whose server is replaced by a copy that was behind begins nothing more."""
    with copied(machine, signal="standby.signal") as (cluster, copy):
        cluster.programs.run("pg_ctl", "promote", "-w", "-D", str(cluster.folder), within_seconds=SECONDS)
        with psycopg.connect(copy.admin, autocommit=True) as owner:
            owner.execute("UPDATE control.server SET timeline = 2")  # as if it had always been this one
        store = Store(copy.agent)
        with TrailWriter(copy) as trail:
            run = trail.open("ticket/half")
            request, _ = trail.claim(run, "one")
            trail.settle(run, request)
        assert store.call(Brakes()) == ()
        with psycopg.connect(copy.admin, autocommit=True) as owner:
            owner.execute("UPDATE control.server SET timeline = 1")
            owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'test_agent'")
        assert [brake.cause for brake in store.call(Brakes())] == ["restored"]
        store.close()


def test_a_stored_result_is_still_told_while_writes_stand_still(machine: Machine) -> None:
    """What is known to be done answers as always: only what would be begun waits."""
    with copied(machine, signal="standby.signal") as (cluster, copy):
        cluster.programs.run("pg_ctl", "promote", "-w", "-D", str(cluster.folder), within_seconds=SECONDS)
        with TrailWriter(copy) as trail:
            run = trail.open("ticket/again")
            _, known = trail.claim(run, key=bytes_of("ticket/before/refund"))
            assert known.answer is Answer.STORED
            _, new = trail.claim(run, "another")
            assert new.reason == "frozen"


def test_a_copy_of_the_disk_is_not_told_apart_and_can_be_declared(machine: Machine) -> None:
    """A copy that was started as it is shows neither another timeline nor another identifier: it has to be declared."""
    with copied(machine) as (_, copy):
        assert claimed(copy, "ticket/copy 1") == (Answer.GO, "allow")
        with pytest.raises(DatabaseRefused):
            declare_restored(copy.approver("ana"), comment="from last night's snapshot")
        declare_restored(copy.admin, comment="from last night's snapshot")
        assert claimed(copy, "ticket/copy 2") == (Answer.PARK, "frozen")
        assert events(copy) == ["restore.declared", "freeze.set"]
        assert incomplete_entries(copy, "restore") == []


def test_a_dump_on_another_server_is_told_apart(machine: Machine) -> None:
    """A database restored from a dump has another system identifier, also where it is migrated first."""
    programs = machine.programs
    if not (programs.folder / "pg_dump").exists():
        pytest.skip("these programs lack pg_dump")
    data = make_data_folder()
    with (
        PostgresServer.start(data, programs_folder=programs.folder) as other,
        psycopg.connect(other.dsn()) as connection,
    ):
        connection.autocommit = True
        template(other.dsn())  # its logins and roles
        connection.execute("CREATE DATABASE restored")
        dump = subprocess.run(
            [programs.path("pg_dump"), machine.database.admin], check=True, capture_output=True, timeout=SECONDS
        ).stdout
        restored = make_conninfo(other.dsn(), dbname="restored")
        psql = next(path for path in (programs.folder / "psql", Path(shutil.which("psql") or "")) if path.is_file())
        subprocess.run(
            [str(psql), "-q", "-v", "ON_ERROR_STOP=1", restored], input=dump, check=True, timeout=SECONDS,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        copy = Database(name="restored", admin=restored)
        migrate(copy.admin)
        add_login(copy.admin, "test_agent", role="agent")
        assert claimed(copy, "ticket/dumped") == (Answer.PARK, "frozen")
        with LedgerConnection(copy.agent) as agent:
            (brake,) = agent.ask(Brakes())
        assert "on another server" in (brake.comment or "")
    shutil.rmtree(data, ignore_errors=True)


def test_what_a_server_keeps_to_itself_is_not_compared(machine: Machine) -> None:
    """Where a managed server shows only one of both, that one is compared, and learning the other stops nothing."""
    with psycopg.connect(machine.database.admin, autocommit=True) as owner:
        for column in ("system", "timeline"):
            owner.execute(f"UPDATE control.server SET {column} = NULL".encode())
            assert claimed(machine.database, f"ticket/{column}") == (Answer.GO, "allow")
            known = owner.execute(f"SELECT {column} IS NOT NULL FROM control.server".encode()).fetchone()
            assert known == (True,)
        owner.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        try:
            assert claimed(machine.database, "ticket/no rights") == (Answer.GO, "allow")
        finally:
            owner.execute("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
    assert events(machine.database) == []
