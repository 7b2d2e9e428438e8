"""Faults on request: what a real system of record does on a bad day, scheduled one by one or drawn with a seed."""

import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class FaultKind(StrEnum):
    """How a matching request is mistreated."""

    APPLY_THEN_DROP = "apply_then_drop"  # carry it out, then close the connection without an answer
    APPLY_LATE = "apply_late"  # close the connection now, carry it out after `delay_ms`
    APPLY_LATE_SILENT = "apply_late_silent"  # keep the connection open without an answer, carry it out after `delay_ms`
    DROP_BEFORE = "drop_before"  # close the connection; never carry it out
    RATE_LIMIT = "rate_limit"  # 429 with Retry-After; not carried out
    ERROR_BEFORE = "error_before"  # 500; not carried out
    REFUSE = "refuse"  # 422, as for what can never be done; not carried out
    ERROR_AFTER = "error_after"  # carry it out, then 502
    SLOW = "slow"  # carry it out, answer after `delay_ms`
    READ_LAG = "read_lag"  # carry it out and answer; reads show it only after `visible_after_ms`


class Fault(BaseModel):
    """One fault and the requests it is meant for. Times are bounded: no fault outlives a test by hours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FaultKind
    method: str = "POST"
    path: str = "/refunds"
    target: str | None = None  # only this order or recipient
    times: Annotated[int, Field(ge=1)] | None = 1  # for so many requests; None: until cleared
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int = 0
    delay_ms: Annotated[int, Field(ge=0, le=60_000)] = 0
    visible_after_ms: Annotated[int, Field(ge=0, le=60_000)] = 0  # goes with every kind that carries the request out
    retry_after_seconds: Annotated[int, Field(ge=0, le=3_600)] = 1


@dataclass(slots=True, kw_only=True)
class _Scheduled:
    fault: Fault
    left: int | None
    dice: random.Random


@dataclass(slots=True)
class Schedule:
    """The faults still to be played; the first that matches and whose dice fall is played."""

    _scheduled: list[_Scheduled] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        """Append a fault."""
        dice = random.Random(fault.seed)  # noqa: S311 - reproducible on purpose
        self._scheduled.append(_Scheduled(fault=fault, left=fault.times, dice=dice))

    def clear(self) -> None:
        """Drop all faults; those already being played go on."""
        self._scheduled.clear()

    def pick(self, method: str, path: str, target: str | None) -> Fault | None:
        """Return the fault to play on this request, and count it."""
        for scheduled in self._scheduled:
            fault = scheduled.fault
            meant = (fault.method, fault.path) == (method, path) and fault.target in {None, target}
            if meant and scheduled.left != 0 and scheduled.dice.random() < fault.probability:
                if scheduled.left is not None:
                    scheduled.left -= 1
                return fault
        return None
