"""Whether distinct people can fill a quorum: against every way to seat them, and as the policy file says it."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control import Policy
from langgraph_control.errors import PolicyError
from langgraph_control.guards.quorums import shortage

PEOPLE = ("ana", "bo", "cy", "di", "eve")
ROLES = ("audit", "cfo", "finance", "legal")

rosters = st.fixed_dictionaries({role: st.lists(st.sampled_from(PEOPLE), min_size=1, unique=True) for role in ROLES})
quorums = st.dictionaries(st.sampled_from(ROLES), st.integers(1, 3), min_size=1)


def can_be_seated(quorum: dict[str, int], roles: dict[str, list[str]]) -> bool:
    """Whether some way to put one person on each place exists, by trying all of them."""
    places = [role for role, count in quorum.items() for _ in range(count)]
    return any(
        all(person in roles[role] for person, role in zip(seated, places, strict=True))
        for seated in permutations(PEOPLE, len(places))
    )


@given(quorum=quorums, roles=rosters)
def test_a_quorum_is_short_where_no_seating_fills_it(quorum: dict[str, int], roles: dict[str, list[str]]) -> None:
    """Exactly where trying all ways to seat people finds none; and the roles named have too few by themselves."""
    short = shortage(quorum, roles)
    assert (short is None) is can_be_seated(quorum, roles)
    if short is not None:
        assert short.asked == sum(quorum[role] for role in short.roles)
        assert short.there == len({person for role in short.roles for person in roles[role]})
        assert short.asked > short.there


@given(quorum=quorums, roles=rosters, grouped=st.sampled_from(ROLES))
def test_a_role_of_a_group_is_never_short(quorum: dict[str, int], roles: dict[str, list[str]], grouped: str) -> None:
    """Nobody can count a group's people: such a role is taken for filled, and the others are still looked at."""
    counted = {role: count for role, count in quorum.items() if role != grouped}
    roles[grouped] = ["group:everybody"]
    assert (shortage(quorum, roles) is None) is (not counted or can_be_seated(counted, roles))


def few(rules: str, *, more: str = "") -> str:
    """A policy in which one person has two roles."""
    return f"version: 1\nroles: {{finance: [ana], cfo: [ana], legal: [ana, bo]}}\nrules: [{rules}]\n{more}"


def test_the_error_says_who_is_missing_and_what_to_change() -> None:
    """It names the roles, how many people they ask for, and how many there are."""
    with pytest.raises(PolicyError) as refused:
        Policy.parse(few("{tool: refund, then: approve, by: {finance: 1, cfo: 1}}"), source="control.yaml")
    assert refused.value.code == "policy_quorum_unreachable"
    says = "control.yaml:3 rules[0].by: cfo and finance ask for 2 people, one for each place, and in all"
    assert says in str(refused.value)
    assert "name more people, or ask for fewer" in str(refused.value)


def test_rules_that_always_join_are_looked_at_together() -> None:
    """Where a rule matches only calls that another one matches, too, people are asked for both of them."""
    joined = (
        "{tool: refund, then: approve, by: cfo}, {tool: refund, when: {vip: {is: true}}, then: approve, by: finance}"
    )
    with pytest.raises(PolicyError) as refused:
        Policy.parse(few(joined), source="control.yaml")
    assert (
        "rules[1].by: wherever this matches, so does rules[0] control.yaml:3: together cfo and finance ask for 2"
        in str(refused.value)
    )


@pytest.mark.parametrize(
    "rules",
    [
        (
            "{tool: a, when: {x: {gt: 0, lte: 9}}, then: approve, by: cfo},"
            "{tool: a, when: {x: {gt: 9, lte: 99}}, then: approve, by: finance}"
        ),
        "{tool: refund, then: approve, by: cfo}, {tool: mail, then: approve, by: finance}",
        "{tool: refund, then: approve, by: cfo}, {tool: refund, system: x, then: approve, by: legal}",
        "{tool: refund, then: deny}, {tool: refund, then: approve, by: cfo},{tool: refund, then: approve, by: finance}",
    ],
)
def test_rules_that_people_can_meet_are_left_alone(rules: str) -> None:
    """Rules that never meet, that two people can fill, or that are overruled are no mistake."""
    Policy.parse(few(rules), source="control.yaml")


ACTORS = {
    "the one person there is": ("{actor: ana, then: approve, by: finance}", "rules[0].by"),
    "one of two who are both needed": ("{actor: [carol, bo], then: approve, by: {legal: 2}}", "rules[0].by"),
    "in another case of letters": ("{actor: ANA, then: approve, by: cfo}", "rules[0].by"),
    "whom it is put to": (
        "{actor: ana, then: approve, by: legal, on_expiry: {escalate_to: cfo, within: 1h}}",
        "rules[0].on_expiry",
    ),
}


@pytest.mark.parametrize(("written", "place"), ACTORS.values(), ids=ACTORS)
def test_who_asks_does_not_fill_a_place(written: str, place: str) -> None:
    """A rule about an actor that may not approve what it asks for needs its people without that one."""
    by_default = "approve: {not_by: [requester]}\n"
    with pytest.raises(PolicyError) as refused:
        Policy.parse(few(written, more=by_default), source="control.yaml")
    assert refused.value.code == "policy_quorum_unreachable"
    assert f"control.yaml:3 {place}: " in str(refused.value)
    assert "may not approve that" in str(refused.value)
    assert Policy.parse(few(written, more="approve: {not_by: []}\n"), source="control.yaml").rules


def test_who_else_is_there_may_do() -> None:
    """With people enough beside the actor the rule is one like any other."""
    assert Policy.parse(few("{actor: ana, then: approve, by: legal}"), source="control.yaml").rules


GLASS = """\
version: 1
roles: {{finance: {finance}, oncall: {oncall}}}
owner: finance
approve: {{within: 1h, on_expiry: deny, not_by: [requester]}}
rules:
  - {{tool: pay{more}, then: approve, by: finance, break_glass: oncall}}
otherwise: [{{impact: record, then: deny}}]
"""


@pytest.mark.parametrize(
    ("finance", "oncall", "more", "said"),
    [
        ("[ola]", "[ola]", "", "nobody in finance could review"),
        ("[bot, ola]", "[ola]", ", actor: bot", "nobody in finance could review"),
        ("[ola]", "[bot]", ", actor: bot", "whoever asks is the only one in oncall"),
        ("[ola]", "[ola, di]", "", None),
        ("[ola, ana]", "[ola]", "", None),
        ("[ola]", "[di]", "", None),
        ("[bot, ola]", "[ola]", "", None),
        ("['group:finance']", "[ola]", "", None),
        ("[ola]", "['group:oncall']", "", None),
    ],
)
def test_whoever_decides_alone_is_reviewed_by_somebody_else(
    finance: str, oncall: str, more: str, said: str | None
) -> None:
    """A rule of which nobody could break the glass, or nobody review it, is wrong when it is read."""
    text = GLASS.format(finance=finance, oncall=oncall, more=more)
    if said is None:
        Policy.parse(text, source="glass.yaml")
        return
    with pytest.raises(PolicyError, match=said) as refused:
        Policy.parse(text, source="glass.yaml")
    assert refused.value.code == "policy_quorum_unreachable"
