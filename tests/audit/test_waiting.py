"""What people who decide look at: pages of what waits, what was decided, who voted."""

from collections.abc import Iterator

import pytest

from langgraph_control import Approvals, Control, Policy
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import ApprovalRow, ApprovalState
from langgraph_control.audit.asking.waiting import Decided, ReadPulse, Refused, RolesOf, Votes, Waiting, YesCounted
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_id
from langgraph_control.errors import DatabaseRefused
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
