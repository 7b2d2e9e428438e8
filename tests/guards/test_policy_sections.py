"""The sections beside the rules: what each says as a value, who it is about, and what cannot be meant."""

import json
from decimal import Decimal
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.errors import PolicyError
from langgraph_control.guards.approvals import Escalation
from langgraph_control.guards.conditions import Condition, Operator
from langgraph_control.guards.limits import Each, Limit, Per
from langgraph_control.guards.loops import LoopRules
from langgraph_control.guards.policy import Mode, Policy
from langgraph_control.guards.retries import backoff_seconds
from langgraph_control.guards.retry_rules import BreakerRules, Caps, RetryRules
from langgraph_control.guards.risk import Thresholds
from langgraph_control.guards.rules import Then
from langgraph_control.guards.signals import Impact
from tests.support.whole_policy import WHOLE


@pytest.fixture
def policy() -> Policy:
    """The policy that uses every section."""
    return Policy.parse(WHOLE, source="control.yaml")


def test_the_whole_file_is_read(policy: Policy) -> None:
    """A file with every section parses, passes its own tests, and has no dead rule."""
    assert policy.mode is Mode.ENFORCE
    assert policy.run_tests() == ()
    assert policy.dead_rules() == ()


def test_retries_are_the_files_default_then_the_systems_then_the_tools(policy: Policy) -> None:
    """What a tool or system does not say it has from the default, and what that does not say from the library."""
    assert policy.retries_for("note", None) == RetryRules(attempts=6, give_up_after_seconds=7200)
    of_billing = RetryRules(attempts=8, base_seconds=0.5, cap_seconds=30, give_up_after_seconds=7200)
    assert policy.retries_for("charge", "billing") == of_billing
    assert policy.retries_for("refund", "billing") == RetryRules(
        attempts=8, base_seconds=0.5, cap_seconds=30, give_up_after_seconds=7200, same_failure=2
    )


spans = st.none() | st.sampled_from(["1ms", "200ms", "1s", "50s", "60s", "90s", "2h", "366d"])
parts = st.fixed_dictionaries({"base": spans, "cap": spans})


@given(default=parts, system=parts, tool=parts, attempt=st.integers(1, 1000), chance=st.floats(0, 1, exclude_max=True))
def test_whatever_parts_of_retries_meet_there_is_a_pause_within_the_cap(
    default: dict[str, str], system: dict[str, str], tool: dict[str, str], attempt: int, chance: float
) -> None:
    """In every merge that a file can be read with, the base is at most the cap, and the cap is the last part's."""
    named = {"default": default, "billing": system, "refund": tool}
    given_parts = {name: {key: span for key, span in part.items() if span} for name, part in named.items()}
    text = f"version: 1\nretries: {json.dumps(given_parts)}\n"
    try:
        policy = Policy.parse(text, source="p.yaml")
    except PolicyError as error:
        assert "base is longer than cap" in str(error)  # noqa: PT017 - what is refused is refused for this alone
        return
    merged = policy.retries.fill(RetryRules(), "billing", "refund")
    rules = policy.retries_for("refund", "billing")
    assert (rules.cap_seconds, rules.base_seconds) == (
        merged.cap_seconds,
        min(merged.base_seconds, merged.cap_seconds),
    )
    pause = backoff_seconds(attempt, base=rules.base_seconds, cap=rules.cap_seconds, unit_random=chance)
    assert isfinite(pause)
    assert 0 <= pause <= rules.cap_seconds


def test_where_a_base_meets_a_shorter_cap_the_smaller_holds() -> None:
    """A tool's cap under its system's base is the first pause, too; the other tools of the system keep theirs."""
    policy = Policy.parse("version: 1\nretries: {billing: {base: 50s}, refund: {cap: 1s}}\n", source="p.yaml")
    assert policy.retries_for("refund", "billing") == RetryRules(base_seconds=1, cap_seconds=1)
    assert policy.retries_for("charge", "billing") == RetryRules(base_seconds=50)


def test_breakers_are_the_systems_over_the_default(policy: Policy) -> None:
    """Each system has a breaker; a file without the section has the library's."""
    default = BreakerRules(error_rate=Decimal("0.25"), window_seconds=120, minimum_calls=10, open_seconds=45, probes=2)
    assert policy.breaker_for("crm") == policy.breaker_for(None) == default
    assert policy.breaker_for("billing").degraded_seconds == 5
    assert Policy.parse("version: 1\n", source="p.yaml").breaker_for("crm") == BreakerRules()


def test_caps_and_deadline(policy: Policy) -> None:
    """What one run may use up; a file that says nothing has caps all the same, and no deadline."""
    assert policy.caps == Caps(tool_calls=200, retry_seconds=21600, same_answer=4, bounces=3, loop_seconds=300)
    assert policy.caps.loops == LoopRules(same_answer=4, bounces=3, within_seconds=300)
    assert policy.deadline_seconds == 604800
    silent = Policy.parse("version: 1\n", source="p.yaml")
    assert (silent.caps, silent.deadline_seconds) == (Caps(), None)


def test_limits_are_those_about_the_call(policy: Policy) -> None:
    """A limit says what is counted, how much may be, in which span, and what has a budget of its own."""
    (money,) = policy.limits_for("refund", Impact.MONEY, "billing")
    assert money == Limit(
        place="limits[0] control.yaml:46",
        name="impacts=money|sum=amount|day|tenant",
        impacts=(Impact.MONEY,),
        sum="amount",
        max=100000,
        per=Per.DAY,
        each=(Each.TENANT,),
    )
    (calls,) = policy.limits_for("send_mail", Impact.MESSAGE, None)
    assert (calls.sum, calls.per.seconds, calls.each) == (None, 3600, (Each.AGENT, Each.TOOL))
    assert policy.limits_for("note", Impact.RECORD, None) == ()


def test_a_limits_name_outlives_its_maximum(policy: Policy) -> None:
    """What was counted goes on counting when the maximum is raised, and starts anew when something else is counted."""
    raised = Policy.parse(WHOLE.replace("max: 100000", "max: 200000"), source="control.yaml")
    assert raised.limits[0].name == policy.limits[0].name
    weekly = Policy.parse(WHOLE.replace("per: day", "per: week"), source="control.yaml")
    assert weekly.limits[0].name != policy.limits[0].name


@pytest.mark.parametrize(
    ("tool", "system", "impact", "owner"),
    [
        ("refund", "iam", Impact.ACCESS, "finance"),
        ("grant", "iam", Impact.MONEY, "security"),
        ("charge", "billing", Impact.MONEY, "finance"),
        ("note", "crm", Impact.RECORD, "support"),
        ("note", None, Impact.RECORD, "support"),
    ],
)
def test_the_owner_is_the_most_particular_one(
    policy: Policy, tool: str, system: str | None, impact: Impact, owner: str
) -> None:
    """The tool's owner comes before the system's, that before the impact's, that before the file's."""
    assert policy.owner_for(tool, system, impact) == owner


def test_an_unanswered_request_goes_to_others_where_the_file_says_so(policy: Policy) -> None:
    """The default of `approve` holds for rules that say nothing; a rule's own `on_expiry` replaces it."""
    one, two = policy.rules[1].requirement, policy.rules[2].requirement
    assert one is not None
    assert two is not None
    assert one.on_expiry == Escalation(quorum={"support": 1}, within_seconds=14400)
    assert (one.within_seconds, one.execute_within_seconds) == (28800, 43200)
    assert two.on_expiry == "deny"


def test_risk_says_where_amounts_and_counts_are(policy: Policy) -> None:
    """An item names fields and from where on they are medium and large; counts have numbers of their own by default."""
    money, tickets = policy.risk
    assert (money.amount, money.amounts) == ("amount", Thresholds(medium=100, large=5000))
    assert (tickets.count, tickets.counts) == ("tickets", Thresholds(medium=5, large=50))


def test_records_are_rules_over_the_records_own_fields(policy: Policy) -> None:
    """Each meaning becomes a rule that can only make a decision stricter, with a reason in words."""
    flagged, inactive, locked = policy.records
    assert (flagged.place, flagged.then) == ("records[0].flagged control.yaml:24", Then.ESCALATE)
    assert flagged.conditions == (Condition(field="record.flagged", operator=Operator.IS, operand=True),)
    assert flagged.because == "the record is flagged (record.flagged)"
    assert inactive.conditions[0].field == "record.owner.active"
    assert (locked.then, locked.exempt) == (Then.DENY, ("unflag",))


HEAD = "version: 1\nroles: {finance: [ana, bo]}\n"
SCOPED = "{impact: money, "

WRONG = [
    ("policy_unknown_role", "owners: {tool: {refund: finanse}}", "owners.tool.refund"),
    ("policy_value", "owners: {impact: {cash: finance}}", "owners.impact.cash"),
    ("policy_unknown_key", "owners: {tols: {refund: finance}}", "owners.tols"),
    ("policy_value", "owners: finance", "owners"),
    ("policy_unknown_role", "approve: {on_expiry: {escalate_to: leads, within: 1h}}", "approve.on_expiry.escalate_to"),
    ("policy_missing_key", "approve: {on_expiry: {escalate_to: finance}}", "approve.on_expiry.within"),
    ("policy_unknown_key", "approve: {on_expiry: {escalate_to: finance, within: 1h, by: a}}", "approve.on_expiry.by"),
    (
        "policy_quorum_unreachable",
        "approve: {on_expiry: {escalate_to: {finance: 3}, within: 1h}}",
        "approve.on_expiry.escalate_to",
    ),
    ("policy_duration", "approve: {within: 500ms}", "approve.within"),
    ("policy_duration", "retries: {default: {give_up_after: -2h}}", "retries.default.give_up_after"),
    ("policy_duration", "retries: {default: {base: 0s}}", "retries.default.base"),
    ("policy_value", "retries: {default: {attempts: 0}}", "retries.default.attempts"),
    ("policy_value", "retries: {default: {attempts: 1001}}", "retries.default.attempts"),
    ("policy_value", "retries: {default: {attempts: 2.5}}", "retries.default.attempts"),
    ("policy_value", "retries: {default: {same_failure: 1}}", "retries.default.same_failure"),
    ("policy_unknown_key", "retries: {billing: {attemps: 5}}", "retries.billing.attemps"),
    ("policy_value", "retries: {billing: {base: 2m}}", "retries.billing"),
    ("policy_value", "retries: {'bill*': {attempts: 5}}", "retries.bill*"),
    ("policy_value", "retries: 5", "retries"),
    ("policy_value", "retries: {default: 5}", "retries.default"),
    ("policy_value", "breakers: {default: {error_rate: 50}}", "breakers.default.error_rate"),
    ("policy_value", "breakers: {default: {error_rate: 0}}", "breakers.default.error_rate"),
    ("policy_duration", "breakers: {billing: {open_for: 30}}", "breakers.billing.open_for"),
    ("policy_value", "caps: {tool_calls: -1}", "caps.tool_calls"),
    ("policy_unknown_key", "caps: {tools_calls: 1}", "caps.tools_calls"),
    ("policy_value", "caps: {same_answer: 1}", "caps.same_answer"),
    ("policy_value", "caps: {bounces: 16}", "caps.bounces"),
    ("policy_duration", "caps: {loop_within: 30}", "caps.loop_within"),
    ("policy_duration", "deadlines: {run: -1d}", "deadlines.run"),
    ("policy_duration", "deadlines: {run: 0h}", "deadlines.run"),
    ("policy_missing_key", f"limits: [{SCOPED}max: 5, per: day}}]", "limits[0]"),
    ("policy_missing_key", f"limits: [{SCOPED}sum: amount, count: calls, max: 5, per: day}}]", "limits[0]"),
    ("policy_missing_key", f"limits: [{SCOPED}count: calls, per: day}}]", "limits[0].max"),
    ("policy_value", f"limits: [{SCOPED}count: calls, max: 0, per: day}}]", "limits[0].max"),
    ("policy_value", f"limits: [{SCOPED}count: calls, max: 5, per: month}}]", "limits[0].per"),
    ("policy_value", f"limits: [{SCOPED}count: calls, max: 5, per: day, each: agnt}}]", "limits[0].each[0]"),
    ("policy_value", f"limits: [{SCOPED}sum: 'a..b', max: 5, per: day}}]", "limits[0].sum"),
    ("policy_field", f"limits: [{SCOPED}sum: risk.size, max: 5, per: day}}]", "limits[0].sum"),
    (
        "policy_limit_twice",
        f"limits: [{SCOPED}sum: amount, max: 5, per: day}}, {SCOPED}sum: amount, max: 6, per: day}}]",
        "limits[1]",
    ),
    ("policy_rule_about_nothing", "risk: [{amount: amount}]", "risk[0]"),
    ("policy_missing_key", "risk: [{impact: money}]", "risk[0]"),
    ("policy_key_unused", "risk: [{impact: money, count: ids, large: {amount: 5}}]", "risk[0].large.amount"),
    (
        "policy_empty_range",
        "risk: [{impact: money, amount: a, medium: {amount: 9}, large: {amount: 5}}]",
        "risk[0].large.amount",
    ),
    ("policy_field", "risk: [{impact: money, amount: risk.amount}]", "risk[0].amount"),
    ("policy_unknown_key", "risk: [{impact: money, amount: a, lage: {amount: 5}}]", "risk[0].lage"),
    ("policy_unknown_key", "risk: [{impact: money, amount: a, large: {amont: 5}}]", "risk[0].large.amont"),
    ("policy_rule_about_nothing", "records: [{flagged: {flagged: {is: true}}}]", "records[0]"),
    ("policy_missing_key", "records: [{system: billing}]", "records[0]"),
    ("policy_value", "records: [{system: billing, flagged: {}}]", "records[0].flagged"),
    ("policy_value", "records: [{system: billing, flagged: {flag: true}}]", "records[0].flagged.flag"),
    (
        "policy_unknown_operator",
        "records: [{system: billing, locked: {status: {inn: [a]}}}]",
        "records[0].locked.status.inn",
    ),
    (
        "policy_contradiction",
        "records: [{system: billing, locked: {status: {eq: a, ne: a}}}]",
        "records[0].locked.status",
    ),
]


@pytest.mark.parametrize(("code", "text", "key"), WRONG)
def test_what_is_wrong_in_a_section_is_named(code: str, text: str, key: str) -> None:
    """Each mistake has its code, its line and its key."""
    with pytest.raises(PolicyError) as caught:
        Policy.parse(HEAD + text, source="p.yaml")
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"p.yaml:3 {key}: ")
    assert first.endswith(f"[{code}]")


def test_a_typo_in_a_nested_key_is_answered_with_that_places_words() -> None:
    """The hint comes from the keys that are known there, not from those at the top."""
    with pytest.raises(PolicyError, match=r"did you mean attempts\?"):
        Policy.parse("version: 1\nretries: {billing: {attemps: 5}}", source="p.yaml")
    with pytest.raises(PolicyError, match=r"did you mean amount\?"):
        Policy.parse("version: 1\nrisk: [{impact: money, amount: a, large: {amont: 5}}]", source="p.yaml")


def test_one_wrong_section_hides_no_others_mistakes() -> None:
    """Sections are read one by one."""
    with pytest.raises(PolicyError) as caught:
        Policy.parse(f"{HEAD}caps: {{tool_calls: 0}}\nretries: {{a: {{attempts: 0}}}}\nowner: nobody", source="p.yaml")
    assert [line.split(" ")[1] for line in str(caught.value).splitlines()[:3]] == [
        "caps.tool_calls:",
        "retries.a.attempts:",
        "owner:",
    ]
