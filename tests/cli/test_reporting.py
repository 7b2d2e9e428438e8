"""``audit report``: what was asked for and done in a period, from entries alone, and whether those are whole."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from langgraph_control.audit.asking.ledger import Answer, Outcome
from langgraph_control.audit.asking.requests import FindTenantChain, PublishPolicy
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.asking.searching import ChainsBetween
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.erasure import retain
from langgraph_control.audit.keeping.restored import declare_restored
from langgraph_control.audit.names import approval_name, run_name
from tests.cli.conftest import Command
from tests.support.trails import FINANCE, POLICY, POLICY_TEXT, OpenRun, TrailWriter, bytes_of, json_bytes, tamper

NOW = datetime.now(UTC)
Reported = Callable[..., dict[str, Any]]


def at(**length: float) -> str:
    """Return a moment so far from now, as it is typed: writers of trails let days pass."""
    return (NOW + timedelta(**length)).isoformat()


@pytest.fixture
def report(trail: TrailWriter, command: Command) -> Reported:
    """Return the report of a period as JSON, without when it was made."""

    def made(since: str = at(days=-30), until: str = at(days=90), *, dsn: str | None = None) -> dict[str, Any]:
        options = ["--since", since, "--until", until, "--dsn", dsn or trail.database.auditor]
        said = command("audit", "report", "--json", *options)
        assert said.exit_code == 0, said.stderr
        told: dict[str, Any] = json.loads(said.stdout)
        told.pop("made_at", None)
        return told

    return made


def document(trail: TrailWriter, command: Command, *, since: str = at(days=-30), until: str = at(days=90)) -> str:
    """Return the report of a period as Markdown."""
    said = command("audit", "report", "--since", since, "--until", until, "--dsn", trail.database.auditor)
    assert said.exit_code == 0, said.stderr
    return said.stdout


def asked(trail: TrailWriter, trigger: str = "ticket/4711", **options: Any) -> tuple[OpenRun, Any]:
    """A run that waits for a yes to a refund, and the request."""
    run = trail.open(trigger, **options)
    _, claimed = trail.claim(run, verb="approve")
    trail.release(run, RunState.NEEDS_APPROVAL, "needs_approval")
    return run, claimed.approval_id


def done(trail: TrailWriter, run: OpenRun) -> None:
    """Go on with a refund that was approved, and do it."""
    run = trail.resume(run)
    claim, claimed = trail.claim(run, verb="approve")
    assert claimed.answer is Answer.GO
    trail.settle(run, claim)
    trail.release(run)


def tools(told: dict[str, Any], *names: str) -> list[list[str]]:
    """Return the tools of the writes in each of some parts of a report."""
    return [[one["tool"] for one in told[name]] for name in names]


# --- when something was asked for, and when it was done ---


def test_a_write_is_told_in_the_period_in_which_it_was_done(trail: TrailWriter, report: Reported) -> None:
    """Asked for in one period and approved and done in the next: open in the first, done with a yes in the second."""
    run, approval = asked(trail)
    trail.pass_time(days=3)
    trail.vote(approval)
    done(trail, run)
    first, second = report(until=at(days=1)), report(since=at(days=1))
    assert tools(first, "asked", "open", "approved", "not_done") == [["refund"], ["refund"], [], []]
    assert first["open"][0]["state"] == "needs_approval"
    assert [(one["outcome"], one["votes"]) for one in first["requests"]] == [("", [])]
    assert tools(second, "asked", "open", "approved") == [[], [], ["refund"]]
    (write,) = second["approved"]
    assert (write["votes"], write["run"]) == (["ana@acme.example:approve"], run_name(run.run_id))
    assert [(one["approval"], one["outcome"]) for one in second["requests"]] == [(approval_name(approval), "used")]


def test_a_report_of_a_period_that_is_over_stays_what_it_is(
    trail: TrailWriter, report: Reported, command: Command
) -> None:
    """Whatever happens afterwards to the same write, its request, its run and its business request."""
    run, approval = asked(trail)
    trail.pass_time(days=3)
    before, printed = report(until=at(days=1)), document(trail, command, until=at(days=1))
    trail.vote(approval)
    done(trail, run)
    trail.refund("another of it")
    again = trail.open("ticket/4711/again", intent="ticket/4711")
    trail.claim(again, "other", tool="ship")
    assert report(until=at(days=1)) == before
    assert _unmade(document(trail, command, until=at(days=1))) == _unmade(printed)


def _unmade(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if "Made at" not in line]


def test_a_yes_is_told_in_the_period_in_which_it_was_given(trail: TrailWriter, report: Reported) -> None:
    """Granted in one period and used in the next: the first says who said yes, the second what was done with it."""
    run, approval = asked(trail)
    trail.vote(approval)
    trail.pass_time(minutes=30)  # a grant is to be used within the hour
    done(trail, run)
    first, second = report(until=at(minutes=15)), report(since=at(minutes=15))
    assert [(one["outcome"], one["votes"]) for one in first["requests"]] == [("granted", ["ana@acme.example:approve"])]
    assert tools(first, "open", "approved") == [["refund"], []]
    assert (second["requests"], tools(second, "approved")) == ([], [["refund"]])


def test_what_is_answered_once_more_is_not_done_once_more(trail: TrailWriter, report: Reported) -> None:
    """A repeat that is answered with the stored outcome is told nowhere as done, asked for or open."""
    run = trail.open()
    claim, _ = trail.claim(run)
    trail.settle(run, claim)
    trail.pass_time(days=3)
    later = trail.open("ticket/4711/again", intent="ticket/4711")
    assert trail.claim(later, key=claim.key)[1].answer is Answer.STORED
    told = report(since=at(days=1))
    assert tools(told, "asked", "unasked", "approved", "not_done", "open") == [[], [], [], [], []]
    assert tools(report(until=at(days=1)), "asked", "unasked") == [["refund"], ["refund"]]


def test_what_one_run_was_granted_and_another_did(trail: TrailWriter, report: Reported) -> None:
    """Two runs of one business request: the votes are in the one's chain, the attempt is in the other's."""
    first, approval = asked(trail)
    second = trail.open("ticket/4711/again", intent="ticket/4711")
    trail.vote(approval)
    claim, claimed = trail.claim(second, verb="approve", key=bytes_of("ticket/4711/refund"))
    assert claimed.answer is Answer.GO
    trail.settle(second, claim)
    (write,) = report()["approved"]
    assert (write["run"], write["votes"], write["attempts"]) == (
        run_name(first.run_id),
        ["ana@acme.example:approve"],
        1,
    )


def test_what_was_not_made_and_what_is_open(trail: TrailWriter, report: Reported) -> None:
    """Refused by the rules, rejected, failed; and an outcome that nobody knows."""
    run = trail.open()
    trail.claim(run, "refused", tool="drop", verb="deny")
    failing, _ = trail.claim(run, "failing", tool="bill")
    trail.settle(run, failing, Outcome.FAIL, error="no")
    lost, _ = trail.claim(run, "lost", tool="ship")
    trail.settle(run, lost, Outcome.LOSE)
    _, claimed = trail.claim(run, "rejected", verb="approve")
    assert claimed.approval_id is not None
    trail.vote(claimed.approval_id, decision="reject")
    told = report()
    assert [(one["tool"], one["state"]) for one in told["not_done"]] == [
        ("drop", "denied"),
        ("bill", "failed"),
        ("refund", "denied"),
    ]
    assert [(one["tool"], one["state"]) for one in told["open"]] == [("ship", "unknown")]
    assert [(one["outcome"], one["votes"]) for one in told["requests"]] == [("denied", ["ana@acme.example:reject"])]


# --- from entries, and whether those are whole ---


def test_a_report_says_what_its_entries_say(trail: TrailWriter, report: Reported, command: Command) -> None:
    """Who changes votes, actions and requests as a superuser changes no report."""
    trail.refund()
    before = report()
    tamper(trail.database, "UPDATE control.vote SET person = 'mallory@evil.example'")
    tamper(trail.database, "UPDATE control.action SET state = 'failed'")
    tamper(trail.database, "UPDATE control.approval SET state = 'withdrawn'")
    assert report() == before
    printed = document(trail, command)
    assert "mallory" not in printed
    assert "**Record**: whole: 2 chains, 10 entries" in printed
    assert before["chains"] == {"whole": True, "chains": 2, "entries": 10, "dropped": 0, "broken": []}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE control.entry SET facts = replace(facts, 'ana@', 'eve@') WHERE facts LIKE '%%approval.voted%%'",
        "DELETE FROM control.entry WHERE facts LIKE '%%approval.voted%%'",
        "DELETE FROM control.entry WHERE facts LIKE '%%run.finished%%'",
        "UPDATE control.entry SET at = at - interval '300 days' WHERE facts LIKE '%%approval.voted%%'",
        "DELETE FROM control.entry WHERE facts NOT LIKE '%%policy.loaded%%'",
        "DELETE FROM control.run",
        "DELETE FROM control.run_state WHERE state <> 'chain'",
        "UPDATE control.run SET intent = 'another'",
        "UPDATE control.entry SET facts = replace(facts, 'policy', 'police') WHERE facts LIKE '%%policy.loaded%%'",
    ],
)
def test_a_report_says_that_its_record_is_not_whole(
    trail: TrailWriter, report: Reported, command: Command, statement: str
) -> None:
    """Entries that were changed, taken out or moved, and rows that lead to them: the first table names the chain."""
    run = trail.refund()
    tamper(trail.database, statement)
    broken = report()["chains"]["broken"]
    assert len(broken) == 1
    of_the_tenant = "LIKE '%%policy.loaded%%'" in statement and "NOT" not in statement
    assert of_the_tenant != (broken[0]["chain"] == run_name(run.run_id))
    first_table = document(trail, command).split("##")[1]
    assert "TAMPERED WITH" in first_table
    assert broken[0]["chain"].replace("_", "\\_") in first_table


def test_a_report_beside_what_retention_dropped(trail: TrailWriter, report: Reported) -> None:
    """What was dropped is missed by nobody, and counted."""
    trail.refund()
    trail.pass_time(days=65)
    assert [month.kept_for for month in retain(trail.database.admin, timedelta(0), comment="over", told=b'"done"')]
    told = report()
    assert (told["chains"]["whole"], told["chains"]["dropped"]) == (True, 9)
    assert (told["approved"], told["open"]) == ([], [])


def test_pages_of_chains_miss_nothing_and_repeat_nothing(trail: TrailWriter) -> None:
    """However small they are: each run with its request, and the tenant's own chain with none."""
    runs = {trail.open(f"ticket/{number}").run_id: f"ticket/{number}" for number in range(5)}
    found: list[tuple[Any, str | None]] = []
    with LedgerConnection(trail.database.auditor) as auditor:
        own = auditor.ask(FindTenantChain()).run_id
        request = ChainsBetween(since=NOW - timedelta(days=1), until=NOW + timedelta(days=1), limit=2)
        while page := auditor.ask(request):
            found += page
            request = replace(request, after=page[-1][0])
    assert sorted(found, key=str) == sorted([*runs.items(), (own, None)], key=str)


def test_an_approver_may_have_a_report_and_an_agent_not(trail: TrailWriter, report: Reported, command: Command) -> None:
    """On the logins that may search."""
    trail.refund()
    assert tools(report(dsn=trail.database.approver("ana")), "approved") == [["refund"]]
    assert command("audit", "report", "--since", "1d", "--dsn", trail.database.agent).exit_code != 0


# --- what happened beside writes ---


def test_what_changed_about_the_record_is_told(trail: TrailWriter, report: Reported, command: Command) -> None:
    """A legal hold, a month that was dropped, a restore, and a reconciliation."""
    trail.refund()
    admin = trail.database.admin
    held = command("audit", "hold", "add", "intent", "ticket/5", "--comment", "asked for", "--dsn", admin)
    assert held.exit_code == 0, held.stderr
    trail.pass_time(days=65)
    list(retain(admin, timedelta(0), comment="over", told=b'"done"'))
    declare_restored(admin, comment="from the copy of last night")
    assert command("reconcile", "--dsn", admin).exit_code == 0
    told = report()
    events = [event for one in told["record"] for event in one["facts"]["events"]]
    assert {*events} == {"hold.set", "entries.dropped", "restore.declared", "freeze.set", "record.reconciled"}
    assert [one["facts"]["events"] for one in told["stops"]] == [["restore.declared", "freeze.set"]]


def test_the_document_says_by_which_rule_it_tells(trail: TrailWriter, command: Command) -> None:
    """And that a period which has not ended may have more."""
    trail.refund()
    printed = document(trail, command)
    for text in ("**Told**", "**Made at**", "the period has not ended", "### Asked for in the period", "### Requests"):
        assert text in printed
    assert "the period has not ended" not in document(trail, command, until=at(minutes=-1))


def test_a_policy_under_which_votes_are_enough_grants_in_its_period(trail: TrailWriter, report: Reported) -> None:
    """No vote is given when a policy grants a request, and it is told all the same."""
    run = trail.open()
    two = replace(FINANCE, quorum={"finance": 2})
    _, claimed = trail.claim(run, verb="approve", requirement=two.canonical())
    assert claimed.approval_id is not None
    trail.vote(claimed.approval_id)
    trail.pass_time(days=2)
    floor = {"tool": "refund", "must": True, "roles": ["finance"], "quorum": 1, "not_by": [], "break_glass": []}
    floor |= {"always": None, "most": FINANCE.canonical()}
    with LedgerConnection(trail.database.admin) as admin:
        members = [{"role": "finance", "member": "ana@acme.example"}]
        admin.ask(PublishPolicy(hash=POLICY, text=POLICY_TEXT, members=members, floors=[floor], body=json_bytes()))
    told = report(since=at(days=1))
    assert [(one["outcome"], one["votes"]) for one in told["requests"]] == [("granted", ["ana@acme.example:approve"])]
