"""What a place that is told of requests has in common with the others, and what came of telling it."""

from dataclasses import dataclass
from typing import Protocol

from langgraph_control.guards.notices import Notice, NoticeEvent

__all__ = ["Sink", "Told"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of telling a place something.

    Args:
        error: why it has not taken it, without secrets; None: it has.
        pause_seconds: how long it asks to be left alone; None where it does not say.
    """

    error: str | None = None
    pause_seconds: float | None = None


class Sink(Protocol):
    """One place that is told of requests."""

    @property
    def name(self) -> str:
        """What it is called in the file and the ledger."""
        ...

    @property
    def events(self) -> tuple[NoticeEvent, ...]:
        """What it is told."""
        ...

    @property
    def attempts(self) -> int:
        """How often one notice is tried."""
        ...

    @property
    def timeout_seconds(self) -> float:
        """How long one try may take."""
        ...

    def send(self, notice: Notice) -> Told:
        """Tell it one thing, once. What goes wrong is an answer, not an exception.

        Args:
            notice: what is told.
        """
        ...
