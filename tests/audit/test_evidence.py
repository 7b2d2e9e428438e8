"""What an approver is told beside the card comes from the trail: what the run had read, and what was asked before."""

import os
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import orjson
import pytest

from langgraph_control.audit.asking.evidence import Evidence, FindEvidence
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import run_name
from langgraph_control.audit.people.approvals import Approvals
from tests.support.postgres import Database
from tests.support.trails import OpenRun, TrailWriter


@pytest.fixture
def trail(database: Database) -> Iterator[TrailWriter]:
    """A writer in a database with finance published."""
    with TrailWriter(database) as writer:
        writer.publish()
        yield writer


def asked(trail: TrailWriter, run: OpenRun, **changes: Any) -> UUID:
    """Ask for the refund, and return the request."""
    _, claimed = trail.claim(run, verb="approve", **changes)
    assert claimed.approval_id is not None
    return claimed.approval_id


def evidence(trail: TrailWriter, request: UUID) -> Evidence:
    """Return what an approver sees."""
    with Approvals(trail.database.approver("ana")) as approvals:
        return approvals.evidence(request)


def test_what_the_run_had_read(trail: TrailWriter) -> None:
    """The newest twenty reads before the request are listed, newest first, a failed one as such; later ones are not."""
    run = trail.open()
    for number in range(21):
        trail.observe(run, f"look_{number}")
    trail.observe(run, "ask_bank", succeeded=False)
    request = asked(trail, run)
    trail.observe(run, "too_late")
    reads = evidence(trail, request).reads
    assert [read.tool for read in reads] == ["ask_bank", *(f"look_{number}" for number in range(20, 1, -1))]
    assert [read.failed for read in reads[:2]] == [True, False]


def test_what_was_asked_before(trail: TrailWriter) -> None:
    """Earlier requests on the record are listed with what came of them and by whom; older than 30 days they are not."""
    asked(trail, trail.open("ticket/0"))
    trail.pass_time(days=31)
    rejected = asked(trail, trail.open("ticket/1"))
    trail.vote(rejected, decision="reject")
    done = trail.open("ticket/2")
    trail.vote(asked(trail, done))
    claim, _ = trail.claim(done, verb="approve")
    trail.settle(done, claim)
    found = evidence(trail, asked(trail, trail.open("ticket/3"))).earlier
    assert [(one.intent, one.state, one.voters) for one in found] == [
        ("ticket/2", "used", ("ana@acme.example:approve",)),
        ("ticket/1", "denied", ("ana@acme.example:reject",)),
    ]
    assert found[0].action == "succeeded"


def write(trail: TrailWriter, trigger: str, **changes: Any) -> None:
    """Make a write that nobody is asked about, in a run of its own."""
    run = trail.open(trigger)
    claim, _ = trail.claim(run, **changes)
    trail.settle(run, claim)


def about(target: str) -> bytes:
    """A claim's body that names a record."""
    return orjson.dumps({"target": target})


def test_what_was_done_without_asking(trail: TrailWriter) -> None:
    """Writes to the same record that the policy allowed are listed, also under way and by other tools of the system."""
    write(trail, "ticket/0")
    trail.pass_time(days=31)
    write(trail, "ticket/1")
    trail.pass_time(minutes=1)
    write(trail, "ticket/2", tool="void", system="billing")
    trail.pass_time(minutes=1)
    under_way = trail.open("ticket/3")
    trail.claim(under_way)
    found = evidence(trail, asked(trail, trail.open("ticket/4"), system="billing"))
    assert [(one.intent, one.tool, one.state) for one in found.writes] == [
        ("ticket/3", "refund", "executing"),
        ("ticket/2", "void", "succeeded"),
        ("ticket/1", "refund", "succeeded"),
    ]
    assert found.writes[0].run == run_name(under_way.run_id)
    assert found.writes[0].asked_by == "support-agent"
    assert found.earlier == ()


def test_what_is_about_something_else_is_no_earlier_write(trail: TrailWriter) -> None:
    """Another record, another system's tool, what never began and what people allowed are left out."""
    write(trail, "ticket/1", body=about("invoice 18"))
    write(trail, "ticket/2", tool="void", system="warehouse")
    trail.claim(trail.open("ticket/3"), verb="deny")
    run = trail.open("ticket/4")
    trail.vote(asked(trail, run))
    claim, _ = trail.claim(run, verb="approve")
    trail.settle(run, claim)
    found = evidence(trail, asked(trail, trail.open("ticket/5")))
    assert found.writes == ()
    assert [one.intent for one in found.earlier] == ["ticket/4"]


def test_a_record_of_any_name_is_found(trail: TrailWriter) -> None:
    """Quotes, line ends, backslashes and letters of any alphabet in a record's name hide no write to it."""
    target = 'Rechnung "17"\n\\ \x7f \x01 für 東京 🧾'
    write(trail, "ticket/1", body=about(target))
    card = orjson.dumps({"where": {"system": "billing", "target": target}})
    found = evidence(trail, asked(trail, trail.open("ticket/2"), card=card))
    assert [one.intent for one in found.writes] == ["ticket/1"]


def test_only_the_newest_writes_are_listed(trail: TrailWriter) -> None:
    """Ten at most, the newest first."""
    for number in range(12):
        write(trail, f"ticket/{number}")
    found = evidence(trail, asked(trail, trail.open("ticket/12")))
    assert [one.intent for one in found.writes] == [f"ticket/{number}" for number in range(11, 1, -1)]


def card_of(system: str | None, target: str = "invoice 17") -> bytes:
    """A card that names where the record is."""
    return orjson.dumps({"where": {"system": system, "target": target}})


def test_what_another_tool_of_the_system_asked_is_listed(trail: TrailWriter) -> None:
    """A write by another tool that people allowed is listed with its tool, though it is no write without asking."""
    run = trail.open("ticket/1")
    changes: dict[str, Any] = {"name": "void", "tool": "void", "system": "billing", "card": card_of("billing")}
    trail.vote(asked(trail, run, **changes))
    claim, _ = trail.claim(run, verb="approve", **changes)
    trail.settle(run, claim)
    trail.pass_time(minutes=1)
    asked(trail, trail.open("ticket/2"), card=card_of("billing"))
    found = evidence(trail, asked(trail, trail.open("ticket/3"), system="billing", card=card_of("billing")))
    assert [(one.intent, one.tool, one.state, one.action) for one in found.earlier] == [
        ("ticket/2", "refund", "open", "needs_approval"),
        ("ticket/1", "void", "used", "succeeded"),
    ]
    assert found.writes == ()


def test_another_record_is_another_matter(trail: TrailWriter) -> None:
    """What was asked about another record is not listed, nor what another system's tool asked of one of that name."""
    asked(trail, trail.open("ticket/1"), card=card_of("billing", "invoice 18"))
    asked(trail, trail.open("ticket/2"), tool="void", card=card_of("warehouse"))
    asked(trail, trail.open("ticket/3"), tool="void", card=card_of(None))
    assert evidence(trail, asked(trail, trail.open("ticket/4"))).earlier == ()


def test_without_a_system_the_tool_tells(trail: TrailWriter) -> None:
    """Where no system is declared, only the same tool is known to mean the same record."""
    asked(trail, trail.open("ticket/1"), tool="void", card=card_of(None))
    asked(trail, trail.open("ticket/2"), card=card_of(None))
    found = evidence(trail, asked(trail, trail.open("ticket/3"), card=card_of(None)))
    assert [(one.intent, one.tool) for one in found.earlier] == [("ticket/2", "refund")]


def test_only_the_newest_requests_are_listed(trail: TrailWriter) -> None:
    """Ten at most of both kinds together, the newest first, and each once."""
    for number in range(12):
        asked(trail, trail.open(f"ticket/{number}"), tool=("refund", "void")[number % 2], card=card_of("billing"))
    found = evidence(trail, asked(trail, trail.open("ticket/12"), card=card_of("billing")))
    assert [one.intent for one in found.earlier] == [f"ticket/{number}" for number in range(11, 1, -1)]


@pytest.mark.parametrize("card", [b"", b"{", b"\xff", b'{"where":{"target":"\\u0000"}}', b"[1]", b'{"where":7}'])
def test_a_card_that_is_none_stops_no_claim(trail: TrailWriter, card: bytes) -> None:
    """Whatever bytes an agent sends for a card, its request is opened, without earlier ones."""
    assert evidence(trail, asked(trail, trail.open(), card=card)) == Evidence()


def test_a_card_that_names_no_systems_name_stops_no_claim(trail: TrailWriter) -> None:
    """Longer than any index takes, however it is packed: the request is opened, and then the tool alone tells."""
    asked(trail, trail.open("ticket/1"), card=card_of("billing"))
    found = evidence(trail, asked(trail, trail.open("ticket/2"), card=card_of(os.urandom(9000).hex())))
    assert [one.intent for one in found.earlier] == ["ticket/1"]


def test_another_tenant_sees_none(trail: TrailWriter) -> None:
    """The evidence of a request is its tenant's."""
    run = trail.open()
    trail.observe(run)
    request = asked(trail, run)
    with LedgerConnection(trail.database.second_tenant_agent) as other:
        assert other.ask(FindEvidence(approval_id=request)) == Evidence()
    assert evidence(trail, request).reads[0].tool == "find_invoice"
