"""What a tool returns that has not run: no success, whatever it is, and awaited where somebody can."""

import asyncio
import gc
import warnings
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode

from langgraph_control.errors import ContractError
from langgraph_control.nodes.bodies import answered
from langgraph_control.nodes.contracts import Contract, reads, resolve_contracts, writes
from tests.compat.building import around
from tests.support.entered_run import EnteredRun, async_form, invoked
from tests.support.scripted_model import call, calls

HOWS = ["sync", "async"]
NOTE = {"messages": [calls(call("note", text="x"))]}
WRITE, READ = writes(key=(), impact="record"), reads()
UNSTARTED = ["generator", "async generator", "pending Future", "list of coroutines"]


class Notes:
    """Something that takes notes, later."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def post(self, text: str) -> str:
        """Take a note."""
        await asyncio.sleep(0)
        self.taken.append(text)
        return f"noted {text}"

    def later(self, kind: str) -> Callable[[str], Any]:
        """Return a function that returns what has not run."""

        def generator(text: str) -> Generator[str]:
            self.taken.append(text)
            yield text

        async def async_generator(text: str) -> AsyncGenerator[str]:
            self.taken.append(text)
            yield text

        return {
            "coroutine": self.post,
            "generator": generator,
            "async generator": async_generator,
            "pending Future": lambda _: Future(),
            "list of coroutines": lambda text: [self.post(text), self.post(text)],
        }[kind]


def noting(run: EnteredRun, body: Callable[[str], Any], contract: Contract) -> Any:
    """Return a graph whose only node is a ToolNode with a governed tool."""

    def note(text: str) -> Any:
        """Note."""
        return body(text)

    made = StructuredTool.from_function(func=note, coroutine=async_form(note))
    return around(InMemorySaver(), ToolNode([run.govern(made, contract)], handle_tool_errors=True))


def told(result: Any) -> list[str]:
    """Return what the model was told."""
    return [str(message.content) for message in result["messages"] if message.type == "tool"]


@pytest.mark.parametrize(("how", "kind"), [("sync", "coroutine"), *((how, kind) for kind in UNSTARTED for how in HOWS)])
def test_a_write_that_returns_what_has_not_run_is_unknown(how: str, kind: str, run: EnteredRun) -> None:
    """It is no success and no failure: a person finds out, the model is told nothing, and the record says why."""
    notes = Notes()
    result = invoked(how, noting(run, notes.later(kind), WRITE), NOTE, run.config)
    assert (told(result), notes.taken) == ([], [])
    assert run.actions() == [("note", "needs_human", 1)]
    (body,) = [body for facts, body in run.entries() if "action.unknown" in facts["events"]]
    assert body["why"] == "the tool returned something that has not run"


@pytest.mark.parametrize("contract", [WRITE, READ], ids=["write", "read"])
def test_what_an_async_run_is_given_to_await_is_awaited(contract: Contract, run: EnteredRun) -> None:
    """A coroutine that an async tool returns is run by the call, and its answer is the tool's."""
    notes = Notes()
    result = invoked("async", noting(run, notes.post, contract), NOTE, run.config)
    assert (told(result), notes.taken) == (["noted x"], ["x"])
    assert "action.succeeded" in run.events()


async def test_what_is_awaited_has_the_tools_time(run: EnteredRun) -> None:
    """A coroutine that a tool returned is broken off with the attempt, as if the tool had been async."""
    graph = noting(run, lambda _: asyncio.Event().wait(), writes(key=(), impact="record", timeout="100ms"))
    result = await asyncio.wait_for(graph.ainvoke(NOTE, run.config, durability="sync"), 20)
    assert told(result) == []
    assert run.actions() == [("note", "needs_human", 1)]


@pytest.mark.parametrize(("how", "kind"), [("sync", "coroutine"), *((how, kind) for kind in UNSTARTED for how in HOWS)])
def test_a_read_that_returns_what_has_not_run_has_failed(how: str, kind: str, run: EnteredRun) -> None:
    """The model is told which tool it was and what it returned, and the read is not tried again."""
    notes = Notes()
    (said,) = told(invoked(how, noting(run, notes.later(kind), READ), NOTE, run.config))
    assert "Tool note returned something that has not run" in said
    assert "result_not_run" in said
    assert notes.taken == []
    assert run.entries()[-1][1]["tries"] == 1


@pytest.mark.parametrize("how", HOWS)
def test_an_effect_in_the_ledgers_transaction_is_rolled_back(how: str, run: EnteredRun) -> None:
    """A tool of SQL that returns a generator has done nothing: what it had written is undone with it."""
    contract = writes(key=(), impact="record", sql=True)
    (said,) = told(invoked(how, noting(run, Notes().later("generator"), contract), NOTE, run.config))
    assert "nothing was changed" in said
    assert run.actions() == [("note", "failed", 1)]


def test_no_refusal_of_the_contract_speaks_of_it(run: EnteredRun) -> None:
    """A contract that promises that an exception means "not done" says nothing of what the tool never raised."""
    contract = writes(key=(), impact="record", refusals={ContractError: "permanent"})
    invoked("sync", noting(run, Notes().later("generator"), contract), NOTE, run.config)
    assert run.actions() == [("note", "needs_human", 1)]


def test_an_unawaited_coroutine_is_closed() -> None:
    """It is refused without the interpreter's warning that nobody awaited it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (Notes().post("x"), (Notes().post("x"), None)):
            with pytest.raises(ContractError, match="result_not_run"):
                answered(value, tool="note")
        del value
        gc.collect()


def test_a_finished_future_answers_with_what_it_holds() -> None:
    """What a pool has done already is done: its value is the tool's, and its exception, too."""
    done: Future[str] = Future()
    done.set_result("noted")
    assert answered(done, tool="note") == "noted"
    failed: Future[str] = Future()
    failed.set_exception(ConnectionError("lost"))
    with pytest.raises(ConnectionError):
        answered(failed, tool="note")


class Streaming(BaseTool):
    """A tool of a class of its own."""

    name: str = "stream"
    description: str = "Stream."

    def _run(self, text: str) -> Any:
        yield text


def generator(text: str) -> Generator[str]:
    """Note."""
    yield text


async def async_generator(text: str) -> AsyncGenerator[str]:
    """Note."""
    yield text


@pytest.mark.parametrize("contract", [writes(key=(), impact="record"), reads()], ids=["write", "read"])
@pytest.mark.parametrize("made", [tool(generator), tool(async_generator), Streaming()], ids=lambda made: made.name)
def test_a_generator_is_refused_when_it_is_governed(made: BaseTool, contract: Contract) -> None:
    """Calling it runs nothing, so that its contract would be about nothing: the error says what to write instead."""
    with pytest.raises(ContractError, match="yield") as refused:
        resolve_contracts([made], {made.name: contract})
    assert refused.value.code == "contract_generator"
