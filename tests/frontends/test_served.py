"""A graph that somebody else starts and resumes: each call is part of a run, and a resume is a wake-up."""

from decimal import Decimal
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.messages import BaseMessage
from langgraph.func import entrypoint
from langgraph.graph import StateGraph
from langgraph.types import interrupt

from langgraph_control import Approvals, writes
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.errors import RunRefused
from tests.support.desk import GO, Desk, How
from tests.support.front_desk import FrontDesk, User, agent
from tests.support.scripted_model import ScriptedModel, call, calls

ANA, BO = "ana@acme.example", "bo@acme.example"


class Asked(TypedDict):
    """What the user was asked."""

    said: str


def asking() -> Any:
    """Return a graph of one node that asks the user a question of its own."""

    def ask(state: Asked) -> Asked:
        return {"said": interrupt("Which colour?")}

    builder = StateGraph(Asked)
    builder.add_node("ask", ask)
    builder.set_entry_point("ask")
    return builder.compile()


def down(_: list[BaseMessage]) -> str:
    """Be a model's provider that is down."""
    raise ValueError("down")


def test_a_small_write_goes_through(desk: Desk, how: How, trigger: str) -> None:
    """What the policy allows is done, and the run is over when the graph is."""
    front = FrontDesk.refunding(desk, how, 50)
    run = front.start(trigger)
    assert (run.state, run.thread, run.intent, desk.done) == (RunState.DONE, front.thread, trigger, ["o0:50"])
    assert front.state.values["messages"][-1].content == "done"


def test_a_vote_elsewhere_lets_the_next_call_go_on(desk: Desk, how: How, trigger: str) -> None:
    """The graph parks with its card; approved by another process, it goes on when it is called without input."""
    front = FrontDesk.refunding(desk, how, 500)
    run = front.start(trigger)
    assert (run.state, desk.done) == (RunState.NEEDS_APPROVAL, [])
    front.call(None)
    assert desk.done == []
    desk.approve(run.approvals)
    front.call(None)
    assert desk.done == ["o0:500"]
    assert desk.control.get(run.id).state is RunState.DONE


def test_an_authenticated_resume_that_names_the_digest_is_a_vote(desk: Desk, how: How, trigger: str) -> None:
    """With an approver's login, a decision by the server's user counts as that person's vote."""
    front = FrontDesk.refunding(desk, how, 500, votes=True)
    run = front.start(trigger)
    front.resume({"decisions": [{"type": "approve", "digest": front.card["digest"]}]}, user=ANA)
    assert (desk.done, front.ignored(run)) == (["o0:500"], [])
    assert desk.control.get(run.id).state is RunState.DONE


def test_a_rejection_tells_the_model(desk: Desk, how: How, trigger: str) -> None:
    """Saying no ends the request, with the reviewer's message."""
    front = FrontDesk.refunding(desk, how, 500, votes=True)
    front.start(trigger)
    decision = {"type": "reject", "digest": front.card["digest"], "message": "Paid back in May."}
    front.resume({"decisions": [decision]}, user=ANA)
    (told,) = [message for message in front.state.values["messages"] if message.type == "tool"]
    assert desk.done == []
    assert told.status == "error"
    assert "Paid back in May." in told.content


EDITS: dict[str, Any] = {
    "ours": lambda digest: {"decision": "edit", "digest": digest, "changes": {"amount": "300"}},
    "review": lambda digest: {
        "decisions": [
            {
                "type": "edit",
                "digest": digest,
                "edited_action": {"name": "refund", "args": {"order_id": "o0", "amount": 300.0}},
                "message": "Only the shipping.",
            }
        ]
    },
    "inbox": lambda digest: [
        {"type": "edit", "digest": digest, "args": {"action": "refund", "args": {"order_id": "o0", "amount": "300"}}}
    ],
}


@pytest.mark.parametrize("shape", EDITS)
def test_an_authenticated_edit_becomes_a_request_for_that(desk: Desk, how: How, trigger: str, shape: str) -> None:
    """Other arguments by the server's user are asked about as exactly those; what then runs is what was approved."""
    front = FrontDesk.refunding(desk, how, 500, votes=True)
    run = front.start(trigger)
    before = front.card
    front.resume(EDITS[shape](before["digest"]), user=ANA)
    after = front.card
    assert (desk.done, front.ignored(run)) == ([], [])
    assert after["digest"] != before["digest"]
    assert after["what"]["arguments"] == {"order_id": "o0", "amount": "300"}
    with Approvals(desk.database.approver("bo")) as bo:
        assert bo.get(after["approval"]).edited_by == ANA
        assert bo.get(before["approval"]).state == "superseded"
    front.resume({"decision": "approve", "digest": before["digest"]}, user=BO)
    assert (desk.done, front.ignored(run)) == ([], ["other_digest"])
    front.resume({"decision": "approve", "digest": after["digest"]}, user=BO)
    assert desk.done == ["o0:300"]


def test_an_edit_keeps_out_what_the_record_keeps_out(desk: Desk, how: How, trigger: str) -> None:
    """An argument that is redacted comes back as it was shown and is no change; written over, it is an attempt."""

    @writes(key="order_id", impact="money", redact="iban")
    def refund(order_id: str, amount: Decimal, iban: str) -> str:
        """Refund an order."""
        desk.done.append(f"{order_id}:{amount}:{iban}")
        return "refunded"

    asked = calls(call("refund", order_id="o0", amount="500", iban="DE02", call_id="c"))
    graph = create_agent(ScriptedModel(script=(asked, "done")), desk.control.govern([refund]))
    front = FrontDesk.of(desk, graph, how, votes=True)
    run = front.start(trigger)
    card = front.card
    shown = card["what"]["arguments"]
    assert shown["iban"] != "DE02"
    front.resume({"decision": "edit", "digest": card["digest"], "changes": {**shown, "iban": "DE99"}}, user=ANA)
    assert (front.card["digest"], front.ignored(run)) == (card["digest"], ["edit_unusable"])
    front.resume({"decision": "edit", "digest": card["digest"], "changes": {**shown, "amount": "300"}}, user=ANA)
    front.resume({"decision": "approve", "digest": front.card["digest"]}, user=BO)
    assert desk.done == ["o0:300:DE02"]


def test_an_edit_that_does_not_count_changes_nothing(desk: Desk, how: How, trigger: str) -> None:
    """Of somebody without the role it is refused by the ledger; what the tool does not take is refused by the run."""
    front = FrontDesk.refunding(desk, how, 500, votes=True)
    front.start(trigger)
    digest = front.card["digest"]
    front.resume({"decision": "edit", "digest": digest, "changes": {"amount": "300"}}, user="cy@acme.example")
    front.resume({"decision": "edit", "digest": digest, "changes": {"amount": "much"}}, user=ANA)
    assert front.card["digest"] == digest
    front.resume({"decision": "approve", "digest": digest}, user=ANA)
    assert desk.done == ["o0:500"]


def test_decisions_are_told_apart_by_digest(desk: Desk, how: How, trigger: str) -> None:
    """Of two requests, a plain resume decides the one it names, whatever place it stands in."""
    front = FrontDesk.refunding(desk, how, 500, 600, votes=True)
    front.start(trigger)
    asked = {pending.value["what"]["arguments"]["order_id"]: pending.value for pending in front.state.interrupts}
    front.resume({"decision": "approve", "digest": asked["o1"]["digest"]}, user=ANA)
    assert desk.done == ["o1:600"]
    front.resume([{"type": "accept", "digest": asked["o0"]["digest"]}], user=BO)
    assert sorted(desk.done) == ["o0:500", "o1:600"]


def test_whoever_asked_cannot_approve(desk: Desk, how: How, trigger: str) -> None:
    """The run acts for the server's user, so that person's own vote is refused, and the refusal is on record."""
    front = FrontDesk.refunding(desk, how, 500, votes=True)
    front.call(GO, user=User(identity=ANA), trigger=trigger, on_behalf_of="somebody-else")
    run = desk.control.get(trigger=trigger)
    front.resume({"decision": "approve", "digest": front.card["digest"]}, user=ANA)
    assert (desk.done, desk.control.get(run.id).state) == ([], RunState.NEEDS_APPROVAL)


def test_an_own_question_is_answered_as_ever(desk: Desk, how: How, trigger: str) -> None:
    """What the user's own code asks by interrupt() gets the plain value it was resumed with."""
    front = FrontDesk.of(desk, asking(), how)
    front.call({"said": ""}, trigger=trigger)
    run = desk.control.get(trigger=trigger)
    assert run.state is RunState.WAITING
    front.resume("blue")
    assert front.state.values["said"] == "blue"
    assert desk.control.get(run.id).state is RunState.DONE


def test_an_entrypoint_is_served_too(desk: Desk, how: How, trigger: str) -> None:
    """What `@entrypoint` gives is a graph as well: it parks, and goes on after the vote."""
    refund = desk.tool("refund")

    @entrypoint()
    def work(order: str) -> str:
        return str(refund.invoke({"order_id": order, "amount": "500"}))

    front = FrontDesk.of(desk, work, how)
    front.call("o0", trigger=trigger)
    desk.approve(desk.control.get(trigger=trigger).approvals)
    front.call(None)
    assert (desk.control.get(trigger=trigger).state, desk.done) == (RunState.DONE, ["o0:500"])


def test_a_second_message_is_a_second_run(desk: Desk, how: How, trigger: str) -> None:
    """A thread has one run after the other; without a trigger each of the server's runs is one."""
    asked = [calls(call("refund", order_id=order, amount="5", call_id=order)) for order in ("o7", "o8")]
    front = FrontDesk.of(desk, agent(desk, asked[0], "first", asked[1], "second"), how)
    front.call(GO)
    front.call(GO)
    assert desk.done == ["o7:5", "o8:5"]
    assert [message.content for message in front.state.values["messages"] if message.type == "ai"][-1] == "second"


def test_a_new_message_does_not_push_a_waiting_run_aside(desk: Desk, how: How, trigger: str) -> None:
    """While a run waits, another input on its thread is refused: its question would be gone."""
    front = FrontDesk.refunding(desk, how, 500)
    run = front.start(trigger)
    with pytest.raises(RunRefused) as refused:
        front.call(GO, trigger=f"{trigger}/2")
    assert refused.value.code == "thread_busy"
    assert desk.control.get(run.id).approvals == run.approvals
    assert front.card["approval"] == run.approvals[0]


def test_the_same_delivery_again_joins(desk: Desk, how: How, trigger: str) -> None:
    """A server that tries its run again finds what was done, and does nothing twice."""
    front = FrontDesk.refunding(desk, how, 50)
    front.start(trigger)
    front.start(trigger)
    assert desk.done == ["o0:50"]


def test_a_trigger_of_another_thread_is_refused(desk: Desk, how: How, trigger: str) -> None:
    """Nobody joins a run that is on another thread by naming its trigger."""
    FrontDesk.refunding(desk, how, 500).start(trigger)
    other = FrontDesk.refunding(desk, how, 500)
    with pytest.raises(RunRefused) as refused:
        other.call(GO, trigger=trigger)
    assert refused.value.code == "trigger_mismatch"


@pytest.mark.parametrize(
    ("configurable", "code"),
    [
        ({"__control_run": "00000000-0000-0000-0000-000000000000/1"}, "config_refused"),
        ({"__pregel_durability": "exit"}, "config_refused"),
        ({"checkpoint_id": "1f0"}, "config_refused"),
        ({"thread_id": ""}, "thread_missing"),
    ],
)
def test_a_config_does_not_move_a_run(desk: Desk, how: How, configurable: dict[str, Any], code: str) -> None:
    """Another checkpoint, another drive, another durability: refused before anything happens."""
    front = FrontDesk.refunding(desk, how, 50)
    with pytest.raises(RunRefused) as refused:
        front.call(GO, trigger="never", **configurable)
    assert (refused.value.code, desk.done) == (code, [])


def test_without_a_checkpointer_nothing_starts(desk: Desk, how: How, trigger: str) -> None:
    """A run that could not wait for anybody is not begun."""
    front = FrontDesk.refunding(desk, how, 500)
    front.graph = front.graph.copy(update={"checkpointer": None})
    with pytest.raises(RunRefused) as refused:
        front.call(GO, trigger=trigger)
    assert refused.value.code == "checkpointer_missing"


def test_a_graph_that_raises_goes_on_with_its_run(desk: Desk, how: How, trigger: str) -> None:
    """What the graph raises reaches the server; the run is blocked, and goes on when the thread is called again."""
    asked = calls(call("refund", order_id="o0", amount="50"))
    front = FrontDesk.of(desk, agent(desk, asked, down, "done"), how)
    with pytest.raises(ValueError, match="down"):
        front.call(GO, trigger=trigger)
    run = desk.control.get(trigger=trigger)
    assert (run.state, desk.done) == (RunState.BLOCKED, ["o0:50"])
    front.call(None)
    assert (desk.control.get(run.id).state, desk.done) == (RunState.DONE, ["o0:50"])
