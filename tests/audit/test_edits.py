"""What people change about what they are asked: checked, decided afresh, asked about afresh, told to the model."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson
import psycopg
import pytest
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langgraph.types import Command

from langgraph_control import Approvals, Control, Policy, Run, writes
from langgraph_control.audit.asking.operator_requests import Scope
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_id, run_id
from langgraph_control.audit.people.operators import Operators
from langgraph_control.errors import ApprovalRefused, ArgumentError
from langgraph_control.nodes.results import with_note
from tests.support.desk import GO, Desk, How, new_trigger, publish, told
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls
from tests.support.trails import TrailWriter


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """A desk whose refunds above 100 wait for finance."""
    publish(database)
    made = Desk.on(database)
    with made.control:
        yield made


@pytest.fixture
def ana(desk: Desk) -> Iterator[Approvals]:
    """Ana of finance."""
    with Approvals(desk.database.approver("ana")) as approvals:
        yield approvals


@pytest.fixture
def bo(desk: Desk) -> Iterator[Approvals]:
    """Bo of finance."""
    with Approvals(desk.database.approver("bo")) as approvals:
        yield approvals


def shown(approvals: Approvals, run: Run) -> tuple[str, Any]:
    """The one request of a run, and the amount it shows."""
    (name,) = run.approvals
    return name, orjson.loads(approvals.get(name).card)["what"]["arguments"]["amount"]


@pytest.mark.parametrize("how", ["sync", "async"])
def test_an_edit_becomes_a_request_for_exactly_that(desk: Desk, ana: Approvals, bo: Approvals, how: How) -> None:
    """The call goes on with the new amount: a new card, a new grant, and that runs; the model is told what changed."""
    graph, trigger = desk.refunding(500), new_trigger()
    run = desk.run(graph, how, trigger=trigger)
    name, _ = shown(ana, run)
    ana.edit(name, {"amount": "300"}, comment="only the shipping")
    run = desk.run(graph, how, trigger=trigger)
    assert (run.state, desk.done) == (RunState.NEEDS_APPROVAL, [])
    after, amount = shown(ana, run)
    assert (amount, after != name) == ("300", True)
    row = ana.get(after)
    assert (row.supersedes, row.edited_by) == (approval_id(name), "ana@acme.example")
    assert ana.get(name).state == "superseded"
    bo.approve(after)
    run = desk.run(graph, how, trigger=trigger)
    assert str(run) == "done"
    assert desk.done == ["o0:300"]
    assert told(run) == ["A person changed this before it was done: amount = 300.\nrefunded 300"]


def test_the_whole_change_is_on_record(desk: Desk, ana: Approvals, bo: Approvals) -> None:
    """What was asked for and what it became, by whom and why, and both requests."""
    graph, trigger = desk.refunding(500), new_trigger()
    run = desk.run(graph, trigger=trigger)
    ana.edit(shown(ana, run)[0], {"amount": "300"}, comment="only the shipping")
    run = desk.run(graph, trigger=trigger)
    bo.approve(shown(bo, run)[0])
    run = desk.run(graph, trigger=trigger)
    with LedgerConnection(desk.database.agent) as auditor:
        entries = list(auditor.entries(run_id(run.id)))
    said = [(orjson.loads(entry.facts)["events"], entry.payload) for entry in entries]
    (payload,) = [payload for events, payload in said if events == ["approval.edited"]]
    assert orjson.loads(payload or b"") == {"amount": "300"}
    assert any({"approval.superseded", "approval.requested"} <= set(events) for events, _ in said)


def test_what_people_said_is_told_to_programs(desk: Desk, ana: Approvals, bo: Approvals) -> None:
    """Edits with what became of them, votes in their order, how many count now; in both worlds the same."""
    graph, trigger = desk.refunding(500), new_trigger()
    (name,) = desk.run(graph, trigger=trigger).approvals
    ana.edit(name, {"amount": "abc"}, comment="a typo")
    desk.run(graph, trigger=trigger)
    bo.edit(name, {"amount": "300"})
    ana.approve(name, comment="seen")
    said = bo.words(name)
    assert [(one.person, one.changes, one.comment) for one in said.edits] == [
        ("ana@acme.example", {"amount": "abc"}, "a typo"),
        ("bo@acme.example", {"amount": "300"}, None),
    ]
    assert (said.edits[0].problem or "").startswith("amount: ")
    assert said.edits[1].problem is None
    assert [(one.person, one.decision, one.comment) for one in said.votes] == [("ana@acme.example", "approve", "seen")]
    assert (said.yes, said.lapsed) == (1, 0)
    assert asyncio.run(bo.awords(name)) == said
    row = bo.get(name)
    assert bo.yes_counted([row]) == asyncio.run(bo.ayes_counted([row])) == {approval_id(name): 1}


def test_an_edit_is_decided_by_the_policy_afresh(database: Database) -> None:
    """A larger amount needs other people: the first approver's edit does not approve it."""
    policy = Policy.parse(
        """\
version: 1
roles: {finance: [ana@acme.example], cfo: [bo@acme.example]}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 1000}}, then: approve, by: finance}
  - {tool: refund, when: {amount: {gt: 1000, lte: 9000}}, then: approve, by: cfo}
""",
        source="large.yaml",
    )
    publish(database)
    publish_policy(database.admin, policy)
    with Control(policy, dsn=database.agent) as control, Approvals(database.approver("ana")) as ana:
        desk = Desk(database=database, control=control)
        graph, trigger = desk.refunding(500), new_trigger()
        ana.edit(desk.run(graph, trigger=trigger).approvals[0], {"amount": "5000"})
        run = desk.run(graph, trigger=trigger)
        with pytest.raises(ApprovalRefused) as refused:
            ana.approve(run.approvals[0])
        assert refused.value.code == "not_in_role"
        assert desk.run(graph, trigger=trigger).state is RunState.NEEDS_APPROVAL
        desk.approve(run.approvals, person="bo")
        assert str(desk.run(graph, trigger=trigger)) == "done"
    assert desk.done == ["o0:5000"]


def test_whoever_was_asked_in_the_end_does_not_decide_about_another_change(database: Database) -> None:
    """Asked because finance did not answer, the others may change the amount; then finance is asked anew."""
    policy = Policy.parse(
        """\
version: 1
roles: {finance: [ana@acme.example], board: [bo@acme.example]}
approve: {within: 1h, on_expiry: {escalate_to: board, within: 1h}}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 9000}}, then: approve, by: finance}
""",
        source="escalated.yaml",
    )
    publish(database)
    publish_policy(database.admin, policy)
    with Control(policy, dsn=database.agent) as control, Approvals(database.approver("bo")) as bo:
        desk = Desk(database=database, control=control)
        graph, trigger = desk.refunding(500), new_trigger()
        run = desk.run(graph, trigger=trigger)
        with psycopg.connect(database.admin) as admin:
            admin.execute("UPDATE control.approval SET expires_at = clock_timestamp()")
        run = desk.run(graph, trigger=trigger)
        bo.edit(run.approvals[0], {"amount": "5000"})
        run = desk.run(graph, trigger=trigger)
        with pytest.raises(ApprovalRefused) as refused:
            bo.approve(run.approvals[0])
        assert refused.value.code == "not_in_role"
        desk.approve(run.approvals)
        assert str(desk.run(graph, trigger=trigger)) == "done"
    assert desk.done == ["o0:5000"]


def test_an_edit_below_the_threshold_still_needs_its_yes(desk: Desk, ana: Approvals) -> None:
    """Changed to what would have been allowed unasked, it is asked about all the same: people were asked once."""
    graph, trigger = desk.refunding(500), new_trigger()
    ana.edit(desk.run(graph, trigger=trigger).approvals[0], {"amount": "50"})
    run = desk.run(graph, trigger=trigger)
    assert (run.state, desk.done) == (RunState.NEEDS_APPROVAL, [])
    assert shown(ana, run)[1] == "50"
    ana.approve(run.approvals[0])
    assert str(desk.run(graph, trigger=trigger)) == "done"
    assert desk.done == ["o0:50"]


def test_the_newest_edit_is_heeded_however_long_an_earlier_one_waits(desk: Desk, ana: Approvals, bo: Approvals) -> None:
    """While writes are stopped an edit is taken up and nobody is asked yet: who changes the request then is heard."""
    graph, trigger = desk.refunding(500), new_trigger()
    name, _ = shown(ana, desk.run(graph, trigger=trigger))
    ana.edit(name, {"amount": "400"})
    with Operators(desk.database.approver("ana")) as operators:
        operators.freeze(Scope.TENANT, comment="looking into it")
        assert desk.run(graph, trigger=trigger).reason == "frozen"
        bo.edit(name, {"amount": "300"})
        operators.unfreeze(Scope.TENANT, comment="all is well")
    run = desk.run(graph, trigger=trigger)
    assert shown(ana, run)[1] == "300"
    ana.approve(shown(ana, run)[0])
    assert str(desk.run(graph, trigger=trigger)) == "done"
    assert desk.done == ["o0:300"]


def test_edits_of_edits_add_up(desk: Desk, ana: Approvals, bo: Approvals) -> None:
    """The second approver changes what the first one made of it, and back; each time it is asked about afresh."""
    graph, trigger = desk.refunding(500), new_trigger()
    run = desk.run(graph, trigger=trigger)
    for who, amount in ((ana, "300"), (bo, "200"), (ana, "250")):
        who.edit(shown(who, run)[0], {"amount": amount})
        run = desk.run(graph, trigger=trigger)
        assert shown(who, run)[1] == amount
    ana.approve(shown(ana, run)[0])
    assert str(desk.run(graph, trigger=trigger)) == "done"
    assert desk.done == ["o0:250"]


def test_edits_of_different_arguments_add_up(desk: Desk, ana: Approvals, bo: Approvals) -> None:
    """The amount changed by one and the currency by another: what is asked about, and done, has both changes."""

    @writes(key="order_id", impact="money")
    def refund(order_id: str, amount: Decimal, currency: str) -> str:
        """Refund an order."""
        desk.done.append(f"{order_id}:{amount}:{currency}")
        return "refunded"

    asked = calls(call("refund", order_id="o0", amount="500", currency="USD", call_id="c"))
    agent = create_agent(ScriptedModel(script=(asked, "done")), desk.control.govern([refund]))
    graph, trigger = desk.control.bind(agent, name="support"), new_trigger()
    run = desk.run(graph, trigger=trigger)
    for who, change in ((ana, {"amount": "300"}), (bo, {"currency": "EUR"})):
        who.edit(shown(who, run)[0], change)
        run = desk.run(graph, trigger=trigger)
    name, _ = shown(ana, run)
    assert orjson.loads(ana.get(name).card)["what"]["arguments"] == {
        "order_id": "o0",
        "amount": "300",
        "currency": "EUR",
    }
    ana.approve(name)
    assert str(desk.run(graph, trigger=trigger)) == "done"
    assert desk.done == ["o0:300:EUR"]


def test_an_edit_back_to_what_was_asked_is_none(desk: Desk, ana: Approvals, bo: Approvals) -> None:
    """Changed back, it is asked about as the model first made it."""
    graph, trigger = desk.refunding(500), new_trigger()
    run = desk.run(graph, trigger=trigger)
    ana.edit(shown(ana, run)[0], {"amount": "300"})
    run = desk.run(graph, trigger=trigger)
    bo.edit(shown(bo, run)[0], {"amount": "500"})
    run = desk.run(graph, trigger=trigger)
    assert run.state is RunState.NEEDS_APPROVAL
    name, amount = shown(bo, run)
    assert amount == "500"
    bo.approve(name)
    assert str(desk.run(graph, trigger=trigger)) == "done"
    assert desk.done == ["o0:500"]


def test_a_request_made_anew_knows_whose_change_it_shows(desk: Desk, ana: Approvals, bo: Approvals) -> None:
    """The run that was changed is cancelled; the next one asks about the same change, and an edit adds to it."""
    intent, graph = new_trigger(), desk.refunding(500)
    run = desk.run(graph, trigger=intent)
    ana.edit(shown(ana, run)[0], {"amount": "300"})
    run = desk.run(graph, trigger=intent)
    with Operators(desk.database.approver("ana")) as operators:
        operators.cancel(run_id(run.id), comment="begun anew")
    graph, again = desk.refunding(500), f"{intent}/again"
    run = desk.run(graph, trigger=again, intent=intent)
    name, amount = shown(bo, run)
    row = bo.get(name)
    assert (amount, row.edited_by, row.supersedes) == ("300", "ana@acme.example", None)
    bo.edit(name, {"amount": "200"})
    run = desk.run(graph, trigger=again, intent=intent)
    name, amount = shown(ana, run)
    assert amount == "200"
    ana.approve(name)
    assert str(desk.run(graph, trigger=again, intent=intent)) == "done"
    assert desk.done == ["o0:200"]


def test_edits_that_lead_to_each_other_end(desk: Desk, ana: Approvals) -> None:
    """What one call was changed to is another call's own, which is changed to the first one's: no circle."""
    intent, graph = new_trigger(), desk.refunding(300)
    run = desk.run(graph, trigger=intent)
    ana.edit(shown(ana, run)[0], {"amount": "500"})
    run = desk.run(graph, trigger=intent)
    with Operators(desk.database.approver("ana")) as operators:
        operators.cancel(run_id(run.id), comment="begun anew")
    other, again = desk.refunding(500), f"{intent}/again"
    run = desk.run(other, trigger=again, intent=intent)
    ana.edit(shown(ana, run)[0], {"amount": "300"})
    run = desk.run(other, trigger=again, intent=intent)
    name, amount = shown(ana, run)
    assert amount == "300"
    ana.approve(name)
    assert str(desk.run(other, trigger=again, intent=intent)) == "done"
    assert desk.done == ["o0:300"]


REFUSED = {
    "no number": ({"amount": "a lot"}, "amount"),
    "no such argument": ({"colour": "blue"}, "colour"),
    "another record": ({"order_id": "o99"}, "order_id"),
    "nothing new": ({"amount": "500.00"}, "nothing would be different"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_edit_that_does_not_fit_changes_nothing(desk: Desk, ana: Approvals, what: str) -> None:
    """It is on record with the field's name; the request stays as it was and can be approved."""
    changes, named = REFUSED[what]
    graph, trigger = desk.refunding(500), new_trigger()
    run = desk.run(graph, trigger=trigger)
    name, _ = shown(ana, run)
    ana.edit(name, changes)
    run = desk.run(graph, trigger=trigger)
    assert shown(ana, run) == (name, "500")
    with LedgerConnection(desk.database.agent) as auditor:
        facts = [orjson.loads(entry.facts) for entry in auditor.entries(run_id(run.id))]
    (refused,) = [one for one in facts if one["events"] == ["approval.edit_refused"]]
    assert named in refused["reason"]
    ana.approve(name)
    assert str(desk.run(graph, trigger=trigger)) == "done"
    assert desk.done == ["o0:500"]


@pytest.mark.parametrize("changes", [{}, {"amount": object()}])
def test_an_edit_that_is_none_is_refused_before_it_is_sent(desk: Desk, ana: Approvals, changes: dict[str, Any]) -> None:
    """No changes, or values that JSON does not have."""
    run = desk.run(desk.refunding(500), trigger=new_trigger())
    with pytest.raises(ArgumentError):
        ana.edit(run.approvals[0], changes)


def test_who_may_not_approve_may_not_edit(desk: Desk, ana: Approvals) -> None:
    """The requester, and whoever is not asked; and nobody once it is closed."""
    run = desk.run(desk.refunding(500), trigger=new_trigger(), actor="ana@acme.example")
    with pytest.raises(ApprovalRefused) as refused:
        ana.edit(run.approvals[0], {"amount": "1"})
    assert refused.value.code == "is_requester"
    desk.approve(run.approvals, person="bo")
    with pytest.raises(ApprovalRefused) as refused:
        ana.edit(run.approvals[0], {"amount": "1"})
    assert refused.value.code == "closed"


def test_a_repeat_of_an_edited_call_gets_its_result(desk: Desk, ana: Approvals) -> None:
    """Asked for again as the model first worded it, under the same intent, it is what was done in its place."""
    graph, trigger = desk.refunding(500), new_trigger()
    ana.edit(desk.run(graph, trigger=trigger, intent=trigger).approvals[0], {"amount": "300"})
    ana.approve(desk.run(graph, trigger=trigger).approvals[0])
    assert str(desk.run(graph, trigger=trigger)) == "done"
    again = desk.run(desk.refunding(500), trigger=f"{trigger}/again", intent=trigger)
    assert told(again) == ["A person changed this before it was done: amount = 300.\nrefunded 300"]
    assert desk.done == ["o0:300"]


@pytest.mark.parametrize("who", ["the one that asked", "the other one"])
def test_two_runs_of_one_request_follow_one_edit(desk: Desk, ana: Approvals, who: str) -> None:
    """Both wait for the same change; edited for one, it is edited for both and done once, whichever goes on first."""
    intent = new_trigger()
    runs = [(desk.refunding(500), intent), (desk.refunding(500), f"{intent}/other")]
    first, second = [desk.run(graph, trigger=trigger, intent=intent) for graph, trigger in runs]
    assert first.approvals == second.approvals
    ana.edit(first.approvals[0], {"amount": "300"})
    order = runs if who == "the one that asked" else runs[::-1]
    one, another = [desk.run(graph, trigger=trigger, intent=intent) for graph, trigger in order]
    assert one.approvals == another.approvals != first.approvals
    ana.approve(one.approvals[0])
    ended = [desk.run(graph, trigger=trigger, intent=intent) for graph, trigger in order]
    assert [str(run) for run in ended] == ["done", "done"]
    assert desk.done == ["o0:300"]
    assert {text for run in ended for text in told(run)} == {
        "A person changed this before it was done: amount = 300.\nrefunded 300"
    }


@pytest.mark.parametrize("card", [b"{", b"[]", b'"x"', b"{}", b'{"what": 1}', b'{"what": {"arguments": []}}'])
def test_a_card_that_cannot_be_read_is_not_edited(database: Database, card: bytes) -> None:
    """What an agent wrote as a card may be anything; then nobody knows what is redacted, and that is said."""
    with TrailWriter(database) as trail, Approvals(database.approver("ana")) as ana:
        trail.publish()
        _, claimed = trail.claim(trail.open(), verb="approve", card=card)
        assert claimed.approval_id is not None
        with pytest.raises(ArgumentError) as refused:
            ana.edit(claimed.approval_id, {"amount": "1"})
    assert refused.value.code == "edit_unreadable"


def test_what_is_kept_out_of_the_record_is_not_edited(desk: Desk, ana: Approvals) -> None:
    """An edit is stored; a redacted argument must not be."""

    @writes(key="order_id", impact="money", redact="iban")
    def refund(order_id: str, amount: Decimal, iban: str) -> str:
        """Refund an order."""
        desk.done.append(f"{order_id}:{amount}:{iban}")
        return "refunded"

    asked = calls(call("refund", order_id="o1", amount="500", iban="DE02"))
    agent = create_agent(ScriptedModel(script=(asked, "done")), desk.control.govern([refund]))
    graph, trigger = desk.control.bind(agent, name="iban"), new_trigger()
    run = desk.control.run(graph, GO, trigger=trigger, actor="bot")
    with pytest.raises(ArgumentError) as refused:
        ana.edit(run.approvals[0], {"iban": "DE99"})
    assert refused.value.code == "edit_redacted"
    with psycopg.connect(desk.database.admin) as admin:
        # Whoever sends it all the same finds it refused by the run.
        statement = "SELECT control.edit_v1(%s, '{\"iban\": \"DE99\"}', NULL, NULL, NULL, '{}')"
        with psycopg.connect(desk.database.approver("ana")) as approver:
            approver.execute(statement, (approval_id(run.approvals[0]),))
        run = desk.control.run(graph, GO, trigger=trigger, actor="bot")
        row = admin.execute("SELECT void FROM control.edit").fetchone()
    assert row == (True,)
    ana.approve(run.approvals[0])
    assert str(desk.control.run(graph, GO, trigger=trigger, actor="bot")) == "done"
    assert desk.done == ["o1:500:DE02"]


@pytest.mark.parametrize("changes", [[{"reason": "words of ana"}], [{"amount": "300"}, {"reason": "words of ana"}]])
def test_people_change_the_words_too(desk: Desk, ana: Approvals, bo: Approvals, changes: list[dict[str, str]]) -> None:
    """What a person wrote in the place of the model's free text is asked about as that, and is what is sent."""

    @writes(key="order_id", impact="money", explain="reason")
    def refund(order_id: str, amount: Decimal, reason: str) -> str:
        """Refund an order."""
        desk.done.append(f"{order_id}:{amount}:{reason}")
        return "refunded"

    asked = calls(call("refund", order_id="o1", amount="500", reason="words of the model"))
    agent = create_agent(ScriptedModel(script=(asked, "done")), desk.control.govern([refund]))
    graph, trigger = desk.control.bind(agent, name="words"), new_trigger()
    run = desk.control.run(graph, GO, trigger=trigger, actor="bot")
    for change in changes:
        ana.edit(run.approvals[0], change)
        run = desk.control.run(graph, GO, trigger=trigger, actor="bot")
    (name,) = run.approvals
    assert b"words of ana" in bo.get(name).card
    bo.approve(name)
    assert str(desk.control.run(graph, GO, trigger=trigger, actor="bot")) == "done"
    amount = "300" if len(changes) > 1 else "500"
    assert desk.done == [f"o1:{amount}:words of ana"]


def test_a_result_of_any_form_says_what_was_changed() -> None:
    """Text, data, messages and commands all carry the line to the model."""
    assert with_note("ok", "Changed.") == "Changed.\nok"
    assert with_note({"a": 1}, "Changed.") == 'Changed.\n{"a":1}'
    assert with_note(("ok", [1]), "Changed.") == ("Changed.\nok", [1])
    message = ToolMessage(content=[{"type": "text", "text": "ok"}], tool_call_id="c")
    assert with_note(message, "Changed.").content[0] == {"type": "text", "text": "Changed."}
    command: Command[Any] = Command(update={"messages": [ToolMessage(content="ok", tool_call_id="c")]})
    assert with_note(command, "Changed.").update["messages"][0].content == "Changed.\nok"


def test_an_edit_wakes_its_run(desk: Desk, ana: Approvals) -> None:
    """The run is due once its request was edited, as after a vote."""
    run = desk.run(desk.refunding(500), trigger=new_trigger())
    ana.edit(run.approvals[0], {"amount": "300"})
    assert asyncio.run(desk.control.aresume(run.id)).approvals != run.approvals
