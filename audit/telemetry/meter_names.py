"""Every metric there is, in one place; the dashboard and the alert rules are held against it by a test."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = ["METRICS", "Kind", "Metric"]


class Kind(StrEnum):
    """What a metric counts."""

    COUNTER = "counter"  # what this process did
    GAUGE = "gauge"  # how the ledger stands, whichever process tells it
    OWN_GAUGE = "own_gauge"  # how something of this process stands


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric.

    Args:
        name: as OpenTelemetry has it.
        kind: what it counts.
        unit: in UCUM; "" for none.
        says: what it says, in one line.
    """

    name: str
    kind: Kind
    unit: str
    says: str

    @property
    def prometheus(self) -> str:
        """Its name where OpenTelemetry's metrics are read by Prometheus."""
        text = self.name.replace(".", "_")
        if self.unit == "s":
            text += "_seconds"
        return f"{text}_total" if self.kind is Kind.COUNTER else text


def _counter(name: str, unit: str, says: str) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, unit=unit, says=says)


def _gauge(name: str, unit: str, says: str, *, kind: Kind = Kind.GAUGE) -> Metric:
    return Metric(name=name, kind=kind, unit=unit, says=says)


CLAIMS: Final = _counter("control.claims", "{claim}", "claims by tool and answer")
OUTCOMES: Final = _counter("control.outcomes", "{outcome}", "what came of attempts")
UNKNOWNS: Final = _counter("control.unknowns", "{outcome}", "attempts whose outcome nobody knows, or that contradict")
RUNS: Final = _gauge("control.runs", "{run}", "unfinished runs by state")
RUNS_OLDEST: Final = _gauge("control.runs.oldest", "s", "for how long the oldest run has been in a state")
EXPORT_SPANS: Final = _counter("control.export.spans", "{span}", "spans that a sink has taken")
EXPORT_FAILURES: Final = _counter("control.export.failures", "{request}", "times that a sink took nothing")
EXPORT_LAG: Final = _gauge(
    "control.export.lag", "s", "age of the oldest entry that a sink lacks; 0 where it lacks none"
)
EXPORT_BEHIND: Final = _gauge("control.export.behind", "{entry}", "entries that a sink lacks")
EXPORT_DEAD: Final = _gauge("control.export.dead", "{span}", "spans that a sink refused and that were given up")
SEAL_LAG: Final = _gauge("control.seal.lag", "s", "age of the oldest entry that no signed checkpoint covers")
PIN_LAG: Final = _gauge(
    "control.pin.lag", "s", "for how long a pin has lacked a checkpoint; 0 where it lacks none", kind=Kind.OWN_GAUGE
)
PIN_FAILURES: Final = _counter("control.pin.failures", "{try}", "times that a pin did not take a checkpoint")
TAMPERED: Final = _gauge("control.verified.tampered", "{chain}", "chains that verifying found tampered with")
VERIFIED_AGE: Final = _gauge(
    "control.verified.age", "s", "for how long not all chains were verified; none where they never were"
)

METRICS: Final = (
    CLAIMS,
    OUTCOMES,
    UNKNOWNS,
    RUNS,
    RUNS_OLDEST,
    EXPORT_SPANS,
    EXPORT_FAILURES,
    EXPORT_LAG,
    EXPORT_BEHIND,
    EXPORT_DEAD,
    SEAL_LAG,
    PIN_LAG,
    PIN_FAILURES,
    TAMPERED,
    VERIFIED_AGE,
)
