"""What a part of the gate ends with: the call is over, or this try is."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Abandoned", "Delivered", "Later", "Refused", "TakenOver"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """It is done and on record.

    Args:
        value: what the tool returned, as it was stored.
        replayed: it had been done before; nothing happened now.
        note: what the model is told beside it; "" for nothing.
    """

    value: Any
    replayed: bool
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """It was not done, provably, and will not be by itself.

    Args:
        code: a stable word.
        text: for the model: what happened and what it can do, without argument values.
        reasons: why.
    """

    code: str
    text: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """Another worker drives this run: leave without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """This try is over; another may follow.

    Args:
        seconds: how long to wait before it.
        why: for the record.
        hopeless: nothing happened, and the same call would fail again: what the model is told instead of another try.
    """

    seconds: float
    why: str
    hopeless: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """The call was cancelled in the middle and that is on record; the driver passes the cancellation on."""
