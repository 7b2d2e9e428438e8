"""The scenes in which a run waits by itself: for a time, and for a person. A worker goes on with both."""

import itertools
from typing import Final

from demo.billing.faults import Fault, FaultKind
from demo.desk import Desk
from demo.serving import Serving
from demo.telling import Teller
from demo.tickets import Outcome, Ticket
from langgraph_control import Run

__all__ = ["WAITS", "waiting_runs"]

LIMITED: Final = Ticket(trigger="ticket/7", order="A-1007", amount="70.00", complaint="arrived too late")
FAILING: Final = Ticket(trigger="ticket/8", order="A-1008", amount="85.00", complaint="one part is missing")

PAUSE_SECONDS: Final = 8
"""What billing asks for: more than a call waits in its process, about what a worker needs to start."""

FAILURES: Final = 3
"""So many of the same kind in a row are enough, unless the policy says otherwise."""

WAITS: Final = {
    LIMITED: Outcome(requests=2, refunds=1),
    FAILING: Outcome(requests=FAILURES + 1, refunds=1),
}


def waiting_runs(desk: Desk, teller: Teller) -> None:
    """Park one run for a time, start a worker, and have it go on with that one and with one that fails."""
    parked = rate_limited(desk, teller)
    with desk.serving() as worker:
        resumed(desk, teller, worker, parked)
        same_failure(desk, teller)


def rate_limited(desk: Desk, teller: Teller) -> Run:
    """Told to come later, the run is parked with a reason and a time."""
    teller.scene(
        "7. Billing asks to slow down",
        f"It answers 429 and wants to be asked again in {PAUSE_SECONDS} s at the earliest. No process waits for that: "
        "the run is parked with its reason and its time. A worker, started now, finds both in the database and goes "
        "on by itself.",
    )
    desk.billing.schedule(Fault(kind=FaultKind.RATE_LIMIT, target=LIMITED.order, retry_after_seconds=PAUSE_SECONDS))
    teller.note("customer", f'{LIMITED.trigger}: "{LIMITED.text}"')
    parked = desk.deliver(LIMITED)
    teller.note("agent", str(parked))
    teller.claim(
        "the run says that it retries, why, and from when on",
        holds=(parked.state, parked.reason) == ("retrying", "retry_later") and parked.wake_at is not None,
    )
    teller.claim("nothing was refunded yet", holds=desk.refunded(LIMITED) == [])
    return parked


def resumed(desk: Desk, teller: Teller, worker: Serving, parked: Run) -> None:
    """At its time, another process goes on with the run."""
    run = desk.until(LIMITED, "done")
    seen = parked.state == "done" or worker.wait_until_said(f"{run.id} of support: done")
    worker.tell_news(teller)
    asked = desk.asked_at(LIMITED)
    teller.claim(
        f"billing was asked again after {PAUSE_SECONDS} s and not before",
        holds=[later - first >= PAUSE_SECONDS for first, later in itertools.pairwise(asked)] == [True],
    )
    teller.claim("it refunded 70.00 EUR, once", holds=desk.refunded(LIMITED) == [LIMITED.cents])
    teller.claim("the run is done, and the worker did it", holds=run.state == "done" and seen)


def same_failure(desk: Desk, teller: Teller) -> None:
    """The same failure three times in a row: no fourth try, a person decides from another process, the run goes on."""
    teller.scene(
        "8. The same failure, three times",
        "Billing is broken and answers 500. Whether it refunded is looked up after each try: it did not. After the "
        "third failure of the same kind nothing is tried any more: the run goes to the owner whom the policy names, "
        "finance. Ana looks, and decides from a process of her own.",
    )
    desk.billing.schedule(Fault(kind=FaultKind.ERROR_BEFORE, target=FAILING.order, times=FAILURES))
    teller.note("customer", f'{FAILING.trigger}: "{FAILING.text}"')
    teller.note("program", f"control.submit(…, trigger={FAILING.trigger!r}): the same worker takes it.")
    desk.submit(FAILING)
    stopped = desk.until(FAILING, "needs_human")
    teller.note("agent", str(stopped))
    teller.claim(
        f"billing was asked {FAILURES} times, then no more",
        holds=stopped.state == "needs_human" and len(desk.asked_at(FAILING)) == FAILURES,
    )
    teller.claim("nothing was refunded yet", holds=desk.refunded(FAILING) == [])
    teller.note("finance", "Ana sees in billing's log that it has no refund of this order, and that it works again.")
    resolved = desk.command("resolve", stopped.id, "--did-not", "--comment", "Billing has none, and works again.")
    run = desk.until(FAILING, "done")
    teller.note("agent", str(run))
    teller.claim(
        "tried once more, it refunded 85.00 EUR, once",
        holds=resolved == 0 and desk.refunded(FAILING) == [FAILING.cents],
    )
    teller.claim("the run is done", holds=run.state == "done")
