"""The development Postgres of ``Control.local``: embedded, migrated, a login per role. One trust domain; POSIX only."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

import psycopg
from psycopg import sql

from langgraph_control.audit.postgres.logins import LoginRole, add_login
from langgraph_control.audit.postgres.migrate import migrate
from langgraph_control.audit.postgres.server import PostgresServer
from langgraph_control.errors import SchemaMismatch

__all__ = ["LocalLogin", "LocalServer", "data_folder"]

DATABASE: Final = "control"
LocalLogin = Literal["control_local_agent", "control_local_approver", "control_local_admin", "control_local_auditor"]
ADMIN: Final = "control_local_admin"
LOGINS: Final[dict[LocalLogin, LoginRole]] = {
    ADMIN: "admin",
    "control_local_agent": "agent",
    "control_local_approver": "approver",
    "control_local_auditor": "auditor",
}

_logger = logging.getLogger(__name__)


def data_folder() -> Path:
    """Return where development data lives: ``LANGGRAPH_CONTROL_DATA``, else the user's data folder.

    Root's server runs as another user, so root's data does not go under root's home, which would have to be opened.
    """
    chosen = os.environ.get("LANGGRAPH_CONTROL_DATA")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/langgraph-control")
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "langgraph-control"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer:
    """A hold on the development server. It stops with its last user, however that one ends."""

    server: PostgresServer

    @classmethod
    def start(cls, data: Path | None = None, *, say: Callable[[str], None] = _logger.info) -> Self:
        """Start or join the development server, and bring its database ``control`` up to date.

        Args:
            data: its folder; by default :func:`data_folder`.
            say: told, line by line, what takes long.

        Raises:
            LocalServerError: there are no Postgres programs or they do not start; the text names the remedies.
            SchemaMismatch: the folder was migrated by another build of this release.
        """
        server = PostgresServer.start(data or data_folder(), say=say)
        try:
            _prepare(server)
        except BaseException:
            server.stop()
            raise
        return cls(server=server)

    @property
    def where(self) -> str:
        """One line for people: what runs and where."""
        return (
            f"Development Postgres {self.server.cluster.programs.version} in {self.server.cluster.folder}"
            " (unix socket only; its logins trust each other)"
        )

    def dsn(self, login: LocalLogin) -> str:
        """Return the connection string of one of the local logins."""
        return self.server.dsn(login, DATABASE)

    def stop(self) -> None:
        """Give the server back; the last one to do so stops it."""
        self.server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _prepare(server: PostgresServer) -> None:
    """Make the admin login, which owns the database as in production, and let it do the rest."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        # Several processes may be here at once; all want the same.
        with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(sql.Identifier(ADMIN)))
        with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(ADMIN))
            )
    admin_dsn = server.dsn(ADMIN, DATABASE)
    try:
        migrate(admin_dsn)
    except SchemaMismatch as error:
        raise SchemaMismatch(
            f"The development database in {server.cluster.folder} was made by another build of this release.",
            safe="It was left as it is.",
            todo="Set LANGGRAPH_CONTROL_DATA to a new folder, or remove that one if its runs are of no use any more.",
            code=error.code,
        ) from error
    for login, role in LOGINS.items():
        add_login(admin_dsn, login, role=role, may_name_person=role == "approver", create=True)
