"""``migrate``, ``login add`` and ``doctor``: what an admin does once, and what tells whether it was done."""

from typing import Annotated

import psycopg
import typer

from langgraph_control.audit.postgres.logins import LoginRole, add_login
from langgraph_control.cli.databases import Dsn, Local, database
from langgraph_control.cli.output import console, heading, pairs
from langgraph_control.errors import DatabaseRefused

__all__ = ["doctor", "login", "migrate_database"]

login = typer.Typer(help="Say which database login speaks for whom.", no_args_is_help=True, rich_markup_mode=None)


@login.callback()
def _logins() -> None:
    """Say which database login speaks for whom."""


def migrate_database(
    dsn: Dsn = None,
    local: Local = False,
    tenant: Annotated[str, typer.Option(help="The tenant to make sure of.")] = "default",
) -> None:
    """Bring the database to this release's schema.

    On the admin login. Safe to repeat, and from several places at once.
    """
    from langgraph_control.audit.postgres.migrate import migrate

    with database("admin", dsn=dsn, local=local) as place:
        applied = migrate(place.dsn, tenant=tenant)
    out = console()
    for name in applied:
        out.print(f"applied {name}")
    out.print("The database is up to date." if not applied else f"{len(applied)} migrations applied.")


@login.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="LOGIN", help="An existing database login.")],
    *,
    role: Annotated[LoginRole, typer.Option(help="Which functions it may call.")],
    dsn: Dsn = None,
    local: Local = False,
    tenant: Annotated[str, typer.Option(help="The tenant it speaks for.")] = "default",
    person: Annotated[str | None, typer.Option(help="The approver it is, as the policy names people.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group of that person; may be given repeatedly.")] = None,
    service: Annotated[
        bool,
        typer.Option("--service", help="It is nobody's own: a service that signs people in and says whose word it is."),
    ] = False,
) -> None:
    """Map a database login to a tenant, a role and a person. It replaces an earlier mapping.

    With --service the login is that of a console or another service that finds out itself who its people are: what it
    says counts as the word of whomever it names, with how that person signed in on record. Whoever holds such a login's
    password can approve as anybody. Give it to that service alone; people's own logins, and scripts, do without.
    """
    if service and (role != "approver" or person is not None or group):
        raise DatabaseRefused(
            "A service's login speaks for whomever signs in there.",
            todo="Give --service with --role approver, and neither --person nor --group.",
            code="service_login",
        )
    with database("admin", dsn=dsn, local=local) as place:
        add_login(place.dsn, name, role=role, tenant=tenant, person=person, groups=group or [], may_name_person=service)
    who = f", as {person}" if person else ", for whom its service signs in" if service else ""
    console().print(f"{name} speaks for tenant {tenant} as {role}{who}.")


def doctor(dsn: Dsn = None, local: Local = False) -> None:
    """Say whether the database can be used.

    Whether it can be reached, has this release's schema, and what this login may act as.
    """
    from langgraph_control.audit.connecting.database_errors import naming_errors
    from langgraph_control.audit.connecting.statements import REQUIRED_FUNCTIONS
    from langgraph_control.audit.postgres.migrate import check_schema

    with (
        database("agent", dsn=dsn, local=local) as place,
        naming_errors(place.dsn),
        psycopg.connect(place.dsn, autocommit=True, connect_timeout=5) as connection,
    ):
        check_schema(connection, REQUIRED_FUNCTIONS)
        roles = [name for name in ("agent", "approver", "admin", "auditor") if _has(connection, name)]
        info = connection.info
        version = f"{info.server_version // 10000}.{info.server_version % 10000}"
        out = console()
        heading(out, "The database can be used.")
        pairs(
            out,
            [
                ("server", f"PostgreSQL {version}"),
                ("database", info.dbname),
                ("login", info.user),
                ("may act as", ", ".join(roles) or "nobody: langgraph-control login add"),
                ("schema", f"offers all {len(REQUIRED_FUNCTIONS)} functions that this release calls"),
            ],
        )


def _has(connection: psycopg.Connection[tuple[object, ...]], role: str) -> bool:
    row = connection.execute("SELECT pg_has_role(session_user, %s, 'MEMBER')", (f"control_{role}",)).fetchone()
    return row == (True,)
