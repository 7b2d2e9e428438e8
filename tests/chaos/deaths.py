"""Labelled points at which a worker kills itself, as `kill -9` would, the n-th time it comes by."""

import functools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from langgraph_control.audit.connecting.saver import ControlSaver
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.connecting.transactions import AsyncTransaction, Transaction

STATEMENTS: Final = ("run_open", "claim", "settle", "run_release")

PLACES: Final = (
    "before the send",
    "effect done",
    "reading back",
    "before a commit",
    "after a commit",
    "before a checkpoint",
    "after a checkpoint",
    *(f"{when} {statement}" for when in ("before", "after") for statement in STATEMENTS),
)

WORKER_PLACES: Final = tuple(place.replace("run_open", "run_take") for place in PLACES)
"""The same for a worker, which takes runs that others opened."""


@dataclass(slots=True, kw_only=True)
class Death:
    """Where a worker is to die.

    Args:
        place: one of :data:`PLACES`.
        passes: how often it comes by there unharmed.
    """

    place: str
    passes: int


_due: list[Death] = []


def here(place: str) -> None:
    """Die, if this is where and when.

    Args:
        place: one of :data:`PLACES`.
    """
    for death in _due:
        if death.place == place:
            if death.passes <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            death.passes -= 1


def arm(death: Death) -> None:
    """Have this process die there. For worker processes only: what it wraps stays wrapped.

    Args:
        death: where.
    """
    _due.append(death)
    _wrap(Store, "call", lambda request: request.statement)
    _awrap(Store, "acall", lambda request: request.statement)
    _wrap(Transaction, "commit", lambda: "a commit")
    _awrap(AsyncTransaction, "commit", lambda: "a commit")
    _wrap(ControlSaver, "put", lambda *_: "a checkpoint")
    _awrap(ControlSaver, "aput", lambda *_: "a checkpoint")


def _wrap(owner: type, name: str, place: Callable[..., str]) -> None:
    body = getattr(owner, name)

    @functools.wraps(body)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        here(f"before {place(*args)}")
        value = body(self, *args, **kwargs)
        here(f"after {place(*args)}")
        return value

    setattr(owner, name, wrapped)


def _awrap(owner: type, name: str, place: Callable[..., str]) -> None:
    body = getattr(owner, name)

    @functools.wraps(body)
    async def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        here(f"before {place(*args)}")
        value = await body(self, *args, **kwargs)
        here(f"after {place(*args)}")
        return value

    setattr(owner, name, wrapped)
