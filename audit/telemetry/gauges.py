"""How the ledger stands, for whoever collects metrics: asked when they collect, and only then."""

from collections.abc import Iterator
from functools import partial
from typing import Final

from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.seals.verified import CoveredSize
from langgraph_control.audit.telemetry import meter_names as metrics
from langgraph_control.audit.telemetry import span_names as names
from langgraph_control.audit.telemetry.gauging import Gauging, Reading
from langgraph_control.audit.telemetry.sinks.requests import Gauges, SealLag, SpanSinks
from langgraph_control.audit.telemetry.verifications import FindVerified

__all__ = ["ledger_gauges", "readings"]

PATIENCE_SECONDS: Final = 2.0


def ledger_gauges(store: Store) -> Gauging:
    """Return what tells whoever collects metrics how the ledger stands, for as long as it is entered.

    Args:
        store: the ledger, on an agent's or an auditor's login.
    """
    covered = CoveredSize(partial(store.call, patience_seconds=PATIENCE_SECONDS))
    gauges = (metric for metric in metrics.METRICS if metric.kind is metrics.Kind.GAUGE)
    return Gauging(gauges, lambda: readings(store, covered))


def readings(store: Store, covered: CoveredSize | None = None) -> Iterator[Reading]:
    """Ask the ledger how it stands: metric, value, and of what.

    Args:
        store: the ledger, on an agent's or an auditor's login.
        covered: tells how far checkpoints cover the tree; kept from one reading to the next, it asks for less.

    Raises:
        TrailUnavailable, DatabaseRefused, SchemaMismatch: it cannot be asked.
    """
    ask = partial(store.call, patience_seconds=PATIENCE_SECONDS)
    for waiting in ask(Gauges()):
        yield metrics.RUNS, waiting.runs, {names.STATE: waiting.state}
        yield metrics.RUNS_OLDEST, waiting.oldest_ms / 1000, {names.STATE: waiting.state}
    for sink in ask(SpanSinks()):
        of_sink = {names.SINK: sink.sink}
        yield metrics.EXPORT_LAG, (sink.behind_ms or 0) / 1000, of_sink
        yield metrics.EXPORT_BEHIND, sink.behind, of_sink
        yield metrics.EXPORT_DEAD, sink.dead, of_sink
    lag_ms = ask(SealLag(covered=(covered or CoveredSize(ask))()))
    if lag_ms is not None:
        yield metrics.SEAL_LAG, lag_ms / 1000, {}
    verified = ask(FindVerified())
    if verified is not None:
        yield metrics.TAMPERED, verified.tampered, {}
        if verified.age_ms is not None:
            yield metrics.VERIFIED_AGE, verified.age_ms / 1000, {}
