"""Say which database login speaks for which tenant, in which role and as which person."""

from collections.abc import Sequence
from typing import Final, Literal, get_args

import psycopg
from psycopg import sql

from langgraph_control.audit.connecting.database_errors import naming_errors
from langgraph_control.audit.postgres.admin_session import AdminConnection, alone, changing_roles, connect
from langgraph_control.errors import DatabaseRefused
from langgraph_control.guards.spoken_texts import check_name

__all__ = ["LoginRole", "add_login"]

LoginRole = Literal["agent", "approver", "admin", "auditor"]
ROLES: Final[tuple[LoginRole, ...]] = get_args(LoginRole)


def add_login(
    admin_dsn: str,
    login: str,
    *,
    role: LoginRole,
    tenant: str = "default",
    person: str | None = None,
    groups: Sequence[str] = (),
    may_name_person: bool = False,
    create: bool = False,
) -> None:
    """Map a login to a tenant, a role and, for approvers, a person. Called again it replaces the earlier mapping.

    Args:
        admin_dsn: the admin login's DSN.
        login: an existing database login.
        role: which functions it may call. A login has one role.
        tenant: the tenant it speaks for, made by ``migrate``.
        person: the approver it is, as the policy's roles name people.
        groups: the groups that person is in, as the policy names them after ``group:``.
        may_name_person: its words count as those of whom it names: for a service that finds out itself who its people
            are, and for the development server. Whoever holds it can approve as anybody.
        create: create the login if it is missing; for the development server only, as it gets no password.

    Raises:
        ArgumentError: one of the names is too long, or no text that the record can keep; nothing was sent.
        DatabaseRefused: no such login or tenant, or this DSN may not grant roles.
        TrailUnavailable: the server cannot be reached.
    """
    for at, name in (("login", login), ("tenant", tenant), ("person", person), *(("group", name) for name in groups)):
        check_name(name, at=at)
    with naming_errors(admin_dsn), connect(admin_dsn) as connection, alone(connection):

        def change() -> None:
            if create:
                _create(connection, login)
            _give_role(connection, login, role)
            _publish(connection, (login, tenant, role, person, [f"group:{name}" for name in groups], may_name_person))

        try:
            changing_roles(connection, change)
        except psycopg.errors.UndefinedObject:
            raise DatabaseRefused(
                f'There is no login "{login}" on this server, or the database was never migrated.',
                todo="Migrate, and create the login (CREATE ROLE … LOGIN); then map it.",
                code="login_unknown",
            ) from None
        except psycopg.errors.ForeignKeyViolation:
            raise DatabaseRefused(
                f'There is no tenant "{tenant}" in this database.',
                todo=f"Create it: langgraph-control migrate --tenant {tenant}.",
                code="tenant_unknown",
            ) from None


def _create(connection: AdminConnection, login: str) -> None:
    found = connection.execute("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s", (login,)).fetchone()
    if found is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))


def _give_role(connection: AdminConnection, login: str, role: LoginRole) -> None:
    """Make the login a member of its role's group and of no other one's."""
    held = {
        row["rolname"]
        for row in connection.execute(
            "SELECT g.rolname FROM pg_catalog.pg_auth_members m"
            " JOIN pg_catalog.pg_roles g ON g.oid = m.roleid JOIN pg_catalog.pg_roles l ON l.oid = m.member"
            " WHERE l.rolname = %s",
            (login,),
        )
    }
    for other in ROLES:
        group = f"control_{other}"
        if other == role:
            # Repeated even if held: since Postgres 16 a creator is a "member" that inherits no rights.
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(login)))
        elif group in held:
            connection.execute(sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(group), sql.Identifier(login)))


def _publish(connection: AdminConnection, row: tuple[object, ...]) -> None:
    connection.execute("SET LOCAL ROLE control_owner")
    connection.execute(
        "INSERT INTO control.login (login, tenant, role, person, groups, may_name_person)"
        " VALUES (%s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (login) DO UPDATE SET tenant = excluded.tenant, role = excluded.role,"
        " person = excluded.person, groups = excluded.groups, may_name_person = excluded.may_name_person",
        row,
    )
