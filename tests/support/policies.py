"""Policies and signals for tests, and strategies that draw them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from langgraph_control.guards.approvals import REQUESTER, Escalation, Requirement, stricter
from langgraph_control.guards.conditions import ENVIRONMENT, ORDERING, PATTERNS, Condition, Operator
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.policy import Mode, Policy
from langgraph_control.guards.risk import RiskRule, Thresholds
from langgraph_control.guards.routing import Decision, Verb
from langgraph_control.guards.rules import ApprovalDefaults, Rule, Then
from langgraph_control.guards.signals import (
    Breaker,
    Context,
    Equal,
    Impact,
    Operation,
    Prior,
    Progress,
    Risk,
    Signals,
    SystemState,
)

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

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
TOOLS = ("refund", "send_mail")
FIELDS = ("amount", "country", "record.flagged", "risk.radius", "risk.amount", "risk.count", "risk.reversible")
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
        now=NOW,
    )


def policy_of(rules: Sequence[Rule], otherwise: Sequence[Rule] = (), **parts: Any) -> Policy:
    """Return a policy of these rules and parts, without going through a file."""
    return Policy(
        text="",
        hash="0" * 64,
        source="drawn",
        roles={},
        approve=ApprovalDefaults(within_seconds=60, execute_within_seconds=None, not_by=frozenset()),
        rules=tuple(rules),
        otherwise=tuple(otherwise),
        **parts,
    )


def like(policy: Policy, rules: Sequence[Rule]) -> Policy:
    """Return a policy that differs in its rules only."""
    return replace(policy, rules=tuple(rules))


def as_strict(one: Decision, other: Decision) -> bool:
    """Whether a decision is at least as strict as another: who satisfies it satisfies the other."""
    if one.verb is Verb.APPROVE and other.verb is Verb.APPROVE:
        return stricter(one.requirement, other.requirement) == one.requirement
    return one.verb.strictness >= other.verb.strictness


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
    elif operator in PATTERNS:
        operand = draw(st.sampled_from(["D*", "*R", "*E*", "DE"]))
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
        on_expiry=draw(st.none() | escalations()) or "deny",
        comment_required=draw(st.booleans()),
    )


@st.composite
def escalations(draw: st.DrawFn) -> Escalation:
    """Draw who is asked when nobody answered."""
    quorum = draw(st.dictionaries(st.sampled_from(ROLES), st.integers(1, 3), min_size=1))
    return Escalation(quorum=quorum, within_seconds=draw(st.integers(1, 3)))


def _subsets(items: Sequence[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    # Mostly none or one: rules that meet are what the properties are about.
    return st.sampled_from([(), (), *((item,) for item in items), tuple(items)])


def _seldom(item: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.sampled_from([(), (), (), (), (item,)])


IN_PRODUCTION = Condition(field=ENVIRONMENT, operator=Operator.IN, operand=("production",))


@st.composite
def rules(draw: st.DrawFn, then: Then | None = None) -> Rule:
    """Draw a rule over few enough tools, impacts and fields that rules meet."""
    decides = then or draw(st.sampled_from(Then))
    return Rule(
        place=f"rule {draw(st.integers(0, 999))}",
        tools=draw(_subsets(TOOLS)),
        impacts=draw(_subsets([Impact.MONEY, Impact.MESSAGE])),
        systems=draw(_subsets(["billing", "crm"])),
        operations=draw(_seldom(Operation.TRANSFER)),
        effects=draw(_seldom(Kind.VERIFIED)),
        tenants=draw(_seldom("acme")),
        exempt=draw(_seldom("refund")),
        conditions=draw(
            st.one_of(
                st.just(()),
                conditions().map(lambda one: (one,)),
                st.tuples(conditions(), conditions()),
                st.just((IN_PRODUCTION,)),
            )
        ),
        then=decides,
        requirement=draw(requirements()) if decides is Then.APPROVE else None,
        to=draw(st.sampled_from([None, *ROLES])) if decides is Then.ESCALATE else None,
        question="Which?" if decides is Then.ASK else None,
    )


@st.composite
def otherwise_rules(draw: st.DrawFn) -> Rule:
    """Draw an item of `otherwise`: impacts and a decision, nothing else."""
    drawn = draw(rules())
    return Rule(place=drawn.place, impacts=(Impact.MONEY,), then=drawn.then, requirement=drawn.requirement)


@st.composite
def record_rules(draw: st.DrawFn) -> Rule:
    """Draw what a field of the record means."""
    drawn = draw(rules(then=draw(st.sampled_from([Then.ESCALATE, Then.DENY]))))
    flagged = Condition(field="record.flagged", operator=Operator.IS, operand=True)
    return replace(drawn, conditions=(flagged,), to=None, because="the record is flagged (record.flagged)")


@st.composite
def risk_rules(draw: st.DrawFn) -> RiskRule:
    """Draw where a call says how much it moves."""
    return RiskRule(
        place="risk",
        impacts=draw(_subsets([Impact.MONEY])),
        amount=draw(st.sampled_from(["amount", "record.flagged", None])),
        count=draw(st.sampled_from(["amount", None])),
        amounts=Thresholds(medium=draw(st.sampled_from([1, None])), large=draw(st.sampled_from([2, None]))),
        counts=Thresholds(medium=1, large=2),
    )


@st.composite
def drawn_policies(draw: st.DrawFn) -> Policy:
    """Draw a policy: some rules, and now and then each of the other parts."""
    none: st.SearchStrategy[list[Any]] = st.just([])
    return policy_of(
        draw(st.lists(rules(), max_size=5)),
        draw(st.lists(otherwise_rules(), max_size=2)),
        records=tuple(draw(st.one_of(none, st.lists(record_rules(), max_size=1)))),
        risk=tuple(draw(st.one_of(none, st.lists(risk_rules(), max_size=2)))),
        mode=draw(st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.ENFORCE, Mode.OBSERVE])),
    )


policies = drawn_policies()
enforced = policies.filter(lambda policy: not policy.observes)


@st.composite
def calls(draw: st.DrawFn) -> Signals:
    """Draw a call with any of the fields there, missing, null or of a surprising type."""
    fields = draw(st.dictionaries(st.sampled_from(["amount", "country"]), values))
    record = draw(st.one_of(st.none(), st.dictionaries(st.just("flagged"), values)))
    call = signals(
        draw(st.sampled_from((*TOOLS, "unnamed"))),
        arguments=fields,
        record=record,
        impact=draw(st.sampled_from([Impact.MONEY, Impact.MESSAGE, Impact.DELETE])),
        system=draw(st.sampled_from(["billing", "crm", None])),
    )
    return replace(
        call,
        kind=draw(st.sampled_from(Kind)),
        environment=draw(st.sampled_from([None, "production", "staging"])),
        risk=Risk(reversible=draw(st.booleans())),
    )


moments = st.integers(-2, 2).map(lambda seconds: NOW + timedelta(seconds=seconds))


@st.composite
def surroundings(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what else is known of a call: its context, its system's state, its progress."""
    return {
        "context": draw(
            st.builds(
                Context,
                read_failed=st.booleans(),
                record_missing=st.booleans(),
                already_done=st.booleans(),
                changed=st.booleans(),
                equal=st.sampled_from(Equal),
            )
        ),
        "system_state": draw(
            st.builds(
                SystemState,
                rate_limited_until=st.none() | moments,
                breaker=st.sampled_from(Breaker),
                open_until=st.none() | moments,
                probe=st.booleans(),
                error_rate=st.none() | st.floats(0, 1),
                calls=st.integers(0, 100),
                latency_seconds=st.none() | st.floats(0, 100),
            )
        ),
        "progress": draw(
            st.builds(
                Progress,
                prior=st.sampled_from(Prior),
                attempts=st.integers(0, 6),
                same_failures=st.integers(0, 4),
                deadline=st.none() | moments,
                frozen=st.booleans(),
                applied=st.integers(0, 2),
            )
        ),
    }
