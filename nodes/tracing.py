"""OpenTelemetry's context in every process that drives a run: what others instrument lands in the run's own trace.

The run's root span is made from the record, once the run is done; its ids are known before. So code of the run finds a
context that names it, whichever process it is in and on whichever day.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from opentelemetry import context
from opentelemetry.trace import NonRecordingSpan, get_current_span, set_span_in_context

from langgraph_control.audit.telemetry.span_ids import root_context, trace_id

__all__ = ["callers_traceparent", "in_trace"]


@contextmanager
def in_trace(run_id: UUID) -> Iterator[None]:
    """Make a run's trace the current one for a block. A span of that trace that is current already stays.

    Args:
        run_id: the run. Never around a generator's yield.
    """
    if get_current_span().get_span_context().trace_id == trace_id(run_id):
        yield
        return
    token = context.attach(set_span_in_context(NonRecordingSpan(root_context(run_id))))
    try:
        yield
    finally:
        context.detach(token)


def callers_traceparent() -> str | None:
    """Return the ``traceparent`` of whoever calls, for the record; None where nothing traces it."""
    current = get_current_span().get_span_context()
    if not current.is_valid:
        return None
    return f"00-{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags:02x}"
