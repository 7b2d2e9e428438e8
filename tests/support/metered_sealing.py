"""A program that seals, with a pin that fails, and prints what was measured: ``… metered_sealing DSN FOLDER``."""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from langgraph_control.audit.seals.sealing import Sealer
from langgraph_control.audit.seals.signers import FileSigner
from langgraph_control.audit.telemetry import gauging
from tests.support.postgres import Database
from tests.support.sealing import SealedRecord
from tests.support.trails import TrailWriter


class Place:
    """A pin that answers once it may."""

    def __init__(self, name: str, *, fails: bool) -> None:
        self.name, self.fails, self.may = name, fails, threading.Event()
        self.given: list[str] = []

    def __str__(self) -> str:
        return self.name

    def pin(self, note: str) -> None:
        """Keep it, or fail."""
        self.given.append(note)
        self.may.wait()
        if self.fails:
            raise OSError


def main() -> None:
    """Two sealers seal one record, of which one has a pin that fails; print the metrics before, meanwhile and after."""
    database, reader = Database(name="", admin=sys.argv[1]), InMemoryMetricReader()
    set_meter_provider(MeterProvider([reader]))
    gauging.KNOWN_SECONDS = 0  # type: ignore[misc]
    record = SealedRecord(database=database, folder=Path(sys.argv[2]))
    ill, well = Place("ill", fails=True), Place("well", fails=False)

    def told() -> dict[str, dict[str, Any]]:
        data: Any = reader.get_metrics_data()
        return {
            metric.name: {one.attributes["control.pin"]: one.value for one in metric.data.data_points}
            for metric in (data.resource_metrics[0].scope_metrics[0].metrics if data else ())
        }

    found = {}
    with (
        TrailWriter(database) as trail,
        Sealer(database.auditor, FileSigner(record.key), [ill], every_seconds=0.01),
        Sealer(database.auditor, FileSigner(record.key), [well], every_seconds=0.01),
    ):
        found["before"] = told()
        ill.may.set()
        well.may.set()
        trail.open()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found["now"] = told()
            if found["now"]["control.pin.failures"]["ill"] >= 2 and found["now"]["control.pin.lag"]["well"] == 0:
                break
            time.sleep(0.01)
    found["after"] = told()
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
