"""Where everything is measured: a Postgres of our own with its default settings, on a local disk, and its databases."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bench.floor import FLOOR_TABLE
from langgraph_control import Policy
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.audit.postgres.migrate import migrate
from langgraph_control.audit.postgres.server import PostgresServer

__all__ = ["POLICY", "Ground", "Place", "ground"]

POLICY: Final = Policy.parse(
    """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example]}
owner: finance
approve: {within: 24h, on_expiry: deny, not_by: [requester]}
caps: {tool_calls: 1000000}  # one run makes all the calls of a scenario
rules:
  - {tool: pay, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: pay, when: {amount: {gt: 100, lte: 5000}}, then: approve, by: finance}
""",
    source="control.yaml",
)

AGENT: Final = "bench_agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One database: migrated, with the floor's table beside the ledger."""

    admin: str

    @property
    def agent(self) -> str:
        """The agent login's DSN."""
        return make_conninfo(self.admin, user=AGENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The running server."""

    server: PostgresServer

    @property
    def version(self) -> str:
        """Postgres' version."""
        return self.server.cluster.programs.version

    def empty_database(self, name: str) -> str:
        """Make a database with nothing in it, and return the superuser's DSN.

        Args:
            name: its name.
        """
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.server.dsn(database=name)

    def place(self, name: str) -> Place:
        """Make a database with a ledger.

        Args:
            name: its name.
        """
        place = Place(admin=self.empty_database(name))
        migrate(place.admin)
        add_login(place.admin, "postgres", role="admin")
        add_login(place.admin, AGENT, role="agent", create=True)
        publish_policy(place.admin, POLICY)
        with psycopg.connect(place.admin, autocommit=True) as connection:
            connection.execute(FLOOR_TABLE)
            connection.execute(sql.SQL("GRANT ALL ON floor_action TO {}").format(sql.Identifier(AGENT)))
        return place

    @contextmanager
    def without_page_images(self) -> Iterator[None]:
        """Have the log hold what is written and no full pages, whose number depends on when the last checkpoint was."""
        self._set_page_images("off")
        try:
            yield
        finally:
            self._set_page_images("on")

    def checkpoint(self) -> None:
        """Write out what is dirty now, so that it is not written out during a measurement."""
        self._execute(sql.SQL("CHECKPOINT"))

    @contextmanager
    def longer_commits(self, milliseconds: float) -> Iterator[None]:
        """Have each flush of the log wait first, as if the disk were slower.

        Args:
            milliseconds: how long.
        """
        self._set("commit_siblings", "0")  # wait though nobody else is about to commit
        self._set("commit_delay", f"{round(milliseconds * 1000)}")
        try:
            yield
        finally:
            self._set("commit_delay", "0")

    def _set_page_images(self, value: str) -> None:
        self._set("full_page_writes", value)
        self.checkpoint()  # whose process is the one that heeds the setting

    def _set(self, setting: str, value: str) -> None:
        self._execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(setting), sql.Literal(value)))
        self._execute(sql.SQL("SELECT pg_reload_conf()"))

    def _execute(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(self.server.dsn(), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def ground() -> Iterator[Ground]:
    """Start the server in a temporary folder, and remove it with all it held."""
    folder = Path(tempfile.mkdtemp(prefix="langgraph-control-bench-"))
    folder.chmod(0o711)  # root's server runs as another user, who must be able to enter
    try:
        with PostgresServer.start(folder) as server:
            yield Ground(server=server)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
