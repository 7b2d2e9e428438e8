"""The schema, how it gets there, and who may do what with it."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg import sql
from psycopg.conninfo import make_conninfo

from langgraph_control.audit.postgres import migrate as migrate_module
from langgraph_control.audit.postgres.admin_session import alone, connect
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.audit.postgres.migrate import check_schema, migrate, migrations
from langgraph_control.audit.postgres.server import PostgresServer
from langgraph_control.errors import ControlError, DatabaseRefused, SchemaMismatch, TrailUnavailable
from tests.support.postgres import Database

# Everything a database owns that a migration can make, one line each, without what differs between two databases.
OURS = "ARRAY['control', 'control_checkpoints', 'control_queue']"
CATALOG = f"""
    SELECT format('column %s.%s %s %s %s', c.table_schema, c.table_name, c.column_name, c.data_type,
                  c.is_nullable || coalesce(' ' || c.column_default, ''))
      FROM information_schema.columns c WHERE c.table_schema = ANY ({OURS})
    UNION ALL
    SELECT format('constraint %s %s', conrelid::regclass, pg_get_constraintdef(oid))
      FROM pg_constraint WHERE connamespace = ANY ({OURS}::regnamespace[])
    UNION ALL
    SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname = ANY ({OURS})
    UNION ALL
    SELECT format('function %s %s %s %s', p.oid::regprocedure, md5(pg_get_functiondef(p.oid)), p.proowner::regrole,
                  p.proacl) FROM pg_proc p WHERE pronamespace = 'control'::regnamespace
    UNION ALL
    SELECT format('relation %s %s %s %s', oid::regclass, relkind, relowner::regrole, relacl)
      FROM pg_class WHERE relnamespace = ANY ({OURS}::regnamespace[])
    ORDER BY 1
"""


def catalog(dsn: str) -> list[str]:
    """Return what a database has been migrated to."""
    with psycopg.connect(dsn) as connection:
        return [str(line) for (line,) in connection.execute(CATALOG)]


def rows(dsn: str, statement: sql.SQL, *values: object) -> list[tuple[object, ...]]:
    """Return a statement's rows, read as the owner of the record."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET ROLE control_owner")
        return connection.execute(statement, values).fetchall()


@pytest.fixture
def empty_database(postgres_dsn: str, database: Database) -> Iterator[str]:
    """The superuser's DSN of a database without our schema."""
    name = sql.Identifier(f"{database.name}_empty")
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        yield make_conninfo(postgres_dsn, dbname=f"{database.name}_empty")
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def test_files_are_numbered_without_gaps() -> None:
    """The migrations of this release are 1, 2, 3 … and the first one makes the roles."""
    assert [migration.number for migration in migrations()] == list(range(1, len(migrations()) + 1))
    assert migrations()[0].name == "roles"


def test_schema_is_the_sum_of_its_migrations(
    database: Database, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database upgraded one file at a time ends up exactly like one that was created at once."""
    every = migrations()
    for count in range(2, len(every) + 1):
        monkeypatch.setattr(migrate_module, "migrations", lambda known=every[:count]: known)
        assert migrate(empty_database)[-1] == every[count - 1].label
    assert catalog(empty_database) == catalog(database.admin)


def test_migrating_again_changes_nothing(database: Database) -> None:
    """A second migration applies nothing and keeps the tenant's secret."""
    secrets = sql.SQL("SELECT tenant, secret FROM control.tenant ORDER BY tenant")
    before = rows(database.admin, secrets)
    assert migrate(database.admin) == ()
    assert rows(database.admin, secrets) == before


def test_each_tenant_has_a_secret_of_its_own(database: Database) -> None:
    """Every tenant gets 32 random bytes, no two the same."""
    found = rows(
        database.admin,
        sql.SQL("SELECT length(secret), (SELECT count(DISTINCT secret) FROM control.tenant) FROM control.tenant"),
    )
    assert found == [(32, 2), (32, 2)]


def test_several_migrations_at_once(empty_database: str) -> None:
    """Of six migrations started together each file is applied by one, and all six succeed."""
    with ThreadPoolExecutor(6) as pool:
        applied = list(pool.map(lambda _: migrate(empty_database), range(6)))
    assert sorted(name for names in applied for name in names) == [migration.label for migration in migrations()]


def test_two_databases_of_a_new_server_at_once(server_folder: Path) -> None:
    """Migrations of two databases may race for the roles that both need; both succeed."""
    with PostgresServer.start(server_folder) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE one")
            connection.execute("CREATE DATABASE two")
        with ThreadPoolExecutor(4) as pool:
            applied = list(pool.map(lambda name: migrate(server.dsn(database=name)), ["one", "two", "one", "two"]))
        assert sum(len(names) for names in applied) == 2 * len(migrations())


def test_a_busy_database_is_named(database: Database) -> None:
    """A migration that finds another one at work gives up in time and says so; it never waits inside the lock."""
    with connect(database.admin) as other, alone(other), pytest.raises(TrailUnavailable) as refused:
        migrate(database.admin, lock_seconds=0.1)
    assert refused.value.code == "migration_busy"


def test_a_changed_file_is_refused(database: Database) -> None:
    """A database that was migrated by other file contents is left alone."""
    before = catalog(database.admin)
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute("UPDATE control.migration SET sha256 = 'other' WHERE number = 2")
    with pytest.raises(SchemaMismatch, match="0002_") as refused:
        migrate(database.admin)
    assert refused.value.code == "migration_changed"
    assert catalog(database.admin) == before


def test_a_newer_database_is_accepted(database: Database) -> None:
    """Migrations that this release does not know are left to the newer one."""
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute("INSERT INTO control.migration (number, name, sha256) VALUES (9000, 'later', 'x')")
    assert migrate(database.admin) == ()


def test_missing_functions_are_named(database: Database, empty_database: str) -> None:
    """A schema that lacks a function this release calls is refused by name; one that offers more is accepted."""
    with psycopg.connect(database.agent) as connection:
        check_schema(connection, ["clock", "append"])
        with pytest.raises(SchemaMismatch, match=r"claim_v999\. .*migrate"):
            check_schema(connection, ["clock", "claim_v999"])
    with psycopg.connect(empty_database) as connection, pytest.raises(SchemaMismatch) as refused:
        check_schema(connection, ["clock"])
    assert refused.value.code == "schema_functions_missing"


def test_an_old_server_is_refused(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server older than what the schema needs is refused before anything is created."""
    monkeypatch.setattr(migrate_module, "OLDEST_POSTGRES", 990000)
    with pytest.raises(DatabaseRefused, match="Use Postgres 99 or newer") as refused:
        migrate(empty_database)
    assert refused.value.code == "postgres_too_old"
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'control'").fetchone() is None


def test_a_database_without_unicode_is_refused(postgres_dsn: str, database: Database) -> None:
    """A database that cannot store every text is refused, with the statement that creates one that can."""
    name = sql.Identifier(f"{database.name}_latin")
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").format(name))
        with pytest.raises(DatabaseRefused, match="ENCODING 'UTF8'") as refused:
            migrate(make_conninfo(postgres_dsn, dbname=f"{database.name}_latin"))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    assert refused.value.code == "database_encoding"


def test_an_agent_may_not_migrate(database: Database) -> None:
    """The agent login cannot become the owner, and the error says what an admin has to grant."""
    with pytest.raises(DatabaseRefused, match="GRANT control_owner") as refused:
        migrate(database.agent)
    assert refused.value.code == "migrate_login_lacks_rights"


def test_the_owner_of_a_database_migrates_with_createrole(server_folder: Path) -> None:
    """No superuser is needed: a login with CREATEROLE that owns the database migrates and maps logins."""
    with PostgresServer.start(server_folder) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE ROLE boss LOGIN CREATEROLE")
            connection.execute("CREATE ROLE worker LOGIN")
            connection.execute("CREATE DATABASE firm OWNER boss")
        boss = server.dsn("boss", "firm")
        assert len(migrate(boss)) == len(migrations())
        add_login(boss, "worker", role="agent")
        with psycopg.connect(server.dsn("worker", "firm")) as connection:
            assert connection.execute("SELECT pg_has_role('control_agent', 'USAGE')").fetchone() == (True,)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE control_checkpoints.mine ()",
        "ALTER TABLE control_checkpoints.checkpoints ADD COLUMN mine int",
        "DROP TABLE control_checkpoints.checkpoint_writes",
        "TRUNCATE control_checkpoints.checkpoints",
        "UPDATE control_checkpoints.checkpoint_migrations SET v = 0",
        "UPDATE control.migration SET sha256 = ''",
        "CREATE TABLE control.mine ()",
        "SET ROLE control_owner",
    ],
)
def test_the_agent_gets_rows_and_no_definitions(shared_database: Database, statement: str) -> None:
    """The agent login cannot define, drop or empty anything, nor become the owner."""
    with psycopg.connect(shared_database.agent) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_the_agent_saves_checkpoints(database: Database) -> None:
    """LangGraph's saver works on the agent login, in the schema that the migration made."""
    with connect(make_conninfo(database.agent, options="-c search_path=control_checkpoints")) as connection:
        saver = PostgresSaver(connection)
        saved = saver.put(
            {"configurable": {"thread_id": "t", "checkpoint_ns": ""}},
            empty_checkpoint(),
            {"source": "input", "step": -1, "parents": {}},
            {},
        )
        found = saver.get_tuple(saved)
        assert found is not None
        saver.delete_thread("t")
        assert saver.get_tuple(saved) is None


def test_a_login_has_one_role(database: Database) -> None:
    """Mapping a login again replaces its role, its group and its person."""
    login = f"one_role_{database.name}"
    add_login(database.admin, login, role="approver", person="dee@acme.example", create=True)
    add_login(database.admin, login, role="auditor")
    held = rows(
        database.admin,
        sql.SQL(
            "SELECT g FROM unnest(ARRAY['control_approver', 'control_auditor']) g WHERE pg_has_role(%s, g, 'MEMBER')"
        ),
        login,
    )
    assert held == [("control_auditor",)]
    mapped = rows(database.admin, sql.SQL("SELECT role, person FROM control.login WHERE login = %s"), login)
    assert mapped == [("auditor", None)]
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


def test_mapping_names_what_is_missing(database: Database) -> None:
    """An unknown login, an unknown tenant and a DSN without rights each have a code of their own."""
    cases = (
        ("login_unknown", database.admin, "nobody_here", "default"),
        ("tenant_unknown", database.admin, "test_agent", "nowhere"),
        ("database_login_lacks_rights", database.agent, "test_agent", "default"),
    )
    for code, dsn, login, tenant in cases:
        with pytest.raises(DatabaseRefused) as refused:
            add_login(dsn, login, role="agent", tenant=tenant)
        assert refused.value.code == code


def test_a_failed_mapping_changes_nothing(database: Database) -> None:
    """A login whose mapping was refused keeps its role and its group."""
    with pytest.raises(DatabaseRefused):
        add_login(database.admin, "test_agent", role="auditor", tenant="nowhere")
    with psycopg.connect(database.agent) as connection:
        assert connection.execute("SELECT pg_has_role('control_agent', 'USAGE')").fetchone() == (True,)


def test_bad_connections_are_named(database: Database) -> None:
    """A DSN that is wrong, unreachable or read-only gets a code for what is wrong, and the password never shows."""
    password = "swordfish"  # noqa: S105 - must not show
    cases: dict[str, tuple[type[ControlError], str]] = {
        make_conninfo(database.admin, host="127.0.0.1", port=1, password=password): (
            TrailUnavailable,
            "database_unreachable",
        ),
        make_conninfo(database.admin, dbname="nowhere", password=password): (
            DatabaseRefused,
            "database_connection_refused",
        ),
        make_conninfo(database.admin, user="nobody_here", password=password): (
            DatabaseRefused,
            "database_connection_refused",
        ),
        make_conninfo(database.admin, options="-c default_transaction_read_only=on", password=password): (
            DatabaseRefused,
            "database_read_only",
        ),
        f"postgresql://u:{password}@[bad/x": (DatabaseRefused, "dsn_invalid"),
        f"host=x {password}": (DatabaseRefused, "dsn_invalid"),
    }
    for dsn, (kind, code) in cases.items():
        with pytest.raises(kind) as refused:
            migrate(dsn)
        assert refused.value.code == code
        assert not re.search(password, f"{refused.value} {refused.value.__cause__}")
