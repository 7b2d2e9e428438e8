"""What somebody can do who may resume a graph at the server: wake it, and be put on record."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from langgraph.types import Command

from langgraph_control import Run
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.names import approval_id, run_id
from langgraph_control.errors import RunRefused
from tests.support.desk import Desk, How
from tests.support.front_desk import FrontDesk, User, agent

ANA, CY = "ana@acme.example", "cy@acme.example"


def edit(digest: str | None, tool: str = "refund", **arguments: Any) -> Any:
    """Return an edit as LangChain's front ends send it, with a digest as they do not."""
    named = {} if digest is None else {"digest": digest}
    return {"decisions": [{"type": "edit", "edited_action": {"name": tool, "args": arguments}, **named}]}


Resume = Callable[[str, str], Any]
"""What is sent, made of the pending interrupt's id and the request's digest."""

BY_NOBODY: dict[str, Resume] = {
    "by value": lambda _, digest: {"decision": "approve", "digest": digest},
    "by review": lambda _, digest: {"decisions": [{"type": "approve", "digest": digest}]},
    "by inbox": lambda _, digest: [{"type": "accept", "args": None, "digest": digest}],
    "by id": lambda interrupt, digest: {interrupt: {"decision": "approve", "digest": digest}},
    "by edit": lambda _, digest: edit(digest, amount="300"),
    "by edit in the inbox": lambda _, digest: [
        {"type": "edit", "args": {"action": "refund", "args": {"amount": "300"}}, "digest": digest}
    ],
    "with a role claimed": lambda _, digest: {
        "decision": "approve", "digest": digest, "role": "finance", "person": ANA, "identity": {"person": ANA},
    },
}  # fmt: skip

BY_ANA: dict[str, tuple[Resume, str]] = {
    "truth": (lambda _i, _d: True, "no_decision"),
    "text": (lambda _i, _d: "approved", "no_decision"),
    "our own wake-up": (lambda _i, _d: {"control": "0" * 64}, "no_decision"),
    "without a digest": (lambda _i, _d: {"decisions": [{"type": "approve"}]}, "digest_missing"),
    "another digest": (lambda _i, _d: {"decision": "approve", "digest": "0" * 64}, "other_digest"),
    "no digest at all": (lambda _i, _d: {"decision": "approve", "digest": ["a"]}, "other_digest"),
    "an edit without a digest": (lambda _i, _d: edit(None, order_id="o0", amount="300"), "digest_missing"),
    "an edit of another digest": (lambda _i, _d: edit("0" * 64, order_id="o0", amount="300"), "other_digest"),
    "an edit that changes nothing": (lambda _, digest: edit(digest, order_id="o0", amount="500"), "edit_unusable"),
    "an edit without arguments": (lambda _, digest: edit(digest), "edit_unusable"),
    "an edit of another tool": (lambda _, digest: edit(digest, "look", order_id="o1"), "edit_unusable"),
    "two at one interrupt": (
        lambda interrupt, digest: {interrupt: [{"type": "accept", "digest": digest}, {"type": "reject"}]},
        "no_decision",
    ),
    "a comment with a NUL": (
        lambda _, digest: {"decision": "reject", "digest": digest, "comment": "a\x00b"},
        "no_decision",
    ),
    "a comment with half a character": (
        lambda _, digest: {"decision": "approve", "digest": digest, "comment": "a\ud800b"},
        "no_decision",
    ),
    "an edit with a comment with a NUL": (
        lambda _, digest: {"decision": "edit", "digest": digest, "changes": {"amount": "300"}, "comment": "\x00"},
        "no_decision",
    ),
    "an edit with a NUL": (lambda _, digest: edit(digest, order_id="o0", amount="3\x00"), "edit_unusable"),
    "an edit with a NUL in a name": (
        lambda _, digest: {"decision": "edit", "digest": digest, "changes": {"a\x00": "300"}},
        "edit_unusable",
    ),
    "an edit with half a character": (
        lambda _, digest: edit(digest, order_id="o0", amount="3\ud800"),
        "edit_unusable",
    ),
    "an id that waits nowhere": (
        lambda _, digest: {"0" * 32: {"decision": "approve", "digest": digest}},
        "not_pending",
    ),
}


def parked(desk: Desk, how: How, trigger: str, *, amount: int = 500) -> tuple[FrontDesk, Run, str, str]:
    """Return a front end with a request that waits: its run, the pending interrupt's id, the digest."""
    front = FrontDesk.refunding(desk, how, amount, votes=True)
    run = front.start(trigger)
    (pending,) = front.state.interrupts
    return front, run, pending.id, pending.value["digest"]


def unharmed(front: FrontDesk, run: Run) -> None:
    """Check that nothing was done, and that the right person can still decide."""
    desk = front.desk
    now = desk.control.get(run.id)
    assert (now.state, now.approvals, desk.done) == (RunState.NEEDS_APPROVAL, run.approvals, [])
    front.resume({"decision": "approve", "digest": front.card["digest"]}, user=ANA)
    assert desk.done == ["o0:500"]


@pytest.mark.parametrize("resume", BY_NOBODY)
def test_a_resume_by_nobody(desk: Desk, how: How, trigger: str, resume: str) -> None:
    """A decision that no authenticated user sent is ignored, whatever it claims, and on record."""
    front, run, interrupt, digest = parked(desk, how, trigger)
    front.resume(BY_NOBODY[resume](interrupt, digest))
    assert front.ignored(run) == ["not_authenticated"]
    unharmed(front, run)


@pytest.mark.parametrize("user", [{"kind": "StudioUser", "identity": ANA}, {"identity": ""}, {"identity": ["x"]}, ANA])
def test_a_placeholder_is_nobody(desk: Desk, how: How, trigger: str, user: Any) -> None:
    """Studio's user, an empty one, and one that says it is not authenticated are no person."""
    front, run, _, digest = parked(desk, how, trigger)
    given = User(identity=ANA, is_authenticated=False) if user == ANA else user
    front.call(Command(resume={"decision": "approve", "digest": digest}), user=given)
    assert front.ignored(run) == ["not_authenticated"]
    unharmed(front, run)


@pytest.mark.parametrize("resume", BY_ANA)
def test_a_resume_that_names_no_request(desk: Desk, how: How, trigger: str, resume: str) -> None:
    """Even by the right person: what does not name the request's digest is no vote."""
    front, run, interrupt, digest = parked(desk, how, trigger)
    value, reason = BY_ANA[resume]
    front.resume(value(interrupt, digest), user=ANA)
    assert front.ignored(run) == [reason]
    unharmed(front, run)


def test_the_id_of_another_run(desk: Desk, how: How, trigger: str) -> None:
    """An interrupt, a digest or a request of another thread's run decides neither here nor there."""
    front, run, _, digest = parked(desk, how, trigger)
    other, other_run, interrupt, other_digest = parked(desk, how, f"{trigger}/other", amount=600)
    for value in (
        {interrupt: {"decision": "approve", "digest": other_digest}},
        {"decision": "approve", "digest": other_digest},
        {"decision": "approve", "digest": digest, "approval": other_run.approvals[0]},
    ):
        front.resume(value, user=ANA)
    assert front.ignored(run) == ["not_pending", "other_digest", "other_request"]
    assert other.ignored(other_run) == []
    assert desk.control.get(other_run.id).state is RunState.NEEDS_APPROVAL
    unharmed(front, run)


def raised(front: FrontDesk) -> dict[str, Any]:
    """Return an update that makes the asked amount 5000."""
    asked = front.state.values["messages"][-1]
    (tool_call,) = asked.tool_calls
    changed = {**tool_call, "args": {**tool_call["args"], "amount": "5000"}}
    return {"messages": [asked.model_copy(update={"tool_calls": [changed]})]}


def test_a_resume_together_with_an_update(desk: Desk, how: How, trigger: str) -> None:
    """A decision that brings another state, or another way to go, is refused before it is heard, and on record."""
    front, run, _, digest = parked(desk, how, trigger)
    for more in ({"update": raised(front)}, {"goto": "model"}):
        with pytest.raises(RunRefused) as refused:
            front.resume({"decision": "approve", "digest": digest}, user=ANA, **more)
        assert refused.value.code == "resume_with_changes"
    assert front.ignored(run) == ["state_changed", "state_changed"]
    unharmed(front, run)


def test_a_resume_after_an_update(desk: Desk, how: How, trigger: str) -> None:
    """The state is changed first, then the old digest approved: what is asked by then is another, and is not done."""
    front, run, _, digest = parked(desk, how, trigger)
    front.graph.update_state({"configurable": {"thread_id": front.thread}}, raised(front), as_node="model")
    front.resume({"decision": "approve", "digest": digest}, user=ANA)
    assert desk.done == []
    assert front.ignored(run) == ["not_pending"]
    assert front.card["digest"] != digest
    assert desk.control.get(run.id).state is RunState.NEEDS_APPROVAL


def test_a_resume_of_a_finished_thread(desk: Desk, how: How, trigger: str) -> None:
    """After the end there is nothing to resume: a replayed decision runs nothing, and is on record in the last run."""
    front, run, _, digest = parked(desk, how, trigger)
    good = {"decision": "approve", "digest": digest}
    front.resume(good, user=ANA)
    for given in ({}, {"goto": "model"}):
        with pytest.raises(RunRefused) as refused:
            front.resume(good, user=ANA, **given)
        assert (refused.value.code, desk.done) == ("nothing_to_resume", ["o0:500"])
    assert front.ignored(run) == ["nothing_to_resume", "nothing_to_resume"]
    with pytest.raises(RunRefused):
        front.call(None)  # nobody says anything
    assert front.ignored(run) == ["nothing_to_resume", "nothing_to_resume"]


def test_a_thread_that_names_anothers_run(desk: Desk, how: How, trigger: str) -> None:
    """Whoever writes checkpoints cannot have it put on record in a run of another thread, or of none."""
    front, run, _, digest = parked(desk, how, trigger)
    other, other_run, _, _ = parked(desk, how, f"{trigger}/other")
    for named in (other_run.id, f"run_{'0' * 32}", "no name"):
        thread = FrontDesk(desk=desk, graph=front.graph, thread=f"{front.thread}/{named}", how=how)
        config = {"configurable": {"thread_id": thread.thread}, "metadata": {"control_run": named}}
        front.graph.update_state(config, {"messages": []}, as_node="model")
        with pytest.raises(RunRefused) as refused:
            thread.resume({"decision": "approve", "digest": digest}, user=ANA)
        assert refused.value.code == "nothing_to_resume"
    assert (front.ignored(run), other.ignored(other_run)) == ([], [])
    unharmed(front, run)


def test_a_resume_by_another_graph(desk: Desk, how: How, trigger: str) -> None:
    """Another assistant's resume of the thread is refused, and on record in the thread's run."""
    front, run, _, digest = parked(desk, how, trigger)
    other = FrontDesk.of(desk, agent(desk, "done"), how, votes=True, name="desk")
    other.graph.checkpointer, other.thread = front.graph.checkpointer, front.thread
    with pytest.raises(RunRefused) as refused:
        other.resume({"decision": "approve", "digest": digest}, user=ANA)
    assert refused.value.code == "other_graph"
    assert front.ignored(run) == ["other_graph"]
    unharmed(front, run)


def test_what_is_said_where_several_wait(desk: Desk, how: How, trigger: str) -> None:
    """A digest that none of several requests has is another digest, and decides none of them."""
    front = FrontDesk.refunding(desk, how, 500, 600, votes=True)
    run = front.start(trigger)
    front.resume({"decision": "approve", "digest": "0" * 64}, user=ANA)
    assert front.ignored(run) == ["other_digest"]
    assert (len(desk.control.get(run.id).approvals), desk.done) == (2, [])


@pytest.mark.parametrize("decision", ["approve", "reject", "edit"])
def test_a_user_who_is_called_like_a_group_is_nobody(desk: Desk, how: How, trigger: str, decision: str) -> None:
    """A server's user of a name that the policy keeps for groups votes for nobody, and that is on record."""
    front, run, _, digest = parked(desk, how, trigger)
    said = {"decision": decision, "digest": digest, **({"changes": {"amount": "300"}} if decision == "edit" else {})}
    front.resume(said, user="group:finance")
    assert front.ignored(run) == ["not_authenticated"]
    unharmed(front, run)


def test_a_group_that_cannot_be_kept_is_none(desk: Desk, how: How, trigger: str) -> None:
    """A group of an authenticated user that no policy can name is left out, and their vote counts like any other."""
    front, run, _, digest = parked(desk, how, trigger)
    user = {"identity": ANA, "groups": ["a\x00b", "a\ud800b"]}
    front.call(Command(resume={"decision": "approve", "digest": digest}), user=user)
    assert (front.ignored(run), desk.done) == ([], ["o0:500"])


def test_a_vote_without_the_role(desk: Desk, how: How, trigger: str) -> None:
    """A user without the role votes in vain; that is the ledger's refusal, under the user's name."""
    front, run, _, digest = parked(desk, how, trigger)
    front.resume({"decision": "approve", "digest": digest, "role": "finance"}, user=CY)
    assert front.ignored(run) == []
    (said,) = [fact for fact in front.facts(run) if "approval.refused" in fact["events"]]
    assert (said["reason"], said["person"], said["roles"]) == ("unknown_person", CY, [])
    assert (said["digest"], said["identity"]["person"]) == (digest, CY)
    unharmed(front, run)


def test_without_an_approvers_login_nobody_votes_here(desk: Desk, how: How, trigger: str) -> None:
    """A server that has only the agent's login takes no votes, from the right person either."""
    front = FrontDesk.refunding(desk, how, 500)
    run = front.start(trigger)
    front.resume({"decision": "approve", "digest": front.card["digest"]}, user=ANA)
    assert front.ignored(run) == ["no_votes_here"]
    assert (desk.control.get(run.id).state, desk.done) == (RunState.NEEDS_APPROVAL, [])


def test_the_agents_login_can_note_attempts_and_nothing_more(desk: Desk, trigger: str) -> None:
    """What records an attempt makes no approval's entry, changes no request, and knows its own tenant alone."""
    front, run, _, _ = parked(desk, "sync", trigger)
    asked = (run_id(run.id), approval_id(run.approvals[0]))
    note = "SELECT control.attempt_v1(%s, %s, %s, '{}', NULL)"
    with psycopg.connect(desk.database.agent, autocommit=True) as agent:
        assert agent.execute(note, (*asked, "no_decision")).fetchone() == (True,)
        for reason in ("Approved by Ana", "x" * 65, ""):
            with pytest.raises(psycopg.Error, match="cannot be one"):
                agent.execute(note, (*asked, reason))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            agent.execute("SELECT control.vote_v1(%s, 'approve', NULL, NULL, NULL, NULL, '{}')", (asked[1],))
    with psycopg.connect(desk.database.second_tenant_agent, autocommit=True) as stranger:
        assert stranger.execute(note, (*asked, "no_decision")).fetchone() == (False,)
        assert stranger.execute("SELECT control.run_of_thread_v1(%s)", (front.thread,)).fetchone() == (None,)
    unharmed(front, run)
