"""The shapes of the sections beside the rules: what risk and records mean, budgets, retries, breakers, caps, owners."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from langgraph_control.guards.limits import Each, Per
from langgraph_control.guards.policy_words import (
    Duration,
    FieldName,
    Impacts,
    Name,
    Names,
    Positive,
    Rate,
    Shape,
    Whole,
    WholeSeconds,
    one_or_more,
)
from langgraph_control.guards.signals import Impact

__all__ = [
    "BreakerShape",
    "CapsShape",
    "ContextShape",
    "DeadlinesShape",
    "LimitShape",
    "OwnersShape",
    "RecordShape",
    "RetryShape",
    "RiskShape",
    "ScopedShape",
]


class ScopedShape(Shape):
    """What a section's item is about. At least one of the three."""

    tool: Names = Field(default_factory=list)
    impact: Impacts = Field(default_factory=list)
    system: Names = Field(default_factory=list)


class ThresholdShape(Shape):
    """``medium:`` or ``large:`` of ``risk:``: from where on a radius is at least that."""

    amount: Positive | None = None
    count: Positive | None = None


class RiskShape(ScopedShape):
    """An item of ``risk:``."""

    amount: FieldName | None = None
    count: FieldName | None = None
    medium: ThresholdShape = Field(default_factory=ThresholdShape)
    large: ThresholdShape = Field(default_factory=ThresholdShape)


class ContextShape(ScopedShape):
    """An item of ``context:``."""

    equal_within: Duration | None = None
    changed: Literal["deny"] | None = None


class RecordShape(ScopedShape):
    """An item of ``records:``. The three meanings hold conditions on the record's own fields."""

    exempt: Names = Field(default_factory=list)
    flagged: dict[str, Any] | None = None
    inactive: dict[str, Any] | None = None
    locked: dict[str, Any] | None = None


class LimitShape(ScopedShape):
    """An item of ``limits:``."""

    sum: FieldName | None = None
    count: Literal["calls"] | None = None
    max: Positive
    per: Per
    each: Annotated[list[Each], BeforeValidator(one_or_more), Field(min_length=1)] = Field(default=[Each.TENANT])


class RetryShape(Shape):
    """What ``retries:`` says of one tool or system, or by default."""

    attempts: Annotated[Whole, Field(le=1000)] | None = None
    base: Duration | None = None
    cap: Duration | None = None
    give_up_after: Duration | None = None
    same_failure: Annotated[Whole, Field(ge=2, le=1000)] | None = None


class BreakerShape(Shape):
    """What ``breakers:`` says of one system, or by default."""

    error_rate: Rate | None = None
    window: Duration | None = None
    minimum_calls: Whole | None = None
    open_for: Duration | None = None
    probes: Annotated[Whole, Field(le=1000)] | None = None
    degraded_above: Duration | None = None


class CapsShape(Shape):
    """``caps:``, for each run."""

    tool_calls: Whole | None = None
    retry_time: Duration | None = None
    # A run's newest 64 steps are kept: twice as many alike, or four times as many to and fro, have to be among them.
    same_answer: Annotated[Whole, Field(ge=2, le=30)] | None = None
    bounces: Annotated[Whole, Field(ge=2, le=15)] | None = None
    loop_within: Duration | None = None


class DeadlinesShape(Shape):
    """``deadlines:``."""

    run: WholeSeconds | None = None


class OwnersShape(Shape):
    """``owners:``: name → role, for tools, systems and impacts."""

    tool: dict[Name, str] = Field(default_factory=dict)
    system: dict[Name, str] = Field(default_factory=dict)
    impact: dict[Impact, str] = Field(default_factory=dict)
