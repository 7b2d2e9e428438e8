"""One checkpointer for threads and event loops, which a worker that lost its run cannot write through."""

import asyncio
import operator
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, LiteralString, TypedDict
from uuid import UUID, uuid4

import psycopg
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, interrupt
from psycopg.rows import DictRow, dict_row

from langgraph_control.audit.connecting import connections
from langgraph_control.audit.connecting.database_errors import named
from langgraph_control.audit.connecting.drives import RUN_KEY, drive_name
from langgraph_control.audit.connecting.leases import LEASE_MS, RunLeases
from langgraph_control.audit.connecting.saver import ControlSaver, run_of
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.postgres.migrate import CHECKPOINT_SCHEMA
from langgraph_control.errors import TrailUnavailable
from tests.support.postgres import Database


class Fenced(GraphBubbleUp):
    """Stands for the bubble-up that the gate's room raises."""


class State(TypedDict):
    """Steps done so far, and what a person answered."""

    steps: Annotated[list[str], operator.add]
    answer: str


class Clock:
    """Seconds that pass when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of the leases."""
    return Clock()


@pytest.fixture
def store(shared_database: Database) -> Iterator[Store]:
    """A store on the agent's login, which may not create tables."""
    store = Store(shared_database.agent, application_name="saver-under-test")
    yield store
    store.close()


@pytest.fixture
def leases(store: Store, clock: Clock) -> RunLeases:
    """The runs of this process."""
    return RunLeases(store, clock=clock)


@pytest.fixture
def saver(store: Store, leases: RunLeases) -> ControlSaver:
    """The saver under test."""
    return ControlSaver(store, leases=leases, refused=Fenced)


@pytest.fixture
def config() -> RunnableConfig:
    """A thread nobody has used."""
    return {"configurable": {"thread_id": str(uuid4())}}


def governed(config: RunnableConfig, run_id: UUID, token: int = 1) -> RunnableConfig:
    """Return the config of a drive of a governed run on the same thread."""
    return {"configurable": {**config.get("configurable", {}), RUN_KEY: drive_name((run_id, token))}}


def step(state: State) -> dict[str, Any]:
    """Do something."""
    return {"steps": ["step"]}


def ask(state: State) -> dict[str, Any]:
    """Ask a person."""
    return {"answer": interrupt({"question": "sure?"}), "steps": ["ask"]}


Graph = CompiledStateGraph[State, None, State, State]


def graph(saver: BaseCheckpointSaver[str]) -> Graph:
    """Compile a graph of a step and a question."""
    builder = StateGraph(State)
    builder.add_node("step", step)
    builder.add_node("ask", ask)
    builder.add_edge(START, "step")
    builder.add_edge("step", "ask")
    builder.add_edge("ask", END)
    return builder.compile(checkpointer=saver)


BEGIN: State = {"steps": [], "answer": ""}


@pytest.fixture
def plain(shared_database: Database) -> Iterator[PostgresSaver]:
    """LangGraph's own saver on the same tables."""
    with psycopg.Connection[DictRow].connect(
        shared_database.agent, autocommit=True, row_factory=dict_row, options="-c search_path=control_checkpoints"
    ) as connection:
        yield PostgresSaver(connection)


def test_a_sync_graph_parks_and_resumes(saver: ControlSaver, config: RunnableConfig) -> None:
    """A graph driven by threads stores and finds its checkpoints."""
    assert "__interrupt__" in graph(saver).invoke(BEGIN, config, durability="sync")
    assert graph(saver).invoke(Command(resume="yes"), config, durability="sync")["answer"] == "yes"


def test_two_event_loops_share_one_saver(saver: ControlSaver, config: RunnableConfig) -> None:
    """What was parked in one event loop is resumed in the next."""
    driven = graph(saver)
    asyncio.run(driven.ainvoke(BEGIN, config, durability="sync"))
    done = asyncio.run(driven.ainvoke(Command(resume="yes"), config, durability="sync"))
    assert done["steps"] == ["step", "ask"]


async def test_a_sync_call_on_a_loops_thread(saver: ControlSaver, config: RunnableConfig) -> None:
    """A blocking invoke inside a coroutine works, and the async one goes on where it stopped."""
    graph(saver).invoke(BEGIN, config, durability="sync")
    state = await graph(saver).aget_state(config)
    assert state.next == ("ask",)
    assert (await graph(saver).ainvoke(Command(resume="no"), config, durability="sync"))["answer"] == "no"


def test_many_threads_and_loops_at_once(saver: ControlSaver) -> None:
    """Twelve runs on six threads, half of them in event loops, all end as they would alone."""
    driven = graph(saver)

    def alone(number: int) -> list[str]:
        config: RunnableConfig = {"configurable": {"thread_id": str(uuid4())}}

        def drive(given: State | Command[Any]) -> list[str]:
            if number % 2:
                done = asyncio.run(driven.ainvoke(given, config, durability="sync"))
            else:
                done = driven.invoke(given, config, durability="sync")
            steps: list[str] = done["steps"]
            return steps

        drive(BEGIN)
        return drive(Command(resume="yes"))

    with ThreadPoolExecutor(6) as threads:
        assert set(map(tuple, threads.map(alone, range(12)))) == {("step", "ask")}


async def test_it_reads_what_langgraphs_saver_reads(
    saver: ControlSaver, plain: PostgresSaver, config: RunnableConfig
) -> None:
    """Every way of reading gives what LangGraph's own saver gives on the same tables."""
    graph(saver).invoke(BEGIN, config, durability="sync")
    newest = plain.get_tuple(config)
    assert newest is not None
    assert saver.get_tuple(config) == await saver.aget_tuple(config) == newest
    expected = list(plain.list(config))
    assert list(saver.list(config)) == [found async for found in saver.alist(config)] == expected
    assert list(saver.list(config, filter={"step": 0}, before=newest.config, limit=1)) == list(
        plain.list(config, filter={"step": 0}, before=newest.config, limit=1)
    )
    history = plain.get_delta_channel_history(config=newest.config, channels=["steps"])
    assert saver.get_delta_channel_history(config=newest.config, channels=["steps"]) == history
    assert await saver.aget_delta_channel_history(config=newest.config, channels=["steps"]) == history


async def test_threads_are_pruned_and_deleted(saver: ControlSaver, config: RunnableConfig) -> None:
    """Old checkpoints and whole threads can be deleted, from threads and loops."""
    driven = graph(saver)
    driven.invoke(BEGIN, config, durability="sync")
    thread_id = config.get("configurable", {})["thread_id"]
    saver.prune([thread_id])
    assert len(list(saver.list(config))) == 1
    await saver.aprune([thread_id], strategy="delete")
    assert saver.get_tuple(config) is None
    for delete in (saver.delete_thread, saver.adelete_thread):
        driven.invoke(BEGIN, config, durability="sync")
        if (pending := delete(thread_id)) is not None:
            await pending
        assert saver.get_tuple(config) is None


def test_it_serves_all_that_langgraphs_saver_serves() -> None:
    """Nothing LangGraph's saver can do is left to a base class that cannot; a new method shows up here."""
    offered = {name for name, value in vars(AsyncPostgresSaver).items() if callable(value) and name[0] != "_"}
    assert offered - {"setup"} <= vars(ControlSaver).keys()


@pytest.mark.parametrize("how", ["threads", "loop"])
async def test_a_worker_that_lost_its_run_writes_no_checkpoint(
    saver: ControlSaver, leases: RunLeases, clock: Clock, config: RunnableConfig, how: str
) -> None:
    """Once the lease is over by the process' own clock, the graph ends with the bubble-up, its progress as it was."""
    run_id = uuid4()
    leases.hold(run_id, 1, lease_ms=LEASE_MS, started=clock.now)

    def stall(state: State) -> dict[str, Any]:
        clock.now += LEASE_MS / 1000
        return {"steps": ["zombie"]}

    builder = StateGraph(State)
    builder.add_node("step", step)
    builder.add_node("stall", stall)
    builder.add_edge(START, "step")
    builder.add_edge("step", "stall")
    zombie = builder.compile(checkpointer=saver)

    async def drive() -> None:
        if how == "loop":
            await zombie.ainvoke(BEGIN, governed(config, run_id), durability="sync")
        else:
            zombie.invoke(BEGIN, governed(config, run_id), durability="sync")

    with pytest.raises(Fenced):
        await drive()
    left = await zombie.aget_state(config)
    assert (left.values["steps"], left.next) == (["step"], ("stall",))
    stored = saver.get_tuple(config)
    assert stored is not None
    assert not stored.pending_writes


def test_a_run_of_another_worker_writes_nothing(saver: ControlSaver, config: RunnableConfig) -> None:
    """A run this process never took is refused before its first checkpoint."""
    with pytest.raises(Fenced):
        graph(saver).invoke(BEGIN, governed(config, uuid4()), durability="sync")
    assert saver.get_tuple(config) is None


def test_an_older_drive_writes_nothing_while_a_newer_one_may(
    saver: ControlSaver, leases: RunLeases, clock: Clock, config: RunnableConfig
) -> None:
    """A run taken again by this very process is closed to its older drive and open to the newer one."""
    run_id = uuid4()
    leases.hold(run_id, 1, lease_ms=LEASE_MS, started=clock.now - LEASE_MS / 1000)
    leases.hold(run_id, 2, lease_ms=LEASE_MS, started=clock.now)
    with pytest.raises(Fenced):
        graph(saver).invoke(BEGIN, governed(config, run_id, 1), durability="sync")
    assert saver.get_tuple(config) is None
    graph(saver).invoke(BEGIN, governed(config, run_id, 2), durability="sync")
    assert saver.get_tuple(config) is not None


def test_a_config_names_the_run_and_the_drive() -> None:
    """A config names its run and the token it is driven with; one that names no run is outside of any."""
    assert run_of({"configurable": {RUN_KEY: f"{UUID(int=3)}/7"}}) == (UUID(int=3), 7)
    assert run_of({"configurable": {}}) is None
    assert run_of({}) is None


@pytest.mark.parametrize("named", [str(UUID(int=3)), "x/1", f"{UUID(int=3)}/", f"{UUID(int=3)}/-1", 7])
def test_a_config_that_names_no_drive_writes_nothing(saver: ControlSaver, config: RunnableConfig, named: Any) -> None:
    """A run without its token, or anything else that is no drive's name, is not taken for "outside of a run"."""
    forged: RunnableConfig = {"configurable": {**config.get("configurable", {}), RUN_KEY: named}}
    with pytest.raises(Fenced):
        graph(saver).invoke(BEGIN, forged, durability="sync")
    assert saver.get_tuple(config) is None


async def test_a_killed_backend_loses_no_checkpoint(
    saver: ControlSaver, config: RunnableConfig, shared_database: Database
) -> None:
    """After its connections are killed, the saver stores over new ones."""
    graph(saver).invoke(BEGIN, config, durability="sync")
    with psycopg.connect(shared_database.admin, autocommit=True) as superuser:
        killed = superuser.execute(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE application_name = 'saver-under-test'"
        ).fetchall()
    assert killed
    checkpoint = empty_checkpoint()
    stored = await saver.aput(
        {"configurable": {**config.get("configurable", {}), "checkpoint_ns": ""}}, checkpoint, {}, {}
    )
    found = saver.get_tuple(stored)
    assert found is not None
    assert found.checkpoint["id"] == checkpoint["id"]


def test_no_server_is_trail_unavailable(monkeypatch: pytest.MonkeyPatch, config: RunnableConfig) -> None:
    """A checkpoint that cannot be stored ends the graph with a named error."""
    monkeypatch.setattr("langgraph_control.audit.connecting.saver.PATIENCE_SECONDS", 0.1)
    store = Store("postgresql://agent@127.0.0.1:1/nothing")
    saver = ControlSaver(store, leases=RunLeases(store), refused=Fenced)
    with pytest.raises(TrailUnavailable):
        graph(saver).invoke(BEGIN, config, durability="sync")
    store.close()


STRICT = """
import sys
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from langgraph_control.audit.connecting.leases import RunLeases
from langgraph_control.audit.postgres.migrate import CHECKPOINT_SCHEMA
from langgraph_control.audit.connecting.saver import ControlSaver
from langgraph_control.audit.connecting.store import Store

def ask(state):
    return {"messages": [AIMessage(interrupt({"control": "key", "tags": ["a", 1, None]}), id="answer")]}

store = Store(sys.argv[1])
saver = ControlSaver(store, leases=RunLeases(store), refused=RuntimeError)
builder = StateGraph(MessagesState)
builder.add_node("ask", ask)
builder.add_edge(START, "ask")
graph = builder.compile(checkpointer=saver)
config = {"configurable": {"thread_id": "strict"}}
parked = graph.invoke({"messages": [("user", "hello")]}, config, durability="sync")
(question,) = graph.get_state(config).interrupts
assert question.value == {"control": "key", "tags": ["a", 1, None]}, question
done = graph.invoke(Command(resume="yes"), config, durability="sync")
print([type(message).__name__ for message in done["messages"]])
print([type(message).__name__ for message in graph.get_state(config).values["messages"]])
store.close()
"""


def test_it_works_under_strict_msgpack(shared_database: Database) -> None:
    """Messages and JSON come back as they were under LangGraph's announced default for what may be loaded."""
    done = subprocess.run(  # the variable is read when LangGraph is imported
        [sys.executable, "-c", STRICT, shared_database.agent],
        env={**os.environ, "LANGGRAPH_STRICT_MSGPACK": "true"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("['HumanMessage', 'AIMessage']\n" * 2, "")


async def test_a_transaction_that_stands_still_is_ended(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process stopped in the middle of storing a checkpoint does not keep its successor from storing one."""
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.3)
    conninfo = connections.connection_string(database.agent, application_name="test")
    stopped = connections.AsyncConnections(conninfo, limit=1, search_path=CHECKPOINT_SCHEMA)
    successor = connections.AsyncConnections(conninfo, limit=1, search_path=CHECKPOINT_SCHEMA)
    row: LiteralString = "INSERT INTO checkpoints (thread_id, checkpoint_id, checkpoint) VALUES ('t', 'c', '{}')"

    async def stand_still() -> None:
        async with stopped.hold() as connection, connection.transaction():
            await connection.execute(row)
            async with successor.hold() as other:
                await other.execute(row)  # waits for the first one's lock until that is broken

    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout) as ended:
        await stand_still()
    assert isinstance(
        named(ended.value, database.agent), TrailUnavailable
    )  # it is sent again, if the run is still ours
    await stopped.drop_idle()
    await successor.drop_idle()
