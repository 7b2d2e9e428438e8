"""A desk whose tools call what others instrument; its second process: ``python -m tests.support.instrumented``."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

import httpx
import psycopg
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langgraph_control import Control, reads, writes
from tests.support.desk import POLICY, Desk, How
from tests.support.postgres import Database
from tests.support.scripted_model import Answer, ScriptedModel, call, calls

INSTRUMENTORS: Final = {
    "httpx": ("opentelemetry.instrumentation.httpx", "HTTPXClientInstrumentor"),
    "psycopg": ("opentelemetry.instrumentation.psycopg", "PsycopgInstrumentor"),
    "langchain": ("openinference.instrumentation.langchain", "LangChainInstrumentor"),
}
QUERY: Final = "SELECT 'asked by a tool'"
STEP: Final = "a step of the tool's"
SCRIPT: Final = (calls(call("look", order_id="o1")), calls(call("refund", order_id="o1", amount=500)), "done")


@dataclass(frozen=True, kw_only=True)
class Made:
    """A span of a third party's."""

    name: str
    kind: str
    trace_id: int
    parent_id: int | None
    said: dict[str, Any] = field(hash=False)

    @classmethod
    def of(cls, span: ReadableSpan) -> "Made":
        """Take what counts from a span."""
        assert span.context is not None
        return cls(
            name=span.name,
            kind=span.kind.name,
            trace_id=span.context.trace_id,
            parent_id=None if span.parent is None else span.parent.span_id,
            said={name: str(value) for name, value in (span.attributes or {}).items()},
        )


@contextmanager
def instrumented(library: str) -> Iterator[Callable[[], list[Made]]]:
    """Have a library instrumented as its users do, and by nobody afterwards; gives what tells the spans made so far."""
    module, name = INSTRUMENTORS[library]
    # psycopg's, when it is taken off, leaves a method behind that is bound to the class it was taken from.
    methods = [(owner, vars(owner)["connect"]) for owner in (psycopg.Connection, psycopg.AsyncConnection)]
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = getattr(import_module(module), name)()
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield lambda: [Made.of(span) for span in exporter.get_finished_spans()]
    finally:
        instrumentor.uninstrument()
        for owner, method in methods:
            setattr(owner, "connect", method)  # noqa: B010 - no assignment, to a type checker
        provider.shutdown()


def work(library: str, target: str) -> None:
    """Do what a tool does with a library."""
    if library == "httpx":
        with httpx.Client() as client:
            client.get(target).raise_for_status()
    elif library == "psycopg":
        with psycopg.connect(target) as connection:
            connection.execute(QUERY)
    else:
        RunnableLambda(str, name=STEP).invoke(target)


async def awork(library: str, target: str) -> None:
    """Do the same on an event loop."""
    if library == "httpx":
        async with httpx.AsyncClient() as client:
            (await client.get(target)).raise_for_status()
    elif library == "psycopg":
        async with await psycopg.AsyncConnection.connect(target) as connection:
            await connection.execute(QUERY)
    else:
        await RunnableLambda(str, name=STEP).ainvoke(target)


def tools(library: str, target: str) -> list[Any]:
    """Return a read and a write that call out."""

    @reads()
    def look(order_id: str) -> str:
        """Look at an order."""
        work(library, target)
        return f"order {order_id}"

    @writes(key="order_id", impact="money")
    def refund(order_id: str, amount: int) -> str:
        """Refund an order."""
        work(library, target)
        return f"refunded {amount}"

    return [look, refund]


def atools(library: str, target: str) -> list[Any]:
    """Return the same for event loops."""

    @reads()
    async def look(order_id: str) -> str:
        """Look at an order."""
        await awork(library, target)
        return f"order {order_id}"

    @writes(key="order_id", impact="money")
    async def refund(order_id: str, amount: int) -> str:
        """Refund an order."""
        await awork(library, target)
        return f"refunded {amount}"

    return [look, refund]


def agent(desk: Desk, how: How, library: str, target: str, script: tuple[Answer, ...] = SCRIPT) -> Any:
    """Return a bound agent that looks an order up, then asks for a refund that has to be approved; both call out."""
    governed = desk.control.govern(tools(library, target) if how == "sync" else atools(library, target))
    return desk.control.bind(create_agent(ScriptedModel(script=script), governed), name="instrumented")


def main() -> None:
    """Resume a run in this process, which knows nothing of the one before, and print its state and the spans."""
    library, how, admin, target, run_id = sys.argv[1:]
    way: How = "sync" if how == "sync" else "async"
    database = Database(name="", admin=admin)
    with instrumented(library) as made, Control(POLICY, dsn=database.agent) as control:
        desk = Desk(database=database, control=control)
        agent(desk, way, library, target, SCRIPT[2:])
        run = desk.resume(control.get(run_id), way)
        spans = [{name: getattr(one, name) for name in Made.__dataclass_fields__} for one in made()]
    sys.stdout.write(f"\n{json.dumps({'state': str(run), 'spans': spans})}\n")


if __name__ == "__main__":
    main()
