"""Spans of time as people write them in a contract: ``"24h"``, ``"90s"``, ``timedelta``, a number of seconds."""

import re
from datetime import timedelta
from typing import Final, TypeAlias

from langgraph_control.errors import ContractError

__all__ = ["Duration", "pause_of", "seconds_of"]

Duration: TypeAlias = str | int | float | timedelta

SECONDS_MAX: Final = 86400 * 10**9
"""What a timedelta can hold; whole numbers beyond floats would raise where they are reckoned with."""

_UNIT_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WRITTEN: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)", re.ASCII)


def seconds_of(duration: Duration, *, field: str) -> float:
    """Return a positive number of seconds.

    Args:
        duration: ``"500ms"``, ``"30s"``, ``"15m"``, ``"24h"``, ``"7d"``, a timedelta, or a number of seconds.
        field: the contract's field, for the error.

    Raises:
        ContractError: not a span of time, or not a positive one; write one of the forms above.
    """
    seconds = _seconds(duration)
    if seconds is None or seconds <= 0:
        raise _wrong(field, "a positive span of time")
    return seconds


def pause_of(duration: Duration, *, field: str) -> float:
    """Return a number of seconds from 0, as other systems ask for pauses.

    Args:
        duration: as for :func:`seconds_of`, or nothing: ``0``.
        field: what it is given for, for the error.

    Raises:
        ContractError: not a span of time, or a negative one; write one of the forms above.
    """
    seconds = _seconds(duration)
    if seconds is None or seconds < 0:
        raise _wrong(field, "a span of time from 0")
    return seconds


def _wrong(field: str, wanted: str) -> ContractError:
    return ContractError(
        f"{field} is not {wanted}.",
        todo=f'Write {field}="30s", "15m", "24h", a timedelta, or a number of seconds.',
        code="contract_duration",
    )


def _seconds(duration: object) -> float | None:
    """None where it is no span of time, or one without an end."""
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, (int, float)) and not isinstance(duration, bool):
        return float(duration) if -SECONDS_MAX <= duration <= SECONDS_MAX else None
    if isinstance(duration, str) and (written := _WRITTEN.fullmatch(duration.strip())):
        return float(written[1]) * _UNIT_SECONDS[written[2]]
    return None
