"""``reconcile`` names what differs, on the auditor's login, also against threads and systems of record."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from langgraph_control import Policy
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.keeping.restored import declare_restored
from langgraph_control.audit.names import run_name
from langgraph_control.graphs.langgraph_json import load_graphs
from tests.cli.conftest import Command
from tests.support.postgres import Database
from tests.support.trails import TrailWriter, tamper

AGENT = '''
from decimal import Decimal
from langchain.agents import create_agent
from langgraph_control import ABSENT, Control, Policy, writes
from tests.support.scripted_model import ScriptedModel, call, calls

control = Control(Policy.parse({policy!r}, source="control.yaml"), dsn={dsn!r})
DONE = set()


def find(action):
    return "there" if action.args["order_id"] in DONE else ABSENT


@writes(key="order_id", impact="record", system="bank", find=find)
def pay(order_id: str, amount: Decimal) -> str:
    """Pay."""
    DONE.add(order_id)
    return "paid"


script = (calls(call("pay", order_id="o1", amount="5", call_id="c1")), "over")
graph = control.bind(create_agent(ScriptedModel(script=script), control.govern([pay])), name="paying")
'''
POLICY = """\
version: 1
roles: {finance: [ana@acme.example]}
rules:
  - {tool: pay, when: {amount: {gt: 0, lte: 9}}, then: allow}
"""


def test_what_follows_is_ok(command: Command, trail: TrailWriter) -> None:
    """A whole ledger: exit code 0, what was looked at, and what was not."""
    trail.refund()
    said = command("reconcile", "--dsn", trail.database.auditor)
    assert said.exit_code == 0
    assert "reconcile: OK (1 run, 1 action, 9 entries)" in said.stdout
    assert "--graphs" in said.stdout


def test_what_differs_is_named(command: Command, trail: TrailWriter) -> None:
    """An action whose row was changed: exit code 1, and its kind, run and tool, as text and as JSON."""
    run = trail.refund()
    tamper(trail.database, "UPDATE control.action SET state = 'failed'")
    for scope in ([], ["ticket/4711"], ["--since", "1h"]):
        assert command("reconcile", *scope, "--dsn", trail.database.auditor).exit_code in {0, 1}
    said = command("reconcile", "ticket/4711", "--dsn", trail.database.auditor)
    assert said.exit_code == 1
    assert f"action_state_differs: {run_name(run.run_id)}, refund" in said.stdout
    told = json.loads(command("reconcile", "--json", "--dsn", trail.database.auditor).stdout)
    assert (told["ok"], [one["kind"] for one in told["differences"]]) == (False, ["action_state_differs"])


def test_an_ill_formed_entry_is_named(command: Command, trail: TrailWriter) -> None:
    """A body with a name twice: exit code 1, the kind, the run and the entry's place, and nothing of what it says."""
    run = trail.open()
    trail.claim(run, body=b'{"reasons":["s3cret"],"reasons":["other"]}')
    said = command("reconcile", "--dsn", trail.database.auditor)
    assert said.exit_code == 1
    assert f"entry_not_canonical: {run_name(run.run_id)}, refund: entry 2: its body is not the" in said.stdout
    told = command("reconcile", "--json", "--dsn", trail.database.auditor).stdout
    assert [one["kind"] for one in json.loads(told)["differences"]] == ["entry_not_canonical"]
    assert "s3cret" not in said.stdout + told


def test_no_such_run_and_no_server(command: Command, database: Database) -> None:
    """Exit code 2 where there is no such run, 3 where nothing can be read: neither says that something differs."""
    assert command("reconcile", "no/such", "--dsn", database.auditor).exit_code == 2
    assert command("reconcile", "--dsn", "postgresql://user:secret@127.0.0.1:1/none").exit_code == 3


def test_an_agent_may_not_ask(command: Command, database: Database) -> None:
    """What is compared is everybody's; the agent's login is refused."""
    assert command("reconcile", "--dsn", database.agent).exit_code == 3


@pytest.mark.parametrize("lost", [False, True])
def test_the_system_of_record_and_the_thread_are_asked(
    command: Command, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, lost: bool
) -> None:
    """With the graphs named, the contract's find is asked about what is done, and the run's thread is read.

    After that, and not before, what a restore took back is named, and writes may go on.
    """
    publish_policy(database.admin, Policy.parse(POLICY, source="control.yaml"))
    file = tmp_path / "langgraph.json"
    (tmp_path / "paying.py").write_text(AGENT.format(policy=POLICY, dsn=database.agent), "utf-8")
    file.write_text('{"graphs": {"paying": "./paying.py:graph"}}', "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    load_graphs(file)
    place = str(tmp_path / "paying.py")
    agent: Any = next(one for one in sys.modules.values() if getattr(one, "__file__", "") == place)
    given = {"messages": [("user", "pay")]}
    with agent.control as control:
        assert str(control.run(agent.graph, given, trigger="ticket/7", actor="bot")) == "done"
        if lost:
            agent.DONE.clear()  # the bank has lost it
        declare_restored(database.admin, comment="last night's snapshot")
        accepting = ("accept-restore", "--comment", "named", "--dsn", database.approver("ana"))
        assert "not_reconciled" in command(*accepting).output
        said = command("reconcile", "--graphs", str(file), "--dsn", database.auditor)
        assert "accept-restore lets them go on" in said.stderr
        assert command(*accepting).exit_code == 0
    assert said.exit_code == int(lost)
    assert "1 action looked up" in said.stdout
    assert ("entry_without_effect" in said.stdout) is lost
