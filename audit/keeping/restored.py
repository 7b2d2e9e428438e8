"""After a restore: is it the server that it was, and letting writes go on once it is known what was lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import psycopg

from langgraph_control.audit.asking.requests import FieldsAreParameters
from langgraph_control.audit.connecting.database_errors import naming_errors, place
from langgraph_control.audit.connecting.failures import refused
from langgraph_control.audit.postgres.admin_session import connect
from langgraph_control.errors import DatabaseRefused, OperationRefused
from langgraph_control.guards.spoken_texts import check_comment

__all__ = [
    "AcceptRestore",
    "Accepted",
    "FindRestore",
    "RecordReconciliation",
    "Restore",
    "SameServer",
    "declare_restored",
]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SameServer(FieldsAreParameters):
    """Ask whether this is the server that it was, and no restore waits to be looked into. Else writes stand still."""

    statement: ClassVar[str] = "server"

    def read(self, rows: Rows) -> bool:
        """Return the answer as a value."""
        return bool(rows[0]["same"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """A restore that waits to be looked into.

    Args:
        place: the entry of the tenant's own chain that says so.
        since: when it was found, or declared.
        comment: what was found.
        reconciled: the entry of a reconciliation of everything since; None until there is one.
    """

    place: int
    since: datetime
    comment: str
    reconciled: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FindRestore(FieldsAreParameters):
    """Find the restore that waits to be looked into; None where none does."""

    statement: ClassVar[str] = "restore"

    def read(self, rows: Rows) -> Restore | None:
        """Return the answer as a value."""
        return Restore(**rows[0]) if rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReconciliation(FieldsAreParameters):
    """Put on record that everything was looked through. Answers whether no restore waits for another one.

    Args:
        restore: the entry of the restore that waited when it began; None where none did.
        outside: systems of record and threads were asked, too; what of it could not be, the next counts say.
        requests: so many business requests were looked at.
        runs: so many runs.
        actions: so many actions.
        entries: so many entries.
        asked: so many actions were looked up in their systems of record, and there or certainly not there.
        unclear: of so many their system was asked, and cannot tell.
        unanswered: of so many the system could not be asked.
        no_tool: the tools of so many are in no graph that was named.
        no_find: so many nothing can look up.
        no_arguments: so many cannot be looked up any more.
        no_graph: the graphs of so many runs were not named.
        open: of so many actions nobody knows the outcome yet.
        differences: so many differences were named.
        body: the entry's body, canonical bytes.
    """

    statement: ClassVar[str] = "reconciled"

    restore: int | None
    outside: bool
    requests: int
    runs: int
    actions: int
    entries: int
    asked: int
    open: int
    differences: int
    unclear: int = 0
    unanswered: int = 0
    no_tool: int = 0
    no_find: int = 0
    no_arguments: int = 0
    no_graph: int = 0
    body: bytes = b"{}"

    def read(self, rows: Rows) -> bool:
        """Return the answer as a value."""
        return bool(rows[0]["counts"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What came of accepting a restore.

    Args:
        refused: a stable word that says why it does not count; None where it does.
        woken: so many runs stood still for it.
        restore: the entry of the restore that waits, or waited; None where none does.
    """

    refused: str | None
    woken: int
    restore: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRestore(FieldsAreParameters):
    """Let the tenant's writes go on after a restore.

    Args:
        person: who says so, where the login may name one; None for the login's own person.
        identity: how a service that authenticates people found out who it is, as JSON; None: the login says it.
        comment: what was found out, for the record.
        body: the entry's body, canonical bytes.
        unreconciled: the entry of the restore that is accepted without a reconciliation; None where there was one.
    """

    statement: ClassVar[str] = "restore_accept"

    person: str | None
    comment: str
    body: bytes
    identity: str | None = None
    unreconciled: int | None = None

    def read(self, rows: Rows) -> Accepted:
        """Return the answer as a value."""
        row = rows[0]
        return Accepted(refused=row["reason"], woken=row["woken"] or 0, restore=row["restore"])


def declare_restored(admin_dsn: str, *, comment: str) -> None:
    """Stop the writes of all tenants: the database was restored, or a standby that was behind took over.

    For what the server does not show by itself, such as a copy of its disk. Each tenant's people let theirs go on.

    Args:
        admin_dsn: an admin login that may migrate: it acts for all tenants.
        comment: what was restored, and to when, for the record.

    Raises:
        ArgumentError: the comment is too long, or no text that can be kept.
        OperationRefused: there is no comment.
        DatabaseRefused: this login may not act for all tenants.
        TrailUnavailable: the server cannot be reached.
        SchemaMismatch: the database was not migrated.
    """
    check_comment(comment)
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
        raise refused(error, admin_dsn) from error
