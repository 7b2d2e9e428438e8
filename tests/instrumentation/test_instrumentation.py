"""Real instrumentation of httpx, psycopg and LangChain: the spans of a governed tool's work are in the run's trace."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psycopg
import pytest
from langchain_core.callbacks import BaseCallbackManager

from langgraph_control.audit.names import run_id
from langgraph_control.otel import span_id, trace_id
from tests.support.desk import Desk, How
from tests.support.instrumented import INSTRUMENTORS, QUERY, STEP, Made, agent, instrumented

ROOT = Path(__file__).parents[2]
LIBRARIES = list(INSTRUMENTORS)


@pytest.fixture
def url() -> Iterator[str]:
    """An HTTP server that says yes."""

    class Yes(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the class above
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Yes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/orders"
        server.shutdown()


def of_the_tool(library: str, made: list[Made]) -> list[Made]:
    """Return the spans of what a tool's body did with the library."""
    if library == "httpx":
        return [span for span in made if span.kind == "CLIENT" and "/orders" in " ".join(span.said.values())]
    if library == "psycopg":
        return [span for span in made if QUERY in span.said.values()]
    return [span for span in made if span.name == STEP]


@pytest.mark.parametrize("library", LIBRARIES)
def test_real_instrumentation_is_in_the_runs_trace(desk: Desk, how: How, trigger: str, url: str, library: str) -> None:
    """What a governed tool does is in the run's trace, also after a wait for approval, resumed by another process."""
    target = desk.database.approver("ana") if library == "psycopg" else url
    with instrumented(library) as spans:
        run = desk.run(agent(desk, how, library, target), how, trigger=trigger)
        before = spans()
    assert run.state == "needs_approval"
    desk.approve(run.approvals)
    command = [sys.executable, "-m", "tests.support.instrumented", library, how, desk.database.admin, target, run.id]
    ended = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    told = json.loads(ended.stdout.splitlines()[-1])
    after = [Made(**one) for one in told["spans"]]
    assert told["state"] == "done"
    known = run_id(run.id)
    for made in (of_the_tool(library, before), of_the_tool(library, after)):
        assert len(made) == 1
        assert made[0].trace_id == trace_id(known)
        if library != "langchain":
            assert made[0].parent_id == span_id(known)


def test_langchains_own_spans_are_in_the_runs_trace(desk: Desk, how: How, trigger: str, url: str) -> None:
    """Models, tools and the graph itself, as LangChain's instrumentation sees them, are all in the run's trace."""
    with instrumented("langchain") as spans:
        run = desk.run(agent(desk, how, "langchain", url), how, trigger=trigger)
        made = spans()
    kinds = {span.said.get("openinference.span.kind") for span in made}
    assert {"LLM", "TOOL", "CHAIN"} <= kinds
    assert {span.trace_id for span in made} == {trace_id(run_id(run.id))}


@pytest.mark.parametrize("library", LIBRARIES)
def test_nothing_is_instrumented_afterwards(library: str) -> None:
    """The tests that come after these see the libraries as they are."""

    class Own(psycopg.Connection[tuple[object, ...]]):
        pass

    def parts() -> list[object]:
        return [
            type(httpx.HTTPTransport.handle_request),
            type(httpx.AsyncHTTPTransport.handle_async_request),
            type(psycopg.connect),
            getattr(Own.connect, "__self__", None),
            type(psycopg.AsyncConnection.connect),
            type(BaseCallbackManager.__init__),
        ]

    before = parts()
    with instrumented(library):
        assert parts() != before
    assert parts() == before
