"""`card` shows one request with everything: what its run had read, and what was asked about the record before."""

import json
from typing import Any

import orjson
import pytest

from langgraph_control.audit.names import approval_name
from tests.cli.conftest import Command
from tests.support.desk import Desk
from tests.support.trails import FINANCE, OpenRun, TrailWriter

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
