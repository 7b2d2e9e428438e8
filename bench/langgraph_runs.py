"""The same write inside LangGraph: a superstep with and without it, and a run that is resumed after few and many."""

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypedDict
from uuid import uuid4

from langchain_core.tools import BaseTool
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from bench.governed import CONTRACT, arguments, pay
from bench.ground import POLICY, Place
from langgraph_control import Control, Run

__all__ = ["LongRun", "control_of", "governed_supersteps", "plain_supersteps"]


class Progress(TypedDict):
    """How many steps are done, and how many there are to be. It does not grow."""

    done: Annotated[int, operator.add]
    wanted: int


def control_of(place: Place) -> Control:
    """Return a Control on a ledger.

    Args:
        place: where it is.
    """
    return Control(POLICY, dsn=place.agent)


@contextmanager
def plain_supersteps(dsn: str) -> Iterator[Any]:
    """Give a call that makes so many supersteps of a graph without any tool, on LangGraph's own Postgres saver.

    Args:
        dsn: where its checkpoints go.
    """
    with PostgresSaver.from_conn_string(dsn) as saver:
        saver.setup()
        graph: Any = _looping(lambda _state: {"done": 1}).compile(checkpointer=saver)

        def run(steps: int) -> None:
            config = {"configurable": {"thread_id": uuid4().hex}, "recursion_limit": steps + 10}
            graph.invoke({"done": 0, "wanted": steps}, config, durability="sync")

        yield run


def governed_supersteps(control: Control) -> Any:
    """Return a call that makes so many supersteps with one governed write each, in a run of its own.

    Args:
        control: on a ledger.
    """
    graph: Any = control.bind(_looping(_writing(_tool(control), writes_per_step=1)).compile(), name="supersteps")

    def run(steps: int) -> None:
        control.run(
            graph,
            {"done": 0, "wanted": steps},
            trigger=uuid4().hex,
            actor="bench",
            config={"recursion_limit": steps + 10},
        )

    return run


class LongRun:
    """A run that made so many writes and now waits for an answer, again and again.

    Args:
        control: on a ledger.
        actions: how many writes.
        writes_per_step: how many of them in one superstep.
    """

    def __init__(self, control: Control, *, actions: int, writes_per_step: int) -> None:
        self._control = control
        builder = _looping(_writing(_tool(control), writes_per_step=writes_per_step), then="wait")
        builder.add_node("wait", _wait)
        builder.add_edge("wait", "wait")
        self._run: Run = control.run(
            control.bind(builder.compile(), name=f"long-{actions}"),
            {"done": 0, "wanted": actions},
            trigger=uuid4().hex,
            actor="bench",
            config={"recursion_limit": actions + 10},
        )

    def resume(self) -> None:
        """Answer the question; the run waits for the next one."""
        self._run = self._control.resume(self._run.id, dict.fromkeys(self._run.questions, True))
        if not self._run.questions:
            raise RuntimeError(f"the run is {self._run.state}: {self._run.reason}")


def _wait(_state: Progress) -> dict[str, int]:
    interrupt("Go on?")
    return {"done": 0}


def _looping(step: Any, *, then: str = END) -> Any:
    builder: Any = StateGraph(Progress)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_conditional_edges(
        "step", lambda state: "step" if state["done"] < state["wanted"] else then, ["step", then]
    )
    return builder


def _writing(tool: BaseTool, *, writes_per_step: int) -> Any:
    def step(state: Progress) -> dict[str, int]:
        for number in range(writes_per_step):
            tool.invoke(arguments(state["done"] + number))
        return {"done": writes_per_step}

    return step


def _tool(control: Control) -> BaseTool:
    (tool,) = control.govern([pay], contracts={"pay": CONTRACT})
    return tool
