"""Checks that a Control was given: asked before each write that they could still stop, and on record."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from langchain.agents import create_agent

from langgraph_control import Control, Policy, Run, writes
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.checks import Lack, Lacking, Missing, Proposal, Question, Requirement, Stricter, Verb
from langgraph_control.errors import ContractError
from langgraph_control.nodes import async_drivers, drivers
from tests.support.desk import Desk, How, told
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls

POLICY = Policy.parse(
    """\
version: 1
roles: {finance: [ana@acme.example]}
owner: finance
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: refund, when: {amount: {gt: 100, lte: 900}}, then: deny}
""",
    source="control.yaml",
)
ONE_OF_FINANCE = Requirement(
    quorum={"finance": 1},
    not_by=frozenset(),
    within_seconds=3600,
    execute_within_seconds=3600,
    on_expiry="deny",
    comment_required=False,
)


@pytest.fixture
def desk(shared_database: Database) -> Callable[..., Any]:
    """Make a desk whose Control has these checks."""
    publish_policy(shared_database.admin, POLICY)

    @contextmanager
    def made(*checks: Any) -> Iterator[Desk]:
        with Control(POLICY, dsn=shared_database.agent, checks=checks) as control:
            yield Desk(database=shared_database, control=control)

    return made


def bodies(desk: Desk, run: Run) -> list[dict[str, Any]]:
    """Return the bodies of the entries that hold a decision."""
    with LedgerConnection(desk.database.auditor) as auditor:
        said = [orjson.loads(entry.body) for entry in auditor.entries(run_id(run.id))]
    return [body for body in said if "reasons" in body]


def lacking(_: Proposal) -> Lacking:
    """Say that the change cannot be stated."""
    return Lacking(pieces=(Missing(field="order_id", why=Lack.NO_TARGET),))


async def asking(_: Proposal) -> Question:
    """Ask the user."""
    await asyncio.sleep(0)
    return Question(text="Which order?")


async def approving(_: Proposal) -> Stricter:
    """Ask people."""
    return Stricter(verb=Verb.APPROVE, reason="it is large", requirement=ONE_OF_FINANCE)


def raising(_: Proposal) -> None:
    """Fail."""
    raise ConnectionError("the model is away")


def content(_: Proposal) -> None:
    """Have nothing to say."""


ENDS: list[tuple[Any, RunState, str]] = [
    (content, RunState.DONE, ""),
    (lacking, RunState.DONE, ""),
    (asking, RunState.WAITING, "ask"),
    (approving, RunState.NEEDS_APPROVAL, "needs_approval"),
    (raising, RunState.RETRYING, "retry_later"),
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end[0].__name__)
def test_what_a_check_says_is_done(desk: Any, how: How, trigger: str, end: tuple[Any, RunState, str]) -> None:
    """Sync or async, under both drivers: what is missing goes to the model, a question to the user, the rest waits."""
    check, state, reason = end
    with desk(check) as one:
        run = one.run(one.refunding(50), how, trigger=trigger)
        assert (run.state, run.reason) == (state, reason)
        assert one.done == (["o0:50"] if check is content else [])
        assert bodies(one, run)[0]["checks"] == [check.__name__]


def test_what_is_missing_is_told_to_the_model(desk: Any, how: How, trigger: str) -> None:
    """The model reads which argument it has to give, and that nothing was done."""
    with desk(lacking) as one:
        (said,) = told(one.run(one.refunding(50), how, trigger=trigger))
    assert said.startswith(
        "refund was not done: refund was called before the change can be stated. order_id is required"
    )
    assert "Nothing was done" not in said
    assert ".." not in said


def test_an_approved_write_is_checked_again_and_runs(desk: Any, how: How, trigger: str) -> None:
    """What a check asks people for runs once they said yes."""
    with desk(approving) as one:
        run = one.run(one.refunding(50), how, trigger=trigger)
        one.approve(run.approvals)
        assert one.resume(run, how).state is RunState.DONE
        assert one.done == ["o0:50"]


def test_no_check_is_asked_where_it_could_add_nothing(desk: Any, how: How, trigger: str) -> None:
    """Neither about a write that the policy denies, nor about one whose outcome is stored."""
    seen: list[Proposal] = []

    def noting(proposal: Proposal) -> None:
        seen.append(proposal)

    with desk(noting) as one:
        one.run(one.refunding(500), how, trigger=f"{trigger}/denied")
        assert seen == []
        one.run(one.refunding(50), how, trigger=trigger)
        one.run(one.refunding(50), how, trigger=f"{trigger}/again", intent=trigger)
        (asked,) = seen
    assert (asked.intent, asked.tool, str(asked.arguments["amount"]), one.done) == (trigger, "refund", "50", ["o0:50"])


def test_a_check_that_takes_too_long_could_not_be_made(
    desk: Any, how: How, trigger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its time the write waits and is decided again later, whatever the check still does."""
    for module in (drivers, async_drivers):
        monkeypatch.setattr(module, "CHECK_SECONDS_MAX", 0.05)
    freed = threading.Event()

    def hanging(_: Proposal) -> None:
        freed.wait(20)

    began = time.monotonic()
    with desk(hanging) as one:
        run = one.run(one.refunding(50), how, trigger=trigger)
        took = time.monotonic() - began
        freed.set()
        assert (run.state, run.reason, one.done) == (RunState.RETRYING, "retry_later", [])
        assert "check hanging could not be made: TimeoutError" in bodies(one, run)[0]["reasons"]
    assert took < 15


def test_a_checks_time_is_not_the_attempts(desk: Any, how: How, trigger: str) -> None:
    """A write whose check takes longer than an attempt may take is still sent: its time begins with its claim."""

    def slow(_: Proposal) -> None:
        time.sleep(1.2)

    with desk(slow) as one:

        @writes(key="order_id", impact="record", timeout="1s")
        def refund(order_id: str, amount: int) -> str:
            """Refund an order."""
            one.done.append(order_id)
            return "refunded"

        asked = calls(call("refund", order_id="o1", amount=50, call_id="call_1"))
        agent = create_agent(ScriptedModel(script=(asked, "done")), one.control.govern([refund]))
        run = one.run(one.control.bind(agent, name="slow"), how, trigger=trigger)
    assert (run.state, one.done, told(run)) == (RunState.DONE, ["o1"], ["refunded"])


def test_an_async_check_works_on_a_loops_own_thread(desk: Any, trigger: str) -> None:
    """A synchronous run that is started inside a running loop asks async checks all the same."""

    async def here(one: Desk) -> Run:
        return one.run(one.refunding(50), "sync", trigger=trigger)

    with desk(asking) as one:
        assert asyncio.run(here(one)).reason == "ask"


def test_what_is_no_function_is_no_check(shared_database: Database) -> None:
    """It is refused when the Control is made."""
    with pytest.raises(ContractError) as refused:
        Control(POLICY, dsn=shared_database.agent, checks=["tone"])  # type: ignore[list-item]
    assert refused.value.code == "check_invalid"


def test_without_checks_nothing_is_said_of_any(desk: Any, trigger: str) -> None:
    """An entry names the checks that were asked, and has no word of them where there are none."""
    with desk() as one:
        assert "checks" not in bodies(one, one.run(one.refunding(50), trigger=trigger))[0]
