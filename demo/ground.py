"""The Postgres under the demo: an embedded server that leaves nothing behind, or a given one.

Either way the demo has a tenant of its own and, as in production, a database login for each part that is played. On a
given server those logins are dropped at the end; the record stays, in the demo's tenant.
"""

import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from langgraph_control import Policy
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.postgres.local_server import ADMIN, LocalServer
from langgraph_control.audit.postgres.logins import LoginRole, add_login
from langgraph_control.audit.postgres.migrate import migrate
from langgraph_control.errors import DatabaseRefused

Admin: TypeAlias = psycopg.Connection[tuple[Any, ...]]

APPROVER: Final = "ana@acme.example"
TENANTS: Final = "demo-"
SERVICE: Final = "service"
LOGINS: Final[Mapping[str, LoginRole]] = {
    "admin": "admin",
    "agent": "agent",
    "approver": "approver",
    "auditor": "auditor",
    SERVICE: "approver",
}
"""A login for each part that is played → its role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A migrated database with the demo's policy published, and whom it is used as.

    Args:
        what: the server, for people.
        tenant: the demo's own.
        admin: DSN of the admin's login.
        agent: DSN of the agent's login.
        approver: DSN of the login that is Ana, of finance.
        auditor: DSN of a login that only reads.
        service: DSN of the login of a service that signs people in, as the console does.
    """

    what: str
    tenant: str
    admin: str
    agent: str
    approver: str
    auditor: str
    service: str


@contextmanager
def ground(policy: Policy, *, dsn: str | None, approver_dsn: str | None) -> Iterator[Ground]:
    """Prepare a database for the demo, and tidy up after it.

    Args:
        policy: what to publish.
        dsn: the admin login of a given server; None for an embedded one.
        approver_dsn: an approver's login on the given server; None for one of the demo's own.
    """
    with ExitStack() as leaving:
        embedded = dsn is None
        if dsn is None:
            dsn = leaving.enter_context(_embedded_server()).dsn(ADMIN)
        tenant = f"{TENANTS}{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        migrate(dsn, tenant=tenant)
        admin = leaving.enter_context(psycopg.connect(dsn, autocommit=True))
        logins = leaving.enter_context(_logins(admin, dsn, tenant))
        if approver_dsn is not None:
            _lend(admin, dsn, tenant, approver_dsn)
        publish_policy(logins["admin"], policy)
        yield Ground(
            what=f"PostgreSQL {_version(admin)}, {'embedded' if embedded else 'as given'}",
            tenant=tenant,
            admin=logins["admin"],
            agent=logins["agent"],
            approver=approver_dsn or logins["approver"],
            auditor=logins["auditor"],
            service=logins[SERVICE],
        )


@contextmanager
def _embedded_server() -> Iterator[LocalServer]:
    with tempfile.TemporaryDirectory(prefix="langgraph-control-demo-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # root's server runs as another user, who has to get in
        with LocalServer.start(Path(folder)) as server:
            yield server


@contextmanager
def _logins(admin: Admin, dsn: str, tenant: str) -> Iterator[dict[str, str]]:
    """Yield a DSN for each part: logins of this demo alone, with passwords that nobody else knows."""
    named = {part: f"{tenant}-{part}" for part in LOGINS}
    passwords = {part: secrets.token_urlsafe(24) for part in LOGINS}
    try:
        for part, login in named.items():
            person = APPROVER if part == "approver" else None
            service = part == SERVICE
            add_login(dsn, login, role=LOGINS[part], tenant=tenant, person=person, may_name_person=service, create=True)
            set_password = sql.SQL("ALTER ROLE {} PASSWORD {}")
            admin.execute(set_password.format(sql.Identifier(login), sql.Literal(passwords[part])))
        yield {part: make_conninfo(dsn, user=login, password=passwords[part]) for part, login in named.items()}
    finally:
        for login in named.values():
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(login)))


def _lend(admin: Admin, dsn: str, tenant: str, approver_dsn: str) -> None:
    """Map the given approver's login to Ana in the demo's tenant, unless it already speaks for somebody's real one."""
    login = str(conninfo_to_dict(approver_dsn).get("user") or "")
    with admin.transaction():
        admin.execute("SET LOCAL ROLE control_owner")
        mapped = admin.execute("SELECT tenant FROM control.login WHERE login = %s", (login,)).fetchone()
    if mapped is not None and not str(mapped[0]).startswith(TENANTS):
        raise DatabaseRefused(
            "The approver's login speaks for another tenant already.",
            todo="Give the demo a login of its own, or none: it then makes one and drops it afterwards.",
            code="login_taken",
        )
    add_login(dsn, login, role="approver", tenant=tenant, person=APPROVER)


def _version(admin: Admin) -> str:
    number = admin.info.server_version
    return f"{number // 10000}.{number % 10000}"
