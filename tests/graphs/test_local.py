"""`Control.local`, and the quickstart as a newcomer runs it: a process, an approval, the same program again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from langgraph_control import Approvals, Control
from langgraph_control.audit.postgres.local_server import LocalServer
from langgraph_control.errors import PolicyError
from tests.support.desk import POLICY_TEXT

ROOT = Path(__file__).parents[2]

QUICKSTART = """\
from decimal import Decimal
from langchain.agents import create_agent
from langgraph_control import Control, reads, writes
from tests.support.scripted_model import ScriptedModel, call, calls

@reads()
def find_order(order_id: str) -> str:
    "Find an order."
    return f"order {order_id}: 3 chairs, 480 EUR"

@writes(key="order_id", impact="money")
def refund(order_id: str, amount: Decimal) -> str:
    "Refund an order."
    return f"refunded {amount} EUR"

def asks_for_refund(_): return calls(call("refund", order_id="o7", amount="480"))
model = ScriptedModel(script=[calls(call("find_order", order_id="o7")), asks_for_refund, "done"][SKIP:])

control = Control.local("control.yaml")
graph = control.bind(create_agent(model, control.govern([find_order, refund])), name="support")
print(control.run(graph, {"messages": [("user", "Refund o7")]}, trigger="ticket/4711", actor="support-bot"))
"""


def quickstart(folder: Path, *, skip: int) -> subprocess.CompletedProcess[str]:
    """Run the quickstart in a process of its own; the model goes on where its conversation was."""
    return subprocess.run(
        [sys.executable, "-c", QUICKSTART.replace("SKIP", str(skip))],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )


def test_the_quickstart(tmp_path: Path, server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints the command that approves; after the approval the same program prints `done`."""
    monkeypatch.setenv("LANGGRAPH_CONTROL_DATA", str(server_folder))
    (tmp_path / "control.yaml").write_text(POLICY_TEXT)
    with LocalServer.start() as server:  # keeps it up between the two processes, which would start it again each
        first = quickstart(tmp_path, skip=0)
        name = first.stdout.strip().removeprefix("needs_approval - langgraph-control approve ")
        assert name.startswith("apr_")
        assert first.stderr.startswith("Development Postgres")
        assert len(first.stderr.splitlines()) == 1
        with Approvals(server.dsn("control_local_approver")) as approvals:
            approvals.approve(name, as_="ana@acme.example")
        assert quickstart(tmp_path, skip=2).stdout == "done\n"


def test_a_wrong_policy_starts_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read first: what is wrong with it is said before anything is started."""
    monkeypatch.setenv("LANGGRAPH_CONTROL_DATA", str(tmp_path / "data"))
    (tmp_path / "control.yaml").write_text("version: 2\n")
    with pytest.raises(PolicyError):
        Control.local(tmp_path / "control.yaml")
    assert not (tmp_path / "data").exists()
