"""Ids of traces and spans, derived from run and entry: every process, and every export, computes the same ones."""

import hashlib
from typing import Final
from uuid import UUID

__all__ = ["ROOT_SEQ", "span_id", "trace_id", "traceparent"]

ROOT_SEQ: Final = 1
"""The root span of a run is its first entry's."""

TAG: Final = b"langgraph-control/span/v1"


def trace_id(run_id: UUID) -> int:
    """Return the trace's id, 128 bits: the run's id itself, so that either is found by the other.

    Args:
        run_id: the run.
    """
    return run_id.int


def span_id(run_id: UUID, seq: int = ROOT_SEQ) -> int:
    """Return the id of the span that an entry begins, 64 bits, never 0.

    Args:
        run_id: the run.
        seq: the entry's place; the first one begins the run's root span.
    """
    digest = hashlib.sha256(TAG + run_id.bytes + seq.to_bytes(8)).digest()
    return int.from_bytes(digest[:8]) or 1


def traceparent(run_id: UUID, seq: int = ROOT_SEQ) -> str:
    """Return the W3C ``traceparent`` header that puts a downstream call into the run's trace.

    Args:
        run_id: the run.
        seq: the entry whose span is the caller; by default the run's root span.
    """
    return f"00-{trace_id(run_id):032x}-{span_id(run_id, seq):016x}-01"
