"""Who may vote, when votes suffice, and how requirements join."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.approvals import (
    REQUESTER,
    Escalation,
    Refusal,
    Requirement,
    may_vote,
    satisfied,
    stricter,
)
from tests.support.policies import ROLES, requirements

PEOPLE = ("ana", "bo", "cy", "di")
maybe = st.one_of(st.none(), requirements())
votes = st.lists(st.sampled_from(PEOPLE))
memberships = st.dictionaries(st.sampled_from(PEOPLE), st.sets(st.sampled_from(ROLES)))


def requirement(quorum: dict[str, int], **changes: Any) -> Requirement:
    """A requirement as the defaults give it, with changes."""
    given_fields: dict[str, Any] = {
        "not_by": frozenset({REQUESTER}),
        "within_seconds": 86400,
        "execute_within_seconds": 86400,
        "on_expiry": "deny",
        "comment_required": False,
    }
    return Requirement(quorum=quorum, **(given_fields | changes))


@given(maybe, maybe)
def test_join_is_commutative(one: Requirement | None, other: Requirement | None) -> None:
    """It does not matter which of two requirements comes first."""
    assert stricter(one, other) == stricter(other, one)


@given(maybe, maybe, maybe)
def test_join_is_associative(one: Requirement | None, other: Requirement | None, third: Requirement | None) -> None:
    """It does not matter which two of three requirements are joined first."""
    assert stricter(stricter(one, other), third) == stricter(one, stricter(other, third))


@given(maybe)
def test_join_is_idempotent(one: Requirement | None) -> None:
    """Asking for the same twice asks for it once."""
    assert stricter(one, one) == one


@given(requirements(), requirements(), votes, memberships)
def test_votes_that_meet_a_join_meet_both_parts(
    one: Requirement, other: Requirement, yes: list[str], roles: dict[str, set[str]]
) -> None:
    """A join is never looser than either of its parts: in people, in time, in who is kept out, in comments."""
    joined = stricter(one, other)
    assert joined is not None
    for part in (one, other):
        assert not satisfied(joined, yes, roles) or satisfied(part, yes, roles)
        assert joined.within_seconds <= part.within_seconds
        assert joined.execute_within_seconds <= part.execute_within_seconds
        assert joined.not_by >= part.not_by
        assert joined.comment_required >= part.comment_required


@given(requirements(), requirements(), votes, memberships)
def test_a_join_that_nobody_answered_is_no_looser_than_its_parts(
    one: Requirement, other: Requirement, yes: list[str], roles: dict[str, set[str]]
) -> None:
    """What is denied on expiry for one part is denied for the join; what goes to others goes to the others of both."""
    joined = stricter(one, other)
    assert joined is not None
    later = joined.expired()
    assert (later is None) == (one.expired() is None or other.expired() is None)
    for part in (one, other):
        expired = part.expired()
        if later is not None and expired is not None:
            assert not satisfied(later, yes, roles) or satisfied(expired, yes, roles)
            assert later.within_seconds <= expired.within_seconds


@given(requirements())
def test_a_request_is_put_to_others_once(asked: Requirement) -> None:
    """Others have a time of their own and are not followed by anybody; all else stays as it was asked for."""
    later = asked.expired()
    if later is not None:
        assert later.expired() is None
        assert (later.not_by, later.comment_required) == (asked.not_by, asked.comment_required)
        assert asked.roles == frozenset(asked.quorum) | frozenset(later.quorum)
        assert asked.fewest_people == min(asked.people, later.people)
    else:
        assert (asked.roles, asked.fewest_people) == (frozenset(asked.quorum), asked.people)


def test_the_canonical_form_of_an_escalation() -> None:
    """SQL reads who is asked next, and for how long, under `on_expiry`."""
    asked = requirement({"finance": 2}, on_expiry=Escalation(quorum={"cfo": 1}, within_seconds=60))
    assert asked.canonical()["on_expiry"] == {"escalate": {"cfo": 1}, "within_seconds": 60}


@pytest.mark.parametrize(("quorum", "within"), [({}, 60), ({"cfo": 0}, 60), ({"cfo": 1}, 0)])
def test_an_escalation_to_nobody_cannot_be_built(quorum: dict[str, int], within: int) -> None:
    """Nobody, or no time, is no second chance."""
    with pytest.raises(ValueError, match="at least one"):
        Escalation(quorum=quorum, within_seconds=within)


@given(requirements(), votes, st.sampled_from(PEOPLE), memberships)
def test_another_yes_never_takes_a_grant_away(
    asked: Requirement, yes: list[str], one_more: str, roles: dict[str, set[str]]
) -> None:
    """Satisfaction is monotone in votes."""
    assert not satisfied(asked, yes, roles) or satisfied(asked, [*yes, one_more], roles)


@given(requirements(), votes, memberships)
def test_votes_without_a_role_change_nothing(asked: Requirement, yes: list[str], roles: dict[str, set[str]]) -> None:
    """Only people who hold a role that is asked for count."""
    counting = [person for person in yes if not asked.quorum.keys().isdisjoint(roles.get(person, ()))]
    assert satisfied(asked, yes, roles) == satisfied(asked, counting, roles)


@given(requirements())
def test_canonical_form_comes_back_through_json(asked: Requirement) -> None:
    """What SQL stores as jsonb is the requirement, whole."""
    assert Requirement.from_canonical(orjson.loads(orjson.dumps(asked.canonical()))) == asked


def test_canonical_form_is_the_documented_one() -> None:
    """SQL reads these keys; renaming one is a migration."""
    assert requirement({"finance": 1}).canonical() == {
        "quorum": {"finance": 1},
        "not_by": ["requester"],
        "within_seconds": 86400,
        "execute_within_seconds": 86400,
        "on_expiry": "deny",
        "comment_required": False,
    }


def test_equal_requirements_have_equal_bytes() -> None:
    """The order in which roles were written leaves no trace."""
    one, other = requirement({"a": 1, "b": 2}), requirement({"b": 2, "a": 1})
    assert orjson.dumps(one.canonical()) == orjson.dumps(other.canonical())


@pytest.mark.parametrize("quorum", [{}, {"finance": 0}, {"finance": 1, "support": -1}])
def test_a_requirement_that_asks_nobody_cannot_be_built(quorum: dict[str, int]) -> None:
    """An empty quorum would be satisfied by no votes at all."""
    with pytest.raises(ValueError, match="at least one"):
        requirement(quorum)


@pytest.mark.parametrize("changes", [{"within_seconds": 0}, {"execute_within_seconds": -1}])
def test_a_requirement_without_time_cannot_be_built(changes: dict[str, int]) -> None:
    """A request nobody could answer in time is a mistake, not a strict rule."""
    with pytest.raises(ValueError, match="one second"):
        requirement({"finance": 1}, **changes)


@pytest.mark.parametrize(
    ("yes", "enough"),
    [([], False), (["ana"], False), (["ana", "ana"], False), (["ana", "di"], False), (["ana", "bo"], True)],
)
def test_two_of_a_role_are_two_people_of_that_role(yes: list[str], enough: bool) -> None:  # noqa: FBT001 - table
    """Neither voting twice nor the vote of an outsider makes a second person."""
    roles = {"ana": {"finance"}, "bo": {"finance"}, "di": {"support"}}
    assert satisfied(requirement({"finance": 2}), yes, roles) is enough


def test_one_person_in_two_roles_fills_one_place() -> None:
    """One of finance and one of security are two people, whatever roles the first one has."""
    both = requirement({"finance": 1, "security": 1})
    roles = {"ana": {"finance", "security"}, "bo": {"finance"}}
    assert not satisfied(both, ["ana"], roles)
    assert satisfied(both, ["ana", "bo"], roles)


def test_a_person_who_lost_the_role_no_longer_counts() -> None:
    """Roles are those of now, not those of the vote."""
    assert not satisfied(requirement({"finance": 1}), ["ana"], {"ana": set()})


ELIGIBLE: dict[str, Any] = {"roles_of_person": {"finance"}, "requester": "agent", "on_behalf_of": "cy@acme.example"}


@pytest.mark.parametrize(
    ("person", "changes", "refusal"),
    [
        ("ana@acme.example", {}, None),
        (None, {}, Refusal.UNKNOWN_PERSON),
        ("", {}, Refusal.UNKNOWN_PERSON),
        ("agent", {}, Refusal.IS_REQUESTER),
        ("cy@acme.example", {}, Refusal.IS_REQUESTER),
        ("Cy@ACME.example ", {}, Refusal.IS_REQUESTER),
        ("ana@acme.example", {"roles_of_person": {"support"}}, Refusal.NOT_IN_ROLE),
        ("ana@acme.example", {"roles_of_person": ()}, Refusal.UNKNOWN_PERSON),
        ("ana@acme.example", {"closed": True, "expired": True}, Refusal.CLOSED),
        ("ana@acme.example", {"expired": True}, Refusal.EXPIRED),
        (None, {"expired": True}, Refusal.UNKNOWN_PERSON),
        ("cy@acme.example", {"roles_of_person": {"support"}}, Refusal.NOT_IN_ROLE),
        ("ana@acme.example", {"already_voted": True}, Refusal.ALREADY_VOTED),
    ],
)
def test_a_vote_is_refused_for_the_first_reason(
    person: str | None, changes: dict[str, Any], refusal: Refusal | None
) -> None:
    """Each reason has its code, and the order of the reasons is fixed."""
    assert may_vote(person, requirement=requirement({"finance": 1}), **(ELIGIBLE | changes)) is refusal


def test_the_requester_may_vote_only_where_the_policy_says_so() -> None:
    """An explicit empty `not_by` lifts the rule; nothing else does."""
    asked = requirement({"finance": 1}, not_by=frozenset())
    assert may_vote("agent", requirement=asked, **ELIGIBLE) is None


@pytest.mark.parametrize("comment", [None, "", "   "])
def test_a_required_comment_says_something(comment: str | None) -> None:
    """A blank comment is none."""
    asked = requirement({"finance": 1}, comment_required=True)
    assert may_vote("ana", requirement=asked, **ELIGIBLE, comment=comment) is Refusal.COMMENT_MISSING
    assert may_vote("ana", requirement=asked, **ELIGIBLE, comment="looked at the invoice") is None


@given(requirements(), st.sampled_from(PEOPLE), st.sets(st.sampled_from(ROLES)))
def test_whoever_may_vote_counts(asked: Requirement, person: str, roles: set[str]) -> None:
    """A vote that is accepted moves the count of some role: nobody's accepted yes is worthless."""
    accepted = may_vote(
        person, requirement=asked, roles_of_person=roles, requester="agent", on_behalf_of=None, comment="seen"
    )
    if accepted is None:
        role = next(iter(asked.quorum.keys() & roles))
        assert satisfied(requirement({role: 1}), [person], {person: roles})
