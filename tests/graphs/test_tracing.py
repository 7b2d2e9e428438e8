"""What a run's code starts lands in the run's trace, in every process and on every day; and nowhere else."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from langgraph_control import Control, writes
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.audit.telemetry.spans import spans
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.otel import ParkedSpans, span_id, trace_id
from tests.graphs.test_runs import State
from tests.support.desk import GO, POLICY, Desk, How, new_trigger
from tests.support.scripted_model import ScriptedModel, call, calls


class Tracing:
    """What third-party instrumentation is: a provider of its own, and what it made."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(ParkedSpans(self.exporter)))
        self.tracer = self.provider.get_tracer("third party")

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of a name."""
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def tracing() -> Iterator[Tracing]:
    """A tracer of a third party."""
    made = Tracing()
    yield made
    made.provider.shutdown()


def final(desk: Desk, run: Any) -> list[ReadableSpan]:
    """Return the run's own spans."""
    known = run_id(run.id)
    with LedgerConnection(desk.database.auditor) as connection:
        return list(spans(known, map(Entry.of, connection.entries(known))))


def asking(desk: Desk, tracing: Tracing) -> Any:
    """Return a bound graph that works, asks, and works again."""

    def before(_: State) -> State:
        with tracing.tracer.start_as_current_span("before"):
            return {"log": []}

    def ask(_: State) -> State:
        with tracing.tracer.start_as_current_span("ask"):
            return {"log": [interrupt("?")]}

    builder: Any = StateGraph(State)
    builder.add_sequence([before, ask])
    builder.add_edge(START, "before")
    return desk.control.bind(builder.compile(), name="asking")


def test_one_trace_over_processes(desk: Desk, how: How, trigger: str, tracing: Tracing) -> None:
    """What is started before a pause and after it, by another Control as on another machine, is in the run's trace."""
    run = desk.run(asking(desk, tracing), how, trigger=trigger, given={"log": []})
    (question,) = run.questions
    with Control(POLICY, dsn=desk.database.agent) as elsewhere:
        other = Desk(database=desk.database, control=elsewhere)
        asking(other, tracing)
        run = other.resume(run, how, {question: "yes"})
    assert str(run) == "done"
    known = run_id(run.id)
    started = [*tracing.named("before"), *tracing.named("ask")]
    assert len(started) == 3
    for span in started:
        assert span.context is not None
        assert span.parent is not None
        assert (span.context.trace_id, span.parent.span_id) == (trace_id(known), span_id(known))
    assert {span.context.trace_id for span in final(desk, run) if span.context} == {trace_id(known)}


def test_an_interrupt_is_parked_and_no_error(desk: Desk, how: How, trigger: str, tracing: Tracing) -> None:
    """A span that ended with LangGraph's interrupt shows as parked where the exporter is wrapped."""
    desk.run(asking(desk, tracing), how, trigger=trigger, given={"log": []})
    (span,) = tracing.named("ask")
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})["control.state"] == "parked"
    assert not span.events


def test_an_error_stays_one(tracing: Tracing) -> None:
    """Any other exception is what it was."""
    with pytest.raises(ValueError, match="no"), tracing.tracer.start_as_current_span("work"):
        raise ValueError("no")
    (span,) = tracing.named("work")
    assert (span.status.status_code, span.events[0].name) == (StatusCode.ERROR, "exception")


def test_tools_and_hooks_are_in_the_trace(desk: Desk, how: How, trigger: str, tracing: Tracing) -> None:
    """The body of a governed write, sync or async, and the hooks around it run in the run's trace."""

    def read(action: Any) -> dict[str, str]:
        with tracing.tracer.start_as_current_span("hook"):
            return {"status": action.args["order_id"]}

    @writes(key="order_id", impact="record", read=read)
    def note(order_id: str) -> str:
        """Note something."""
        with tracing.tracer.start_as_current_span("body"):
            return order_id

    @writes(key="order_id", impact="record", read=read)
    async def anote(order_id: str) -> str:
        """Note something."""
        with tracing.tracer.start_as_current_span("body"):
            return order_id

    from langchain.agents import create_agent

    (governed,) = desk.control.govern([note if how == "sync" else anote])
    script = (calls(call(governed.name, order_id="o1")), "done")
    agent = desk.control.bind(create_agent(ScriptedModel(script=script), [governed]), name="noting")
    run = desk.run(agent, how, trigger=trigger)
    made = [*tracing.named("hook"), *tracing.named("body")]
    assert len(tracing.named("body")) == 1
    assert len(made) >= 2
    assert {span.context.trace_id for span in made if span.context} == {trace_id(run_id(run.id))}


def test_the_caller_is_linked_and_not_lost(desk: Desk, how: How, trigger: str, tracing: Tracing) -> None:
    """The trace of whoever triggers a run goes on as it was, and the run's root span has a link to it."""
    with tracing.tracer.start_as_current_span("request") as request:
        run = desk.run(desk.refunding(50), how, trigger=trigger)
        assert trace.get_current_span() is request
    root = final(desk, run)[-1]
    (link,) = root.links
    assert (link.context.trace_id, link.context.span_id) == (
        request.get_span_context().trace_id,
        request.get_span_context().span_id,
    )
    assert root.context is not None
    assert root.context.trace_id != link.context.trace_id


def test_a_run_without_a_traced_caller_has_no_link(desk: Desk, trigger: str) -> None:
    """Where nothing traces the caller, nothing is linked."""
    assert final(desk, desk.run(desk.refunding(50), trigger=trigger))[-1].links == ()


def test_a_resume_is_linked_from_the_wait_it_ended(desk: Desk, how: How, trigger: str, tracing: Tracing) -> None:
    """Who resumed a run is a link of the wait that ended by it."""
    run = desk.run(asking(desk, tracing), how, trigger=trigger, given={"log": []})
    with tracing.tracer.start_as_current_span("resume") as resuming:
        run = desk.resume(run, how, dict.fromkeys(run.questions, "yes"))
    (wait,) = [span for span in final(desk, run) if span.name == "control.wait"]
    assert [link.context.span_id for link in wait.links] == [resuming.get_span_context().span_id]


def test_nothing_leaks(desk: Desk, tracing: Tracing) -> None:
    """Runs side by side in threads and on one event loop keep to their traces, and leave no context behind."""
    before = context.get_current()
    agent = asking(desk, tracing)
    triggers = [new_trigger() for _ in range(8)]
    runs: list[Any] = []

    def drive(trigger: str) -> None:
        runs.append(desk.run(agent, trigger=trigger, given={"log": []}))
        assert not trace.get_current_span().get_span_context().is_valid

    threads = [threading.Thread(target=drive, args=(trigger,)) for trigger in triggers[:4]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def all_at_once() -> None:
        asked = [desk.control.arun(agent, {"log": []}, trigger=one, actor="support-bot") for one in triggers[4:]]
        runs.extend(await asyncio.gather(*asked))
        assert not trace.get_current_span().get_span_context().is_valid

    asyncio.run(all_at_once())
    assert context.get_current() == before
    assert {span.context.trace_id for span in tracing.named("before") if span.context} == {
        trace_id(run_id(run.id)) for run in runs
    }


def test_whoever_reads_a_stream_is_outside(desk: Desk, trigger: str, tracing: Tracing) -> None:
    """Between two chunks of a stream the reader has the context it had."""
    for _ in desk.control.stream(desk.refunding(50), GO, trigger=trigger, actor="support-bot"):
        assert not trace.get_current_span().get_span_context().is_valid
