"""Floors: no decision is ever looser than what the admin published."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.approvals import Requirement, satisfied, stricter
from langgraph_control.guards.floors import ANY_TOOL, Floor, ceilings, floors
from langgraph_control.guards.policy import Mode, Policy
from langgraph_control.guards.routing import Verb, route
from langgraph_control.guards.signals import Signals
from tests.support.policies import REFUNDS, ROLES, calls, policies

PEOPLE = ("ana", "bo", "cy", "di", "ed", "fi")


def floor_of(policy: Policy, tool: str) -> Floor:
    """The row that SQL finds for a tool: its own, or else the one for all others."""
    rows = {floor.tool: floor for floor in floors(policy)}
    return rows.get(tool, rows[ANY_TOOL])


def holds(floor: Floor, yes: set[str], roles: dict[str, set[str]]) -> bool:
    """The comparison SQL makes: enough distinct yes-voters who are in one of the floor's roles."""
    return len({person for person in yes if roles.get(person, set()) & set(floor.roles)}) >= floor.quorum


@given(policies, calls())
def test_no_decision_is_looser_than_its_floor(policy: Policy, call: Signals) -> None:
    """What must be approved is never allowed; who is asked is among the floor's roles, and they are enough people."""
    floor, decision = floor_of(policy, call.tool), route(call, policy)
    assert not (floor.must and decision.verb is Verb.ALLOW)
    if decision.requirement is not None:
        assert set(decision.requirement.quorum) <= set(floor.roles)
        assert decision.requirement.people >= floor.quorum


@given(
    policies,
    calls(),
    st.sets(st.sampled_from(PEOPLE)),
    st.dictionaries(st.sampled_from(PEOPLE), st.sets(st.sampled_from(ROLES))),
)
def test_votes_that_satisfy_a_decision_satisfy_its_floor(
    policy: Policy, call: Signals, yes: set[str], roles: dict[str, set[str]]
) -> None:
    """The floor never blocks what the policy's own requirement lets through."""
    floor, decision = floor_of(policy, call.tool), route(call, policy)
    if decision.requirement is not None and satisfied(decision.requirement, yes, roles):
        assert holds(floor, yes, roles)


def most_of(policy: Policy, tool: str) -> Requirement | None:
    """What SQL takes for the most: a tool without a floor of its own is among all others."""
    named = {floor.tool for floor in floors(policy)}
    return ceilings(policy).get(tool if tool in named else ANY_TOOL)


@given(policies, calls())
def test_no_decision_asks_for_more_than_the_most(policy: Policy, call: Signals) -> None:
    """Whatever is decided about a tool, who meets what is asked for at most meets that."""
    requirement = route(call, policy).requirement
    if requirement is not None:
        most = most_of(policy, call.tool)
        assert most is not None
        assert stricter(most, requirement) == most


def test_the_most_of_the_refund_policy() -> None:
    """Where several rules ask, the most is all of them together; who is never asked about is left out."""
    asked = {tool: dict(most.quorum) for tool, most in ceilings(Policy.parse(REFUNDS, source="policy.yaml")).items()}
    assert asked == {"refund": {"finance": 2, "support": 1}, "*": {"support": 1}}
    assert ceilings(Policy.parse(HEAD + "  - {tool: pay, then: deny}", source="p.yaml")) == {}


def test_the_floors_of_the_refund_policy() -> None:
    """A refund can be allowed, so approval is no must; nothing else can, and messages need somebody of support."""
    assert floors(Policy.parse(REFUNDS, source="policy.yaml")) == (
        Floor(tool="refund", must=False, roles=("finance", "support"), quorum=1, not_by=("requester",)),
        Floor(tool="*", must=True, roles=("support",), quorum=1, not_by=("requester",)),
    )


HEAD = "version: 1\nroles: {finance: [a, b, c], support: [d]}\nrules:\n"


@pytest.mark.parametrize(
    ("lines", "floor"),
    [
        pytest.param(
            "  - {tool: pay, then: approve, by: {finance: 2}}\n  - {tool: pay, impact: record, then: allow}",
            Floor(tool="pay", must=True, roles=("finance",), quorum=2, not_by=("requester",)),
            id="an unconditional approve rule cannot be avoided by claiming another impact",
        ),
        pytest.param(
            "  - {tool: pay, then: approve, by: {finance: 2}}\n  - {impact: money, then: approve, by: support}",
            Floor(tool="pay", must=True, roles=("finance", "support"), quorum=2, not_by=("requester",)),
            id="a looser rule beside it adds its role, not its smaller number",
        ),
        pytest.param(
            "  - {tool: pay, then: deny}\n  - {tool: pay, then: approve, by: finance}",
            Floor(tool="pay", must=True, roles=(), quorum=1),
            id="what is always denied nobody can approve",
        ),
        pytest.param(
            "  - {tool: pay, system: billing, then: approve, by: {finance: 3}}",
            Floor(tool="pay", must=True, roles=("finance",), quorum=3, not_by=("requester",)),
            id="without an allow rule falling through is denial",
        ),
        pytest.param(
            "  - {tool: pay, when: {to: {in: [a]}}, then: deny}",
            Floor(tool="pay", must=True, roles=(), quorum=1),
            id="nobody can approve what no rule lets anyone approve",
        ),
        pytest.param(
            "  - {tool: pay, system: crm, then: approve, by: finance}\notherwise: [{impact: record, then: allow}]",
            Floor(tool="pay", must=False, roles=("finance",), quorum=1, not_by=("requester",)),
            id="an allow in otherwise can be reached by claiming another impact",
        ),
        pytest.param(
            "  - {tool: pay, then: escalate, to: finance}\n  - {tool: pay, then: approve, by: finance}",
            Floor(tool="pay", must=True, roles=(), quorum=1),
            id="what always goes to a person nobody can approve",
        ),
        pytest.param(
            "  - {tool: pay, environment: live, then: approve, by: finance}\n  - {tool: pay, actor: x, then: allow}",
            Floor(tool="pay", must=False, roles=("finance",), quorum=1, not_by=("requester",)),
            id="what the agent says about itself raises no floor",
        ),
        pytest.param(
            "  - {tool: pay, then: approve, by: {finance: 3}, on_expiry: {escalate_to: {support: 1}, within: 1h}}",
            Floor(tool="pay", must=True, roles=("finance", "support"), quorum=1, not_by=("requester",)),
            id="who is asked when nobody answered can meet the floor",
        ),
    ],
)
def test_a_floor_follows_from_the_rules(lines: str, floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what no assertion of the agent can change raises a floor."""
    found = floor_of(Policy.parse(HEAD + lines, source="p.yaml"), "pay")
    assert replace(found, always=None) == floor


@given(policies)
def test_a_policy_that_observes_publishes_no_must(policy: Policy) -> None:
    """What is published to be observed asks for nothing; who may vote on requests that are open stays the same."""
    observing, enforcing = (replace(policy, mode=mode) for mode in (Mode.OBSERVE, Mode.ENFORCE))
    assert not any(floor.must for floor in floors(observing))
    assert [replace(floor, must=False, always=None) for floor in floors(enforcing)] == list(floors(observing))


def test_nobody_in_no_roles_ever_meets_a_floor() -> None:
    """A floor without roles fails by arithmetic, whoever votes."""
    floor = floor_of(Policy.parse("version: 1\nrules: [{tool: pay, then: deny}]", source="p.yaml"), "pay")
    assert not holds(floor, set(PEOPLE), {person: set(ROLES) for person in PEOPLE})


@pytest.mark.parametrize(
    ("lines", "always"),
    [
        ("  - {tool: pay, when: {amount: {gt: 5, lte: 9}}, then: approve, by: finance}", None),
        ("  - {tool: pay, then: deny}", None),
        (
            "  - {tool: pay, then: approve, by: {finance: 1, support: 1}, comment: required}",
            {"quorum": {"finance": 1, "support": 1}, "comment_required": True},
        ),
        (
            "  - {tool: pay, then: approve, by: {finance: 2}}\n  - {tool: pay, then: approve, by: {support: 1}}",
            {"quorum": {"finance": 2, "support": 1}, "comment_required": False},
        ),
        (
            "  - {tool: pay, then: approve, by: finance, on_expiry: {escalate_to: support, within: 1h}}",
            {"quorum": {}, "comment_required": False},
        ),
    ],
)
def test_what_every_request_needs(lines: str, always: dict[str, Any] | None) -> None:
    """Role by role what rules about the tool alone ask for; where others are asked in the end, only their number."""
    assert floor_of(Policy.parse(HEAD + lines, source="p.yaml"), "pay").always == always
