"""What was approved is what runs: anything changed after the approval is asked for anew, and the trail says so."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
import pytest
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from langgraph_control import Approvals, Run, current_action, writes
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.audit.trail.verify import verify_run
from langgraph_control.errors import ContractError, NoRun
from tests.support.desk import Desk
from tests.support.scripted_model import call, calls


class Shop:
    """An order and a tool whose declaration can be changed between two processes."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.record = {"total": 900, "flagged": False, "seen": 1}

    def graph(self, *, currency: str = "EUR", watch: str | None = None, version: str = "1") -> Any:
        """Return a bound agent whose refund reads the order and has a default."""

        @writes(
            key="order_id", impact="money", version=version, watch=watch, read=lambda _: dict(self.record)
        )  # fmt: skip
        def refund(order_id: str, amount: Decimal, currency: str = currency) -> str:
            """Refund an order."""
            self.desk.done.append(f"{order_id}:{amount}:{currency}")
            return "refunded"

        (governed,) = self.desk.control.govern([refund])

        def pay(state: MessagesState) -> dict[str, Any]:
            asked = state["messages"][-1].tool_calls[0]  # type: ignore[union-attr]
            return {"messages": [governed.invoke({**asked, "type": "tool_call"})]}

        builder: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
        builder.add_node("pay", pay)
        builder.add_edge(START, "pay")
        return self.desk.control.bind(builder.compile(), name="shop")

    def run(self, graph: Any, trigger: str) -> Run:
        """Run it for 500."""
        asked = calls(call("refund", order_id="o1", amount="500"))
        return self.desk.run(graph, trigger=trigger, given={"messages": [asked]})


@pytest.fixture
def shop(desk: Desk) -> Shop:
    """A shop for one test."""
    return Shop(desk)


def events(desk: Desk, run: Run) -> list[str]:
    """Return the kinds of a run's entries, after its chain was found whole."""
    with LedgerConnection(desk.database.auditor) as auditor:
        found = verify_run(auditor, run_id(run.id))
        assert found is not None
        assert found.ok
        return [event for row in auditor.entries(run_id(run.id)) for event in orjson.loads(row.facts)["events"]]


CHANGES: dict[str, Callable[[Shop], dict[str, Any]]] = {
    "the tool's default": lambda _: {"currency": "USD"},
    "the tool's meaning": lambda _: {"version": "2"},
    "the record": lambda shop: shop.record.update(total=400) or {},
    "the record's flag": lambda shop: shop.record.update(flagged=True) or {},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_after_the_approval_is_asked_for_anew(shop: Shop, trigger: str, what: str) -> None:
    """Another default, version or record: nothing runs on the old grant, and a new request is open."""
    run = shop.run(shop.graph(), trigger)
    shop.desk.approve(run.approvals)
    again = shop.run(shop.graph(**CHANGES[what](shop)), trigger)
    assert (again.state, shop.desk.done) == (RunState.NEEDS_APPROVAL, [])
    assert set(again.approvals).isdisjoint(run.approvals)
    with Approvals(shop.desk.database.approver("ana")) as approvals:
        assert approvals.get(run.approvals[0]).state == "superseded"
    told = events(shop.desk, run)
    assert told.count("approval.requested") == 2
    assert "approval.superseded" in told
    assert "action.attempt_started" not in told


def test_a_field_that_is_not_watched_may_change(shop: Shop, trigger: str) -> None:
    """With `watch=`, only the named fields keep an approval from being used."""
    run = shop.run(shop.graph(watch="total"), trigger)
    shop.desk.approve(run.approvals)
    shop.record.update(seen=2)
    assert shop.run(shop.graph(watch="total"), trigger).state is RunState.DONE
    assert shop.desk.done == ["o1:500:EUR"]


@pytest.mark.parametrize("change", ["flagged", "seen"])
def test_a_misspelt_watch_watches_the_whole_record(shop: Shop, trigger: str, change: str) -> None:
    """A watched field that the record lacks is told to whoever is asked, and makes every change of the record count."""
    run = shop.run(shop.graph(watch="totl"), trigger)
    with Approvals(shop.desk.database.approver("ana")) as approvals:
        assert "no totl, which watch= names" in str(approvals.get(run.approvals[0]))
    shop.desk.approve(run.approvals)
    shop.record[change] = 7
    again = shop.run(shop.graph(watch="totl"), trigger)
    assert (again.state, shop.desk.done) == (RunState.NEEDS_APPROVAL, [])
    assert "approval.superseded" in events(shop.desk, run)
    shop.desk.approve(again.approvals)
    assert shop.run(shop.graph(watch="totl"), trigger).state is RunState.DONE


def test_a_watched_field_that_vanishes_after_the_yes_is_asked_about_anew(shop: Shop, trigger: str) -> None:
    """An approval of a record with a field is none of the record without it."""
    run = shop.run(shop.graph(watch="total"), trigger)
    shop.desk.approve(run.approvals)
    del shop.record["total"]
    again = shop.run(shop.graph(watch="total"), trigger)
    assert (again.state, shop.desk.done) == (RunState.NEEDS_APPROVAL, [])
    assert set(again.approvals).isdisjoint(run.approvals)


def test_what_changes_back_is_still_asked_for_anew(shop: Shop, trigger: str) -> None:
    """A grant that was superseded stays so, even when everything is again as it was when it was given."""
    run = shop.run(shop.graph(), trigger)
    shop.desk.approve(run.approvals)
    shop.record.update(total=400)
    shop.run(shop.graph(), trigger)
    shop.record.update(total=900)
    again = shop.run(shop.graph(), trigger)
    assert (again.state, shop.desk.done) == (RunState.NEEDS_APPROVAL, [])
    assert set(again.approvals).isdisjoint(run.approvals)


@pytest.mark.parametrize("amount", ["600", "50"])
def test_a_command_with_another_amount_runs_neither(shop: Shop, trigger: str, amount: str) -> None:
    """`Command(update=…)` under a grant leaves the run's own state as it was: what was approved runs, nothing else."""
    graph = shop.graph()
    run = shop.run(graph, trigger)
    shop.desk.approve(run.approvals)
    forged, config = shop.desk.forged(graph, run)
    other = {"messages": [calls(call("refund", order_id="o1", amount=amount))]}
    with pytest.raises(NoRun):
        forged.invoke(Command(resume="approved", update=other), config, durability="sync")
    assert shop.desk.done == []
    shop.run(graph, trigger)
    assert f"o1:{amount}:EUR" not in shop.desk.done


@pytest.mark.parametrize("amount", ["600", "50"])
def test_an_updated_state_runs_neither(shop: Shop, trigger: str, amount: str) -> None:
    """`update_state` under a grant swaps the arguments: also a smaller amount, allowed by itself, is asked for anew."""
    graph = shop.graph()
    run = shop.run(graph, trigger)
    shop.desk.approve(run.approvals)
    forged, config = shop.desk.forged(graph, run)
    asked = forged.get_state(config).values["messages"][-1]
    swapped = calls(call("refund", order_id="o1", amount=amount)).model_copy(update={"id": asked.id})
    forged.update_state(config, {"messages": [swapped]}, as_node="__start__")
    again = shop.run(graph, trigger)
    assert (again.state, shop.desk.done) == (RunState.NEEDS_APPROVAL, [])
    assert "approval.superseded" in events(shop.desk, run)


def test_the_resume_of_one_run_moves_no_other(shop: Shop, trigger: str) -> None:
    """The interrupt of an approved run, replayed on another run's thread or given as an answer, moves nothing there."""
    graph = shop.graph()
    approved, waiting = shop.run(graph, trigger), shop.run(graph, f"{trigger}/other")
    forged, config = shop.desk.forged(graph, approved)
    (pending,) = forged.get_state(config).interrupts
    shop.desk.approve(approved.approvals)
    wake = {pending.id: {"control": pending.value["control"]}}
    for answers in (wake, {pending.id: "approved"}):
        assert shop.desk.resume(waiting, answers=answers).state is RunState.NEEDS_APPROVAL
    _, other = shop.desk.forged(graph, waiting)
    with pytest.raises(NoRun):
        forged.invoke(Command(resume=wake), other, durability="sync")
    assert shop.desk.done == []
    assert shop.desk.control.get(waiting.id).approvals == waiting.approvals


def test_a_second_resume_does_nothing(shop: Shop, trigger: str) -> None:
    """Resuming again what has run, by every way there is, has no second effect."""
    graph = shop.graph()
    run = shop.run(graph, trigger)
    forged, config = shop.desk.forged(graph, run)
    (pending,) = forged.get_state(config).interrupts
    shop.desk.approve(run.approvals)
    assert shop.desk.resume(run).state is RunState.DONE
    stale_ones: tuple[Command[Any], ...] = (
        Command(resume="approved"),
        Command(resume={pending.id: {"control": pending.value["control"]}}),
    )
    for stale in stale_ones:
        forged.invoke(stale, config, durability="sync")
    shop.desk.resume(run)
    shop.run(graph, trigger)
    assert shop.desk.done == ["o1:500:EUR"]


def test_words_that_people_approve_are_on_record() -> None:
    """Free text may change without a new request, so that what runs comes from the record: it cannot be redacted."""
    with pytest.raises(ContractError) as caught:
        writes(key="order_id", impact="money", explain="note", redact="note")
    assert caught.value.code == "contract_redacted_words"


def test_other_words_under_a_grant_are_not_sent(desk: Desk, trigger: str) -> None:
    """Free text swapped after the approval: what runs has the words that people approved, or nothing runs."""

    @writes(key="order_id", impact="money", explain="note")
    def refund(order_id: str, amount: Decimal, note: str) -> str:
        """Refund an order, with a note to the customer."""
        desk.done.append(f"{order_id}:{amount}:{note}")
        return "refunded"

    (governed,) = desk.control.govern([refund])

    def pay(state: MessagesState) -> dict[str, Any]:
        asked = state["messages"][-1].tool_calls[0]  # type: ignore[union-attr]
        return {"messages": [governed.invoke({**asked, "type": "tool_call"})]}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    builder.add_node("pay", pay)
    builder.add_edge(START, "pay")
    graph = desk.control.bind(builder.compile(), name="notes")
    asked = calls(call("refund", order_id="o1", amount="500", note="We are sorry for the delay."))
    run = desk.run(graph, trigger=trigger, given={"messages": [asked]})
    (name,) = run.approvals
    desk.approve([name])
    forged, config = desk.forged(graph, run)
    known = forged.get_state(config).values["messages"][-1]
    other = calls(call("refund", order_id="o1", amount="500", note="Send us your password."))
    forged.update_state(config, {"messages": [other.model_copy(update={"id": known.id})]}, as_node="__start__")
    desk.run(graph, trigger=trigger)
    assert desk.done in ([], ["o1:500:We are sorry for the delay."])


@pytest.mark.parametrize(("amount", "voted"), [("50", False), ("500", True)])
def test_a_tool_is_told_what_to_condition_its_write_on(desk: Desk, *, amount: str, voted: bool) -> None:
    """The watched fields as they were when it was decided: what was approved, and what the system can still refuse."""
    record, seen = {"version": 7, "views": 1}, []

    @writes(key="order_id", impact="money", read=lambda _: dict(record), watch="version")
    def refund(order_id: str, amount: Decimal) -> str:
        """Refund an order."""
        seen.append(current_action().precondition)
        return f"{order_id}:{amount}"

    (governed,) = desk.control.govern([refund])

    def pay(state: MessagesState) -> dict[str, Any]:
        del state
        return {"messages": [("user", str(governed.invoke({"order_id": "o1", "amount": amount})))]}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    builder.add_node("pay", pay)
    builder.add_edge(START, "pay")
    graph, trigger = desk.control.bind(builder.compile(), name="conditioned"), f"conditioned/{amount}"
    run = desk.run(graph, trigger=trigger)
    if voted:
        desk.approve(run.approvals)
        record["views"] = 2  # not watched: it changes nothing
        run = desk.run(graph, trigger=trigger)
    assert (run.state, seen) == (RunState.DONE, [{"version": 7}])
