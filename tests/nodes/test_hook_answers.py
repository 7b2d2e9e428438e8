"""Whatever a tool or a hook says, an attempt that was sent is settled, and nothing said in error counts as proof."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import httpx
import psycopg
import pytest

from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.action import ABSENT, Action, NotDone, Unknown
from langgraph_control.nodes.async_drivers import adrive
from langgraph_control.nodes.call import GovernedCall, body_bytes
from langgraph_control.nodes.contracts import Contract, writes
from langgraph_control.nodes.drivers import drive
from langgraph_control.nodes.gate import perform
from langgraph_control.nodes.surroundings import Surroundings, new_ticket
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
        drive=run.context.drive,
        body=body if how == "sync" else async_form(body),
        given={},
        prepare=dict,
        fit=lambda args: ask.Fits(args=args),
    )
    return drive(gate, where) if how == "sync" else asyncio.run(adrive(gate, where))


class Parked(Exception):  # noqa: N818 - says what happened
    """The gate asked to wait for something outside."""


def stepped(run: EnteredRun, contract: Contract, body: Callable[..., Any]) -> Any:
    """Carry a call to its end without a driver, or raise where it parks."""
    gate = perform(GovernedCall(contract=contract, tool="note", args={}, defaults={}, run=run.context))
    answer: Any = None
    while True:
        try:
            request = gate.send(answer)
        except StopIteration as over:
            return over.value
        answer = answered(run, contract, body, request)


def answered(run: EnteredRun, contract: Contract, body: Callable[..., Any], request: Any) -> Any:
    """Return what a driver would answer, without waiting."""
    match request:
        case ask.Park():
            raise Parked
        case ask.NewTicket():
            return new_ticket()
        case ask.Ask(hook=hook, action=action):
            try:
                return ask.Heard(value=getattr(contract, hook)(action))
            except httpx.ConnectError as error:
                return ask.AskFailed(error=error)
        case ask.Send(args=args):
            try:
                return ask.Returned(value=body(**args))
            except (TimeoutError, httpx.ConnectError) as error:
                return ask.Raised(error=error)
        case ask.ReplayWakes() | ask.Sleep() | ask.Noted():
            return None
        case _:
            return run.store.call(request)


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


NO_RECORDS = [["paid"], "paid", 7, None]
NO_ANSWERS: list[Any] = [*NO_RECORDS, {}]


@pytest.mark.parametrize("after", NO_ANSWERS, ids=repr)
def test_what_is_no_expectation_confirms_nothing(after: Any, run: EnteredRun) -> None:
    """An expect hook that names no field leaves a finished write unconfirmed, and the write succeeded."""
    told = iter([{"plan": "gold"}])
    contract = writes(
        key=(),
        impact="record",
        read=lambda _: {"plan": "free"},
        expect=lambda _: next(told, after),
        visible_within=0.001,
    )
    assert ended("sync", run, noted, contract).value == "noted"
    assert run.actions() == [("note", "succeeded", 1)]
    assert not {"effect.verified", "effect.mismatch"} & set(run.events())


@pytest.mark.parametrize("record", NO_RECORDS, ids=repr)
def test_what_is_no_record_proves_no_absence(record: Any, run: EnteredRun) -> None:
    """A read hook that answers with no record after the write does not speak against what the tool says."""
    read = iter([{"plan": "free"}])
    contract = writes(
        key=(),
        impact="record",
        read=lambda _: next(read, record),
        expect=lambda _: {"plan": "gold"},
        visible_within=0.001,
    )
    assert ended("sync", run, noted, contract).value == "noted"
    assert run.actions() == [("note", "succeeded", 1)]
    assert not {"effect.verified", "effect.mismatch"} & set(run.events())


def test_an_empty_expectation_is_not_the_target_state(run: EnteredRun) -> None:
    """An expect hook that names no field says nothing of what is there already: the write is made."""
    contract = writes(key=(), impact="record", read=lambda _: {"plan": "free"}, expect=lambda _: {})
    assert ended("sync", run, noted, contract).value == "noted"
    assert run.actions() == [("note", "succeeded", 1)]


@pytest.mark.parametrize("hook", ["read", "expect"])
def test_a_hook_without_a_record_is_a_failed_hook(hook: str, run: EnteredRun) -> None:
    """Where read or expect answers with a list, the record's state is not known, and nothing is sent."""
    hooks: dict[str, Any] = {"read": lambda _: {"plan": "free"}, "expect": lambda _: {"plan": "gold"}}
    contract = writes(key=(), impact="record", **{**hooks, hook: lambda _: ["gold"]})
    with pytest.raises(Parked):
        stepped(run, contract, noted)
    assert [state for _, state, _ in run.actions()] != ["succeeded"]
    assert "action.started" not in run.events()


def test_a_lost_write_is_not_found_by_an_empty_expectation(run: EnteredRun) -> None:
    """After a lost answer an expectation without fields settles nothing: not done, and not done either way."""
    contract = writes(
        key=(), impact="record", read=lambda _: {"plan": "free"}, expect=lambda _: {}, visible_within=0.001
    )
    with pytest.raises(Parked):
        stepped(run, contract, lost)
    assert run.actions()[0][1:] == ("unknown", 1)
    assert "effect.verified" not in run.events()


class Nameless:
    """What has no text at all."""

    def __str__(self) -> str:
        raise ValueError("no")


def broken(_: Action) -> str:
    """Name no record."""
    raise LookupError("no such order")


UNNAMED: dict[str, Callable[[Action], Any]] = {
    "none": lambda _: None,
    "blank": lambda _: " ",
    "nameless": lambda _: Nameless(),
    "raising": broken,
}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("target", UNNAMED)
def test_a_target_that_nothing_names_is_not_written_to(how: str, target: str, run: EnteredRun) -> None:
    """A target hook that knows no record: nothing is sent, and the model is told what is missing."""
    sent: list[Any] = []
    contract = writes(key=(), impact="record", target=UNNAMED[target])
    step = ended(how, run, lambda **given: sent.append(given), contract)
    assert step.text == (
        "note was not done: note was called before the change can be stated. no record to change was found by these "
        "arguments. Find the missing piece or ask for it, then call again; do not guess."
    )
    assert (sent, run.actions()) == ([], [("note", "denied", 0)])
    named = writes(key=(), impact="record", target=lambda _: "order/1")
    assert ended(how, run, noted, named).value == "noted", "asked again with what was missing, it is done"


def test_a_target_is_named_by_its_text(run: EnteredRun) -> None:
    """A target hook that answers with a text of a kind that cannot be shown has named the record all the same."""
    contract = writes(key=(), impact="record", target=lambda _: Unsayable("x"))
    assert ended("sync", run, noted, contract).value == "noted"


def test_a_target_that_cannot_be_looked_up_now_is_looked_up_later(run: EnteredRun) -> None:
    """Where the lookup met what passes by itself, nothing is sent and nothing refused: the call asks again later."""

    def away(_: Action) -> str:
        raise httpx.ConnectError("nobody there")

    contract = writes(key=(), impact="record", target=away)
    with pytest.raises(Parked):
        stepped(run, contract, noted)
    assert run.actions() == [("note", "ready", 0)]
    assert "approval.withdrawn" not in run.events()


def test_a_success_without_a_result_is_told_as_a_success(run: EnteredRun) -> None:
    """Where the result of a finished write is not on record, a repeat is told that it is done, not that it failed."""
    contract = writes(key=(), impact="record")
    assert ended("sync", run, noted, contract).value == "noted"
    with psycopg.connect(run.database.admin, autocommit=True) as admin:
        admin.execute("UPDATE control.action SET result = NULL WHERE key = %s", (run.rows()[0].key,))
    again = ended("sync", run, noted, contract)
    assert (again.value, again.replayed) == ("note is done; its result is not on record.", True)
    assert run.actions() == [("note", "succeeded", 1)]
