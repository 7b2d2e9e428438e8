"""One of the crew: a process that does what ``langgraph-control worker`` does, until it is killed."""

import asyncio
import logging
import os
import signal
from dataclasses import dataclass
from typing import Final

from demo.billing.client import Billing
from langgraph_control import Control
from langgraph_control.graphs import sweep
from langgraph_control.graphs.control import ledger_of
from langgraph_control.graphs.procrastinate_queue import ProcrastinateQueue
from langgraph_control.graphs.worker import Worker
from tests.chaos.deaths import Death, arm
from tests.chaos.shop import GRAPH, POLICY, open_shop
from tests.chaos.worker import shorten_leases

RUNS_AT_ONCE: Final = 8

HOLD_SECONDS: Final = 5.0
"""How long a run that was offered to a worker is kept from the others; the library's 15 s, in proportion to the
leases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Berth:
    """What a member of the crew needs to know.

    Args:
        dsn: the agent login's.
        billing_url: where the service is.
        death: where it kills itself; None to leave that to others.
    """

    dsn: str
    billing_url: str
    death: Death | None


def serve(berth: Berth) -> None:
    """Drive the runs that are due, woken by procrastinate on the ledger's own Postgres.

    Args:
        berth: as above.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)
    shorten_leases()
    setattr(sweep, "HOLD_SECONDS", HOLD_SECONDS)  # noqa: B010 - a Final, for this process only
    if berth.death is not None:
        arm(berth.death)
    control = Control(POLICY, dsn=berth.dsn)
    open_shop(control, Billing(berth.billing_url))
    asyncio.run(_work(control))


async def _work(control: Control) -> None:
    ledger = ledger_of(control)
    store = ledger.store()
    session = await store.asession()
    queue = ProcrastinateQueue(store.dsn, tenant=session.tenant)
    await Worker({GRAPH: ledger}, queue, name=f"crew-{os.getpid()}", concurrency=RUNS_AT_ONCE).run(asyncio.Event())
