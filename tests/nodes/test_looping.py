"""What the model is told of going in circles, and where that is put."""

from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.types import Command

from langgraph_control.guards.loops import Loop, LoopRules
from langgraph_control.nodes.looping import noted_on, stopped_text, told, turn_of

NOTE = "\n\n[again]"
MINE = ToolMessage(content="open", tool_call_id="c1")
OTHERS = ToolMessage(content="shut", tool_call_id="c2")


@dataclass
class Thing:
    """A result that is no JSON."""

    def __str__(self) -> str:
        return "a thing"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("open", f"open{NOTE}"),
        (("open", {"raw": 1}), (f"open{NOTE}", {"raw": 1})),
        ({"state": "open"}, f'{{"state": "open"}}{NOTE}'),
        (7, f"7{NOTE}"),
        ([], f"[]{NOTE}"),
        ([{"state": "open"}], f'[{{"state": "open"}}]{NOTE}'),
        (Thing(), f"a thing{NOTE}"),
        ([{"type": "text", "text": "open"}], [{"type": "text", "text": "open"}, {"type": "text", "text": NOTE}]),
    ],
)
def test_a_note_stands_behind_what_the_model_sees(value: Any, expected: Any) -> None:
    """Whatever a read returns, its own content stays whole and the note comes after it."""
    assert noted_on(value, NOTE, "c1") == expected


def test_in_a_command_only_this_calls_message_is_noted() -> None:
    """A command keeps everything; the message that answers the call gets the note."""
    noted = noted_on(Command(update={"messages": [OTHERS, MINE], "seen": True}, goto="on"), NOTE, "c1")
    assert [message.content for message in noted.update["messages"]] == ["shut", f"open{NOTE}"]
    assert (noted.update["seen"], noted.goto) == (True, "on")
    assert noted_on(MINE, NOTE, "c1").content == f"open{NOTE}"
    for whole in (Command(goto="on"), Command(update={"seen": True})):
        assert noted_on(whole, NOTE, "c1") == whole


def test_without_a_note_a_result_is_itself() -> None:
    """Nothing is copied or formed where there is nothing to say."""
    value = {"state": "open"}
    assert noted_on(value, "", "c1") is value


@pytest.mark.parametrize("loop", [Loop.NONE, Loop.STOPPED, Loop.PARKED])
def test_a_note_is_given_only_where_the_model_is_told(loop: Loop) -> None:
    """What is stopped or parked has no note: it has no answer."""
    assert told(loop, "look", LoopRules()) == ""


@pytest.mark.parametrize(("seconds", "said"), [(30.0, "30 seconds"), (120.0, "120 seconds"), (600.0, "10 minutes")])
def test_a_stopped_call_says_when_it_can_be_made(seconds: float, said: str) -> None:
    """The model is told how long it takes until the same call counts as a new one."""
    assert f"when {said} have passed" in stopped_text("look", LoopRules(within_seconds=seconds))


def test_a_conversation_is_known_by_its_first_message() -> None:
    """More messages are the same conversation, later; another first message is another one; none is one, too."""
    first, other = HumanMessage(content="a", id="m1"), HumanMessage(content="a", id="m2")
    begun, later, apart = (turn_of(messages, "t") for messages in ([first], [first, other], [other]))
    assert begun.scope == later.scope != apart.scope
    assert len({begun.message, later.message, apart.message}) == 3
    assert turn_of([], "t") == turn_of((), "t") == turn_of({"messages": 1}, "t") == turn_of(None, "t")
    assert turn_of([], "t").message != turn_of([], "u").message
