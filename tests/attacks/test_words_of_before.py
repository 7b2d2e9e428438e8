"""What was true once: snapshots, locks and words of before neither let a write go nor hold people up."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest

from langgraph_control import Policy
from langgraph_control.audit.asking.authority_requests import (
    Delegate,
    Review,
    RevokeDelegation,
    WithdrawVote,
)
from langgraph_control.audit.asking.ledger import Answer, Claim, Claimed, Outcome
from langgraph_control.audit.asking.operator_requests import Freeze, Scope, Unfreeze
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.requests import Vote
from langgraph_control.audit.asking.rows import Voting
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.connecting.statements import statement
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.errors import TrailUnavailable
from tests.support.ledger_requests import claim, run_open, settle
from tests.support.postgres import Database
from tests.support.waiting import until_somebody_waits

TEXT: Final = """\
version: 1
roles:
  finance: [ana@acme.example, bo@acme.example]
  cfo: [cleo@acme.example]
  oncall: [ola@acme.example, agent@acme.example]
owner: finance
approve: {within: 1h, on_expiry: deny, not_by: []}
rules:
  - {tool: both, then: approve, by: {finance: 1, cfo: 1}}
  - {tool: told, then: approve, by: {finance: 1}, comment: required}
  - {tool: pay, then: approve, by: finance, break_glass: oncall}
otherwise:
  - {impact: record, then: allow}
"""
ASKED: Final[dict[str, Any]] = {
    "quorum": {"finance": 1},
    "not_by": [],
    "within_seconds": 3600,
    "execute_within_seconds": 3600,
    "on_expiry": "deny",
    "comment_required": False,
}
"""What agent code that was taken over says is required: the least there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """A ledger with the published policy, and everybody's logins."""

    database: Database
    agent: LedgerConnection
    people: dict[str, LedgerConnection]

    def claimed(self, tool: str, **asserted: Any) -> Claim:
        """Return a claim in a run of its own, of a change of its own."""
        run = self.agent.ask(run_open())
        assert run.run_id is not None
        assert run.token is not None
        key = uuid4().bytes + uuid4().bytes
        return replace(claim(run.run_id, run.token), tool=tool, key=key, **asserted)

    def again(self, claimed: Claim, **asserted: Any) -> Claimed:
        """Claim, as a new attempt."""
        return self.agent.ask(replace(claimed, attempt=uuid4(), **asserted))

    def asked(self, tool: str, **requirement: Any) -> tuple[Claim, UUID]:
        """Claim what people are asked about, and return the request."""
        claimed = self.claimed(tool, verb="approve", requirement={**ASKED, **requirement}, card=b"{}")
        approval = self.again(claimed).approval_id
        assert approval is not None
        return claimed, approval

    def vote(self, person: str, approval: UUID, decision: Any = "approve", comment: str | None = None) -> Any:
        """Vote."""
        said = Vote(approval_id=approval, decision=decision, comment=comment, person=None, body=b"{}")
        return self.people[person].ask(said)

    def go(self, claimed: Claim, **requirement: Any) -> bool:
        """Claim once more; whether it goes."""
        return self.again(claimed, requirement={**ASKED, **requirement}).answer is Answer.GO


@pytest.fixture
def floor(database: Database) -> Iterator[Floor]:
    """The ledger."""
    publish_policy(database.admin, Policy.parse(TEXT, source="control.yaml"))
    names = ("ana", "bo", "cleo", "ola", "di", "agent")
    for name in names:
        add_login(database.admin, f"test_approver_{name}", role="approver", person=f"{name}@acme.example", create=True)
    people = {name: LedgerConnection(database.approver(name)) for name in names}
    with LedgerConnection(database.agent) as agent:
        yield Floor(database=database, agent=agent, people=people)
    for connection in people.values():
        connection.close()


def frozen(floor: Floor) -> None:
    """Stop all writes."""
    stop = Freeze(scope=Scope.TENANT, name="", comment="stop", person=None, body=b"{}")
    floor.people["ana"].ask(stop)


def gone(floor: Floor) -> None:
    """Publish a policy that denies what was allowed."""
    text = TEXT.replace("{impact: record, then: allow}", "{impact: record, then: deny}")
    publish_policy(floor.database.admin, Policy.parse(text, source="control.yaml"))


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("change", [frozen, gone])
def test_an_old_snapshot_lets_nothing_go(floor: Floor, isolation: str, change: Callable[[Floor], None]) -> None:
    """An agent's login that holds a snapshot from before a freeze, or a publication, gets no go in it."""
    claimed = floor.claimed("note")
    with psycopg.connect(floor.database.agent) as old:
        old.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
        old.execute("SELECT 1")
        change(floor)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="read committed"):
            old.execute(statement(claimed.statement), claimed.parameters())


@pytest.mark.parametrize(("change", "reason"), [(frozen, "frozen"), (gone, "deny")])
def test_what_came_meanwhile_counts_for_a_claim_that_waited(
    floor: Floor, change: Callable[[Floor], None], reason: str
) -> None:
    """A claim that looked before a freeze, or a publication, and got the run's row after it, does not go."""
    claimed = floor.claimed("note")
    answers: list[Claimed] = []
    with psycopg.connect(floor.database.admin) as holder:
        holder.execute("SELECT 1 FROM control.run_state WHERE run_id = %s FOR UPDATE", (claimed.run_id,))
        with LedgerConnection(floor.database.agent) as agent:

            def ask() -> None:
                while not answers:
                    with suppress(TrailUnavailable):  # a lost race: nothing was kept, and it is sent again
                        answers.append(agent.ask(claimed))

            thread = threading.Thread(target=ask)
            thread.start()
            until_somebody_waits(floor.database)
            change(floor)
            holder.rollback()
            thread.join(20)
    assert [answer.reason for answer in answers] == [reason]


def test_no_open_transaction_of_an_agent_holds_a_freeze_up(floor: Floor) -> None:
    """Asking for the lease of what is no run leaves no lock on it."""
    with psycopg.connect(floor.database.agent) as idle:
        idle.execute(
            "SELECT control.run_acquire_v1((SELECT run_id FROM control.tenant_chain_v1()), 'x', 1000, '{}'::bytea)"
        )
        with psycopg.connect(floor.database.admin, autocommit=True) as admin:
            admin.execute("SET lock_timeout = '3s'")
            admin.execute("SELECT 1 FROM control.run_state WHERE state = 'chain' FOR UPDATE")


def test_one_of_each_role_is_one_of_each(floor: Floor) -> None:
    """Where the published rule asks for one of finance and one of cfo, two of finance are not enough."""
    claimed, approval = floor.asked("both", quorum={"finance": 2})
    assert floor.vote("ana", approval).answer is Voting.OPEN
    assert floor.vote("bo", approval).answer is Voting.OPEN
    assert not floor.go(claimed, quorum={"finance": 2})
    honest = {"finance": 1, "cfo": 1}
    claimed, approval = floor.asked("both", quorum=honest)
    floor.vote("ana", approval)
    assert floor.vote("cleo", approval).answer is Voting.GRANTED
    assert floor.go(claimed, quorum=honest)


def test_a_floor_asks_whom_the_rule_asks(floor: Floor) -> None:
    """A claim that asks nobody is put to one of each role, as the published rule has it."""
    approval = floor.again(floor.claimed("both", card=b"{}")).approval_id
    assert approval is not None
    assert floor.vote("ana", approval).answer is Voting.OPEN
    assert floor.vote("cleo", approval).answer is Voting.GRANTED


def test_a_comment_that_is_asked_for_by_now_is_missing(floor: Floor) -> None:
    """A yes without a comment is not enough, neither by the published rule nor by what the run's policy asks by now."""
    claimed, approval = floor.asked("told")
    assert floor.vote("ana", approval).answer is Voting.OPEN
    assert not floor.go(claimed)
    claimed, approval = floor.asked("pay")
    assert floor.vote("ana", approval).answer is Voting.GRANTED
    assert not floor.go(claimed, comment_required=True)


def test_a_grant_is_as_old_as_may_be_by_now(floor: Floor) -> None:
    """Where a grant counts for a shorter time by now, one that is older does not count."""
    claimed, approval = floor.asked("pay")
    floor.vote("ana", approval)
    with psycopg.connect(floor.database.admin, autocommit=True) as admin:
        admin.execute("UPDATE control.approval SET closed_at = closed_at - interval '10 min'")
    assert not floor.go(claimed, execute_within_seconds=60)


def test_a_word_that_was_used_is_not_taken_back(floor: Floor) -> None:
    """Once a write went by an emergency, nothing that is claimed afterwards takes it, or its review, away."""
    claimed, approval = floor.asked("pay", break_glass=["oncall"])
    assert floor.vote("ola", approval, "break_glass", "the pager").answer is Voting.GRANTED
    attempt = uuid4()
    request = replace(claimed, attempt=attempt, requirement={**ASKED, "break_glass": ["oncall"]})
    assert floor.agent.ask(request).answer is Answer.GO
    floor.agent.ask(settle(request, outcome=Outcome.NOT_DONE))
    assert floor.again(claimed, requirement={**ASKED, "quorum": {"oncall": 1}}).answer is Answer.PARK
    taken = WithdrawVote(approval_id=approval, comment=None, person=None, identity=None, body=b"{}")
    assert floor.people["ola"].ask(taken).reason == "used"
    look = Review(approval_id=approval, verdict="accepted", comment=None, person=None, identity=None, body=b"{}")
    assert floor.people["agent"].ask(look) == "not_in_role"
    assert floor.people["bo"].ask(look) is None


def test_whoever_asks_breaks_no_glass(floor: Floor) -> None:
    """Also where a policy lets the requester vote, nobody decides alone about what they asked for."""
    claimed, approval = floor.asked("pay", break_glass=["oncall"])
    assert floor.vote("agent", approval, "break_glass", "mine").reason == "is_requester"
    assert not floor.go(claimed, break_glass=["oncall"])


def give_leave(floor: Floor) -> UUID:
    """Let di stand in for ana for a day, and return the delegation."""
    delegation = uuid4()
    given = Delegate(
        delegation_id=delegation,
        to_person="di@acme.example",
        role=None,
        until=datetime.now(UTC) + timedelta(days=1),
        comment=None,
        person=None,
        identity=None,
        body=b"{}",
    )
    floor.people["ana"].ask(given)
    return delegation


def test_an_emergency_of_whoever_asks_by_now_is_none(floor: Floor) -> None:
    """Who broke the glass for another's write, and asks for the same since, has not decided alone about it."""
    claimed, approval = floor.asked("pay", break_glass=["oncall"])
    floor.vote("ola", approval, "break_glass", "the pager")
    run = floor.agent.ask(replace(run_open(), actor="ola@acme.example"))
    assert run.run_id is not None
    assert run.token is not None
    own = replace(claimed, run_id=run.run_id, token=run.token)
    assert not floor.go(own, break_glass=["oncall"])


def test_leave_is_given_to_the_letter(floor: Floor) -> None:
    """Whoever is called nearly like a stand-in is none."""
    admin = floor.database.admin
    add_login(admin, "test_approver_nearly", role="approver", person="DI@acme.example ", create=True)
    give_leave(floor)
    _, approval = floor.asked("pay")
    with LedgerConnection(floor.database.approver("nearly")) as nearly:
        floor.people["nearly"] = nearly
        assert floor.vote("nearly", approval).reason == "unknown_person"
    del floor.people["nearly"]
    assert floor.vote("di", approval).answer is Voting.GRANTED


def test_people_are_shown_the_words_that_run(floor: Floor) -> None:
    """A request that the floor opened without a card gets none of other words: those are asked about as themselves."""
    first = floor.claimed("pay", scope=b"\x01" * 32, digest=b"\x0a" * 32)
    bare = floor.again(first).approval_id
    shown = floor.again(first, digest=b"\x0b" * 32, card=b'{"words": "other"}')
    assert shown.approval_id not in {None, bare}
    with psycopg.connect(floor.database.admin) as admin:
        rows = admin.execute("SELECT approval_id, digest, card, state FROM control.approval ORDER BY requested_at")
        assert rows.fetchall() == [
            (bare, b"\x0a" * 32, b"", "superseded"),
            (shown.approval_id, b"\x0b" * 32, b'{"words": "other"}', "open"),
        ]


def test_a_vote_says_which_card_it_was_on(floor: Floor) -> None:
    """The request's entry and each vote's have a hash of what people were shown."""
    claimed, approval = floor.asked("pay")
    floor.vote("ana", approval)
    facts = [orjson.loads(row.facts) for row in floor.agent.entries(claimed.run_id)]
    cards = {fact["events"][-1]: fact["card"] for fact in facts if "card" in fact}
    assert cards == dict.fromkeys(("approval.requested", "approval.granted"), hashlib.sha256(b"{}").hexdigest())


def test_a_delegator_speaks_again_once_the_leave_is_taken_back(floor: Floor) -> None:
    """A stand-in's word that no longer counts does not keep the delegator from a word of their own."""
    delegation = give_leave(floor)
    claimed, approval = floor.asked("pay", quorum={"finance": 2})
    assert floor.vote("di", approval).answer is Voting.OPEN
    back = RevokeDelegation(delegation_id=delegation, comment=None, person=None, identity=None, body=b"{}")
    floor.people["ana"].ask(back)
    assert floor.vote("ana", approval).answer is Voting.OPEN
    assert floor.vote("bo", approval).answer is Voting.GRANTED
    assert floor.go(claimed, quorum={"finance": 2})


def test_what_nobody_closed_fills_no_room(floor: Floor) -> None:
    """Requests whose time is over do not keep others from asking."""
    with psycopg.connect(floor.database.admin, autocommit=True) as admin:
        admin.execute("UPDATE control.tenant SET open_per_tenant = 2")
        for _ in range(2):
            floor.asked("pay")
        full = floor.claimed("pay", verb="approve", requirement=ASKED, card=b"{}")
        assert floor.again(full).reason == "too_many_requests"
        admin.execute("UPDATE control.approval SET expires_at = clock_timestamp() - interval '1 s'")
    floor.asked("pay")


def test_nobody_takes_the_chain_of_a_tenant_to_come(floor: Floor) -> None:
    """No run can have the id that another tenant's own chain will have."""
    with psycopg.connect(floor.database.admin) as admin:
        row = admin.execute("SELECT control.tenant_chain_id('newco')").fetchone()
    assert row is not None
    with pytest.raises(Exception, match="LC002"):
        floor.agent.ask(replace(run_open(), run_id=row[0], trigger="mail/newco"))


def test_a_word_that_is_sent_again_is_told_what_became_of_it(floor: Floor) -> None:
    """The same yes again, on a request that another one has taken the place of, is not told to have been granted."""
    claimed, approval = floor.asked("pay", quorum={"finance": 2})
    floor.vote("ana", approval)
    floor.again(claimed, scope=b"\x07" * 32, digest=b"\x07" * 32, requirement={**ASKED, "quorum": {"finance": 2}})
    assert floor.vote("ana", approval).reason == "closed"


def test_writes_go_on_after_all_that(floor: Floor) -> None:
    """The ordinary case is still that: allowed, it goes."""
    frozen(floor)
    floor.people["ana"].ask(Unfreeze(scope=Scope.TENANT, name="", comment="go on", person=None, body=b"{}"))
    assert floor.again(floor.claimed("note")).answer is Answer.GO
