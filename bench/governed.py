"""The governed call as it is measured: the real gate, driver and store around a tool that does nothing.

The run is opened and entered by hand: no model and no LangGraph, whose own cost is measured beside it.
"""

from decimal import Decimal
from itertools import count
from typing import Any
from uuid import uuid4

from langchain_core.tools import StructuredTool
from langchain_core.utils.uuid import uuid7

from bench.ground import POLICY
from langgraph_control import writes
from langgraph_control.audit.asking.requests import RunOpen
from langgraph_control.audit.connecting.store import Store
from langgraph_control.nodes.contexts import enter_run, leave_run
from langgraph_control.nodes.contracts import Contract
from langgraph_control.nodes.drivers import drive
from langgraph_control.nodes.parameters import tool_parameters
from langgraph_control.nodes.run_context import RunContext
from langgraph_control.nodes.steps import Delivered
from langgraph_control.nodes.tool_calls import Seam

__all__ = ["CONTRACT", "GovernedRun", "arguments", "governed_runs", "pay"]

CONTRACT = writes(key="order_id", impact="money", explain="reason")
LEASE_MS = 3_600_000


def pay(order_id: str, amount: Decimal, reason: str) -> str:
    """Pay nothing to nobody."""
    del reason
    return f"paid {amount} for {order_id}"


def arguments(order: int) -> dict[str, Any]:
    """Return what an agent would call the tool with.

    Args:
        order: makes it a change of its own.
    """
    return {
        "order_id": f"order-{order:06d}",
        "amount": Decimal("49.90"),
        "reason": "The customer was charged twice for the same delivery.",
    }


class GovernedRun:
    """A run that makes governed calls, each of a change of its own. Threads may share one.

    Args:
        store: through which its ledger is reached.
        contract: of the tool it calls.
    """

    def __init__(self, store: Store, contract: Contract = CONTRACT) -> None:
        self.context = _opened(store)
        self._orders = count(1)
        tool = StructuredTool.from_function(pay)
        self._seam = Seam(original=tool, contract=contract, parameters=tool_parameters(tool), store=lambda: store)
        enter_run(self.context)

    def __call__(self) -> None:
        """Make one call."""
        order = next(self._orders)
        called = self._seam.called(pay, (), arguments(order), f"call_{uuid4().hex}")
        gate, surroundings = called.begun(self.context)
        step = drive(gate, surroundings)
        if not isinstance(step, Delivered) or step.replayed:
            raise TypeError(f"the gate ended with {type(step).__name__}")

    def close(self) -> None:
        """Forget the run."""
        leave_run(self.context)


def governed_runs(store: Store, number: int) -> list[GovernedRun]:
    """Return so many runs, each having made a call already.

    Args:
        store: through which their ledger is reached.
        number: how many.
    """
    runs = [GovernedRun(store) for _ in range(number)]
    for run in runs:
        run()
    return runs


def _opened(store: Store) -> RunContext:
    session = store.session()
    run_id = uuid7()
    name = run_id.hex[-8:]  # as long as what a ticket system gives
    opened = store.call(
        RunOpen(
            run_id=run_id,
            trigger=f"mail/{name}",
            intent=f"ticket/{name}",
            graph="support",
            thread=str(run_id),
            own_thread=True,
            actor="support-agent",
            on_behalf_of="dora@acme.example",
            deadline=None,
            input=b"{}",
            holder="bench",
            lease_ms=LEASE_MS,
            body=b"{}",
        )
    )
    if opened.token is None:
        raise RuntimeError(f"the run was answered with {opened.answer}")
    return RunContext(
        run_id=run_id,
        token=opened.token,
        tenant=session.tenant,
        secret=session.secret,
        trigger=f"mail/{name}",
        intent=f"ticket/{name}",
        graph="support",
        thread_id=str(run_id),
        actor="support-agent",
        on_behalf_of="dora@acme.example",
        deadline=None,
        policy=POLICY,
        worker="bench",
    )
