"""Rules that look at the system, the run and other requests: what they see is what the ledger knows."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest
from langchain.agents import create_agent

from langgraph_control import Control, Policy, Run, writes
from langgraph_control.audit.asking.health import KEEP_SECONDS, Report
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.guards.retry_rules import BreakerRules
from tests.support.desk import GO, How, told
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls

HEAD = "version: 1\nroles: {finance: [ana@acme.example]}\nowner: finance\n"
BREAKER = BreakerRules(minimum_calls=1000)


class Bank:
    """A system of record with one tool, and a Control whose policy is the one given."""

    def __init__(self, database: Database, control: Control) -> None:
        self.database = database
        self.control = control
        self.done: list[str] = []
        self.record: dict[str, Any] = {"status": "open"}
        self.fails = 0

    def graph(self, *orders: str, amount: str = "50", system: str = "bank", **contract: Any) -> Any:
        """Return a bound agent that pays these orders one after the other, then ends."""

        @writes(key="order", impact="money", system=system, **contract)
        def pay(order: str, amount: Decimal) -> str:
            """Pay an order."""
            if self.fails > 0:
                self.fails -= 1
                request = httpx.Request("POST", "http://127.0.0.1/pay")
                answer = httpx.Response(429, headers={"retry-after": "60"}, request=request)
                raise httpx.HTTPStatusError("slow down", request=request, response=answer)
            self.done.append(order)
            return f"paid {order}"

        script = [
            calls(call("pay", order=order, amount=amount, call_id=f"call_{place}"))
            for place, order in enumerate(orders)
        ]
        model = ScriptedModel(script=(*script, "done"))
        return self.control.bind(create_agent(model, self.control.govern([pay])), name=f"bank-{len(orders)}")

    def run(self, graph: Any, how: How, trigger: str, **options: Any) -> Run:
        """Run a graph in one of the two ways."""
        options = {"actor": "bank-bot", "trigger": trigger, **options}
        if how == "sync":
            return self.control.run(graph, GO, **options)
        return asyncio.run(self.control.arun(graph, GO, **options))

    def report(self, *, calls: int, failed: int = 0, took_ms: int = 0, rate_limited_ms: int = 0) -> None:
        """Tell the ledger how calls to the bank came out in some other process."""
        with LedgerConnection(self.database.agent) as agent:
            agent.ask(
                Report(
                    system="bank",
                    calls=calls,
                    failed=failed,
                    took_ms=took_ms,
                    rate_limited_ms=rate_limited_ms,
                    probe=False,
                    rules=BREAKER,
                )
            )


@contextmanager
def bank_with(database: Database, text: str) -> Iterator[Bank]:
    """A bank under a policy that is published."""
    policy = Policy.parse(HEAD + text, source="control.yaml")
    publish_policy(database.admin, policy)
    with Control(policy, dsn=database.agent) as control:
        yield Bank(database, control)


@pytest.fixture
def bank(database: Database) -> Callable[[str], Any]:
    """Make a bank under a policy, on a ledger of its own."""
    return lambda text: bank_with(database, text)


FAILING = """\
rules:
  - {tool: pay, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: pay, when: {system.error_rate: {gte: 0.2, lte: 1}}, then: approve, by: finance}
"""


def test_a_rule_sees_how_often_a_system_fails(bank: Any, how: How, trigger: str) -> None:
    """What other processes told of a system is what a rule about its error rate sees; without calls nothing failed."""
    with bank(FAILING) as one:
        assert one.run(one.graph("a"), how, trigger).state is RunState.DONE
        one.report(calls=10, failed=5)
        one.control._ledger.store().health._heard.clear()  # as a second later
        run = one.run(one.graph("b"), how, f"{trigger}/2")
    assert (run.state, one.done) == (RunState.NEEDS_APPROVAL, ["a"])


def test_a_rule_sees_a_rate_limit_before_it_is_met(bank: Any, how: How, trigger: str) -> None:
    """`system.rate_limited` holds while a system asked for no calls; the rule decides, not the wait."""
    text = FAILING.replace(
        "system.error_rate: {gte: 0.2, lte: 1}}, then: approve, by: finance",
        "system.rate_limited: {is: true}}, then: dry_run",
    )
    with bank(text) as one:
        one.report(calls=1, rate_limited_ms=60_000)
        run = one.run(one.graph("a"), how, trigger)
    assert (run.state, one.done) == (RunState.DONE, [])
    assert told(run)[0].startswith("pay was not done: this is a dry run")


def test_what_no_rule_decides_of_a_system_the_claim_decides(bank: Any, how: How, trigger: str) -> None:
    """A rate limit that rules only look at is still met at the claim, with its own reason and time."""
    with bank(FAILING) as one:
        one.report(calls=1, rate_limited_ms=60_000)
        run = one.run(one.graph("a"), how, trigger)
    assert (run.state, run.reason, one.done) == (RunState.RETRYING, "rate_limited", [])
    assert run.wake_at is not None


BY_OPERATION = """\
rules:
  - {tool: pay, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {operation: create, then: deny}
  - {tool: pay, when: {risk.operation: {eq: grant}}, then: dry_run}
"""


@pytest.mark.parametrize(
    ("contract", "text", "done"),
    [
        ({}, "paid a", ["a"]),
        ({"operation": "update"}, "paid a", ["a"]),
        ({"operation": "create"}, "rules[1] control.yaml:6 says deny", []),
        ({"operation": "grant"}, "pay was not done: this is a dry run", []),
    ],
    ids=["the impact's", "another", "denied", "by its field"],
)
def test_a_rule_sees_the_contracts_operation(
    bank: Any, trigger: str, contract: dict[str, Any], text: str, done: list[str]
) -> None:
    """A rule about an operation is about the writes whose contracts name it, whatever their impact implies."""
    with bank(BY_OPERATION) as one:
        run = one.run(one.graph("a", **contract), "sync", trigger)
    assert text in told(run)[0]
    assert (run.state, one.done) == (RunState.DONE, done)


SLOW = """\
rules:
  - {tool: pay, when: {amount: {gt: 0, lte: 100}}, then: allow}
breakers: {bank: {degraded_above: 5s, open_for: 45s}}
"""


def test_a_blind_write_waits_for_a_slow_system(bank: Any, how: How, trigger: str) -> None:
    """With `degraded_above` a blind write to a slow system waits for `open_for`; one that can be repeated goes."""
    with bank(SLOW) as one:
        one.report(calls=10, took_ms=80_000)
        waits = one.run(one.graph("a"), how, trigger)
        goes = one.run(one.graph("b", keyed_for="1h"), how, f"{trigger}/2")
    assert (waits.state, waits.reason, goes.state) == (RunState.RETRYING, "retry_later", RunState.DONE)
    assert waits.wake_at is not None
    assert 40 < (waits.wake_at - waits.state_since).total_seconds() < 50
    assert one.done == ["b"]


def test_systems_are_asked_for_at_most_once_a_second(bank: Any, trigger: str) -> None:
    """Calls within a second share one look at the systems; the next look is a second later."""
    with bank(SLOW) as one:
        health = one.control._ledger.store().health
        one.run(one.graph("a", "b", "c"), "sync", trigger)
        (heard,) = health._heard.values()
        health._heard[60_000] = (heard[0] - KEEP_SECONDS, heard[1])
        assert health.heard(60_000) is None
    assert one.done == ["a", "b", "c"]


OF_THE_RUN = """\
rules:
  - {tool: pay, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: pay, when: {run.tool_calls: {gte: 2}}, then: escalate}
"""


def test_a_rule_sees_what_the_run_has_done(bank: Any, how: How, trigger: str) -> None:
    """After two calls of the run the rule about a third one decides."""
    with bank(OF_THE_RUN) as one:
        run = one.run(one.graph("a", "b", "c"), how, trigger)
    assert (run.state, run.reason, one.done) == (RunState.NEEDS_HUMAN, "escalate", ["a", "b"])


def test_a_rule_sees_earlier_attempts(bank: Any, how: How, trigger: str) -> None:
    """A write that was tried once and not done is met by the rule about attempts when it is tried again."""
    text = OF_THE_RUN.replace("run.tool_calls: {gte: 2}}, then: escalate", "run.prior: {eq: not_done}}, then: deny")
    with bank(text) as one:
        one.fails = 1
        run = one.run(one.graph("a", system="other"), how, trigger)
        assert (run.state, one.done) == (RunState.RETRYING, [])
        with psycopg.connect(one.database.admin, autocommit=True) as admin:
            admin.execute("DELETE FROM control.brake")
        run = one.control.resume(run.id) if how == "sync" else asyncio.run(one.control.aresume(run.id))
    assert (run.state, one.done) == (RunState.DONE, [])
    assert told(run)[0].endswith("rules[1] control.yaml:6 says deny.")


def test_a_rule_sees_the_time_that_is_left(bank: Any, how: How, trigger: str) -> None:
    """`run.seconds_left` is missing where a run has no deadline, which never allows; with one it is a number."""
    text = OF_THE_RUN.replace("run.tool_calls: {gte: 2}}, then: escalate", "run.seconds_left: {lt: 3600}}, then: deny")
    with bank(text) as one:
        assert one.run(one.graph("a"), how, trigger, deadline="2h").state is RunState.DONE
        assert told(one.run(one.graph("b"), how, f"{trigger}/2", deadline="30m"))[0].startswith("pay was not done")
        assert told(one.run(one.graph("c"), how, f"{trigger}/3"))[0].startswith("pay was not done")
    assert one.done == ["a"]


EQUAL = """\
context:
  - {tool: pay, equal_within: 1h, changed: deny}
rules:
  - {tool: pay, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: pay, when: {amount: {gt: 100, lte: 900}}, then: approve, by: finance}
"""


def test_what_another_request_has_done_goes_to_a_person(bank: Any, how: How, trigger: str) -> None:
    """The same payment under another request is escalated; another amount, or the same request again, is not."""
    with bank(EQUAL) as one:
        assert one.run(one.graph("a"), how, trigger).state is RunState.DONE
        twin = one.run(one.graph("a"), how, f"{trigger}/2")
        other = one.run(one.graph("a", amount="51"), how, f"{trigger}/3")
        same = one.run(one.graph("a"), how, f"{trigger}/4", intent=trigger)
    assert (twin.state, twin.reason) == (RunState.NEEDS_HUMAN, "escalate")
    assert (other.state, same.state, one.done) == (RunState.DONE, RunState.DONE, ["a", "a"])


def test_what_another_request_is_doing_is_waited_for(bank: Any, how: How, trigger: str) -> None:
    """While the first of two equal requests waits for its approval the second waits for its outcome."""
    with bank(EQUAL) as one:
        first = one.run(one.graph("a", amount="500"), how, trigger)
        second = one.run(one.graph("a", amount="500"), how, f"{trigger}/2")
        again = one.run(one.graph("a", amount="500"), how, trigger)
    assert (first.state, again.state) == (RunState.NEEDS_APPROVAL, RunState.NEEDS_APPROVAL)
    assert (second.state, second.reason) == (RunState.RETRYING, "retry_later")


def test_a_changed_record_is_to_be_read_again(bank: Any, how: How, trigger: str) -> None:
    """A record that changes while the write waits for approval is told to the model; asked for again, it goes on."""
    with bank(EQUAL) as one:
        graph = one.graph("a", "a", amount="500", read=lambda _: dict(one.record))
        run = one.run(graph, how, trigger)
        assert run.state is RunState.NEEDS_APPROVAL
        one.record["status"] = "closed"
        run = one.run(graph, how, trigger)
        # The model was told so, and asked once more: what it sees now is what people are asked about.
        assert (run.state, one.done) == (RunState.NEEDS_APPROVAL, [])
        with LedgerConnection(one.database.auditor) as auditor:
            events = [event for entry in auditor.entries(run_id(run.id)) for event in str(entry.facts).split('"')]
    assert "approval.withdrawn" in events
    assert events.count("approval.requested") == 2


def test_without_context_nothing_is_looked_for(bank: Any, trigger: str) -> None:
    """Where the policy does not ask, equal payments of two requests are two payments, and nothing is noted of them."""
    with bank(EQUAL.split("rules:")[1].join(["rules:", ""])) as one:
        one.run(one.graph("a"), "sync", trigger)
        one.run(one.graph("a"), "sync", f"{trigger}/2")
        with psycopg.connect(one.database.admin) as admin:
            assert admin.execute("SELECT count(*) FROM control.look").fetchone() == (0,)
    assert one.done == ["a", "a"]
