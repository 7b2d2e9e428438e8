"""A ledger that has been in use for long: rows made by the server itself, shaped like those of settled writes."""

import time
from typing import Final

import psycopg

from bench.ground import Place

__all__ = ["ACTIONS_PER_RUN", "fill", "fill_chains"]

ACTIONS_PER_RUN: Final = 50

RUNS: Final = """
INSERT INTO control.run (run_id, tenant, trigger, intent, graph, thread_id, actor, started_at)
SELECT md5('run' || n)::uuid, 'default', 'old/' || n, 'old/' || n, 'support', 'old/' || n, 'support-agent',
    now() - (%(runs)s::integer - n) * interval '1 s'
FROM generate_series(1, %(runs)s::integer) n
"""
STATES: Final = """
INSERT INTO control.run_state (run_id, tenant, seq, state, state_since)
SELECT run_id, tenant, 2 * %(each)s::integer, 'done', started_at FROM control.run WHERE trigger LIKE 'old/%%'
"""
ACTIONS: Final = """
INSERT INTO control.action (
    tenant, key, run_id, tool, impact, kind, fallback_kind, args_hash, digest, state, started, in_doubt, attempts,
    execution_id, attempt_id, lease_until, fence, sent_by, first_sent, absence_counts, settled_attempt, waited,
    payload_run, payload_seq, call_id, last_answer, result)
SELECT 'default', sha256(('key' || n)::bytea), run, 'pay', 'money', 'blind', 'blind', sha256(('args' || n)::bytea),
    sha256(('digest' || n)::bytea), 'succeeded', true, false, 1,
    attempt, attempt, now(), 1, now(), now(), false, attempt, false,
    run, 2 * (n %% %(each)s::integer) + 1, 'call_' || n, '', '{"version":1,"result":"paid"}'
FROM (SELECT n, md5('run' || (n / %(each)s::integer + 1))::uuid AS run, md5('attempt' || n)::uuid AS attempt
      FROM generate_series(0, %(runs)s::integer * %(each)s::integer - 1) n) rows
"""
ENTRIES: Final = """
INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, hash)
SELECT md5('run' || (n / (2 * %(each)s::integer) + 1))::uuid, n %% (2 * %(each)s::integer) + 1, 'default', now(),
    CASE n %% 2
        WHEN 0 THEN '{"events":["action.decided"],"verb":"allow","key":"'
            || encode(sha256(('key' || n / 2)::bytea), 'hex') || '"}'
        ELSE '{"events":["action.succeeded"]}' END,
    '{"tool":"pay"}', sha256(('hash' || n)::bytea)
FROM generate_series(0, 2 * %(runs)s::integer * %(each)s::integer - 1) n
"""

# Grows with time, as the ids of runs do.
RUN: Final = "(lpad(to_hex(%(first)s::bigint + n), 12, '0') || '7000' || substr(md5(%(kind)s || n), 1, 16))::uuid"
CHAINS: Final = f"""
INSERT INTO control.run_state (run_id, tenant, seq, head, state, state_since)
SELECT {RUN}, 'default', 1, sha256((%(kind)s || n)::bytea), 'done', now()
FROM generate_series(1, %(count)s::integer) n
"""
CHAIN_ENTRIES: Final = f"""
INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, hash)
SELECT {RUN}, 1, 'default', now(), '{{"events": ["action.succeeded"]}}',
    convert_to(repeat('x', 200), 'UTF8'), sha256((%(kind)s || n)::bytea)
FROM generate_series(1, %(count)s::integer) n
"""


def fill(place: Place, *, rows: int) -> None:
    """Add settled writes until the ledger has about so many entries, and half as many actions.

    Args:
        place: an empty ledger.
        rows: how many entries. Their texts are short: what a call meets of old rows is the depth of indexes.
    """
    numbers = {"each": ACTIONS_PER_RUN, "runs": rows // (2 * ACTIONS_PER_RUN)}
    with psycopg.connect(place.admin, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for statement in (RUNS, STATES, ACTIONS, ENTRIES):
            connection.execute(statement, numbers)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def fill_chains(place: Place, kind: str, count: int) -> None:
    """Have so many chains of one entry each in the record.

    Args:
        place: the ledger.
        kind: distinguishes them from others.
        count: how many.
    """
    first = time.time_ns() // 1_000_000 - count
    with psycopg.connect(place.admin) as connection:
        connection.execute("SET synchronous_commit = off")
        for statement in (CHAINS, CHAIN_ENTRIES):
            connection.execute(statement, {"kind": kind, "count": count, "first": first})
