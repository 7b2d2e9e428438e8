"""Reads and looks at records: what they meet of a system is told to all workers, and what others met is heeded."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from langchain.agents import create_agent
from langgraph.types import interrupt

from langgraph_control import Control, Policy, reads, writes
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.contracts import WAIT
from langgraph_control.guards.run_states import RunState
from tests.support.desk import GO, How, new_trigger, told
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls

POLICY = Policy.parse(
    """\
version: 1
roles: {finance: [ana@acme.example]}
owner: finance
breakers: {bank: {minimum_calls: 2, open_for: 60s}}
rules:
  - {impact: record, then: allow}
""",
    source="control.yaml",
)


def limited(seconds: int) -> httpx.HTTPStatusError:
    """What a client raises for 429."""
    answer = httpx.Response(429, headers={"retry-after": str(seconds)}, request=httpx.Request("GET", "http://bank"))
    return httpx.HTTPStatusError("slow down", request=answer.request, response=answer)


class Bank:
    """A read and a write of one system, whose bodies do what the test says."""

    def __init__(self, database: Database, how: How) -> None:
        publish_policy(database.admin, POLICY)
        self.database, self.how = database, how
        self.control = Control(POLICY, dsn=database.agent)
        self.asked: list[str] = []
        self.meets: BaseException | None = None
        self.fallback: Any = None
        self.asks = False
        self.hooks: dict[str, Any] = {}

    def answer(self, what: str) -> str:
        """Note a call, and raise what it meets."""
        self.asked.append(what)
        if self.meets is not None:
            raise self.meets
        return f"{what}: fine"

    def run(self, *names: str) -> Any:
        """Run an agent that calls these tools, one after the other."""

        def balance() -> str:
            """Look at the balance."""
            whose = f", {interrupt('whose?')}" if self.asks else ""
            return self.answer("balance") + whose

        def pay(order_id: str) -> str:
            """Pay."""
            return self.answer("pay")

        async def abalance() -> str:
            """Look at the balance."""
            return balance()

        async def apay(order_id: str) -> str:
            """Pay."""
            return pay(order_id)

        abalance.__name__, apay.__name__ = "balance", "pay"
        looks, does = (balance, pay) if self.how == "sync" else (abalance, apay)
        tools = self.control.govern(
            [
                reads(system="bank", fallback=self.fallback)(looks),
                writes(key="order_id", impact="record", system="bank", **self.hooks)(does),
            ]
        )
        args = {"balance": {}, "pay": {"order_id": "o1"}}
        script = [calls(call(name, call_id=f"call_{place}", **args[name])) for place, name in enumerate(names)]
        graph = self.control.bind(create_agent(ScriptedModel(script=(*script, "over")), tools), name=new_trigger())
        if self.how == "sync":
            return self.control.run(graph, GO, trigger=new_trigger(), actor="bot")
        return asyncio.run(self.control.arun(graph, GO, trigger=new_trigger(), actor="bot"))

    def resume(self, run: Any, answers: dict[str, Any] | None = None) -> Any:
        """Resume a run."""
        if self.how == "sync":
            return self.control.resume(run.id, answers)
        return asyncio.run(self.control.aresume(run.id, answers))

    def brakes(self) -> list[str]:
        """Which brakes of the system are on."""
        with psycopg.connect(self.database.admin) as admin:
            rows = admin.execute("SELECT cause FROM control.brake WHERE name = 'bank' ORDER BY cause").fetchall()
        return [cause for (cause,) in rows]


@pytest.fixture(params=["sync", "async"])
def bank(database: Database, request: pytest.FixtureRequest) -> Iterator[Bank]:
    """A bank on a ledger of its own."""
    made = Bank(database, request.param)
    with made.control:
        yield made


def seconds_until(moment: datetime | None) -> float:
    """How far away a moment is."""
    assert moment is not None
    return (moment - datetime.now(UTC)).total_seconds()


def test_a_read_that_is_limited_slows_everybody_down(bank: Bank) -> None:
    """A read's 429 is everybody's: neither a write nor another read goes to that system before its time."""
    bank.meets = limited(60)
    with pytest.raises(httpx.HTTPStatusError):
        bank.run("balance")
    assert bank.brakes() == ["rate_limit"]
    bank.meets = None
    run = bank.run("pay")
    assert (run.state, run.reason) == (RunState.RETRYING, "rate_limited")
    run = bank.run("balance")
    assert (run.state, run.reason) == (RunState.RETRYING, "retry_later")
    assert 50 < seconds_until(run.wake_at) < 70
    assert bank.asked == ["balance"]


def test_a_read_of_a_limited_system_waits_and_goes_on(bank: Bank) -> None:
    """What a write was told holds reads back, too; once the time is over, the run goes on and the system is asked."""
    bank.meets = limited(4)
    bank.run("pay")
    bank.meets = None
    run = bank.run("balance")
    assert (run.state, run.reason) == (RunState.RETRYING, "retry_later")
    assert bank.asked == ["pay"]
    time.sleep(max(0.0, seconds_until(run.wake_at)) + 0.1)
    run = bank.resume(run)
    assert run.state is RunState.DONE
    assert told(run) == ["balance: fine"]
    assert bank.asked == ["pay", "balance"]


def test_an_answer_of_the_user_is_not_taken_for_the_end_of_a_wait(bank: Bank) -> None:
    """A read that asks the user goes on with their answer, though its system was limited meanwhile."""
    bank.asks = True
    run = bank.run("balance")
    (question,) = run.questions
    bank.meets = limited(60)
    bank.run("pay")
    bank.meets = None
    run = bank.resume(run, {question: "mine"})
    assert run.state is RunState.DONE
    assert told(run) == ["balance: fine, mine"]


@pytest.mark.parametrize("fallback", ["unknown", WAIT])
def test_a_fallback_is_taken_without_asking(bank: Bank, fallback: Any) -> None:
    """A read with a fallback takes it at once, or waits as it says; the limited system is not asked."""
    bank.meets, bank.fallback = limited(60), fallback
    bank.run("pay")
    bank.meets = None
    run = bank.run("balance")
    if fallback is WAIT:
        assert (run.state, run.reason) == (RunState.RETRYING, "retry_later")
        assert seconds_until(run.wake_at) > 50
    else:
        assert run.state is RunState.DONE
        assert "unknown" in told(run)[0]
    assert bank.asked == ["pay"]


def test_reads_that_fail_open_the_breaker_and_reads_close_it(bank: Bank) -> None:
    """Reads count in their system's error rate; a read that its half-open breaker lets through closes it."""
    bank.meets = httpx.ConnectError("down")
    with pytest.raises(httpx.ConnectError):
        bank.run("balance")
    assert bank.brakes() == ["breaker"]
    asked = len(bank.asked)
    assert bank.run("pay").reason == "system_down"
    assert bank.run("balance").reason == "retry_later"
    assert len(bank.asked) == asked
    with psycopg.connect(bank.database.admin) as admin:
        admin.execute("UPDATE control.brake SET until = now() - interval '1 second', probes_left = 1")
    time.sleep(1.1)  # what was heard of the system a moment ago is believed for a second
    bank.meets = None
    assert bank.run("balance").state is RunState.DONE
    assert bank.brakes() == []


def test_a_refusal_for_good_says_nothing_against_the_system(bank: Bank) -> None:
    """A read that is refused was answered: it opens no breaker."""
    answer = httpx.Response(404, request=httpx.Request("GET", "http://bank"))
    bank.meets = httpx.HTTPStatusError("no", request=answer.request, response=answer)
    for _ in range(3):
        with pytest.raises(httpx.HTTPStatusError):
            bank.run("balance")
    assert bank.brakes() == []


def test_a_hook_that_is_limited_waits_as_long_as_it_was_asked(bank: Bank) -> None:
    """Where the record cannot be read because its system asks for a pause, the run waits that long, and all know."""

    def read(_: Any) -> Any:
        raise limited(120)

    bank.hooks = {"read": read}
    run = bank.run("pay")
    assert run.reason == "record_unreadable"
    assert 110 < seconds_until(run.wake_at) < 130
    assert bank.brakes() == ["rate_limit"]
    assert bank.asked == []


def test_finding_out_waits_as_long_as_it_was_asked(bank: Bank) -> None:
    """A lost write is looked for no sooner than its system allows."""
    looked: list[datetime] = []

    def find(_: Any) -> Any:
        looked.append(datetime.now(UTC))
        raise limited(120)

    bank.hooks, bank.meets = {"find": find}, httpx.ReadTimeout("lost")
    run = bank.run("pay")
    assert run.reason == "outcome_unknown"
    assert timedelta(seconds=100) < timedelta(seconds=seconds_until(run.wake_at))
    assert len(looked) == 1
    assert "rate_limit" in bank.brakes()
