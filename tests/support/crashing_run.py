"""A run whose process kills itself: before the first checkpoint, between effect and record, or in a later node.

As a program: ``python -m tests.support.crashing_run DSN TRIGGER FILE WHERE [THREAD]``. With a thread, the graph is
called on it as a server would, and keeps its checkpoints in the ledger's database.
"""

import operator
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.graph import START, StateGraph

from langgraph_control import ABSENT, Action, Control, current_action, writes
from langgraph_control.server import checkpointer, serve
from tests.support.desk import POLICY

PLACES = ("start", "effect", "later node")


class State(TypedDict):
    """A log that grows."""

    log: Annotated[list[str], operator.add]


def build(control: Control, effects: Path, die_at: str | None = None) -> Any:
    """Return a bound graph that writes one line to a file by a governed tool, then notes it."""
    return control.bind(compiled(control, effects, die_at), name="notes")


def build_served(control: Control, effects: Path, die_at: str | None = None) -> Any:
    """Return the same graph as a server copies it for one of its runs."""
    graph = serve(control, compiled(control, effects, die_at), name="notes", actor="bot")
    return graph.copy(update={"checkpointer": checkpointer(control)})


def compiled(control: Control, effects: Path, die_at: str | None) -> Any:
    """Return the graph, bound to nothing."""

    def die(where: str) -> None:
        if where == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def written(action: Action) -> object:
        return "noted" if action.key in effects.read_text() else ABSENT

    @writes(key="text", impact="record", find=written)
    def note(text: str) -> str:
        """Note something."""
        with effects.open("a") as file:
            file.write(f"{current_action().key} {text}\n")
        die("effect")
        return "noted"

    (governed,) = control.govern([note])

    def act(_: State) -> dict[str, Any]:
        die("start")
        return {"log": [governed.invoke({"text": "hello"})]}

    def later(_: State) -> dict[str, Any]:
        die("later node")
        return {"log": ["later"]}

    builder: Any = StateGraph(State)
    builder.add_sequence([("act", act), ("later", later)])
    builder.add_edge(START, "act")
    return builder.compile()


def main() -> None:
    """Drive the run until it dies."""
    dsn, trigger, effects, die_at, *thread = sys.argv[1:]
    control = Control(POLICY, dsn=dsn)
    if die_at == "start":
        # Before anything is stored: the first thing LangGraph does with its input is to put it down.
        saver: Any = control._ledger.runs().saver
        saver.put = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    if thread:
        graph = build_served(control, Path(effects), die_at)
        graph.invoke({"log": []}, {"configurable": {"thread_id": thread[0], "trigger": trigger}}, durability="async")
    else:
        control.run(build(control, Path(effects), die_at), {"log": []}, trigger=trigger, actor="bot")


if __name__ == "__main__":
    main()
