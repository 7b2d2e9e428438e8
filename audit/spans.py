"""Spans as a projection of the trail: rebuilt from the rows at any time, by any process, always the same.

One run is one trace, over however many processes and days. The run itself is the root span; each attempt, reading
back, approval and wait is a child; everything else is an event. A span is given only once it is final, for some
receivers keep the first write of a span: the root, with its events, when the run is done. A parked run is no error.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from langgraph_control.audit import span_names as names
from langgraph_control.audit.entries import Entry
from langgraph_control.audit.intervals import Interval, Lasting, intervals
from langgraph_control.audit.span_ids import ROOT_SEQ, span_id, trace_id, traceparent

__all__ = ["Attributes", "span_id", "spans", "trace_id", "traceparent"]

Value: TypeAlias = str | int | Sequence[str]
Attributes: TypeAlias = Mapping[str, Value]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# Only what failed or is unknown is an error; a person's no, a wait and an expiry are answers.
_ERRORS: Final = frozenset({"not_done", "fail", "lose", "lost", "undetermined", "contradict"})


def spans(run_id: UUID, entries: Iterable[Entry]) -> Iterator[ReadableSpan]:
    """Give a run's final spans: first those that ended inside it, and its root span once it is done.

    Args:
        run_id: the run.
        entries: its entries, in order, from the first.
    """
    known = tuple(entries)
    if not known:
        return
    # Nothing of the exporting process: whoever exports, the spans are the same.
    resource = Resource({names.SERVICE: names.SERVICE_VALUE, names.TENANT: known[0].tenant})
    lasting = intervals(known)
    for interval in lasting:
        if interval.closed is not None:
            yield _child(run_id, interval, interval.closed, resource)
    if "run.finished" in known[-1].events:
        yield _root(run_id, known, lasting, resource)


def _child(run_id: UUID, interval: Interval, closed: Entry, resource: Resource) -> ReadableSpan:
    opened = interval.opened
    tool = opened.fact("tool") or ""
    name = {
        Lasting.ATTEMPT: f"{names.EXECUTE_TOOL} {tool}".strip(),
        Lasting.READING: names.READING,
        Lasting.APPROVAL: names.APPROVAL,
        Lasting.WAIT: names.WAIT,
    }[interval.lasting]
    failed = _failure(interval)
    attributes = {**_about(opened), **_closing(interval, closed), names.RUN_ID: str(run_id), names.SEQ: opened.seq}
    if interval.lasting is Lasting.ATTEMPT:
        attributes |= {names.GEN_AI_OPERATION: names.EXECUTE_TOOL, names.GEN_AI_TOOL_TYPE: "function"}
    if failed:
        attributes[names.ERROR_TYPE] = closed.said("error") or failed
    return _span(
        run_id,
        opened.seq,  # no entry begins two things
        name,
        opened=opened,
        closed=closed,
        attributes=attributes,
        told_by=(opened, *interval.within, closed),
        status=Status(StatusCode.ERROR, failed) if failed else Status(StatusCode.UNSET),
        resource=resource,
    )


def _root(run_id: UUID, entries: Sequence[Entry], lasting: Iterable[Interval], resource: Resource) -> ReadableSpan:
    told = {
        entry.seq
        for interval in lasting
        for entry in (interval.opened, *interval.within, *((interval.closed,) if interval.closed else ()))
    }
    first, last = entries[0], entries[-1]
    attributes = {**_about(first), names.RUN_ID: str(run_id), names.SEQ: first.seq, names.CLOSED_SEQ: last.seq}
    attributes[names.STATE] = last.fact("state") or ""
    return _span(
        run_id,
        ROOT_SEQ,
        names.RUN,
        opened=first,
        closed=last,
        attributes=attributes,
        told_by=[entry for entry in entries if entry.seq not in told or entry in (first, last)],
        status=Status(StatusCode.UNSET),
        resource=resource,
    )


def _span(
    run_id: UUID,
    place: int,
    name: str,
    *,
    opened: Entry,
    closed: Entry,
    attributes: Attributes,
    told_by: Iterable[Entry],
    status: Status,
    resource: Resource,
) -> ReadableSpan:
    return ReadableSpan(
        name=name,
        context=_context(run_id, place),
        parent=None if place == ROOT_SEQ else _context(run_id, ROOT_SEQ),
        resource=resource,
        attributes=dict(attributes),
        events=[event for entry in told_by for event in _events(entry, attributes)],
        kind=SpanKind.INTERNAL,
        status=status,
        start_time=_nanoseconds(opened.at),
        # A clock that was set back must not give a span a negative length.
        end_time=max(_nanoseconds(opened.at), _nanoseconds(closed.at)),
        instrumentation_scope=InstrumentationScope(names.SCOPE),
    )


def _context(run_id: UUID, place: int) -> SpanContext:
    return SpanContext(
        trace_id=trace_id(run_id),
        span_id=span_id(run_id, place),
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _failure(interval: Interval) -> str:
    """Why a span is an error; "" where it is none."""
    if interval.lasting is Lasting.WAIT:
        return "needs_human" if interval.opened.fact("state") == "needs_human" else ""
    closed = interval.closed
    if closed is not None and closed.fact("state") == "needs_human" and closed.fact("outcome") is not None:
        return "needs_human"
    return interval.outcome if interval.outcome in _ERRORS else ""


_FACTS: Final = {
    "tool": names.GEN_AI_TOOL,
    "key": names.ACTION_KEY,
    "attempt": names.ATTEMPT_ID,
    "approval": names.APPROVAL_ID,
    "digest": names.DIGEST,
    "kind": names.KIND,
    "verb": names.VERB,
    "answer": names.ANSWER,
    "reason": names.REASON,
    "state": names.STATE,
    "person": names.PERSON,
    "decision": names.DECISION,
}
_SAID: Final = {
    ("who", "actor"): names.ACTOR,
    ("who", "on_behalf_of"): names.ON_BEHALF_OF,
    ("why", "trigger"): names.TRIGGER,
    ("why", "intent"): names.INTENT,
    ("trigger",): names.TRIGGER,
    ("intent",): names.INTENT,
    ("where", "thread_id"): names.GEN_AI_CONVERSATION,
    ("where", "graph"): names.GEN_AI_AGENT,
    ("where", "worker"): names.WORKER,
    ("call_id",): names.GEN_AI_TOOL_CALL,
    ("target",): names.TARGET,
    ("system",): names.SYSTEM,
    ("impact",): names.IMPACT,
    ("policy",): names.POLICY,
}


def _about(entry: Entry) -> dict[str, Value]:
    """Return what an entry says as attributes. Never its payload: arguments do not go to telemetry."""
    found: dict[str, Value] = {}
    for path, name in _SAID.items():
        said = entry.said(*path)
        if said is not None:
            found[name] = said
    for fact, name in _FACTS.items():
        value = entry.fact(fact)
        if value is not None:
            found[name] = value
    for part, name in (("reasons", names.REASONS), ("rules", names.RULES)):
        if texts := entry.said_list(part):
            found[name] = texts
    attempts = entry.facts.get("attempts")
    if isinstance(attempts, int):
        found[names.ATTEMPTS] = attempts
    roles = entry.facts.get("roles")
    if isinstance(roles, list):
        found[names.ROLES] = tuple(str(role) for role in roles)
    return found


def _closing(interval: Interval, closed: Entry) -> dict[str, Value]:
    found: dict[str, Value] = {names.CLOSED_SEQ: closed.seq, names.OUTCOME: interval.outcome}
    state, confirmation = closed.fact("state"), closed.said("confirmation")
    if state is not None and interval.lasting is not Lasting.WAIT:
        found[names.STATE] = state
    if confirmation is not None:
        found[names.CONFIRMATION] = confirmation
    return found


def _events(entry: Entry, of_span: Attributes) -> Iterator[Event]:
    own = {name: value for name, value in _about(entry).items() if of_span.get(name) != value}
    for event in entry.events:
        yield Event(event, attributes={**own, names.SEQ: entry.seq}, timestamp=_nanoseconds(entry.at))


def _nanoseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1) * 1000
