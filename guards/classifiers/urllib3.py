"""urllib3, which repeats by itself unless told not to: connections for any method, lost answers for PUT and DELETE.

It raises nothing for a status.
"""

from datetime import datetime
from typing import Any, Final

from langgraph_control.guards.classifiers.http_answers import broke_off, unsent
from langgraph_control.guards.classifiers.recognising import classes_of, passed
from langgraph_control.guards.failures import Evidence, Fault

PACKAGES: Final = frozenset({"urllib3"})

_UNSENT: Final = frozenset({"NewConnectionError", "ConnectTimeoutError", "EmptyPoolError"})
_PERMANENT: Final = frozenset({"LocationValueError", "DecodeError", "InvalidHeader", "HostChangedError"})


def evidence(error: BaseException, _now: datetime) -> Evidence | None:
    """Say what an exception of urllib3 tells; None for any other.

    Args:
        error: what was raised.
    """
    names = classes_of(error, *PACKAGES)
    if not names:
        return None
    if never_connected(error):
        return unsent(method=_method(error), whole=_only_unsent_tries(error))
    return broke_off(Fault.PERMANENT if _PERMANENT.intersection(names) else Fault.TRANSIENT)


def never_connected(error: object) -> bool:
    """Whether the try that an exception of urllib3 speaks of had no connection to send on.

    Args:
        error: what was raised, or what it names as its reason.
    """
    if not isinstance(error, BaseException):
        return False
    names = classes_of(error, *PACKAGES)
    if _UNSENT.intersection(names):
        return True
    if "MaxRetryError" in names:
        return never_connected(getattr(error, "reason", None))
    if "ProxyError" in names:
        return never_connected(getattr(error, "original_error", None))
    return "SSLError" in names and any(_bad_certificate(one) for one in error.args)


def _bad_certificate(error: object) -> bool:
    # Certificates are checked within the handshake, before anything is sent. Other TLS errors can come later.
    return isinstance(error, BaseException) and "SSLCertVerificationError" in classes_of(error, "ssl")


def _only_unsent_tries(error: BaseException) -> bool:
    """Whether all tries of this call were without a connection: those before the last are in urllib3's own history."""
    calls = list(passed(error, "urllib3.connectionpool", "urlopen"))
    return bool(calls) and all(unsent_history(one.get("retries")) for one in calls)


def unsent_history(retries: Any) -> bool:
    """Whether a history of tries holds none that sent anything.

    Args:
        retries: urllib3's ``Retry``; anything else proves nothing.
    """
    history = getattr(retries, "history", None)
    return isinstance(history, tuple) and all(never_connected(getattr(one, "error", None)) for one in history)


def _method(error: BaseException) -> str | None:
    methods = [str(one.get("method")).upper() for one in passed(error, "urllib3.connectionpool", "urlopen")]
    return methods[-1] if methods else None
