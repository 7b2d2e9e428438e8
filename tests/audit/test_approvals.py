"""The approver's side: the inbox, votes, and why a vote does not count."""

import asyncio
from collections.abc import Iterator

import pytest

from langgraph_control import Approvals, Control, Policy, Run
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import Voting
from langgraph_control.audit.names import approval_id, approval_name, run_id, run_name
from langgraph_control.audit.people.approvals import APPROVER_DSN_VARIABLE, REFUSALS
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.errors import ApprovalRefused, DatabaseRefused, UnknownRun
from langgraph_control.guards.approvals import Refusal
from tests.support.desk import Desk, new_trigger, publish
from tests.support.postgres import Database

TWO = Policy.parse(
    """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example], support: [cy@acme.example, group:leads]}
approve: {within: 1h, on_expiry: deny, not_by: [requester]}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 1000}}, then: approve, by: {finance: 2}, comment: required}
  - {tool: refund, when: {amount: {gt: 1000, lte: 2000}}, then: approve, by: support}
""",
    source="two.yaml",
)


@pytest.fixture(scope="module")
def desk(shared_database: Database) -> Iterator[Desk]:
    """A desk whose refunds need two people of finance, with a comment each."""
    publish(shared_database)
    publish_policy(shared_database.admin, TWO)
    made = Desk(database=shared_database, control=Control(TWO, dsn=shared_database.agent))
    with made.control:
        yield made


@pytest.fixture
def run(desk: Desk) -> Run:
    """A run that waits for two people."""
    return desk.run(desk.refunding(500), trigger=new_trigger(), actor="support-bot", on_behalf_of="bo@acme.example")


def test_two_people_have_to_say_yes(desk: Desk) -> None:
    """The first vote leaves the request open, the second one grants it, and the write runs."""
    graph, trigger = desk.refunding(500), new_trigger()
    (name,) = desk.run(graph, trigger=trigger).approvals
    with Approvals(desk.database.approver("ana")) as ana, Approvals(desk.database.approver("bo")) as bo:
        assert ana.approve(name, comment="seen").answer is Voting.OPEN
        assert bo.approve(name, comment="me too").answer is Voting.GRANTED
        assert bo.get(name).voters == ("ana@acme.example:approve", "bo@acme.example:approve")
    assert str(desk.run(graph, trigger=trigger)) == "done"


def test_the_inbox_shows_what_is_open(desk: Desk, run: Run) -> None:
    """It lists open requests with run, intent and card; a closed one is found by name only."""
    (name,) = run.approvals
    with Approvals(desk.database.approver("ana")) as approvals:
        shown = {approval_name(row.approval_id): row for row in approvals.inbox()}
        assert shown[name].intent == run.intent
        assert b'"refund"' in shown[name].card
        assert approvals.reject(name, comment="no").answer is Voting.DENIED
        assert name not in {approval_name(row.approval_id) for row in approvals.inbox()}
        assert approvals.get(name).comment == "no"


REFUSED = {
    "no comment": ("comment_missing", "ana", {}),
    "not in the role": ("not_in_role", "cy", {"comment": "ok"}),
    "had it asked": ("is_requester", "bo", {"comment": "ok"}),
    "as somebody else": ("not_yourself", "ana", {"comment": "ok", "as_": "bo@acme.example"}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_vote_that_does_not_count_says_why(desk: Desk, run: Run, what: str) -> None:
    """Each rule refuses under its own stable code, and the request stays open."""
    code, person, how = REFUSED[what]
    (name,) = run.approvals
    with Approvals(desk.database.approver(person)) as approvals:
        with pytest.raises(ApprovalRefused) as refused:
            approvals.approve(name, **how)
        assert refused.value.code == code
        assert approvals.get(name).state == "open"


def test_a_group_in_the_policy_is_a_group_of_the_login(desk: Desk) -> None:
    """`group:leads` in a role admits whoever's login the admin put into `leads`, and nobody who is merely called so."""
    graph, trigger = desk.refunding(1500), new_trigger()
    (name,) = desk.run(graph, trigger=trigger).approvals
    for groups, person in (([], "leads"), ([], "ana@acme.example"), (["others"], "ana@acme.example")):
        add_login(desk.database.admin, "test_approver_ana", role="approver", person=person, groups=groups)
        with Approvals(desk.database.approver("ana")) as approvals, pytest.raises(ApprovalRefused):
            approvals.approve(name)
    add_login(desk.database.admin, "test_approver_ana", role="approver", person="ana@acme.example", groups=["leads"])
    with Approvals(desk.database.approver("ana")) as approvals:
        assert approvals.approve(name).answer is Voting.GRANTED
    assert str(desk.run(graph, trigger=trigger)) == "done"


def test_one_person_has_one_vote(desk: Desk, run: Run) -> None:
    """A second yes of the same person is refused."""
    with Approvals(desk.database.approver("ana")) as approvals:
        approvals.approve(run.approvals[0], comment="seen")
        with pytest.raises(ApprovalRefused) as refused:
            approvals.approve(run.approvals[0], comment="again")
    assert refused.value.code == "already_voted"


def test_a_closed_request_takes_no_votes(desk: Desk, run: Run) -> None:
    """After a rejection nobody can approve."""
    with Approvals(desk.database.approver("ana")) as ana, Approvals(desk.database.approver("bo")) as bo:
        ana.reject(run.approvals[0], comment="no")
        with pytest.raises(ApprovalRefused) as refused:
            bo.approve(run.approvals[0], comment="yes")
    assert refused.value.code == "closed"


@pytest.mark.parametrize("name", ["apr_" + "0" * 32, "apr_1", "run_" + "0" * 32, ""])
def test_an_unknown_name_is_refused(desk: Desk, name: str) -> None:
    """A name that is none, or belongs to no request, is refused by name."""
    with Approvals(desk.database.approver("ana")) as approvals:
        for ask in (approvals.get, approvals.approve, approvals.reject):
            with pytest.raises(ApprovalRefused) as refused:
                ask(name)
            assert refused.value.code in {"unknown_request", "approval_name_invalid"}


def test_the_agents_login_cannot_vote(desk: Desk, run: Run) -> None:
    """Votes come from approver logins only: Postgres refuses the agent's."""
    with Approvals(desk.database.agent) as approvals, pytest.raises(DatabaseRefused):
        approvals.approve(run.approvals[0], comment="ok")


def test_the_async_twins_do_the_same(desk: Desk, run: Run) -> None:
    """On an event loop: inbox, get, approve, reject."""

    async def vote() -> None:
        async with Approvals(desk.database.approver("ana")) as approvals:
            (name,) = run.approvals
            assert name in {approval_name(row.approval_id) for row in await approvals.ainbox()}
            assert (await approvals.aapprove(name, comment="seen")).answer is Voting.OPEN
            assert (await approvals.aget(name)).voters == ("ana@acme.example:approve",)
            with pytest.raises(ApprovalRefused):
                await approvals.areject(name, comment="changed my mind")

    asyncio.run(vote())


def test_a_dsn_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the variable is looked at; without both the error names it."""
    monkeypatch.delenv(APPROVER_DSN_VARIABLE, raising=False)
    with pytest.raises(DatabaseRefused, match=APPROVER_DSN_VARIABLE):
        Approvals()


def test_every_refusal_has_a_sentence() -> None:
    """What the guards may answer is explained, word for word the same codes."""
    assert set(Refusal) <= set(REFUSALS)


def test_names_lead_back_to_ids() -> None:
    """Printed names and bare ids are accepted, anything else is refused."""
    some = approval_id("apr_" + "1" * 32)
    assert approval_id(approval_name(some)) == approval_id(str(some)) == some
    assert run_id(run_name(some)) == run_id(some) == some
    with pytest.raises(UnknownRun):
        run_id("apr_" + "1" * 32)
