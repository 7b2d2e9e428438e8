"""``make backend-demo``: a run that takes three days, and how it looks as one trace in Arize Phoenix.

Phoenix is under the Elastic licence and no dependency of ours: it is installed in an environment of its own.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg

from demo.agent import POLICY, billing_client, support_agent
from demo.billing.client import BillingProcess
from demo.ground import ground
from demo.model import ScriptedSupport
from demo.telling import say
from demo.tickets import Ticket
from langgraph_control import Approvals, Control, Policy, Run
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.names import run_id
from langgraph_control.audit.postgres.local_server import ADMIN, LocalServer
from langgraph_control.audit.telemetry.sinks.following import Following
from langgraph_control.audit.telemetry.sinks.otlp import OtlpSink

PHOENIX: Final = Path(".venv-backends/bin/phoenix")
STARTS_WITHIN_SECONDS: Final = 180.0
DAYS: Final = 3
TICKET: Final = Ticket(trigger="ticket/4711", order="A-1001", amount="1200.00", complaint="it never arrived")
CLOCK: Final = """
CREATE OR REPLACE FUNCTION control.clock() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS
'SELECT pg_catalog.clock_timestamp() + make_interval(days => {days})'
"""
WIDE: Final = {"width": 1500, "height": 900}


def main() -> int:
    """Run the story, and return 0; 1 where the backend does not show it as one trace."""
    parser = argparse.ArgumentParser(prog="python -m demo.backend", description="A three-day run as one trace.")
    parser.add_argument("--phoenix", type=Path, default=PHOENIX, help="Phoenix's command")
    parser.add_argument("--picture", type=Path, help="where a picture of the trace is put, if Chromium is there")
    parser.add_argument("--stay", action="store_true", help="keep Phoenix open until Ctrl-C")
    options = parser.parse_args()
    with ExitStack() as leaving:
        url = leaving.enter_context(_phoenix(options.phoenix))
        run, sent = _three_days(url)
        say(f"  {sent} spans were sent to Phoenix.")
        found = _spans(url, sent)
        traces = {str(span["context"]["trace_id"]) for span in found if span["name"] != "policy.loaded"}
        one_trace = traces == {run_id(run.id).hex}
        say(f"  Phoenix has {len(found)} spans; the run is {'one trace' if one_trace else f'{len(traces)} traces'}:")
        say(f"  {url}/redirects/traces/{run_id(run.id).hex}")
        if options.picture is not None:
            _take_picture(f"{url}/redirects/traces/{run_id(run.id).hex}", options.picture)
        if options.stay:
            _stay()
        return 0 if one_trace else 1


def _three_days(url: str) -> tuple[Run, int]:
    """Have a refund asked for, approved three days later, done by another process' Control, and exported."""
    policy = Policy.parse(POLICY.read_text("utf-8").replace("within: 24h", "within: 7d"), source=POLICY.name)
    with ExitStack() as leaving:
        folder = Path(leaving.enter_context(tempfile.TemporaryDirectory(prefix="langgraph-control-backend-")))
        folder.chmod(0o711)
        admin = leaving.enter_context(LocalServer.start(folder)).dsn(ADMIN)
        where = leaving.enter_context(ground(policy, dsn=admin, approver_dsn=None))
        billing = leaving.enter_context(BillingProcess())
        billing.put_order(TICKET.order, "1200.00")

        def deliver() -> Run:
            with Control(policy, dsn=where.agent) as control:
                agent = support_agent(control, billing_client(billing.url), ScriptedSupport())
                return control.run(agent, TICKET.delivery(), trigger=TICKET.trigger, actor="support-agent")

        run = deliver()
        say(f"  day 0   {run.state}: {TICKET.trigger}")
        with psycopg.connect(admin, autocommit=True) as owner:
            owner.execute("SET ROLE control_owner")
            owner.execute(CLOCK.format(days=DAYS).encode())
        with Approvals(where.approver) as approvals:
            approvals.approve(run.approvals[0], comment="the invoice was paid twice")
        run = deliver()
        say(f"  day {DAYS}   {run.state}: approved by Ana, done by another process")
        store = leaving.enter_context(_store(where.auditor))
        following = Following(store, OtlpSink("phoenix", f"{url}/v1/traces"))
        following.once()
        following.sink.close()
        return run, following.sent


@contextmanager
def _store(dsn: str) -> Iterator[Store]:
    store = Store(dsn)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _phoenix(command: Path) -> Iterator[str]:
    """Start Phoenix on a free port of loopback, with data that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="langgraph-control-phoenix-", ignore_cleanup_errors=True) as folder:
        port, grpc = _free_ports()
        settings = {
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(grpc),
            "PHOENIX_WORKING_DIR": folder,
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }
        say("Starting Phoenix (half a minute) ...")
        log = Path(folder) / "phoenix.log"
        with (
            log.open("wb") as out,
            subprocess.Popen(  # noqa: S603 - the command that was named
                [command, "serve"], env={**os.environ, **settings}, stdout=out, stderr=out
            ) as process,
        ):
            try:
                url = f"http://127.0.0.1:{port}"
                _wait_for(url, process)
                yield url
            finally:
                process.terminate()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/healthz", timeout=2).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise SystemExit("Phoenix did not start; look whether `phoenix serve` works by itself.")


def _spans(url: str, wanted: int) -> list[dict[str, Any]]:
    """Return what Phoenix has, once it has taken in what it was sent."""
    until = time.monotonic() + 30
    found: list[dict[str, Any]] = []
    while time.monotonic() < until and len(found) < wanted:
        answer = httpx.get(f"{url}/v1/projects/default/spans", params={"limit": 1000}, timeout=10)
        found = answer.json()["data"] if answer.is_success else []
        time.sleep(0.5)
    return found


def _take_picture(address: str, picture: Path) -> None:
    """Open the trace in Chromium, and keep what it looks like."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=WIDE, color_scheme="light")  # type: ignore[arg-type]
        page.goto(address)
        page.get_by_text("control.approval").first.wait_for(timeout=90_000)
        page.wait_for_timeout(2000)
        page.screenshot(path=str(picture))
        browser.close()
    say(f"  A picture of it: {picture}")


def _stay() -> None:
    say("  Ctrl-C ends it.")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        say("Ending ...")


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return int(one.getsockname()[1]), int(two.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
