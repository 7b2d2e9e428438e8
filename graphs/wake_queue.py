"""What wakes workers: a port with engines behind it. It carries run ids and times and no authority.

The ledger says whether a run is due, so an engine may lose, double, delay or make up wake-ups: what is lost is found by
the worker's sweep, what is too much is answered "not due". An engine adds speed and spreads the work.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self, TypeAlias
from uuid import UUID

__all__ = ["Advance", "Advanced", "WakeQueue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """What became of a wake-up.

    Args:
        finished: the run is done; nothing will ever have to wake it again.
        again_at: when to look at it again; None: when something happens.
    """

    finished: bool = False
    again_at: datetime | None = None


Advance: TypeAlias = Callable[[UUID, str], Awaitable[Advanced]]
"""Drive a run of a graph, if it is due. Called on the loop that consumes; it raises nothing but cancellation."""


class WakeQueue(Protocol):
    """The two functions that wake a run somewhere, and the side that is woken.

    A worker enters it before anything else and leaves it last.
    """

    async def schedule(self, run_id: UUID, graph: str, at: datetime) -> None:
        """Wake some worker for a run at a time. Said again for the same time, it may wake once.

        Args:
            run_id: the run.
            graph: the run's graph: only workers that have it are woken.
            at: not before this moment.

        Raises:
            QueueUnavailable: the engine cannot be reached; the sweep makes up for it.
        """
        ...

    async def wake(self, run_id: UUID, graph: str) -> None:
        """Wake some worker for a run now. While one is to be woken for it already, this may change nothing.

        Args:
            run_id: the run.
            graph: the run's graph.

        Raises:
            QueueUnavailable: as for :meth:`schedule`.
        """
        ...

    async def consume(self, advance: Advance, *, graphs: Sequence[str], concurrency: int, drain_seconds: float) -> None:
        """Call ``advance`` for each wake-up of these graphs, until cancelled; look again when its answer says so.

        Cancelled, it takes no more, lets what is in hand end for so long, and then cancels that, too.

        Args:
            advance: drives a run.
            graphs: names of the graphs this worker has.
            concurrency: at most so many at once.
            drain_seconds: how long what is in hand may go on after the cancellation.

        Raises:
            QueueUnavailable: the engine broke off; the caller consumes again.
        """
        ...

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            QueueUnavailable: the engine cannot be reached.
        """
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        ...
