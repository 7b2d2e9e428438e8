"""``reconcile --graphs`` says what was asked outside and what was not, and only the whole of it lets writes go on."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import Result

from langgraph_control import Policy
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.requests import FindTenantChain
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.restored import FindRestore, RecordReconciliation, declare_restored
from langgraph_control.graphs.langgraph_json import load_graphs
from tests.cli.conftest import Command
from tests.support.complete_entries import incomplete_entries
from tests.support.postgres import Database
from tests.support.trails import tamper

AGENT = '''
from decimal import Decimal
from pathlib import Path
from langchain.agents import create_agent
from langgraph_control import ABSENT, Control, Policy, writes
from tests.support.scripted_model import ScriptedModel, call, calls

control = Control(Policy.parse({policy!r}, source="control.yaml"), dsn={dsn!r})
HERE = Path(__file__).parent


def find(action):
    if (HERE / f"down {{action.tool}}").exists():
        raise ConnectionError("refused")
    if action.tool == "mute":
        return None
    return "there" if (HERE / f"done {{action.args['order_id']}}").exists() else ABSENT


@writes(key="order_id", impact="record", system="bank", find=find)
def pay(order_id: str, amount: Decimal) -> str:
    """Pay."""
    (HERE / f"done {{order_id}}").touch()
    return "paid"


@writes(key="order_id", impact="record", system="depot", find=find)
def ship(order_id: str) -> str:
    """Ship."""
    (HERE / f"done {{order_id}}").touch()
    return "shipped"


@writes(key="order_id", impact="record", system="mute system", find=find)
def mute(order_id: str) -> str:
    """Do what cannot be looked up."""
    return "muted"


@writes(key="order_id", impact="record", system="paper")
def jot(order_id: str) -> str:
    """Write on paper."""
    return "written"


@writes(key="order_id", impact="record", system="vault", find=lambda action: action.args["pin"], redact="pin")
def lock(order_id: str, pin: str) -> str:
    """Lock."""
    return "locked"


TOOLS = dict(pay=pay, ship=ship, mute=mute, jot=jot, lock=lock)
GIVEN = dict(pay=dict(amount="5"), lock=dict(pin="1234"))


def does(name, *tools):
    each = [call(tool, order_id=name + tool, call_id=name + tool, **GIVEN.get(tool, {{}})) for tool in tools]
    model = ScriptedModel(script=(calls(*each), "over"))
    return control.bind(create_agent(model, control.govern([TOOLS[tool] for tool in tools])), name=name)


paying = does("paying", "pay")
shipping = does("shipping", "ship")
quiet = does("quiet", "mute", "jot", "lock")
'''
POLICY = """\
version: 1
roles: {finance: [ana@acme.example]}
otherwise:
  - {impact: record, then: allow}
"""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """Agents that have done something, a ledger that was restored since, and commands on it."""

    agent: Any
    database: Database
    command: Command
    folder: Path

    def lose(self, tool: str) -> None:
        """Let its system lose what was done."""
        for done in self.folder.glob(f"done *{tool}"):
            done.unlink()

    def down(self, tool: str) -> Path:
        """Let its system be down, as long as there is this file."""
        (self.folder / f"down {tool}").touch()
        return self.folder / f"down {tool}"

    def run(self, *names: str) -> None:
        """Have graphs do what they do, and then declare a restore."""
        for name in names:
            done = self.agent.control.run(
                getattr(self.agent, name), {"messages": [("user", "go")]}, trigger=f"ticket/{name}", actor="bot"
            )
            assert str(done) == "done"
        declare_restored(self.database.admin, comment="last night's snapshot")

    def reconcile(self, *names: str, options: tuple[str, ...] = ()) -> Result:
        """Reconcile with a file that names these graphs, as a process of its own would load them."""
        for name in [name for name, one in sys.modules.items() if getattr(one, "__file__", "") == self.agent.__file__]:
            del sys.modules[name]
        file = self.folder / "named.json"
        file.write_text(json.dumps({"graphs": {name: f"./shop.py:{name}" for name in names}}), "utf-8")
        return self.command("reconcile", *options, "--graphs", str(file), "--dsn", self.database.auditor)

    def accept(self, *options: str) -> Result:
        """Let writes go on, as ana."""
        dsn = self.database.approver("ana")
        return self.command("accept-restore", "--comment", "named", *options, "--dsn", dsn)

    def recorded(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return facts and body of the newest entry of the tenant's own chain."""
        with LedgerConnection(self.database.auditor) as auditor:
            *_, last = auditor.entries(auditor.ask(FindTenantChain()).run_id)
        return orjson.loads(last.facts), orjson.loads(last.body)


@pytest.fixture
def shop(command: Command, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A shop on a database of its own."""
    publish_policy(database.admin, Policy.parse(POLICY, source="control.yaml"))
    (tmp_path / "shop.py").write_text(AGENT.format(policy=POLICY, dsn=database.agent), "utf-8")
    (tmp_path / "all.json").write_text('{"graphs": {"paying": "./shop.py:paying"}}', "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    load_graphs(tmp_path / "all.json")
    place = str(tmp_path / "shop.py")
    agent: Any = next(one for one in sys.modules.values() if getattr(one, "__file__", "") == place)
    with agent.control:
        yield Shop(agent=agent, database=database, command=command, folder=tmp_path)


def refused(shop: Shop) -> bool:
    """Whether writes are kept from going on."""
    said = shop.accept()
    return said.exit_code != 0 and "not_reconciled" in said.output


def test_a_graph_that_the_file_does_not_name_is_missed(shop: Shop) -> None:
    """A file with another graph asks nobody: it says so, with the graph, and writes stand still."""
    shop.run("paying")
    shop.lose("pay")
    said = shop.reconcile("shipping")
    assert (said.exit_code, "OK" in said.stdout) == (4, False)
    assert "Graph not named: paying, 1 run" in said.stdout
    assert "Everything was looked at" not in said.stderr
    facts, body = shop.recorded()
    assert (facts["outside"], facts["asked"], facts["no_graph"]) == (False, 0, 1)
    assert body == {"graphs": ["paying"]}
    assert refused(shop)
    assert incomplete_entries(shop.database, "record") == []
    assert shop.reconcile("paying").exit_code == 1
    assert shop.accept().exit_code == 0


def test_a_system_that_cannot_be_asked_is_missed(shop: Shop) -> None:
    """A hook that raises is no answer: the system is named, and writes stand still until it has been asked."""
    shop.run("paying")
    down = shop.down("pay")
    said = shop.reconcile("paying")
    assert (said.exit_code, "OK" in said.stdout) == (4, False)
    assert "0 actions looked up in their systems" in said.stdout
    assert "Could not be asked: bank, 1 action" in said.stdout
    assert "Everything was looked at" not in said.stderr
    facts, body = shop.recorded()
    assert (facts["outside"], facts["asked"], facts["unanswered"]) == (False, 0, 1)
    assert body == {"systems": ["bank"]}
    assert refused(shop)
    down.unlink()
    assert shop.reconcile("paying").exit_code == 0
    assert shop.recorded()[0]["outside"] is True
    assert shop.accept().exit_code == 0


def test_what_was_asked_and_what_was_not_are_told_apart(shop: Shop) -> None:
    """One system has lost something and one is down: both are named, and what differs decides the exit code."""
    shop.run("paying", "shipping")
    shop.lose("pay")
    shop.down("ship")
    said = shop.reconcile("paying", "shipping")
    assert said.exit_code == 1
    assert "entry_without_effect" in said.stdout
    assert "1 action looked up in their systems" in said.stdout
    assert "Could not be asked: depot, 1 action" in said.stdout
    assert refused(shop)
    told = json.loads(shop.reconcile("paying", "shipping", options=("--json",)).stdout)
    assert (told["ok"], told["outside"], told["asked"]) == (False, False, 1)
    assert (told["unanswered"], told["no_graph"]) == ({"depot": 1}, {})
    assert shop.reconcile("shipping", options=("ticket/shipping",)).exit_code == 4


def test_what_can_be_looked_up_by_hand_only_is_named_and_stops_nothing(shop: Shop) -> None:
    """No find, one that cannot tell, and one that needs what was redacted: each named; they alone stop nothing."""
    shop.run("quiet")
    said = shop.reconcile("quiet")
    assert said.exit_code == 0
    assert "0 actions looked up in their systems" in said.stdout
    assert "Cannot tell: mute, 1 action" in said.stdout
    assert "No find: jot, 1 action" in said.stdout
    assert "No arguments: lock, 1 action" in said.stdout
    facts, _ = shop.recorded()
    assert (facts["outside"], facts["unclear"], facts["no_find"], facts["no_arguments"]) == (True, 1, 1, 1)
    assert shop.accept().exit_code == 0


def test_a_tool_that_no_named_graph_has_is_missed(shop: Shop) -> None:
    """A graph of the right name that lacks the tool is not the one that did it."""
    shop.run("paying")
    source = shop.folder / "shop.py"
    source.write_text(source.read_text("utf-8").replace('does("paying", "pay")', 'does("paying", "ship")'), "utf-8")
    said = shop.reconcile("paying")
    assert said.exit_code == 4
    assert "In no named graph: pay, 1 action" in said.stdout
    assert refused(shop)


def test_one_run_alone_says_what_was_not_asked(shop: Shop) -> None:
    """Also where it is about one run, an unanswered question is not an OK."""
    shop.run("paying")
    shop.down("pay")
    assert shop.reconcile("paying", options=("ticket/paying",)).exit_code == 4
    assert shop.accept("--unreconciled", str(waiting(shop))).exit_code == 0


def test_the_ledger_itself_holds_the_shortfall_against_it(shop: Shop) -> None:
    """What counts is no word of the client's alone: a reconciliation that says what it missed opens nothing."""
    shop.run("paying")
    said = RecordReconciliation(
        restore=waiting(shop),
        outside=True,
        requests=1,
        runs=1,
        actions=1,
        entries=4,
        asked=0,
        unanswered=1,
        open=0,
        differences=0,
    )
    with LedgerConnection(shop.database.auditor) as auditor:
        assert not auditor.ask(said)
        assert not auditor.ask(replace(said, unanswered=0, no_tool=1))
        assert not auditor.ask(replace(said, unanswered=0, no_graph=1))
        assert refused(shop)
        assert auditor.ask(replace(said, unanswered=0, no_find=1, no_arguments=1, unclear=1))
    assert shop.accept().exit_code == 0


def waiting(shop: Shop) -> int:
    """Return the entry of the restore that waits."""
    with LedgerConnection(shop.database.auditor) as auditor:
        restore = auditor.ask(FindRestore())
    assert restore is not None
    return restore.place


def test_arguments_that_were_erased_are_named(shop: Shop) -> None:
    """An action whose payload is gone cannot be looked up; that it was not is said."""
    shop.run("paying")
    tamper(shop.database, "UPDATE control.entry SET payload = NULL, salt = NULL WHERE payload IS NOT NULL")
    said = shop.reconcile("paying")
    assert "No arguments: pay, 1 action" in said.stdout
    assert "0 actions looked up" in said.stdout
