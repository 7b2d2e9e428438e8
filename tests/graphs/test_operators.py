"""What people do about runs: settle a lost outcome, cancel, stop writes and let them go on."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from langchain.agents import create_agent

from langgraph_control import Approvals, writes
from langgraph_control.audit.asking.operator_requests import Resolution, Scope
from langgraph_control.audit.names import run_id
from langgraph_control.audit.people.operators import Operators
from langgraph_control.errors import OperationRefused
from langgraph_control.guards.run_states import RunState
from langgraph_control.nodes.contracts import Done, NotDone
from langgraph_control.nodes.results import encode
from tests.support.desk import Desk, How, told
from tests.support.scripted_model import ScriptedModel, call, calls


@pytest.fixture
def operators(desk: Desk) -> Iterator[Operators]:
    """Ana of finance, who owns what the program cannot settle."""
    with Operators(desk.database.approver("ana")) as operators:
        yield operators


class Transfers:
    """A transfer whose answer is lost at first, and cannot be looked up."""

    def __init__(self, desk: Desk) -> None:
        self.lost = True
        self.done: list[str] = []

        @writes(key="order_id", impact="record", system="bank")
        def transfer(order_id: str, amount: Decimal) -> str:
            """Transfer."""
            self.done.append(order_id)
            if self.lost:
                raise TimeoutError
            return f"transferred {amount}"

        self._tools = desk.control.govern([transfer])
        self._desk = desk

    def graph(self, name: str = "transfers") -> Any:
        """Return a bound agent that transfers once."""
        model = ScriptedModel(script=(calls(call("transfer", order_id="o1", amount="5", call_id="call_1")), "over"))
        return self._desk.control.bind(create_agent(model, self._tools), name=name)


def resolve(operators: Operators, run: Any, verdict: Resolution, **more: Any) -> None:
    """Resolve a run's one open action."""
    row = operators.run(run.id)
    (action,) = operators.stuck(row.run_id)
    operators.resolve(row.run_id, action.key, verdict, comment="looked at the statement", **more)


def test_what_a_person_says_happened_is_the_result(desk: Desk, operators: Operators, how: How, trigger: str) -> None:
    """A lost transfer that a person finds on the statement is delivered as done, and not sent again."""
    transfers = Transfers(desk)
    run = desk.run(transfers.graph(), how, trigger=trigger)
    assert run.state is RunState.NEEDS_HUMAN
    assert run.next_step == f"langgraph-control show {run.id}, then langgraph-control resolve {run.id}"
    resolve(operators, run, Resolution.HAPPENED, result=encode("transferred 5, says the bank"))
    run = desk.resume(run, how)
    assert run.state is RunState.DONE
    assert told(run) == ["transferred 5, says the bank"]
    assert transfers.done == ["o1"]


def test_who_has_said_what_they_had_to_is_not_asked_again(desk: Desk, operators: Operators, trigger: str) -> None:
    """Between a person's word and the next drive the run is whose drives runs, wherever it is looked at."""
    run = desk.run(Transfers(desk).graph(), trigger=trigger)
    before = operators.run(run.id)
    assert (before.owner, before.next_step) == (run.owner, run.next_step)
    resolve(operators, run, Resolution.HAPPENED, result=encode("transferred 5, says the bank"))
    after, seen = operators.run(run.id), desk.control.get(run.id)
    assert (after.state, after.owner, after.next_step) == (
        RunState.NEEDS_HUMAN,
        "workers",
        f"langgraph-control resume {run.id}",
    )
    assert (seen.owner, seen.next_step) == (after.owner, after.next_step)


def test_whose_request_was_granted_is_not_asked_again(desk: Desk, operators: Operators, trigger: str) -> None:
    """Likewise of a request: no list says that somebody should approve what is approved."""
    run = desk.run(desk.refunding(900), trigger=trigger)
    assert operators.run(run.id).next_step == f"langgraph-control approve {run.approvals[0]}"
    desk.approve(run.approvals)
    after, seen = operators.run(run.id), desk.control.get(run.id)
    assert (after.owner, after.next_step) == ("workers", f"langgraph-control resume {run.id}")
    assert (seen.owner, seen.next_step) == (after.owner, after.next_step)


def test_whoever_has_not_said_it_is_still_asked(desk: Desk, operators: Operators, trigger: str) -> None:
    """Of two requests one is granted: the run is to be looked at, and still waits for the other."""
    run = desk.run(desk.refunding(900, 800), trigger=trigger)
    desk.approve(run.approvals[:1])
    after = operators.run(run.id)
    assert (after.owner, after.next_step) == (run.owner, run.next_step)


def test_what_a_person_says_did_not_happen_is_tried_again(
    desk: Desk, operators: Operators, how: How, trigger: str
) -> None:
    """A lost transfer that is on no statement is sent once more."""
    transfers = Transfers(desk)
    run = desk.run(transfers.graph(), how, trigger=trigger)
    resolve(operators, run, Resolution.DID_NOT)
    transfers.lost = False
    run = desk.resume(run, how)
    assert told(run) == ["transferred 5"]
    assert transfers.done == ["o1", "o1"]


def test_what_a_person_gives_up_is_not_tried_again(desk: Desk, operators: Operators, how: How, trigger: str) -> None:
    """The model is told that nobody knows, with the person's comment, and a further run of the intent is, too."""
    transfers = Transfers(desk)
    run = desk.run(transfers.graph(), how, trigger=trigger)
    resolve(operators, run, Resolution.GIVE_UP)
    run = desk.resume(run, how)
    assert run.state is RunState.DONE
    assert "could not tell whether it happened" in told(run)[0]
    assert "looked at the statement" in told(run)[0]
    again = desk.run(transfers.graph("again"), how, trigger=f"{trigger}/again", intent=trigger)
    assert "could not tell whether it happened" in told(again)[0]
    assert transfers.done == ["o1"]


def test_only_the_owner_settles(desk: Desk, trigger: str) -> None:
    """Somebody without the owner's role is refused, and the refusal is on record."""
    run = desk.run(Transfers(desk).graph(), trigger=trigger)
    with Operators(desk.database.approver("cy")) as cy, pytest.raises(OperationRefused) as refused:
        resolve(cy, run, Resolution.HAPPENED)
    assert refused.value.code == "not_the_owner"
    assert desk.control.get(run.id).state is RunState.NEEDS_HUMAN


def test_what_is_settled_is_not_settled_again(desk: Desk, operators: Operators, trigger: str) -> None:
    """A second word on the same action is refused."""
    run = desk.run(Transfers(desk).graph(), trigger=trigger)
    row = operators.run(run.id)
    (action,) = operators.stuck(row.run_id)
    operators.resolve(row.run_id, action.key, Resolution.HAPPENED, comment="seen")
    with pytest.raises(OperationRefused) as refused:
        operators.resolve(row.run_id, action.key, Resolution.DID_NOT, comment="changed my mind")
    assert refused.value.code == "settled"


def test_a_word_without_a_reason_is_refused(desk: Desk, operators: Operators, trigger: str) -> None:
    """How it is known has to be said."""
    run = desk.run(Transfers(desk).graph(), trigger=trigger)
    row = operators.run(run.id)
    (action,) = operators.stuck(row.run_id)
    with pytest.raises(OperationRefused) as refused:
        operators.resolve(row.run_id, action.key, Resolution.HAPPENED, comment=" ")
    assert refused.value.code == "comment_missing"


def test_a_request_can_be_given_up(desk: Desk, operators: Operators, trigger: str) -> None:
    """An approved call that is never made again can be closed, and the run ends; its request is withdrawn."""
    run = desk.run(desk.refunding(500), trigger=trigger)
    desk.approve(run.approvals)
    row = operators.run(run.id)
    (action,) = operators.stuck(row.run_id)
    operators.resolve(row.run_id, action.key, Resolution.GIVE_UP, comment="not wanted")
    with Approvals(desk.database.approver("ana")) as approvals:
        assert approvals.get(run.approvals[0]).state == "withdrawn"
    run = desk.resume(run)
    assert run.state is RunState.DONE
    assert desk.done == []


def test_a_cancelled_run_is_over(desk: Desk, operators: Operators, how: How, trigger: str) -> None:
    """What it asked for is withdrawn, its thread is free, and resuming it does nothing."""
    run = desk.run(desk.refunding(500), how, trigger=trigger, thread=f"thread of {trigger}")
    operators.cancel(operators.run(run.id).run_id, comment="the customer called it off")
    again = desk.resume(run, how)
    assert (again.state, again.reason) == (RunState.DONE, "cancelled")
    with pytest.raises(Exception, match="closed"):
        desk.approve(run.approvals)
    other = desk.run(desk.refunding(50), how, trigger=f"{trigger}/next", thread=f"thread of {trigger}")
    assert other.state is RunState.DONE
    assert desk.done == ["o0:50"]


def test_a_run_with_an_open_outcome_is_not_cancelled(desk: Desk, operators: Operators, trigger: str) -> None:
    """Before a run is ended, somebody has to say what became of what may have happened."""
    run = desk.run(Transfers(desk).graph(), trigger=trigger)
    with pytest.raises(OperationRefused, match="transfer") as refused:
        operators.cancel(operators.run(run.id).run_id, comment="enough")
    assert refused.value.code == "unsettled"


@pytest.mark.parametrize(
    "stopped",
    [(Scope.TENANT, ""), (Scope.AGENT, "support-bot"), (Scope.SYSTEM, "bank"), (Scope.TOOL, "transfer")],
)
def test_a_freeze_stops_the_next_claim(
    desk: Desk, operators: Operators, how: How, trigger: str, stopped: tuple[Scope, str]
) -> None:
    """Whatever the scope, the call parks before anything happens, and goes on once the freeze is lifted."""
    transfers = Transfers(desk)
    transfers.lost = False
    operators.freeze(*stopped, comment="the bank is being moved")
    try:
        run = desk.run(transfers.graph(), how, trigger=trigger)
        assert (run.state, run.reason) == (RunState.BLOCKED, "frozen")
        assert transfers.done == []
        assert desk.resume(run, how).state is RunState.BLOCKED
    finally:
        assert operators.unfreeze(*stopped, comment="moved") == 1
    run = desk.resume(run, how)
    assert run.state is RunState.DONE
    assert transfers.done == ["o1"]


def test_a_freeze_stops_nothing_else(desk: Desk, operators: Operators, trigger: str) -> None:
    """Writes of other tools and systems go on, and what is done stays done."""
    operators.freeze(Scope.TOOL, "something else", comment="test")
    try:
        assert desk.run(desk.refunding(50), trigger=trigger).state is RunState.DONE
    finally:
        operators.unfreeze(Scope.TOOL, "something else", comment="test")
    with pytest.raises(OperationRefused) as refused:
        operators.unfreeze(Scope.TOOL, "something else", comment="again")
    assert refused.value.code == "not_frozen"


def test_a_freeze_says_what_is_under_way(desk: Desk, operators: Operators, trigger: str) -> None:
    """A call that is being made when the freeze comes is listed, not stopped, and its outcome is recorded."""
    seen: list[Any] = []

    @writes(key="order_id", impact="record", system="bank")
    def pay(order_id: str) -> str:
        """Pay."""
        seen.extend(operators.freeze(Scope.SYSTEM, "bank", comment="stop"))
        return f"paid {order_id}"

    model = ScriptedModel(script=(calls(call("pay", order_id="o1", call_id="call_1")), "over"))
    graph = desk.control.bind(create_agent(model, desk.control.govern([pay])), name="paying")
    try:
        run = desk.run(graph, trigger=trigger)
    finally:
        operators.unfreeze(Scope.SYSTEM, "bank", comment="go")
    assert [(one.tool, one.state) for one in seen] == [("pay", "executing")]
    assert told(run) == ["paid o1"]


@pytest.mark.parametrize(
    "stopped",
    [(Scope.TENANT, ""), (Scope.AGENT, "bot2"), (Scope.TOOL, "pay"), (Scope.SYSTEM, "bank"), (Scope.AGENT, "bot1")],
)
def test_a_freeze_lists_an_attempt_under_the_run_that_makes_it(
    desk: Desk, operators: Operators, trigger: str, stopped: tuple[Scope, str]
) -> None:
    """What a run that is over had asked for first and another tries again is under way for that other's agent."""
    outcomes = iter([NotDone(reason="no such order", transient=False)])
    seen: list[Any] = []

    @writes(key="order_id", impact="record", system="bank", outcome=lambda _: next(outcomes, Done()))
    def pay(order_id: str) -> str:
        """Pay."""
        if over:
            seen.extend(operators.freeze(*stopped, comment="stop"))
        return f"paid {order_id}"

    over: list[Any] = []
    agents = [
        desk.control.bind(
            create_agent(
                ScriptedModel(script=(calls(call("pay", order_id="o1", call_id=f"call_{name}")), "over")),
                desk.control.govern([pay]),
            ),
            name=name,
        )
        for name in ("first", "second")
    ]
    over.append(desk.run(agents[0], trigger=trigger, actor="bot1"))
    assert over[0].state is RunState.DONE
    try:
        run = desk.run(agents[1], trigger=f"{trigger}/again", intent=trigger, actor="bot2")
    finally:
        operators.unfreeze(*stopped, comment="go")
    assert told(run) == ["paid o1"]
    makes_it = [(run_id(run.id), "pay", "executing")]
    assert [(one.run_id, one.tool, one.state) for one in seen] == ([] if stopped[1] == "bot1" else makes_it)


def test_the_agents_login_settles_and_stops_nothing(desk: Desk, trigger: str) -> None:
    """Resolving, cancelling and freezing are refused by Postgres on the agent's login."""
    run = desk.run(Transfers(desk).graph(), trigger=trigger)
    with Operators(desk.database.agent) as agent:
        row = agent.run(run.id)
        (action,) = agent.stuck(row.run_id)
        for act in (
            lambda: agent.resolve(row.run_id, action.key, Resolution.HAPPENED, comment="trust me"),
            lambda: agent.cancel(row.run_id, comment="trust me"),
            lambda: agent.freeze(Scope.TENANT, comment="trust me"),
            lambda: agent.unfreeze(Scope.TENANT, comment="trust me"),
        ):
            with pytest.raises(Exception, match="may not do this"):
                act()


def test_an_admin_may_do_all_of_it(desk: Desk, trigger: str) -> None:
    """The admin's login settles by its own name, whatever role owns the outcome."""
    run = desk.run(Transfers(desk).graph(), trigger=trigger)
    with Operators(desk.database.admin) as admin:
        resolve(admin, run, Resolution.HAPPENED)
    assert desk.resume(run).state is RunState.DONE
