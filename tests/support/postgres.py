"""Real Postgres for tests: one server a test run, one migrated database a test, cloned from a template."""

import hashlib
import inspect
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.audit.postgres.migrate import migrate, migrations
from langgraph_control.audit.postgres.programs import programs_on_the_path
from langgraph_control.audit.postgres.queue_schema import set_up_queue
from langgraph_control.audit.postgres.server import PostgresServer

DATA_VARIABLE = "CONTROL_TEST_DATA"
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
MEMORY_BYTES = 4 * 1024**3
PASSWORD = "test"  # noqa: S105 - the logins of a throw-away database, for given servers that ask for one
PEOPLE = {"ana": "ana@acme.example", "bo": "bo@acme.example", "cy": "cy@acme.example"}
LOCK_KEY = 0x6C67635F74657374


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A migrated database of its own, and a DSN for each login."""

    name: str
    admin: str  # superuser

    def dsn(self, login: str) -> str:
        """Return the DSN of one of the test logins."""
        return make_conninfo(self.admin, user=login, password=PASSWORD)

    @property
    def agent(self) -> str:
        """The agent login of tenant ``default``."""
        return self.dsn("test_agent")

    @property
    def auditor(self) -> str:
        """The auditor login of tenant ``default``."""
        return self.dsn("test_auditor")

    @property
    def local_approver(self) -> str:
        """An approver login that may vote as anyone it names."""
        return self.dsn("test_local_approver")

    @property
    def second_tenant_agent(self) -> str:
        """The agent login of tenant ``other``."""
        return self.dsn("test_second_tenant_agent")

    def approver(self, person: str) -> str:
        """Return the approver login of ``ana``, ``bo`` or ``cy``; the full address does as well."""
        return self.dsn(f"test_approver_{person.partition('@')[0]}")


def make_data_folder(*, in_memory: bool = False) -> Path:
    """Return a new folder that the server's user may enter, too, and nobody may list.

    Args:
        in_memory: in the machine's memory, where it has a file system there with room: a database is copied ten times
            as fast. For tests that do not ask what a disk does.
    """
    roomy = in_memory and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES
    folder = Path(tempfile.mkdtemp(prefix="langgraph-control-test-", dir=MEMORY if roomy else None))
    folder.chmod(0o711)
    return folder


@contextmanager
def server_dsn() -> Iterator[str]:
    """Yield the superuser's DSN of this run's server: a given one, or one that all workers share."""
    given = os.environ.get("CONTROL_TEST_DSN")
    if given:
        yield given
        return
    wanted = os.environ.get("CONTROL_TEST_SERVER", "")
    folder = programs_on_the_path() if wanted == "path" else (Path(wanted) if wanted else None)
    if wanted == "path" and folder is None:
        raise RuntimeError("CONTROL_TEST_SERVER=path, and there are no Postgres programs on the PATH")
    with PostgresServer.start(Path(os.environ[DATA_VARIABLE]), programs_folder=folder) as server:
        yield server.dsn()


def template(superuser_dsn: str) -> str:
    """Return the name of the template database, making it if this set of migrations has none yet."""
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        while connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone() != (True,):
            time.sleep(0.05)
        name = f"control_template_{_fingerprint()}"
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            return name
        draft = f"{name}_draft"
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(draft)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(draft)))
        _fill(make_conninfo(superuser_dsn, dbname=draft), connection)
        connection.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(draft), sql.Identifier(name))
        )
        return name


@contextmanager
def cloned(superuser_dsn: str, source: str) -> Iterator[Database]:
    """Yield a fresh copy of a template database and drop it afterwards, whoever is still connected."""
    name = f"control_test_{secrets.token_hex(6)}"
    # As files: the other way writes each page to the log, too, which is twice the work in memory.
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(source)
            )
        )
    try:
        yield Database(name=name, admin=make_conninfo(superuser_dsn, dbname=name))
    finally:
        with psycopg.connect(superuser_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _fingerprint() -> str:
    """Change whenever a migration, the way they are applied, or this file does."""
    parts = [migration.sha256 for migration in migrations()]
    made_by = (migrate.__module__, set_up_queue.__module__, add_login.__module__, __name__)
    parts += [inspect.getsource(sys.modules[module]) for module in made_by]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _fill(admin: str, connection: psycopg.Connection[tuple[object, ...]]) -> None:
    migrate(admin)
    migrate(admin, tenant="other")
    superuser = conninfo_to_dict(admin).get("user") or connection.info.user
    add_login(admin, str(superuser), role="admin")
    add_login(admin, "test_agent", role="agent", create=True)
    add_login(admin, "test_auditor", role="auditor", create=True)
    add_login(admin, "test_second_tenant_agent", role="agent", tenant="other", create=True)
    add_login(admin, "test_local_approver", role="approver", may_name_person=True, create=True)
    for name, person in PEOPLE.items():
        add_login(admin, f"test_approver_{name}", role="approver", person=person, create=True)
    logins = connection.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname LIKE 'test\\_%'").fetchall()
    for (login,) in logins:
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(str(login)), sql.Literal(PASSWORD))
        )
