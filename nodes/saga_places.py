"""Where in a saga a governed call stands. The saga's nodes say it, the tool's seam hears it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["SagaPlace", "at_place", "taken_place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaPlace:
    """One step of one saga, or the taking back of one.

    Args:
        saga: the saga's id, 32 bytes.
        name: its name.
        step: the number of the step, from 1.
        applied: how many other actions of the saga are in effect.
        undoes: the key of the action to take back; None for a step.
        closing: only find out what came of the step; nothing new is begun for it.
        for_people: why the program cannot take it back; None where it is to try.
        by_hand: the program knows no tool that takes it back: what people are asked about is the doing itself.
        standing: what is applied and what is undone, for the card and the record.
    """

    saga: bytes
    name: str
    step: int
    applied: int = 0
    undoes: bytes | None = None
    closing: bool = False
    for_people: str | None = None
    by_hand: bool = False
    standing: Mapping[str, Any] = field(default_factory=dict)

    def for_claim(self) -> dict[str, Any]:
        """Return what the ledger is told of it."""
        told: dict[str, Any] = {"id": self.saga.hex(), "name": self.name, "step": self.step}
        return told if self.undoes is None else {**told, "undoes": self.undoes.hex()}


_place: Final[ContextVar[SagaPlace | None]] = ContextVar("langgraph_control_saga_place", default=None)


@contextmanager
def at_place(place: SagaPlace) -> Iterator[None]:
    """Make the next governed call of a block the one of a saga's step. Never around a generator's yield.

    Args:
        place: which.
    """
    reset = _place.set(place)
    try:
        yield
    finally:
        _place.reset(reset)


def taken_place() -> SagaPlace | None:
    """Return where in a saga this call stands; what it calls in turn stands nowhere."""
    place = _place.get()
    _place.set(None)
    return place
