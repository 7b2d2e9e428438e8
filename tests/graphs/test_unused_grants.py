"""A yes that nothing came of, because a limit stopped the write: it is over, and nobody is told that it was used."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from langgraph_control import Approvals, Control, Policy, Run
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import ApprovalState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.reconcile import reconcile
from langgraph_control.audit.names import run_id
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.errors import ApprovalRefused
from langgraph_control.guards.run_states import RunState
from tests.support.desk import POLICY_TEXT, Desk, How, new_trigger, told
from tests.support.postgres import Database
from tests.support.scripted_model import Answer, call, calls

TEXT = POLICY_TEXT.replace("on_expiry: deny,", "on_expiry: deny, on_new_message: withdraw,")
LIMIT = "limits: [{tool: refund, sum: amount, max: 600, per: day, each: tenant}]\n"


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """A desk that may refund 600 a day."""
    policy = Policy.parse(TEXT + LIMIT, source="control.yaml")
    publish_policy(database.admin, policy)
    with Control(policy, dsn=database.agent) as control:
        yield Desk(database=database, control=control)


def refund(order: str, amount: int) -> Answer:
    """Return what a model says that asks for a refund."""
    return calls(call("refund", order_id=order, amount=str(amount), call_id=new_trigger()))


def stopped(desk: Desk, how: How, trigger: str, *then: Answer) -> tuple[Any, Run, str]:
    """Return an agent, its run, and the request whose write was approved, and stopped by the limit of the day."""
    graph = desk.agent(refund("o0", 500), refund("o1", 400), *then)
    run = desk.run(graph, how, trigger=trigger, thread=f"chat {trigger}")
    desk.approve(run.approvals)
    run = desk.resume(run, how)
    (late,) = run.approvals
    desk.approve([late])
    return graph, desk.resume(run, how), late


def refusal(person: Approvals, name: str) -> str:
    """Return why somebody's yes cannot be taken back."""
    with pytest.raises(ApprovalRefused) as refused:
        person.withdraw(name)
    return refused.value.code


def test_it_is_over(desk: Desk, how: How, trigger: str) -> None:
    """The conversation was told that it is not done: the request is closed, nobody is told that it was done."""
    _, run, late = stopped(desk, how, trigger, "over")
    assert (run.state, desk.done) == (RunState.DONE, ["o0:500"])
    assert "a limit that the policy sets is reached" in told(run)[1]
    with Approvals(desk.database.approver("ana")) as ana:
        assert ana.get(late).state is ApprovalState.WITHDRAWN
        assert refusal(ana, late) == "closed"
    with LedgerConnection(desk.database.auditor) as auditor:
        ends = [row for row in auditor.entries(run_id(run.id)) if "approval.withdrawn" in Entry.of(row).events]
    assert [Entry.of(row).fact("reason") for row in ends] == ["limit_reached"]


def test_people_are_asked_again_once_there_is_room(desk: Desk, how: How, trigger: str) -> None:
    """The same write, asked for a day later, is a request of its own; the yes that an attempt began with is used up."""
    _, run, late = stopped(desk, how, trigger, refund("o2", 450), refund("o1", 400), "over")
    with psycopg.connect(desk.database.admin) as admin:
        admin.execute("UPDATE control.charge SET at = at - interval '25 h'")
    with Approvals(desk.database.approver("ana")) as ana:
        (other,) = run.approvals
        ana.reject(other)
        run = desk.resume(run, how)
        (anew,) = run.approvals
        ana.approve(anew)
        assert (desk.resume(run, how).state, desk.done) == (RunState.DONE, ["o0:500", "o1:400"])
        assert (refusal(ana, late), refusal(ana, anew)) == ("closed", "used")


def test_a_new_message_need_not_wait_for_it(desk: Desk, how: How, trigger: str) -> None:
    """A message may take the place of what waits beside it."""
    graph, run, _ = stopped(desk, how, trigger, refund("o2", 450), "as you wish")
    assert run.state is RunState.NEEDS_APPROVAL
    assert desk.run(graph, how, trigger=new_trigger(), thread=f"chat {trigger}").state is RunState.DONE
    assert desk.done == ["o0:500"]


def test_another_amount_takes_its_place(desk: Desk, how: How, trigger: str) -> None:
    """What is asked for instead is asked about anew, and ledger and trail agree on what became of the first yes."""
    _, run, late = stopped(desk, how, trigger, refund("o1", 350), "over")
    assert (run.state, late in run.approvals) == (RunState.NEEDS_APPROVAL, False)
    with LedgerConnection(desk.database.auditor) as auditor:
        (request,) = reconcile(auditor)
    assert request.differences == ()
