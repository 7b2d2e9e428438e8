"""A new message on the thread of a run that waits for people: where the policy says so, it ends that run and begins."""

from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent

from langgraph_control import Approvals, Control, Policy, Run, writes
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.audit.people.operators import Operators
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.errors import ApprovalRefused, RunRefused
from langgraph_control.graphs.unanswered_calls import LEFT
from langgraph_control.guards.run_states import RunState
from langgraph_control.nodes.contracts import ABSENT
from tests.support.desk import GO, POLICY_TEXT, Desk, How, new_trigger, publish
from tests.support.front_desk import FrontDesk
from tests.support.half_done import closing
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls

WITHDRAWING = POLICY_TEXT.replace("on_expiry: deny,", "on_expiry: deny, on_new_message: withdraw,")
REPLACED = (RunState.DONE, "replaced")


@pytest.fixture
def desk(shared_database: Database) -> Iterator[Desk]:
    """A desk whose policy lets a new message withdraw what people were asked."""
    policy = Policy.parse(WITHDRAWING, source="control.yaml")
    publish_policy(shared_database.admin, policy)
    with Control(policy, dsn=shared_database.agent) as control:
        yield Desk(database=shared_database, control=control)


def refunding(desk: Desk, *amounts: int, then: str = "as you wish") -> Any:
    """Return an agent that asks for refunds at once, then says so."""
    return desk.refunding(*amounts, closing=then)


def entries(desk: Desk, run: Run) -> list[Entry]:
    """Return what is on record of a run."""
    with LedgerConnection(desk.database.auditor) as auditor:
        return [Entry.of(row) for row in auditor.entries(run_id(run.id))]


def spoken(run: Run) -> list[tuple[str, str]]:
    """Return a run's messages: who, and what."""
    return [(message.type, str(message.content)) for message in run.output["messages"]]


def test_it_ends_the_run_and_begins(desk: Desk, how: How, trigger: str) -> None:
    """The request is withdrawn, the call answered in the conversation, and the new run has the thread."""
    graph, thread = refunding(desk, 500), f"chat {trigger}"
    first = desk.run(graph, how, trigger=trigger, thread=thread)
    second = desk.run(graph, how, trigger=new_trigger(), thread=thread, given={"messages": [("user", "Leave it.")]})
    stopped = desk.control.get(first.id)
    assert ((stopped.state, stopped.reason), second.state, desk.done) == (REPLACED, RunState.DONE, [])
    assert spoken(second)[1:] == [("ai", ""), ("tool", LEFT), ("human", "Leave it."), ("ai", "as you wish")]
    with Approvals(desk.database.approver("ana")) as approvals, pytest.raises(ApprovalRefused):
        approvals.approve(first.approvals[0])
    assert (desk.resume(first, how).state, desk.done) == (RunState.DONE, [])


def test_it_is_on_record_who_came(desk: Desk, trigger: str) -> None:
    """The run's last entry names the message and what is not done any more; the request's end is one of its own."""
    graph, thread, message = refunding(desk, 500), f"chat {trigger}", new_trigger()
    first = desk.run(graph, trigger=trigger, thread=thread)
    desk.run(graph, trigger=message, thread=thread, actor="night-bot")
    withdrawn, ended = entries(desk, first)[-2:]
    assert (withdrawn.events, withdrawn.fact("message")) == (("approval.withdrawn",), message)
    assert ended.events == ("run.replaced", "run.finished")
    assert (ended.fact("message"), len(ended.facts["denied"])) == (message, 1)
    assert ended.body["who"]["actor"] == "night-bot"


def test_what_is_done_beside_it_is_told(desk: Desk, how: How, trigger: str) -> None:
    """The answer of a call that went through beside the one that waited is in the conversation, not lost."""
    graph, thread = refunding(desk, 50, 500), f"chat {trigger}"
    desk.run(graph, how, trigger=trigger, thread=thread)
    second = desk.run(graph, how, trigger=new_trigger(), thread=thread)
    assert [said for who, said in spoken(second) if who == "tool"] == ["refunded 50", LEFT]
    assert desk.done == ["o0:50"]


def test_a_decided_write_goes_first(desk: Desk, how: How, trigger: str) -> None:
    """Once people have said yes, the message is refused, and the write goes exactly as approved."""
    graph, thread = refunding(desk, 500, 700), f"chat {trigger}"
    first = desk.run(graph, how, trigger=trigger, thread=thread)
    desk.approve(first.approvals[:1])
    with pytest.raises(RunRefused) as refused:
        desk.run(graph, how, trigger=new_trigger(), thread=thread)
    assert refused.value.code == "thread_busy"
    assert (desk.resume(first, how).state, len(desk.done)) == (RunState.NEEDS_APPROVAL, 1)


@pytest.mark.parametrize("looks_up", [False, True])
def test_what_nobody_knows_is_settled_first(desk: Desk, how: How, trigger: str, *, looks_up: bool) -> None:
    """A run with a write whose outcome is unknown keeps its thread: a person's, or looked up later beside a request."""
    ways: dict[str, Any] = {"find": lambda _: ABSENT, "visible_within": "1h"} if looks_up else {}

    @writes(key="order_id", impact="record", **ways)
    def transfer(order_id: str) -> str:
        """Transfer."""
        raise TimeoutError

    asked = calls(
        call("transfer", order_id="o1", call_id="call_1"), call("refund", order_id="o2", amount="500", call_id="call_2")
    )
    tools = [*desk.tools(), *desk.control.govern([transfer])]
    graph = desk.control.bind(create_agent(ScriptedModel(script=(asked, "done")), tools), name="transfers")
    thread = f"chat {trigger}"
    first = desk.run(graph, how, trigger=trigger, thread=thread)
    assert first.state is (RunState.NEEDS_APPROVAL if looks_up else RunState.NEEDS_HUMAN)
    with pytest.raises(RunRefused) as refused:
        desk.run(graph, how, trigger=new_trigger(), thread=thread)
    assert refused.value.code == "thread_busy"


def test_a_saga_is_not_left_half_done(desk: Desk, how: How, trigger: str) -> None:
    """A run that waits in the middle of a saga keeps its thread: what was applied is completed or undone first."""
    both = closing(desk)
    graph, thread = desk.control.bind(both, name="closing"), f"chat {trigger}"
    first = desk.run(graph, how, trigger=trigger, thread=thread, given={"request": {}})
    with pytest.raises(RunRefused) as refused:
        desk.run(graph, how, trigger=new_trigger(), thread=thread, given={"request": {}})
    assert refused.value.code == "thread_busy"
    desk.approve(first.approvals)
    assert (desk.resume(first, how).output["outcome"], desk.done) == ("done", ["o1:500"])


def test_the_published_policy_has_the_last_word(desk: Desk, how: How, trigger: str) -> None:
    """A process with the rules of before ends nothing any more once other rules are published."""
    graph, thread = refunding(desk, 500), f"chat {trigger}"
    first = desk.run(graph, how, trigger=trigger, thread=thread)
    publish(desk.database)
    with pytest.raises(RunRefused) as refused:
        desk.run(graph, how, trigger=new_trigger(), thread=thread)
    assert refused.value.code == "thread_busy"
    assert desk.control.get(first.id).state is RunState.NEEDS_APPROVAL


def test_a_submitted_run_does_so_too(desk: Desk, trigger: str) -> None:
    """`submit` ends the waiting run as `run` does, and a worker then answers."""
    graph, thread = refunding(desk, 500), f"chat {trigger}"
    first = desk.run(graph, trigger=trigger, thread=thread)
    queued = desk.control.submit(graph.name, GO, trigger=new_trigger(), thread=thread, actor="support-bot")
    stopped = desk.control.get(first.id)
    assert ((stopped.state, stopped.reason), queued.reason) == (REPLACED, "queued")
    assert spoken(desk.resume(queued))[-1] == ("ai", "as you wish")


def test_a_served_run_does_so_too(desk: Desk, how: How, trigger: str) -> None:
    """On a server, another input on the thread ends the run that waits there."""
    front = FrontDesk.refunding(desk, how, 500)
    first = front.start(trigger)
    front.call(GO, trigger=f"{trigger}/2")
    stopped = desk.control.get(first.id)
    assert (stopped.state, stopped.reason) == REPLACED
    kinds = [message.type for message in front.state.values["messages"]]
    assert kinds == ["human", "ai", "tool", "human", "ai"]


def test_a_cancelled_runs_calls_are_answered(desk: Desk, how: How, trigger: str) -> None:
    """After a person's cancellation, too, the next run's model is given a conversation without holes."""
    graph, thread = refunding(desk, 500), f"chat {trigger}"
    first = desk.run(graph, how, trigger=trigger, thread=thread)
    with Operators(desk.database.approver("ana")) as operators:
        operators.cancel(run_id(first.id), comment="not wanted")
    second = desk.run(graph, how, trigger=new_trigger(), thread=thread)
    assert [who for who, _ in spoken(second)] == ["human", "ai", "tool", "human", "ai"]
