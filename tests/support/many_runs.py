"""Many runs at once: copies of one that was really driven, made by the server itself."""

from uuid import UUID

import psycopg

from tests.support.postgres import Database

RUNS = """
INSERT INTO control.run (run_id, tenant, trigger, intent, graph, thread_id, actor, started_at)
SELECT md5(%(salt)s || n)::uuid, r.tenant, %(salt)s || n, r.intent, r.graph, %(salt)s || n, r.actor, r.started_at
FROM generate_series(1, %(copies)s::integer) n, control.run r WHERE r.run_id = %(run_id)s::uuid
"""
ENTRIES = """
INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, hash)
SELECT md5(%(salt)s || n)::uuid, e.seq, e.tenant, e.at, e.facts, e.body, e.hash
FROM generate_series(1, %(copies)s::integer) n, control.entry e WHERE e.run_id = %(run_id)s::uuid
"""
STATES = """
INSERT INTO control.run_state (run_id, tenant, seq, head, state, state_since)
SELECT md5(%(salt)s || n)::uuid, s.tenant, s.seq, s.head, s.state, s.state_since
FROM generate_series(1, %(copies)s::integer) n, control.run_state s WHERE s.run_id = %(run_id)s::uuid
"""


def copy_run(database: Database, run_id: UUID, copies: int, *, salt: str = "copy/") -> list[UUID]:
    """Add so many copies of a run, entries and all, and return their ids."""
    numbers = {"run_id": run_id, "copies": copies, "salt": salt}
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for statement in (RUNS, ENTRIES, STATES):
            connection.execute(statement, numbers)
        connection.execute("ANALYZE control.entry, control.run_state")
        found = connection.execute(
            "SELECT md5(%(salt)s || n)::uuid FROM generate_series(1, %(copies)s::integer) n", numbers
        )
        return [row[0] for row in found.fetchall()]
