"""``audit search`` and ``audit report``: which writes, by whom and with whose approval; and ``show`` as a document."""

import json
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from langgraph_control.audit.asking.searching import Search, writes_found
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.errors import DatabaseRefused
from tests.cli.conftest import Command
from tests.support.postgres import Database
from tests.support.trails import TrailWriter, tamper

LATER = (datetime.now(UTC) + timedelta(days=30)).isoformat()  # writers of trails let days pass


def searched(command: Command, trail: TrailWriter, *options: str) -> list[dict[str, Any]]:
    """Return the writes that a search finds."""
    said = command("audit", "search", "--json", *options, "--dsn", trail.database.auditor)
    assert said.exit_code == 0, said.stderr
    found: list[dict[str, Any]] = json.loads(said.stdout)["writes"]
    return found


@pytest.fixture
def two(trail: TrailWriter) -> TrailWriter:
    """One refund that Ana approved, and one that is only being done."""
    trail.refund()
    run = trail.open("ticket/2")
    trail.claim(
        run,
        "other",
        tool="ship",
        body=run.body(target="parcel 3", policy="4" * 64, reasons=[], rules=[], impact="money"),
    )
    return trail


@pytest.mark.parametrize(
    ("options", "tools"),
    [
        ([], {"refund", "ship"}),
        (["--actor", "support-agent"], {"refund", "ship"}),
        (["--actor", "dora@acme.example"], {"refund", "ship"}),
        (["--actor", "nobody"], set()),
        (["--tool", "ship"], {"ship"}),
        (["--record", "invoice 17"], {"refund"}),
        (["--record", "parcel 3"], {"ship"}),
        (["--approver", "Ana@acme.example"], {"refund"}),
        (["--approver", "bo@acme.example"], set()),
        (["--outcome", "succeeded"], {"refund"}),
        (["--outcome", "executing", "--tool", "ship"], {"ship"}),
        (["--since", LATER], set()),
        (["--until", "2020-01-01"], set()),
        (["--since", "30d", "--until", LATER], {"refund", "ship"}),
    ],
)
def test_search_by_each_and_together(two: TrailWriter, command: Command, options: list[str], tools: set[str]) -> None:
    """By actor, record, tool, approver, outcome and time; what is given together must all hold."""
    assert {one["tool"] for one in searched(command, two, *options)} == tools


@pytest.mark.parametrize(
    "record",
    ['a "quoted" one', "back\\slash", "Jürgen 🧾", "tab\there", "line\nbreak", '"', "\\", "del\x7fete", "\u2028", "/"],
)
def test_a_record_is_found_by_any_name(trail: TrailWriter, record: str) -> None:
    """Also by characters that a body holds otherwise than people write them."""
    run = trail.open()
    for name in (record, f"{record}!", "another"):
        trail.claim(run, name, body=run.body(target=name, policy="4" * 64, reasons=[], rules=[], impact="money"))
    with LedgerConnection(trail.database.auditor) as auditor:
        assert [one.target for one in auditor.ask(Search(record=record))] == [record]


def test_a_period_is_of_the_write_and_not_of_its_run(trail: TrailWriter) -> None:
    """A write in a run that began before the period is found; one that was asked for before it is not."""
    run = trail.open()
    trail.claim(
        run,
        "early",
        tool="ship",
        body=run.body(target="parcel 3", policy="4" * 64, reasons=[], rules=[], impact="money"),
    )
    trail.pass_time(days=2)
    trail.claim(
        run,
        "late",
        tool="bill",
        body=run.body(target="invoice 3", policy="4" * 64, reasons=[], rules=[], impact="money"),
    )
    with LedgerConnection(trail.database.auditor) as auditor:

        def found(**asked: Any) -> set[str]:
            return {one.tool for one in auditor.ask(Search(**asked))}

        between = datetime.now(UTC) + timedelta(days=1)
        assert (found(since=between), found(until=between)) == ({"bill"}, {"ship"})
        assert (found(since=between, record="parcel 3"), found(until=between, record="parcel 3")) == (set(), {"ship"})


def test_search_tells_who_approved(two: TrailWriter, command: Command) -> None:
    """What is found names record, request and votes."""
    (one,) = searched(command, two, "--tool", "refund")
    assert (one["target"], one["approval_state"], one["voters"]) == ("invoice 17", "used", ["ana@acme.example:approve"])
    said = command("audit", "search", "--tool", "refund", "--dsn", two.database.auditor).stdout
    assert "refund, invoice 17: succeeded" in said
    assert "ana@acme.example:approve" in said


@pytest.mark.parametrize(
    ("statement", "options", "said"),
    [
        ("UPDATE control.vote SET person = 'mallory@evil.example'", ["--approver", "mallory@evil.example"], "mallory"),
        ("UPDATE control.action SET state = 'failed' WHERE tool = 'refund'", ["--outcome", "failed"], "succeeded"),
        ("UPDATE control.approval SET state = 'denied'", ["--tool", "refund"], "no entry denied it"),
        ("UPDATE control.run SET actor = 'x' WHERE trigger = 'ticket/4711'", ["--actor", "x"], "another actor"),
        ("UPDATE control.entry SET facts = replace(facts, 'ana@', 'eve@')", ["--tool", "refund"], "entry 5"),
    ],
)
def test_a_hit_that_does_not_follow_from_its_entries_is_marked(
    two: TrailWriter, command: Command, statement: str, options: list[str], said: str
) -> None:
    """What a superuser changes in rows, or in entries, is shown with what its entries say against it."""
    assert [one["differs"] for one in searched(command, two)] == [[], []]
    tamper(two.database, statement)
    (one,) = searched(command, two, *options)
    assert any(said in what for what in one["differs"])
    printed = command("audit", "search", *options, "--dsn", two.database.auditor).stdout
    assert "DIFFERS" in printed
    assert "langgraph-control reconcile" in printed
    assert [one["differs"] for one in searched(command, two, "--tool", "ship")] == [[]]


def test_hits_are_held_against_entries_on_every_login_that_searches(two: TrailWriter, command: Command) -> None:
    """On an approver's, too."""
    tamper(two.database, "UPDATE control.action SET state = 'failed' WHERE tool = 'refund'")
    asked = ["audit", "search", "--json", "--tool", "refund", "--dsn", two.database.approver("ana")]
    (one,) = json.loads(command(*asked).stdout)["writes"]
    assert len(one["differs"]) == 1


def test_what_is_not_found_is_not_said_not_to_be(two: TrailWriter, command: Command) -> None:
    """A search that finds nothing says what it looked at, for rows can be changed."""
    tamper(two.database, "UPDATE control.vote SET person = 'mallory@evil.example'")
    said = command("audit", "search", "--approver", "ana@acme.example", "--dsn", two.database.auditor).stdout
    assert "No row of the ledger is like that" in said
    assert "langgraph-control reconcile" in said


def test_pages_miss_nothing_and_repeat_nothing(trail: TrailWriter) -> None:
    """However small the pages are, each write is found once."""
    run = trail.open()
    for number in range(7):
        trail.claim(run, f"refund {number}")
    with LedgerConnection(trail.database.auditor) as auditor:
        found = [one.key for one in writes_found(auditor, Search(limit=2))]
    assert len(found) == len(set(found)) == 7


def test_a_body_that_is_none_stops_no_search(trail: TrailWriter, command: Command) -> None:
    """What compromised code writes into a body hides its own record's name, and nothing else."""
    run = trail.open()
    trail.claim(run, "one", body=b"\xff\x00 not JSON")
    trail.claim(run, "two", tool="ship")
    assert {one["tool"] for one in searched(command, trail)} == {"refund", "ship"}


def test_the_agents_login_searches_nothing(database: Database) -> None:
    """Looking through everybody's writes is for people."""
    with LedgerConnection(database.agent) as agent, pytest.raises(DatabaseRefused):
        agent.ask(Search())


def test_what_is_no_moment_is_a_usage_error(command: Command, database: Database) -> None:
    """A time that cannot be read, and a period that ends before it begins."""
    assert command("audit", "search", "--since", "yesterday", "--dsn", database.auditor).exit_code == 2
    backwards = ["audit", "report", "--since", "1h", "--until", "2h", "--dsn", database.auditor]
    assert command(*backwards).exit_code == 2


def test_a_report_tells_what_was_done_with_which_approvals(two: TrailWriter, command: Command) -> None:
    """Each control has its section; the approved refund names its approver; what is open is told apart."""
    asked = ["audit", "report", "--since", "30d", "--until", LATER, "--dsn", two.database.auditor]
    said = command(*asked).stdout
    for title in ("Changes that people decided about", "Emergencies", "What was stopped, and went on"):
        assert title in said
    told = json.loads(
        command("audit", "report", "--json", "--since", "30d", "--until", LATER, "--dsn", two.database.auditor).stdout
    )
    assert [one["tool"] for one in told["approved"]] == ["refund"]
    assert [one["tool"] for one in told["open"]] == ["ship"]
    assert [one["facts"]["events"] for one in told["authority"]] == [["policy.loaded"]]


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text += data


def test_a_run_as_one_page(trail: TrailWriter, command: Command) -> None:
    """Trigger, decision, vote, attempt, verification and the state of the chain, in one file that loads nothing."""
    trail.refund()
    said = command("show", "ticket/4711", "--html", "--dsn", trail.database.auditor).stdout
    page = Page()
    page.feed(said)
    for told in (
        "ticket/4711",
        "ana@acme.example",
        "finance",
        "the invoice was paid twice",
        "risk: large",
        "verified",
        "whole: 9 entries",
    ):
        assert told in page.text
    assert not page.tags & {"script", "link", "img", "iframe", "form", "a", "object", "base"}
    assert not page.attributes & {"src", "href", "onclick", "onload", "action"}
    assert "default-src 'none'" in said.replace("&#x27;", "'")
    assert "@media print" in said


def test_hostile_text_is_no_markup_in_a_document(trail: TrailWriter, command: Command) -> None:
    """Tags, table cells, links, fences and hidden characters of a model's text show as what they are."""
    run = trail.open()
    evil = "</td><script>alert(1)</script> | [x](http://evil.example) `code` \\u202egnp.exe\\u200b p\\u0430y"
    payload = f'{{"args": {{"note": "{evil}"}}, "before": null}}'
    body = run.body(reasons=["<img src=x onerror=alert(1)>", "# heading | cell"], target="<b>x</b>", policy="4" * 64)
    trail.claim(run, payload=payload.encode(), body=body)
    html = command("show", str(run.run_id), "--html", "--dsn", trail.database.auditor).stdout
    page = Page()
    page.feed(html)
    assert not page.tags & {"script", "img", "b"}
    assert "</td><script>alert(1)</script>" in page.text
    assert "U+202E" in page.text
    assert "Cyrillic" in page.text
    markdown = command("show", str(run.run_id), "--markdown", "--dsn", trail.database.auditor).stdout
    for said in (html, markdown):
        assert not {"\u202e", "\u200b"} & set(said)
    assert "](http" not in markdown
    assert "<script" not in markdown.replace("\\<", "")
    (row,) = [line for line in markdown.splitlines() if "note" in line and line.startswith("|")]
    assert row.replace("\\|", "").count("|") == 3


def test_one_form_at_a_time(trail: TrailWriter, command: Command) -> None:
    """Two forms at once are a usage error."""
    trail.refund()
    assert command("show", "ticket/4711", "--html", "--json", "--dsn", trail.database.auditor).exit_code == 2
