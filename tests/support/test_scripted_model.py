"""The scripted model plays what is written and nothing else."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from tests.support.scripted_model import ScriptedModel, ScriptExhausted, call, calls


def test_answers_are_played_in_order() -> None:
    """Messages, strings and functions of the messages are played one per call, in the order of the script."""
    model = ScriptedModel(script=[AIMessage("one"), "two", lambda messages: f"saw {messages[-1].content}"])
    assert [model.invoke("hello").content for _ in model.script] == ["one", "two", "saw hello"]
    assert model.remaining == 0


def test_a_script_never_runs_out_silently() -> None:
    """One call more than the script has answers raises, and says which call it was."""
    model = ScriptedModel(script=["only"])
    model.invoke("first")
    with pytest.raises(ScriptExhausted, match="call 2 of a script with 1 answers"):
        model.invoke("second")


async def test_it_plays_for_async_callers_too() -> None:
    """`ainvoke` plays from the same script as `invoke`."""
    model = ScriptedModel(script=["one", "two"])
    assert (await model.ainvoke("a")).content == "one"
    assert model.invoke("b").content == "two"


def test_a_played_message_is_a_copy() -> None:
    """What a caller does to an answer does not change the script."""
    script = [calls(call("pay", amount=1))]
    played = ScriptedModel(script=script).invoke("go")
    played.tool_calls[0]["args"]["amount"] = 2
    assert script[0].tool_calls[0]["args"] == {"amount": 1}


def test_it_tells_what_it_was_asked_and_given() -> None:
    """The messages of each call and the names of the bound tools can be read afterwards."""

    @tool
    def pay(amount: int) -> str:
        """Pay."""
        return str(amount)

    model = ScriptedModel(script=["done"])
    model.bind_tools([pay]).invoke([HumanMessage("go")])
    assert [[message.content for message in asked] for asked in model.calls] == [["go"]]
    assert model.bound_tools == ["pay"]
