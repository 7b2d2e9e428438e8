"""Policies and signals for tests, and strategies that draw them."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from langgraph_control.guards.approvals import REQUESTER, Requirement, stricter
from langgraph_control.guards.conditions import ORDERING, Condition, Operator
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.routing import Decision, Verb
from langgraph_control.guards.rules import ApprovalDefaults, Rule, Then
from langgraph_control.guards.signals import Impact, Signals

REFUNDS = """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example], support: [group:leads]}
owner: support                       # unknown outcomes, exhausted retries
approve: {within: 24h, on_expiry: deny, not_by: [requester]}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 100}, record.flagged: {is: false}}, then: allow}
  - {tool: refund, when: {amount: {gt: 100, lte: 5000}}, then: approve, by: finance}
  - {tool: refund, when: {amount: {gt: 5000, lte: 50000}}, then: approve, by: {finance: 2}, comment: required}
otherwise:
  - {impact: message, then: approve, by: support}
tests:   [{call: refund, with: {amount: 100, record.flagged: false}, expect: allow}]
"""

TOOLS = ("refund", "send_mail")
FIELDS = ("amount", "country", "record.flagged")
ROLES: tuple[str, ...] = ("finance", "support", "security")


def signals(
    tool: str = "refund",
    *,
    arguments: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
    impact: Impact = Impact.MONEY,
    system: str | None = "billing",
) -> Signals:
    """Return signals of an ordinary call."""
    return Signals(
        tool=tool,
        impact=impact,
        kind=Kind.VERIFIED,
        system=system,
        arguments=arguments or {},
        record=record,
        actor="agent",
        on_behalf_of=None,
        tenant="acme",
    )


def policy_of(rules: Sequence[Rule], otherwise: Sequence[Rule] = ()) -> Policy:
    """Return a policy of these rules, without going through a file."""
    return Policy(
        text="",
        hash="0" * 64,
        source="drawn",
        roles={},
        owner=None,
        approve=ApprovalDefaults(within_seconds=60, execute_within_seconds=None, not_by=frozenset()),
        rules=tuple(rules),
        otherwise=tuple(otherwise),
        tests=(),
    )


def as_strict(one: Decision, other: Decision) -> bool:
    """Whether a decision of the policy is at least as strict as another: who satisfies it satisfies the other."""
    order = (Verb.ALLOW, Verb.APPROVE, Verb.DENY)
    if one.verb is Verb.APPROVE and other.verb is Verb.APPROVE:
        return stricter(one.requirement, other.requirement) == one.requirement
    return order.index(one.verb) >= order.index(other.verb)


numbers = st.one_of(st.integers(-3, 3), st.decimals(-3, 3, places=1))
values = st.one_of(
    numbers, st.sampled_from(["DE", "FR"]), st.booleans(), st.none(), st.floats(), st.just(Decimal("NaN"))
)


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    """Draw a condition with an operand of the kind its operator takes."""
    operator = draw(st.sampled_from(Operator))
    texts = st.sampled_from(["DE", "FR"])
    if operator in ORDERING:
        operand: Any = draw(numbers)
    elif operator is Operator.IS:
        operand = draw(st.one_of(st.booleans(), st.none()))
    elif operator in {Operator.IN, Operator.NOT_IN}:
        operand = tuple(draw(st.one_of(st.lists(texts, min_size=1), st.lists(numbers, min_size=1))))
    else:
        operand = draw(st.one_of(texts, numbers))
    return Condition(field=draw(st.sampled_from(FIELDS)), operator=operator, operand=operand)


@st.composite
def requirements(draw: st.DrawFn) -> Requirement:
    """Draw a requirement over a few roles and small times."""
    return Requirement(
        quorum=draw(st.dictionaries(st.sampled_from(ROLES), st.integers(1, 3), min_size=1)),
        not_by=draw(st.sampled_from([frozenset(), frozenset({REQUESTER})])),
        within_seconds=draw(st.integers(1, 3)),
        execute_within_seconds=draw(st.integers(1, 3)),
        on_expiry="deny",
        comment_required=draw(st.booleans()),
    )


def _subsets(items: Sequence[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    # Mostly none or one: rules that meet are what the properties are about.
    return st.sampled_from([(), (), *((item,) for item in items), tuple(items)])


@st.composite
def rules(draw: st.DrawFn, then: Then | None = None) -> Rule:
    """Draw a rule over few enough tools, impacts and fields that rules meet."""
    decides = then or draw(st.sampled_from(Then))
    return Rule(
        place=f"rule {draw(st.integers(0, 999))}",
        tools=draw(_subsets(TOOLS)),
        impacts=draw(_subsets([Impact.MONEY, Impact.MESSAGE])),
        systems=draw(_subsets(["billing", "crm"])),
        conditions=draw(
            st.one_of(st.just(()), conditions().map(lambda one: (one,)), st.tuples(conditions(), conditions()))
        ),
        then=decides,
        requirement=draw(requirements()) if decides is Then.APPROVE else None,
    )


@st.composite
def otherwise_rules(draw: st.DrawFn) -> Rule:
    """Draw an item of `otherwise`: impacts and a decision, nothing else."""
    drawn = draw(rules())
    return Rule(place=drawn.place, impacts=(Impact.MONEY,), then=drawn.then, requirement=drawn.requirement)


policies = st.builds(policy_of, st.lists(rules(), max_size=5), st.lists(otherwise_rules(), max_size=2))


@st.composite
def calls(draw: st.DrawFn) -> Signals:
    """Draw a call with any of the fields there, missing, null or of a surprising type."""
    fields = draw(st.dictionaries(st.sampled_from(["amount", "country"]), values))
    record = draw(st.one_of(st.none(), st.dictionaries(st.just("flagged"), values)))
    return signals(
        draw(st.sampled_from((*TOOLS, "unnamed"))),
        arguments=fields,
        record=record,
        impact=draw(st.sampled_from([Impact.MONEY, Impact.MESSAGE, Impact.DELETE])),
        system=draw(st.sampled_from(["billing", "crm", None])),
    )
