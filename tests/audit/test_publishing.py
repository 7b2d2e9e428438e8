"""Publishing a policy counts again: votes that are enough by now are a grant, and nobody has to vote once more."""

from dataclasses import dataclass
from typing import Final

import psycopg
import pytest

from langgraph_control import Approvals, Control, Policy, Run
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import Voting
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_id, run_id
from langgraph_control.audit.telemetry.spans import spans
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.reconstruct import reconstruct
from langgraph_control.audit.trail.verify import verify_run
from langgraph_control.errors import ApprovalRefused
from tests.support.desk import Desk, new_trigger
from tests.support.postgres import Database

HEAD: Final = """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example, cy@acme.example], support: [cy@acme.example]}
approve: {within: 1h, on_expiry: deny, not_by: [requester]}
rules:
"""
RULE: Final = "  - {tool: refund, when: {amount: {gt: 0, lte: 1000}}, then: approve, by: finance}\n"
TWO: Final = HEAD + RULE.replace("by: finance", "by: {finance: 2}")


def policy_of(text: str) -> Policy:
    """Read a policy."""
    return Policy.parse(text, source="control.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A database whose policy changes, and agents that were started with one of them."""

    database: Database

    def publish(self, text: str) -> None:
        """Publish a policy."""
        publish_policy(self.database.admin, policy_of(text))

    def desk(self, text: str) -> Desk:
        """Return an agent's process that was started with a policy."""
        return Desk(database=self.database, control=Control(policy_of(text), dsn=self.database.agent))

    def asked(self, text: str, trigger: str, *, amount: int = 500) -> Run:
        """Deliver a refund to an agent with this policy; the same delivery again is the same run."""
        desk = self.desk(text)
        with desk.control:
            return desk.run(desk.refunding(amount), trigger=trigger)

    def approve(self, run: Run, person: str = "ana") -> Voting:
        """Say yes to what a run waits for."""
        with Approvals(self.database.approver(person)) as approvals:
            return approvals.approve(run.approvals[0]).answer

    def state(self, run: Run) -> str:
        """Return where its request stands."""
        with Approvals(self.database.approver("ana")) as approvals:
            return approvals.get(run.approvals[0]).state

    def wakes(self, run: Run) -> int:
        """Return how often the run was woken."""
        with psycopg.connect(self.database.admin) as admin:
            row = admin.execute("SELECT control.generation(%s)", (run_id(run.id),)).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def office(database: Database) -> Office:
    """An office in which refunds need two people of finance."""
    made = Office(database=database)
    made.publish(TWO)
    return made


def test_votes_that_are_enough_by_now_are_a_grant(office: Office) -> None:
    """Where two had to say yes and now one has to, the one vote that was given grants the request, and it runs."""
    trigger = new_trigger()
    run = office.asked(TWO, trigger)
    assert office.approve(run) is Voting.OPEN
    woken = office.wakes(run)
    office.publish(HEAD + RULE)
    assert office.state(run) == "granted"
    assert office.wakes(run) > woken
    assert office.asked(HEAD + RULE, trigger).state == "done"


def test_the_grant_is_on_record(office: Office) -> None:
    """The run's chain says that the votes became enough and under which policy; it is whole, told and exported."""
    run = office.asked(TWO, new_trigger())
    office.approve(run)
    office.publish(HEAD + RULE)
    with LedgerConnection(office.database.auditor) as auditor:
        found = verify_run(auditor, run_id(run.id))
        entries = [Entry.of(row) for row in auditor.entries(run_id(run.id))]
    assert found is not None
    assert found.ok
    last = entries[-1]
    assert last.events == ("approval.granted",)
    assert last.said("policy") == policy_of(HEAD + RULE).hash
    story = reconstruct(entries)
    assert story.steps[-1].what == "refund: approved: the votes are enough under a policy published now"
    assert story.people == ("ana@acme.example",)
    (approval,) = [span for span in spans(run_id(run.id), entries) if span.name == "control.approval"]
    assert (approval.attributes or {})["control.outcome"] == "granted"


UNMET: Final = {
    "as many people": TWO,
    "more people": TWO.replace("2}", "3}"),
    "people of another role": HEAD + RULE.replace("by: finance", "by: support"),
    "people of another role, too": HEAD + RULE + RULE.replace("by: finance", "by: support"),
    "a comment with each vote": HEAD + RULE.replace("by: finance", "by: finance, comment: required"),
    "nobody, for nothing is allowed": HEAD + "  - {tool: refund, then: deny}\n",
    "two above an amount": HEAD
    + RULE.replace("lte: 1000", "lte: 600")
    + RULE.replace("gt: 0", "gt: 600").replace("by: finance", "by: {finance: 2}"),
    "people of whom the voter is none": (HEAD + RULE).replace("ana@acme.example, ", ""),
}
"""What is required may be: one vote of finance without a comment is not certainly enough for it."""


@pytest.mark.parametrize("what", UNMET)
def test_votes_that_may_not_be_enough_are_no_grant(office: Office, what: str) -> None:
    """Where the new policy may ask for more than there is, the request stays open and its run is woken to ask again."""
    run = office.asked(TWO, new_trigger())
    office.approve(run)
    woken = office.wakes(run)
    office.publish(UNMET[what])
    assert office.state(run) == "open"
    assert office.wakes(run) > woken


def test_without_a_vote_nothing_is_granted_or_woken(office: Office) -> None:
    """A request to which nobody has said yes stays as it is."""
    run = office.asked(TWO, new_trigger())
    woken = office.wakes(run)
    office.publish(HEAD + RULE)
    assert office.state(run) == "open"
    assert office.wakes(run) == woken


def test_an_expired_request_is_not_granted(office: Office) -> None:
    """Votes on a request whose time is over come to nothing, whatever is published."""
    run = office.asked(TWO, new_trigger())
    office.approve(run)
    with psycopg.connect(office.database.admin) as admin:
        admin.execute(
            "UPDATE control.approval SET expires_at = clock_timestamp() WHERE approval_id = %s",
            (approval_id(run.approvals[0]),),
        )
    office.publish(HEAD + RULE)
    assert office.state(run) == "expired"


def test_an_agent_that_asks_for_more_still_waits(office: Office) -> None:
    """A process that was started with the stricter policy has its request opened again: the stricter of both holds."""
    trigger = new_trigger()
    run = office.asked(TWO, trigger)
    office.approve(run)
    office.publish(HEAD + RULE)
    assert office.asked(TWO, trigger).state == "needs_approval"
    assert office.state(run) == "open"
    assert office.approve(run, "bo") is Voting.GRANTED
    assert office.asked(TWO, trigger).state == "done"


def test_an_agent_that_asks_for_more_after_the_time_to_answer_keeps_the_yes(office: Office) -> None:
    """What was granted stays as long as the grant does: for what is missing there is the time to answer anew."""
    trigger = new_trigger()
    office.publish(HEAD + RULE)
    run = office.asked(HEAD + RULE, trigger)
    assert office.approve(run) is Voting.GRANTED
    with psycopg.connect(office.database.admin) as admin:
        admin.execute("UPDATE control.approval SET expires_at = clock_timestamp()")
    office.publish(TWO)
    again = office.asked(TWO, trigger)
    assert (again.state, again.approvals) == ("needs_approval", run.approvals)
    assert office.state(run) == "open"
    assert office.approve(run, "bo") is Voting.GRANTED
    assert office.asked(TWO, trigger).state == "done"


def test_a_lower_floor_is_noticed(office: Office) -> None:
    """Where only the published floor had asked for two, publishing a lower one grants what its agent asked one for."""
    office.publish(HEAD + RULE)
    office.publish(TWO)
    trigger = new_trigger()
    run = office.asked(HEAD + RULE, trigger)
    assert office.approve(run) is Voting.OPEN
    office.publish(HEAD + RULE)
    assert office.state(run) == "granted"
    assert office.asked(HEAD + RULE, trigger).state == "done"


def test_a_vote_counts_again_with_its_role(office: Office) -> None:
    """A voter who lost the role does not count, and counts when it is given back."""
    without = TWO.replace("ana@acme.example, ", "")
    run = office.asked(TWO, new_trigger())
    office.approve(run)
    office.publish(without)
    assert office.approve(run, "bo") is Voting.OPEN
    office.publish(TWO)
    assert office.state(run) == "granted"


def test_a_yes_to_what_is_denied_by_now_is_withdrawn(office: Office) -> None:
    """Nothing comes of a grant that a later policy denies: it is gone, and a yes taken back has nobody asked anew."""
    trigger, denying = new_trigger(), HEAD + "  - {tool: refund, then: deny}\n"
    office.publish(HEAD + RULE)
    run = office.asked(HEAD + RULE, trigger)
    assert office.approve(run) is Voting.GRANTED
    office.publish(denying)
    assert office.asked(denying, trigger).state == "done"
    assert office.state(run) == "withdrawn"
    with Approvals(office.database.approver("ana")) as approvals, pytest.raises(ApprovalRefused) as refused:
        approvals.withdraw(run.approvals[0])
    assert refused.value.code == "closed"


def test_a_rejected_request_stays_rejected(office: Office) -> None:
    """What somebody said no to is not counted again."""
    run = office.asked(TWO, new_trigger())
    office.approve(run)
    with Approvals(office.database.approver("bo")) as approvals:
        approvals.reject(run.approvals[0])
    office.publish(HEAD + RULE)
    assert office.state(run) == "denied"
