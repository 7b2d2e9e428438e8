"""Ids of traces and spans, derived from run and entry: every process, and every export, computes the same ones."""

import hashlib
import re
from functools import lru_cache
from typing import Final
from uuid import UUID

from opentelemetry.trace import SpanContext, TraceFlags

__all__ = [
    "ROOT_SEQ",
    "context_of",
    "entry_trace_id",
    "is_tenant_chain",
    "root_context",
    "span_id",
    "trace_id",
    "traceparent",
]

ROOT_SEQ: Final = 1
"""The root span of a run is its first entry's."""

TAG: Final = b"langgraph-control/span/v1"
TRACE_TAG: Final = b"langgraph-control/trace/v1"

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


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


def root_context(run_id: UUID) -> SpanContext:
    """Return the context of a run's root span, as a process has it that did not begin it.

    Args:
        run_id: the run.
    """
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(trace_id=trace_id(run_id), span_id=span_id(run_id), is_remote=True, trace_flags=sampled)


def context_of(header: str | None) -> SpanContext | None:
    """Return what a ``traceparent`` header names; None where there is none that can be read.

    Args:
        header: the header's value.
    """
    match = None if header is None else _TRACEPARENT.fullmatch(header)
    if match is None:
        return None
    trace, span, flags = (int(part, 16) for part in match.groups())
    found = SpanContext(trace_id=trace, span_id=span, is_remote=True, trace_flags=TraceFlags(flags))
    return found if found.is_valid else None


def entry_trace_id(run_id: UUID, seq: int) -> int:
    """Return the id of the trace that one entry is by itself: of a chain that never ends.

    Args:
        run_id: the chain.
        seq: the entry's place.
    """
    digest = hashlib.sha256(TRACE_TAG + run_id.bytes + seq.to_bytes(8)).digest()
    return int.from_bytes(digest[:16]) or 1


@lru_cache(maxsize=64)
def _tenant_chain(tenant: str) -> UUID:
    digest = bytearray(hashlib.sha256(f"langgraph-control/tenant/{tenant}".encode()).digest()[:16])
    digest[6] = 0x80 | digest[6] & 0x0F  # version 8, which no run's id is of
    return UUID(bytes=bytes(digest))


def is_tenant_chain(run_id: UUID, tenant: str) -> bool:
    """Whether a chain is that of what belongs to no run, such as published policies.

    Args:
        run_id: the chain.
        tenant: whose.
    """
    return run_id == _tenant_chain(tenant)
