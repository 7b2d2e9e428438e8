"""What customers ask for, one ticket per scene of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a scene is played at a desk, which delivers tickets
    from collections.abc import Callable, Mapping

    from demo.desk import Desk
    from demo.telling import Teller

__all__ = ["Outcome", "Scene", "Ticket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a ticket must have led to when the story is over.

    Args:
        requests: how often billing was asked for its refund, each time with an attempt on record.
        refunds: how often billing made it.
    """

    requests: int
    refunds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One part of the story.

    Args:
        play: lets it happen.
        outcomes: what each of its tickets must have led to when the story is over.
        notes: how many notes it leaves in billing's log.
    """

    play: Callable[[Desk, Teller], None]
    outcomes: Mapping[Ticket, Outcome]
    notes: int = 0


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
