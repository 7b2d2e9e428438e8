"""What people who decide look at: pages of what waits, what was decided, who voted."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Unpack

import pytest

from langgraph_control import Approvals, Control, Policy
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import ApprovalRow, ApprovalState
from langgraph_control.audit.asking.waiting import Decided, ReadPulse, Refused, RolesOf, Votes, Waiting, YesCounted
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_id, approval_name
from langgraph_control.audit.people import decided
from langgraph_control.audit.people.approvals import OnlyDecided
from langgraph_control.errors import ArgumentError, DatabaseRefused
from tests.support.desk import Desk, new_trigger, publish
from tests.support.postgres import Database


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """A desk on a ledger of its own."""
    publish(database)
    made = Desk.on(database)
    with made.control:
        yield made


@pytest.fixture
def reader(database: Database) -> Iterator[LedgerConnection]:
    """Whoever reads on an approver's login."""
    with LedgerConnection(database.local_approver) as connection:
        yield connection


def asked(desk: Desk, *amounts: int) -> list[str]:
    """Have the desk ask for refunds, and return the requests' names."""
    return list(desk.run(desk.refunding(*amounts), trigger=new_trigger()).approvals)


def names(rows: tuple[ApprovalRow, ...]) -> list[str]:
    """Return the requests' ids as text."""
    return [row.approval_id.hex for row in rows]


def test_pages_join_into_the_whole(desk: Desk, reader: LedgerConnection) -> None:
    """Page after page gives every open request once, oldest first."""
    for _ in range(3):
        asked(desk, 500, 600)
    every = names(reader.ask(Waiting(limit=100)))
    paged: list[str] = []
    page = Waiting(limit=4)
    while rows := reader.ask(page):
        paged += names(rows)
        page = Waiting(limit=4, after_at=rows[-1].requested_at, after=rows[-1].approval_id)
    assert paged == every
    assert len(set(every)) == 6


def test_mine_is_what_a_vote_would_count_on(desk: Desk, reader: LedgerConnection) -> None:
    """A person is shown what their vote would count on: not what they asked for, voted on, or have no role for."""
    asked(desk, 500)
    desk.run(desk.refunding(700), trigger=new_trigger(), on_behalf_of="ana@acme.example")
    assert len(reader.ask(Waiting(limit=10))) == 2
    assert len(reader.ask(Waiting(limit=10, person="ana@acme.example"))) == 1
    assert len(reader.ask(Waiting(limit=10, person="bo@acme.example"))) == 2
    assert reader.ask(Waiting(limit=10, person="cy@acme.example")) == ()


def test_filters(desk: Desk, reader: LedgerConnection) -> None:
    """Requests are found by tool and by who asked."""
    asked(desk, 500)
    assert len(reader.ask(Waiting(limit=10, tool="refund", actor="support-bot"))) == 1
    assert reader.ask(Waiting(limit=10, tool="other")) == ()
    assert reader.ask(Waiting(limit=10, actor="other")) == ()


def test_what_was_decided_is_listed_by_state(desk: Desk, reader: LedgerConnection) -> None:
    """Decided requests are listed the newest first, by state, and never with the open ones."""
    one, other, _ = asked(desk, 500, 600, 700)
    desk.approve([one])
    desk.reject([other], comment="No.")
    assert {row.state for row in reader.ask(Decided(limit=10))} == {ApprovalState.GRANTED, ApprovalState.DENIED}
    assert names(reader.ask(Decided(limit=10, state="denied"))) == [approval_id(other).hex]
    (vote,) = reader.ask(Votes(approval_id=approval_id(other)))
    assert (vote.person, vote.decision, vote.comment) == ("ana@acme.example", "reject", "No.")


def test_decided_requests_are_asked_for_by_state_tool_and_actor(desk: Desk) -> None:
    """The newest first, at most so many; on an event loop, too."""
    granted, denied = asked(desk, 500, 600), asked(desk, 700)
    desk.approve(granted)
    desk.reject(denied, comment="No.")
    asked(desk, 800)
    with Approvals(desk.database.approver("ana")) as approvals:

        def found(limit: int = 10, **only: Unpack[OnlyDecided]) -> list[str]:
            rows = approvals.decided(limit, **only)
            assert rows == asyncio.run(approvals.adecided(limit, **only))
            return [approval_name(row.approval_id) for row in rows]

        assert set(found()) == {*granted, *denied}
        assert found(1) == denied
        assert set(found(state="granted")) == set(granted)
        assert found(state="expired") == found(tool="mail") == found(actor="other") == []
        assert found(tool="refund", actor="support-bot", state=ApprovalState.DENIED) == denied


def test_decided_requests_are_looked_through_page_by_page(
    desk: Desk, reader: LedgerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found lies beyond a first page of other tools; after so many nobody looks further."""
    desk.approve(asked(desk, 500, 501, 502, 503))
    rows = reader.ask(Decided(limit=10))
    monkeypatch.setattr(decided, "PAGE_REQUESTS", 2)
    looked: list[Decided] = []

    def ask(request: Any) -> Any:
        looked.append(request)
        return tuple(replace(row, tool=row.approval_id.hex) for row in reader.ask(request))

    def found(row: ApprovalRow) -> list[str]:
        return names(decided.decided_requests(ask, 1, tool=row.approval_id.hex))

    assert found(rows[-1]) == names(rows[-1:])
    assert len(looked) == 2
    monkeypatch.setattr(decided, "SCAN", 2)
    assert found(rows[-1]) == []


@pytest.mark.parametrize("state", ["open", "approved"])
def test_no_such_state_of_a_decided_request(desk: Desk, state: Any) -> None:
    """It is refused with those that there are; nothing is asked."""
    with Approvals(desk.database.approver("ana")) as approvals, pytest.raises(ArgumentError) as refused:
        approvals.decided(state=state)
    assert (refused.value.code, "granted, denied, expired" in str(refused.value)) == ("unknown_state", True)


def test_the_pulse_changes_with_what_is_open(desk: Desk, reader: LedgerConnection) -> None:
    """The mark changes when a request opens and when one is decided."""
    empty = reader.ask(ReadPulse())
    (name,) = asked(desk, 500)
    one = reader.ask(ReadPulse())
    desk.approve([name])
    assert (empty.open, one.open) == (0, 1)
    assert one.mark != empty.mark
    assert reader.ask(ReadPulse()) == empty


def test_why_a_vote_would_not_count(desk: Desk, reader: LedgerConnection) -> None:
    """The reason is the one a vote would be refused with."""
    (name,) = asked(desk, 500)
    found = {
        person: reader.ask(Refused(approval_id=approval_id(name), person=f"{person}@acme.example", groups=[]))
        for person in ("ana", "cy")
    }
    assert found == {"ana": None, "cy": "unknown_person"}
    assert reader.ask(RolesOf(person="ana@acme.example", groups=[])) == ("finance",)


TWO = """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example], board: [cy@acme.example]}
approve: {within: 1h, on_expiry: deny, not_by: [requester]}
rules: [{tool: refund, then: approve, by: {finance: 2}}]
"""


def test_a_yes_counts_as_the_ledger_counts_it(database: Database, reader: LedgerConnection) -> None:
    """Not that of somebody who has lost the role since, and theirs again when they have it back."""
    policies = {
        "two": Policy.parse(TWO, source="two.yaml"),
        "no ana": Policy.parse(TWO.replace("ana@", "cy@"), source="other.yaml"),
    }
    publish_policy(database.admin, policies["two"])
    with Control(policies["two"], dsn=database.agent) as control, Approvals(database.local_approver) as people:
        desk = Desk(database=database, control=control)
        graph = desk.refunding(500)
        run = desk.run(graph, trigger=new_trigger(), intent="the same")
        (request,) = map(approval_id, run.approvals)

        def counted() -> int:
            return reader.ask(YesCounted(approvals=[request]))[request]

        assert counted() == 0
        people.approve(request, as_="ana@acme.example")
        assert counted() == 1
        publish_policy(database.admin, policies["no ana"])
        assert counted() == 0
        assert people.approve(request, as_="bo@acme.example").answer == "open"  # as the ledger counts
        assert counted() == 1
        publish_policy(database.admin, policies["two"])
        assert counted() == 2


def test_another_tenant_sees_nothing(desk: Desk, database: Database) -> None:
    """The agent's login reads none of it, and neither does anybody of another tenant."""
    asked(desk, 500)
    with LedgerConnection(database.agent) as agent, pytest.raises(DatabaseRefused):
        agent.ask(Waiting(limit=10))
    with LedgerConnection(database.second_tenant_agent) as other, pytest.raises(DatabaseRefused):
        other.ask(ReadPulse())
