"""Calls in the middle of an effect, by drive: what a graph leaves running is waited for before its run is given up.

A node of several calls, such as LangGraph's ``ToolNode`` on an event loop, raises as soon as one of them parks, and
leaves the others running. Whoever gave the run's lease up then would say where it stands without them, and a process
that ends would break them off.
"""

import asyncio
import threading
import time
from concurrent.futures import Future
from typing import Final, Self

from langgraph_control.audit.asking.ledger import Claim
from langgraph_control.audit.connecting.drives import DriveId

__all__ = ["CallInHand", "none_in_hand"]

_lock: Final = threading.Lock()
_calls: Final[dict[DriveId, set["CallInHand"]]] = {}


class CallInHand:
    """One call, from before it is claimed until what came of it is on record.

    Args:
        drive: the run and its token.
        not_after: when its time is over, on the monotonic clock, in seconds.
    """

    __slots__ = ("drive", "not_after", "waiting")

    def __init__(self, drive: DriveId, not_after: float) -> None:
        self.drive, self.not_after = drive, not_after
        self.waiting: list[Future[None]] = []  # done once it is on record, or will not be

    @classmethod
    def of(cls, drive: DriveId, claim: Claim) -> Self:
        """Have the end of a drive wait for a call.

        Args:
            drive: the run and its token.
            claim: about to be sent.
        """
        call = cls(drive, time.monotonic() + claim.lease_ms / 1000)
        with _lock:
            _calls.setdefault(drive, set()).add(call)
        return call

    def end(self) -> None:
        """It is on record, or will not be; whoever waits for it goes on."""
        with _lock:
            mine = _calls.get(self.drive, set())
            mine.discard(self)
            if not mine:
                _calls.pop(self.drive, None)
            waiting, self.waiting = self.waiting, []
        for one in waiting:
            if one.set_running_or_notify_cancel():
                one.set_result(None)


async def none_in_hand(drive: DriveId) -> None:
    """Wait until no call of a drive is in the middle of its effect, or the time of those that are is over.

    Args:
        drive: the run and its token.
    """
    while True:
        with _lock:
            calls = tuple(_calls.get(drive, ()))
            seconds = max((call.not_after for call in calls), default=0.0) - time.monotonic()
            over = [Future[None]() for _ in calls if seconds > 0]
            for call, one in zip(calls, over, strict=False):
                call.waiting.append(one)
        if not over:
            return
        waiting = [asyncio.wrap_future(one) for one in over]
        try:
            await asyncio.wait(waiting, timeout=seconds)
        finally:
            for ended in waiting:
                ended.cancel()  # nothing is told to a loop that may be gone by then
