"""Whatever a tool or a hook says, an attempt that was sent is settled, and nothing said in error counts as proof."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import httpx
import pytest

from langgraph_control.nodes.action import ABSENT, NotDone, Unknown
from langgraph_control.nodes.async_drivers import adrive
from langgraph_control.nodes.call import GovernedCall, body_bytes
from langgraph_control.nodes.contracts import Contract, writes
from langgraph_control.nodes.drivers import drive
from langgraph_control.nodes.gate import perform
from langgraph_control.nodes.surroundings import Surroundings
from tests.support.entered_run import EnteredRun, async_form

HOWS = ["sync", "async"]
HALF = "half of a pair: \ud83d"
NUL = "a \x00 byte"


class Unsayable(str):
    """A text that cannot be shown."""

    __slots__ = ()

    def __str__(self) -> str:
        raise ValueError("no")


def refused(text: str) -> Callable[..., Any]:
    """Return a body to which a server says no."""

    def body(**_: Any) -> Any:
        request = httpx.Request("POST", "http://localhost")
        raise httpx.HTTPStatusError(text, request=request, response=httpx.Response(422, request=request))

    return body


def lost(**_: Any) -> Any:
    """Lose the answer."""
    raise TimeoutError("nobody answered")


def noted(**_: Any) -> Any:
    """Say that it is done."""
    return "noted"


def ended(how: str, run: EnteredRun, body: Callable[..., Any], contract: Contract) -> Any:
    """Call a governed body to its end, and return what the gate ended with."""
    gate: Generator[Any, Any, Any] = perform(
        GovernedCall(contract=contract, tool="note", args={}, defaults={}, run=run.context)
    )
    where = Surroundings(
        store=run.store,
        contract=contract,
        tool="note",
        run_id=run.context.run_id,
        body=body if how == "sync" else async_form(body),
        given={},
        prepare=dict,
    )
    return drive(gate, where) if how == "sync" else asyncio.run(adrive(gate, where))


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("text", [HALF, NUL])
def test_any_text_of_an_error_is_settled(how: str, text: str, run: EnteredRun) -> None:
    """A refusal in words that neither UTF-8 nor Postgres can hold settles its attempt as failed."""
    answer = ended(how, run, refused(text), writes(key=(), impact="record"))
    assert "nothing was changed" in answer.text
    answer.text.encode()
    assert run.actions() == [("note", "failed", 1)]


@pytest.mark.parametrize("reason", [HALF, NUL, 7, Unsayable("x")], ids=["half", "NUL", "number", "unsayable"])
def test_any_reason_of_a_hook_is_settled(reason: Any, run: EnteredRun) -> None:
    """What an outcome hook gives as its reason, text or not, never keeps the outcome from being settled."""
    contract = writes(key=(), impact="record", outcome=lambda _: NotDone(reason=reason))
    assert "nothing was changed" in ended("sync", run, noted, contract).text
    assert run.actions() == [("note", "failed", 1)]


@pytest.mark.parametrize("reason", [HALF, NUL])
def test_an_unknown_outcome_in_any_words_is_settled(reason: str, run: EnteredRun) -> None:
    """An unknown outcome is on record whatever the hook says of it: the write is read back, not sent again."""
    sent: list[int] = []

    def body(**_: Any) -> str:
        sent.append(1)
        return "noted"

    contract = writes(
        key=(), impact="record", outcome=lambda _: Unknown(reason=reason), find=lambda _: "noted" if sent else ABSENT
    )
    assert ended("sync", run, body, contract).value == "noted"
    assert (sent, run.actions()) == ([1], [("note", "succeeded", 1)])


def test_a_body_holds_any_text() -> None:
    """An entry's body is made of any text, in names and in lists too, and holds no NUL."""
    body = body_bytes(
        {"target": HALF, "call_id": NUL, "where": {HALF: NUL}, "reasons": [HALF, ("\ud83d",)], "no": None}
    )
    assert b"\\u0000" not in body
    assert body_bytes({"target": "as it is"}) == b'{"target":"as it is"}'
