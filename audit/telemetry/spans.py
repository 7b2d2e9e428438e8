"""Spans as a projection of the trail: rebuilt from the rows at any time, by any process, always the same.

One run is one trace, over however many processes and days. The run itself is the root span; each attempt, reading
back, approval and wait is a child, and so is each entry that stands by itself. A span is given only once it is final,
for some receivers keep the first write of a span: the root when the run is done. A parked run is no error.

One thing on the root is no projection: the newest signed checkpoint there was when it was exported, so that a backend
is a place outside the database that keeps them.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from langgraph_control.audit.telemetry import span_names as names
from langgraph_control.audit.telemetry.span_attributes import Attributes, Value, about
from langgraph_control.audit.telemetry.span_ids import (
    ROOT_SEQ,
    context_of,
    entry_trace_id,
    is_tenant_chain,
    span_id,
    trace_id,
    traceparent,
)
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.intervals import Interval, Lasting, Pairing

__all__ = ["Projection", "span_id", "spans", "trace_id", "traceparent"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SCOPE: Final = InstrumentationScope(names.SCOPE)
SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
UNSET: Final = Status(StatusCode.UNSET)

# Only what failed or is unknown is an error; a person's no, a wait and an expiry are answers.
_ERRORS: Final = frozenset({"not_done", "fail", "lose", "lost", "undetermined", "contradict"})


def spans(run_id: UUID, entries: Iterable[Entry], *, checkpoint: str | None = None) -> Iterator[ReadableSpan]:
    """Give a run's final spans, each with the entry that made it final; the root last.

    Args:
        run_id: the run.
        entries: its entries, in order, from the first that there is. Where the start was dropped there is no root.
        checkpoint: the newest signed checkpoint, for the root to carry; None where nobody seals.
    """
    projection = Projection(run_id)
    projection.checkpoint = checkpoint
    for entry in entries:
        yield from projection.take(entry)


class Projection:
    """The spans of one chain, entry by entry.

    Args:
        run_id: the run, or the chain of what belongs to no run.
    """

    def __init__(self, run_id: UUID) -> None:
        self.seq = 0  # of the newest entry it has taken
        self.checkpoint: str | None = None  # the newest signed one, for the root to carry
        self._run_id = run_id
        self._pairing = Pairing()
        self._first: Entry | None = None
        self._resource = Resource({})
        self._root_id = span_id(run_id)
        self._about: dict[int, dict[str, Value]] = {}  # of the entries that the spans in hand are told by

    @property
    def held(self) -> int:
        """How many entries it keeps: those of what has not ended."""
        return 1 + sum(1 + len(now.within) for now in self._pairing.open.values())

    def take(self, entry: Entry) -> Sequence[ReadableSpan]:
        """Take the next entry and return the spans that are final with it.

        Args:
            entry: the entry after the one before.
        """
        self.seq = entry.seq
        self._about.clear()
        if self._first is None:
            self._first = entry
            # Nothing of the exporting process: whoever exports, the spans are the same.
            self._resource = Resource({names.SERVICE: names.SERVICE_VALUE, names.TENANT: entry.tenant})
        if is_tenant_chain(self._run_id, entry.tenant):
            return (self._alone(entry, own_trace=True),)
        ended = self._pairing.take(entry)
        final = [self._lasting(interval, entry) for interval in ended or ()]
        # Where retention has dropped the beginning, nobody knows what the root said of it: under its id nothing else is
        # said, and the end stands by itself.
        rooted = self._first.seq == ROOT_SEQ
        if rooted and "run.finished" in entry.events:
            final.append(self._root(self._first, entry))
        elif "run.finished" in entry.events or (ended is None and entry.seq != ROOT_SEQ):
            final.append(self._alone(entry))
        return final

    def _told(self, entry: Entry) -> dict[str, Value]:
        known = self._about.get(entry.seq)
        if known is None:
            known = self._about[entry.seq] = about(entry)
        return known

    def _lasting(self, interval: Interval, closed: Entry) -> ReadableSpan:
        opened = interval.opened
        failed = _failure(interval, closed)
        attributes = {**self._told(opened), **_closing(interval, closed)}
        if interval.lasting is Lasting.ATTEMPT:
            attributes |= _TOOL_CALL
        if interval.lasting is Lasting.WAIT and isinstance(wake_at := opened.facts.get("wake_at"), int):
            attributes[names.WAIT_UNTIL] = (EPOCH + timedelta(microseconds=wake_at)).isoformat()
        if failed:
            attributes[names.ERROR_TYPE] = closed.said("error") or failed
        return self._span(
            opened.seq,  # no entry begins two things
            _name(interval.lasting, opened),
            (opened, *interval.within, closed),
            attributes,
            status=Status(StatusCode.ERROR, failed) if failed else UNSET,
        )

    def _alone(self, entry: Entry, *, own_trace: bool = False) -> ReadableSpan:
        attributes, tool = {**self._told(entry)}, entry.fact("tool")
        name, status = next(iter(entry.events), names.ENTRY), UNSET
        if entry.fact("kind") == "read" and tool:
            name = f"{names.EXECUTE_TOOL} {tool}"
            attributes |= _TOOL_CALL
            if "action.failed" in entry.events:
                status = Status(StatusCode.ERROR, "fail")
                attributes[names.ERROR_TYPE] = entry.said("error") or "fail"
        return self._span(entry.seq, name, (entry,), attributes, status=status, own_trace=own_trace)

    def _root(self, first: Entry, last: Entry) -> ReadableSpan:
        attributes = {**self._told(first)}
        attributes[names.STATE] = last.fact("state") or "done"
        attributes[names.CLOSED_SEQ] = last.seq
        attributes[names.GEN_AI_OPERATION] = names.INVOKE_AGENT
        if self.checkpoint is not None:
            attributes[names.CHECKPOINT] = self.checkpoint
        name = f"{names.INVOKE_AGENT} {attributes.get(names.GEN_AI_AGENT, '')}".strip()
        return self._span(ROOT_SEQ, name, (first, last), attributes)

    def _span(
        self,
        place: int,
        name: str,
        told_by: Sequence[Entry],
        attributes: dict[str, Value],
        *,
        status: Status = UNSET,
        own_trace: bool = False,
    ) -> ReadableSpan:
        opened, closed = told_by[0], told_by[-1]
        attributes[names.RUN_ID] = str(self._run_id)
        attributes[names.SEQ] = opened.seq
        trace = entry_trace_id(self._run_id, place) if own_trace else trace_id(self._run_id)
        started = _nanoseconds(opened.at)
        return ReadableSpan(
            name=name,
            context=_context(trace, self._root_id if place == ROOT_SEQ else span_id(self._run_id, place)),
            parent=None if own_trace or place == ROOT_SEQ else _context(trace, self._root_id),
            resource=self._resource,
            attributes=attributes,
            events=[event for entry in told_by for event in _events(entry, self._told(entry), attributes)],
            links=[Link(context) for entry in told_by if (context := context_of(entry.said("why", "traceparent")))],
            kind=SpanKind.INTERNAL,
            status=status,
            start_time=started,
            # A clock that was set back must not give a span a negative length.
            end_time=max(started, _nanoseconds(closed.at)),
            instrumentation_scope=SCOPE,
        )


_TOOL_CALL: Final[Attributes] = {names.GEN_AI_OPERATION: names.EXECUTE_TOOL, names.GEN_AI_TOOL_TYPE: "function"}
_NAMES: Final = {Lasting.READING: names.READING, Lasting.APPROVAL: names.APPROVAL, Lasting.WAIT: names.WAIT}


def _name(lasting: Lasting, opened: Entry) -> str:
    if lasting is Lasting.ATTEMPT:
        return f"{names.EXECUTE_TOOL} {opened.fact('tool') or ''}".strip()
    return _NAMES[lasting]


def _context(trace: int, span: int) -> SpanContext:
    return SpanContext(trace_id=trace, span_id=span, is_remote=False, trace_flags=SAMPLED)


def _failure(interval: Interval, closed: Entry) -> str:
    """Why a span is an error; "" where it is none."""
    if interval.lasting is Lasting.WAIT:
        return "needs_human" if interval.opened.fact("state") == "needs_human" else ""
    if closed.fact("state") == "needs_human" and closed.fact("outcome") is not None:
        return "needs_human"
    return interval.outcome if interval.outcome in _ERRORS else ""


def _closing(interval: Interval, closed: Entry) -> dict[str, Value]:
    found: dict[str, Value] = {names.CLOSED_SEQ: closed.seq, names.OUTCOME: interval.outcome}
    state, confirmation = closed.fact("state"), closed.said("confirmation")
    if state is not None and interval.lasting is not Lasting.WAIT:
        found[names.STATE] = state
    if confirmation is not None:
        found[names.CONFIRMATION] = confirmation
    return found


def _events(entry: Entry, told: Attributes, of_span: Attributes) -> Iterator[Event]:
    own = {name: value for name, value in told.items() if of_span.get(name) != value}
    own[names.SEQ] = entry.seq
    for event in entry.events:
        yield Event(event, attributes=own, timestamp=_nanoseconds(entry.at))


def _nanoseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1) * 1000
