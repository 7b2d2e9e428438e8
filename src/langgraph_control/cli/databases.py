"""Which database a command talks to, and as whom."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

import typer

from langgraph_control.audit.postgres.logins import LoginRole
from langgraph_control.errors import ControlError, DatabaseRefused

__all__ = ["Dsn", "Local", "Place", "database"]

VARIABLE: Final = "LANGGRAPH_CONTROL_DSN"
OWN_VARIABLES: Final[dict[LoginRole, str]] = {
    "approver": "LANGGRAPH_CONTROL_APPROVER_DSN",
    "admin": "LANGGRAPH_CONTROL_ADMIN_DSN",
}

Dsn: TypeAlias = Annotated[
    str | None,
    typer.Option("--dsn", help="Postgres connection string of the login to use.", metavar="DSN", show_default=False),
]
Local: TypeAlias = Annotated[bool, typer.Option("--local", help="Use the development server of Control.local.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database and the login a command uses there.

    Args:
        dsn: the connection string.
        local: it is the development server, whose logins trust each other.
    """

    dsn: str
    local: bool


@contextmanager
def database(role: LoginRole, *, dsn: str | None, local: bool) -> Iterator[Place]:
    """Give the database to use: the one named, else the one of the environment, else the development server.

    Args:
        role: what the command's login has to be.
        dsn: as given with ``--dsn``.
        local: as given with ``--local``.

    Raises:
        DatabaseRefused: none is named and there is no development server, or both were named.
        LocalServerError: the development server cannot be started.
    """
    if dsn and local:
        raise DatabaseRefused("--dsn and --local name two databases.", todo="Give one of them.", code="dsn_ambiguous")
    given = None if local else dsn or _from_environment(role)
    if given is not None:
        yield Place(dsn=given, local=False)
        return
    # Migrating is what takes long to import, and only this path needs it.
    from langgraph_control.audit.postgres.local_server import LocalLogin, LocalServer, data_folder

    if not local and not any(data_folder().glob("pg*/PG_VERSION")):
        raise _nowhere(role)
    logins: dict[LoginRole, LocalLogin] = {
        "agent": "control_local_agent",
        "approver": "control_local_approver",
        "admin": "control_local_admin",
        "auditor": "control_local_auditor",
    }
    with LocalServer.start(say=lambda line: print(line, file=sys.stderr)) as server:
        yield Place(dsn=server.dsn(logins[role]), local=True)


def _from_environment(role: LoginRole) -> str | None:
    own = OWN_VARIABLES.get(role)
    given = (own and os.environ.get(own)) or os.environ.get(VARIABLE)
    if not given and role == "auditor":  # everybody may read
        given = next(filter(None, map(os.environ.get, OWN_VARIABLES.values())), None)
    return given or None


def _nowhere(role: LoginRole) -> ControlError:
    variable = OWN_VARIABLES.get(role, VARIABLE)
    return DatabaseRefused(
        "No database was named, and there is no development server of Control.local.",
        todo=f"Give --dsn or set {variable}; or start a program that uses Control.local.",
        code="dsn_missing",
    )
