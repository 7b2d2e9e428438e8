"""Spans of time as people write them in a contract: ``"24h"``, ``"90s"``, ``timedelta``, a number of seconds."""

import re
from datetime import timedelta
from math import isfinite
from typing import Final, TypeAlias

from langgraph_control.errors import ContractError

__all__ = ["Duration", "seconds_of"]

Duration: TypeAlias = str | int | float | timedelta

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
    if seconds is None or not isfinite(seconds) or seconds <= 0:
        raise ContractError(
            f"{field} is not a positive span of time.",
            todo=f'Write {field}="30s", "15m", "24h", a timedelta, or a number of seconds.',
            code="contract_duration",
        )
    return seconds


def _seconds(duration: object) -> float | None:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, (int, float)) and not isinstance(duration, bool):
        return float(duration)
    if isinstance(duration, str) and (written := _WRITTEN.fullmatch(duration.strip())):
        return float(written[1]) * _UNIT_SECONDS[written[2]]
    return None
