"""An end to what a slow or hostile place on the network may take, however it answers."""

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

__all__ = ["Deadline", "what_failed"]

AGAIN_SECONDS: Final = 0.1


class Deadline:
    """Ends a connection when its time is over, however slowly the other side keeps answering.

    A socket's own timeout begins anew with every byte.

    Args:
        seconds: the time there is.
        connected: returns the socket in use, if there is one.
    """

    def __init__(self, seconds: float, connected: Callable[[], socket.socket | None]) -> None:
        self.over = False
        self._seconds = seconds
        self._connected = connected
        self._left = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, name="deadline", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()

    def _watch(self) -> None:
        pause = self._seconds
        while not self._left.wait(pause):  # more than once: it may be connecting only now
            self.over, pause = True, AGAIN_SECONDS
            used = self._connected()
            if used is not None:
                with contextlib.suppress(OSError):  # closed already
                    socket.socket.shutdown(used, socket.SHUT_RDWR)  # of a TLS socket too: no farewell that could block


def what_failed(error: Exception, deadline: Deadline, seconds: float) -> str:
    """Return what went wrong in words that hold nothing of what was sent.

    Args:
        error: what was raised.
        deadline: the try's deadline.
        seconds: how long it was.
    """
    if deadline.over or isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    return f"cannot be reached ({type(error).__name__})"
