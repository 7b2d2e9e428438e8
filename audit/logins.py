"""Say which database login speaks for which tenant, in which role and as which person."""

from collections.abc import Sequence
from typing import Final, Literal

import psycopg
from psycopg import sql

from langgraph_control.audit.database_errors import naming_errors
from langgraph_control.errors import DatabaseRefused

__all__ = ["LoginRole", "add_login"]

ROLES: Final = ("agent", "approver", "admin", "auditor")
LoginRole = Literal["agent", "approver", "admin", "auditor"]


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
        may_name_person: let it vote as anyone it names; for the development server only.
        create: create the login if it is missing; for the development server only, as it gets no password.

    Raises:
        DatabaseRefused: no such login or tenant, or this DSN may not grant roles.
        TrailUnavailable: the server cannot be reached.
    """
    with naming_errors(admin_dsn), psycopg.connect(admin_dsn, connect_timeout=10) as connection:
        if create:
            _create(connection, login)
        others = [sql.Identifier(f"control_{other}") for other in ROLES if other != role]
        try:
            for other in others:
                connection.execute(sql.SQL("REVOKE {} FROM {}").format(other, sql.Identifier(login)))
            group = sql.Identifier(f"control_{role}")
            connection.execute(sql.SQL("GRANT {} TO {}").format(group, sql.Identifier(login)))
        except psycopg.errors.UndefinedObject:
            raise DatabaseRefused(
                f'There is no login "{login}" on this server, or it was never migrated.',
                todo="Create the login first (CREATE ROLE … LOGIN), then map it.",
                code="login_unknown",
            ) from None
        connection.execute("SET LOCAL ROLE control_owner")
        try:
            connection.execute(
                "INSERT INTO control.login (login, tenant, role, person, groups, may_name_person)"
                " VALUES (%s, %s, %s, %s, %s, %s)"
                " ON CONFLICT (login) DO UPDATE SET tenant = excluded.tenant, role = excluded.role,"
                " person = excluded.person, groups = excluded.groups, may_name_person = excluded.may_name_person",
                (login, tenant, role, person, list(groups), may_name_person),
            )
        except psycopg.errors.ForeignKeyViolation:
            raise DatabaseRefused(
                f'There is no tenant "{tenant}" in this database.',
                todo=f"Create it: langgraph-control migrate --tenant {tenant}.",
                code="tenant_unknown",
            ) from None


def _create(connection: psycopg.Connection[tuple[object, ...]], login: str) -> None:
    found = connection.execute("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s", (login,)).fetchone()
    if found is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
