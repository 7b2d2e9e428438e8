"""What the benchmark's workers drive: one governed payment, which may have to wait for people or for a time."""

import time
from decimal import Decimal
from typing import Any

import httpx
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_control import Control, writes

__all__ = ["NAME", "build", "graph"]

NAME = "waiting"
_asked_to_wait: set[str] = set()


@writes(key="order_id", impact="money")
def pay(order_id: str, amount: Decimal, later: int = 0, slow: int = 0) -> str:
    """Pay nothing to nobody; asked to, only when called again after so many seconds, or taking so many."""
    if later and order_id not in _asked_to_wait:
        _asked_to_wait.add(order_id)
        request = httpx.Request("POST", "http://127.0.0.1/payments")
        answer = httpx.Response(429, headers={"retry-after": str(later)}, request=request)
        raise httpx.HTTPStatusError("slow down", request=request, response=answer)
    time.sleep(slow)
    return f"paid {amount}"


class State(MessagesState):
    """One payment to make."""

    payment: dict[str, Any]


def build(control: Control) -> Any:
    """Return the bound graph.

    Args:
        control: governs the payment.
    """
    (governed,) = control.govern([pay])

    def act(state: State) -> dict[str, Any]:
        return {"messages": [("ai", str(governed.invoke(state["payment"])))]}

    builder: Any = StateGraph(State)
    builder.add_node("act", act)
    builder.add_edge(START, "act")
    return control.bind(builder.compile(), name=NAME)


def graph(control: Control) -> Any:
    """Return the graph that ``langgraph.json`` names, by the worker's own Control.

    Args:
        control: the worker's.
    """
    return build(control)
