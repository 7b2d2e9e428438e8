"""What customers ask for, one ticket per scene of the demo."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = ["Ticket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One customer's request, as a delivery to the agent.

    Args:
        trigger: the delivery; the same twice is the same run.
        order: the order it is about.
        amount: what to refund, as a decimal string.
        complaint: in the customer's words.
    """

    trigger: str
    order: str
    amount: str
    complaint: str

    @property
    def text(self) -> str:
        """What the customer wrote."""
        return f"Refund {self.amount} EUR of order {self.order}: {self.complaint}"

    @property
    def cents(self) -> int:
        """The amount as billing counts it."""
        return int(Decimal(self.amount) * 100)

    def delivery(self) -> dict[str, Any]:
        """Return the agent's input."""
        return {"messages": [{"role": "user", "content": self.text}]}
