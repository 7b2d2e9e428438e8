"""Sagas on a real Postgres: all steps are done, or those that were done are taken back, each on record."""

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, cast

import psycopg
import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from langgraph_control import Action, Approvals, Call, Control, Run, reads, saga, writes
from langgraph_control.audit.asking.operator_requests import Resolution
from langgraph_control.audit.asking.requests import FindRun
from langgraph_control.audit.asking.sagas import RunSagas
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_id, run_id
from langgraph_control.audit.people.operators import Operators
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.errors import ApprovalRefused, ArgumentError, ContractError, NoRun, OperationRefused
from langgraph_control.guards.checks import Proposal, Stricter
from langgraph_control.guards.decisions import Verb
from langgraph_control.guards.lifecycle import State
from langgraph_control.guards.run_states import RunState
from langgraph_control.nodes.contracts import Done, NotDone
from langgraph_control.nodes.saga_steps import SagaSoFar
from tests.support.desk import POLICY, Desk, How, forge, told
from tests.support.half_done import closing
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls

REQUEST = {"request": {"customer": "c1", "plan": "pro"}}


@pytest.fixture
def operators(desk: Desk) -> Iterator[Operators]:
    """Ana of finance, who owns what the program cannot settle."""
    with Operators(desk.database.approver("ana")) as operators:
        yield operators


class Shop:
    """Subscriptions, invoices and mails of one customer, and how they misbehave."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.plan = "free"
        self.log: list[str] = []
        self.mail: Any = lambda: Done(result="mailed")
        self.void: Any = lambda: Done(result="voided")
        self.undo_of_invoice: Any = lambda action: Call("void_invoice", invoice=action.result)

        @writes(
            key="customer",
            impact="record",
            system="billing",
            target="customer",
            read=lambda _: {"plan": self.plan},
            undo=lambda action: Call(restore_plan, customer=action.args["customer"], plan=action.before["plan"]),
        )
        def set_plan(customer: str, plan: str) -> str:
            """Set the plan."""
            self.log.append(f"set {plan}")
            self.plan = plan
            return f"{customer} is {plan}"

        @writes(key="customer", impact="record", system="billing")
        def restore_plan(customer: str, plan: str) -> str:
            """Set the plan back."""
            self.log.append(f"restore {plan}")
            self.plan = plan
            return f"{customer} is {plan}"

        @writes(key="customer", impact="record", undo=lambda action: self.undo_of_invoice(action))  # noqa: PLW0108 - set later
        def create_invoice(customer: str) -> str:
            """Create an invoice."""
            self.log.append("invoice")
            return f"inv-{customer}"

        @writes(key="invoice", impact="record", outcome=lambda action: action.result)
        def void_invoice(invoice: str) -> Any:
            """Void an invoice."""
            self.log.append(f"void {invoice}")
            return self.void()

        @writes(key="customer", impact="record", outcome=lambda action: action.result)
        def send_welcome(customer: str) -> Any:
            """Send a mail."""
            self.log.append("mail")
            return self.mail()

        @reads()
        def look_up_plan() -> str:
            """Look the plan up."""
            self.log.append("look")
            return self.plan

        writing: list[Any] = [set_plan, restore_plan, create_invoice, void_invoice, send_welcome]
        self.tools = desk.control.govern([*writing, look_up_plan])
        self.saga = saga("change_plan", [plan, invoice, welcome], tools=self.tools)

    def bound(self) -> Any:
        """Return the saga as a graph of its own."""
        return self.desk.control.bind(self.saga, name="change_plan")

    def parts(self, run: Any) -> list[tuple[str, State, State | None]]:
        """Return what the ledger says of the run's saga."""
        store = self.desk.control._ledger.store()
        row = store.call(FindRun(trigger=run.trigger))
        assert row is not None
        return [(one.part.tool, one.part.state, one.part.undo) for one in store.call(RunSagas(run_id=row.run_id))]


def plan(so_far: SagaSoFar) -> Call:
    """Set the plan."""
    return Call("set_plan", customer=so_far.request["customer"], plan=so_far.request["plan"])


def invoice(so_far: SagaSoFar) -> Call:
    """Create the invoice."""
    return Call("create_invoice", customer=so_far.request["customer"])


def welcome(so_far: SagaSoFar) -> Call:
    """Welcome the customer."""
    assert so_far.results["invoice"]
    return Call("send_welcome", customer=so_far.request["customer"])


NO_ADDRESS = NotDone(reason="no such address")


def test_a_saga_whose_steps_all_go_through_is_done(desk: Desk, how: How, trigger: str) -> None:
    """Each step is done once, in order, and the output says so."""
    shop = Shop(desk)
    run = desk.run(shop.bound(), how, trigger=trigger, given=REQUEST)
    assert run.state is RunState.DONE
    assert run.output["outcome"] == "done"
    assert run.output["results"] == {"plan": "c1 is pro", "invoice": "inv-c1", "welcome": "mailed"}
    assert shop.log == ["set pro", "invoice", "mail"]


def test_what_was_done_is_taken_back_in_reverse(desk: Desk, how: How, trigger: str) -> None:
    """A last step that fails for good has both before it taken back, the newest first, from the record as it was."""
    shop = Shop(desk)
    shop.mail = lambda: NO_ADDRESS
    run = desk.run(shop.bound(), how, trigger=trigger, given=REQUEST)
    assert run.state is RunState.DONE
    assert {name: run.output[name] for name in ("outcome", "failed", "applied")} == {
        "outcome": "undone",
        "failed": "welcome",
        "applied": [],
    }
    assert "no such address" in run.output["why"]
    assert shop.log == ["set pro", "invoice", "mail", "void inv-c1", "restore free"]
    assert shop.plan == "free"
    assert shop.parts(run) == [
        ("set_plan", State.SUCCEEDED, State.SUCCEEDED),
        ("create_invoice", State.SUCCEEDED, State.SUCCEEDED),
        ("send_welcome", State.FAILED, None),
    ]


def test_a_saga_that_was_undone_stays_undone(desk: Desk, how: How, trigger: str) -> None:
    """Asked for again under the same intent, by another run, nothing of it is done again, and it says so."""
    shop = Shop(desk)
    shop.mail = lambda: NO_ADDRESS
    desk.run(shop.bound(), how, trigger=trigger, given=REQUEST)
    before = list(shop.log)
    shop.mail = lambda: Done(result="mailed")
    again = desk.run(shop.bound(), how, trigger=f"{trigger}/again", intent=trigger, given=REQUEST)
    assert again.output["outcome"] == "undone"
    assert "taken back" in again.output["why"]
    assert shop.log == before


def test_a_step_of_an_undone_saga_is_not_done_for_anyone(desk: Desk, how: How, trigger: str) -> None:
    """An agent that asks for the same change under the same intent is told that it was taken back."""
    shop = Shop(desk)
    shop.mail = lambda: NO_ADDRESS
    desk.run(shop.bound(), how, trigger=trigger, given=REQUEST)
    script = (calls(call("set_plan", customer="c1", plan="pro", call_id="call_1")), "over")
    agent = desk.control.bind(create_agent(ScriptedModel(script=script), shop.tools), name="agent")
    run = desk.run(agent, how, trigger=f"{trigger}/agent", intent=trigger)
    assert "taken back" in told(run)[0]
    assert shop.plan == "free"


def test_an_undo_that_fails_waits_for_a_person_with_the_true_list(
    desk: Desk, operators: Operators, how: How, trigger: str
) -> None:
    """What cannot be taken back parks the run; its card says what is applied; once settled, the rest follows."""
    shop = Shop(desk)
    shop.mail = lambda: NO_ADDRESS
    shop.void = lambda: NotDone(reason="the period is closed")
    run = desk.run(shop.bound(), how, trigger=trigger, given=REQUEST)
    assert run.state is RunState.NEEDS_HUMAN
    assert shop.log == ["set pro", "invoice", "mail", "void inv-c1"]
    (card,) = _cards(desk, shop, run)
    assert card["saga"] == {
        "name": "change_plan",
        "failed": "welcome",
        "applied": [
            {"step": 1, "tool": "set_plan", "system": "billing", "target": "c1"},
            {"step": 2, "tool": "create_invoice"},
        ],
        "undone": [],
    }
    assert "the period is closed" in card["why"]["reasons"][0]
    row = operators.run(run.id)
    (stuck,) = operators.stuck(row.run_id)
    operators.resolve(row.run_id, stuck.key, Resolution.HAPPENED, comment="voided by hand")
    run = desk.resume(run, how)
    assert run.output["outcome"] == "undone"
    assert shop.plan == "free"
    assert shop.log[-1] == "restore free"


def test_a_person_may_have_an_undo_tried_again(desk: Desk, operators: Operators, how: How, trigger: str) -> None:
    """Told that it did not happen, the program tries once more, as often as it takes."""
    shop = Shop(desk)
    shop.mail = lambda: NO_ADDRESS
    shop.void = lambda: NotDone(reason="the period is closed")
    run = desk.run(shop.bound(), how, trigger=trigger, given=REQUEST)
    for opened in (False, True):
        row = operators.run(run.id)
        (stuck,) = operators.stuck(row.run_id)
        operators.resolve(row.run_id, stuck.key, Resolution.DID_NOT, comment="try again")
        if opened:
            shop.void = lambda: Done(result="voided")
        run = desk.resume(run, how)
        assert run.state is (RunState.DONE if opened else RunState.NEEDS_HUMAN)
    assert shop.log.count("void inv-c1") == 3
    assert run.output["outcome"] == "undone"


def test_a_person_may_leave_something_applied(desk: Desk, operators: Operators, how: How, trigger: str) -> None:
    """Given up, the undo stays undone, the rest is taken back, and the output lists what is still in effect."""
    shop = Shop(desk)
    shop.mail = lambda: NO_ADDRESS
    shop.void = lambda: NotDone(reason="the period is closed")
    run = desk.run(shop.bound(), how, trigger=trigger, given=REQUEST)
    row = operators.run(run.id)
    (stuck,) = operators.stuck(row.run_id)
    operators.resolve(row.run_id, stuck.key, Resolution.GIVE_UP, comment="we keep the invoice")
    run = desk.resume(run, how)
    assert run.state is RunState.DONE
    assert run.output["outcome"] == "partly_undone"
    assert run.output["applied"] == [{"step": 2, "tool": "create_invoice"}]
    assert shop.plan == "free"


@pytest.mark.parametrize(
    ("undo", "why"),
    [
        (lambda _: None, "knows no way"),
        (lambda _: Call("refund_everything"), "names a tool that the saga was not given"),
        (lambda _: Call("look_up_plan"), "names a read"),
        (lambda _: Call("void_invoice", number="inv-c1"), "gave arguments that void_invoice does not take"),
        (lambda _: "void", "returned no Call"),
        (lambda _: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_what_has_no_usable_undo_is_for_people(desk: Desk, trigger: str, undo: Any, why: str) -> None:
    """A hook that raises, knows no way or names no write of the saga leaves the run to a person, with the reason."""
    shop = Shop(desk)
    shop.mail = lambda: NO_ADDRESS
    shop.undo_of_invoice = undo
    run = desk.run(shop.bound(), trigger=trigger, given=REQUEST)
    assert run.state is RunState.NEEDS_HUMAN
    (card,) = _cards(desk, shop, run)
    assert why in card["why"]["reasons"][0]
    assert shop.plan == "pro"


def test_an_async_undo_hook_is_heard(desk: Desk, how: How, trigger: str) -> None:
    """Hooks of a saga may be coroutines, under both ways of driving."""
    shop = Shop(desk)
    shop.mail = lambda: NO_ADDRESS

    async def undo(action: Action) -> Call:
        return Call("void_invoice", invoice=action.result)

    shop.undo_of_invoice = undo
    run = desk.run(shop.bound(), how, trigger=trigger, given=REQUEST)
    assert run.output["outcome"] == "undone"


def test_a_crash_on_the_way_back_repeats_nothing(desk: Desk, how: How, trigger: str) -> None:
    """A worker that dies between an undo's effect and its record leaves the rest to the next one."""
    shop = Shop(desk)
    shop.mail = lambda: NO_ADDRESS

    def die() -> Any:
        shop.void = lambda: Done(result="voided")
        raise KeyboardInterrupt

    shop.void = die
    with pytest.raises(KeyboardInterrupt):
        desk.run(shop.bound(), how, trigger=trigger, given=REQUEST)
    run = desk.run(shop.bound(), how, trigger=trigger, given=REQUEST)
    assert run.state is RunState.NEEDS_HUMAN  # a blind undo whose outcome nobody knows is not repeated
    assert shop.log.count("void inv-c1") == 1


def test_an_agent_calls_a_saga_through_a_tool(desk: Desk, how: How, trigger: str) -> None:
    """Inside a tool that is declared a read, a saga is part of the agent's run, and the model hears how it ended."""
    shop = Shop(desk)
    shop.mail = lambda: NO_ADDRESS

    if how == "sync":

        @reads()
        def change_plan(customer: str, plan: str) -> str:
            """Change a plan: all of it or nothing."""
            out = shop.saga.invoke({"request": {"customer": customer, "plan": plan}}, durability="sync")
            return f"{out['outcome']}: {out['why']}"

        tools = desk.control.govern([change_plan])
    else:

        @reads()
        @tool
        async def change_plan_async(customer: str, plan: str) -> str:
            """Change a plan: all of it or nothing."""
            out = await shop.saga.ainvoke({"request": {"customer": customer, "plan": plan}}, durability="sync")
            return f"{out['outcome']}: {out['why']}"

        change_plan_async.name = "change_plan"
        tools = desk.control.govern([change_plan_async])
    script = (calls(call("change_plan", customer="c1", plan="pro", call_id="call_1")), "over")
    agent = desk.control.bind(create_agent(ScriptedModel(script=script), tools), name="agent")
    run = desk.run(agent, how, trigger=trigger)
    assert run.state is RunState.DONE
    assert told(run)[0].startswith("undone: ")
    assert shop.plan == "free"


def _cards(desk: Desk, shop: Shop, run: Any) -> list[Any]:
    graph = desk.control._ledger.runs().with_saver(shop.saga)
    return [pending.value for pending in graph.get_state({"configurable": {"thread_id": run.thread}}).interrupts]


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda tools: saga("s", [], tools=tools), "saga_steps"),
        (lambda tools: saga("", [plan], tools=tools), "saga_name"),
        (lambda tools: saga("s", [plan, plan], tools=tools), "saga_step_name"),
        (lambda tools: saga("s", [lambda _: Call("set_plan")], tools=tools), "saga_step_name"),
        (lambda tools: saga("s", {"undo": plan}, tools=tools), "saga_step_name"),
        (lambda tools: saga("s", {"a:b": plan}, tools=tools), "saga_step_name"),
        (lambda tools: saga("s", {"a|b": plan}, tools=tools), "saga_step_name"),
        (lambda tools: saga("s", {"__input__": plan}, tools=tools), "saga_step_name"),
        (lambda tools: saga("s", cast("Any", None), tools=tools), "saga_steps"),
        (lambda tools: saga("s", cast("Any", 5), tools=tools), "saga_steps"),
        (lambda tools: saga("s", {"plan": cast("Any", lambda: 0)}, tools=tools), "contract_hook_signature"),
        (lambda tools: saga("s", {"plan": cast("Any", None)}, tools=tools), "saga_steps"),
        (lambda tools: saga("s", [plan], tools=[*tools, tools[0]]), "contract_duplicate_tool"),
        (lambda _: saga("s", [plan], tools=[plan]), "saga_tool_ungoverned"),  # type: ignore[list-item]
        (lambda _: saga("s", [plan], tools=[]), "saga_tools"),
        (lambda _: saga("s", [plan], tools=cast("Any", None)), "saga_tools"),
        (lambda _: saga("s", [plan], tools=cast("Any", 5)), "saga_tools"),
        (lambda tools: saga("s", [plan], tools=tools[0]), "saga_tools"),
        (lambda _: Call(""), "call_tool"),
        (lambda _: Call(cast("Any", None)), "call_tool"),
    ],
)
def test_a_saga_that_cannot_be_one_is_refused(desk: Desk, make: Any, code: str) -> None:
    """No steps, names that are taken or missing, and tools without the gate are told before anything runs."""
    with pytest.raises(ContractError) as refused:
        make(Shop(desk).tools)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("step", "code"),
    [(lambda _: Call("delete_everything"), "saga_unknown_tool"), (lambda _: {"tool": "set_plan"}, "saga_step_no_call")],
)
def test_a_step_that_names_no_tool_blocks_before_anything(desk: Desk, trigger: str, step: Any, code: str) -> None:
    """The error names the step and the remedy, and nothing was begun."""
    shop = Shop(desk)
    made = desk.control.bind(saga("s", {"first": step}, tools=shop.tools), name="s")
    with pytest.raises(ContractError) as refused:
        desk.run(made, trigger=trigger, given=REQUEST)
    assert refused.value.code == code
    assert shop.log == []


@pytest.mark.parametrize("given", [{}, {"reqest": {}}, {"request": None}, {"request": "x"}, {"request": ["x"]}])
def test_a_saga_without_a_request_does_nothing(desk: Desk, how: How, trigger: str, given: Any) -> None:
    """Input that holds no request is an error of that name, before any step is asked for its call."""
    shop = Shop(desk)
    with pytest.raises(ArgumentError) as refused:
        desk.run(shop.bound(), how, trigger=trigger, given=given)
    assert (refused.value.code, shop.log) == ("saga_request", [])


def _raises(_: SagaSoFar) -> Call:
    raise KeyError("the address of c1")


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (_raises, "Step third of saga s raised KeyError."),
        (lambda _: Call("delete_everything"), "Step third of saga s calls delete_everything"),
        (lambda _: {"tool": "set_plan"}, "Step third of saga s returned a dict"),
    ],
)
def test_a_step_without_a_call_has_what_was_done_taken_back(
    desk: Desk, how: How, trigger: str, step: Any, why: str
) -> None:
    """A step whose code raises, or returns no call of the saga's, ends it like one that failed for good."""
    shop = Shop(desk)
    steps = {"first": plan, "second": invoice, "third": step}
    run = desk.run(desk.control.bind(saga("s", steps, tools=shop.tools), name="s"), how, trigger=trigger, given=REQUEST)
    assert (run.state, run.output["outcome"], run.output["failed"]) == (RunState.DONE, "undone", "third")
    assert run.output["why"].startswith(why)
    assert "address" not in run.output["why"]
    assert shop.log == ["set pro", "invoice", "void inv-c1", "restore free"]


def test_a_step_that_raises_where_nothing_is_in_effect_goes_on_once_mended(desk: Desk, how: How, trigger: str) -> None:
    """Its error is the run's, as in any graph; nothing is taken back, and resumed with code that works, all is done."""
    shop = Shop(desk)
    broken = [True]

    def second(so_far: SagaSoFar) -> Call:
        return _raises(so_far) if broken else plan(so_far)

    steps = {"look": lambda _: Call("look_up_plan"), "second": second}
    graph = desk.control.bind(saga("s", steps, tools=shop.tools), name="s")
    with pytest.raises(KeyError, match="address"):
        desk.run(graph, how, trigger=trigger, given=REQUEST)
    assert (desk.control.get(trigger=trigger).state, shop.plan) == (RunState.BLOCKED, "free")
    broken.clear()
    run = desk.resume(desk.control.get(trigger=trigger), how)
    assert (run.output["outcome"], shop.plan) == ("done", "pro")


def test_a_saga_that_is_done_is_not_taken_back_by_a_step_that_raises_later(desk: Desk, how: How, trigger: str) -> None:
    """Delivered once more under the same intent, a release that cannot say its steps is an error and no undoing."""
    shop = Shop(desk)
    desk.run(shop.bound(), how, trigger=trigger, given=REQUEST)
    broken = saga("change_plan", {"plan": plan, "invoice": _raises, "welcome": welcome}, tools=shop.tools)
    graph = desk.control.bind(broken, name="change_plan_again")
    with pytest.raises(KeyError):
        desk.run(graph, how, trigger=f"{trigger}/again", intent=trigger, given=REQUEST)
    assert shop.log == ["set pro", "invoice", "mail"]


def test_a_step_that_raises_once_its_saga_is_taken_back_hears_of_that(desk: Desk, how: How, trigger: str) -> None:
    """Asked for again under the same intent, an undone saga is undone, whatever its steps can say by then."""
    shop = Shop(desk)
    shop.mail = lambda: NO_ADDRESS
    desk.run(shop.bound(), how, trigger=trigger, given=REQUEST)
    before = list(shop.log)
    broken = saga("change_plan", [_raises], tools=shop.tools)
    graph = desk.control.bind(broken, name="change_plan_again")
    again = desk.run(graph, how, trigger=f"{trigger}/again", intent=trigger, given=REQUEST)
    assert (again.output["outcome"], shop.log) == ("undone", before)


def test_a_step_that_asks_a_person_waits_for_the_answer(desk: Desk, how: How, trigger: str) -> None:
    """LangGraph's own control flow out of a step's code is no failure: nothing is taken back."""
    shop = Shop(desk)

    def ask(so_far: SagaSoFar) -> Call:
        return welcome(so_far) if interrupt("send it?") == "yes" else _raises(so_far)

    made = saga("s", {"plan": plan, "invoice": invoice, "welcome": ask}, tools=shop.tools)
    run = desk.run(desk.control.bind(made, name="s"), how, trigger=trigger, given=REQUEST)
    assert (run.state, shop.log) == (RunState.WAITING, ["set pro", "invoice"])


def test_what_a_broken_step_hides_from_the_record_is_taken_back_once_it_says_it_again(
    desk: Desk, how: How, trigger: str
) -> None:
    """Where the undo needs what only a step's code knows, that code is mended, and the run resumed."""
    broken: list[bool] = []

    @writes(key="customer", impact="record", redact="iban", undo=lambda action: Call("close", iban=action.args["iban"]))
    def open_account(customer: str, iban: str) -> str:
        """Open."""
        return f"{customer}, {len(iban)}"

    @writes(key="iban", impact="record")
    def close(iban: str) -> str:
        """Close."""
        return iban

    def opening(so_far: SagaSoFar) -> Call:
        return _raises(so_far) if broken else Call("open_account", customer="c1", iban="DE02")

    def then(so_far: SagaSoFar) -> Call:
        broken.append(True)
        return _raises(so_far)

    made = saga("s", {"open": opening, "then": then}, tools=desk.control.govern([open_account, close]))
    graph = desk.control.bind(made, name="s")
    with pytest.raises(KeyError):
        desk.run(graph, how, trigger=trigger, given=REQUEST)
    broken.clear()
    run = desk.resume(desk.control.get(trigger=trigger), how)
    assert (run.output["outcome"], run.output["failed"]) == ("undone", "then")


def test_a_step_over_the_runs_deadline_is_refused_and_the_rest_taken_back(desk: Desk, trigger: str) -> None:
    """A run that may begin nothing new does not leave a saga half done: undoing goes on past the deadline."""
    shop = Shop(desk)

    def sleep(so_far: SagaSoFar) -> Call:
        time.sleep(1.2)
        return welcome(so_far)

    made = desk.control.bind(
        saga("s", {"plan": plan, "invoice": invoice, "welcome": sleep}, tools=shop.tools), name="s"
    )
    run = desk.run(made, trigger=trigger, given=REQUEST, deadline="1s")
    assert run.output["outcome"] == "undone"
    assert "begin nothing any more" in run.output["why"]
    assert shop.log == ["set pro", "invoice", "void inv-c1", "restore free"]


def test_a_step_refused_for_its_runs_end_asks_nobody_any_more(desk: Desk, trigger: str) -> None:
    """A yes that nothing came of is gone with it: taken back, it would have others asked for nothing."""
    steps = {"refund": lambda _: Call("refund", order_id="o1", amount=Decimal(500))}
    made = saga("order", steps, tools=[desk.tool("refund")])
    run = desk.run(desk.control.bind(made, name="order"), trigger=trigger, given={"request": {}}, deadline="1h")
    desk.approve(run.approvals)
    with psycopg.connect(desk.database.admin, autocommit=True) as admin:
        admin.execute(
            "UPDATE control.run_state SET deadline = clock_timestamp() - interval '1 s' WHERE run_id = %s",
            (run_id(run.id),),
        )
    assert desk.resume(run).state is RunState.DONE
    with Approvals(desk.database.approver("ana")) as ana, pytest.raises(ApprovalRefused) as refused:
        ana.withdraw(run.approvals[0])
    assert (refused.value.code, desk.done) == ("closed", [])


def test_silence_does_not_refuse_an_undo(desk: Desk, how: How, trigger: str) -> None:
    """An undo that the policy asks people about waits for them; when nobody answers in time, they are asked again."""

    @writes(
        key="order_id", impact="record", undo=lambda action: Call("refund", order_id="o1", amount=action.args["amount"])
    )
    def charge(order_id: str, amount: Decimal) -> str:
        """Charge."""
        return f"charged {order_id} {amount}"

    @writes(key="order_id", impact="record", outcome=lambda _: NotDone(reason="out of stock"))
    def ship(order_id: str) -> str:
        """Ship."""
        return order_id

    steps = {
        "charge": lambda _: Call("charge", order_id="o1", amount=Decimal(500)),
        "ship": lambda _: Call("ship", order_id="o1"),
    }
    made = saga("order", steps, tools=desk.control.govern([charge, ship, desk.tool("refund")]))
    run = desk.run(desk.control.bind(made, name="order"), how, trigger=trigger, given={"request": {}})
    assert run.state is RunState.NEEDS_APPROVAL
    for _ in range(2):
        with psycopg.connect(desk.database.admin, autocommit=True) as admin:
            admin.execute(
                "UPDATE control.approval SET expires_at = clock_timestamp() - interval '1 s' WHERE approval_id = %s",
                (approval_id(run.approvals[0]),),
            )
        asked = run.approvals
        run = desk.resume(run, how)
        assert (run.state, run.approvals) == (RunState.NEEDS_APPROVAL, asked)
    desk.approve(run.approvals)
    run = desk.resume(run, how)
    assert run.output["outcome"] == "undone"
    assert desk.done == ["o1:500"]


def test_a_saga_resumed_outside_its_run_does_nothing(desk: Desk, how: How, trigger: str) -> None:
    """Whoever has the thread of a saga that waits for people gets no further than its node, and is on record."""
    steps = {"refund": lambda _: Call("refund", order_id="o1", amount=Decimal(500))}
    made = saga("order", steps, tools=desk.control.govern([desk.tool("refund")]))
    graph = desk.control.bind(made, name="order")
    run = desk.run(graph, how, trigger=trigger, given={"request": {}})
    assert run.state is RunState.NEEDS_APPROVAL
    forged, config = desk.forged(graph, run)
    with pytest.raises(NoRun):
        forge(forged, Command(resume="approved"), config, how)
    assert [reason for reason in reasons(desk, run) if reason == "outside_run"] == ["outside_run"]
    assert desk.resume(run, how).approvals == run.approvals
    assert desk.done == []


def reasons(desk: Desk, run: Run) -> list[str | None]:
    """Return the reasons that a run's entries name, in their order."""
    with LedgerConnection(desk.database.auditor) as auditor:
        return [Entry.of(entry).fact("reason") for entry in auditor.entries(run_id(run.id))]


def test_an_undo_that_people_reject_stays_for_a_person(desk: Desk, operators: Operators, trigger: str) -> None:
    """A no to taking it back is no end: the run waits for the owner, who says what stays."""

    @writes(key="order_id", impact="record", undo=lambda _: Call("refund", order_id="o1", amount=Decimal(500)))
    def charge(order_id: str) -> str:
        """Charge."""
        return order_id

    @writes(key="order_id", impact="record", outcome=lambda _: NotDone(reason="out of stock"))
    def ship(order_id: str) -> str:
        """Ship."""
        return order_id

    steps = {"charge": lambda _: Call("charge", order_id="o1"), "ship": lambda _: Call("ship", order_id="o1")}
    made = saga("order", steps, tools=desk.control.govern([charge, ship, desk.tool("refund")]))
    run = desk.run(desk.control.bind(made, name="order"), trigger=trigger, given={"request": {}})
    desk.reject(run.approvals, comment="keep it")
    run = desk.resume(run)
    assert run.state is RunState.NEEDS_HUMAN
    row = operators.run(run.id)
    (stuck,) = operators.stuck(row.run_id)
    operators.resolve(row.run_id, stuck.key, Resolution.GIVE_UP, comment="the charge stays")
    run = desk.resume(run)
    assert (run.output["outcome"], [one["tool"] for one in run.output["applied"]]) == ("partly_undone", ["charge"])
    assert desk.done == []


def test_a_step_that_is_done_already_is_passed_over(desk: Desk, how: How, trigger: str) -> None:
    """A record that is as the step would make it ends no saga, and is left as it was when the rest is taken back."""
    record = {"plan": "pro"}

    @writes(
        key="customer",
        impact="record",
        read=lambda _: dict(record),
        expect=lambda action: {"plan": action.args["plan"]},
        undo=lambda _: Call("set_plan", customer="c1", plan="free"),
    )
    def set_plan(customer: str, plan: str) -> str:
        """Set the plan."""
        record["plan"] = plan
        return f"{customer} is {plan}"

    @writes(key="customer", impact="record", outcome=lambda _: NO_ADDRESS)
    def send_welcome(customer: str) -> str:
        """Send a mail."""
        return customer

    steps = {"plan": plan, "mail": lambda _: Call("send_welcome", customer="c1")}
    made = saga("change_plan", steps, tools=desk.control.govern([set_plan, send_welcome]))
    run = desk.run(desk.control.bind(made, name="change_plan"), how, trigger=trigger, given=REQUEST)
    assert (run.output["outcome"], run.output["failed"]) == ("undone", "mail")
    assert "already in the target state" in run.output["results"]["plan"]
    assert record == {"plan": "pro"}


def test_a_later_step_that_only_may_be_rehearsed_ends_the_saga(desk_database: Database, trigger: str) -> None:
    """A step that was refused before anything of it was stored is settled by what the step itself asks for."""

    def rehearse(proposal: Proposal) -> Stricter | None:
        return Stricter(verb=Verb.DRY_RUN, reason="not yet") if proposal.tool == "create_invoice" else None

    with Control(POLICY, dsn=desk_database.agent, checks=[rehearse]) as control:
        shop = Shop(Desk(database=desk_database, control=control))
        run = shop.desk.run(shop.bound(), trigger=trigger, given=REQUEST)
    assert (run.state, run.output["outcome"], run.output["failed"]) == (RunState.DONE, "undone", "invoice")
    assert shop.log == ["set pro", "restore free"]


def test_an_undo_that_a_check_refuses_is_for_people(desk_database: Database, trigger: str) -> None:
    """A check that says no to an undo leaves it to a person, and is not asked again about what is theirs."""

    def no_voids(proposal: Proposal) -> Stricter | None:
        return Stricter(verb=Verb.DENY, reason="no voids") if proposal.tool == "void_invoice" else None

    with Control(POLICY, dsn=desk_database.agent, checks=[no_voids]) as control:
        shop = Shop(Desk(database=desk_database, control=control))
        shop.mail = lambda: NO_ADDRESS
        run = shop.desk.run(shop.bound(), trigger=trigger, given=REQUEST)
        assert run.state is RunState.NEEDS_HUMAN
        (card,) = _cards(shop.desk, shop, run)
    assert "no voids" in card["why"]["reasons"][0]
    assert shop.log == ["set pro", "invoice", "mail"]


def test_what_a_step_hides_from_the_record_reaches_its_undo(desk: Desk, trigger: str) -> None:
    """A redacted argument is not stored; the step itself says it again."""
    told_undo: list[str] = []

    def undo(action: Action) -> Call:
        told_undo.append(action.args["iban"])
        return Call("close", account=action.result)

    @writes(key="customer", impact="record", redact="iban", undo=undo)
    def open_account(customer: str, iban: str) -> str:
        """Open."""
        return f"account of {customer}, {len(iban)}"

    @writes(key="account", impact="record")
    def close(account: str) -> str:
        """Close."""
        return account

    @writes(key="customer", impact="record", outcome=lambda _: NotDone(reason="no"))
    def fund(customer: str) -> str:
        """Fund."""
        return customer

    steps = {
        "open": lambda s: Call("open_account", customer="c1", iban=s.request["iban"]),
        "fund": lambda _: Call("fund", customer="c1"),
    }
    made = saga("account", steps, tools=desk.control.govern([open_account, close, fund]))
    run = desk.run(desk.control.bind(made, name="account"), trigger=trigger, given={"request": {"iban": "DE02"}})
    assert run.output["outcome"] == "undone"
    assert told_undo == ["DE02"]


def test_a_cancelled_run_leaves_nothing_applied_by_accident(
    desk: Desk, operators: Operators, how: How, trigger: str
) -> None:
    """Where steps are in effect, ending the run takes a word of its own; what stays is on record."""
    run = desk.run(desk.control.bind(closing(desk), name="closing"), how, trigger=trigger, given={"request": {}})
    row = operators.run(run.id)
    with pytest.raises(OperationRefused) as refused:
        operators.cancel(row.run_id, comment="not wanted")
    assert refused.value.code == "saga"
    assert "close" in str(refused.value)
    operators.cancel(row.run_id, comment="it may stay closed", leave_applied=True)
    with LedgerConnection(desk.database.auditor) as auditor:
        ended = Entry.of([*auditor.entries(row.run_id)][-1])
    assert (ended.events, len(ended.facts["applied"])) == (("run.cancelled", "run.finished"), 1)
    assert (desk.control.get(run.id).state, desk.done) == (RunState.DONE, [])


def test_a_saga_that_was_undone_holds_no_cancellation_up(desk: Desk, operators: Operators, trigger: str) -> None:
    """Once everything is taken back, a run is cancelled like any other."""
    shop = Shop(desk)
    shop.mail = lambda: NO_ADDRESS
    stays = iter([False, True])

    def then(_: Any) -> dict[str, Any]:
        if not next(stays, True):
            raise RuntimeError
        return {}

    builder: Any = StateGraph(cast("Any", dict))
    builder.add_node("change", shop.saga)
    builder.add_node("then", then)
    builder.add_edge(START, "change")
    builder.add_edge("change", "then")
    graph = desk.control.bind(builder.compile(), name="undone_then")
    with pytest.raises(RuntimeError):
        desk.run(graph, trigger=trigger, given=REQUEST)
    row = operators.run(trigger)
    operators.cancel(row.run_id, comment="not wanted")
    assert desk.control.get(trigger=trigger).state is RunState.DONE
