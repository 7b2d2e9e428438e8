"""Bring a database to this release's schema: numbered SQL files, forward only, on the admin login."""

import hashlib
import re
import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from langgraph_control.audit.connecting.database_errors import MIGRATE, naming_errors, place
from langgraph_control.audit.postgres.admin_session import LOCK_SECONDS, AdminConnection, alone, changing_roles, connect
from langgraph_control.audit.postgres.queue_schema import QUEUE_SCHEMA, set_up_queue
from langgraph_control.errors import DatabaseRefused, SchemaMismatch

__all__ = ["CHECKPOINT_SCHEMA", "Migration", "check_schema", "migrate", "migrations"]

SECRET_BYTES: Final = 32
OLDEST_POSTGRES: Final = 150000
CHECKPOINT_SCHEMA: Final = "control_checkpoints"
MONTHS_AHEAD: Final = 2
FILE_NAME: Final = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One SQL file. Once applied anywhere it never changes; its checksum is held against the database's."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """The checksum that the database remembers."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def label(self) -> str:
        """The file's name without its ending."""
        return f"{self.number:04d}_{self.name}"


def migrations() -> tuple[Migration, ...]:
    """Return the SQL files of this release in their order. The first one makes the roles, the others the schema."""
    folder = files("langgraph_control.audit") / "sql" / "migrations"
    matches = ((FILE_NAME.fullmatch(file.name), file) for file in folder.iterdir())
    found = (
        Migration(number=int(match["number"]), name=match["name"], text=file.read_text(encoding="utf-8"))
        for match, file in matches
        if match
    )
    return tuple(sorted(found, key=lambda migration: migration.number))


def migrate(admin_dsn: str, *, tenant: str = "default", lock_seconds: float = LOCK_SECONDS) -> tuple[str, ...]:
    """Create or upgrade schema, checkpointer's and queue's tables and tenant.

    Safe to repeat, and from several places at once.

    Args:
        admin_dsn: a superuser's DSN, or that of the database's owner with CREATEROLE. Connect directly, not through a
            transaction pooler: the lock belongs to the session.
        tenant: the tenant to make sure of; its secret is drawn once and never changed.
        lock_seconds: how long to wait for another migration of this database.

    Returns:
        The names of the migrations applied now; empty when the database was up to date.

    Raises:
        TrailUnavailable: no server, or another migration did not end in time; nothing was changed by this call.
        DatabaseRefused: the login may not create roles or schemas; the text says what to grant.
        SchemaMismatch: an applied file has other contents now; install the release that belongs to the database.
    """
    with naming_errors(admin_dsn), connect(admin_dsn) as connection, alone(connection, within_seconds=lock_seconds):
        _check_server(connection, admin_dsn)
        roles, *schema = migrations()
        _become_owner(connection, roles, admin_dsn)
        applied = tuple(_apply(connection, roles, schema))
        _set_up_checkpoints(connection)
        set_up_queue(connection)
        _ensure_tenant(connection, tenant)
        _look_round(connection)
        return applied


def check_schema(connection: psycopg.Connection[Any], required: Collection[str]) -> None:
    """Check that schema ``control`` offers the functions this release calls; any schema that does is accepted.

    Args:
        connection: any login's connection.
        required: function names without schema, such as ``claim_v1``.

    Raises:
        SchemaMismatch: naming the functions that are missing.
    """
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute(
            "SELECT p.proname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
            " WHERE n.nspname = 'control'"
        )
        offered = {name for (name,) in cursor}
    missing = sorted(set(required) - offered)
    if missing:
        raise SchemaMismatch(
            f"The database does not offer what this release calls: {', '.join(missing)}.",
            todo=MIGRATE,
            code="schema_functions_missing",
        )


def _check_server(connection: AdminConnection, dsn: str) -> None:
    version = connection.info.server_version
    if version < OLDEST_POSTGRES:
        raise DatabaseRefused(
            f"Postgres {version // 10000} is too old: {place(dsn)}.",
            todo=f"Use Postgres {OLDEST_POSTGRES // 10000} or newer.",
            code="postgres_too_old",
        )
    row = connection.execute("SHOW server_encoding").fetchone()
    if row is None or row["server_encoding"] != "UTF8":
        raise DatabaseRefused(
            f"The database does not store UTF-8, so it could not hold every argument: {place(dsn)}.",
            todo="Create it with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0.",
            code="database_encoding",
        )


def _become_owner(connection: AdminConnection, roles: Migration, dsn: str) -> None:
    """Make sure of the roles, take the owner's, and make sure of what the record of migrations lives in."""
    try:
        changing_roles(connection, lambda: connection.execute(roles.text.encode()))
        connection.execute("SET ROLE control_owner")
        connection.execute("SET search_path TO pg_catalog, pg_temp")  # whatever this login is used to
        for schema in ("control", CHECKPOINT_SCHEMA, QUEUE_SCHEMA):
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseRefused(
            f"This login may not prepare the database: {place(dsn)}: {error.diag.message_primary}.",
            todo="Migrate as a superuser, or as the database's owner with CREATEROLE; if the roles control_* exist"
            " already, let a superuser run: GRANT control_owner, control_agent, control_approver, control_admin,"
            ' control_auditor TO "the login" WITH ADMIN OPTION.',
            code="migrate_login_lacks_rights",
        ) from error
    connection.execute(
        "CREATE TABLE IF NOT EXISTS control.migration ("
        "number integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL,"
        " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )


def _apply(connection: AdminConnection, roles: Migration, schema: list[Migration]) -> Iterator[str]:
    known = {row["number"]: row for row in connection.execute("SELECT number, name, sha256 FROM control.migration")}
    for migration in (roles, *schema):
        if migration.number in known:
            _check_unchanged(migration, known[migration.number])
            continue
        with connection.transaction():
            if migration is not roles:  # those were made before there was a schema to record them in
                connection.execute(migration.text.encode())
            connection.execute(
                "INSERT INTO control.migration (number, name, sha256) VALUES (%s, %s, %s)",
                (migration.number, migration.name, migration.sha256),
            )
        yield migration.label


def _check_unchanged(migration: Migration, row: dict[str, Any]) -> None:
    if row["sha256"] != migration.sha256:
        raise SchemaMismatch(
            f"Migration {migration.label} was applied with other contents than this release has.",
            safe="Nothing was changed.",
            todo="Install the release that belongs to this database; an applied migration never changes.",
            code="migration_changed",
        )


def _set_up_checkpoints(connection: AdminConnection) -> None:
    """Let LangGraph's saver create its tables, owned by the owner; the agent login gets rows of its tenant."""
    from langgraph.checkpoint.postgres import PostgresSaver  # half of a command's start; few commands need it

    connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(CHECKPOINT_SCHEMA)))
    PostgresSaver(connection).setup()
    connection.execute("SET search_path TO pg_catalog, pg_temp")
    grants = sql.SQL(
        "GRANT USAGE ON SCHEMA {0} TO control_agent;"
        " GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {0} TO control_agent;"
        " GRANT USAGE ON SCHEMA {0} TO control_admin;"
        " GRANT SELECT, DELETE ON {0}.checkpoints, {0}.checkpoint_blobs, {0}.checkpoint_writes TO control_admin;"
        " REVOKE INSERT, UPDATE, DELETE ON {0}.checkpoint_migrations FROM control_agent"
    )
    connection.execute(grants.format(sql.Identifier(CHECKPOINT_SCHEMA)))
    connection.execute(_script("checkpoint_tenants.sql"))


def _script(name: str) -> bytes:
    return files("langgraph_control.audit").joinpath("sql", name).read_text("utf-8").encode()


def _ensure_tenant(connection: AdminConnection, tenant: str) -> None:
    connection.execute(
        "INSERT INTO control.tenant (tenant, secret) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        (tenant, secrets.token_bytes(SECRET_BYTES)),
    )
    if _offers(connection, "control.tenant_chain(text)"):
        # Now, before an agent login of another tenant could take the chain's id for a run.
        connection.execute("SELECT control.tenant_chain(%s)", (tenant,))


def _look_round(connection: AdminConnection) -> None:
    """Make sure again of months to write into, of rows by tenant, and that it is the same server."""
    if _offers(connection, "control.same_server()"):
        connection.execute("SELECT control.months_ahead(control.clock(), %s)", (MONTHS_AHEAD,))
        connection.execute(_script("tenant_rows.sql"))
        connection.execute("SELECT control.same_server()")


def _offers(connection: AdminConnection, function: str) -> bool:
    known = connection.execute("SELECT to_regprocedure(%s) AS found", (function,)).fetchone()
    return known is not None and known["found"] is not None
