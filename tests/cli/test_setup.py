"""``migrate``, ``login add``, ``doctor``, and which database a command talks to."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from langgraph_control.cli import app
from langgraph_control.cli.databases import database as chosen
from langgraph_control.errors import DatabaseRefused
from tests.cli.conftest import Command
from tests.support.postgres import PASSWORD, Database


def test_migrating_again(command: Command, database: Database) -> None:
    """A database that is up to date is left alone, and that is said."""
    assert command("migrate", "--dsn", database.admin).stdout == "The database is up to date.\n"


@pytest.fixture
def new_login(database: Database) -> Iterator[str]:
    """A login of this test's own: logins belong to the whole server."""
    name = f"cli_{secrets.token_hex(6)}"
    with psycopg.connect(database.admin, autocommit=True) as connection:
        role, password = sql.Identifier(name), sql.Literal(PASSWORD)
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
        yield name
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


def test_a_login_is_mapped(command: Command, database: Database, new_login: str) -> None:
    """The mapping takes effect at once: the login may do what its role may."""
    assert command("inbox", "--dsn", database.dsn(new_login)).exit_code == 1
    person = "ana@acme.example"
    added = command("login", "add", new_login, "--role", "approver", "--person", person, "--dsn", database.admin)
    assert added.stdout == f"{new_login} speaks for tenant default as approver, as ana@acme.example.\n"
    assert command("inbox", "--dsn", database.dsn(new_login)).exit_code == 0


def test_an_unknown_login(command: Command, database: Database) -> None:
    """A login that does not exist is an error that says how to make one."""
    added = command("login", "add", "nobody_here", "--role", "agent", "--dsn", database.admin)
    assert added.exit_code == 1
    assert "Code:  login_unknown" in added.stderr


def test_doctor(command: Command, database: Database) -> None:
    """The doctor names server, login and what it may act as."""
    found = command("doctor", "--dsn", database.agent).stdout
    assert "The database can be used." in found
    assert "test_agent" in found
    assert "agent" in found.partition("may act as")[2].splitlines()[0]


def test_doctor_of_a_database_without_our_schema(command: Command, database: Database) -> None:
    """A database that was never migrated is told apart from one that cannot be reached."""
    elsewhere = make_conninfo(database.admin, dbname="postgres")
    assert "Code:  schema_functions_missing" in command("doctor", "--dsn", elsewhere).stderr
    nowhere = make_conninfo("", host="127.0.0.1", port=1, user="u", password=PASSWORD, dbname="d")
    assert "Code:  database_unreachable" in command("doctor", "--dsn", nowhere).stderr


@pytest.mark.parametrize("dsn", ["postgresql://[", "nonsense"])
def test_a_dsn_that_cannot_be_read(command: Command, dsn: str) -> None:
    """A string that is no DSN is named as such."""
    assert "Code:  dsn_invalid" in command("runs", "--dsn", dsn).stderr


def test_no_database_at_all(command: Command) -> None:
    """Without a DSN and without a development server the error says how to give one."""
    refused = command("runs")
    assert refused.exit_code == 1
    assert refused.stderr.splitlines()[-1] == "Code:  dsn_missing"


def test_two_databases_at_once() -> None:
    """A DSN and --local together are refused."""
    with pytest.raises(DatabaseRefused) as refused, chosen("agent", dsn="postgresql://", local=True):
        pass
    assert refused.value.code == "dsn_ambiguous"


def test_the_development_server_is_found(
    command: Command, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --local the server is started; from then on it is found without being named, and needs --as to vote."""
    monkeypatch.setenv("LANGGRAPH_CONTROL_DATA", str(server_folder))
    assert command("migrate", "--local").stdout == "The database is up to date.\n"
    assert command("runs").stdout == "There are no runs yet.\n"
    assert "Code:  unknown_person" in command("approve", "apr_1").stderr
    assert "Code:  approval_name_invalid" in command("approve", "apr_1", "--as", "ana@acme.example").stderr


def test_help_of_every_command(command: Command) -> None:
    """Every command explains itself."""
    assert app.registered_commands
    for names in ([], *([item.name or ""] for item in app.registered_commands), ["policy"], ["login"]):
        assert "Usage:" in command(*names, "--help").stdout
