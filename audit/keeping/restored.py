"""After a restore: is it the server that it was, and letting writes go on once it is known what was lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import psycopg

from langgraph_control.audit.asking.operator_requests import Unfrozen
from langgraph_control.audit.asking.requests import FieldsAreParameters
from langgraph_control.audit.connecting.database_errors import naming_errors, place
from langgraph_control.audit.postgres.admin_session import connect
from langgraph_control.errors import DatabaseRefused, OperationRefused

__all__ = ["AcceptRestore", "SameServer", "declare_restored"]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SameServer(FieldsAreParameters):
    """Ask whether this is the server that it was, and no restore waits to be looked into. Else writes stand still."""

    statement: ClassVar[str] = "server"

    def read(self, rows: Rows) -> bool:
        """Return the answer as a value."""
        return bool(rows[0]["same"])


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRestore(FieldsAreParameters):
    """Let the tenant's writes go on after a restore.

    Args:
        person: who says so, where the login may name one; None for the login's own person.
        identity: how a service that authenticates people found out who it is, as JSON; None: the login says it.
        comment: what was found out, for the record.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "restore_accept"

    person: str | None
    comment: str
    body: bytes
    identity: str | None = None

    def read(self, rows: Rows) -> Unfrozen:
        """Return the answer as a value."""
        return Unfrozen(refused=rows[0]["reason"], woken=rows[0]["woken"] or 0)


def declare_restored(admin_dsn: str, *, comment: str) -> None:
    """Stop the writes of all tenants: the database was restored, or a standby that was behind took over.

    For what the server does not show by itself, such as a copy of its disk. Each tenant's people let theirs go on.

    Args:
        admin_dsn: an admin login that may migrate: it acts for all tenants.
        comment: what was restored, and to when, for the record.

    Raises:
        OperationRefused: there is no comment.
        DatabaseRefused: this login may not act for all tenants.
        TrailUnavailable: the server cannot be reached.
        SchemaMismatch: the database was not migrated.
    """
    if not comment.strip():
        raise OperationRefused(
            "A comment is required: what was restored, and to when.", todo="Give --comment.", code="comment_missing"
        )
    try:
        with naming_errors(admin_dsn), connect(admin_dsn) as connection, connection.transaction():
            try:
                connection.execute("SET LOCAL ROLE control_owner")
            except psycopg.errors.InsufficientPrivilege as error:
                raise DatabaseRefused(
                    f"This login may not act for all tenants: {place(admin_dsn)}.",
                    todo="Use the login that migrates.",
                    code="restore_login_lacks_rights",
                ) from error
            connection.execute("SELECT control.declare_restored(%s)", (comment,))
    except psycopg.Error as error:
        raise DatabaseRefused(
            f"The database refused a request with SQLSTATE {error.sqlstate}: {place(admin_dsn)}.",
            todo="Look into the server's log.",
            code="database_error",
        ) from error
