"""What somebody can do who has the agent's database login and writes SQL of their own: nothing to the record."""

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from langgraph_control import Control, Run
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.requests import FindApproval, FindRun, Inbox, NewestRuns, RunActions, RunEntries
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_id, run_id
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.audit.trail.verify import verify_run
from tests.support.desk import POLICY, Desk, new_trigger
from tests.support.postgres import Database

ARGUMENTS: Final = "'default', %(run)s, now(), ARRAY['approval.granted'], '{}', '', NULL"

REFUSED: Final = {
    # Votes and grants
    "inserting a vote": (
        "INSERT INTO control.vote VALUES (%(approval)s, 'ana', 'approve', '', 'x', '{}', NULL, NULL, NULL, now())"
    ),
    "editing": "SELECT control.edit_v1(%(approval)s, '{\"amount\": 1}', NULL, NULL, NULL, '{}')",
    "withdrawing a vote": "SELECT control.withdraw_vote_v1(%(approval)s, NULL, NULL, NULL, '{}')",
    "delegating": "SELECT control.delegate_v1(gen_random_uuid(), 'bot', NULL, now(), NULL, NULL, NULL, '{}')",
    "reviewing": "SELECT control.review_v1(%(approval)s, 'accepted', NULL, NULL, NULL, '{}')",
    "granting": "UPDATE control.approval SET state = 'granted' WHERE approval_id = %(approval)s",
    "voting": "SELECT control.vote_v1(%(approval)s, 'approve', NULL, NULL, 'ana@acme.example', NULL, '{}')",
    "closing a request": "SELECT control.close_approval(%(approval)s, 'granted', now())",
    "loosening a requirement": "UPDATE control.approval SET requirement = '{}' WHERE approval_id = %(approval)s",
    # Entries
    "appending an entry by function": f"SELECT control.append({ARGUMENTS})",
    "appending an entry by hand": "INSERT INTO control.entry SELECT * FROM control.entry",
    "changing an entry": "UPDATE control.entry SET payload = NULL WHERE run_id = %(run)s",
    "deleting an entry": "DELETE FROM control.entry WHERE run_id = %(run)s",
    "emptying the trail": "TRUNCATE control.entry",
    "moving the head of a chain": "UPDATE control.run_state SET seq = 0 WHERE run_id = %(run)s",
    "reading entries around the functions": "SELECT * FROM control.entry",
    "copying them out": "COPY control.entry TO STDOUT",
    # Who is who
    "mapping itself to another role": "UPDATE control.login SET role = 'approver'",
    "joining a role": "INSERT INTO control.membership VALUES ('default', 'finance', 'agent@acme.example')",
    "lowering a floor": "DELETE FROM control.floor",
    "publishing a policy": "SELECT control.policy_publish_v1('h', '', '[]', '[]', '[]', 1, 1, 'withdraw', '')",
    "reading the tenants' secrets": "SELECT secret FROM control.tenant",
    "becoming the owner": "SET ROLE control_owner",
    "becoming an approver": "SET ROLE control_approver",
    "being somebody else": "SET SESSION AUTHORIZATION test_approver_ana",
    "granting itself a role": "GRANT control_approver TO test_agent",
    # The owner's functions
    "stepping by hand": "SELECT control.must_step('needs_approval', 'grant', 'blind')",
    "waking by hand": "SELECT control.wake('default', '')",
    "taking a lease by hand": "SELECT control.take_lease('default', %(run)s, 'me', 1, false, '')",
    "asking as a caller": "SELECT control.caller('agent')",
    "reading a tally": "SELECT control.satisfied('default', 'refund', %(approval)s, '{}')",
    "replacing the clock": "CREATE OR REPLACE FUNCTION control.clock() RETURNS timestamptz RETURN now()",
    "replacing a function": "ALTER FUNCTION control.vote_refusal SET search_path = pg_temp",
    # Definitions
    "a table of its own in the schema": "CREATE TABLE control.mine ()",
    "disabling triggers": "ALTER TABLE control.approval DISABLE TRIGGER ALL",
    "a trigger on the trail": "CREATE TRIGGER t BEFORE INSERT ON control.entry EXECUTE FUNCTION control.clock()",
    "a rule on the trail": "CREATE RULE r AS ON INSERT TO control.entry DO INSTEAD NOTHING",
    "a row policy": "CREATE POLICY p ON control.entry",
    "another owner": "ALTER TABLE control.entry OWNER TO test_agent",
    "a schema before ours": "CREATE SCHEMA shadow",
    "locking everybody out": "LOCK TABLE control.action",
}


@pytest.fixture(scope="module")
def waiting(desk_database: Database) -> Iterator[Run]:
    """A run that waits for an approval."""
    desk = Desk.on(desk_database)
    with desk.control:
        yield desk.run(desk.refunding(500), trigger=new_trigger())


# One read, and one refused write, as an agent's login puts them on record.
OBSERVE = """SELECT control.observe_v1(%(run)s, 1, 't', NULL, 'succeeded', NULL, sha256(''), NULL, NULL, NULL, NULL,
    NULL, 9, 5, 1000, 1000, 0, '{}', NULL)"""
STEP = """SELECT control.step_v1(%(run)s, 1, 't', NULL, sha256(''), sha256(''), sha256(''), sha256(''), sha256(''),
    now(), NULL, 9, '{}')"""


def names(run: Run) -> dict[str, UUID]:
    """Return a run's id and its request's."""
    return {"run": run_id(run.id), "approval": approval_id(run.approvals[0])}


def unharmed(database: Database, run: Run) -> bool:
    """Whether the run still waits for the same open request, and its chain is whole."""
    with LedgerConnection(database.auditor) as auditor:
        row = auditor.ask(FindRun(run_id=run_id(run.id)))
        request = auditor.ask(FindApproval(approval_id=approval_id(run.approvals[0])))
        found = verify_run(auditor, run_id(run.id))
    assert row is not None
    assert request is not None
    assert found is not None
    return (row.state, request.state, request.voters, found.ok) == (RunState.NEEDS_APPROVAL, "open", (), True)


@pytest.mark.parametrize("what", REFUSED)
def test_postgres_refuses(desk_database: Database, waiting: Run, what: str) -> None:
    """The agent's login may not do it, in so many words, and nothing has changed."""
    with psycopg.connect(desk_database.agent) as agent:
        with pytest.raises(InsufficientPrivilege) as refused:
            agent.execute(REFUSED[what].encode(), names(waiting))
        assert refused.value.sqlstate == "42501"
    assert unharmed(desk_database, waiting)


SHADOWS: Final = (
    # Whatever the ledger's functions look up by an unqualified name would be found here, if it came first.
    "CREATE TEMP TABLE login AS SELECT 'test_agent'::name AS login, 'other' AS tenant, 'approver' AS role",
    "CREATE TEMP TABLE entry (LIKE pg_catalog.pg_class)",
    "CREATE TEMP TABLE run_state (run_id uuid, tenant text, token bigint)",
    "CREATE TEMP TABLE approval (approval_id uuid, state text)",
    "CREATE TYPE pg_temp.claim_answer AS (answer text)",
    "CREATE DOMAIN pg_temp.bytea AS text",
    "CREATE FUNCTION pg_temp.clock() RETURNS timestamptz LANGUAGE sql AS $$SELECT 'infinity'::timestamptz$$",
    "CREATE FUNCTION pg_temp.sha256(pg_catalog.bytea) RETURNS pg_catalog.bytea LANGUAGE sql AS 'SELECT $1'",
    "CREATE FUNCTION pg_temp.session_user() RETURNS name LANGUAGE sql AS $$SELECT 'test_approver_ana'::name$$",
    "CREATE FUNCTION pg_temp.caller(VARIADIC text[]) RETURNS text LANGUAGE sql AS $$SELECT 'other'$$",
    "SET search_path = pg_temp, control, pg_catalog",
    "SET synchronous_commit = off",
    "SET standard_conforming_strings = off",
    "SET transform_null_equals = on",
    "SET bytea_output = 'escape'",
    "SET timezone = 'Pacific/Kiritimati'",
    "SET datestyle = 'German'",
)


def test_shadowing_changes_nothing(desk_database: Database, waiting: Run) -> None:
    """Tables, types and functions of the same names in front of ours, and odd settings, are not looked at."""
    with psycopg.connect(desk_database.agent, autocommit=True) as agent:
        for statement in SHADOWS:
            agent.execute(statement.encode())
        voting = b"SELECT control.vote_v1(%(approval)s, 'approve', NULL, NULL, NULL, NULL, '{}')"
        with pytest.raises(InsufficientPrivilege):
            agent.execute(voting, names(waiting))
        own = agent.execute("SELECT tenant FROM control.session_v1()").fetchone()
        assert own == ("default",)
        row = agent.execute(
            "SELECT (control.run_open_v1(%s, 'shadow', 'i', 'g', 's', true, 'me', NULL, NULL, '', 'h', 1, '')).answer",
            (shadowed := UUID(int=4711),),
        ).fetchone()
        assert row == ("acquired",)
    with LedgerConnection(desk_database.auditor) as auditor:
        found = verify_run(auditor, shadowed)
        (entry,) = auditor.entries(shadowed)
    assert found is not None
    assert found.ok
    assert b"Pacific" not in entry.body
    assert entry.at.year < 3000
    assert unharmed(desk_database, waiting)


def test_another_tenants_login_sees_nothing(desk_database: Database, waiting: Run) -> None:
    """Runs, actions, entries and requests of one tenant do not exist for a login of another."""
    run, approval = run_id(waiting.id), approval_id(waiting.approvals[0])
    with LedgerConnection(desk_database.second_tenant_agent) as other:
        asked: list[Any] = [
            other.ask(FindRun(run_id=run)),
            other.ask(FindRun(trigger=waiting.trigger)),
            other.ask(RunActions(run_id=run)),
            other.ask(RunEntries(run_id=run, after=0, limit=10)),
            other.ask(FindApproval(approval_id=approval)),
            other.ask(Inbox(limit=10)),
            other.ask(NewestRuns(limit=10)),
        ]
    assert [answer or None for answer in asked] == [None] * len(asked)


def test_another_tenants_login_cannot_act_on_a_run(desk_database: Database, waiting: Run) -> None:
    """Taking, releasing, reading for and settling another tenant's run is answered as if there were none."""
    given = {**names(waiting), "zero": UUID(int=0)}
    with psycopg.connect(desk_database.second_tenant_agent, autocommit=True) as other:

        def answer(text: str) -> Any:
            row = other.execute(text.encode(), given).fetchone()
            return None if row is None else row[0]

        assert answer("SELECT (r).answer FROM control.run_acquire_v1(%(run)s, 'h', 1000, '{}') r") == "unknown"
        assert (
            answer("SELECT (r).answer FROM control.run_release_v1(%(run)s, 1, 0, 'done', '', '', '', NULL, '{}') r")
            == "stale"
        )
        assert answer(f"SELECT (r).answer FROM ({OBSERVE}) o (r)") == "stale"
        assert answer(f"SELECT (s).answer FROM ({STEP}) o (s)") == "stale"
        assert answer("SELECT control.run_base_v1(%(run)s, 1, 'x')") is None
        assert answer("SELECT control.run_renew_v1(ARRAY[%(run)s::uuid], ARRAY[1::bigint], 1000)") is None
        with pytest.raises(psycopg.Error) as refused:
            answer(
                "SELECT control.settle_v1(%(run)s, %(zero)s, '', 'succeed', '{}', '', NULL, NULL, NULL, NULL, true, 0,"
                " '', NULL)"
            )
        assert refused.value.sqlstate == "LC002"
    assert unharmed(desk_database, waiting)


def test_a_login_that_nobody_published_may_do_nothing(desk_database: Database) -> None:
    """Being in the agents' group is not enough: without a row of its own a login speaks for no tenant."""
    login = f"unpublished_{desk_database.name}"
    with psycopg.connect(desk_database.admin, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'test' IN ROLE control_agent".encode())
        try:
            with (
                psycopg.connect(desk_database.dsn(login)) as stranger,
                pytest.raises(InsufficientPrivilege, match="not published"),
            ):
                stranger.execute("SELECT * FROM control.session_v1()")
        finally:
            admin.execute(f"DROP ROLE {login}".encode())


def test_the_other_logins_cannot_do_the_agents_part(desk_database: Database, waiting: Run) -> None:
    """Approver and auditor cannot claim, settle or take runs: who approves does not also act."""
    statements = (
        "SELECT control.run_acquire_v1(%(run)s, 'h', 1000, '{}')",
        "SELECT * FROM control.session_v1()",
        OBSERVE,
        STEP,
    )
    for dsn in (desk_database.approver("ana"), desk_database.auditor):
        with psycopg.connect(dsn, autocommit=True) as connection:
            for statement in statements:
                with pytest.raises(InsufficientPrivilege):
                    connection.execute(statement.encode(), names(waiting))
    assert unharmed(desk_database, waiting)


def test_another_tenants_login_sees_no_checkpoints(desk_database: Database, waiting: Run) -> None:
    """The state of one tenant's graphs, messages included, does not exist for an agent of another."""
    asked = "SELECT count(*) FROM control_checkpoints.checkpoints WHERE thread_id = %s"
    with psycopg.connect(desk_database.agent) as own:
        row = own.execute(asked, (waiting.thread,)).fetchone()
        assert row is not None
        assert row[0] > 0
    with psycopg.connect(desk_database.second_tenant_agent) as other:
        assert other.execute(asked, (waiting.thread,)).fetchone() == (0,)


@pytest.fixture
def second_tenant_policy(desk_database: Database) -> None:
    """The desk's policy, published for the other tenant by an admin login of its own."""
    login = f"second_admin_{desk_database.name}"
    with psycopg.connect(desk_database.admin, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'test'".encode())
    add_login(desk_database.admin, login, role="admin", tenant="other")
    publish_policy(desk_database.dsn(login), POLICY)


@pytest.mark.usefixtures("second_tenant_policy")
def test_two_tenants_threads_of_one_name_are_two(desk_database: Database) -> None:
    """A conversation that two tenants happen to call the same is not shared between them."""
    theirs = Desk(database=desk_database, control=Control(POLICY, dsn=desk_database.second_tenant_agent))
    ours = Desk.on(desk_database)
    with theirs.control, ours.control:
        theirs.run(theirs.agent("theirs"), trigger=new_trigger(), thread="chat")
        run = ours.run(ours.agent("ours"), trigger=new_trigger(), thread="chat")
    assert [message.content for message in run.output["messages"] if message.type == "ai"] == ["ours"]
