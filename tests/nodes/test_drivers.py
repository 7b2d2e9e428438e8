"""The drivers carry out what a gate asks, and leave nothing in hand when they are stopped."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import replace
from inspect import GEN_CLOSED, getgeneratorstate
from typing import Any

import psycopg
import pytest

from langgraph_control.audit.asking.ledger import Outcome, Settle
from langgraph_control.audit.connecting.store import Store
from langgraph_control.nodes import async_drivers, drivers
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.action import Action
from langgraph_control.nodes.async_drivers import adrive
from langgraph_control.nodes.bodies import has_not_run
from langgraph_control.nodes.bubbles import TrailLost
from langgraph_control.nodes.call import GovernedCall
from langgraph_control.nodes.contexts import current_action
from langgraph_control.nodes.contracts import Contract, writes
from langgraph_control.nodes.drivers import drive
from langgraph_control.nodes.gate import perform
from langgraph_control.nodes.steps import Delivered
from langgraph_control.nodes.surroundings import Surroundings, new_ticket
from tests.support.entered_run import EnteredRun, async_form
from tests.support.waiting import until

HOWS = ["sync", "async"]
ACTION = Action(tool="note", args={}, key="ab" * 32, intent="i", run_id="7f6d1c1c-5d0b-4d3a-8b55-0000000000aa")
RECORD = writes(key=(), impact="record")


def as_is(args: Mapping[str, Any]) -> Mapping[str, Any]:
    """Call the body with what the gate sends."""
    return args


def place(run: EnteredRun, body: Callable[..., Any], contract: Contract = RECORD) -> Surroundings:
    """Return surroundings without a tool: the body is called with what the gate sends."""
    return Surroundings(
        store=run.store,
        contract=contract,
        tool="note",
        drive=run.context.drive,
        body=body,
        given={},
        prepare=as_is,
        fit=lambda args: ask.Fits(args=args),
    )


def ran(how: str, gate: Generator[Any, Any, Any], where: Surroundings) -> Any:
    """Drive a generator to its end."""
    return drive(gate, where) if how == "sync" else asyncio.run(adrive(gate, where))


def one(request: Any) -> Generator[Any, Any, Any]:
    """Ask for one thing and end with its answer."""
    return (yield request)


def write(run: EnteredRun, contract: Contract = RECORD) -> Generator[Any, Any, Any]:
    """Return the gate of a call without arguments."""
    return perform(GovernedCall(contract=contract, tool="note", args={}, defaults={}, run=run.context))


def parked(gate: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Drive a gate until it parks, and end with the card."""
    answer: Any = None
    while not isinstance(request := gate.send(answer), ask.Park):
        answer = yield request
    gate.close()
    return request.card


def noting(how: str, seen: list[Any]) -> Callable[..., Any]:
    """Return a body, sync or async, that notes its arguments."""

    def body(**given: Any) -> str:
        seen.append(given)
        return "noted"

    return body if how == "sync" else async_form(body)


@pytest.mark.parametrize("how", HOWS)
def test_nothing_is_sent_after_its_time(how: str, run: EnteredRun) -> None:
    """The clock is looked at right before the call: what is late is answered with NotSent, in time it is sent."""
    seen: list[Any] = []
    where = place(run, noting(how, seen))
    late = ask.Send(action=ACTION, args={"a": 1}, not_after=time.monotonic() - 0.001)
    assert ran(how, one(late), where) == ask.NotSent()
    assert seen == []
    in_time = ask.Send(action=ACTION, args={"a": 1}, not_after=time.monotonic() + 60)
    assert ran(how, one(in_time), where) == ask.Returned(value="noted")
    assert seen == [{"a": 1}]


@pytest.mark.parametrize("how", HOWS)
def test_arguments_that_no_longer_fit_are_not_sent(how: str, run: EnteredRun) -> None:
    """When stored arguments cannot be made into what the tool takes now, the tool is not called."""

    def misfit(_: Mapping[str, Any]) -> Mapping[str, Any]:
        raise ValueError("no such field any more")

    seen: list[Any] = []
    where = place(run, noting(how, seen))
    changed = replace(where, prepare=misfit)
    request = ask.Send(action=ACTION, args={}, not_after=time.monotonic() + 60)
    assert ran(how, one(request), changed) == ask.NotSent(why="its stored arguments no longer fit the tool")
    assert seen == []


@pytest.mark.parametrize("how", HOWS)
def test_a_ticket_is_new_each_time(how: str, run: EnteredRun) -> None:
    """Each try has an id of its own, the monotonic time before it was sent, and the wall clock with a zone."""

    def two() -> Generator[Any, Any, Any]:
        return (yield ask.NewTicket()), (yield ask.NewTicket())

    before = time.monotonic()
    first, second = ran(how, two(), place(run, noting(how, [])))
    assert first.attempt != second.attempt
    assert before <= first.started <= second.started
    assert first.now.tzinfo is not None
    assert 0 <= first.chance < 1


def sync_hook(action: Action) -> Any:
    """Answer with the thread that ran it."""
    return action.tool, threading.current_thread()


async def async_hook(action: Action) -> Any:
    """Answer with the thread that ran it."""
    await asyncio.sleep(0)
    return action.tool, threading.current_thread()


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("hook", [sync_hook, async_hook])
def test_hooks_may_be_sync_or_async(how: str, hook: Callable[[Action], Any], run: EnteredRun) -> None:
    """Either form answers in either driver; on the caller's own thread only an async one does, on its event loop."""
    where = place(run, noting(how, []), writes(key=(), impact="record", read=hook))
    heard = ran(how, one(ask.Ask(hook="read", action=ACTION)), where)
    tool, thread = heard.value
    assert tool == "note"
    on_the_loop = how == "async" and hook is async_hook
    assert (thread is threading.main_thread()) == on_the_loop


def waiting_hook(freed: threading.Event, answers: list[str]) -> tuple[Callable[[Action], Any], Callable[[Action], Any]]:
    """Return a sync and an async hook that answer only once they are freed."""

    def sync(_: Action) -> str:
        freed.wait(20)
        answers.append("late")
        return "late"

    async def awaited(_: Action) -> str:
        await asyncio.sleep(20)
        return "late"

    return sync, awaited


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("form", [0, 1], ids=["sync hook", "async hook"])
def test_a_hook_that_takes_too_long_has_failed(
    how: str, form: int, run: EnteredRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its time a hook is waited for no longer, in either driver; what it says later reaches nobody."""
    for module in (drivers, async_drivers):
        monkeypatch.setattr(module, "HOOK_SECONDS_MAX", 0.05)
    freed, answers = threading.Event(), list[str]()
    hook = waiting_hook(freed, answers)[form]
    where = place(run, noting(how, []), writes(key=(), impact="record", read=hook))
    began = time.monotonic()
    heard = ran(how, one(ask.Ask(hook="read", action=ACTION)), where)
    took = time.monotonic() - began
    freed.set()
    assert isinstance(heard, ask.AskFailed)
    assert isinstance(heard.error, TimeoutError)
    assert took < 10
    if form == 0:
        until(lambda: answers == ["late"], seconds=10)


@pytest.mark.parametrize("how", HOWS)
def test_a_run_whose_hook_never_returns_goes_on(how: str, run: EnteredRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write whose outcome hook hangs is settled: nobody knows what came of it, and a person is to look."""
    for module in (drivers, async_drivers):
        monkeypatch.setattr(module, "HOOK_SECONDS_MAX", 0.05)
    freed = threading.Event()
    contract = writes(key=(), impact="record", outcome=waiting_hook(freed, [])[0])
    card = ran(how, parked(write(run, contract)), place(run, noting(how, []), contract))
    freed.set()
    assert card["reason"] == "needs_human"
    assert run.actions() == [("note", "needs_human", 1)]


@pytest.mark.parametrize("how", HOWS)
def test_a_hook_finds_its_callers_context(how: str, run: EnteredRun) -> None:
    """A hook that runs in another thread sees the context variables of the call: its trace, its LangGraph config."""
    where_from: ContextVar[str] = ContextVar("where_from")
    where = place(run, noting(how, []), writes(key=(), impact="record", read=lambda _: where_from.get()))
    where_from.set("the call")
    assert ran(how, one(ask.Ask(hook="read", action=ACTION)), where) == ask.Heard(value="the call")


HANGS = """
import sys, threading
from langgraph_control.nodes.hearing import {name}
{call}
"""


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("heard", "heard(lambda _: threading.Event().wait(), None, seconds=0.05)"),
        ("aheard", "import asyncio; asyncio.run(aheard(lambda _: threading.Event().wait(), None, seconds=0.05))"),
    ],
)
def test_a_hook_that_hangs_keeps_no_process_from_ending(name: str, call: str) -> None:
    """The process ends although one of its hooks never does."""
    ended = subprocess.run(
        [sys.executable, "-c", HANGS.format(name=name, call=call)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.strip().endswith("TimeoutError")


async def test_an_async_hook_answers_a_sync_graph_on_a_loops_own_thread(run: EnteredRun) -> None:
    """A synchronous call inside a running event loop gets an async hook's answer and does not lock up."""
    where = place(run, noting("sync", []), writes(key=(), impact="record", read=async_hook))
    heard = drive(one(ask.Ask(hook="read", action=ACTION)), where)
    assert heard.value[0] == "note"


@pytest.mark.parametrize("how", HOWS)
def test_a_hook_that_raises_is_an_answer(how: str, run: EnteredRun) -> None:
    """What a hook raises reaches the gate as a value."""
    error = ValueError("no")

    def broken(_: Action) -> None:
        raise error

    where = place(run, noting(how, []), writes(key=(), impact="record", read=broken))
    assert ran(how, one(ask.Ask(hook="read", action=ACTION)), where) == ask.AskFailed(error=error)


@pytest.mark.parametrize("how", HOWS)
def test_without_a_ledger_nothing_is_done(how: str, run: EnteredRun) -> None:
    """With the ledger gone the call leaves as a bubble-up that is a TrailUnavailable, and the generator is closed."""
    seen: list[Any] = []
    closed = Store(run.database.agent)
    closed.close()
    where = place(run, noting(how, seen))
    gone = replace(where, store=closed)
    gate = write(run)
    with pytest.raises(TrailLost) as caught:
        ran(how, gate, gone)
    assert caught.value.code == "control_closed"
    assert getgeneratorstate(gate) == GEN_CLOSED
    assert (seen, run.actions()) == ([], [])


def test_an_interrupted_process_settles_first(run: EnteredRun) -> None:
    """A KeyboardInterrupt in the tool's body is passed on once the unknown outcome is on record."""

    def body() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(write(run), place(run, body))
    assert run.events()[-1] == "action.unknown"
    assert run.actions() == [("note", "needs_human", 1)]


class Stopped(BaseException):
    """What is neither an Exception nor a cancellation."""


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("stop", [Stopped, KeyboardInterrupt, SystemExit])
def test_a_tool_that_is_stopped_is_settled_first(how: str, stop: type[BaseException], run: EnteredRun) -> None:
    """Whatever a tool raises is passed on, in either driver, once the unknown outcome is on record."""

    def body() -> None:
        raise stop

    with pytest.raises(stop):
        ran(how, write(run), place(run, body if how == "sync" else async_form(body)))
    assert run.events()[-1] == "action.unknown"
    assert run.actions() == [("note", "needs_human", 1)]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("stop", [Stopped, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("form", ["sync hook", "async hook"])
def test_a_hook_that_is_stopped_leaves_nothing_unsettled(
    how: str, stop: type[BaseException], form: str, run: EnteredRun
) -> None:
    """Whatever a hook raises that is asked after the send is passed on once the outcome is on record."""

    def outcome(_: Action) -> None:
        raise stop

    contract = writes(key=(), impact="record", outcome=outcome if form == "sync hook" else async_form(outcome))
    with pytest.raises(stop):
        ran(how, write(run, contract), place(run, noting(how, []), contract))
    assert run.actions() == [("note", "needs_human", 1)]


async def test_a_cancelled_call_settles_first(run: EnteredRun) -> None:
    """A call cancelled in the middle is recorded as unknown before the cancellation goes on, however often it comes."""
    started = asyncio.Event()

    async def body() -> None:
        started.set()
        await asyncio.Event().wait()

    driving = asyncio.ensure_future(adrive(write(run), place(run, body)))
    await started.wait()
    driving.cancel()
    await asyncio.sleep(0)
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await driving
    assert run.events()[-1] == "action.unknown"
    assert run.actions() == [("note", "needs_human", 1)]


async def test_what_a_tool_awaited_may_be_cancelled_without_the_call(run: EnteredRun) -> None:
    """A CancelledError from inside the tool is an outcome like any exception: the caller goes on."""

    async def body() -> None:
        raise asyncio.CancelledError

    request = ask.Send(action=ACTION, args={}, not_after=time.monotonic() + 60)
    answer = await adrive(one(request), place(run, body))
    assert isinstance(answer, ask.Raised)
    assert isinstance(answer.error, asyncio.CancelledError)


async def test_a_claim_under_way_is_not_left_behind(run: EnteredRun) -> None:
    """Cancelled while its claim is on the way, a call sends nothing and gives the action back."""
    seen: list[Any] = []
    with psycopg.connect(run.database.admin) as blocker:
        blocker.execute("SELECT 1 FROM control.run_state WHERE run_id = %s FOR UPDATE", (run.context.run_id,))
        driving = asyncio.ensure_future(adrive(write(run), place(run, noting("async", seen))))
        with psycopg.connect(run.database.admin, autocommit=True) as watcher:
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            await asyncio.to_thread(until, lambda: watcher.execute(waiting).fetchone() != (0,))
        driving.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await driving
    assert seen == []
    assert run.actions() == [("note", "ready", 1)]


async def test_a_loop_that_ends_loses_nothing(run: EnteredRun) -> None:
    """`asyncio.run` cancels every task when its main one ends: a write in hand is settled before the loop is gone."""

    async def main() -> None:
        started = asyncio.Event()

        async def body() -> None:
            started.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(adrive(write(run), place(run, body)))
        await started.wait()
        assert not task.done()

    await asyncio.to_thread(asyncio.run, main())
    assert run.events()[-1] == "action.unknown"


async def test_an_async_tool_that_takes_too_long_is_unknown(run: EnteredRun) -> None:
    """At its deadline an async body is cancelled, and nobody knows what it did."""

    async def body() -> None:
        await asyncio.Event().wait()

    request = ask.Send(action=ACTION, args={}, not_after=time.monotonic() + 0.02)
    answer = await adrive(one(request), place(run, body))
    assert isinstance(answer, ask.Raised)
    assert isinstance(answer.error, TimeoutError)
    assert not answer.ended


async def test_a_timeout_of_the_tools_own_is_the_end_of_the_call(run: EnteredRun) -> None:
    """A TimeoutError that the tool raises in time says that the call is over, whatever became of it."""

    async def body() -> None:
        raise TimeoutError

    request = ask.Send(action=ACTION, args={}, not_after=time.monotonic() + 60)
    answer = await adrive(one(request), place(run, body))
    assert isinstance(answer, ask.Raised)
    assert answer.ended


@pytest.mark.parametrize("how", HOWS)
def test_what_has_not_run_has_not_ended(how: str, run: EnteredRun) -> None:
    """A Future that is pending may be carried out by a thread of its own, long after the call that returned it."""

    def body() -> Any:
        return Future()

    request = ask.Send(action=ACTION, args={}, not_after=time.monotonic() + 60)
    answer = ran(how, one(request), place(run, body if how == "sync" else async_form(body)))
    assert isinstance(answer, ask.Raised)
    assert has_not_run(answer.error)
    assert not answer.ended


@pytest.mark.parametrize(
    "answer", [ask.Raised(error=TimeoutError(), ended=False), ask.Raised(error=TimeoutError()), ask.Cancelled()]
)
def test_a_settle_says_whether_the_call_is_over(answer: ask.Raised | ask.Cancelled, run: EnteredRun) -> None:
    """The ledger is told when a call was only broken off: what went on in a thread may be sent after the settle."""
    gate = write(run)
    given: Any = None
    while not isinstance(request := gate.send(given), Settle):
        match request:
            case ask.NewTicket():
                given = new_ticket()
            case ask.Send():
                given = answer
            case ask.ReplayWakes():
                given = None
            case _:
                given = run.store.call(request)
    over = isinstance(answer, ask.Raised) and answer.ended
    assert (request.outcome, request.ended) == (Outcome.LOSE, over)


def test_the_current_action_is_the_tools_alone(run: EnteredRun) -> None:
    """Inside the body the key is the action's; hooks and whoever called the tool have none."""
    seen: list[str] = []

    def body() -> str:
        seen.append(current_action().key)
        return "noted"

    ended = drive(write(run), place(run, body))
    assert isinstance(ended, Delivered)
    assert seen == [run.rows()[0].key.hex()]
