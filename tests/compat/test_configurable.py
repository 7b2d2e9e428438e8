"""What `configurable` carries: into checkpoints and their metadata, into child graphs, into nodes and tools."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.config import get_config
from langgraph.func import entrypoint, task
from langgraph.pregel import Pregel
from langgraph.types import Command, Durability, interrupt
from psycopg import Connection
from psycopg.rows import DictRow

from tests.compat.building import GO, Graph, State, Update, agent, around, chain, inside, on, questions, thread
from tests.support.scripted_model import ScriptedModel, call, calls

RUN = {"run": "run_1", "token": 7}


class Witness(PostgresSaver):
    """A saver that notes which configurable each call was given."""

    def __init__(self, conn: Connection[DictRow]) -> None:
        super().__init__(conn)
        self.given: list[tuple[str, dict[str, Any]]] = []

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Note, then store."""
        self.given.append(("put", inside(config)))
        return super().put(config, checkpoint, metadata, new_versions)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Note, then store."""
        self.given.append(("put_writes", inside(config)))
        super().put_writes(config, writes, task_id, task_path)


def ask(_: State) -> Update:
    """Ask, so that a thread is left parked."""
    return {"value": interrupt("?")}


def test_a_copy_with_a_checkpointer_leaves_the_original_alone(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`graph.copy(update={"checkpointer": saver})` gives a graph of the same class; subgraphs inherit its saver."""
    child = chain(None, ask)
    graph = around(None, child)
    copy = graph.copy(update={"checkpointer": saver})
    assert type(copy) is type(graph)
    copy.invoke({}, config)
    assert questions(copy, config) == ["?"]
    assert copy.get_state(config, subgraphs=True).tasks[0].state is not None
    assert copy.invoke(Command(resume="yes"), config)["value"] == "yes"
    assert (graph.checkpointer, child.checkpointer) == (None, None)


def test_an_entrypoint_can_be_copied_alike(saver: PostgresSaver, config: RunnableConfig) -> None:
    """An `@entrypoint` is a Pregel and takes a checkpointer by `copy` as well."""

    @entrypoint()
    def flow(number: int) -> Any:
        return interrupt("?") + number

    assert isinstance(flow, Pregel)
    copy = flow.copy(update={"checkpointer": saver})
    copy.invoke(1, config)
    assert copy.invoke(Command(resume=2), config) == 3
    assert flow.checkpointer is None


def test_a_copy_of_an_agent_runs_on_the_new_checkpointer(saver: PostgresSaver, config: RunnableConfig) -> None:
    """What `create_agent` returns takes a checkpointer by `copy` as well."""

    @tool
    def asks() -> str:
        """Ask."""
        return str(interrupt("?"))

    original = agent(ScriptedModel(script=[calls(call("asks")), "done"]), [asks])
    copy = original.copy(update={"checkpointer": saver})
    copy.invoke(GO, config)
    assert copy.invoke(Command(resume="yes"), config)["messages"][-1].content == "done"
    assert original.checkpointer is None


def test_only_plain_keys_end_up_in_checkpoint_metadata(saver: PostgresSaver, config: RunnableConfig) -> None:
    """Metadata gets `configurable` and `metadata` values that are str, int, float or bool, unless named `__…`."""

    def nothing(_: State) -> Update:
        return {}

    graph = chain(saver, nothing)
    given = on(config, __control_run="secret", plain="kept", structure={"a": 1})
    graph.invoke({}, {**given, "metadata": {"meta": "kept", "__meta": "dropped"}})
    stored = saver.get_tuple(config)
    assert stored is not None
    assert stored.metadata == {"source": "loop", "step": 1, "parents": {}, "plain": "kept", "meta": "kept"}


def test_every_saver_call_sees_the_run_context(connection: Connection[DictRow], config: RunnableConfig) -> None:
    """`put` and `put_writes` get `__control_run` in `configurable`, from the root and from subgraphs, on resume too."""
    witness = Witness(connection)
    graph = around(witness, chain(None, ask))
    within = on(config, __control_run=RUN)
    graph.invoke({}, within, durability="sync")
    graph.invoke(Command(resume="yes"), within, durability="sync")
    assert all(configurable["__control_run"] is RUN for _, configurable in witness.given)
    assert {(name, configurable["checkpoint_ns"] == "") for name, configurable in witness.given} == {
        ("put", True),
        ("put", False),
        ("put_writes", True),
        ("put_writes", False),
    }


def test_update_state_passes_the_run_context_of_its_own_caller(
    connection: Connection[DictRow], config: RunnableConfig
) -> None:
    """`update_state` stores with the `configurable` it was called with, so without a run if it had none."""
    witness = Witness(connection)
    graph = chain(witness, ask)
    graph.invoke({}, on(config, __control_run=RUN), durability="sync")
    witness.given.clear()
    graph.update_state(config, {"value": 1})
    assert {name for name, _ in witness.given} == {"put", "put_writes"}
    assert all("__control_run" not in configurable for _, configurable in witness.given)


def note_into(seen: list[dict[str, Any]]) -> Graph:
    """Compile a child graph whose node notes its `configurable`."""

    def note(_: State, config: RunnableConfig) -> Update:
        seen.append(inside(config))
        return {}

    return chain(None, note)


CHILD_CONFIGS: dict[str, Any] = {
    "passed on": get_config,
    "none": lambda: None,
    "another key": lambda: {"configurable": {"extra": 1}},
    "own thread": thread,
}


@pytest.mark.parametrize("how", CHILD_CONFIGS)
@pytest.mark.parametrize("where", ["node", "tool", "async tool"])
async def test_a_child_loses_the_parents_configurable_only_with_a_thread_of_its_own(
    config: RunnableConfig, how: str, where: str
) -> None:
    """A child graph sees the parent's `configurable`, unless its config names a thread: then nothing of it is left."""
    seen: list[dict[str, Any]] = []
    child = note_into(seen)

    @tool
    def delegate() -> str:
        """Run the child."""
        child.invoke({}, CHILD_CONFIGS[how]())
        return ""

    @tool("delegate")
    async def async_delegate() -> str:
        """Run the child."""
        await child.ainvoke({}, CHILD_CONFIGS[how]())
        return ""

    def parent(_: State) -> Update:
        child.invoke({}, CHILD_CONFIGS[how]())
        return {}

    within = on(config, __control_run=RUN, plain="p")
    script = ScriptedModel(script=[calls(call("delegate")), "done"])
    if where == "node":
        chain(InMemorySaver(), parent).invoke({}, within, durability="sync")
    elif where == "tool":
        agent(script, [delegate], saver=InMemorySaver()).invoke(GO, within, durability="sync")
    else:
        await agent(script, [async_delegate], saver=InMemorySaver()).ainvoke(GO, within, durability="sync")
    (child_sees,) = seen
    inherited = {key: child_sees.get(key) for key in ("__control_run", "plain", "__pregel_durability")}
    if how == "own thread":
        assert set(inherited.values()) == {None}
        assert child_sees["thread_id"] != inside(config)["thread_id"]
    else:
        assert inherited == {"__control_run": RUN, "plain": "p", "__pregel_durability": "sync"}
        assert child_sees["thread_id"] == inside(config)["thread_id"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit", None])
def test_durability_is_in_configurable_only_if_given(
    saver: PostgresSaver, config: RunnableConfig, durability: Durability | None
) -> None:
    """`__pregel_durability` is what the caller passed, in nodes, subgraphs, tools, tasks; absent means async."""
    seen: dict[str, Any] = {}

    def note(where: str) -> None:
        seen[where] = inside(get_config()).get("__pregel_durability")

    def node(_: State) -> Update:
        note("node")
        return {}

    def nested(_: State) -> Update:
        note("subgraph")
        return {}

    @tool
    def noting() -> str:
        """Note."""
        note("tool")
        return ""

    @task
    def noting_task() -> None:
        note("task")

    @entrypoint(checkpointer=saver)
    def flow(_: int) -> None:
        note("entrypoint")
        noting_task().result()

    chain(saver, node).invoke({}, config, durability=durability)
    around(saver, chain(None, nested)).invoke({}, thread(), durability=durability)
    model = ScriptedModel(script=[calls(call("noting")), "done"])
    agent(model, [noting], saver=saver).invoke(GO, thread(), durability=durability)
    flow.invoke(1, thread(), durability=durability)
    assert seen == dict.fromkeys(("node", "subgraph", "tool", "entrypoint", "task"), durability)


def test_an_explicit_durability_beats_the_configured_one(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`durability=` of a call replaces a `__pregel_durability` set by `with_config`."""
    seen: list[Any] = []

    def note(_: State, config: RunnableConfig) -> Update:
        seen.append(inside(config).get("__pregel_durability"))
        return {}

    graph = chain(saver, note).with_config({"configurable": {"__pregel_durability": "sync"}})
    graph.invoke({}, config)
    graph.invoke({}, config, durability="async")
    assert seen == ["sync", "async"]


def test_sync_durability_without_a_checkpointer_breaks_a_sync_graph(config: RunnableConfig) -> None:
    """`invoke(durability="sync")` on a graph without a checkpointer dies of an AttributeError inside LangGraph."""

    def nothing(_: State) -> Update:
        return {}

    with pytest.warns(UserWarning, match="no effect"), pytest.raises(AttributeError):
        chain(None, nothing).invoke({}, config, durability="sync")


def test_the_run_id_exists_only_if_the_caller_gave_it(saver: PostgresSaver, config: RunnableConfig) -> None:
    """`Runtime.execution_info.run_id` is None unless the caller passed a `run_id`."""
    seen: list[Any] = []

    def note(_: State, config: RunnableConfig) -> Update:
        seen.append(inside(config)["__pregel_runtime"].execution_info.run_id)
        return {}

    graph = chain(saver, note)
    graph.invoke({}, config)
    assert seen == [None]


def test_async_nodes_see_the_same_context(config: RunnableConfig) -> None:
    """An async node under `ainvoke` sees the caller's `__…` keys and durability as a sync one does."""
    seen: list[Any] = []

    async def note(_: State, config: RunnableConfig) -> Update:
        await asyncio.sleep(0)
        seen.append((inside(config)["__control_run"], inside(get_config())["__pregel_durability"]))
        return {}

    graph = chain(InMemorySaver(), note)
    asyncio.run(graph.ainvoke({}, on(config, __control_run=RUN), durability="sync"))
    assert seen == [(RUN, "sync")]
