"""What a thread's checkpoint says of a run."""

import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from langgraph_control.graphs.thread_view import thread_of


class State(TypedDict):
    """A log that grows."""

    log: Annotated[list[str], operator.add]


def noting(name: str) -> Any:
    """Return a node that notes its name."""
    return lambda _: {"log": [name]}


class Killed(BaseException):
    """What takes the place of the process' death."""


class DyingSaver(InMemorySaver):
    """Keeps everything up to a number of checkpoints; then its process is gone."""

    def __init__(self, checkpoints: int) -> None:
        super().__init__()
        self.left = checkpoints

    def put(self, *args: Any, **kwargs: Any) -> Any:
        """Keep a checkpoint, or die."""
        if self.left == 0:
            raise Killed
        self.left -= 1
        return super().put(*args, **kwargs)


@pytest.mark.parametrize("checkpoints", [1, 2, 3])
def test_a_step_without_its_checkpoint_is_not_over(checkpoints: int) -> None:
    """Killed after all tasks of a step and before the step's checkpoint, a thread is in the middle, and goes on."""
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    before = START
    for name in ("first", "second", "third"):
        builder.add_node(name, noting(name))
        builder.add_edge(before, name)
        before = name
    saver = DyingSaver(checkpoints)
    graph = builder.compile(checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(Killed):
        graph.invoke({"log": []}, config, durability="sync")
    assert thread_of(graph.get_state(config)).pending
    saver.left = 99
    assert graph.invoke(None, config, durability="sync") == {"log": ["first", "second", "third"]}
    assert not thread_of(graph.get_state(config)).pending
