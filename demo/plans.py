"""The scenes in which not everything works: an answer that stands in for a system, and a saga that is taken back."""

from typing import Any, Final

from demo.billing import client as ask
from demo.billing.client import Billing
from demo.billing.faults import Fault, FaultKind
from demo.desk import Desk
from demo.telling import Teller
from demo.tickets import Outcome, Ticket
from demo.worker import ACTOR
from langgraph_control import Call, Control, Run, current_action, saga, writes
from langgraph_control.nodes.saga_steps import SagaSoFar

__all__ = ["NOTES", "PLANS", "enrichment_falls_back", "saga_undone"]

REGULAR: Final = Ticket(trigger="ticket/9", order="A-1009", amount="300.00", complaint="I am a regular customer")

PLANS: Final = {REGULAR: Outcome(requests=1, refunds=1)}

RESHIP: Final = "ticket/10"
PARCEL: Final = "A-1010"
CUSTOMER: Final = "eve@example"
NOTES: Final = 4
"""What the saga leaves in billing's log: two notes, and two that take them back."""


def enrichment_falls_back(desk: Desk, teller: Teller) -> None:
    """A lookup that only helps to decide may fail: something stands in, and whoever approves is told."""
    teller.scene(
        "9. The customer system is down",
        "How much this customer has bought is nice to know, and its system does not answer. The tool's contract says "
        "what stands in for it. That is marked: for the model, in the record, and for Ana, who has to approve.",
    )
    teller.note("customer", f'{REGULAR.trigger}: "{REGULAR.text}"')
    run = desk.deliver(REGULAR)
    teller.note("agent", str(run))
    teller.claim("the run waits for finance, as it would have with an answer", holds=run.state == "needs_approval")
    shown = desk.command("inbox")
    approved = desk.command("approve", *run.approvals)
    run = desk.deliver(REGULAR)
    teller.note("agent", str(run))
    teller.claim(
        "billing refunded 300.00 EUR, once",
        holds=shown == approved == 0 and desk.refunded(REGULAR) == [REGULAR.cents],
    )
    marked = [message for message in _messages(run) if message.name == "customer_history"]
    teller.claim(
        "the model was told that the answer only stands in",
        holds=run.state == "done" and len(marked) == 1 and "unknown" in marked[0].text and "fallback" in marked[0].text,
    )


def saga_undone(desk: Desk, teller: Teller) -> None:
    """Two writes of three are done, the third cannot be: what was done is taken back, the last one first."""
    teller.scene(
        "10. Three writes that belong together",
        "Stop a parcel: tell the warehouse, tell the carrier, write to the customer. The last one is refused for good. "
        "Both notes before it are taken back, the last one first, each as a governed write of its own.",
    )
    desk.billing.schedule(Fault(kind=FaultKind.REFUSE, path="/emails", target=CUSTOMER))
    graph = stop_parcel(desk.control, Billing(desk.billing.url))
    teller.note("program", f"control.run(stop_parcel, …, trigger={RESHIP!r})")
    given = {"request": {"parcel": PARCEL, "customer": CUSTOMER}}
    run = desk.control.run(graph, given, trigger=RESHIP, actor=ACTOR)
    outcome: dict[str, Any] = run.output or {}
    teller.note("saga", f"{run}: {outcome.get('outcome')}, for {outcome.get('failed')} could not be done")
    told = [effect["text"] for effect in desk.billing.log_page("effects") if effect["kind"] == "note"]
    for text in told:
        teller.note("billing", f"noted: {text}")
    teller.claim(
        "both notes were taken back, the last one first",
        holds=told == [f"{what} {PARCEL}" for what in ("hold", "stop", "go on with", "release")],
    )
    shown = desk.command("show", run.id)
    teller.claim(
        "nothing of it is in effect, by the record as well",
        holds=shown == 0 and outcome.get("outcome") == "undone" and outcome.get("applied") == [],
    )


def stop_parcel(control: Control, billing: Billing) -> Any:
    """Return the bound saga.

    Args:
        control: the control layer of this process.
        billing: takes notes and sends mails.
    """

    def send(call: ask.Call) -> None:
        billing.send(call, headers=current_action().headers)

    @writes(key="parcel", impact="record", system="warehouse", undo=lambda done: Call("release", **done.args))
    def hold(parcel: str) -> str:
        """Have the warehouse hold a parcel."""
        send(ask.note("warehouse", f"hold {parcel}"))
        return f"{parcel} is held"

    @writes(key="parcel", impact="record", system="carrier", undo=lambda done: Call("go_on", **done.args))
    def stop(parcel: str) -> str:
        """Have the carrier stop a parcel."""
        send(ask.note("carrier", f"stop {parcel}"))
        return f"{parcel} is stopped"

    @writes(key="parcel", impact="record", system="mail", refusals={422: "permanent"})
    def tell_customer(parcel: str, customer: str) -> str:
        """Write to the customer that a parcel is stopped."""
        send(ask.email(customer, f"We have stopped {parcel}."))
        return f"{customer} knows"

    @writes(key="parcel", impact="record", system="warehouse")
    def release(parcel: str) -> str:
        """Have the warehouse release a parcel."""
        send(ask.note("warehouse", f"release {parcel}"))
        return f"{parcel} is released"

    @writes(key="parcel", impact="record", system="carrier")
    def go_on(parcel: str) -> str:
        """Have the carrier go on with a parcel."""
        send(ask.note("carrier", f"go on with {parcel}"))
        return f"{parcel} goes on"

    def held(so_far: SagaSoFar) -> Call:
        return Call("hold", parcel=so_far.request["parcel"])

    def stopped(so_far: SagaSoFar) -> Call:
        return Call("stop", parcel=so_far.request["parcel"])

    def customer_told(so_far: SagaSoFar) -> Call:
        return Call("tell_customer", **so_far.request)

    tools = control.govern([hold, stop, tell_customer, release, go_on])
    return control.bind(saga("stop_parcel", [held, stopped, customer_told], tools=tools), name="stop_parcel")


def _messages(run: Run) -> list[Any]:
    return list(run.output["messages"]) if run.output else []
