"""`card` shows one request with everything: what its run had read, and what was asked about the record before."""

import json
from typing import Any

import orjson
import pytest

from langgraph_control import Control, Policy
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.names import approval_name
from langgraph_control.audit.postgres.logins import add_login
from tests.cli.conftest import Command
from tests.support.desk import Desk, new_trigger
from tests.support.postgres import Database
from tests.support.trails import FINANCE, FOR_FINANCE_ALONE, OpenRun, TrailWriter

TWO = """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example]}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 1000}}, then: approve, by: {finance: 2}}
"""
HOSTILE = "\x1b[2Jinvoice\u202e 17"


def asked(trail: TrailWriter, run: OpenRun, **changes: Any) -> str:
    """Ask for the refund, and return the request's name."""
    _, claimed = trail.claim(run, verb="approve", **changes)
    assert claimed.approval_id is not None
    return approval_name(claimed.approval_id)


@pytest.fixture
def known(trail: TrailWriter) -> str:
    """A request on a record that was asked about before, by a run that has read."""
    earlier = asked(trail, trail.open("ticket/1"))
    trail.vote(earlier.removeprefix("apr_"), decision="reject")  # type: ignore[arg-type]
    unasked = trail.open("ticket/0")
    claim, _ = trail.claim(unasked)
    trail.settle(unasked, claim)
    run = trail.open("ticket/2")
    trail.observe(run)
    return asked(trail, run)


def test_everything(command: Command, trail: TrailWriter, known: str) -> None:
    """Beside what the inbox shows it lists reads and earlier requests, and says what happens if nobody answers."""
    shown = command("card", known, "--dsn", trail.database.approver("ana")).stdout
    for said in (
        f"{known}: open",
        "invoice = 17",
        "it is denied",
        "Read before it asked, newest first\n",
        "find_invoice",
        "refund, denied, write denied, ticket/1",
        "ana@acme.example:reject",
        "Done to this record without asking, in that time",
        "refund, succeeded, ticket/0, by support-agent, run_",
    ):
        assert said in " ".join(shown.split()) or said in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_as_json(command: Command, trail: TrailWriter, known: str) -> None:
    """The same as data, also of a request that is closed."""
    ana = trail.database.approver("ana")
    command("approve", known, "--dsn", ana)
    shown = json.loads(command("card", known, "--json", "--dsn", ana).stdout)
    assert (shown["approval"], shown["state"]) == (known, "granted")
    assert [one["tool"] for one in shown["evidence"]["reads"]] == ["find_invoice"]
    assert [(one["tool"], one["state"]) for one in shown["evidence"]["earlier"]] == [("refund", "denied")]
    assert [one["intent"] for one in shown["evidence"]["writes"]] == ["ticket/0"]


def test_others_are_asked(command: Command, trail: TrailWriter) -> None:
    """Where the request goes to others, it says to whom and for how long."""
    requirement = {**FINANCE.canonical(), "on_expiry": {"escalate": {"board": 2}, "within_seconds": 7200}}
    name = asked(trail, trail.open(), requirement=requirement)
    shown = command("card", name, "--dsn", trail.database.approver("ana")).stdout
    assert "2 of board are asked, within 2:00:00" in shown


def test_hostile_text(command: Command, trail: TrailWriter) -> None:
    """Names that hold what a terminal obeys or hides are shown as what they are."""
    card = orjson.dumps({"what": {"operation": HOSTILE}, "where": {"target": HOSTILE, "link": HOSTILE}})
    name = asked(trail, trail.open(), card=card)
    shown = command("card", name, "--dsn", trail.database.approver("ana")).stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "invoice<U+202E> 17" in shown
    assert "<U+001B>[2J" in shown


def test_none(command: Command, trail: TrailWriter) -> None:
    """A request that is not there is said, and so is a name that is none."""
    ana = trail.database.approver("ana")
    assert "Code:  unknown_request" in command("card", f"apr_{'0' * 32}", "--dsn", ana).stderr
    assert command("card", "apr_1", "--dsn", ana).exit_code == 1


def test_what_is_for_a_role_alone_is_shown_to_its_people(command: Command, trail: TrailWriter) -> None:
    """Ana of finance reads the account here and where she votes; others read marks, and who sees more."""
    name, database = asked(trail, trail.open("ticket/1"), card=FOR_FINANCE_ALONE), trail.database
    seen = {
        "ana": command("card", name, "--dsn", database.approver("ana")).stdout,
        "cy": command("card", name, "--dsn", database.approver("cy")).stdout,
        "named": command("card", name, "--as", "ana@acme.example", "--dsn", database.local_approver).stdout,
        "nobody": command("card", name, "--dsn", database.local_approver).stdout,
        "voting": command("approve", name, "--dsn", database.approver("ana")).stdout,
    }
    assert all("is shown to finance alone" in shown for shown in seen.values())
    assert {who for who, shown in seen.items() if "DE77-1 -> DE77-9" in shown} == {"ana", "named", "voting"}
    data = json.loads(command("card", name, "--json", "--dsn", database.approver("ana")).stdout)["card"]
    assert (data["what"]["arguments"]["iban"], data["opened"], data["by_role"]) == ("DE77-9", ["iban"], ["finance"])


def test_what_changed_since(command: Command, desk: Desk, trigger: str) -> None:
    """A request in the place of another one says what changed since, in words and as data."""
    graph, ana = desk.refunding(500), desk.database.approver("ana")
    run = desk.run(graph, trigger=trigger)
    assert command("edit", run.approvals[0], "amount=300", "--dsn", ana).exit_code == 0
    (name,) = desk.run(graph, trigger=trigger).approvals
    shown = command("card", name, "--dsn", ana).stdout
    assert "Changed since the request before it" in shown
    assert "500 -> 300" in shown
    changed = json.loads(command("card", name, "--json", "--dsn", ana).stdout)["changed_since"]
    assert changed == [{"what": "argument amount", "before": "500", "after": "300"}]


def test_an_edit_by_a_stand_in_names_both(command: Command, desk: Desk, trigger: str) -> None:
    """On the card, and as data, it is said for whom somebody changed the arguments."""
    add_login(desk.database.admin, "test_approver_di", role="approver", person="di@acme.example", create=True)
    (name,) = desk.run(desk.refunding(500), trigger=trigger).approvals
    ana, di = desk.database.approver("ana"), desk.database.approver("di")
    assert command("delegate", "di@acme.example", "--for", "1d", "--dsn", ana).exit_code == 0
    assert command("edit", name, "amount=300", "--dsn", di).exit_code == 0
    shown = " ".join(command("card", name, "--dsn", ana).stdout.split())
    assert "di@acme.example for ana@acme.example asks for amount=" in shown
    (edit,) = json.loads(command("card", name, "--json", "--dsn", ana).stdout)["edits"]
    assert (edit["person"], edit["delegator"]) == ("di@acme.example", "ana@acme.example")


def test_an_edit_that_does_not_fit_is_said(command: Command, desk: Desk, trigger: str) -> None:
    """What was asked for, by whom and why, that the run has yet to take it up, and which field it did not take."""
    graph, ana = desk.refunding(500), desk.database.approver("ana")
    (name,) = desk.run(graph, trigger=trigger).approvals
    assert f"card {name}" in " ".join(
        command("edit", name, "amount=abc", "--comment", "a typo", "--dsn", ana).stdout.split()
    )
    shown = command("card", name, "--dsn", ana).stdout
    assert 'ana@acme.example asks for amount="abc"' in shown
    assert "the run takes it up at its next try" in shown
    assert '"a typo"' in shown
    assert desk.run(graph, trigger=trigger).approvals == (name,)
    shown = " ".join(command("card", name, "--dsn", ana).stdout.split())
    assert "it does not fit, and the request stays as it was: amount: " in shown
    assert "takes it up" not in shown
    (edit,) = json.loads(command("card", name, "--json", "--dsn", ana).stdout)["edits"]
    assert (edit["person"], edit["values"], edit["comment"]) == ("ana@acme.example", {"amount": "abc"}, "a typo")
    assert edit["problem"].startswith("amount: ")
    assert edit["at"]


def test_votes_are_shown_with_their_comments_and_whether_they_count(command: Command, desk: Desk, trigger: str) -> None:
    """Who, for whom, why and since when; a vote whose leave was taken back is not counted, here and in the inbox."""
    graph, ana, bo = desk.refunding(500), desk.database.approver("ana"), desk.database.approver("bo")
    (name,) = desk.run(graph, trigger=trigger).approvals
    given = json.loads(command("delegate", "cy@acme.example", "--for", "1d", "--json", "--dsn", ana).stdout)
    cy = desk.database.approver("cy")
    assert command("approve", name, "--comment", "seen the photos", "--dsn", cy).exit_code == 0
    shown = " ".join(command("card", name, "--dsn", bo).stdout.split())
    assert "1 yes: cy@acme.example for ana@acme.example:approve" in shown
    assert 'cy@acme.example for ana@acme.example: yes "seen the photos"' in shown
    told = json.loads(command("card", name, "--json", "--dsn", bo).stdout)
    (vote,) = told["votes"]
    assert (vote["person"], vote["delegator"], vote["decision"], vote["comment"], vote["issuer"]) == (
        "cy@acme.example",
        "ana@acme.example",
        "approve",
        "seen the photos",
        None,
    )
    assert (told["yes"], told["lapsed"]) == (1, 0)
    command("revoke", given["delegation"], "--dsn", ana)
    shown = " ".join(command("card", name, "--dsn", bo).stdout.split())
    assert "0 yes (1 more no longer counts): cy@acme.example for" in shown
    told = json.loads(command("card", name, "--json", "--dsn", bo).stdout)
    assert (told["yes"], told["lapsed"]) == (0, 1)


def test_the_inbox_counts_as_the_ledger_does(command: Command, database: Database) -> None:
    """One of two yes was given for somebody whose leave was taken back: the list says so, in words and as data."""
    policy = Policy.parse(TWO, source="two.yaml")
    publish_policy(database.admin, policy)
    ana, bo, cy = (database.approver(name) for name in ("ana", "bo", "cy"))
    with Control(policy, dsn=database.agent) as control:
        desk = Desk(database=database, control=control)
        (name,) = desk.run(desk.refunding(500), trigger=new_trigger()).approvals
    given = json.loads(command("delegate", "cy@acme.example", "--for", "1d", "--json", "--dsn", ana).stdout)
    assert command("approve", name, "--dsn", cy).exit_code == 0
    assert "1 yes: cy@acme.example for" in command("inbox", "--dsn", bo).stdout
    command("revoke", given["delegation"], "--dsn", ana)
    assert "0 yes (1 more no longer counts)" in command("inbox", "--dsn", bo).stdout
    (row,) = json.loads(command("inbox", "--json", "--dsn", bo).stdout)
    assert (row["yes"], row["lapsed"]) == (0, 1)


def test_nothing_of_a_card_is_cut(command: Command, trail: TrailWriter) -> None:
    """However long an argument, what is shown before a yes, and by itself, is all of it, and safe for a terminal."""
    note = "begin " + "word " * 6000 + "\x1b[2J end-of-it"
    arguments = {"what": {"tool": "refund", "impact": "money", "arguments": {"note": note}}}
    name = asked(trail, trail.open(), card=orjson.dumps(arguments))
    ana = trail.database.approver("ana")
    for words in (("card", name), ("approve", name)):
        shown = command(*words, "--dsn", ana).stdout
        assert shown.count("word") == 6000
        assert "end-of-it" in shown
        assert "characters more" not in shown
        assert "\x1b" not in shown
        assert max(map(len, shown.splitlines())) <= 80
    assert "It unlocks exactly this write." in shown
