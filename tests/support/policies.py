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
        operand = draw(st.sampled_from(["D*", "*R", "*E*", "D*E", "DE"]))
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
    later = draw(st.one_of(st.none(), escalations()))
    return Requirement(
        quorum=draw(st.dictionaries(st.sampled_from(ROLES), st.integers(1, 3), min_size=1)),
        not_by=draw(st.sampled_from([frozenset(), frozenset({REQUESTER})])),
        within_seconds=draw(st.integers(1, 3)),
        execute_within_seconds=draw(st.integers(1, 3)),
        on_expiry="deny" if later is None else later,
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


NARROWED: list[dict[str, Any]] = [
    *({}, {}, {}, {}, {}),
    {"operations": (Operation.TRANSFER,)},
    {"effects": (Kind.VERIFIED, Kind.KEYED)},
    {"tenants": ("acme",)},
    {"tenants": ("beta",)},
    {"exempt": ("refund",)},
]

# Listed and not drawn, for rules are drawn often: each field is asked in each way that makes a difference to some call.
CONDITIONS = [
    Condition(field=ENVIRONMENT, operator=Operator.IN, operand=("production",)),
    *(
        Condition(field=name, operator=operator, operand=operand)
        for name in ("amount", "record.flagged", "risk.amount", "risk.count")
        for operator, operand in (
            (Operator.GT, 0),
            (Operator.GTE, 1),
            (Operator.LT, 2),
            (Operator.LTE, 1),
            (Operator.EQ, Decimal("1.0")),
            (Operator.NE, 1),
            (Operator.IN, (1, 2)),
        )
    ),
    *(
        Condition(field=name, operator=operator, operand=operand)
        for name in ("country", "record.flagged")
        for operator, operand in (
            (Operator.EQ, "DE"),
            (Operator.NOT_IN, ("DE", "IT")),
            (Operator.LIKE, "D*"),
            (Operator.NOT_LIKE, "*R"),
            (Operator.IS, None),
            (Operator.IS, True),
        )
    ),
    *(
        Condition(field="risk.radius", operator=operator, operand=operand)
        for operator, operand in ((Operator.EQ, "small"), (Operator.EQ, "large"), (Operator.NE, "medium"))
    ),
    Condition(field="risk.reversible", operator=Operator.IS, operand=True),
]


@st.composite
def rules(draw: st.DrawFn, then: Then | None = None) -> Rule:
    """Draw a rule over few enough tools, impacts and fields that rules meet."""
    decides = then or draw(st.sampled_from(Then))
    return Rule(
        place=f"rule {draw(st.integers(0, 999))}",
        tools=draw(_subsets(TOOLS)),
        impacts=draw(_subsets([Impact.MONEY, Impact.MESSAGE])),
        systems=draw(_subsets(["billing", "crm"])),
        **draw(st.sampled_from(NARROWED)),
        conditions=tuple(draw(st.lists(st.sampled_from(CONDITIONS), max_size=2))),
        then=decides,
        requirement=draw(requirements()) if decides is Then.APPROVE else None,
        to=draw(st.sampled_from([None, *ROLES])) if decides is Then.ESCALATE else None,
        question="Which?" if decides is Then.ASK else None,
    )


@st.composite
def otherwise_rules(draw: st.DrawFn) -> Rule:
    """Draw an item of `otherwise`: impacts and a decision, nothing else."""
    drawn = draw(rules())
    return Rule(
        place=drawn.place,
        impacts=(Impact.MONEY,),
        then=drawn.then,
        requirement=drawn.requirement,
        to=drawn.to,
        question=drawn.question,
    )


def record_rules() -> st.SearchStrategy[Rule]:
    """Draw what a field of the record means."""
    flagged = Condition(field="record.flagged", operator=Operator.IS, operand=True)
    about: list[dict[str, Any]] = [
        {},
        {"impacts": (Impact.MONEY,)},
        {"systems": ("billing",)},
        {"tools": ("refund",)},
        {"exempt": ("refund",)},
    ]
    return st.sampled_from(
        [
            Rule(place="records[0]", conditions=(flagged,), then=then, because="the record is flagged", **scope)
            for scope in about
            for then in (Then.ESCALATE, Then.DENY)
        ]
    )


def risk_rules() -> st.SearchStrategy[RiskRule]:
    """Draw where a call says how much it moves."""
    return st.sampled_from(
        [
            RiskRule(place="risk[0]", impacts=impacts, amount=amount, count=count, amounts=amounts, counts=counts)
            for impacts in ((), (Impact.MONEY,))
            for amount, count in (("amount", None), ("record.flagged", "amount"), (None, "amount"))
            for amounts in (Thresholds(), Thresholds(medium=1, large=2), Thresholds(large=1))
            for counts in (Thresholds(medium=1, large=2),)
        ]
    )


@st.composite
def drawn_policies(draw: st.DrawFn, modes: Sequence[Mode] = tuple(Mode)) -> Policy:
    """Draw a policy: some rules, and now and then each of the other parts."""
    return policy_of(
        draw(st.lists(rules(), max_size=4)),
        draw(st.lists(otherwise_rules(), max_size=1)),
        records=tuple(draw(st.lists(record_rules(), max_size=1))),
        risk=tuple(draw(st.lists(risk_rules(), max_size=2))),
        mode=draw(st.sampled_from(modes)),
    )


policies = drawn_policies([Mode.ENFORCE, Mode.ENFORCE, Mode.ENFORCE, Mode.OBSERVE])
enforced = drawn_policies([Mode.ENFORCE])


MORE_OF_A_CALL: list[dict[str, Any]] = [
    {"kind": kind, "environment": environment, "risk": Risk(reversible=reversible)}
    for kind in Kind
    for environment in (None, "production", "staging")
    for reversible in (True, False)
]


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
    return replace(call, **draw(st.sampled_from(MORE_OF_A_CALL)))


BEFORE, AFTER = NOW - timedelta(seconds=1), NOW + timedelta(seconds=90)

CONTEXTS = [
    Context(),
    Context(read_failed=True),
    Context(record_missing=True),
    Context(already_done=True),
    Context(changed=True),
    Context(equal=Equal.UNDER_WAY),
    Context(equal=Equal.DONE),
    Context(read_failed=True, record_missing=True, already_done=True, changed=True, equal=Equal.DONE),
]
SYSTEM_STATES = [
    SystemState(),
    SystemState(rate_limited_until=BEFORE),
    SystemState(rate_limited_until=AFTER),
    SystemState(breaker=Breaker.OPEN),
    SystemState(breaker=Breaker.OPEN, open_until=BEFORE, rate_limited_until=AFTER),
    SystemState(breaker=Breaker.OPEN, open_until=AFTER, error_rate=0.9, calls=50),
    SystemState(breaker=Breaker.HALF_OPEN),
    SystemState(breaker=Breaker.HALF_OPEN, probe=True, error_rate=1.0, calls=50),
    SystemState(error_rate=0.9, calls=3),
    SystemState(error_rate=0.5, calls=50, latency_seconds=60.0),
]
PROGRESSES = [
    *(
        Progress(prior=prior, attempts=attempts, same_failures=failures, frozen=frozen, applied=attempts)
        for prior in Prior
        for attempts, failures, frozen in ((0, 0, False), (1, 1, False), (3, 3, False), (6, 2, False), (1, 0, True))
    ),
    Progress(deadline=BEFORE),
    Progress(deadline=NOW),
    Progress(deadline=AFTER, tool_calls=9),
    Progress(tool_calls=10_000),
    Progress(retrying_seconds=86_400.0),
]


def surroundings() -> st.SearchStrategy[dict[str, Any]]:
    """Draw what else is known of a call: its context, its system's state, its progress."""
    return st.fixed_dictionaries(
        {
            "context": st.sampled_from(CONTEXTS),
            "system_state": st.sampled_from(SYSTEM_STATES),
            "progress": st.sampled_from(PROGRESSES),
        }
    )
