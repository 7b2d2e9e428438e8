"""Effects in SQL that commit with their settle, or not at all."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest

from langgraph_control.audit.asking.ledger import Claim, Settle, Verdict
from langgraph_control.audit.asking.requests import RunActions
from langgraph_control.audit.connecting.failures import LedgerRefused
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.connecting.transactions import AsyncTransaction, CommitUnknown, RolledBack, Transaction
from langgraph_control.errors import DatabaseRefused, TrailUnavailable
from tests.support.ledger_requests import claim, run_open, settle
from tests.support.postgres import Database

INSERT = "INSERT INTO public.effect VALUES ('refund')"

# A commit that waits for somebody: a deferred trigger that wants a lock at the very end.
SLOW_COMMIT = """
CREATE FUNCTION public.wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT ON public.effect DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION public.wait_at_commit();
"""


@pytest.fixture
def superuser(database: Database) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection to the agent's database with a table of the business in it."""
    with psycopg.connect(database.admin, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.effect (what text)")
        connection.execute("GRANT ALL ON public.effect TO test_agent")
        yield connection


@pytest.fixture
def store(database: Database, superuser: psycopg.Connection[tuple[object, ...]]) -> Iterator[Store]:
    """A store on the agent's login."""
    store = Store(database.agent)
    yield store
    store.close()


@pytest.fixture
def claimed(store: Store) -> Claim:
    """An action of kind transaction that may happen now."""
    answer = store.call(run_open())
    assert answer.run_id is not None
    assert answer.token is not None
    asked = claim(answer.run_id, answer.token, kind="transaction")
    store.call(asked)
    return asked


def effects(superuser: psycopg.Connection[tuple[object, ...]]) -> int:
    """Count what became of the tool's work."""
    row = superuser.execute("SELECT count(*)::integer FROM public.effect").fetchone()
    assert row is not None
    return int(str(row[0]))


def state(store: Store, run_id: UUID) -> str:
    """Return where the run's only action stands."""
    (action,) = store.call(RunActions(run_id=run_id))
    return action.state


def within(transaction: Transaction | AsyncTransaction, claimed: Claim) -> Settle:
    """Return the settle for a transaction."""
    return settle(claimed, xid=transaction.xid)


def test_effect_and_settle_commit_together(
    store: Store, claimed: Claim, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """Before the commit nobody sees effect or settle, after it everybody sees both."""
    transaction = store.open_transaction()
    transaction.connection.execute(INSERT)
    assert transaction.execute(within(transaction, claimed)).answer is Verdict.SETTLED
    assert (effects(superuser), state(store, claimed.run_id)) == (0, "executing")
    transaction.commit()
    assert (effects(superuser), state(store, claimed.run_id)) == (1, "succeeded")
    assert transaction.connection.closed


async def test_effect_and_settle_commit_together_on_a_loop(
    store: Store, claimed: Claim, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """The same on the caller's own event loop."""
    transaction = await store.aopen_transaction()
    await transaction.connection.execute(INSERT)
    assert (await transaction.execute(within(transaction, claimed))).answer is Verdict.SETTLED
    assert (effects(superuser), state(store, claimed.run_id)) == (0, "executing")
    await transaction.commit()
    assert (effects(superuser), state(store, claimed.run_id)) == (1, "succeeded")
    assert transaction.connection.closed


async def test_a_rollback_undoes_both(
    store: Store, claimed: Claim, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """After a rollback neither effect nor settle is there, from a thread or a loop."""
    transaction = store.open_transaction()
    transaction.connection.execute(INSERT)
    transaction.execute(within(transaction, claimed))
    transaction.rollback()
    other = await store.aopen_transaction()
    await other.connection.execute(INSERT)
    await other.execute(within(other, claimed))
    await other.rollback()
    assert (effects(superuser), state(store, claimed.run_id)) == (0, "executing")


async def test_a_tool_that_commits_by_itself_is_caught(store: Store, claimed: Claim) -> None:
    """A settle in another transaction than the tool began in is refused by the transaction's id."""
    transaction = store.open_transaction()
    transaction.connection.execute(INSERT)
    transaction.connection.commit()
    with pytest.raises(LedgerRefused) as raised:
        transaction.execute(within(transaction, claimed))
    other = await store.aopen_transaction()
    await other.connection.commit()
    with pytest.raises(LedgerRefused) as awaited:
        await other.execute(within(other, claimed))
    assert (raised.value.sqlstate, awaited.value.sqlstate) == ("LC003", "LC003")
    assert state(store, claimed.run_id) == "executing"


async def test_a_failed_statement_is_no_commit(
    store: Store, claimed: Claim, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """A transaction in which something failed says that it rolled back, though Postgres takes its COMMIT quietly."""
    transaction = store.open_transaction()
    transaction.connection.execute(INSERT)
    with pytest.raises(psycopg.errors.DivisionByZero):
        transaction.connection.execute("SELECT 1 / 0")
    with pytest.raises(RolledBack):
        transaction.commit()
    other = await store.aopen_transaction()
    with pytest.raises(psycopg.errors.DivisionByZero):
        await other.connection.execute("SELECT 1 / 0")
    with pytest.raises(RolledBack):
        await other.execute(within(other, claimed))
    assert (effects(superuser), state(store, claimed.run_id)) == (0, "executing")


def test_a_connection_lost_before_the_commit_is_a_rollback(
    store: Store, claimed: Claim, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """Nothing can have happened where the commit was never sent."""
    transaction = store.open_transaction()
    transaction.connection.execute(INSERT)
    superuser.execute("SELECT pg_terminate_backend(%s, 1000)", (transaction.connection.info.backend_pid,))
    with pytest.raises(RolledBack):
        transaction.execute(within(transaction, claimed))
    assert (effects(superuser), state(store, claimed.run_id)) == (0, "executing")


def test_a_connection_lost_during_the_commit_is_unknown(
    store: Store, claimed: Claim, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """Who loses the connection while Postgres commits is told that nobody knows; the ledger does."""
    superuser.execute(SLOW_COMMIT)
    superuser.execute("SELECT pg_advisory_lock(1)")
    transaction = store.open_transaction()
    transaction.connection.execute(INSERT)
    transaction.execute(within(transaction, claimed))
    pid = transaction.connection.info.backend_pid
    with ThreadPoolExecutor(1) as threads:
        committing = threads.submit(transaction.commit)
        waits = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'advisory'"
        while not superuser.execute(waits, (pid,)).fetchone():
            assert not committing.done()
        superuser.execute("SELECT pg_terminate_backend(%s)", (pid,))
        assert isinstance(committing.exception(), CommitUnknown)
    assert (effects(superuser), state(store, claimed.run_id)) == (0, "executing")


def test_a_refused_commit_is_a_rollback(
    store: Store, claimed: Claim, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """A constraint that fails at the commit is no unknown outcome."""
    superuser.execute("ALTER TABLE public.effect ADD UNIQUE (what) DEFERRABLE INITIALLY DEFERRED")
    transaction = store.open_transaction()
    transaction.connection.execute(INSERT)
    transaction.connection.execute(INSERT)
    with pytest.raises(RolledBack, match="23505") as refused:
        transaction.commit()
    assert isinstance(refused.value.error, psycopg.errors.UniqueViolation)
    assert effects(superuser) == 0


async def test_no_server_means_no_transaction() -> None:
    """A transaction that cannot be begun is a named error: nothing was done."""
    store = Store("postgresql://agent@127.0.0.1:1/nothing")
    with pytest.raises(TrailUnavailable):
        store.open_transaction()
    with pytest.raises(TrailUnavailable):
        await store.aopen_transaction()


def test_a_wrong_login_means_no_transaction(shared_database: Database) -> None:
    """A login that the server refuses is a named error."""
    store = Store(shared_database.dsn("no_such_login"))
    with pytest.raises(DatabaseRefused):
        store.open_transaction()
