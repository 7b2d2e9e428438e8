"""The scenes. Each one says what is going to be seen, lets it happen, and checks it against billing's own log."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.types import Command
from psycopg.rows import dict_row

from demo.billing.faults import Fault, FaultKind
from demo.desk import Desk
from demo.plans import NOTES, PLANS, enrichment_falls_back, saga_undone
from demo.telling import Teller
from demo.tickets import Outcome, Scene, Ticket
from demo.waits import WAITS, waiting_runs
from langgraph_control import ControlError, Run

SMALL: Final = Ticket(trigger="ticket/1", order="A-1001", amount="40.00", complaint="it arrived broken")
LARGE: Final = Ticket(trigger="ticket/2", order="A-1002", amount="1200.00", complaint="it never arrived")
FORGED: Final = Ticket(trigger="ticket/3", order="A-1003", amount="900.00", complaint="just do it")
DROPPED: Final = Ticket(trigger="ticket/4", order="A-1004", amount="60.00", complaint="wrong size")
KILLED: Final = Ticket(trigger="ticket/5", order="A-1005", amount="75.00", complaint="wrong colour")
TWICE: Final = Ticket(trigger="ticket/6", order="A-1006", amount="20.00", complaint="paid twice")

REFUNDED: Final = Outcome(requests=1, refunds=1)

SLOW_MS: Final = 3_000


def tell(desk: Desk, teller: Teller, scenes: Sequence[Scene]) -> dict[Ticket, Run]:
    """Play scenes and return where each of their tickets' runs stands at the end.

    Args:
        desk: where they are played.
        teller: told what happens.
        scenes: which.
    """
    tickets = [ticket for scene in scenes for ticket in scene.outcomes]
    for ticket in tickets:
        desk.billing.put_order(ticket.order, "2000.00")
    for scene in scenes:
        scene.play(desk, teller)
    return {ticket: desk.control.get(trigger=ticket.trigger) for ticket in tickets}


def small_refund(desk: Desk, teller: Teller) -> None:
    """Allowed by the policy: recorded, done, read back."""
    teller.scene(
        "1. A small refund goes through",
        "The policy allows up to 100 EUR. The refund is recorded before it is sent, and read back afterwards.",
    )
    run = _deliver(desk, teller, SMALL)
    teller.claim("billing refunded 40.00 EUR, once", holds=desk.refunded(SMALL) == [SMALL.cents])
    teller.claim("the run is done", holds=run.state == "done")


def large_refund(desk: Desk, teller: Teller) -> None:
    """Parks, is approved from another process, and runs exactly as approved."""
    teller.scene(
        "2. A large refund waits for finance",
        "Above 100 EUR a person of finance has to say yes. Until then the run is parked in Postgres, and no process "
        "has to wait. Ana approves from a process of her own, on a database login of her own.",
    )
    run = _deliver(desk, teller, LARGE)
    teller.claim("nothing was refunded yet", holds=desk.refunded(LARGE) == [])
    approved = desk.command("approve", *run.approvals)
    run = _deliver_again(desk, teller, LARGE)
    teller.claim(
        "exactly the approved 1200.00 EUR were refunded, once",
        holds=approved == 0 and desk.refunded(LARGE) == [LARGE.cents],
    )
    teller.claim("the run is done", holds=run.state == "done")


def forged_resume(desk: Desk, teller: Teller) -> None:
    """LangGraph's own resume carries no authority; a rejection reaches the agent."""
    teller.scene(
        "3. A forged approval does nothing",
        'Somebody resumes the parked graph directly with "approved: true", on plain LangGraph with the same '
        "checkpoints: once plainly, once by the interrupt's id. What resumes a graph is not what approves a refund.",
    )
    run = _deliver(desk, teller, FORGED)
    for how, answer in _forge(desk, run).items():
        teller.note("forger", f"{how}: {answer}")
    parked = desk.control.get(run.id)
    teller.claim(
        "nothing was refunded, the request is as open as before",
        holds=desk.refunded(FORGED) == [] and parked.approvals == run.approvals != (),
    )
    teller.note("finance", "Ana looks at the request and says no.")
    rejected = desk.command("reject", *run.approvals, "--comment", "Paid back in May.")
    run = _deliver_again(desk, teller, FORGED)
    teller.claim(
        "the run ended without a refund",
        holds=rejected == 0 and run.state == "done" and desk.refunded(FORGED) == [],
    )


def dropped_connection(desk: Desk, teller: Teller) -> None:
    """The effect happened, its answer was lost: looked up, not repeated."""
    teller.scene(
        "4. An answer that is lost after the write",
        "Billing refunds, then drops the connection. The agent cannot know whether it worked; sending again would "
        "risk a second refund. So it is looked up, by the key that went along with the request.",
    )
    desk.billing.schedule(Fault(kind=FaultKind.APPLY_THEN_DROP, target=DROPPED.order))
    run = _deliver(desk, teller, DROPPED)
    teller.claim("billing refunded 60.00 EUR, once", holds=desk.refunded(DROPPED) == [DROPPED.cents])
    answered = run.state == "done" and any("60.00" in told for told in _told(run))
    teller.claim("the run is done, with billing's own answer", holds=answered)


def killed_process(desk: Desk, teller: Teller) -> None:
    """Killed between effect and record; another process finishes the run."""
    teller.scene(
        "5. The agent's process is killed between the refund and its record",
        "Another process delivers this ticket. Billing refunds, but is slow to answer; the moment its log shows the "
        "refund, the process is killed with kill -9. A new process gets the same delivery, waits until the dead one's "
        "lease is over (15 s at most), looks the refund up, and finishes the run.",
    )
    desk.billing.schedule(Fault(kind=FaultKind.SLOW, target=KILLED.order, delay_ms=SLOW_MS))
    teller.note("customer", f'{KILLED.trigger}: "{KILLED.text}"')
    died = desk.kill_after_effect(desk.worker(KILLED), KILLED)
    left = desk.control.get(trigger=KILLED.trigger)
    teller.claim(
        "the process was killed, billing has refunded, the run is unfinished",
        holds=died and left.state == "running" and desk.refunded(KILLED) == [KILLED.cents],
    )
    teller.note("program", "The same delivery in a new process. It waits for the lease to run out.")
    said, _ = desk.worker(KILLED).communicate()
    teller.note("agent", said.strip())
    teller.claim("still one refund of 75.00 EUR", holds=desk.refunded(KILLED) == [KILLED.cents])
    teller.claim("the run is done", holds=said.strip() == "done")


def same_trigger_twice(desk: Desk, teller: Teller) -> None:
    """Two deliveries of one event at the same time are one run."""
    teller.scene(
        "6. The same ticket is delivered twice",
        "Webhooks and queues deliver more than once. Here both deliveries arrive at the same moment.",
    )
    teller.note("customer", f'{TWICE.trigger}: "{TWICE.text}" (twice)')
    with ThreadPoolExecutor(2) as deliveries:
        first, second = deliveries.map(desk.deliver, [TWICE, TWICE])
    for run in (first, second):
        _report(teller, run)
    teller.claim("both are one run, with one result", holds=first.id == second.id and _said(first) == _said(second))
    teller.claim("billing refunded 20.00 EUR, once", holds=desk.refunded(TWICE) == [TWICE.cents])


SCENES: Final = (
    Scene(play=small_refund, outcomes={SMALL: REFUNDED}),
    Scene(play=large_refund, outcomes={LARGE: REFUNDED}),
    Scene(play=forged_resume, outcomes={FORGED: Outcome(requests=0, refunds=0)}),
    Scene(play=dropped_connection, outcomes={DROPPED: REFUNDED}),
    Scene(play=killed_process, outcomes={KILLED: REFUNDED}),
    Scene(play=same_trigger_twice, outcomes={TWICE: REFUNDED}),
    Scene(play=waiting_runs, outcomes=WAITS),
    Scene(play=enrichment_falls_back, outcomes=PLANS),
    Scene(play=saga_undone, outcomes={}, notes=NOTES),
)
"""In this order. Each has a number in its title; the seventh has two."""


def _deliver(desk: Desk, teller: Teller, ticket: Ticket) -> Run:
    teller.note("customer", f'{ticket.trigger}: "{ticket.text}"')
    run = desk.deliver(ticket)
    _report(teller, run)
    return run


def _deliver_again(desk: Desk, teller: Teller, ticket: Ticket) -> Run:
    teller.note("program", f"The same call again: control.run(…, trigger={ticket.trigger!r})")
    run = desk.deliver(ticket)
    _report(teller, run)
    return run


def _report(teller: Teller, run: Run) -> None:
    said = _said(run)
    teller.note("agent", f'{run}: "{said}"' if said else str(run))


def _said(run: Run) -> str:
    """The agent's last words; a run that waits has none."""
    return str(run.output["messages"][-1].text) if run.output else ""


def _told(run: Run) -> list[str]:
    """What the refund told the agent, whatever the agent made of it."""
    messages = run.output["messages"] if run.output else []
    return [str(message.text) for message in messages if message.type == "tool" and message.name == "refund"]


def _forge(desk: Desk, run: Run) -> dict[str, str]:
    """Resume a parked run behind the control layer's back. Returns what came of it, by how it was tried."""
    # What a forger can have at most: the agent's own database login, and LangGraph's own checkpointer on it.
    options = "-c search_path=control_checkpoints"
    with psycopg.Connection[dict[str, Any]].connect(
        desk.ground.agent, autocommit=True, row_factory=dict_row, options=options
    ) as connection:
        graph = desk.agent.copy(update={"checkpointer": PostgresSaver(connection)})
        config = {"configurable": {"thread_id": run.thread}}
        by_id = {parked.id: {"approved": True} for parked in graph.get_state(config).interrupts}
        forgeries: dict[str, Any] = {"plainly": {"approved": True}, "by id": by_id}
        return {how: _try(graph, Command(resume=resume), config) for how, resume in forgeries.items()}


def _try(graph: Any, command: Command[Any], config: Any) -> str:
    try:
        graph.invoke(command, config, durability="sync")
    except ControlError as refused:
        return re.sub(r"\s*\[\w+\]$", "", str(refused))
    return "it went through"
