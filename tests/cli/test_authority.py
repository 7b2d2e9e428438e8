"""``edit``, ``withdraw``, ``delegate``, ``break-glass`` and ``review`` on approvers' own logins."""

import json
from uuid import UUID

import pytest

from langgraph_control import Control, Policy
from langgraph_control.audit.asking.publishing import publish_policy
from tests.cli.conftest import Command
from tests.support.desk import Desk, new_trigger
from tests.support.postgres import Database
from tests.support.trails import TrailWriter


@pytest.fixture
def request_name(trail: TrailWriter) -> str:
    """An open request, as the inbox names it."""
    _, claimed = trail.claim(trail.open(), verb="approve")
    assert isinstance(claimed.approval_id, UUID)
    return f"apr_{claimed.approval_id.hex}"


def test_a_yes_and_its_withdrawal(command: Command, trail: TrailWriter, request_name: str) -> None:
    """Taken back, the request is in the inbox again."""
    ana = trail.database.approver("ana")
    command("approve", request_name, "--dsn", ana)
    taken = command("withdraw", request_name, "--comment", "too fast", "--dsn", ana)
    assert taken.stdout == f"Taken back: {request_name}; 0 yes left.\n"
    assert request_name in command("inbox", "--dsn", ana).stdout


def test_an_edit(command: Command, trail: TrailWriter, request_name: str) -> None:
    """JSON values and plain text; what is neither a name nor a value is refused before anything is sent."""
    ana = trail.database.approver("ana")
    said = command("edit", request_name, "amount=12.50", "note=only shipping", "--dsn", ana).stdout
    assert said.startswith(f"Changed: {request_name}.")
    refused = command("edit", request_name, "amount", "--dsn", ana)
    assert (refused.exit_code, "edit_form" in refused.output) == (1, True)


def test_an_edit_and_a_withdrawal_as_json(command: Command, trail: TrailWriter, request_name: str) -> None:
    """What came of them, as data."""
    ana = trail.database.approver("ana")
    edited = json.loads(command("edit", request_name, "amount=12.50", "--json", "--dsn", ana).stdout)
    assert (edited["approval"], edited["changes"]) == (request_name, {"amount": "12.50"})
    command("approve", request_name, "--dsn", trail.database.approver("bo"))
    taken = json.loads(command("withdraw", request_name, "--json", "--dsn", trail.database.approver("bo")).stdout)
    assert (taken["approval"], taken["answer"], taken["votes"]) == (request_name, "open", 0)


def test_a_delegation_as_json(command: Command, trail: TrailWriter) -> None:
    """Its id is what ends it."""
    ana = trail.database.approver("ana")
    given = json.loads(command("delegate", "dora@acme.example", "--for", "3d", "--json", "--dsn", ana).stdout)
    assert (given["to_person"], given["role"]) == ("dora@acme.example", None)
    ended = json.loads(command("revoke", given["delegation"], "--json", "--dsn", ana).stdout)
    assert ended == {"delegation": given["delegation"], "ended": True}


EMERGENCIES = """\
version: 1
roles: {finance: [ana@acme.example], oncall: [bo@acme.example]}
owner: finance
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 1000}}, then: approve, by: finance, break_glass: oncall}
"""


def test_an_emergency_and_its_review_as_json(command: Command, database: Database) -> None:
    """What came of them, as data."""
    policy = Policy.parse(EMERGENCIES, source="control.yaml")
    publish_policy(database.admin, policy)
    with Control(policy, dsn=database.agent) as control:
        desk = Desk(database=database, control=control)
        (name,) = desk.run(desk.refunding(500), trigger=new_trigger()).approvals
        other = desk.run(desk.refunding(501), trigger=new_trigger()).approvals[0]
    bo, ana = database.approver("bo"), database.approver("ana")
    shown = command("break-glass", other, "--comment", "outage", "--dsn", bo).stdout
    assert shown.index("amount = 501") < shown.index(f"Approved alone: {other}.")
    command("review", other, "--dsn", ana)
    broken = json.loads(command("break-glass", name, "--comment", "outage", "--json", "--dsn", bo).stdout)
    assert (broken["approval"], broken["answer"]) == (name, "granted")
    (row,) = json.loads(command("reviews", "--json", "--dsn", ana).stdout)
    assert (row["approval"], row["tool"], row["in_review"]) == (name, "refund", True)
    assert row["card"]["what"]["arguments"]["amount"] == "500"
    reviewed = json.loads(command("review", name, "--json", "--dsn", ana).stdout)
    assert reviewed == {"approval": name, "finding": "accepted"}
    assert json.loads(command("reviews", "--json", "--dsn", ana).stdout) == []


def test_a_rejection_with_a_reason(command: Command, trail: TrailWriter, request_name: str) -> None:
    """The reason is one of a few words; another is refused and named."""
    bo = trail.database.approver("bo")
    refused = command("reject", request_name, "--code", "because", "--dsn", bo)
    assert (refused.exit_code, "wrong_amount" in refused.output) == (1, True)
    assert command("reject", request_name, "--code", "not_needed", "--dsn", bo).exit_code == 0


def test_standing_in(command: Command, trail: TrailWriter) -> None:
    """Given for a time, listed, and ended by who gave it."""
    ana = trail.database.approver("ana")
    given = command("delegate", "dora@acme.example", "--for", "3d", "--role", "finance", "--dsn", ana)
    assert given.exit_code == 0, given.output
    (listed,) = json.loads(command("delegations", "--json", "--dsn", ana).stdout)
    assert (listed["from_person"], listed["to_person"], listed["role"]) == (
        "ana@acme.example",
        "dora@acme.example",
        "finance",
    )
    assert "dora@acme.example for ana@acme.example" in command("delegations", "--dsn", ana).stdout
    assert command("revoke", listed["delegation_id"], "--dsn", ana).stdout == "Ended.\n"
    assert command("delegations", "--dsn", ana).stdout == "Nobody stands in for anybody.\n"


def test_an_emergency_that_the_policy_knows_none_of(command: Command, trail: TrailWriter, request_name: str) -> None:
    """Refused with what to do; nothing is to be reviewed."""
    ana = trail.database.approver("ana")
    refused = command("break-glass", request_name, "--comment", "outage", "--dsn", ana)
    assert (refused.exit_code, "no_break_glass" in refused.output) == (1, True)
    assert command("reviews", "--dsn", ana).stdout == "Nothing is to be reviewed.\n"
    assert json.loads(command("reviews", "--json", "--dsn", ana).stdout) == []
    assert command("review", request_name, "--dsn", ana).exit_code == 1
