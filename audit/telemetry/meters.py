"""Metrics through OpenTelemetry's API: nothing is measured where no ``MeterProvider`` was set up."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from opentelemetry.metrics import Counter, get_meter

from langgraph_control.audit.asking.ledger import Claim, Claimed, Outcome, Settle
from langgraph_control.audit.telemetry import meter_names as metrics
from langgraph_control.audit.telemetry import span_names as names
from langgraph_control.audit.telemetry.meter_names import Metric

__all__ = ["METER", "count", "count_request"]

METER: Final = "langgraph_control"

_UNKNOWN: Final = frozenset({Outcome.LOSE, Outcome.UNDETERMINED, Outcome.CONTRADICT})


def count(metric: Metric, number: int, attributes: Mapping[str, str]) -> None:
    """Add to a counter.

    Args:
        metric: which.
        number: how much.
        attributes: of what.
    """
    _counter(metric).add(number, attributes)


def count_request(request: Any, answer: Any) -> None:
    """Count a request to the ledger that was answered, if it is one that is counted.

    Args:
        request: what was asked.
        answer: what the ledger said.
    """
    if isinstance(request, Claim) and isinstance(answer, Claimed):
        count(metrics.CLAIMS, 1, {names.GEN_AI_TOOL: request.tool, names.ANSWER: answer.answer.value})
    elif isinstance(request, Settle):
        count(metrics.OUTCOMES, 1, {names.OUTCOME: request.outcome.value})
        if request.outcome in _UNKNOWN:
            count(metrics.UNKNOWNS, 1, {names.OUTCOME: request.outcome.value})


@cache
def _counter(metric: Metric) -> Counter:
    return get_meter(METER).create_counter(metric.name, unit=metric.unit, description=metric.says)
