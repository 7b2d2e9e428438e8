"""Turn what the driver raises into errors with a stable code that name the server and never the password."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from langgraph_control.errors import ControlError, DatabaseRefused, SchemaMismatch, TrailUnavailable

__all__ = ["named", "naming_errors", "place"]

# What a server says while it cannot take a connection but soon may. A refused connection carries no SQLSTATE in libpq,
# only a text in the server's language: these are an English server's words, and an unknown text counts as final.
PASSING_REFUSALS: Final = (
    "starting up",
    "shutting down",
    "recovery",
    "too many clients",
    "connection slots",
    "not yet accepting",
)

MIGRATE: Final = "Run: langgraph-control migrate, on the admin login."


def place(dsn: str) -> str:
    """Say where a DSN points, without its password: ``database "d" as "u" at h:p``."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.Error:
        return "an unreadable DSN"
    known = {name: str(parts[name]) for name in ("dbname", "user", "host", "port") if parts.get(name)}
    where = f'database "{known.get("dbname", "(default)")}" as "{known.get("user", "(default)")}"'
    if "host" in known:
        where += f" at {known['host']}" + (f":{known['port']}" if "port" in known else "")
    return where


def named(error: psycopg.Error, dsn: str) -> ControlError | None:
    """Return the named error for a driver's error, or None where the error is the caller's own business.

    Args:
        error: what psycopg raised while connecting or running a statement.
        dsn: the connection string in use; only its host, database and user are told.

    Returns:
        An error to raise ``from`` the original, or None (a constraint, a function's own refusal, a bug).
    """
    state = error.sqlstate
    if state is None:
        return _without_state(error, dsn)
    match state[:2]:
        case "42" if state == "42501":
            return DatabaseRefused(
                f"The login may not do this: {place(dsn)}.",
                todo="Use the login of the right role, or map it: langgraph-control login add.",
                code="database_login_lacks_rights",
            )
        case "42" | "3F" if state in {"42883", "42P01", "3F000", "42703"}:
            return SchemaMismatch(
                f"The schema of this release is not there: {place(dsn)}.", todo=MIGRATE, code="schema_functions_missing"
            )
        case "25" if state == "25006":
            return DatabaseRefused(
                f"The server or this login is read-only: {place(dsn)}.",
                todo="Point the DSN at the primary and a login without default_transaction_read_only.",
                code="database_read_only",
            )
        case "25" if state == "25P03":  # this process stood still in a transaction, and the server hung up
            return _unreachable(dsn)
        case "28" | "3D":
            return _refused(dsn)
        case "08" | "53" | "57" | "58" | "55" | "40":
            return _unreachable(dsn)
    return None


@contextmanager
def naming_errors(dsn: str) -> Iterator[None]:
    """Raise driver errors from the block as named errors; what is not the database's fault passes unchanged.

    Raises:
        TrailUnavailable: the server cannot be reached or broke off; nothing more was done; retry later.
        DatabaseRefused: login, rights or DSN are wrong; retrying will not help.
        SchemaMismatch: the schema of this release is missing; migrate.
    """
    try:
        yield
    except psycopg.Error as error:
        known = named(error, dsn)
        if known is None:
            raise
        # The driver's text may quote the DSN, and with it the password, so it is not chained where no statement ran.
        raise known from (error if error.sqlstate else None)


def _without_state(error: psycopg.Error, dsn: str) -> ControlError | None:
    if isinstance(error, psycopg.OperationalError):
        text = str(error)
        if "FATAL:" in text and not any(words in text for words in PASSING_REFUSALS):
            return _refused(dsn)
        return _unreachable(dsn)
    if isinstance(error, psycopg.ProgrammingError) and place(dsn) == "an unreadable DSN":
        return DatabaseRefused(
            "The DSN is not a Postgres connection string.",
            todo="Write it as postgresql://user@host:5432/database, or key=value pairs.",
            code="dsn_invalid",
        )
    return None


def _refused(dsn: str) -> DatabaseRefused:
    return DatabaseRefused(
        f"The server refused the connection: {place(dsn)}.",
        todo="Check user, password, database name and pg_hba.conf; the server's log says which.",
        code="database_connection_refused",
    )


def _unreachable(dsn: str) -> TrailUnavailable:
    return TrailUnavailable(
        f"Postgres cannot be reached or broke off: {place(dsn)}.",
        safe="What was not recorded was not done.",
        todo="Check host, port and that the server runs; then try again.",
        code="database_unreachable",
    )
