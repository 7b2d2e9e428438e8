"""Reads: free to repeat, tried again where that may help, and on record before anyone sees what they gave."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from langchain_core.tools import StructuredTool, ToolException
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

from langgraph_control.nodes.bubbles import RunTakenOver
from langgraph_control.nodes.contracts import reads
from tests.compat.building import around, chain, ids, thread
from tests.support.entered_run import EnteredRun, async_form, invoked
from tests.support.scripted_model import call, calls

HOWS = ["sync", "async"]
LOOK = {"messages": [calls(call("look", order="o1"))]}


def looking(run: EnteredRun, body: Callable[[str], Any], **fields: Any) -> Any:
    """Return a graph whose only node is a ToolNode with a governed read."""

    def look(order: str) -> Any:
        """Look."""
        return body(order)

    made = StructuredTool.from_function(func=look, coroutine=async_form(look), **fields)
    return around(InMemorySaver(), ToolNode([run.govern(made, reads(system="billing", target="order/{order}"))]))


@pytest.mark.parametrize("how", HOWS)
def test_a_read_is_one_entry(how: str, run: EnteredRun) -> None:
    """A read is not claimed; one entry says who looked at what, and commits to what was seen without telling it."""
    result = invoked(how, looking(run, lambda order: f"{order} is open"), LOOK, run.config)
    assert result["messages"][-1].content == "o1 is open"
    assert run.actions() == []
    (facts, body) = run.entries()[-1]
    assert facts["events"] == ["action.succeeded"]
    assert (body["tool"], body["system"], body["target"], body["tries"]) == ("look", "billing", "order/o1", 1)
    assert len(body["result"]) == 64
    assert "open" not in str(body)


@pytest.mark.parametrize("how", HOWS)
def test_a_transient_failure_is_tried_again(how: str, run: EnteredRun) -> None:
    """A read whose connection breaks is repeated in process and recorded once, with the number of tries."""
    answers: list[Any] = [httpx.ConnectError("no"), httpx.ReadTimeout("no"), "open"]

    def body(_: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    result = invoked(how, looking(run, body), LOOK, run.config)
    assert result["messages"][-1].content == "open"
    assert run.events()[1:] == ["action.succeeded"]
    assert run.entries()[-1][1]["tries"] == 3


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    ("error", "tries"),
    [(httpx.ConnectError("db7.internal"), 3), (KeyError("no such order"), 1), (ToolException("closed"), 1)],
)
def test_a_final_failure_is_recorded_and_raised_unchanged(
    error: Exception, tries: int, how: str, run: EnteredRun
) -> None:
    """What another try cannot help is recorded as failed, and the tool's own exception goes on."""

    def body(_: str) -> Any:
        raise error

    with pytest.raises(type(error)) as caught:
        invoked(how, looking(run, body), LOOK, run.config)
    assert caught.value is error
    facts, entry = run.entries()[-1]
    assert (facts["events"], entry["error"], entry["tries"]) == (["action.failed"], type(error).__name__, tries)
    assert str(error) not in str(entry)


@pytest.mark.parametrize("how", HOWS)
def test_langchains_own_error_handling_still_works(how: str, run: EnteredRun) -> None:
    """With `handle_tool_error` a ToolException becomes the message it always became."""

    def body(_: str) -> Any:
        raise ToolException("no such order")

    result = invoked(how, looking(run, body, handle_tool_error=True), LOOK, run.config)
    assert (result["messages"][-1].content, result["messages"][-1].status) == ("no such order", "error")


@pytest.mark.parametrize("how", HOWS)
def test_a_question_passes_through_a_read(how: str, run: EnteredRun) -> None:
    """An interrupt in a read's body parks the graph and its answer comes back; nothing is recorded until it is done."""
    graph = looking(run, lambda _: interrupt("which one?"))
    invoked(how, graph, LOOK, run.config)
    assert run.events() == ["run.started"]
    result = invoked(how, graph, Command(resume={ids(graph, run.config)["which one?"]: "the first"}), run.config)
    assert result["messages"][-1].content == "the first"
    assert run.events() == ["run.started", "action.succeeded"]


@pytest.mark.parametrize("how", HOWS)
def test_what_has_asked_is_not_tried_again_in_process(how: str, run: EnteredRun) -> None:
    """A body that used an answer is not repeated: its question would meet the next answer."""
    tries: list[Any] = []

    def body(_: str) -> Any:
        tries.append(interrupt("which one?"))
        raise httpx.ConnectError("no")

    graph = looking(run, body)
    invoked(how, graph, LOOK, run.config)
    with pytest.raises(httpx.ConnectError):
        invoked(how, graph, Command(resume={ids(graph, run.config)["which one?"]: "the first"}), run.config)
    assert tries == ["the first"]


@pytest.mark.parametrize("how", HOWS)
def test_what_has_run_a_graph_is_not_tried_again_in_process(how: str, run: EnteredRun) -> None:
    """A delegate that fails transiently after its graph ran is not repeated inside the same task."""
    runs: list[Any] = []

    def node(_: Any) -> Any:
        runs.append("ran")
        raise httpx.ConnectError("no")

    child = chain(None, node)
    with pytest.raises(httpx.ConnectError):
        invoked(how, looking(run, lambda _: child.invoke({})), LOOK, run.config)
    assert runs == ["ran"]


@pytest.mark.parametrize("how", HOWS)
def test_a_read_for_a_lost_run_shows_nothing(how: str, run: EnteredRun) -> None:
    """With another worker driving the run, what was read is not delivered."""
    graph = looking(run, lambda _: "open")
    run.be_taken_over()
    with pytest.raises(RunTakenOver):
        invoked(how, graph, LOOK, run.config)
    assert (
        "messages" not in graph.get_state(run.config).values or len(graph.get_state(run.config).values["messages"]) == 1
    )


@pytest.mark.parametrize("how", HOWS)
def test_outside_a_run_a_read_is_just_a_call(how: str, run: EnteredRun) -> None:
    """A plain `graph.invoke` may read: there is no run to record it in."""
    result = invoked(how, looking(run, lambda _: "open"), LOOK, thread())
    assert result["messages"][-1].content == "open"
    assert run.events() == ["run.started"]
