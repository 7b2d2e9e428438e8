"""What Python itself raises for sockets, time-outs and cancellations."""

from datetime import datetime
from typing import Final

from langgraph_control.guards.classifiers.http_answers import NO_CONNECTION
from langgraph_control.guards.failures import Evidence, Fault, Sent

_UNSENT: Final = frozenset({"builtins.ConnectionRefusedError", "socket.gaierror"})
_TRANSIENT: Final = frozenset(
    {
        "builtins.ConnectionError",
        "builtins.TimeoutError",
        "asyncio.exceptions.CancelledError",
        "concurrent.futures._base.CancelledError",
    }
)


def evidence(error: BaseException, _now: datetime) -> Evidence | None:
    """Say what a failure of a socket or of the program's own time-out tells; None for any other exception.

    Args:
        error: what was raised.
    """
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__}
    if names & _UNSENT:
        return Evidence(fault=Fault.TRANSIENT, sent=Sent.NO, undone=True, reason=NO_CONNECTION)
    if names & _TRANSIENT:
        return Evidence(fault=Fault.TRANSIENT, reason="this error does not tell whether anything was sent")
    return None
