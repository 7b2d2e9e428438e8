"""A saga that waits for people when its first step is done."""

from decimal import Decimal
from typing import Any

from langgraph_control import Call, saga, writes
from tests.support.desk import Desk

__all__ = ["closing"]


def closing(desk: Desk) -> Any:
    """Return the saga: an order is closed, which can be taken back, and then refunded, which people are asked about."""

    @writes(key="order_id", impact="record", undo=lambda action: Call("reopen", order_id=action.args["order_id"]))
    def close(order_id: str) -> str:
        """Close an order."""
        return f"closed {order_id}"

    @writes(key="order_id", impact="record")
    def reopen(order_id: str) -> str:
        """Open it again."""
        return f"reopened {order_id}"

    steps = {
        "close": lambda _: Call("close", order_id="o1"),
        "refund": lambda _: Call("refund", order_id="o1", amount=Decimal(500)),
    }
    return saga("closing", steps, tools=desk.control.govern([close, reopen, desk.tool("refund")]))
