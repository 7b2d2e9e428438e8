"""Spans are a projection of the trail: one trace a run, the same from every process, given only when final."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.propagators.textmap import default_getter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from langgraph_control.audit.asking.ledger import Outcome
from langgraph_control.audit.asking.requests import FindTenantChain
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.telemetry import span_names as names
from langgraph_control.audit.telemetry.spans import span_id, spans, trace_id, traceparent
from langgraph_control.audit.trail.entries import Entry
from tests.support.postgres import Database
from tests.support.trails import OpenRun, TrailWriter

NANOSECONDS = 10**9


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """A writer of trails in a database of its own, with finance published."""
    with TrailWriter(database) as writer:
        writer.publish()
        yield writer


def entries(trail: TrailWriter, run: OpenRun) -> list[Entry]:
    """Return the run's entries."""
    return [Entry.of(row) for row in trail.agent.entries(run.run_id)]


def projected(trail: TrailWriter, run: OpenRun) -> dict[str, ReadableSpan]:
    """Return the run's final spans by name."""
    return {span.name: span for span in spans(run.run_id, entries(trail, run))}


def lengthy(span: ReadableSpan) -> timedelta:
    """Return how long a span lasts."""
    assert span.start_time is not None
    assert span.end_time is not None
    return timedelta(seconds=(span.end_time - span.start_time) / NANOSECONDS)


def attributes(span: ReadableSpan) -> dict[str, object]:
    """Return a span's attributes."""
    return dict(span.attributes or {})


def test_a_run_that_paused_for_days_is_one_trace(trail: TrailWriter) -> None:
    """Root, read, attempt, approval and wait share one trace over two workers, with the run as parent."""
    run = trail.refund()
    found = projected(trail, run)
    assert set(found) == {
        "invoke_agent support",
        "execute_tool find_invoice",
        "execute_tool refund",
        "control.approval",
        "control.wait",
    }
    root = found.pop("invoke_agent support")
    assert root.context is not None
    assert root.parent is None
    assert root.context.trace_id == trace_id(run.run_id) == run.run_id.int
    for span in found.values():
        assert span.context is not None
        assert span.parent is not None
        assert (span.context.trace_id, span.parent.span_id) == (root.context.trace_id, root.context.span_id)
    assert timedelta(days=3, hours=2) < lengthy(root) < timedelta(days=3, hours=3)
    assert lengthy(found["control.wait"]) > timedelta(days=3)
    assert lengthy(found["execute_tool refund"]) < timedelta(minutes=1)


def test_nothing_of_a_refund_is_an_error(trail: TrailWriter) -> None:
    """Parking, approval and a verified effect leave every status unset."""
    assert {span.status.status_code for span in projected(trail, trail.refund()).values()} == {StatusCode.UNSET}


def test_attributes_answer_who_what_and_why(trail: TrailWriter) -> None:
    """An attempt carries the GenAI names and ours; no argument goes to telemetry."""
    run = trail.refund()
    span = projected(trail, run)["execute_tool refund"]
    told = attributes(span)
    assert told[names.GEN_AI_OPERATION] == "execute_tool"
    assert told[names.GEN_AI_TOOL] == "refund"
    assert told[names.GEN_AI_CONVERSATION] == str(run.run_id)
    assert told[names.ACTOR] == "support-agent"
    assert told[names.REASONS] == ("rules[0] policy.yaml:6 says approve",)
    assert told[names.SIGNALS] == ("risk: large",)
    assert told[names.OUTCOME] == "succeed"
    assert [event.name for event in span.events] == [
        "action.decided",
        "action.attempt_started",
        "action.succeeded",
        "effect.verified",
    ]
    assert 'invoice": 17' not in span.to_json()
    assert "note" not in span.to_json()


def test_what_stands_by_itself_is_a_span(trail: TrailWriter) -> None:
    """What lasts no time is a span at once, so that it is seen while the run is parked; the root has start and end."""
    run = trail.open()
    trail.observe(run)
    trail.observe(run, succeeded=False)
    read, failed = spans(run.run_id, entries(trail, run))
    assert (read.name, read.start_time) == ("execute_tool find_invoice", read.end_time)
    assert (read.status.status_code, failed.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)
    root = projected(trail, trail.refund("ticket/2"))["invoke_agent support"]
    assert [event.name for event in root.events] == ["run.started", "run.finished"]


def test_every_entry_is_told(trail: TrailWriter) -> None:
    """Each entry of a finished run is in some span, as its beginning, its end or an event of it."""
    run = trail.refund()
    events = [event for span in spans(run.run_id, entries(trail, run)) for event in span.events]
    told = {str(event.attributes.get(names.SEQ)) for event in events if event.attributes is not None}
    assert told == {str(entry.seq) for entry in entries(trail, run)}


def test_what_comes_after_the_end_is_a_span(trail: TrailWriter) -> None:
    """An entry after the end of its run is a span by itself; those before it stay as they were."""
    run = trail.open()
    claim, _ = trail.claim(run)
    trail.settle(run, claim)
    trail.release(run)
    before = [span.to_json() for span in spans(run.run_id, entries(trail, run))]
    trail.claim(run, "another")  # with a token that is stale by now
    after = [span.to_json() for span in spans(run.run_id, entries(trail, run))]
    assert after[: len(before)] == before
    (late,) = list(spans(run.run_id, entries(trail, run)))[len(before) :]
    assert late.name == "run.fenced"


def test_a_timer_says_until_when(trail: TrailWriter) -> None:
    """A run that waits for a time has a span as long as the wait, with the moment it waited for."""
    run = trail.open()
    trail.release(run, RunState.RETRYING, "system_down", wake_ms=60_000)
    trail.pass_time(minutes=2)
    trail.resume(run)
    wait = projected(trail, run)["control.wait"]
    assert lengthy(wait) >= timedelta(minutes=2)
    assert wait.start_time is not None
    until = datetime.fromisoformat(str(attributes(wait)[names.WAIT_UNTIL]))
    assert (
        timedelta(seconds=59)
        < until - datetime.fromtimestamp(wait.start_time / NANOSECONDS, UTC)
        < timedelta(seconds=61)
    )
    assert (attributes(wait)[names.STATE], wait.status.status_code) == ("retrying", StatusCode.UNSET)


def test_what_belongs_to_no_run_is_a_trace_each(trail: TrailWriter) -> None:
    """The chain that never ends is no trace that never ends: each of its entries is a trace of its own."""
    trail.publish()
    chain = trail.agent.ask(FindTenantChain()).run_id
    found = list(spans(chain, (Entry.of(row) for row in trail.agent.entries(chain))))
    assert [span.name for span in found] == ["policy.loaded"] * 2
    assert all(span.parent is None for span in found)
    assert len({span.context.trace_id for span in found if span.context}) == 2


def test_the_vote_is_an_event_of_the_approval(trail: TrailWriter) -> None:
    """Who granted, in which role, is on the approval's span."""
    approval = projected(trail, trail.refund())["control.approval"]
    granted = approval.events[-1]
    assert granted.name == "approval.granted"
    assert granted.attributes is not None
    assert granted.attributes[names.PERSON] == "ana@acme.example"
    assert granted.attributes[names.ROLES] == ("finance",)
    assert attributes(approval)[names.OUTCOME] == "granted"


def test_a_span_is_given_only_when_final(trail: TrailWriter) -> None:
    """Every span given from a part of the chain is given again, byte for byte, from each longer part."""
    run = trail.refund()
    known = entries(trail, run)
    before: dict[int, str] = {}
    for length in range(len(known) + 1):
        now = {span.context.span_id: span.to_json() for span in spans(run.run_id, known[:length]) if span.context}
        assert before.items() <= now.items()
        before = now
    assert len(before) == 5


def test_a_lost_attempt_is_an_error_and_its_reading_is_not(trail: TrailWriter) -> None:
    """An attempt whose worker died ends as an error where it was found lost; reading back is a span of its own."""
    run = trail.open()
    trail.claim(run)
    trail.pass_time(minutes=5)
    run = trail.resume(run)
    reading, _ = trail.claim(run)
    trail.settle(run, reading, Outcome.FOUND, events=("effect.verified",))
    trail.release(run)
    found = projected(trail, run)
    attempt, read_back = found["execute_tool refund"], found["control.read_back"]
    assert (attempt.status.status_code, attempt.status.description) == (StatusCode.ERROR, "lost")
    assert attributes(attempt)[names.ERROR_TYPE] == "lost"
    assert attributes(read_back)[names.OUTCOME] == "found"
    assert read_back.status.status_code is StatusCode.UNSET
    assert found["invoke_agent support"].status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("outcome", "description"),
    [
        (Outcome.NOT_DONE, "not_done"),
        (Outcome.FAIL, "fail"),
        (Outcome.LOSE, "lose"),
        (Outcome.CONTRADICT, "needs_human"),
    ],
)
def test_failed_unknown_and_for_a_person_are_errors(trail: TrailWriter, outcome: Outcome, description: str) -> None:
    """An attempt that failed, is unknown or is for a person has status error, and says which."""
    run = trail.open()
    claim, _ = trail.claim(run)
    trail.settle(run, claim, outcome)
    status = projected(trail, run)["execute_tool refund"].status
    assert (status.status_code, status.description) == (StatusCode.ERROR, description)


def test_a_no_is_not_an_error(trail: TrailWriter) -> None:
    """A rejected request is an answered one."""
    run = trail.open()
    _, claimed = trail.claim(run, verb="approve")
    assert claimed.approval_id is not None
    trail.vote(claimed.approval_id, decision="reject")
    approval = projected(trail, run)["control.approval"]
    assert attributes(approval)[names.OUTCOME] == "denied"
    assert approval.status.status_code is StatusCode.UNSET


def test_a_superseded_request_ends(trail: TrailWriter) -> None:
    """Other arguments under the same key end the old request's span and begin another."""
    run = trail.open()
    trail.claim(run, verb="approve")
    trail.claim(run, verb="approve", args_hash=bytes(32), digest=bytes(32), scope=bytes(32))
    (approval,) = spans(run.run_id, entries(trail, run))
    assert attributes(approval)[names.OUTCOME] == "superseded"


def test_a_wait_for_a_person_is_an_error(trail: TrailWriter) -> None:
    """A run that waited because nobody can tell what happened shows it on that wait, and only there."""
    run = trail.open()
    trail.release(run, RunState.NEEDS_HUMAN, "needs_human")
    trail.resume(run)
    wait = projected(trail, run)["control.wait"]
    assert (wait.status.status_code, wait.status.description) == (StatusCode.ERROR, "needs_human")


def test_a_request_that_is_not_needed_any_more_ends_as_withdrawn(trail: TrailWriter) -> None:
    """A request for a write that the policy has come to deny is withdrawn by the claim that is told so."""
    run = trail.open()
    _, claimed = trail.claim(run, verb="approve")
    trail.claim(run, verb="deny")
    trail.release(run)
    found = projected(trail, run)
    assert claimed.approval_id is not None
    assert attributes(found["control.approval"])[names.OUTCOME] == "withdrawn"


@given(st.uuids(), st.integers(1, 2**40))
def test_ids_are_functions_of_run_and_entry(run_id: UUID, seq: int) -> None:
    """Ids are valid, differ between entries, and are the same wherever they are computed."""
    assert 0 < span_id(run_id, seq) < 2**64
    assert span_id(run_id, seq) == span_id(UUID(str(run_id)), seq)
    assert span_id(run_id, seq) != span_id(run_id, seq + 1)
    assert trace_id(run_id) == run_id.int


def test_downstream_calls_join_the_trace() -> None:
    """OpenTelemetry's own propagator reads the header as a sampled child of the run's root span."""
    run_id = uuid4()
    carrier = {"traceparent": traceparent(run_id)}
    context = TraceContextTextMapPropagator().extract(carrier, getter=default_getter)
    remote = get_current_span(context).get_span_context()
    assert (remote.trace_id, remote.span_id) == (trace_id(run_id), span_id(run_id))
    assert remote.trace_flags.sampled
