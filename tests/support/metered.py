"""A program that makes claims and settles, and prints what was measured: ``python -m tests.support.metered DSN on``."""

import json
import sys
from typing import Any

from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from langgraph_control.audit.asking.ledger import Outcome
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.telemetry.gauges import ledger_gauges
from langgraph_control.cli import app
from tests.support.postgres import Database
from tests.support.trails import TrailWriter


def main() -> None:
    """Do two writes, of which one is lost, verify the record, and print the metrics."""
    database, reader = Database(name="", admin=sys.argv[1]), InMemoryMetricReader()
    if sys.argv[2] == "on":
        set_meter_provider(MeterProvider([reader]))
    store = Store(database.agent)
    with TrailWriter(database) as trail:
        trail.agent.ask = store.call  # type: ignore[method-assign]
        trail.publish()
        run = trail.open()
        for name, outcome in (("a", Outcome.SUCCEED), ("b", Outcome.LOSE)):
            claim, _ = trail.claim(run, name)
            trail.settle(run, claim, outcome)
    app(["verify", "--all", "--dsn", database.auditor], standalone_mode=False)
    with ledger_gauges(store):
        data = reader.get_metrics_data() if sys.argv[2] == "on" else None
    found: dict[str, Any] = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
        points: Any = metric.data.data_points
        found[metric.name] = {json.dumps(dict(one.attributes), sort_keys=True): one.value for one in points}
    store.close()
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
