"""Requests over connections that break, from threads, event loops and forked processes."""

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from langgraph_control.audit.asking.ledger import Answer, Outcome, Verdict
from langgraph_control.audit.asking.requests import FindRun, NewestRuns, RunActions, RunEntries
from langgraph_control.audit.connecting import connections, tries
from langgraph_control.audit.connecting.failures import LedgerRefused
from langgraph_control.audit.connecting.loop_thread import LoopThread
from langgraph_control.audit.connecting.statements import statement
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.audit.postgres.migrate import migrate
from langgraph_control.audit.postgres.server import PostgresServer
from langgraph_control.errors import ControlError, DatabaseRefused, SchemaMismatch, TrailUnavailable
from tests.support.ledger_requests import claim, run_open, settle
from tests.support.postgres import Database
from tests.support.waiting import until

NAME = "store-under-test"


@pytest.fixture
def store(database: Database) -> Iterator[Store]:
    """A store on the agent's login."""
    store = Store(database.agent, application_name=NAME)
    yield store
    store.close()


@pytest.fixture
def superuser(database: Database) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection that sees and ends those of others."""
    with psycopg.connect(database.admin, autocommit=True) as connection:
        yield connection


@pytest.fixture
def run(store: Store) -> tuple[UUID, int]:
    """A run the store's process holds."""
    answer = store.call(run_open())
    assert answer.run_id is not None
    assert answer.token is not None
    return answer.run_id, answer.token


def waiting(superuser: psycopg.Connection[tuple[object, ...]]) -> list[int]:
    """Return the backends of the store that wait for a lock."""
    rows = superuser.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
        " AND datname = current_database()",
        (NAME,),
    )
    return [int(str(pid)) for (pid,) in rows]


def test_a_claim_that_came_second_is_answered(
    store: Store, superuser: psycopg.Connection[tuple[object, ...]], database: Database, run: tuple[UUID, int]
) -> None:
    """Of two claims of one new action at one instant, the one that finds the other's row in its way is sent again."""
    first, other = claim(*run), store.call(run_open())
    assert other.run_id is not None
    assert other.token is not None
    second = replace(first, run_id=other.run_id, token=other.token, attempt=uuid4())
    with psycopg.connect(database.agent) as agent, ThreadPoolExecutor(1) as thread:
        agent.execute(statement(first.statement), first.parameters())
        answer = thread.submit(store.call, second)
        until(lambda: waiting(superuser))
        agent.commit()
        assert answer.result(20).answer is Answer.WAIT


@contextmanager
def locked(database: Database, run_id: UUID) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Hold a run's row, so that what needs it is in mid-flight for as long as the block lasts."""
    with psycopg.connect(database.admin) as connection:
        connection.execute("SELECT 1 FROM control.run_state WHERE run_id = %s FOR UPDATE", (run_id,))
        yield connection


def test_the_constructor_opens_nothing() -> None:
    """A store for a server that is not there can be made, and starts no thread."""
    before = threading.active_count()
    Store("postgresql://nobody@127.0.0.1:1/nothing").close()
    assert threading.active_count() == before


def test_an_unreadable_dsn_is_refused_at_once() -> None:
    """A DSN that is no connection string is a named error of the constructor."""
    with pytest.raises(DatabaseRefused) as raised:
        Store("not a dsn")
    assert raised.value.code == "dsn_invalid"


def test_no_server_is_trail_unavailable_after_patience() -> None:
    """Where nobody listens, the error says that nothing was done and never tells the password."""
    store = Store("postgresql://agent:hunter2@127.0.0.1:1/nothing")
    with pytest.raises(TrailUnavailable) as raised:
        store.call(NewestRuns(limit=1), patience_seconds=0.2)
    assert raised.value.code == "database_unreachable"
    assert "hunter2" not in str(raised.value)
    store.close()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"dbname": "no_such_database"}, "database_connection_refused", id="no such database"),
        pytest.param({"user": "no_such_login"}, "database_connection_refused", id="no such login"),
        pytest.param({"user": "test_auditor"}, "database_login_lacks_rights", id="a login of another role"),
        pytest.param({"options": "-c default_transaction_read_only=on"}, "database_read_only", id="read-only"),
    ],
)
async def test_what_no_retry_can_help_is_refused_at_once(
    shared_database: Database, change: dict[str, str], code: str
) -> None:
    """Wrong names, rights or servers are named errors without any waiting, for threads and for loops."""
    store = Store(make_conninfo(shared_database.agent, **change))
    began = time.monotonic()
    with pytest.raises(DatabaseRefused) as raised:
        store.call(run_open())
    with pytest.raises(DatabaseRefused) as awaited:
        await store.acall(run_open())
    assert {raised.value.code, awaited.value.code} == {code}
    assert time.monotonic() - began < tries.PATIENCE_SECONDS / 2
    store.close()


def test_a_database_without_the_schema_is_a_mismatch(postgres_dsn: str) -> None:
    """A database that was never migrated is named as such, with the command that helps."""
    store = Store(postgres_dsn)
    with pytest.raises(SchemaMismatch, match="migrate"):
        store.session()
    store.close()


def test_a_refusal_of_the_ledger_keeps_its_code(store: Store, run: tuple[UUID, int]) -> None:
    """What one of the functions raises arrives as its SQLSTATE alone, and a settle is not sent again after it."""
    with pytest.raises(LedgerRefused) as raised:
        store.call(settle(claim(*run)))
    assert (raised.value.sqlstate, raised.value.code) == ("LC002", "request_refused")


async def test_threads_and_loops_get_the_same_answers(store: Store, run: tuple[UUID, int]) -> None:
    """A claim awaited on a loop is settled by a blocking call on that loop's own thread."""
    asked = claim(*run)
    assert (await store.acall(asked)).answer is Answer.GO
    assert store.call(settle(asked)).answer is Verdict.SETTLED
    assert (await store.asession()).tenant == store.session().tenant == "default"
    found = await store.acall(FindRun(run_id=run[0]))
    assert found is not None
    assert found.entries == 3


async def test_instrumentation_that_was_taken_off_leaves_our_connections(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What instruments psycopg leaves methods behind that make psycopg's own connections, which may wait for ever."""
    for owner in (psycopg.Connection, psycopg.AsyncConnection):
        monkeypatch.setattr(owner, "connect", owner.connect)
    store = Store(database.agent)
    assert store.call(NewestRuns(limit=1)) == await store.acall(NewestRuns(limit=1)) == ()
    made = [*store._connections._idle, *store._loop_connections._idle]
    store.close()
    assert [type(connection).__module__ for connection in made] == [connections.__name__] * 2


def test_the_secret_is_not_in_a_repr(store: Store) -> None:
    """A session that ends up in a log does not tell the tenant's secret."""
    assert repr(store.session().secret) not in repr(store.session())


def test_two_loops_and_threads_at_once(store: Store, run: tuple[UUID, int]) -> None:
    """Two event loops and four threads share one store, and each claim gets its own answer."""

    async def many() -> list[Answer]:
        answers = await asyncio.gather(*(store.acall(claim(*run)) for _ in range(10)))
        return [answer.answer for answer in answers]

    with ThreadPoolExecutor(6) as threads:
        loops = [threads.submit(asyncio.run, many()) for _ in range(2)]
        calls = [threads.submit(store.call, claim(*run)) for _ in range(20)]
        assert all(answer is Answer.GO for loop in loops for answer in loop.result())
        assert all(call.result().answer is Answer.GO for call in calls)
    assert len(store.call(RunActions(run_id=run[0]))) == 40


@pytest.mark.parametrize("how", ["thread", "loop"])
def test_a_claim_whose_backend_was_killed_is_sent_again(
    store: Store,
    run: tuple[UUID, int],
    database: Database,
    superuser: psycopg.Connection[tuple[object, ...]],
    how: str,
) -> None:
    """A claim that loses its connection in mid-flight is answered all the same, and counts as one attempt."""
    send: Callable[..., object] = store.call if how == "thread" else lambda request: asyncio.run(store.acall(request))
    with ThreadPoolExecutor(1) as threads:
        with locked(database, run[0]):
            asked = threads.submit(send, claim(*run))
            until(lambda: waiting(superuser))
            (first,) = waiting(superuser)
            superuser.execute("SELECT pg_terminate_backend(%s)", (first,))
            until(lambda: set(waiting(superuser)) - {first})
        asked.result()
    (action,) = store.call(RunActions(run_id=run[0]))
    assert (action.state, action.attempts) == ("executing", 1)


async def test_a_cancelled_caller_does_not_stop_its_settle(
    store: Store, run: tuple[UUID, int], database: Database, superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """A settle lands although the task that awaited it was cancelled in mid-flight."""
    asked = claim(*run)
    await store.acall(asked)
    with locked(database, run[0]):
        task = asyncio.create_task(store.acall(settle(asked)))
        await asyncio.to_thread(until, lambda: waiting(superuser))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    until(lambda: store.call(RunActions(run_id=run[0]))[0].state == "succeeded")


def test_a_settle_outlives_a_restart_of_postgres(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A settle sent while the server is down lands when it is back, with a warning; a claim gives up in time."""
    monkeypatch.setattr(tries, "WARN_SECONDS", 0.1)
    server = PostgresServer.start(server_folder)
    migrate(server.dsn())
    add_login(server.dsn(), "agent", role="agent", create=True)
    store = Store(server.dsn("agent"))
    try:
        opened = store.call(run_open())
        assert opened.run_id is not None
        assert opened.token is not None
        asked = claim(opened.run_id, opened.token)
        store.call(asked)
        server.stop()
        with ThreadPoolExecutor(1) as threads, caplog.at_level(logging.WARNING, tries.__name__):
            landing = threads.submit(store.call, settle(asked))
            with pytest.raises(TrailUnavailable):
                store.call(claim(opened.run_id, opened.token), patience_seconds=0.3)
            assert not landing.done()
            server = PostgresServer.start(server_folder)
            assert landing.result().answer is Verdict.SETTLED
        assert "has not landed" in caplog.text
        assert asked.key.hex() not in caplog.text
    finally:
        store.close()
        server.stop()


def test_closing_ends_a_settle_that_cannot_land(store: Store) -> None:
    """A settle that waits for its server ends with the store, on threads and on loops, and says so."""
    lost = Store("postgresql://agent@127.0.0.1:1/nothing")
    nowhere = settle(claim(uuid4(), 1))
    with ThreadPoolExecutor(2) as threads:
        calls = [
            threads.submit(lost.call, nowhere),
            threads.submit(lambda: asyncio.run(lost.acall(nowhere))),
        ]
        until(lambda: lost.thread._running is not None)
        lost.close()
        codes = {error.code for call in calls if isinstance(error := call.exception(), ControlError)}
    assert codes == {"control_closed"}


async def test_closing_leaves_nothing_behind(
    store: Store, run: tuple[UUID, int], superuser: psycopg.Connection[tuple[object, ...]]
) -> None:
    """After close there is no thread and no connection, and a further call is refused."""
    await asyncio.gather(*(store.acall(RunEntries(run_id=run[0], after=0, limit=9)) for _ in range(3)))
    store.close()
    store.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("langgraph-control")]
    until(
        lambda: not superuser.execute("SELECT 1 FROM pg_stat_activity WHERE application_name = %s", (NAME,)).fetchone()
    )
    for refused in (lambda: store.call(run_open()), lambda: LoopThread.run(store.thread, asyncio.sleep(0))):
        with pytest.raises(TrailUnavailable) as raised:
            refused()
        assert raised.value.code == "control_closed"


def test_a_blocking_wait_on_the_io_thread_is_refused(store: Store) -> None:
    """The I/O thread refuses to wait for itself instead of standing still."""

    async def inside() -> None:
        store.thread.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="await"):
        store.thread.run(inside())


FORKS = """
import os, sys
from langgraph_control.audit.asking.requests import NewestRuns
from langgraph_control.audit.connecting.store import Store
from langgraph_control.errors import TrailUnavailable
import asyncio

store = Store(sys.argv[1])
store.call(NewestRuns(limit=1))
asyncio.run(store.acall(NewestRuns(limit=1)))
child = os.fork()
if child == 0:
    for call in (lambda: store.call(NewestRuns(limit=1)), lambda: asyncio.run(store.acall(NewestRuns(limit=1)))):
        try:
            call()
        except TrailUnavailable as error:
            print(error.code, flush=True)
    own = Store(sys.argv[1])
    print(own.call(NewestRuns(limit=1)), flush=True)
    own.close()
    sys.exit(0)
os.waitpid(child, 0)
print(store.call(NewestRuns(limit=1)), asyncio.run(store.acall(NewestRuns(limit=1))))
"""


def test_a_fork_is_refused_and_leaves_its_parent_alone(database: Database) -> None:
    """A forked child cannot use its parent's store, may make its own, and its end closes nothing of the parent's."""
    done = subprocess.run(  # a process of its own: pytest's has threads that no fork may copy
        [sys.executable, "-c", FORKS, database.agent], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.split("\n") == ["control_forked", "control_forked", "()", "() ()", ""], done.stderr
    assert done.returncode == 0


EXITS = """
import asyncio, sys
from langgraph_control.audit.asking.requests import NewestRuns
from langgraph_control.audit.connecting.store import Store

store = Store(sys.argv[1])
store.call(NewestRuns(limit=1))
asyncio.run(store.acall(NewestRuns(limit=1)))
"""


def test_an_interpreter_ends_cleanly_without_close(database: Database) -> None:
    """A program that forgets to close ends at once, silently, with nothing left open."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", EXITS, database.agent],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", ["a \x00 byte", "half of a pair: \ud83d"])
async def test_a_settle_lands_without_words_that_cannot_be_sent(store: Store, run: tuple[UUID, int], text: str) -> None:
    """A settle whose error text no statement can carry lands without it, from threads and from loops."""

    async def from_a_thread(request: Any) -> Any:
        return await asyncio.to_thread(store.call, request)

    sends: tuple[Callable[[Any], Awaitable[Any]], ...] = (from_a_thread, store.acall)
    for send in sends:
        asked = claim(*run)
        await send(asked)
        settled = await send(replace(settle(asked, outcome=Outcome.FAIL), result=None, error=text))
        assert settled.answer is Verdict.SETTLED
    assert {action.state for action in store.call(RunActions(run_id=run[0]))} == {"failed"}
