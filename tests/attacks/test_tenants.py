"""What a tenant's logins can do to another tenant: nothing, through no function and no table."""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import orjson
import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.postgres.logins import LoginRole, add_login
from tests.support.postgres import Database
from tests.support.trails import FINANCE, TrailWriter

ROLES: Final[tuple[LoginRole, ...]] = ("agent", "approver", "admin", "auditor")
MARK: Final = "what only the first tenant knows"
NOW: Final = dt.datetime.now(dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Ids of the first tenant, which the second one has learnt somehow."""

    database: Database
    given: Mapping[str, Any]
    secrets: frozenset[str]  # that the second tenant was never given

    def login(self, role: LoginRole) -> str:
        """Return a DSN of the second tenant."""
        return self.database.dsn(f"test_second_{role}")


@pytest.fixture(scope="module")
def known(shared_database: Database) -> Known:
    """A tenant with a run that waits for people, one that is done, a question, a hold; and a second one's logins."""
    for role in ROLES:
        person = "eve@other.example" if role == "approver" else None
        add_login(shared_database.admin, f"test_second_{role}", role=role, tenant="other", person=person, create=True)
    with TrailWriter(shared_database) as trail:
        trail.publish()
        done = trail.open("first/1")
        request, _ = trail.claim(done, payload=orjson.dumps({"args": MARK}))
        trail.settle(done, request, result=orjson.dumps(MARK))
        trail.release(done)
        run = trail.open("first/2")
        request, claimed = trail.claim(run, verb="approve", payload=orjson.dumps({"args": MARK}))
        assert claimed.approval_id is not None
        trail.release(run, RunState.NEEDS_APPROVAL, "needs_approval")
    question, delegation, hold = uuid4(), uuid4(), uuid4()
    with psycopg.connect(shared_database.admin, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO control.question VALUES (%s, 'default', %s, %s, 'refund', %s, now())",
            (question, request.key, run.run_id, MARK),
        )
        owner.execute("INSERT INTO control.asker VALUES (%s, %s)", (question, run.run_id))
        owner.execute("UPDATE control.waiter SET note = '|park|ask|' WHERE run_id = %s", (run.run_id,))
        owner.execute(
            "INSERT INTO control.delegation VALUES (%s, 'default', 'ana', '{}', 'eve@other.example', NULL, now(),"
            " now() + '1 day', %s)",
            (delegation, MARK),
        )
        owner.execute(
            "INSERT INTO control.hold VALUES (%s, 'default', 'run', %s, '', %s, 'ana', now())",
            (hold, run.run_id, MARK),
        )
        owner.execute(
            "INSERT INTO control.notice_sink VALUES ('default', 'approver', 'sink', '{requested}', 0.5, now())"
        )
        owner.execute(
            "INSERT INTO control.notice (tenant, role, sink, approval_id, event, mark, at, due_at, state)"
            " VALUES ('default', 'approver', 'sink', %s, 'requested', '', now(), now(), 'dead')",
            (claimed.approval_id,),
        )
        owner.execute(
            "INSERT INTO control.brake VALUES ('default', 'tenant', '', 'restored', '9999-01-01', now(), 'x', %s)",
            (MARK,),
        )
    given: dict[str, Any] = {
        "run": run.run_id,
        "runs": [run.run_id],
        "token": run.token,
        "tokens": [run.token],
        "generation": run.generation,
        "approval": claimed.approval_id,
        "approvals": [claimed.approval_id],
        "key": request.key,
        "asked": 0,
        "attempt": request.attempt,
        "question": question,
        "delegation": delegation,
        "hold": hold,
        "trigger": "first/2",
        "intent": "first/2",
        "thread": str(run.run_id),
        "erasure": uuid4(),
        "lease": uuid4(),
        "args_hash": request.args_hash,
        "scope_bytes": request.scope,
        "differences": 0,
        "digest": request.digest,
    }
    secrets = {done.run_id.hex, MARK, orjson.dumps(MARK).hex(), MARK.encode().hex()}
    return Known(database=shared_database, given=given, secrets=frozenset(secrets))


# What else functions take, by argument: a value with which the call would do something for its own tenant.
VALUES: Final[Mapping[str, Any]] = {
    "action": "x",
    "actions": 1,
    "actor": None,
    "after": None,
    "after_at": None,
    "after_run": None,
    "after_seq": None,
    "ahead_ms": 1000,
    "leaves": 1,
    "not_before": 0,
    "answer": "an answer",
    "approver": None,
    "at": NOW,
    "attempts_max": 5,
    "back_ms": 1000,
    "became": bytes(32),
    "before": None,
    "before_at": None,
    "before_key": None,
    "below": None,
    "body": b"{}",
    "call": "call_1",
    "calls": 1,
    "calls_max": 100,
    "calls_min": 1,
    "card": None,
    "chains": 10,
    "changes": Jsonb({"amount": 1}),
    "charges": None,
    "checkpoint": "x",
    "checkpoints": True,
    "code": None,
    "comment": "because",
    "covered": 1,
    "dead": Jsonb([]),
    "deadline": None,
    "decision": "approve",
    "each": 10,
    "edit": None,
    "ended": True,
    "leave_applied": False,
    "pause_ms": 0,
    "endorsed": None,
    "entries": 1,
    "error": None,
    "error_rate": 0.5,
    "event": "requested",
    "events": [],
    "every": True,
    "failed": 0,
    "failure": None,
    "fallback_kind": "verified",
    "floors": Jsonb([]),
    "from": 0,
    "give_up_ms": 1000,
    "graph": "support",
    "graphs": ["support"],
    "groups": [],
    "hash": "h",
    "hashes": ["h"],
    "hold_ms": 1000,
    "holder": "w1",
    "identity": None,
    "impact": "money",
    "indexes": [0],
    "input": b"{}",
    "keyed_ms": 0,
    "kind": "verified",
    "lease_ms": 1000,
    "levels": [0],
    "limit": 100,
    "longest": True,
    "loop": None,
    "mark": "",
    "members": Jsonb([]),
    "name": "",
    "next_step": "",
    "note": "no note",
    "on_behalf_of": None,
    "only_open": False,
    "older": None,
    "no_arguments": 0,
    "no_find": 0,
    "no_graph": 0,
    "no_tool": 0,
    "open": 0,
    "open_ms": 1000,
    "open_per_run": 1,
    "open_per_tenant": 1,
    "on_new_message": "refuse",
    "origin": bytes(32),
    "others": True,
    "outcome": "succeed",
    "outside": True,
    "own_thread": True,
    "owner": None,
    "owners": Jsonb([]),
    "payload": b"{}",
    "person": None,
    "place": 1,
    "probe": False,
    "probes": 1,
    "problem": None,
    "public": bytes(32),
    "rate_limited_ms": 1000,
    "repeats": None,
    "reason": "waits",
    "record": None,
    "remind_at": 0.5,
    "requests": 1,
    "requirement": Jsonb(FINANCE.canonical()),
    "restore": 1,
    "result": None,
    "retry_ms_max": 1000,
    "role": None,
    "saga": None,
    "same_max": 3,
    "scan": 100,
    "scope": "tenant",
    "seen": None,
    "sent": 0,
    "seqs": [1],
    "since": NOW - dt.timedelta(days=90),
    "sink": "sink",
    "sinks": Jsonb([{"sink": "sink", "events": ["requested"], "remind_at": 0.5}]),
    "size": 1,
    "state": None,
    "system": "billing",
    "text": "a question",
    "to": "bo@acme.example",
    "told": b'"gone"',
    "took_ms": 1,
    "tampered": 1,
    "tool": "refund",
    "turn": bytes(32),
    "twin": bytes(32),
    "unanswered": 0,
    "unclear": 0,
    "unreconciled": 1,
    "until": NOW + dt.timedelta(days=1),
    "verb": "approve",
    "verdict": "happened",
    "visible_ms": 0,
    "wait_ms": 0,
    "wake_ms": 0,
    "window_ms": 60_000,
    "within_ms": 1000,
    "xid": None,
}

# Where one name means something else to a function.
OWN_VALUES: Final[Mapping[str, Mapping[str, Any]]] = {
    "answer_v1": {"person": None},
    "ask_v1": {},
    "attempt_v1": {"reason": "forged", "mark": None},
    "claim_v1": {"scope": bytes(32)},
    "decided_v1": {"before": None},
    "edit_taken_v1": {"edit": 1},
    "entries_v1": {"after": 0},
    "erase_v1": {"scope": "run", "key": None, "name": None},
    "hold_v1": {"scope": "run"},
    "ledger_intents_v1": {"after": ""},
    "names_seen_v1": {"scope": "tool"},
    "notice_settle_v1": {"state": "sent"},
    "observe_v1": {"outcome": "succeeded", "scope": bytes(32), "call": bytes(32), "result": bytes(32)},
    "reconciled_v1": {"runs": 1},
    "retain_v1": {"older": dt.timedelta(0)},
    "review_v1": {"verdict": "accepted"},
    "roles_v1": {"person": "ana@acme.example"},
    "run_release_v1": {"state": "waiting", "owner": ""},
    "run_open_v1": {"actor": "bot"},
    "run_submit_v1": {"actor": "bot"},
    "saga_v1": {"saga": bytes(32)},
    "span_entries_v1": {"after": [0]},
    "step_v1": {"scope": bytes(32), "call": bytes(32), "result": bytes(32), "repeats": bytes(32)},
    "wakes_v1": {"limit": 100},
}

# Rows of tables without a tenant of their own.
NOT_THE_SECONDS: Final = (
    "NOT EXISTS (SELECT FROM control.run_state s"
    " WHERE s.tenant = 'other' AND to_jsonb(t) ->> 'run_id' = s.run_id::text)"
)

# What such a call may end with instead of an answer: there is nothing of that name for this tenant.
REFUSALS: Final = (
    "unknown run",
    "no such action",
    "a checkpoint that cannot be one",
    "a key that cannot be the next one",
)


def functions(database: Database) -> list[tuple[LoginRole, str]]:
    """Return each function of the schema that a role may call."""
    with psycopg.connect(database.admin) as connection:
        return [
            (role, str(name))
            for role in ROLES
            for (name,) in connection.execute(
                "SELECT proname FROM pg_proc WHERE pronamespace = 'control'::regnamespace"
                " AND has_function_privilege(%s, oid, 'EXECUTE') ORDER BY 1",
                (f"control_{role}",),
            )
        ]


def called(known: Known, role: LoginRole, function: str) -> str:
    """Call a function as the second tenant with the first one's ids, and return all that it answers, as text."""
    with psycopg.connect(known.database.admin) as owner:
        arguments = owner.execute(
            "SELECT coalesce(proargnames[1:pronargs], '{}'), proargtypes::regtype[]::text[] FROM pg_proc"
            " WHERE pronamespace = 'control'::regnamespace AND proname = %s",
            (function,),
        ).fetchone()
    assert arguments is not None
    own = OWN_VALUES.get(function, {})
    values = []
    for name, kind in zip(*arguments, strict=True):
        short = name.removeprefix("p_")
        if short in own:
            values.append(own[short])
        elif short in known.given:
            values.append(known.given[short])
        else:
            assert short in VALUES, f"{function} takes {name} ({kind}), for which this test has no value"
            values.append(VALUES[short])
    placeholders = sql.SQL(", ").join(sql.SQL("%s::{}").format(sql.SQL(kind)) for kind in arguments[1])
    with (
        years_later(known.database) if function == "retain_v1" else nullcontext(),
        psycopg.connect(known.login(role), autocommit=True) as connection,
    ):
        statement = sql.SQL("SELECT t::text FROM control.{}({}) t").format(sql.Identifier(function), placeholders)
        return "\n".join(str(row) for (row,) in connection.execute(statement, values))


@contextmanager
def years_later(database: Database) -> Iterator[None]:
    """Let the months that there are be over, for as long as this lasts."""
    clock = (
        "CREATE OR REPLACE FUNCTION control.clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS"
        " 'SELECT pg_catalog.clock_timestamp() + make_interval(years => {})'"
    )
    with psycopg.connect(database.admin, autocommit=True) as owner:
        owner.execute(clock.format(2).encode())
        try:
            yield
        finally:
            owner.execute(clock.format(0).encode())


def told(known: Known, answer: str) -> list[str]:
    """Return what of the first tenant's is in an answer."""
    plain = answer.replace("-", "")
    return [one for one in known.secrets if one in plain or one in answer]


def rows_of_the_first(database: Database) -> dict[str, str]:
    """Return a digest of the rows of each table that are not the second tenant's."""
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute("SET search_path TO pg_catalog")
        tables = connection.execute(
            "SELECT c.relname, EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'tenant')"
            " FROM pg_class c WHERE c.relnamespace = 'control'::regnamespace AND c.relkind = 'r'"
        ).fetchall()
        digests = {}
        for table, by_tenant in tables:
            which = sql.SQL("tenant <> 'other'" if by_tenant else NOT_THE_SECONDS)
            row = connection.execute(
                sql.SQL("SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM control.{} t WHERE {}").format(
                    sql.Identifier(table), which
                )
            ).fetchone()
            assert row is not None
            digests[str(table)] = str(row[0])
    return digests


def test_no_function_shows_or_touches_another_tenants_rows(known: Known) -> None:
    """Each function that a role may call, called with another tenant's ids, shows and changes nothing of it."""
    before = rows_of_the_first(known.database)
    seen, found = functions(known.database), []
    assert len({name for _, name in seen}) > 60
    for role, function in seen:
        try:
            answer = called(known, role, function)
        except psycopg.Error as error:
            answer = error.diag.message_primary or ""
            if not any(words in answer for words in REFUSALS):
                found.append(f"{role} {function} was not carried out: {answer}")
        if shown := told(known, answer):
            found.append(f"{role} {function} shows {shown}")
        if rows_of_the_first(known.database) != before:
            found.append(f"{role} {function} changed something")
            before = rows_of_the_first(known.database)
    assert found == []


def test_no_place_in_a_list_is_another_tenants_chain(known: Known) -> None:
    """An exporter that goes through all chains page by page is told of its own tenant's alone."""
    with psycopg.connect(known.database.admin) as owner:
        others = {row[0] for row in owner.execute("SELECT run_id FROM control.run_state WHERE tenant <> 'other'")}
    told_of, after = set(), None
    with psycopg.connect(known.login("auditor"), autocommit=True) as connection:
        while page := connection.execute(
            "SELECT run_id, last FROM control.span_behind_v1('x', %s, 1)", (after,)
        ).fetchall():
            told_of |= {place for row in page for place in row}
            after = page[-1][1]
    assert told_of
    assert told_of & others == set()


def test_the_same_calls_show_the_first_tenants_own_logins_theirs(known: Known) -> None:
    """What the second tenant was not shown is there: the first tenant's auditor sees it by the same ids."""
    with psycopg.connect(known.database.auditor, autocommit=True) as auditor:
        for call in (
            "entries_v1(%(run)s, 0, 10)",
            "questions_v1(%(run)s, 9)",
            "runs_v1(9)",
            "holds_v1()",
            "brakes_v1()",
        ):
            rows = auditor.execute(f"SELECT t::text FROM control.{call} t".encode(), known.given).fetchall()
            assert told(known, "\n".join(str(row) for (row,) in rows)), call


@pytest.mark.parametrize("role", ROLES)
def test_whoever_may_read_a_table_reads_their_own_tenants_rows_only(known: Known, role: LoginRole) -> None:
    """A login that is given a right to read tables sees its own tenant's rows by row-level security, and no secret."""
    with psycopg.connect(known.database.admin, autocommit=True) as owner:
        owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA control TO test_second_{role}".encode())
        tables = owner.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'control'::regnamespace AND relkind IN ('r', 'p')"
        ).fetchall()
    try:
        with psycopg.connect(known.login(role), autocommit=True) as connection:
            for (table,) in tables:
                rows = connection.execute(sql.SQL("SELECT t::text FROM control.{} t").format(sql.Identifier(table)))
                assert told(known, "\n".join(str(row) for (row,) in rows)) == [], table
            assert connection.execute("SELECT count(*) FROM control.tenant").fetchone() == (0,)
            assert connection.execute("SELECT DISTINCT tenant FROM control.login").fetchall() == [("other",)]
    finally:
        with psycopg.connect(known.database.admin, autocommit=True) as owner:
            owner.execute(f"REVOKE SELECT ON ALL TABLES IN SCHEMA control FROM test_second_{role}".encode())


def test_no_role_may_read_a_table_and_each_is_held_by_row_security(known: Known) -> None:
    """No role has a right to any table of the schema, and every table has row-level security, partitions among them."""
    with psycopg.connect(known.database.admin) as owner:
        open_tables = owner.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'control'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relrowsecurity"
        ).fetchall()
        rights = owner.execute(
            "SELECT r, c.relname FROM pg_class c, unnest(%s::text[]) r WHERE c.relnamespace = 'control'::regnamespace"
            " AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege(r, c.oid, 'SELECT, INSERT, UPDATE, DELETE')",
            ([f"control_{role}" for role in ROLES],),
        ).fetchall()
    assert (open_tables, rights) == ([], [])
