"""What `kill -9` between a side effect and its record leaves behind, and what a new process then does."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.errors import EmptyInputError

from tests.compat.building import GO, inside
from tests.compat.crashing import SCENES, go_on

ROOT = Path(__file__).parents[2]


class Crash:
    """A scene that was killed, and the graph with which a new process comes."""

    def __init__(self, *, dsn: str, saver: PostgresSaver, config: RunnableConfig, effects: Path) -> None:
        self._dsn = dsn
        self._saver = saver
        self._effects = effects
        self.config = config

    def after(self, scene: str, durability: str) -> Any:
        """Let a child process play `scene` until it kills itself, and return the same graph in this process."""
        arguments = [self._dsn, inside(self.config)["thread_id"], str(self._effects), scene, durability]
        child = subprocess.run(
            [sys.executable, "-m", "tests.compat.crashing", *arguments], cwd=ROOT, check=False, timeout=60
        )
        assert child.returncode == -signal.SIGKILL
        return SCENES[scene](self._saver, self._effects, go_on)

    @property
    def effects(self) -> list[dict[str, Any]]:
        """What has happened so far, whoever did it."""
        return [json.loads(line) for line in self._effects.read_text().splitlines()]


@pytest.fixture
def crash(dsn: str, saver: PostgresSaver, config: RunnableConfig, tmp_path: Path) -> Crash:
    """A crash on a thread of its own."""
    return Crash(dsn=dsn, saver=saver, config=config, effects=tmp_path / "effects.jsonl")


def test_sync_leaves_the_checkpoint_before_the_node(crash: Crash) -> None:
    """Under `sync` the thread waits before the killed node; `invoke(None)` repeats the effect under the same ids."""
    graph = crash.after("agent", "sync")
    state = graph.get_state(crash.config)
    assert (state.next, state.interrupts) == (("tools",), ())
    graph.invoke(None, crash.config, durability="sync")
    first, second = crash.effects
    assert first == second


def test_async_with_a_slow_store_leaves_the_input(crash: Crash) -> None:
    """Under `async` a slow store has only the input: the model is asked again and every id is new."""
    graph = crash.after("agent, store stuck after the input", "async")
    state = graph.get_state(crash.config)
    assert (state.metadata["source"], [task.name for task in state.tasks]) == ("input", ["__start__"])
    graph.invoke(None, crash.config, durability="sync")
    first, second = crash.effects
    assert [name for name in first if first[name] == second[name]] == []


def test_async_with_a_slower_store_leaves_nothing(crash: Crash) -> None:
    """Under `async` the store may not even have the input: the thread is unknown and the input is needed again."""
    graph = crash.after("agent, store stuck at once", "async")
    assert len(crash.effects) == 1
    with pytest.raises(EmptyInputError):
        graph.invoke(None, crash.config)
    graph.invoke(GO, crash.config, durability="sync")
    first, second = crash.effects
    assert [name for name in first if first[name] == second[name]] == []


def test_exit_leaves_nothing(crash: Crash) -> None:
    """Under `exit` a killed process leaves an unknown thread, although its effect has happened."""
    graph = crash.after("agent", "exit")
    assert len(crash.effects) == 1
    with pytest.raises(EmptyInputError):
        graph.invoke(None, crash.config)


def test_sync_does_not_wait_for_a_siblings_writes(crash: Crash) -> None:
    """Even under `sync` a finished sibling of the killed node runs again if its writes were still on their way."""
    graph = crash.after("siblings, writes stuck", "sync")
    assert sorted(graph.get_state(crash.config).next) == ["dying", "finishing"]
    graph.invoke(None, crash.config, durability="sync")
    assert [effect["node"] for effect in crash.effects].count("finishing") == 2


def test_attempts_are_counted_anew_after_a_crash(crash: Crash) -> None:
    """A node killed in its second attempt starts with attempt 1 in the next process."""
    graph = crash.after("second attempt", "sync")
    graph.invoke(None, crash.config, durability="sync")
    assert [effect["attempt"] for effect in crash.effects] == [1, 2, 1, 2]


def test_nothing_next_does_not_mean_finished(crash: Crash) -> None:
    """Killed between a node's writes and the next checkpoint, `next` is empty; only `tasks` shows work is left.

    `next` names the tasks without writes. Here there is one task, and it has its writes; `invoke(None)` goes on.
    """
    graph = crash.after("killed between writes and checkpoint", "sync")
    state = graph.get_state(crash.config)
    assert state.next == ()
    assert [(task.name, task.result) for task in state.tasks] == [("first", {"log": ["first"]})]
    graph.invoke(None, crash.config, durability="sync")
    assert [effect["node"] for effect in crash.effects] == ["first", "second"]
    finished = graph.get_state(crash.config)
    assert (finished.next, finished.tasks) == ((), ())
