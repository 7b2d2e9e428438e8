"""Threads and connections belong to the process that made them; a fork must not use its parent's."""

import os

from langgraph_control.errors import TrailUnavailable

__all__ = ["HomeProcess"]


class HomeProcess:
    """The process something belongs to: the one that first checked."""

    __slots__ = ("_pid",)

    def __init__(self) -> None:
        self._pid: int | None = None

    def check(self) -> None:
        """Settle in the first process that asks, and refuse any other.

        Raises:
            TrailUnavailable: this process was forked from the one that settled.
        """
        pid = os.getpid()
        if self._pid is None:
            self._pid = pid
        elif self._pid != pid:
            raise TrailUnavailable(
                "This process was forked from one that uses the ledger, and a fork cannot share its connections.",
                todo="Make a Control of its own in the child process, or fork before the first use.",
                code="control_forked",
            )

    def is_here(self) -> bool:
        """Return whether this is that process."""
        return self._pid == os.getpid()
