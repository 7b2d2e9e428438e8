"""Effects that are SQL on the ledger's own connection: they commit with their record, or not at all."""

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from psycopg.rows import dict_row

from langgraph_control.audit.asking.requests import FindRun
from langgraph_control.nodes.action import NotDone
from langgraph_control.nodes.contexts import current_action
from langgraph_control.nodes.contracts import writes
from tests.compat.building import chain
from tests.support.entered_run import EnteredRun, invoked
from tests.support.scripted_model import call

HOWS = ["sync", "async"]

REFUSED_AT_COMMIT = """
DO $$ BEGIN
    IF to_regclass('public.refused') IS NOT NULL THEN
        RETURN;
    END IF;
    CREATE TABLE public.owner (id int PRIMARY KEY);
    CREATE TABLE public.owed (owner int CONSTRAINT owed_to REFERENCES public.owner DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE public.refused (state text);
    GRANT ALL ON public.owed, public.refused TO PUBLIC;
    CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION USING ERRCODE = NEW.state, MESSAGE = ''not this one''; END';
    CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON public.refused DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION public.refuse();
END $$
"""


@pytest.fixture
def effects(run: EnteredRun) -> Callable[[], int]:
    """A table for effects of this run, and how many it holds."""
    with psycopg.connect(run.database.admin, autocommit=True) as admin:
        admin.execute("CREATE TABLE IF NOT EXISTS public.effect (run uuid)")
        admin.execute("GRANT ALL ON public.effect TO PUBLIC")

    def count() -> int:
        with psycopg.connect(run.database.admin, autocommit=True) as admin:
            row = admin.execute("SELECT count(*) FROM public.effect WHERE run = %s", (run.context.run_id,)).fetchone()
        return 0 if row is None else int(row[0])

    return count


@pytest.fixture
def late(run: EnteredRun) -> None:
    """Tables whose rows Postgres refuses at the commit: by a foreign key, or with the SQLSTATE they name."""
    with psycopg.connect(run.database.admin, autocommit=True) as admin:
        admin.execute(REFUSED_AT_COMMIT)


async def nothing_more(_: Any) -> None:
    """Leave it at the effect."""


async def raise_after(_: Any) -> None:
    """Fail after the effect."""
    raise ValueError("after all, no")


async def commit_and_raise(connection: Any) -> None:
    """Commit, then fail."""
    await settled(connection.commit())
    raise ValueError("after all, no")


async def commit(connection: Any) -> None:
    """Commit by itself."""
    await settled(connection.commit())


async def start_over(connection: Any) -> None:
    """Take the effect back, and have and commit it in another transaction."""
    await settled(connection.rollback())
    await settled(connection.execute("INSERT INTO public.effect VALUES (%s)", (current_action().run_id,)))
    await settled(connection.commit())


async def start_over_and_raise(connection: Any) -> None:
    """Commit another transaction, then fail."""
    await start_over(connection)
    raise ValueError("after all, no")


async def start_over_and_fail(connection: Any) -> None:
    """Commit another transaction, then fail in a third."""
    await start_over(connection)
    await settled(connection.execute("SELECT 1 FROM no_such_table"))


async def start_over_and_swallow(connection: Any) -> None:
    """Commit another transaction, then go on after a failed statement in a third."""
    await start_over(connection)
    await swallow(connection)


async def start_over_and_close(connection: Any) -> None:
    """Commit another transaction, and close the connection."""
    await start_over(connection)
    await settled(connection.close())


async def start_over_close_and_raise(connection: Any) -> None:
    """Commit another transaction, close the connection, then fail."""
    await start_over_and_close(connection)
    raise ValueError("after all, no")


async def fail(connection: Any) -> None:
    """Fail in a statement."""
    await settled(connection.execute("SELECT 1 FROM no_such_table"))


async def fail_in_a_savepoint(connection: Any) -> None:
    """Fail in a statement after others of the tool's own, in rows of another form."""
    connection.row_factory = dict_row
    await settled(connection.execute("SAVEPOINT mine"))
    await settled(connection.execute("SELECT 1 FROM no_such_table"))


async def swallow(connection: Any) -> None:
    """Have a statement fail and go on as if nothing were."""
    with pytest.raises(psycopg.errors.UndefinedTable):
        await settled(connection.execute("SELECT 1 FROM no_such_table"))


async def lose_connection(connection: Any) -> None:
    """Lose the connection to the server before the settle."""
    pid = connection.info.backend_pid
    with pytest.raises(psycopg.OperationalError):
        await settled(connection.execute("SELECT pg_terminate_backend(%s)", (pid,)))


async def owe_nobody(connection: Any) -> None:
    """Leave a row that the foreign key refuses at the commit."""
    await settled(connection.execute("INSERT INTO public.owed VALUES (1)"))


def refused_with(state: str) -> Callable[[Any], Awaitable[None]]:
    """Return what leaves a row that is refused at the commit with an SQLSTATE."""

    async def leave(connection: Any) -> None:
        await settled(connection.execute("INSERT INTO public.refused VALUES (%s)", (state,)))

    return leave


async def settled(answer: Any) -> Any:
    """Await what an async connection answers; a sync one has done it."""
    return await answer if isinstance(answer, Awaitable) else answer


def sql_tool(run: EnteredRun, afterwards: list[Callable[[Any], Awaitable[None]]], **hooks: Any) -> Any:
    """Return a governed tool whose effect is a row; what it does afterwards differs from attempt to attempt."""

    async def note() -> str:
        """Note."""
        connection = current_action().connection
        await settled(connection.execute("INSERT INTO public.effect VALUES (%s)", (run.context.run_id,)))
        await afterwards[min(current_action().attempt, len(afterwards)) - 1](connection)
        return "noted"

    def sync_note() -> str:
        """Note."""
        stepping = note()
        try:
            stepping.send(None)
        except StopIteration as done:
            return str(done.value)
        raise AssertionError("nothing waits on a sync connection")

    made = StructuredTool.from_function(func=sync_note, coroutine=note, name="note", description="Note.")
    return run.govern(made, writes(key=(), impact="record", sql=True, **hooks))


def noted(
    how: str, run: EnteredRun, *afterwards: Callable[[Any], Awaitable[None]], **hooks: Any
) -> tuple[Any, list[Any]]:
    """Call the tool in a node; return its answer, or what the graph waits for."""
    note = sql_tool(run, list(afterwards), **hooks)

    def node(_: Any) -> Any:
        return {"value": note.invoke(call("note")).content}

    async def async_node(_: Any) -> Any:
        return {"value": (await note.ainvoke(call("note"))).content}

    graph = chain(InMemorySaver(), node if how == "sync" else async_node)
    result = invoked(how, graph, {}, run.config)
    return result.get("value"), [each.value["reason"] for each in graph.get_state(run.config).interrupts]


@pytest.mark.parametrize("how", HOWS)
def test_an_sql_effect_commits_with_its_record(how: str, run: EnteredRun, effects: Callable[[], int]) -> None:
    """Effect and outcome are one commit on the ledger's own connection."""
    assert noted(how, run, nothing_more) == ("noted", [])
    assert effects() == 1
    assert run.actions() == [("note", "succeeded", 1)]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("ending", [raise_after, swallow, fail, fail_in_a_savepoint])
def test_a_failed_sql_tool_leaves_nothing(
    ending: Callable[[Any], Awaitable[None]], how: str, run: EnteredRun, effects: Callable[[], int]
) -> None:
    """A tool that raises, or goes on after a failed statement, is rolled back and failed: provably not done."""
    answer, waits = noted(how, run, ending)
    assert "nothing was changed" in answer
    assert waits == []
    assert effects() == 0
    assert run.actions() == [("note", "failed", 1)]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    "ending",
    [
        commit,
        commit_and_raise,
        start_over,
        start_over_and_raise,
        start_over_and_fail,
        start_over_and_swallow,
        start_over_and_close,
        start_over_close_and_raise,
    ],
)
def test_an_sql_tool_that_commits_by_itself_needs_a_person(
    ending: Callable[[Any], Awaitable[None]], how: str, run: EnteredRun, effects: Callable[[], int]
) -> None:
    """A tool that ended the transaction is found out, whatever it did after: for a person, and not repeated."""
    assert noted(how, run, ending) == (None, ["needs_human"])
    assert effects() == 1
    assert run.actions() == [("note", "needs_human", 1)]


@pytest.mark.parametrize("how", HOWS)
def test_a_lost_connection_before_the_settle_undoes_the_effect(
    how: str, run: EnteredRun, effects: Callable[[], int]
) -> None:
    """With the connection gone before the commit the effect is certainly undone; the next attempt has it once."""
    assert noted(how, run, lose_connection, nothing_more) == ("noted", [])
    assert effects() == 1
    assert run.actions() == [("note", "succeeded", 2)]


@pytest.mark.parametrize("how", HOWS)
def test_a_zombies_sql_effect_is_rolled_back(how: str, run: EnteredRun, effects: Callable[[], int]) -> None:
    """An attempt that is no longer the current one commits nothing; its effect is had once, by a later attempt."""

    async def become_a_zombie(_: Any) -> None:
        with psycopg.connect(run.database.admin, autocommit=True) as admin:
            admin.execute(
                "UPDATE control.action SET attempt_id = gen_random_uuid(), "
                "lease_until = lease_until - interval '1 hour' WHERE key = %s",
                (run.rows()[0].key,),
            )

    assert noted(how, run, become_a_zombie, nothing_more) == ("noted", [])
    assert effects() == 1


@pytest.mark.parametrize("how", HOWS)
def test_the_run_row_is_untouched_by_an_open_transaction(how: str, run: EnteredRun, effects: Callable[[], int]) -> None:
    """While a tool's transaction is open, other requests to the ledger go on: it holds no lock of the ledger's."""

    async def look(_: Any) -> None:
        found = run.store.call(FindRun(run_id=run.context.run_id))
        assert found is not None

    assert noted(how, run, look) == ("noted", [])
    assert effects() == 1


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("ending", "left"), [(nothing_more, 0), (commit, 1), (start_over, 1)])
def test_an_outcome_hook_does_not_undo_what_a_tool_committed(
    ending: Callable[[Any], Awaitable[None]], left: int, how: str, run: EnteredRun, effects: Callable[[], int]
) -> None:
    """A hook's "not done" is true where it can be made true by a rollback; else a person looks at it."""
    answer, waits = noted(how, run, ending, outcome=lambda _: NotDone(reason="no"))
    assert effects() == left
    assert waits == ["needs_human"] * left
    assert (answer is None) == bool(left)
    assert run.actions() == [("note", "needs_human" if left else "failed", 1)]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.usefixtures("late")
def test_an_effect_refused_at_the_commit_has_failed(how: str, run: EnteredRun, effects: Callable[[], int]) -> None:
    """What Postgres refuses at the commit has failed like what it refuses in the body: once, and the model is told."""
    answer, waits = noted(how, run, owe_nobody)
    assert answer.startswith("note failed and nothing was changed. ForeignKeyViolation: ")
    assert "owed_to" in answer
    assert (waits, effects()) == ([], 0)
    assert run.actions() == [("note", "failed", 1)]
    (body,) = [body for _, body in run.entries() if body.get("error")]
    assert (body["error"], body["fault"], body["sent"]) == ("ForeignKeyViolation", "permanent", "yes")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("state", ["40001", "40P01"])
@pytest.mark.usefixtures("late")
def test_a_conflict_at_the_commit_is_tried_again(
    state: str, how: str, run: EnteredRun, effects: Callable[[], int]
) -> None:
    """A serialization failure or a deadlock at the commit is tried again, and the effect is had once."""
    assert noted(how, run, refused_with(state), nothing_more) == ("noted", [])
    assert effects() == 1
    assert run.actions() == [("note", "succeeded", 2)]
    faults = [body["fault"] for _, body in run.entries() if body.get("error")]
    assert faults == ["transient"]


@pytest.mark.parametrize("how", HOWS)
def test_what_undid_a_transaction_is_on_record(how: str, run: EnteredRun, effects: Callable[[], int]) -> None:
    """A connection lost before the commit is not put down to another attempt."""
    assert noted(how, run, lose_connection, nothing_more) == ("noted", [])
    assert effects() == 1
    told = [body["why"] for _, body in run.entries() if body.get("why")]
    assert told == ["rolled back before its commit"]
