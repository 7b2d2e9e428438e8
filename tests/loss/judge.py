"""What has to have arrived, reckoned apart from the exporter: every final span of every chain, each once, in order."""

from collections.abc import Collection

from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.telemetry import span_names as names
from langgraph_control.audit.telemetry.spans import spans
from langgraph_control.audit.trail.entries import Entry
from tests.support.collector import Arrived, Collector
from tests.support.postgres import Database


def expected(database: Database) -> set[tuple[bytes, bytes]]:
    """Return the ids of all final spans, projected chain by chain."""
    found: set[tuple[bytes, bytes]] = set()
    with LedgerConnection(database.auditor) as connection:
        for chain in connection.chains():
            for span in spans(chain, map(Entry.of, connection.entries(chain))):
                assert span.context is not None
                found.add((span.context.trace_id.to_bytes(16), span.context.span_id.to_bytes(8)))
    return found


def closed_seq(arrived: Arrived) -> int:
    """Return the entry that made a span final."""
    seq = arrived.told(names.CLOSED_SEQ) or arrived.told(names.SEQ)
    assert isinstance(seq, int)
    return seq


def nothing_is_lost(
    database: Database, place: Collector, *, refused: Collection[tuple[bytes, bytes]] = frozenset()
) -> None:
    """Hold what arrived against what has to: all but what the place refuses, each once, each run's in order."""
    once = place.once
    assert {one.id for one in once} == expected(database) - set(refused)
    newest: dict[bytes, int] = {}
    for one in once:
        seq = closed_seq(one)
        assert seq >= newest.get(one.span.trace_id, 0), "a run's spans are out of order"
        newest[one.span.trace_id] = seq
