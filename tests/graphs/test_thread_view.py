"""What a thread's checkpoint says of a run."""

import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from langgraph_control.graphs.thread_view import questions_of, thread_of


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


CARD = {"control": "ab" * 32, "reason": "approval", "wake_ms": 0, "what": {"tool": "pay"}, "why": {"intent": "mail/1"}}
THEIRS: dict[str, Any] = {
    "a field named control": {"control": "brakes", "question": "Disable the brakes?"},
    "a key of ours alone": {"control": "ab" * 32},
    "no key": {**CARD, "control": "brakes"},
    "a longer key": {**CARD, "control": "ab" * 32 + "\n"},
    "capitals": {**CARD, "control": "AB" * 32},
    "a number": {**CARD, "control": 7},
    "no wake-up": {name: value for name, value in CARD.items() if name != "wake_ms"},
    "its pairs": [list(pair) for pair in CARD.items()],
    "text": "control",
}


def asking(payload: Any) -> Any:
    """Return the state of a thread that waits for an answer to one question."""
    ask: Any = lambda _: {"log": [interrupt(payload)]}  # noqa: E731 - its type is what LangGraph asks for
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    graph = builder.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    graph.invoke({"log": []}, config, durability="sync")
    return graph.get_state(config)


@pytest.mark.parametrize("payload", THEIRS.values(), ids=THEIRS)
def test_a_question_that_looks_like_ours_is_the_users(payload: Any) -> None:
    """Only a card as the gate writes it is answered by the driver; anything else waits for the user's answer."""
    snapshot = asking(payload)
    (asked,) = questions_of(snapshot).values()
    assert asked == payload
    assert not thread_of(snapshot).parked


def test_the_gates_card_is_ours() -> None:
    """A card with the action's key and what it waits for is no question to the user."""
    snapshot = asking(CARD)
    assert questions_of(snapshot) == {}
    (parked,) = thread_of(snapshot).parked.values()
    nothing = {"owner": "", "approval": "", "digest": ""}
    assert parked == {"control": "ab" * 32, "reason": "approval", "wake_ms": 0, **nothing}


@pytest.mark.parametrize(
    ("owner", "approval", "taken"),
    [
        ("finance", f"apr_{'0' * 32}", {"owner": "finance", "approval": f"apr_{'0' * 32}"}),
        ({"a": "role"}, "apr_1; rm -rf /", {"owner": "", "approval": ""}),
        (None, None, {"owner": "", "approval": ""}),
    ],
)
def test_owner_and_request_of_a_card_are_taken_as_what_they_are(owner: Any, approval: Any, taken: Any) -> None:
    """A role and the name of a request are texts of that form; whatever else a stored card holds there is left out."""
    (parked,) = thread_of(asking({**CARD, "owner": owner, "approval": approval})).parked.values()
    assert {"owner": parked["owner"], "approval": parked["approval"]} == taken
