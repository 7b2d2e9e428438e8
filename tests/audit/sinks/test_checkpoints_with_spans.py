"""A run that is exported takes the newest signed checkpoint with it, so that the backend is a place that keeps pins."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langgraph_control.audit.bundles import offline
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.seals.pins import pinned_notes
from langgraph_control.audit.telemetry import span_names as names
from langgraph_control.audit.telemetry.sinks.following import Following, Stepped
from langgraph_control.audit.telemetry.sinks.otlp import OtlpSink
from langgraph_control.otel import export_run
from tests.support.collector import collector
from tests.support.postgres import Database
from tests.support.sealing import SealedRecord
from tests.support.trails import TrailWriter

Told = list[tuple[bool, str]]  # for each span: whether it is the root, and the checkpoint it carries, or ""


@pytest.fixture
def record(database: Database, tmp_path: Path) -> SealedRecord:
    """A finished run; nothing is sealed yet."""
    with TrailWriter(database) as trail:
        trail.publish()
    made = SealedRecord(database=database, folder=tmp_path)
    made.refund("ticket/1")
    return made


def sent(record: SealedRecord) -> Told:
    """What a sink is given."""
    store = Store(record.database.auditor)
    with collector() as place:
        sink = OtlpSink("place", place.url)
        following = Following(store, sink)
        while following.step() is Stepped.SENT:
            pass
        following.leave()
        sink.close()
    store.close()
    own = [one for one in place.arrived if one.trace == record.runs[0]]
    return [(not one.span.parent_span_id, one.told(names.CHECKPOINT) or "") for one in own]


def exported(record: SealedRecord) -> Told:
    """What an exporter is given that is asked for this run alone."""
    exporter = InMemorySpanExporter()
    export_run(exporter, record.runs[0], record.database.auditor)
    return [
        (span.parent is None, str((span.attributes or {}).get(names.CHECKPOINT, "")))
        for span in exporter.get_finished_spans()
    ]


@pytest.mark.parametrize("told", [sent, exported])
def test_the_root_carries_the_newest(record: SealedRecord, told: Callable[[SealedRecord], Told]) -> None:
    """The root has the newest signed checkpoint to the letter; no other span has any."""
    record.seal()
    record.refund("ticket/2")
    record.seal()
    *_, newest = pinned_notes(record.pins.read_text())
    roots = [checkpoint for root, checkpoint in told(record) if root]
    assert roots == [newest]
    assert {checkpoint for root, checkpoint in told(record) if not root} <= {""}


@pytest.mark.parametrize("told", [sent, exported])
def test_nobody_seals(record: SealedRecord, told: Callable[[SealedRecord], Told]) -> None:
    """Where nothing was ever signed, nothing is said of it."""
    assert {checkpoint for _, checkpoint in told(record)} == {""}


def test_what_the_backend_keeps_is_a_pin(record: SealedRecord) -> None:
    """Saved to a file, the root's checkpoint lets the verifier say that the bundle is what was exported then."""
    record.seal(pin=False)
    (kept,) = {checkpoint for _, checkpoint in sent(record) if checkpoint}
    assert record.verified(record.bundle(), pinned=False).outcome is offline.Outcome.UNPINNED
    pins = list(offline.read_pins(io.BytesIO(kept.encode())))
    bundle = offline.lines_of(io.BytesIO(record.bundle()))
    assert offline.verify(bundle, keys=[offline.read_key(record.vkey)], pins=pins).outcome is offline.Outcome.OK
