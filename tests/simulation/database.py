"""The simulation's Postgres: the real functions, with time injected and without waiting for the disk."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString, TypeAlias

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from langgraph_control.audit.asking.requests import PublishPolicy
from langgraph_control.audit.connecting.statements import statement
from langgraph_control.guards.floors import floors
from langgraph_control.guards.policy import Policy
from tests.support.postgres import Database, cloned, template

__all__ = ["EPOCH", "POLICY", "Ledger", "simulation_database"]

Changes: TypeAlias = Mapping[str, tuple[tuple[str, str], ...]]

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)

POLICY = Policy.parse(
    """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example, di@acme.example], support: [cy@acme.example]}
owner: support
approve: {within: 3m, execute_within: 1m, on_expiry: deny, on_new_message: withdraw, not_by: [requester]}
rules:
  - tool: [keyed, forgetful, found, read_back, blind, sql, undo_keyed, undo_found, undo_blind]
    when: {amount: {gt: 0, lte: 100}}
    then: allow
  - tool: [forgetful, read_back, blind, sql, undo_keyed, undo_found, undo_blind]
    when: {amount: {gt: 100, lte: 5000}}
    then: approve
    by: finance
  - tool: keyed
    when: {amount: {gt: 100, lte: 5000}}
    then: approve
    by: {finance: 2}
  - tool: found
    when: {amount: {gt: 100, lte: 5000}}
    then: approve
    by: finance
    on_expiry: {escalate_to: support, within: 4m}
limits: [{tool: forgetful, sum: amount, max: 900, per: hour, each: agent}]
breakers: {default: {error_rate: 0.6, window: 60s, minimum_calls: 3, open_for: 10s, probes: 2}}
""",
    source="simulation.yaml",
)

# Only the owner of this one database replaces them. The clock is a row that the scheduler moves.
_INJECTED = """
CREATE TABLE control.simulated_clock (now timestamptz NOT NULL);
INSERT INTO control.simulated_clock VALUES ('2030-01-01T00:00:00Z');
GRANT SELECT ON control.simulated_clock TO control_owner;
CREATE OR REPLACE FUNCTION control.clock() RETURNS timestamptz
    LANGUAGE sql VOLATILE AS 'SELECT now FROM control.simulated_clock';
CREATE OR REPLACE FUNCTION control.commit_mode() RETURNS text LANGUAGE sql STABLE AS $$SELECT 'off'$$;
CREATE SCHEMA IF NOT EXISTS record;
CREATE TABLE record.effect (intent text, target text, amount bigint, key text, attempt integer, at timestamptz);
GRANT USAGE ON SCHEMA record TO control_agent;
GRANT INSERT, SELECT ON record.effect TO control_agent;
"""


class Ledger:
    """One worker's connection: sends requests as the real store does, one statement and one commit each."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.Connection[dict[str, Any]].connect(dsn, autocommit=True, row_factory=dict_row)

    def send(self, request: Any) -> Any:
        """Send a request and return its answer."""
        return request.read(
            self.connection.execute(statement(request.statement), request.parameters(), prepare=True).fetchall()
        )

    def close(self) -> None:
        """Drop the connection as a killed process does."""
        self.connection.close()


class Clock:
    """Simulated time, in the database and in every process."""

    def __init__(self, admin: psycopg.Connection[dict[str, Any]]) -> None:
        self._admin = admin
        self._written = -1.0
        self.seconds = 0.0

    @property
    def now(self) -> datetime:
        """The simulated moment."""
        return EPOCH + timedelta(seconds=self.seconds)

    def write(self) -> None:
        """Let the database see the time. Called before each statement; costs one only if time has moved."""
        if self.seconds != self._written:
            self._admin.execute("UPDATE control.simulated_clock SET now = %s", (self.now,), prepare=True)
            self._written = self.seconds


class SimulationDatabase:
    """A database with injected time, an admin's view of it and a DSN per login."""

    def __init__(self, database: Database, changes: Changes) -> None:
        self.database = database
        self.admin = psycopg.Connection[dict[str, Any]].connect(database.admin, autocommit=True, row_factory=dict_row)
        self.admin.execute("SET synchronous_commit = off")
        name = sql.Identifier(database.name)
        self.admin.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
        self.admin.execute(_INJECTED)
        for function, replacements in changes.items():
            for old, new in replacements:
                self._replace(function, old, new)
        self._publish()
        self.clock = Clock(self.admin)
        row = self.admin.execute("SELECT secret FROM control.tenant WHERE tenant = 'default'").fetchone()
        assert row is not None
        self.secret: bytes = row["secret"]

    def _replace(self, function: str, old: str, new: str) -> None:
        row = self.admin.execute("SELECT pg_get_functiondef(%s::regproc) AS text", (f"control.{function}",)).fetchone()
        assert row is not None
        if old not in row["text"]:
            raise LookupError(f"the mutant's text is not in control.{function}: {old}")
        text: str = row["text"]
        self.admin.execute(text.replace(old, new).encode())

    def _publish(self) -> None:
        members = [{"role": role, "member": one} for role, people in POLICY.roles.items() for one in people]
        rows = [asdict(floor) for floor in floors(POLICY)]
        owner = {"scope": "default", "name": "", "role": POLICY.owner or ""}
        request = PublishPolicy(
            hash=POLICY.hash,
            text=POLICY.text,
            members=members,
            floors=rows,
            owners=[owner],
            on_new_message=POLICY.approve.on_new_message,
            body=orjson.dumps({"policy": POLICY.hash, "source": POLICY.source}),
        )
        self.admin.execute(statement(request.statement), request.parameters())

    def let_go(self) -> None:
        """Forget what an earlier seed left that holds writes back."""
        self.admin.execute("DELETE FROM control.brake")
        self.admin.execute("DELETE FROM control.health")

    def rows(self, query: LiteralString, *parameters: Any) -> list[dict[str, Any]]:
        """Return what the admin sees."""
        return self.admin.execute(query, parameters, prepare=True).fetchall()

    def close(self) -> None:
        """Drop the admin's connection."""
        self.admin.close()


@contextmanager
def simulation_database(superuser_dsn: str, changes: Changes | None = None) -> Iterator[SimulationDatabase]:
    """Yield a database for simulations, with functions changed for a mutant: name → ((old, new), ...)."""
    with cloned(superuser_dsn, template(superuser_dsn)) as database:
        simulation = SimulationDatabase(database, changes or {})
        try:
            yield simulation
        finally:
            simulation.close()
