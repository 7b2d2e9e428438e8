"""Effects that are SQL on the ledger's own connection: they commit with their record, or not at all."""

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from langgraph_control.audit.requests import FindRun
from langgraph_control.nodes.contexts import current_action
from langgraph_control.nodes.contracts import writes
from tests.compat.building import chain
from tests.support.entered_run import EnteredRun, invoked
from tests.support.scripted_model import call

HOWS = ["sync", "async"]


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


async def swallow(connection: Any) -> None:
    """Have a statement fail and go on as if nothing were."""
    with pytest.raises(psycopg.errors.UndefinedTable):
        await settled(connection.execute("SELECT 1 FROM no_such_table"))


async def lose_connection(connection: Any) -> None:
    """Lose the connection to the server before the settle."""
    pid = connection.info.backend_pid
    with pytest.raises(psycopg.OperationalError):
        await settled(connection.execute("SELECT pg_terminate_backend(%s)", (pid,)))


async def settled(answer: Any) -> Any:
    """Await what an async connection answers; a sync one has done it."""
    return await answer if isinstance(answer, Awaitable) else answer


def sql_tool(run: EnteredRun, afterwards: list[Callable[[Any], Awaitable[None]]]) -> Any:
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
    return run.govern(made, writes(key=(), impact="record", sql=True))


def noted(how: str, run: EnteredRun, *afterwards: Callable[[Any], Awaitable[None]]) -> tuple[Any, list[Any]]:
    """Call the tool in a node; return its answer, or what the graph waits for."""
    note = sql_tool(run, list(afterwards))

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
@pytest.mark.parametrize("ending", [raise_after, swallow])
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
@pytest.mark.parametrize("ending", [commit, commit_and_raise])
def test_an_sql_tool_that_commits_by_itself_needs_a_person(
    ending: Callable[[Any], Awaitable[None]], how: str, run: EnteredRun, effects: Callable[[], int]
) -> None:
    """A tool that ended the transaction is found out by its id: unknown, for a person, and not repeated."""
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
