"""What the gate makes of each decision of a policy: who is told what, and what is on record."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from langgraph_control import Approvals, Control, Policy, Run
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_id
from langgraph_control.cli import app
from tests.support.desk import Desk, How, told
from tests.support.postgres import Database

ENFORCED = """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example], fraud: [cy@acme.example]}
owner: finance
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 100}}, then: allow}
  - {tool: refund, when: {amount: {gt: 100, lte: 5000}}, then: approve, by: finance}
  - {tool: refund, when: {amount: {eq: 7}}, then: ask, question: Which seven?}
  - {tool: refund, when: {amount: {eq: 13}}, then: escalate, to: fraud}
  - {tool: refund, when: {amount: {eq: 21}}, then: dry_run}
  - {tool: refund, when: {amount: {gt: 5000}}, then: deny}
"""
OBSERVED = ENFORCED.replace("version: 1\n", "version: 1\nmode: observe\n")


def desk_with(database: Database, text: str) -> Iterator[Desk]:
    """A desk under a policy of its own, which is the published one."""
    policy = Policy.parse(text, source="control.yaml")
    publish_policy(database.admin, policy)
    with Control(policy, dsn=database.agent) as control:
        yield Desk(database=database, control=control)


@pytest.fixture
def desk(shared_database: Database) -> Iterator[Desk]:
    """A desk whose policy is enforced."""
    yield from desk_with(shared_database, ENFORCED)


@pytest.fixture
def observing(shared_database: Database) -> Iterator[Desk]:
    """A desk whose policy only observes."""
    yield from desk_with(shared_database, OBSERVED)


def decided(desk: Desk, run: Run) -> dict[str, Any]:
    """Return the body of the entry that holds the decision."""
    with LedgerConnection(desk.database.auditor) as auditor:
        bodies = [orjson.loads(entry.body) for entry in auditor.entries(run_id(run.id))]
    return next(body for body in bodies if "reasons" in body)


def test_a_question_waits_for_the_user(desk: Desk, how: How, trigger: str) -> None:
    """With `then: ask` nothing is done; the run waits, and the question is on record with all rules that matched."""
    run = desk.run(desk.refunding(7), how, trigger=trigger)
    assert (run.state, run.reason, desk.done) == (RunState.WAITING, "ask", [])
    body = decided(desk, run)
    assert body["question"] == "Which seven?"
    assert body["rules"] == ["rules[2] control.yaml:7"]
    assert body["also"] == ["rules[0] control.yaml:5: allow"]
    assert body["signals"] == {"risk.radius": "large"}


def test_an_escalated_write_waits_for_a_person(desk: Desk, how: How, trigger: str) -> None:
    """With `then: escalate` nothing is done; the run needs a human, and the owner is on record."""
    run = desk.run(desk.refunding(13), how, trigger=trigger)
    assert (run.state, run.reason, desk.done) == (RunState.NEEDS_HUMAN, "escalate", [])
    assert decided(desk, run)["owner"] == "fraud"


def test_a_dry_run_does_nothing_and_says_so(desk: Desk, how: How, trigger: str) -> None:
    """With `then: dry_run` the tool is not called and the model is told why; the run ends."""
    run = desk.run(desk.refunding(21), how, trigger=trigger)
    assert (run.state, desk.done) == (RunState.DONE, [])
    (text,) = told(run)
    assert text.startswith("refund was not done: this is a dry run, and nothing was changed. ")
    assert text.endswith("rules[4] control.yaml:9 says dry_run.")


@pytest.mark.parametrize(("amount", "would"), [(500, "approve"), (9000, "deny"), (13, "escalate")])
def test_what_is_observed_runs_and_is_on_record(
    observing: Desk, how: How, trigger: str, amount: int, would: str
) -> None:
    """In observe mode the tool runs; the entry says loudly what would have been decided, and by which rules."""
    run = observing.run(observing.refunding(amount), how, trigger=trigger)
    assert (run.state, observing.done) == (RunState.DONE, [f"o0:{amount}"])
    body = decided(observing, run)
    assert body["observed"] == would
    assert body["reasons"][0].startswith(f"OBSERVE: the policy would say {would}")


def test_a_process_that_observes_says_so_once(observing: Desk, caplog: pytest.LogCaptureFixture, trigger: str) -> None:
    """Before it first speaks to the ledger, one line of its log says that no rule is enforced; show says it, too."""
    with Control(observing.control.policy, dsn=observing.database.agent) as control, caplog.at_level("WARNING"):
        again = Desk(database=observing.database, control=control)
        run = again.run(again.refunding(500), trigger=trigger)
        control.get(run.id)
    said = [record.getMessage() for record in caplog.records if "OBSERVE" in record.getMessage()]
    (line,) = said
    assert line.startswith(f"OBSERVE: the policy {control.policy.source} is not enforced (mode: observe).")
    shown = CliRunner().invoke(app, ["show", run.id, "--dsn", observing.database.auditor]).stdout
    assert "OBSERVE the policy was not enforced (mode: observe); decisions only recorded: 1" in " ".join(shown.split())


def test_an_enforced_policy_is_not_called_observing(desk: Desk, caplog: pytest.LogCaptureFixture, trigger: str) -> None:
    """Where rules are enforced nothing says otherwise."""
    with caplog.at_level("WARNING"):
        run = desk.run(desk.refunding(50), trigger=trigger)
    assert not [record for record in caplog.records if "OBSERVE" in record.getMessage()]
    assert "OBSERVE" not in CliRunner().invoke(app, ["show", run.id, "--dsn", desk.database.auditor]).stdout


def test_an_agent_cannot_observe_away_the_published_floor(desk: Desk, trigger: str) -> None:
    """A process whose own file only observes still meets the floor of the policy that was published last."""
    strict = Policy.parse(
        "version: 1\nroles: {finance: [ana@acme.example]}\nrules: [{tool: refund, then: approve, by: finance}]",
        source="strict.yaml",
    )
    lax = Policy.parse(strict.text.replace("version: 1", "version: 1\nmode: observe"), source="lax.yaml")
    publish_policy(desk.database.admin, lax)
    publish_policy(desk.database.admin, strict)
    with Control(lax, dsn=desk.database.agent) as control:
        sly = Desk(database=desk.database, control=control)
        run = sly.run(sly.refunding(50), trigger=trigger)
    assert (run.state, sly.done) == (RunState.NEEDS_APPROVAL, [])
    with Approvals(desk.database.approver("ana")) as approvals:
        card = orjson.loads(approvals.get(run.approvals[0]).card)
    assert card["why"]["reasons"][0].startswith("OBSERVE: the policy would say")
