"""A process that kills itself between an effect and its record, and the same graphs for the process that comes after.

Run as `python -m tests.compat.crashing DSN THREAD EFFECTS SCENE DURABILITY`. Nothing here waits for time to pass: a
store that is slower than the node is one that never answers.
"""

import json
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import psycopg
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.types import Durability
from psycopg.rows import DictRow, dict_row

from tests.compat.building import GO, State, Update, agent, at_once, chain, fan, inside
from tests.support.scripted_model import ScriptedModel, call, calls

Stop = Callable[[], None]


def die() -> None:
    """Kill this process as the operating system would."""
    os.kill(os.getpid(), signal.SIGKILL)


def go_on() -> None:
    """Do what a process does that is not killed."""


def never_answer() -> None:
    """Be slower than anything that comes after."""
    threading.Event().wait()


class FailingStore(PostgresSaver):
    """A saver that stores its first `puts` checkpoints and then dies, or is still at work when the process dies."""

    def __init__(
        self, conn: psycopg.Connection[DictRow], *, puts: int = 1000, writes: Stop = go_on, then: Stop = never_answer
    ) -> None:
        super().__init__(conn)
        self._puts_left = puts
        self._before_writes = writes
        self._then = then
        self.log_handed_over = threading.Event()
        self.log_stored = threading.Event()

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store as many as it may."""
        if self._puts_left == 0:
            self._then()
        self._puts_left -= 1
        return super().put(config, checkpoint, metadata, new_versions)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store, and say when it had a node's log in hand and when that was stored."""
        logged = any(channel == "log" for channel, _ in writes)
        if logged:
            self.log_handed_over.set()
            self._before_writes()
        super().put_writes(config, writes, task_id, task_path)
        if logged:
            self.log_stored.set()


def note(effects: Path, **effect: Any) -> None:
    """Have an effect that outlives the process."""
    with effects.open("a") as log:
        log.write(json.dumps(effect) + "\n")


def paying_agent(saver: Any, effects: Path, stop: Stop) -> Any:
    """Return an agent that pays once; its model makes up a new call id whenever it is asked, as real ones do."""

    @tool
    def pay(call_id: Annotated[str, InjectedToolCallId], config: RunnableConfig) -> str:
        """Pay."""
        info = inside(config)["__pregel_runtime"].execution_info
        note(effects, call_id=call_id, task_id=info.task_id, checkpoint_id=info.checkpoint_id)
        stop()
        return "paid"

    def answer(messages: Sequence[Any]) -> AIMessage | str:
        return "done" if messages[-1].type == "tool" else calls(call("pay", call_id=uuid.uuid4().hex))

    return agent(ScriptedModel(script=[answer, answer]), [pay], saver=saver)


def two_siblings(saver: Any, effects: Path, stop: Stop) -> Any:
    """Return two nodes side by side; the second goes on when the first has finished and its writes are handed over."""

    def finishing(_: State) -> Update:
        note(effects, node="finishing")
        return {"log": ["finished"]}

    def dying(_: State) -> Update:
        if isinstance(saver, FailingStore):
            saver.log_handed_over.wait()
        note(effects, node="dying")
        stop()
        return {}

    return fan(saver, finishing, dying)


def second_attempt(saver: Any, effects: Path, stop: Stop) -> Any:
    """Return a node that fails at first and stops in its second attempt."""

    def flaky(_: State, config: RunnableConfig) -> Update:
        attempt = inside(config)["__pregel_runtime"].execution_info.node_attempt
        note(effects, attempt=attempt)
        if attempt == 1:
            raise ConnectionError
        stop()
        return {}

    return chain(saver, flaky, retry_policy=at_once())


def two_steps(saver: Any, effects: Path, stop: Stop) -> Any:
    """Return two nodes in a row; the first one's log is what a saver can wait for."""
    del stop

    def first(_: State) -> Update:
        note(effects, node="first")
        return {"log": ["first"]}

    def second(_: State) -> Update:
        note(effects, node="second")
        return {}

    return chain(saver, first, second)


SCENES: dict[str, Callable[[Any, Path, Stop], Any]] = {
    "agent": paying_agent,
    "agent, store stuck after the input": paying_agent,
    "agent, store stuck at once": paying_agent,
    "siblings, writes stuck": two_siblings,
    "second attempt": second_attempt,
    "killed between writes and checkpoint": two_steps,
}


def store(scene: str, connection: psycopg.Connection[DictRow]) -> PostgresSaver:
    """Return the saver of a scene."""
    match scene:
        case "agent, store stuck after the input":
            return FailingStore(connection, puts=1)
        case "agent, store stuck at once":
            return FailingStore(connection, puts=0)
        case "siblings, writes stuck":
            return FailingStore(connection, writes=never_answer)
        case "killed between writes and checkpoint":
            return killed_after_the_first_nodes_writes(connection)
        case _:
            return PostgresSaver(connection)


def killed_after_the_first_nodes_writes(connection: psycopg.Connection[DictRow]) -> FailingStore:
    """Return a saver that dies at the third checkpoint (input, start, first node), with the node's writes stored."""

    def die_with_the_writes_stored() -> None:
        saver.log_stored.wait()
        die()

    saver = FailingStore(connection, puts=2, then=die_with_the_writes_stored)
    return saver


def as_durability(name: str) -> Any:
    """Return the durability of that name."""
    if name not in get_args(Durability):
        raise ValueError(name)
    return name


def main(dsn: str, thread_id: str, effects: str, scene: str, durability: str) -> None:
    """Run the scene until it kills this process."""
    connection = psycopg.Connection[DictRow].connect(dsn, autocommit=True, row_factory=dict_row)
    graph = SCENES[scene](store(scene, connection), Path(effects), die)
    config: RunnableConfig = {"configurable": {"thread_id": thread_id}}
    graph.invoke(GO, config, durability=as_durability(durability))


if __name__ == "__main__":
    main(*sys.argv[1:])
