"""A policy file that changes while processes run: what is noticed, what is taken, and what stays in force."""

import asyncio
import logging
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from langgraph_control import Control, Policy, Run, reads, writes
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.errors import PolicyError, TrailUnavailable
from langgraph_control.graphs.policies import Policies
from tests.support.desk import GO, How, told
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls
from tests.support.waiting import until
from tests.support.workshop import AGENT, Workshop, order

FIRST = """\
version: 1
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 100}}, then: allow}
"""
SECOND = FIRST.replace("100", "500")
WRONG = FIRST.replace("then: allow", "then: alow")
UNBOUNDED = FIRST.replace("when: {amount: {gt: 0, lte: 100}}, ", "")


class Shop:
    """A Control whose policy is a file, and an admin who publishes."""

    def __init__(self, database: Database, file: Path) -> None:
        self.database = database
        self.file = file
        self.write(FIRST)
        self.publish(FIRST)
        self.control = Control(file, dsn=database.agent)
        self.done: list[str] = []

    def write(self, text: str) -> None:
        """Put a new file in the old one's place, as editors and deployments do."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    def publish(self, text: str) -> None:
        """Publish a policy."""
        publish_policy(self.database.admin, Policy.parse(text, source=self.file.name))

    def graph(self, amount: str = "300", *, asks: bool = False) -> Any:
        """Return a bound agent that refunds an amount, after a question of its own if it asks one."""

        @writes(key="order_id", impact="money")
        def refund(order_id: str, amount: Decimal) -> str:
            """Refund an order."""
            self.done.append(f"{order_id}:{amount}")
            return f"refunded {amount}"

        @reads()
        def ask_back() -> str:
            """Ask the user."""
            return str(interrupt("Which order?"))

        asked = [calls(call("ask_back", call_id="call_0"))] if asks else []
        refunding = calls(call("refund", order_id="o1", amount=amount, call_id="call_1"))
        model = ScriptedModel(script=(*asked, refunding, "done") * 9)
        tools = self.control.govern([refund, ask_back])
        return self.control.bind(create_agent(model, tools), name="shop")

    def run(self, graph: Any, how: How, trigger: str) -> Run:
        """Run a graph in one of the two ways."""
        if how == "sync":
            return self.control.run(graph, GO, trigger=trigger, actor="bot")
        return asyncio.run(self.control.arun(graph, GO, trigger=trigger, actor="bot"))

    def reload(self, how: How) -> Policy:
        """Reload in one of the two ways."""
        return self.control.reload() if how == "sync" else asyncio.run(self.control.areload())


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Iterator[Shop]:
    """A shop that is closed at the end."""
    made = Shop(database, tmp_path / "control.yaml")
    with made.control:
        yield made


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="langgraph_control.policy")


def test_a_published_change_decides_from_the_next_run_on(shop: Shop, how: How, trigger: str) -> None:
    """Tools that were governed and bound under the old file are decided by the new one, without a restart."""
    graph = shop.graph()
    assert told(shop.run(graph, how, trigger))[0].startswith("refund was not done")
    shop.publish(SECOND)
    shop.write(SECOND)
    assert told(shop.run(graph, how, f"{trigger}/2")) == ["refunded 300"]
    assert shop.control.policy.text == SECOND


def test_an_unpublished_change_is_not_taken_until_it_is_published(
    shop: Shop, how: How, trigger: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody published stays out, said once with the remedy; once it is published the next run takes it."""
    graph = shop.graph()
    shop.write(SECOND)
    for number in range(3):
        assert told(shop.run(graph, how, f"{trigger}/{number}"))[0].startswith("refund was not done")
    (said,) = [record.getMessage() for record in caplog.records]
    assert "is not published" in said
    assert "langgraph-control policy publish control.yaml" in said
    assert "stays in force" in said
    shop.publish(SECOND)
    assert told(shop.run(graph, how, f"{trigger}/9")) == ["refunded 300"]


BAD = [(WRONG, "control.yaml:3 rules[0].then"), (UNBOUNDED, "rules[0] control.yaml:3"), (None, "cannot be read")]


@pytest.mark.parametrize("bad", BAD, ids=["wrong", "unbounded", "gone"])
def test_a_bad_file_never_takes_a_good_ones_place(
    shop: Shop, how: How, trigger: str, caplog: pytest.LogCaptureFixture, bad: tuple[str | None, str]
) -> None:
    """A file that is wrong, unbounded for money or gone is spoken of once; the good one goes on deciding."""
    text, words = bad
    graph = shop.graph("50")
    if text is None:
        shop.file.unlink()
    else:
        shop.write(text)
    for number in range(3):
        assert told(shop.run(graph, how, f"{trigger}/{number}")) == ["refunded 50"]
    (said,) = [record.getMessage() for record in caplog.records]
    assert words in said
    assert f"hash {shop.control.policy.hash[:12]}" in said
    shop.publish(SECOND)
    shop.write(SECOND)
    shop.run(graph, how, f"{trigger}/9")
    assert shop.control.policy.text == SECOND


def test_a_run_keeps_the_policy_it_was_taken_with(shop: Shop, how: How, trigger: str) -> None:
    """While a run is driven its policy stays; when it is taken again, the newer one decides."""
    graph = shop.graph(asks=True)
    run = shop.run(graph, how, trigger)
    assert run.reason == "question"
    shop.publish(SECOND)
    shop.write(SECOND)
    answers = dict.fromkeys(run.questions, "o1")
    run = shop.control.resume(run.id, answers) if how == "sync" else asyncio.run(shop.control.aresume(run.id, answers))
    assert (run.state, shop.done) == (RunState.DONE, ["o1:300"])


def test_a_change_in_mid_drive_waits_for_the_next_one(shop: Shop, how: How, trigger: str) -> None:
    """A file that is published and changed while a run is driven does not decide about that drive's later calls."""

    def changing(state: Any) -> dict[str, Any]:
        shop.publish(SECOND)
        shop.write(SECOND)
        shop.control.reload()
        return {}

    builder: Any = StateGraph(MessagesState)
    builder.add_sequence([("change", changing), ("agent", shop.graph())])
    builder.add_edge(START, "change")
    run = shop.run(shop.control.bind(builder.compile(), name="outer"), how, trigger)
    assert told(run)[0].startswith("refund was not done")
    assert shop.control.policy.text == SECOND


def test_reloading_says_what_is_wrong(shop: Shop, how: How) -> None:
    """`reload` takes a published change at once, and raises where the file cannot be taken."""
    assert shop.reload(how).text == FIRST
    shop.write(WRONG)
    with pytest.raises(PolicyError, match=r"control\.yaml:3"):
        shop.reload(how)
    shop.write(SECOND)
    with pytest.raises(PolicyError) as refused:
        shop.reload(how)
    assert refused.value.code == "policy_unpublished"
    shop.publish(SECOND)
    assert shop.reload(how).text == SECOND


def test_tools_governed_later_are_held_against_the_policy_in_force(shop: Shop) -> None:
    """A change that tools known so far allow can still be refused for a tool that is governed under it."""
    loose = FIRST + "  - {tool: pay, then: allow}\n"
    shop.publish(loose)
    shop.write(loose)
    shop.control.reload()

    @writes(key="order_id", impact="money")
    def pay(order_id: str) -> str:
        """Pay an order."""
        return order_id

    with pytest.raises(PolicyError) as refused:
        shop.control.govern([pay])
    assert refused.value.code == "policy_money_unbounded"


def test_a_policy_that_was_read_by_the_caller_has_no_file(database: Database) -> None:
    """Without a file there is nothing to reload: what was given stays in force."""
    policy = Policy.parse(FIRST, source="control.yaml")
    publish_policy(database.admin, policy)
    with Control(policy, dsn=database.agent) as control:
        assert control.reload() is policy


def test_a_worker_takes_a_changed_file_with_its_next_run(database: Database, tmp_path: Path, trigger: str) -> None:
    """A worker that goes on working decides its next run by the file that was changed and published meanwhile."""
    file = tmp_path / "control.yaml"
    file.write_text(FIRST)
    publish_policy(database.admin, Policy.parse(FIRST, source="control.yaml"))
    workshop = Workshop.at(tmp_path, database)
    agent = AGENT.replace("from tests.support.desk import POLICY\n", f"POLICY = {str(file)!r}\n")
    workshop.put("workshop.py", agent.format(effects=str(workshop.effects), name="workshop"))
    with Control(file, dsn=database.agent) as client, workshop.worker() as worker:

        def driven(number: int) -> Run:
            run = client.submit("workshop", order(number, amount="300"), trigger=f"{trigger}/{number}", actor="bot")
            until(lambda: client.get(run.id).state in {RunState.DONE, RunState.BLOCKED}, seconds=20)
            return client.get(run.id)

        assert (driven(1).state, workshop.effects.exists()) == (RunState.BLOCKED, False)  # refused to a plain caller
        publish_policy(database.admin, Policy.parse(SECOND, source="control.yaml"))
        file.write_text(SECOND)
        assert (driven(2).state, workshop.effects.exists()) == (RunState.DONE, True)
        assert "control.yaml: in force now" in worker.lines


def test_a_development_server_publishes_what_was_changed(
    tmp_path: Path, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `Control.local` a changed file is published by itself, and taken."""
    monkeypatch.setenv("LANGGRAPH_CONTROL_DATA", str(server_folder))
    file = tmp_path / "control.yaml"
    file.write_text(FIRST)
    with Control.local(file) as control:
        file.write_text(SECOND)
        assert control.reload().text == SECOND


def test_what_could_not_be_published_is_read_again(tmp_path: Path) -> None:
    """A development server that is away for a moment loses no change: the next look publishes it."""
    file = tmp_path / "control.yaml"
    file.write_text(FIRST)
    policies = Policies.of(file)
    published: list[str] = []

    def away(policy: Policy) -> None:
        published.append(policy.text)
        if len(published) == 1:
            raise TrailUnavailable("The server is away.")

    policies.publish = away
    file.write_text(SECOND)
    with pytest.raises(TrailUnavailable):
        policies.changed()
    changed = policies.changed()
    assert changed is not None
    assert (changed.text, policies.changed(), published) == (SECOND, changed, [SECOND, SECOND])
