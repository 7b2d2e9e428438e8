"""How soon a write is done once a person has said yes: voted in one process, carried out by a worker in another."""

from datetime import UTC, datetime, timedelta
from typing import Final

from bench.ground import Ground
from bench.measuring import Figure
from bench.table import AT_MOST, Bar, Line
from bench.waking_ground import Waking, until, waking
from langgraph_control import Approvals
from langgraph_control.audit.asking.rows import RunState

__all__ = ["votes"]

MS: Final = timedelta(milliseconds=1)


def votes(ground: Ground, *, runs: int) -> list[Line]:
    """Measure from before a vote is sent to the moment at which the write's success is on record.

    Both by the clock of this machine, which is the database's, too.

    Args:
        ground: the server.
        runs: how many, one after the other.
    """
    with waking(ground, "votes") as place, place.worker(), Approvals(place.approver) as approvals:
        _done_ms(place, approvals)
        values = sorted(_done_ms(place, approvals) for _ in range(runs))
    p99 = values[min(len(values) - 1, int(len(values) * 0.99))]
    return [
        Line("vote to executed effect in another process", Figure(values=tuple(values)), " ms", bar=Bar(AT_MOST, 150)),
        Line("the same, p99", Figure(values=(p99,)), " ms"),
    ]


def _done_ms(place: Waking, approvals: Approvals) -> float:
    run = place.submit(amount="500")
    until(lambda: place.control.get(run.id).state is RunState.NEEDS_APPROVAL)
    (name,) = place.control.get(run.id).approvals
    sent = datetime.now(UTC)
    approvals.approve(name)
    until(lambda: place.at(run, "action.succeeded"))
    (done,) = place.at(run, "action.succeeded")
    return (done - sent) / MS
