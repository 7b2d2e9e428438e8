"""How often and how long something is tried, by the policy: over restarts, over runs, and for all workers."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest
from langchain.agents import create_agent
from langchain_core.tools import BaseTool

from langgraph_control import Approvals, Control, Policy, writes
from langgraph_control.audit.asking.health import Report
from langgraph_control.audit.asking.operator_requests import Resolution
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import Voting
from langgraph_control.audit.people.operators import Operators
from langgraph_control.errors import OperationRefused
from langgraph_control.guards.run_states import RunState
from langgraph_control.nodes.action import Action, Done, NotDone, Outcome
from tests.support.desk import GO, new_trigger, told
from tests.support.entered_run import async_form
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls
from tests.support.waiting import until_somebody_waits

TEXT = """\
version: 1
roles: {finance: [ana@acme.example], support: [bo@acme.example]}
owner: finance
owners: {tool: {mail: support}}
rules:
  - {impact: record, then: allow}
"""


HOWS = ["sync", "async"]


class Shop:
    """A tool whose body does what the test says, under a policy of the test's."""

    def __init__(self, database: Database, policy: str, how: str) -> None:
        self.database = database
        self.how = how
        self.policy = Policy.parse(TEXT + policy, source="control.yaml")
        publish_policy(database.admin, self.policy)
        self.control = Control(self.policy, dsn=database.agent)
        self.sent: list[str] = []
        self.body: Callable[[str], str] = lambda order: f"paid {order}"
        self.outcome: Callable[[Action], Outcome] | None = None

    def tools(self, name: str = "pay", *, keyed: bool = False) -> list[BaseTool]:
        """Return the one governed tool."""

        def pay(order_id: str, amount: Decimal = Decimal(1)) -> str:
            """Pay."""
            self.sent.append(order_id)
            return self.body(order_id)

        contract = writes(
            key="order_id",
            impact="record",
            system="bank",
            keyed_for="30d" if keyed else None,
            outcome=self.outcome,
        )
        body = pay if self.how == "sync" else async_form(pay)
        body.__name__ = name
        return self.control.govern([contract(body)])

    def run(self, *orders: str, trigger: str | None = None, amount: str = "1", keyed: bool = False, **more: Any) -> Any:
        """Run an agent that pays these orders, one after the other."""
        script = [
            calls(call("pay", order_id=order, amount=amount, call_id=f"call_{number}"))
            for number, order in enumerate(orders)
        ]
        agent = create_agent(ScriptedModel(script=(*script, "over")), self.tools(keyed=keyed))
        graph = self.control.bind(agent, name=f"shop {new_trigger()}")
        more |= {"trigger": trigger or new_trigger(), "actor": "bot"}
        if self.how == "sync":
            return self.control.run(graph, GO, **more)
        return asyncio.run(self.control.arun(graph, GO, **more))

    def resume(self, run: Any) -> Any:
        """Go on with a run."""
        return self.control.resume(run.id) if self.how == "sync" else asyncio.run(self.control.aresume(run.id))


@pytest.fixture
def shop(database: Database) -> Iterator[Callable[..., Shop]]:
    """Makes shops that are closed at the end."""
    made: list[Shop] = []

    def make(policy: str = "", how: str = "sync") -> Shop:
        made.append(Shop(database, policy, how))
        return made[-1]

    yield make
    for one in made:
        one.control.close()


def refused(order: str) -> str:
    """Fail before anything was sent."""
    raise httpx.ConnectError(order)


def limited(seconds: int) -> Callable[[str], str]:
    """Answer with 429."""

    def body(_: str) -> str:
        answer = httpx.Response(
            429, headers={"retry-after": str(seconds)}, request=httpx.Request("POST", "http://bank")
        )
        raise httpx.HTTPStatusError("slow down", request=answer.request, response=answer)

    return body


def lost(order: str) -> str:
    """Break off in the middle."""
    raise httpx.ReadTimeout(order)


def test_the_same_failure_three_times_is_for_a_person(shop: Callable[..., Shop]) -> None:
    """What fails alike three times in a row is not tried a fourth time: its owner has it, and may let it go on."""
    bank = shop("retries: {default: {attempts: 9, base: 1s, cap: 1s}}\n")
    bank.body = refused
    run = bank.run("o1")
    assert run.state is RunState.NEEDS_HUMAN
    assert bank.sent == ["o1"] * 3
    with Operators(bank.database.approver("ana")) as ana:
        row = ana.run(run.id)
        (action,) = ana.stuck(row.run_id)
        ana.resolve(row.run_id, action.key, Resolution.DID_NOT, comment="the line is mended")
    bank.body = lambda order: f"paid {order}"
    run = bank.control.resume(run.id)
    assert told(run) == ["paid o1"]


def test_attempts_are_counted_over_runs(shop: Callable[..., Shop]) -> None:
    """An action has as many attempts as the policy gives it, whichever run makes them; then a person has it."""
    bank = shop("retries: {default: {attempts: 2, same_failure: 9}}\n")
    bank.body = refused
    run = bank.run("o1")
    assert (run.state, run.reason) == (RunState.NEEDS_HUMAN, "needs_human")
    assert bank.sent == ["o1"] * 2


def test_a_pause_holds_for_whoever_drives_the_run(shop: Callable[..., Shop]) -> None:
    """However often a run is driven before its time, what failed is not sent again before its pause is over."""
    bank = shop("retries: {default: {base: 100h, cap: 100h, give_up_after: 900h}}\n")
    bank.body = refused
    run = bank.run("o1", trigger="mail/1", intent="ticket/1")
    for _ in range(4):
        again = bank.control.resume(run.id)
        assert (again.state, again.reason, again.wake_at is None) == (RunState.RETRYING, "retry_later", False)
    elsewhere = bank.run("o1", trigger="mail/2", intent="ticket/1")
    assert (elsewhere.id == run.id, elsewhere.state, elsewhere.reason) == (False, RunState.RETRYING, "retry_later")
    assert bank.sent == ["o1"]


def test_no_pause_puts_giving_up_off(shop: Callable[..., Shop]) -> None:
    """However long a system wants to be left alone, the owner has the write when the policy says so."""
    bank = shop("retries: {default: {give_up_after: 30s}}\n")
    bank.body = limited(3600)
    waiting = bank.run("o1")
    assert waiting.state is RunState.RETRYING
    assert waiting.wake_at is not None
    assert waiting.wake_at <= datetime.now(UTC) + timedelta(seconds=31)


def test_giving_up_is_not_put_off_by_a_brake(shop: Callable[..., Shop]) -> None:
    """Where the whole system is to be left alone, too, a write is its owner's once its own time is over."""
    bank = shop("retries: {default: {give_up_after: 2s}}\n")
    bank.body = limited(3600)
    run = bank.run("o1")
    assert (run.state, run.reason) == (RunState.NEEDS_HUMAN, "needs_human")
    assert bank.sent == ["o1"]


def test_the_time_for_retries_is_the_runs(shop: Callable[..., Shop]) -> None:
    """A run that has waited for retries as long as the policy lets it is for people, whichever of its writes it was."""
    bank = shop("retries: {default: {attempts: 50, same_failure: 40, base: 100h, cap: 100h}}\ncaps: {retry_time: 2s}\n")
    bank.body = refused
    run = bank.run("o1")
    assert run.state is RunState.RETRYING
    assert run.wake_at is not None
    assert run.wake_at <= datetime.now(UTC) + timedelta(seconds=3)
    time.sleep(2.1)
    run = bank.control.resume(run.id)
    assert (run.state, run.reason) == (RunState.NEEDS_HUMAN, "retry_time_used_up")
    assert bank.sent == ["o1"]


def test_a_rate_limit_holds_for_everybody(shop: Callable[..., Shop]) -> None:
    """After a 429 no worker calls that system before its time is over; other writes of the run wait with a time."""
    bank, other = shop(), shop()
    bank.body = limited(120)
    run = bank.run("o1")
    assert (run.state, run.reason) == (RunState.RETRYING, "retry_later")
    second = other.run("o2")
    assert (second.state, second.reason) == (RunState.RETRYING, "rate_limited")
    assert second.wake_at is not None
    assert other.sent == []


def test_what_is_denied_waits_for_nothing(shop: Callable[..., Shop]) -> None:
    """A call that the policy denies is refused at once, whatever holds its system back."""
    bank = shop("  - {tool: pay, when: {amount: {gt: 100}}, then: deny}\n")
    bank.body = limited(120)
    bank.run("o1")
    assert "pay was not done" in told(bank.run("o2", amount="500"))[0]


def test_a_short_rate_limit_is_waited_for(shop: Callable[..., Shop]) -> None:
    """A second is waited in process, and then it goes through."""
    bank = shop()
    answers: Iterator[Callable[[str], str]] = iter([limited(1), lambda order: f"paid {order}"])

    def body(order: str) -> str:
        return next(answers)(order)

    bank.body = body
    assert told(bank.run("o1")) == ["paid o1"]
    assert bank.sent == ["o1", "o1"]


BREAKER = "breakers: {bank: {error_rate: 0.5, window: 60s, minimum_calls: 4, open_for: 1h, probes: 2}}\n"


def close_enough(database: Database) -> None:
    """Let the breaker's time be over."""
    with psycopg.connect(database.admin, autocommit=True) as admin:
        admin.execute("UPDATE control.brake SET until = clock_timestamp(), open_ms = 50 WHERE cause = 'breaker'")


def test_a_breaker_opens_and_closes(shop: Callable[..., Shop]) -> None:
    """Too many failures stop calls for everybody; probes that succeed let them go on, one that fails does not."""
    bank, other = shop(BREAKER), shop(BREAKER)
    bank.body = lost
    for order in ("o1", "o2", "o3", "o4"):
        bank.run(order)
    assert len(bank.sent) == 4
    held = other.run("o5")
    assert (held.state, held.reason, other.sent) == (RunState.RETRYING, "system_down", [])
    close_enough(bank.database)
    bank.run("o6")  # a probe that fails
    assert other.control.resume(held.id).reason == "system_down"
    close_enough(bank.database)
    assert told(other.control.resume(held.id)) == ["paid o5"]
    assert told(other.run("o7")) == ["paid o7"]  # the second probe
    with psycopg.connect(bank.database.admin) as admin:
        assert admin.execute("SELECT * FROM control.brake").fetchall() == []
        told_of = admin.execute("SELECT facts FROM control.entry WHERE facts LIKE '%breaker.%' ORDER BY seq").fetchall()
    assert ["opened" in facts for (facts,) in told_of] == [True, False]


def said_by(answers: dict[str, NotDone]) -> Callable[[Action], Outcome]:
    """Return an outcome hook: what it answers for some orders; the others are done."""
    return lambda action: answers.get(action.args["order_id"], Done())


@pytest.mark.parametrize("how", HOWS)
def test_a_breaker_heeds_what_an_outcome_hook_tells(how: str, shop: Callable[..., Shop]) -> None:
    """A system that says "not now" in prose has failed: its breaker opens, and such a probe does not close it."""
    once = "retries: {default: {attempts: 1}}\n"
    bank, other = shop(BREAKER + once, how=how), shop(BREAKER + once, how=how)
    bank.outcome = said_by(dict.fromkeys(("o1", "o2", "o3", "o4", "o6"), NotDone(reason="busy", transient=True)))
    for order in ("o1", "o2", "o3", "o4"):
        bank.run(order)
    assert len(bank.sent) == 4
    assert (other.run("o5").reason, other.sent) == ("system_down", [])
    close_enough(bank.database)
    bank.run("o6")  # a probe that is told to have failed
    assert bank.sent[-1] == "o6"
    held = other.run("o7")
    assert (held.reason, other.sent) == ("system_down", [])
    close_enough(bank.database)
    assert told(other.resume(held)) == ["paid o7"]


@pytest.mark.parametrize("how", HOWS)
def test_a_rate_limit_that_an_outcome_hook_tells_holds_for_everybody(how: str, shop: Callable[..., Shop]) -> None:
    """What a system asks for in prose slows it down for all workers, and the call itself waits as long."""
    bank, other = shop(how=how), shop(how=how)
    bank.outcome = said_by({"o1": NotDone(reason="slow down", retry_after="2m")})
    before = datetime.now(UTC)
    run = bank.run("o1")
    assert (run.state, run.reason) == (RunState.RETRYING, "retry_later")
    assert run.wake_at is not None
    assert run.wake_at >= before + timedelta(seconds=120)
    second = other.run("o2")
    assert (second.state, second.reason, other.sent) == (RunState.RETRYING, "rate_limited", [])


def half_open(shop: Callable[..., Shop]) -> Shop:
    """Return a shop whose bank has failed too often, a while ago; large payments have to be approved."""
    bank = shop("  - {tool: pay, when: {amount: {gt: 100, lte: 5000}}, then: approve, by: finance}\n" + BREAKER)
    bank.body = lost
    for order in ("o1", "o2", "o3", "o4"):
        bank.run(order)
    close_enough(bank.database)
    return bank


def test_who_waits_for_people_takes_no_probe(shop: Callable[..., Shop]) -> None:
    """While a breaker is half open, a call that has to be approved first leaves the probe to one that can go."""
    bank = half_open(shop)
    with psycopg.connect(bank.database.admin, autocommit=True) as admin:
        admin.execute("UPDATE control.brake SET open_ms = 3600000")
    bank.body = lambda order: f"paid {order}"
    assert bank.run("o5", amount="500").state is RunState.NEEDS_APPROVAL
    assert told(bank.run("o6")) == ["paid o6"]


def test_who_is_late_for_the_probe_has_used_no_yes(shop: Callable[..., Shop]) -> None:
    """What was approved, and waits because another call finds out about the system, can still be taken back."""
    bank = half_open(shop)
    run = bank.run("o5", amount="500")
    with Approvals(bank.database.approver("ana")) as ana, psycopg.connect(bank.database.admin) as faster:
        (name,) = run.approvals
        ana.approve(name)
        with ThreadPoolExecutor(1) as thread:
            faster.execute("UPDATE control.brake SET until = clock_timestamp() + interval '1 h'")
            waiting = thread.submit(bank.resume, run)
            until_somebody_waits(bank.database)
            faster.commit()
            assert waiting.result().reason == "system_down"
        assert ana.withdraw(name).answer is Voting.OPEN


def test_one_probe_at_a_time(shop: Callable[..., Shop]) -> None:
    """While one call finds out whether a system works again, others wait, also those that come at the same instant."""
    bank, other = shop(BREAKER), shop(BREAKER)
    bank.body = lost
    for order in ("o1", "o2", "o3", "o4"):
        bank.run(order)
    close_enough(bank.database)
    with psycopg.connect(bank.database.admin, autocommit=True) as admin:
        admin.execute("UPDATE control.brake SET open_ms = 3600000")
    states: list[str] = []

    def probing(order: str) -> str:
        with ThreadPoolExecutor(1) as thread:  # a worker of its own, not a write inside this one
            states.append(thread.submit(other.run, "o6").result().reason)
        return f"paid {order}"

    bank.body = probing
    assert told(bank.run("o5")) == ["paid o5"]
    assert states == ["system_down"]
    close_enough(bank.database)
    with psycopg.connect(bank.database.admin) as faster, ThreadPoolExecutor(1) as thread:
        faster.execute("UPDATE control.brake SET until = clock_timestamp() + interval '1 h'")
        waiting = thread.submit(other.run, "o7")
        until_somebody_waits(bank.database)
        faster.commit()
        assert waiting.result().reason == "system_down"
    assert other.sent == []


def test_what_began_before_the_breaker_opened_is_no_probe(shop: Callable[..., Shop]) -> None:
    """A call under way when its system's breaker opens succeeds later, and the breaker stays open for its time."""
    bank, other = shop(BREAKER), shop(BREAKER)
    other.body = lost

    def slow(order: str) -> str:
        with ThreadPoolExecutor(1) as thread:  # a worker of its own, not a write inside this one
            thread.submit(lambda: [other.run(f"lost {number}") for number in range(4)]).result()
        return f"paid {order}"

    bank.body = slow
    assert told(bank.run("o1")) == ["paid o1"]
    other.sent.clear()
    for number in range(3):
        bank.control._ledger.store().call(report(bank, calls=1, probe=number == 2))
        held = other.run(f"held {number}")
        assert (held.reason, other.sent) == ("system_down", [])
    close_enough(bank.database)
    assert bank.control._ledger.store().call(report(bank, calls=9)) is None
    assert bank.control._ledger.store().call(report(bank, calls=9)) is None
    assert [bank.control._ledger.store().call(report(bank, calls=1, probe=True)) for _ in range(2)] == [
        None,
        "breaker.closed",
    ]


def report(bank: Shop, *, calls: int, probe: bool = False) -> Report:
    """Return what a process tells of calls that all went well."""
    rules = bank.policy.breaker_for("bank")
    return Report(system="bank", calls=calls, failed=0, took_ms=1, rate_limited_ms=0, probe=probe, rules=rules)


LIMIT = "limits: [{tool: pay, sum: amount, max: 100, per: day, each: tenant}]\n"


def test_a_budget_is_counted_over_runs(shop: Callable[..., Shop]) -> None:
    """What would go over the sum of a day is not done, and the model is told; smaller things still go through."""
    bank = shop(LIMIT)
    bank.run("o1", amount="60")
    assert "a limit that the policy sets is reached" in told(bank.run("o2", amount="60"))[0]
    assert told(bank.run("o3", amount="40")) == ["paid o3"]
    assert bank.sent == ["o1", "o3"]


def test_what_was_not_done_takes_nothing(shop: Callable[..., Shop]) -> None:
    """A provable failure gives its part of the budget back; an unknown outcome keeps it until somebody knows."""
    bank = shop(LIMIT + "retries: {default: {attempts: 1}}\n")
    bank.body = refused
    bank.run("o1", amount="90")
    bank.body = lost
    unknown = bank.run("o2", amount="90")
    assert unknown.state is RunState.NEEDS_HUMAN
    bank.body = lambda order: f"paid {order}"
    assert "limit" in told(bank.run("o3", amount="20"))[0]
    with Operators(bank.database.approver("ana")) as ana:
        row = ana.run(unknown.id)
        (action,) = ana.stuck(row.run_id)
        ana.resolve(row.run_id, action.key, Resolution.DID_NOT, comment="on no statement")
    assert told(bank.run("o4", amount="20")) == ["paid o4"]


def test_another_attempt_counts_from_when_it_begins(shop: Callable[..., Shop]) -> None:
    """What is sent again a day later may happen only then, so it takes its part of that day's budget."""
    bank = shop(LIMIT)

    def a_day_earlier(order: str) -> str:
        """Lose the answer, and let a day pass."""
        with psycopg.connect(bank.database.admin, autocommit=True) as admin:
            admin.execute("UPDATE control.charge SET at = at - interval '25 h'")
        bank.body = lambda order: f"paid {order}"
        return lost(order)

    bank.body = a_day_earlier
    assert told(bank.run("o1", amount="60", keyed=True)) == ["paid o1"]
    assert "limit" in told(bank.run("o2", amount="60"))[0]
    assert bank.sent == ["o1", "o1"]


def test_calls_are_counted_per_run(shop: Callable[..., Shop]) -> None:
    """A run that has made as many tool calls as it may stops before the next one, for a person."""
    bank = shop("caps: {tool_calls: 2}\n")
    run = bank.run("o1", "o2", "o3")
    assert (run.state, run.reason) == (RunState.NEEDS_HUMAN, "calls_used_up")
    assert bank.sent == ["o1", "o2"]


def test_owners_are_the_policys(shop: Callable[..., Shop]) -> None:
    """A lost payment is finance's to settle, not support's."""
    bank = shop()
    bank.body = lost
    run = bank.run("o1")
    with Operators(bank.database.approver("bo")) as bo:
        row = bo.run(run.id)
        (action,) = bo.stuck(row.run_id)
        with pytest.raises(OperationRefused, match="owns such outcomes"):
            bo.resolve(row.run_id, action.key, Resolution.HAPPENED, comment="seen")
