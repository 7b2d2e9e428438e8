"""Who may decide: words that keep people out, standing in for each other, emergencies, and votes taken back."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest

from langgraph_control import Approvals, Control, Policy, Run
from langgraph_control.audit.asking.ledger import Answer, Outcome
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import RunState, Voting
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_id, run_id
from langgraph_control.audit.people.approvals import REFUSALS
from langgraph_control.audit.postgres.logins import add_login
from langgraph_control.errors import ApprovalRefused, ArgumentError
from tests.support.complete_entries import incomplete_entries
from tests.support.desk import Desk, new_trigger, told
from tests.support.postgres import Database
from tests.support.trails import TrailWriter

POLICY = Policy.parse(
    """\
version: 1
roles:
  finance: [ana@acme.example, bo@acme.example]
  cfo: [cleo@acme.example]
  oncall: [ola@acme.example]
owner: finance
approve: {within: 1h, on_expiry: deny, not_by: [requester, editor, previous_approver]}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 1000}}, then: approve, by: finance, break_glass: oncall}
  - {tool: refund, when: {amount: {gt: 1000, lte: 9000}}, then: approve, by: {finance: 2, cfo: 1}}
""",
    source="authority.yaml",
)
PEOPLE = ("ana", "bo", "cleo", "ola", "di")
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """A desk where everybody of the policy, and Di who is in no role, has a login."""
    publish_policy(database.admin, POLICY)
    for name in PEOPLE:
        person = f"{name}@acme.example"
        add_login(database.admin, f"test_approver_{name}", role="approver", person=person, create=True)
    made = Desk(database=database, control=Control(POLICY, dsn=database.agent))
    with made.control:
        yield made
    assert incomplete_entries(database) == []


def waiting(desk: Desk, *amounts: int, actor: str = "support-bot") -> tuple[Any, str, Run]:
    """A run that waits for people: its graph, its trigger, and itself."""
    graph, trigger = desk.refunding(*(amounts or (500,))), new_trigger()
    return graph, trigger, desk.run(graph, trigger=trigger, actor=actor)


def says(desk: Desk, person: str) -> Approvals:
    """What a person decides with."""
    return Approvals(desk.database.approver(person))


def refusal(word: Any, *args: Any, **said: Any) -> str:
    """Return why somebody's word does not count."""
    with pytest.raises(ApprovalRefused) as refused:
        word(*args, **said)
    return refused.value.code


def facts(desk: Desk, run: Run) -> list[dict[str, Any]]:
    """What the entries of a run say, in order."""
    with LedgerConnection(desk.database.agent) as auditor:
        return [orjson.loads(entry.facts) for entry in auditor.entries(run_id(run.id))]


def events(desk: Desk, run: Run) -> list[str]:
    """Everything that is on record of a run, in order."""
    return [event for fact in facts(desk, run) for event in fact["events"]]


# All of


def test_each_role_fills_its_own_places(desk: Desk) -> None:
    """Two of finance and one of cfo are three people: a third of one role is none of the other."""
    graph, trigger, run = waiting(desk, 2000)
    (name,) = run.approvals
    with says(desk, "ana") as ana, says(desk, "bo") as bo, says(desk, "cleo") as cleo:
        assert ana.approve(name).answer is Voting.OPEN
        assert bo.approve(name).answer is Voting.OPEN
        assert cleo.approve(name).answer is Voting.GRANTED
    assert str(desk.run(graph, trigger=trigger)) == "done"


# Who is kept out


def test_whoever_approved_one_step_does_not_approve_the_next(desk: Desk) -> None:
    """With `previous_approver`, two steps of one run need two people."""
    graph, trigger, run = waiting(desk, 500, 600)
    first, second = run.approvals
    with says(desk, "ana") as ana, says(desk, "bo") as bo:
        ana.approve(first)
        assert refusal(ana.approve, second) == "approved_before"
        bo.approve(second)
    assert str(desk.run(graph, trigger=trigger)) == "done"
    assert sorted(desk.done) == ["o0:500", "o1:600"]


def test_neither_order_of_votes_lets_one_person_approve_two_steps(desk: Desk) -> None:
    """Whichever of two requests of a run is decided first, the other one needs somebody else."""
    _, _, run = waiting(desk, 500, 600)
    first, second = run.approvals
    with says(desk, "ana") as ana:
        ana.approve(second)
        assert refusal(ana.approve, first) == "approved_before"


def test_votes_on_two_open_requests_do_not_both_count(desk: Desk) -> None:
    """Of two steps that one person has said yes to while both were open, the second needs somebody else."""
    wider = POLICY.text.replace("bo@acme.example]", "bo@acme.example, di@acme.example]")
    policy = Policy.parse(wider.replace("{finance: 2, cfo: 1}", "{finance: 2}"), source="wider.yaml")
    publish_policy(desk.database.admin, policy)
    with Control(policy, dsn=desk.database.agent) as control:
        wide = Desk(database=desk.database, control=control)
        graph, trigger, run = waiting(wide, 2000, 3000)
        first, second = run.approvals
        with says(desk, "ana") as ana, says(desk, "bo") as bo, says(desk, "di") as di:
            ana.approve(first)
            ana.approve(second)
            assert bo.approve(first).answer is Voting.GRANTED
            assert di.approve(second).answer is Voting.OPEN
        assert wide.run(graph, trigger=trigger).approvals == (second,)
    assert len(wide.done) == 1


def test_whoever_edited_does_not_approve_what_came_of_it(desk: Desk) -> None:
    """With `editor`, a change needs another person's yes than its author's."""
    graph, trigger, run = waiting(desk)
    with says(desk, "ana") as ana, says(desk, "bo") as bo:
        ana.edit(run.approvals[0], {"amount": "300"})
        (name,) = desk.run(graph, trigger=trigger).approvals
        assert refusal(ana.approve, name) == "is_editor"
        bo.approve(name)
    assert str(desk.run(graph, trigger=trigger)) == "done"
    assert desk.done == ["o0:300"]


def test_nobody_approves_what_their_stand_in_made_of_it(desk: Desk) -> None:
    """A change that was made in somebody's place is theirs, too: with `editor` neither of the two says yes to it."""
    graph, trigger, run = waiting(desk)
    with says(desk, "ana") as ana, says(desk, "bo") as bo, says(desk, "di") as di:
        ana.delegate("di@acme.example", until=TOMORROW)
        di.edit(run.approvals[0], {"amount": "300"})
        (name,) = desk.run(graph, trigger=trigger).approvals
        assert refusal(ana.approve, name) == "is_editor"
        assert refusal(di.approve, name) == "is_editor"
        bo.approve(name)
    assert str(desk.run(graph, trigger=trigger)) == "done"


# Votes taken back


def test_a_yes_is_taken_back_before_it_is_used(desk: Desk) -> None:
    """A grant without its vote is a request again; the write waits, and goes once somebody says yes."""
    graph, trigger, run = waiting(desk)
    (name,) = run.approvals
    with says(desk, "ana") as ana, says(desk, "bo") as bo:
        assert ana.approve(name).answer is Voting.GRANTED
        assert ana.withdraw(name, comment="too fast").answer is Voting.OPEN
        run = desk.run(graph, trigger=trigger)
        assert (run.state, desk.done) == (RunState.NEEDS_APPROVAL, [])
        assert refusal(ana.withdraw, name) == "no_vote"
        bo.approve(name)
        assert str(desk.run(graph, trigger=trigger)) == "done"
        assert refusal(bo.withdraw, name) == "used"
    assert desk.done == ["o0:500"]
    assert events(desk, run).count("approval.vote_withdrawn") == 1


def test_one_of_several_yeses_is_taken_back(desk: Desk) -> None:
    """What is not granted yet needs one more again."""
    _, _, run = waiting(desk, 2000)
    (name,) = run.approvals
    with says(desk, "ana") as ana, says(desk, "bo") as bo, says(desk, "cleo") as cleo:
        ana.approve(name)
        bo.approve(name)
        assert ana.withdraw(name).votes == 1
        assert cleo.approve(name).answer is Voting.OPEN


# Reasons


def test_a_rejection_says_what_the_model_can_do(desk: Desk) -> None:
    """A reason is a word the model can act on; without one, it is not to ask again."""
    graph, trigger, run = waiting(desk, 500, 600)
    first, second = sorted(run.approvals, key=lambda name: _amount(desk, name))  # asked at once, in whatever order
    with says(desk, "ana") as ana:
        ana.reject(first, code="wrong_amount", comment="at most 300")
        ana.reject(second)
        with pytest.raises(ArgumentError, match="needs_information"):
            ana.reject(second, code="because")
    run = desk.run(graph, trigger=trigger)
    assert told(run) == [
        (
            "refund was rejected by a person and not done: the amount is wrong. Comment: at most 300 "
            "Ask again only with another amount, if what you were asked to do allows for one."
        ),
        "refund was rejected by a person and not done. Do not ask for the same change again.",
    ]


# Delegation


def test_somebody_stands_in_until_a_date(desk: Desk) -> None:
    """Di has no role; with Ana's leave she votes as one of finance, and both names are on record."""
    graph, trigger, run = waiting(desk)
    (name,) = run.approvals
    with says(desk, "ana") as ana, says(desk, "di") as di:
        assert refusal(di.approve, name) == "unknown_person"
        ana.delegate("di@acme.example", until=TOMORROW, comment="on leave")
        assert [one.to_person for one in di.delegations()] == ["di@acme.example"]
        assert di.approve(name).answer is Voting.GRANTED
        assert di.get(name).voters == ("di@acme.example for ana@acme.example:approve",)
        assert refusal(ana.approve, name) == "closed"
    assert str(desk.run(graph, trigger=trigger)) == "done"


def test_a_stand_ins_word_names_the_authority_it_rested_on(desk: Desk) -> None:
    """What Di changes and approves for Ana has Ana's name and the role that counted, on record and where it is told."""
    graph, trigger, run = waiting(desk, 500, 600)
    changed, approved = run.approvals
    with says(desk, "ana") as ana, says(desk, "di") as di:
        given = ana.delegate("di@acme.example", until=TOMORROW)
        di.edit(changed, {"amount": "300"})
        di.approve(approved)
        (edit,) = di.words(changed).edits
        assert (edit.person, edit.roles, edit.delegator) == ("di@acme.example", ("finance",), "ana@acme.example")
        (name,) = desk.run(graph, trigger=trigger).approvals
        assert di.get(name).edited_by == "di@acme.example for ana@acme.example"
    said = {fact["decision"]: fact for fact in facts(desk, run) if fact.get("person") == "di@acme.example"}
    assert said.keys() == {"edit", "approve"}
    for word in said.values():
        assert (word["roles"], word["delegator"]) == (["finance"], "ana@acme.example")
        assert word["delegation"] == str(given)


def test_a_delegation_is_one_vote_for_two_people(desk: Desk) -> None:
    """Who stands in for somebody who has voted adds nothing, and after the stand-in the delegator adds nothing."""
    _, _, run = waiting(desk, 2000)
    (name,) = run.approvals
    with says(desk, "ana") as ana, says(desk, "bo") as bo, says(desk, "di") as di:
        ana.delegate("di@acme.example", until=TOMORROW)
        ana.approve(name)
        assert refusal(di.approve, name) == "unknown_person"
        ana.withdraw(name)
        di.approve(name)
        assert refusal(ana.approve, name) == "already_voted"
        assert bo.approve(name).votes == 2


@pytest.mark.parametrize("requester", ["ana@acme.example", "di@acme.example"])
def test_nobody_approves_their_own_through_a_delegate(desk: Desk, requester: str) -> None:
    """Neither may the requester's stand-in vote for them, nor may the requester stand in for somebody else."""
    _, _, run = waiting(desk, actor=requester)
    with says(desk, "ana") as ana, says(desk, "di") as di:
        ana.delegate("di@acme.example", until=TOMORROW)
        assert refusal(di.approve, run.approvals[0]) == "is_requester"
    assert desk.done == []


def test_a_revoked_delegation_takes_its_votes_along(desk: Desk) -> None:
    """A grant that rests on it is a request again, at the claim at the latest."""
    graph, trigger, run = waiting(desk)
    (name,) = run.approvals
    with says(desk, "ana") as ana, says(desk, "bo") as bo, says(desk, "di") as di:
        given = ana.delegate("di@acme.example", until=TOMORROW, role="finance")
        di.approve(name)
        assert refusal(bo.revoke, given, comment="mine now") == "not_yours"
        refused = of_tenant(desk)[-1]
        assert (refused["events"], refused["reason"]) == (["delegation.refused"], "not_yours")
        assert (refused["person"], refused["delegation"]) == ("bo@acme.example", str(given))
        ana.revoke(given)
        ana.revoke(given)
        assert ana.delegations() == ()
        assert desk.run(graph, trigger=trigger).state is RunState.NEEDS_APPROVAL
    assert desk.done == []


def test_a_delegation_that_is_over_gives_nothing(desk: Desk) -> None:
    """After its end the stand-in is nobody again; what was voted before stays."""
    _, _, run = waiting(desk)
    with says(desk, "ana") as ana, says(desk, "di") as di:
        ana.delegate("di@acme.example", until=TOMORROW)
        with psycopg.connect(desk.database.admin) as connection:
            connection.execute("UPDATE control.delegation SET until = clock_timestamp()")
        assert refusal(di.approve, run.approvals[0]) == "unknown_person"


REFUSED_DELEGATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "to oneself": ({"to": "Ana@acme.example"}, "to_yourself"),
    "of a role one has not": ({"role": "cfo"}, "not_your_role"),
    "of a role that there is not": ({"role": "nosuch"}, "unknown_role"),
    "over already": ({"until": datetime(2020, 1, 1, tzinfo=UTC)}, "over_already"),
    "for ever": ({"until": TOMORROW + timedelta(days=400)}, "too_long"),
}


@pytest.mark.parametrize("what", REFUSED_DELEGATIONS)
def test_a_delegation_that_makes_no_sense_is_refused(desk: Desk, what: str) -> None:
    """Each under its own code, and nobody stands in for anybody."""
    changes, code = REFUSED_DELEGATIONS[what]
    given: dict[str, Any] = {"to": "di@acme.example", "until": TOMORROW, **changes}
    with says(desk, "ana") as ana:
        assert refusal(ana.delegate, given.pop("to"), **given) == code
        assert ana.delegations() == ()
        with pytest.raises(ArgumentError, match="time zone"):
            ana.delegate("di@acme.example", until=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point
        unknown = uuid4()
        assert refusal(ana.revoke, unknown) == "unknown_delegation"
    refused = of_tenant(desk)[-1]
    assert (refused["events"], refused["reason"]) == (["delegation.refused"], "unknown_delegation")
    assert (refused["person"], refused["delegation"]) == ("ana@acme.example", str(unknown))


def withdraws(ana: Approvals, name: UUID) -> None:
    """Say yes, and take it back."""
    ana.approve(name)
    ana.withdraw(name)


def lends(ana: Approvals, name: UUID) -> None:
    """Let somebody stand in, and end that."""
    del name
    ana.revoke(ana.delegate("di@acme.example", until=TOMORROW))


SAYINGS: dict[str, tuple[Callable[[Approvals, UUID], Any], set[str]]] = {
    "a vote": (lambda ana, name: ana.approve(name), {"approval.voted"}),
    "a vote taken back": (withdraws, {"approval.voted", "approval.vote_withdrawn"}),
    "an edit": (lambda ana, name: ana.edit(name, {"amount": "1"}), {"approval.edited"}),
    "a review": (lambda ana, name: refusal(ana.review, name, "accepted"), {"review.refused"}),
    "a word on nothing": (lambda ana, _: refusal(ana.approve, uuid4()), {"approval.refused"}),
    "a delegation": (lends, {"delegation.given", "delegation.revoked"}),
    "a refused one": (
        lambda ana, _: refusal(ana.delegate, "di@acme.example", until=TOMORROW, role="cfo"),
        {"delegation.refused"},
    ),
    "a revocation of nothing": (lambda ana, _: refusal(ana.revoke, uuid4()), {"delegation.refused"}),
}


@pytest.mark.parametrize("saying", SAYINGS)
def test_every_word_is_on_record_with_the_roles_of_that_time(desk: Desk, saying: str) -> None:
    """Whatever Ana says, and whether or not it counts: that she was of finance then stands beside her name."""
    _, _, run = waiting(desk)
    word, wanted = SAYINGS[saying]
    with says(desk, "ana") as ana:
        word(ana, approval_id(run.approvals[0]))
    said = [fact for fact in (*facts(desk, run), *of_tenant(desk)) if fact.get("person") == "ana@acme.example"]
    assert wanted <= {event for fact in said for event in fact["events"]}
    assert [fact.get("roles") for fact in said] == [["finance"]] * len(said)


WORDS: dict[str, Callable[[Approvals, UUID], Any]] = {
    "approve": lambda says, name: says.approve(name),
    "reject": lambda says, name: says.reject(name, comment="no"),
    "break_glass": lambda says, name: says.break_glass(name, comment="now"),
    "withdraw": lambda says, name: says.withdraw(name),
    "edit": lambda says, name: says.edit(name, {"amount": "1"}),
    "review": lambda says, name: says.review(name, "accepted"),
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_on_a_request_that_there_is_not_is_on_record(desk: Desk, word: str) -> None:
    """Whoever tries names of requests, another tenant's among them, is on record with them, in the tenant's chain."""
    _, _, run = waiting(desk)
    guessed, there = uuid4(), approval_id(run.approvals[0])
    add_login(desk.database.admin, "test_approver_di", role="approver", person="di@acme.example", tenant="other")
    for person, name in (("ana", guessed), ("di", there)):
        with says(desk, person) as approvals:
            assert refusal(WORDS[word], approvals, name) == "unknown_request"
        said = of_tenant(desk, person)[-1]
        assert (said["events"], said["reason"]) == (["approval.refused"], "unknown_request")
        assert (said["person"], said["approval"], said["decision"]) == (f"{person}@acme.example", str(name), word)
    assert desk.control.get(run.id).approvals == run.approvals


def of_tenant(desk: Desk, person: str = "ana") -> list[dict[str, Any]]:
    """Return what the entries of the own chain of a person's tenant say."""
    with psycopg.connect(desk.database.admin) as admin:
        rows = admin.execute(
            "SELECT e.facts::jsonb FROM control.login l"
            " JOIN control.entry e ON e.run_id = control.tenant_chain_id(l.tenant) WHERE l.login = %s ORDER BY e.seq",
            (f"test_approver_{person}",),
        ).fetchall()
    return [facts for (facts,) in rows]


def test_a_stand_in_lends_nothing_on(desk: Desk) -> None:
    """Di votes for Ana; whom Di names votes for nobody."""
    _, _, run = waiting(desk)
    with says(desk, "ana") as ana, says(desk, "di") as di, says(desk, "ola") as ola:
        ana.delegate("di@acme.example", until=TOMORROW)
        assert refusal(di.delegate, "ola@acme.example", until=TOMORROW) == "unknown_person"
        assert refusal(ola.approve, run.approvals[0]) == "not_in_role"


# A flood of requests


@pytest.mark.parametrize("limit", ["open_per_run", "open_per_tenant"])
def test_a_run_does_not_flood_people(desk: Desk, limit: str) -> None:
    """As many requests wait at once as the published policy allows; the model is told of the rest, which may come."""
    capped = POLICY.text.replace("within: 1h,", f"within: 1h, {limit}: 2,")
    publish_policy(desk.database.admin, Policy.parse(capped, source="capped.yaml"))
    graph, trigger, run = waiting(desk, 500, 600, 700)
    assert len(run.approvals) == 2
    desk.reject(run.approvals)
    run = desk.run(graph, trigger=trigger)
    assert sum("as many requests wait for people" in one for one in told(run)) == 1
    assert len(waiting(desk, 800)[2].approvals) == 1


# Emergencies


def test_one_person_decides_alone_in_an_emergency(desk: Desk) -> None:
    """Where the policy says so and with a comment; it is loud on record, and somebody else looks at it afterwards."""
    graph, trigger, run = waiting(desk)
    (name,) = run.approvals
    with says(desk, "ola") as ola, says(desk, "ana") as ana:
        assert refusal(ola.approve, name) == "not_in_role"
        assert refusal(ola.break_glass, name) == "comment_missing"
        assert ola.break_glass(name, comment="outage").answer is Voting.GRANTED
        assert str(desk.run(graph, trigger=trigger)) == "done"
        assert {"approval.broke_glass", "review.opened"} <= set(events(desk, run))
        (found,) = ana.reviews()
        assert (found.approval_id, found.in_review) == (approval_id(name), True)
        assert refusal(ola.review, name, "accepted") == "broke_glass"
        assert refusal(ana.review, name, "objected") == "comment_missing"
        ana.review(name, "objected", comment="could have called me")
        assert refusal(ana.review, name, "accepted") == "closed"
        assert ana.reviews() == ()
    assert events(desk, run)[-2:] == ["review.closed", "review.refused"]


def test_what_nobody_decided_alone_is_not_reviewed(desk: Desk) -> None:
    """A request that waits, or that people voted on, is no emergency, and is not called closed; that is on record."""
    _, _, run = waiting(desk)
    (name,) = run.approvals
    with says(desk, "ana") as ana, says(desk, "bo") as bo:
        assert refusal(bo.review, name, "accepted") == "nothing_to_review"
        ana.approve(name)
        assert refusal(bo.review, name, "accepted") == "nothing_to_review"
    assert events(desk, run)[-1] == "review.refused"


@pytest.mark.parametrize("code", ["unknown_role", "not_your_role"])
def test_a_delegation_is_refused_in_words_of_its_own(code: str) -> None:
    """Nobody asked for anything: what is said of a delegation speaks of no request."""
    assert "request" not in " ".join(REFUSALS[code])


def test_nobody_decides_alone_where_the_policy_does_not_say_so(desk: Desk) -> None:
    """The rule for large amounts has no such clause; and where it has, it is for the role it names."""
    _, _, run = waiting(desk, 2000, 500)
    large, small = sorted(run.approvals, key=lambda name: _amount(desk, name), reverse=True)
    with says(desk, "ola") as ola, says(desk, "ana") as ana:
        assert refusal(ola.break_glass, large, comment="outage") == "no_break_glass"
        assert refusal(ana.break_glass, small, comment="outage") == "not_in_role"


def test_an_agent_cannot_allow_itself_an_emergency(desk: Desk) -> None:
    """What an agent's own policy says about it holds only as far as the published one says it, too."""
    publish_policy(desk.database.admin, Policy.parse(POLICY_WITHOUT_GLASS, source="strict.yaml"))
    _, _, run = waiting(desk)
    with says(desk, "ola") as ola:
        assert refusal(ola.break_glass, run.approvals[0], comment="outage") == "no_break_glass"


def test_an_emergency_ends_with_the_policy_that_allowed_it(desk: Desk) -> None:
    """What one person approved alone is asked about again if that is published away before it has run."""
    graph, trigger, run = waiting(desk)
    with says(desk, "ola") as ola:
        ola.break_glass(run.approvals[0], comment="outage")
    publish_policy(desk.database.admin, Policy.parse(POLICY_WITHOUT_GLASS, source="strict.yaml"))
    assert desk.run(graph, trigger=trigger).state is RunState.NEEDS_APPROVAL
    assert desk.done == []


POLICY_WITHOUT_GLASS = """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example], cfo: [cleo@acme.example], oncall: [ola@acme.example]}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 9000}}, then: approve, by: finance}
"""


def test_the_requester_does_not_break_the_glass(desk: Desk) -> None:
    """An emergency is no leave to approve one's own."""
    _, _, run = waiting(desk, actor="ola@acme.example")
    with says(desk, "ola") as ola:
        assert refusal(ola.break_glass, run.approvals[0], comment="outage") == "is_requester"


def test_a_withdrawn_emergency_is_none(desk: Desk) -> None:
    """Taken back before it was used, nothing is done or to be reviewed; once it is broken again, there is."""
    graph, trigger, run = waiting(desk)
    with says(desk, "ola") as ola, says(desk, "ana") as ana:
        ola.break_glass(run.approvals[0], comment="outage")
        ola.withdraw(run.approvals[0])
        assert ana.reviews() == ()
        assert desk.run(graph, trigger=trigger).state is RunState.NEEDS_APPROVAL
        assert desk.done == []
        ola.break_glass(run.approvals[0], comment="an outage after all")
        assert [row.approval_id for row in ana.reviews()] == [approval_id(run.approvals[0])]


def test_an_emergency_after_a_review_is_reviewed_too(desk: Desk) -> None:
    """Accepted, taken back and broken again: what is done in the end is looked at, and nobody reviews it beforehand."""
    graph, trigger, run = waiting(desk)
    (name,) = run.approvals
    with says(desk, "ola") as ola, says(desk, "ana") as ana:
        ola.break_glass(name, comment="outage")
        ana.review(name, "accepted")
        ola.withdraw(name)
        assert ana.reviews() == ()
        ola.break_glass(name, comment="another outage")
        assert str(desk.run(graph, trigger=trigger)) == "done"
        assert [row.approval_id for row in ana.reviews()] == [approval_id(name)]
        assert refusal(ola.review, name, "accepted") == "broke_glass"
        ana.review(name, "objected", comment="once was enough")
        assert ana.reviews() == ()


def test_every_word_has_an_async_twin(desk: Desk) -> None:
    """Withdrawing, editing, delegating, revoking, breaking the glass and reviewing go on any event loop."""
    _, _, run = waiting(desk, 500, 700)
    first, second = run.approvals

    async def speak() -> tuple[Any, ...]:
        async with says(desk, "ana") as ana, says(desk, "ola") as ola:
            await ana.aapprove(first)
            await ana.awithdraw(first)
            given = await ana.adelegate("di@acme.example", until=TOMORROW)
            known = await ana.adelegations()
            await ana.arevoke(given)
            await ola.abreak_glass(second, comment="outage")
            found = await ana.areviews()
            await ana.areview(second, "accepted")
            edited = await ana.aedit(first, {"amount": "400"})
            return given, [one.delegation_id for one in known], len(found), edited.answer

    given, known, found, edited = asyncio.run(speak())
    assert isinstance(given, UUID)
    assert (known, found, edited) == ([given], 1, Voting.EDITED)


def _amount(desk: Desk, name: str) -> int:
    with says(desk, "ana") as ana:
        return int(orjson.loads(ana.get(name).card)["what"]["arguments"]["amount"])


def test_what_is_not_tried_any_more_is_not_asked_about(database: Database) -> None:
    """Tried, then in need of a yes, and out of tries meanwhile, a write is for people, and its request is withdrawn."""
    with TrailWriter(database) as trail:
        run = trail.open()
        tried, _ = trail.claim(run)
        trail.settle(run, tried, Outcome.NOT_DONE)
        _, asked = trail.claim(run, verb="approve")
        assert (asked.state, asked.reason) == ("needs_approval", "needs_approval")
        _, over = trail.claim(run, verb="approve", attempts_max=1)
        assert (over.answer, over.reason, over.state) == (Answer.PARK, "needs_human", "needs_human")
    with Approvals(database.approver("ana")) as approvals:
        assert approvals.get(asked.approval_id or "").state == "withdrawn"
