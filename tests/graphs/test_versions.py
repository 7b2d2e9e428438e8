"""Which version of an agent asked and drove: on record, on the card, and in no decision."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from langchain.agents import create_agent

from langgraph_control import Approvals, Run
from langgraph_control.audit.asking.requests import RunEntries
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.reconstruct import reconstruct
from langgraph_control.errors import GraphRefused
from tests.support.desk import Desk, How, new_trigger, publish, told
from tests.support.front_desk import FrontDesk
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls


@pytest.fixture(scope="module")
def desk(shared_database: Database) -> Iterator[Desk]:
    """A desk whose policy is published."""
    publish(shared_database)
    made = Desk.on(shared_database)
    with made.control:
        yield made


def asking(desk: Desk, version: str | None) -> Any:
    """An agent of a version that asks for a refund."""
    asked = calls(call("refund", order_id="o1", amount="500", call_id="c"))
    agent = create_agent(ScriptedModel(script=(asked, "done")), desk.tools())
    return desk.control.bind(agent, name="support", version=version)


def story(desk: Desk, run: Run) -> Any:
    """What the record tells of a run."""
    with LedgerConnection(desk.database.agent) as ledger:
        rows = ledger.ask(RunEntries(run_id=run_id(run.id), after=0, limit=1000))
    return reconstruct([Entry.of(row) for row in rows])


def who(desk: Desk, run: Run) -> Any:
    """Who asks, as the run's only request shows it."""
    with Approvals(desk.database.approver("ana")) as approvals:
        return orjson.loads(approvals.get(run.approvals[0]).card)["who"]


@pytest.mark.parametrize("how", ["sync", "async"])
def test_each_version_that_drove_is_on_record(desk: Desk, how: How) -> None:
    """The one that asked is on the card, the one that went on beside it in the story; a grant outlives a release."""
    run = desk.run(asking(desk, "2.4.1"), how, trigger=new_trigger())
    assert who(desk, run) == {"actor": "support-bot", "on_behalf_of": None, "version": "2.4.1"}
    desk.approve(run.approvals)
    asking(desk, "2.5.0")
    run = desk.resume(run, how)
    assert set(told(run)) == {"refunded 500"}
    found = story(desk, run)
    assert found.versions == ("2.4.1", "2.5.0")
    said = [step.what for step in found.steps]
    assert "the run started, version 2.4.1 of the agent" in said
    assert "the run went on, version 2.5.0 of the agent" in said


def test_without_a_version_nothing_is_made_up(desk: Desk) -> None:
    """A graph bound without one leaves it out, also where an earlier graph of the name had one."""
    asking(desk, "2.4.1")
    run = desk.run(asking(desk, None), trigger=new_trigger())
    assert who(desk, run) == {"actor": "support-bot", "on_behalf_of": None}
    assert story(desk, run).versions == ()


def test_a_graph_keeps_the_version_it_was_bound_with(desk: Desk) -> None:
    """Where two graphs are bound under one name, each run says which one drove it."""
    older, _ = asking(desk, "1"), asking(desk, "2")
    assert who(desk, desk.run(older, trigger=new_trigger()))["version"] == "1"


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_served_graph_has_its_version(desk: Desk, how: How) -> None:
    """Under a front end's own server the version is recorded with each of its runs."""
    asked = calls(call("refund", order_id="o1", amount="500", call_id="c"))
    agent = create_agent(ScriptedModel(script=(asked, "done")), desk.tools())
    front = FrontDesk.of(desk, agent, how, version="3")
    run = front.start(new_trigger())
    assert who(desk, run)["version"] == "3"
    assert story(desk, run).versions == ("3",)


@pytest.mark.parametrize("version", ["", "  ", "x" * 129, "1\n2", "\x1b[31m", 7])
def test_what_is_no_version_is_refused(desk: Desk, version: Any) -> None:
    """A version is a short text on one line."""
    with pytest.raises(GraphRefused) as refused:
        asking(desk, version)
    assert refused.value.code == "graph_version_invalid"
