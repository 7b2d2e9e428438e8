"""A process of its own, as strict msgpack is decided when LangGraph is imported: prints what types come back."""

import json
from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from pydantic import BaseModel


class Card(BaseModel):
    """A model that the state's schema names."""

    number: int


class Undeclared(BaseModel):
    """A model that it does not name."""

    number: int


class State(TypedDict):
    """A declared model, and anything."""

    declared: Card
    anything: Any


def write(state: State) -> dict[str, Any]:
    """Write one of each and ask with another."""
    return {"declared": Card(number=1), "anything": Undeclared(number=2)}


def ask(state: State) -> dict[str, Any]:
    """Ask with a model as payload."""
    return {"anything": interrupt(Undeclared(number=3))}


if __name__ == "__main__":
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    builder.add_sequence([write, ask])
    builder.add_edge(START, "write")
    graph = builder.compile(checkpointer=InMemorySaver())  # the serializer decides; where it stores does not matter
    graph.invoke({}, {"configurable": {"thread_id": "1"}})
    state = graph.get_state({"configurable": {"thread_id": "1"}})
    print(
        json.dumps(
            {
                "declared": type(state.values["declared"]).__name__,
                "anything": type(state.values["anything"]).__name__,
                "interrupt": type(state.interrupts[0].value).__name__,
            }
        )
    )
