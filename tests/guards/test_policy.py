"""The policy file: what it says is read exactly, and what cannot be meant is refused with file, line and key."""

import hashlib
import pickle
from dataclasses import FrozenInstanceError
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.errors import PolicyError
from langgraph_control.guards.conditions import Condition, Operator
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.policy_reader import read_policy
from langgraph_control.guards.policy_text import MAX_CHARACTERS, read_document
from langgraph_control.guards.rules import Then
from langgraph_control.guards.signals import Impact
from tests.support.policies import REFUNDS


def parse(text: str) -> Policy:
    """Parse a policy under the name used in these tests."""
    return Policy.parse(text, source="policy.yaml")


FEW = "version: 1\nroles: {{cfo: [ana], audit: [ana], legal: [ana, bo]}}\nrules:\n  [{}]\n"


def rule(line: str) -> str:
    """A file whose only rule, on line 4, is this one."""
    return f"version: 1\nroles: {{finance: [ana@acme.example, bo@acme.example]}}\nrules:\n  - {line}\n"


def test_the_design_example_is_read_as_it_is_written() -> None:
    """The example of the documentation parses, and its parts are what a reader sees."""
    policy = parse(REFUNDS)
    assert policy.roles == {"finance": ("ana@acme.example", "bo@acme.example"), "support": ("group:leads",)}
    assert policy.owner == "support"
    assert [found.then for found in policy.rules] == [Then.ALLOW, Then.APPROVE, Then.APPROVE]
    assert policy.rules[0].conditions == (
        Condition(field="amount", operator=Operator.GT, operand=0),
        Condition(field="amount", operator=Operator.LTE, operand=100),
        Condition(field="record.flagged", operator=Operator.IS, operand=False),
    )
    assert policy.rules[2].place == "rules[2] policy.yaml:8"
    assert policy.rules[2].requirement is not None
    assert policy.rules[2].requirement.canonical() == {
        "quorum": {"finance": 2},
        "not_by": ["requester"],
        "within_seconds": 86400,
        "execute_within_seconds": 86400,
        "on_expiry": "deny",
        "comment_required": True,
    }
    assert policy.otherwise[0].impacts == (Impact.MESSAGE,)
    assert policy.run_tests() == ()


def test_a_policy_does_not_change() -> None:
    """What was checked is what is used."""
    with pytest.raises(FrozenInstanceError):
        parse(REFUNDS).rules = ()  # type: ignore[misc]


def test_a_policy_can_be_handed_to_another_process() -> None:
    """A pickled copy is the same policy and decides the same."""
    policy = parse(REFUNDS)
    copied = pickle.loads(pickle.dumps(policy))  # noqa: S301 - our own bytes
    assert copied == policy
    assert copied.run_tests() == ()


def test_the_hash_is_of_the_text_that_is_kept() -> None:
    """Hash and text belong together, and a checkout with other line ends is the same policy."""
    policy = parse(REFUNDS)
    assert policy.hash == hashlib.sha256(policy.text.encode()).hexdigest()
    assert parse("\ufeff" + REFUNDS.replace("\n", "\r\n")).hash == policy.hash
    assert parse(REFUNDS + "# one more comment\n").hash != policy.hash


def test_texts_are_compared_in_one_unicode_form() -> None:
    """A name typed with combining accents is the name that arguments, which are NFC, carry."""
    policy = parse(rule("{tool: refund, when: {city: {eq: Mu\u0308nchen}}, then: deny}"))
    assert policy.rules[0].conditions[0].operand == "M\u00fcnchen"


def test_numbers_are_read_exactly() -> None:
    """99.90 is a decimal, 0100 is one hundred, and nothing is ever a float."""
    policy = parse(rule("{tool: refund, when: {amount: {gte: 0100, lt: 1099.90}}, then: allow}"))
    assert [condition.operand for condition in policy.rules[0].conditions] == [100, Decimal("1099.90")]
    assert str(policy.rules[0].conditions[1].operand) == "1099.90"


def test_other_notations_of_yaml_1_2_are_read_too() -> None:
    """Hexadecimal, octal and exponents mean what YAML 1.2 says; a number in quotes is a text."""
    assert read_document("[0x10, 0o10, 1e3, -5, '5', 1_000, 2026-01-01]").tree == [
        *(16, 8, Decimal(1000), -5),
        *("5", "1_000", "2026-01-01"),
    ]


def test_words_that_older_yaml_turns_into_booleans_stay_words() -> None:
    """`on`, `yes` and `no` are texts, as keys and as values."""
    policy = parse(rule("{tool: refund, when: {on: {eq: yes}, country: {in: [NO, SE]}}, then: deny}"))
    assert policy.rules[0].conditions == (
        Condition(field="on", operator=Operator.EQ, operand="yes"),
        Condition(field="country", operator=Operator.IN, operand=("NO", "SE")),
    )


def test_a_rule_overrides_the_time_of_its_requests() -> None:
    """`within` on a rule replaces the default; a grant is usable as long unless `execute_within` says otherwise."""
    text = rule("{tool: refund, then: approve, by: finance, within: 15m}")
    found = parse(text).rules[0].requirement
    assert found is not None
    assert (found.within_seconds, found.execute_within_seconds) == (900, 900)
    found = parse(text + "approve: {execute_within: 7d}\n").rules[0].requirement
    assert found is not None
    assert (found.within_seconds, found.execute_within_seconds) == (900, 604800)


def test_a_minimal_policy_denies_everything_it_does_not_name() -> None:
    """A version is all a file needs; it then lets nothing through."""
    policy = parse("version: 1\n")
    assert (policy.rules, policy.otherwise, policy.owner) == ((), (), None)


APPROVE = "then: approve, by: finance"

WRONG = [
    # code, line, key, text
    ("policy_yaml", 3, "", "version: 1\nroles: {a: [b]\nrules: 3: 4"),
    ("policy_yaml", 1, "", "version: \x00"),
    ("policy_yaml", 2, "", "version: 1\n---\nversion: 1\n"),
    ("policy_yaml_version", 1, "", "%YAML 1.1\n---\nversion: 1\n"),
    ("policy_value", 1, "", ""),
    ("policy_value", 1, "", "- version: 1\n"),
    ("policy_too_deep", 1, "", "[" * 50),
    ("policy_too_large", 1, "", "#" * (MAX_CHARACTERS + 1)),
    ("policy_duplicate_key", 3, "rules", "version: 1\nrules: []\nrules: []\n"),
    ("policy_duplicate_key", 4, "rules[0].then", rule("{tool: refund, then: deny, then: allow}")),
    ("policy_alias", 2, "owner", "version: 1\nowner: &a b\n"),
    ("policy_alias", 4, "rules[0]", rule("*other")),
    ("policy_tag", 2, "owner", "version: 1\nowner: !env SECRET\n"),
    ("policy_key", 2, "<key on line 2>", "version: 1\n1: 2\n"),
    ("policy_key", 2, "<key on line 2>", "version: 1\n? [a]\n: 2\n"),
    ("policy_missing_key", 1, "version", "rules: []\n"),
    ("policy_version", 1, "version", "version: 2\n"),
    ("policy_version", 1, "version", "version: '1'\n"),
    ("policy_version", 1, "version", "version: true\n"),
    ("policy_unknown_key", 2, "rolls", "version: 1\nrolls: {}\n"),
    ("policy_not_built", 2, "break_glass", "version: 1\nbreak_glass: {by: a}\n"),
    ("policy_not_built", 2, "delegation", "version: 1\ndelegation: {}\n"),
    ("policy_not_built", 4, "rules[0].all_of", rule("{tool: refund, all_of: [], then: deny}")),
    ("policy_not_built", 4, "rules[0].distinct_from", rule("{tool: refund, distinct_from: a, then: deny}")),
    ("policy_not_built", 2, "approve.not_by[0]", "version: 1\napprove: {not_by: [approvers]}\n"),
    ("policy_value", 2, "mode", "version: 1\nmode: watch\n"),
    ("policy_value", 2, "approve.on_expiry", "version: 1\napprove: {on_expiry: escalate}\n"),
    ("policy_value", 4, "rules[0].on_expiry", rule(f"{{tool: refund, {APPROVE}, on_expiry: allow}}")),
    ("policy_value", 4, "rules[0].operation[0]", rule("{operation: erase, then: deny}")),
    ("policy_value", 4, "rules[0].effect[0]", rule("{effect: sometimes, then: deny}")),
    ("policy_value", 4, "rules[0].actor[0]", rule("{actor: 'support-*', then: deny}")),
    ("policy_missing_key", 4, "rules[0]", rule("{tool: refund, then: ask}")),
    ("policy_missing_key", 4, "rules[0]", rule("{tool: refund, then: escalate}")),
    ("policy_missing_key", 2, "otherwise[0]", "version: 1\notherwise: [{impact: delete, then: ask}]"),
    ("policy_unknown_role", 4, "rules[0].to", rule("{tool: refund, then: escalate, to: leads}")),
    ("policy_key_unused", 4, "rules[0].to", rule("{tool: refund, then: deny, to: finance}")),
    ("policy_key_unused", 4, "rules[0].question", rule("{tool: refund, then: deny, question: Why?}")),
    ("policy_key_unused", 4, "rules[0].on_expiry", rule("{tool: refund, then: deny, on_expiry: deny}")),
    ("policy_value", 4, "rules[0].question", rule("{tool: refund, then: ask, question: ' '}")),
    ("policy_field", 4, "rules[0].when.risk.size", rule("{tool: refund, when: {risk.size: {gt: 1}}, then: deny}")),
    (
        "policy_operand",
        4,
        "rules[0].when.risk.radius.eq",
        rule("{tool: refund, when: {risk.radius: {eq: huge}}, then: deny}"),
    ),
    (
        "policy_operand",
        4,
        "rules[0].when.risk.operation.in",
        rule("{tool: refund, when: {risk.operation: {in: [send, erase]}}, then: deny}"),
    ),
    ("policy_pattern", 4, "rules[0].when.a.like", rule("{tool: refund, when: {a: {like: 'b+(c+)+'}}, then: deny}")),
    ("policy_pattern", 4, "rules[0].when.a.like", rule("{tool: refund, when: {a: {like: 'b[cd]*'}}, then: deny}")),
    ("policy_pattern", 4, "rules[0].when.a.like", rule("{tool: refund, when: {a: {like: '**'}}, then: deny}")),
    ("policy_pattern", 4, "rules[0].when.a.not_like", rule("{tool: refund, when: {a: {not_like: 5}}, then: deny}")),
    (
        "policy_pattern",
        4,
        "rules[0].when.a.like",
        rule(f"{{tool: refund, when: {{a: {{like: '{'x' * 300}*'}}}}, then: deny}}"),
    ),
    ("policy_contradiction", 4, "rules[0].when.a", rule("{tool: refund, when: {a: {eq: b, ne: b}}, then: deny}")),
    ("policy_contradiction", 4, "rules[0].when.a", rule("{tool: x, when: {a: {eq: 5, gt: 10}}, then: deny}")),
    ("policy_contradiction", 4, "rules[0].when.a", rule("{tool: x, when: {a: {gt: 10, eq: b}}, then: deny}")),
    ("policy_contradiction", 4, "rules[0].when.a", rule("{tool: x, when: {a: {is: null, eq: b}}, then: deny}")),
    (
        "policy_contradiction",
        4,
        "rules[0].when.a",
        rule("{tool: x, when: {a: {like: 'dev-*', not_like: 'dev-*'}}, then: deny}"),
    ),
    (
        "policy_contradiction",
        4,
        "rules[0].when.a",
        rule("{tool: x, when: {a: {like: '*@eu.acme.example', not_like: '*acme*'}}, then: deny}"),
    ),
    (
        "policy_contradiction",
        4,
        "rules[0].when.risk.radius",
        rule("{tool: x, when: {risk.radius: {not_in: [small, medium, large]}}, then: deny}"),
    ),
    (
        "policy_contradiction",
        4,
        "rules[0].when.risk.operation",
        rule("{operation: [send, delete], when: {risk.operation: {eq: transfer}}, then: deny}"),
    ),
    (
        "policy_contradiction",
        4,
        "rules[0].when.a",
        rule("{tool: x, when: {a: {in: [b, c], not_in: [c, b, d]}}, then: deny}"),
    ),
    (
        "policy_contradiction",
        4,
        "rules[0].when.a",
        rule("{tool: x, when: {a: {eq: bo@evil.example, like: '*@acme.example'}}, then: deny}"),
    ),
    (
        "policy_contradiction",
        4,
        "rules[0].when.a",
        rule("{tool: x, when: {a: {gte: 5, lte: 5, ne: 5.0}}, then: deny}"),
    ),
    ("policy_unknown_key", 2, "approve.witin", "version: 1\napprove: {witin: 24h}\n"),
    ("policy_duration", 2, "approve.within", "version: 1\napprove: {within: 24}\n"),
    ("policy_duration", 2, "approve.within", "version: 1\napprove: {within: -1h}\n"),
    ("policy_duration", 2, "approve.within", "version: 1\napprove: {within: 400d}\n"),
    ("policy_value", 2, "approve.not_by[0]", "version: 1\napprove: {not_by: [boss]}\n"),
    ("policy_value", 2, "roles.finance", "version: 1\nroles: {finance: []}\n"),
    ("policy_value", 2, "roles.finance[0]", "version: 1\nroles: {finance: ['group:']}\n"),
    ("policy_value", 2, "roles.two words", "version: 1\nroles: {two words: [ana]}\n"),
    (
        "policy_person_spelled_twice",
        2,
        "roles.b[0]",
        "version: 1\nroles: {a: [Ana@acme.example], b: [ana@acme.example]}",
    ),
    ("policy_person_twice", 2, "roles.a[1]", "version: 1\nroles: {a: [ana, ana]}"),
    ("policy_unknown_role", 2, "owner", "version: 1\nowner: nobody\n"),
    ("policy_unknown_role", 4, "rules[0].by", rule("{tool: refund, then: approve, by: finanse}")),
    ("policy_unknown_role", 2, "otherwise[0].by", "version: 1\notherwise: [{impact: message, then: approve, by: a}]"),
    ("policy_quorum", 4, "rules[0].by", rule("{tool: refund, then: approve, by: {finance: 0}}")),
    ("policy_quorum", 4, "rules[0].by", rule("{tool: refund, then: approve, by: {}}")),
    ("policy_quorum", 4, "rules[0].by", rule("{tool: refund, then: approve, by: {finance: true}}")),
    ("policy_quorum_unreachable", 4, "rules[0].by", rule("{tool: refund, then: approve, by: {finance: 3}}")),
    (
        "policy_quorum_unreachable",
        4,
        "rules[0].by",
        FEW.format("{tool: refund, then: approve, by: {cfo: 1, audit: 1}}"),
    ),
    (
        "policy_quorum_unreachable",
        4,
        "rules[0].by",
        FEW.format("{tool: refund, then: approve, by: {cfo: 1, audit: 1, legal: 1}}"),
    ),
    (
        "policy_quorum_unreachable",
        4,
        "rules[1].by",
        FEW.format(
            "{tool: refund, then: approve, by: cfo},{tool: [refund], when: {vip: {is: true}}, then: approve, by: audit}"
        ),
    ),
    (
        "policy_quorum_unreachable",
        4,
        "rules[1].by",
        FEW.format(
            "{tool: refund, then: approve, by: legal, on_expiry: {escalate_to: cfo, within: 1h}},"
            "{system: billing, tool: refund, then: approve, by: legal, on_expiry: {escalate_to: audit, within: 1h}}"
        ),
    ),
    ("policy_missing_key", 4, "rules[0]", rule("{tool: refund, then: approve}")),
    ("policy_missing_key", 4, "rules[0].then", rule("{tool: refund}")),
    ("policy_key_unused", 4, "rules[0].by", rule("{tool: refund, then: deny, by: finance}")),
    ("policy_key_unused", 4, "rules[0].within", rule("{tool: refund, then: allow, within: 1h}")),
    ("policy_rule_about_nothing", 4, "rules[0]", rule("{when: {amount: {gt: 5}}, then: deny}")),
    ("policy_value", 4, "rules[0]", rule("refund")),
    ("policy_value", 4, "rules[0].tool[0]", rule("{tool: 'ref*', then: deny}")),
    ("policy_value", 4, "rules[0].tool", rule("{tool: [], then: deny}")),
    ("policy_value", 4, "rules[0].impact[0]", rule("{impact: cash, then: deny}")),
    ("policy_value", 4, "rules[0].then", rule("{tool: refund, then: permit}")),
    ("policy_value", 4, "rules[0].when.amount", rule("{tool: refund, when: {amount: 5}, then: deny}")),
    ("policy_value", 4, "rules[0].when.amount", rule("{tool: refund, when: {amount: {}}, then: deny}")),
    ("policy_field", 4, "rules[0].when.record.", rule("{tool: refund, when: {record.: {is: true}}, then: deny}")),
    ("policy_unknown_operator", 4, "rules[0].when.a.gtt", rule("{tool: refund, when: {a: {gtt: 5}}, then: deny}")),
    (
        "policy_unknown_operator",
        4,
        "rules[0].when.a.matches",
        rule("{tool: refund, when: {a: {matches: b}}, then: deny}"),
    ),
    ("policy_operand", 4, "rules[0].when.a.gt", rule("{tool: refund, when: {a: {gt: '5'}}, then: deny}")),
    ("policy_operand", 4, "rules[0].when.a.gt", rule("{tool: refund, when: {a: {gt: true}}, then: deny}")),
    ("policy_operand", 4, "rules[0].when.a.is", rule("{tool: refund, when: {a: {is: open}}, then: deny}")),
    ("policy_operand", 4, "rules[0].when.a.eq", rule("{tool: refund, when: {a: {eq: null}}, then: deny}")),
    ("policy_operand", 4, "rules[0].when.a.in", rule("{tool: refund, when: {a: {in: [1, b]}}, then: deny}")),
    ("policy_operand", 4, "rules[0].when.a.in", rule("{tool: refund, when: {a: {in: []}}, then: deny}")),
    ("policy_number", 4, "rules[0].when.a.gt", rule("{tool: refund, when: {a: {gt: .inf}}, then: deny}")),
    (
        "policy_number",
        4,
        "rules[0].when.a.gt",
        rule("{tool: refund, when: {a: {gt: 1e99999999999999999999}}, then: deny}"),
    ),
    ("policy_number", 4, "rules[0].when.a.gt", rule(f"{{tool: refund, when: {{a: {{gt: {'9' * 50}}}}}, then: deny}}")),
    ("policy_open_range", 4, "rules[0].when.amount", rule("{tool: refund, when: {amount: {lte: 5}}, then: allow}")),
    ("policy_open_range", 4, "rules[0].when.amount", rule(f"{{tool: refund, when: {{amount: {{gt: 5}}}}, {APPROVE}}}")),
    ("policy_empty_range", 4, "rules[0].when.a", rule("{tool: refund, when: {a: {gt: 5, lt: 5}}, then: deny}")),
    ("policy_empty_range", 4, "rules[0].when.a", rule("{tool: refund, when: {a: {gte: 9, lte: 5}}, then: allow}")),
    ("policy_money_unbounded", 4, "rules[0].then", rule("{tool: refund, impact: money, then: allow}")),
    ("policy_money_unbounded", 2, "otherwise[0].then", "version: 1\notherwise: [{impact: money, then: allow}]"),
    ("policy_unknown_key", 2, "otherwise[0].when", "version: 1\notherwise: [{impact: money, when: {}, then: deny}]"),
    ("policy_unknown_key", 2, "tests[0].args", "version: 1\ntests: [{call: refund, args: {}, expect: deny}]"),
    (
        "policy_field",
        2,
        "tests[0].with.risk.amount",
        "version: 1\ntests: [{call: x, with: {risk.amount: 5}, expect: deny}]",
    ),
    ("policy_key_unused", 2, "tests[0].to", "version: 1\ntests: [{call: x, expect: deny, to: a}]"),
    ("policy_unknown_role", 2, "tests[0].to", "version: 1\ntests: [{call: x, expect: escalate, to: a}]"),
    ("policy_key_unused", 4, "tests[0].by", "version: 1\nroles: {a: [b]}\ntests:\n  - {call: x, expect: deny, by: a}"),
    ("policy_field", 2, "tests[0].with.a.b", "version: 1\ntests: [{call: x, with: {a: 1, a.b: 2}, expect: deny}]"),
]


@pytest.mark.parametrize(("code", "line", "key", "text"), WRONG)
def test_what_is_wrong_is_named_with_file_line_and_key(code: str, line: int, key: str, text: str) -> None:
    """Each mistake has its code, and the error's first line says where it is."""
    with pytest.raises(PolicyError) as caught:
        parse(text)
    assert caught.value.code == code
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"policy.yaml:{line} {key or '(file)'}: ")
    assert first.endswith(f"[{code}]")


def test_all_mistakes_are_listed_by_line() -> None:
    """One wrong rule does not hide the next one's mistakes, nor does a wrong top hide any rule's."""
    text = """\
version: 1
delegation: {}
rules:
  - {tool: refund, when: {amount: {gtt: 5}}, then: deny}
  - {tools: refund, then: deny}
  - {tool: refund, when: {amount: {lt: "5"}}, then: alow}
"""
    _, problems = read_policy(text, source="policy.yaml")
    assert [(problem.line, problem.code) for problem in problems] == [
        (2, "policy_not_built"),
        (4, "policy_unknown_operator"),
        (5, "policy_unknown_key"),
        (6, "policy_value"),
        (6, "policy_operand"),
    ]


def test_a_long_list_of_mistakes_is_cut() -> None:
    """Fifty mistakes are enough to read at once; the rest is counted."""
    with pytest.raises(PolicyError, match="and 30 more"):
        parse("version: 1\nrules:\n" + "  - {tool: refund}\n" * 80)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("version: 1\nrolls: {}\n", "did you mean roles?"),
        (rule("{tool: refund, whne: {}, then: deny}"), "did you mean when?"),
        (rule("{tool: refund, when: {a: {gtt: 5}}, then: deny}"), "did you mean gt?"),
        (rule("{tool: refund, then: approve, by: finanse}"), "did you mean finance?"),
        ("version: 1\ntests: [{call: x, wiht: {}, expect: deny}]", "did you mean with?"),
        (
            "version: 1\nzzz: {}\n",
            "there are: version, mode, roles, owner, owners, approve, risk, records, context, rules, otherwise, limits",
        ),
    ],
)
def test_a_typo_is_answered_with_the_word_that_was_meant(text: str, hint: str) -> None:
    """An unknown key, operator or role comes with the nearest known one, or with all of them."""
    with pytest.raises(PolicyError, match=hint.replace("?", r"\?")):
        parse(text)


def test_open_ranges_are_explained() -> None:
    """The error says what the forgotten end would let through."""
    with pytest.raises(PolicyError, match="a negative number would pass as a small one"):
        parse(rule("{tool: refund, when: {amount: {lte: 100}}, then: allow}"))
    with pytest.raises(PolicyError, match="any number, however large, would pass"):
        parse(rule("{tool: refund, when: {amount: {gt: 100}}, then: approve, by: finance}"))
    assert parse(rule("{tool: refund, when: {amount: {gt: 100}}, then: deny}")).rules


def test_a_group_may_hold_any_number_of_people() -> None:
    """Who is in a group is not in the file, so no quorum of it is called unreachable."""
    text = "version: 1\nroles: {a: [group:leads]}\nrules: [{tool: x, then: approve, by: {a: 5}}]"
    assert parse(text).rules[0].requirement is not None


def test_inline_tests_run_through_the_same_routing() -> None:
    """A test that comes out otherwise is reported with its place, both answers and the reasons."""
    text = REFUNDS.replace("amount: 100, record.flagged: false}, expect", "amount: 100}, expect")
    (failure,) = parse(text).run_tests()
    assert (failure.place, failure.tool) == ("tests[0] policy.yaml:11", "refund")
    assert (failure.expected, failure.got) == ("allow", "deny")
    assert "record.flagged is missing" in failure.reasons[0]


def test_a_test_that_depends_on_an_unnamed_impact_says_so() -> None:
    """Without `impact`, a test holds for every impact or it fails and asks for the word."""
    text = REFUNDS.splitlines()[:-1]
    call = "tests: [{call: refund, with: {amount: 60000}, expect: deny%s}]"
    (failure,) = parse("\n".join([*text, call % ""])).run_tests()
    assert "the answer depends on the tool's impact" in failure.reasons[-1]
    assert parse("\n".join([*text, call % ", impact: money"])).run_tests() == ()


def test_a_test_can_say_who_must_approve() -> None:
    """`by` in a test compares the people asked for, not only the verb."""
    text = REFUNDS.splitlines()[:-1]
    call = "tests: [{call: refund, with: {amount: 6000, record.a.b: 1}, expect: approve, by: %s}]"
    assert parse("\n".join([*text, call % "{finance: 2}"])).run_tests() == ()
    (failure,) = parse("\n".join([*text, call % "finance"])).run_tests()
    assert (failure.expected, failure.got) == ("approve by 1 of finance", "approve by 2 of finance")


def test_a_tool_that_moves_money_is_not_allowed_without_bounds() -> None:
    """The file does not know a tool's impact; once contracts are known, an unbounded allow is refused by place."""
    policy = parse(rule("{tool: refund, then: allow}") + "  - {system: crm, then: allow}\n")
    policy.check_tools({"refund": Impact.RECORD})
    with pytest.raises(PolicyError, match=r"rules\[0\] policy.yaml:4; rules\[1\] policy.yaml:5") as caught:
        policy.check_tools({"refund": Impact.MONEY, "note": Impact.RECORD})
    assert caught.value.code == "policy_money_unbounded"
    parse(REFUNDS).check_tools({"refund": Impact.MONEY})


def test_secrets_in_a_policy_are_not_repeated_in_errors() -> None:
    """An error names keys; a value that was put in the wrong place is not shown."""
    with pytest.raises(PolicyError) as caught:
        parse(rule("{tool: refund, then: hunter2-hunter2}"))
    assert "hunter2" not in str(caught.value)


@given(st.text(alphabet="version:1 rules[]{},-&*!?|>'\"#%@`~\n\t0.5eaby"))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    """Any text at all is either a policy or a PolicyError."""
    try:
        parse(text)
    except PolicyError as error:
        assert str(error).startswith("policy.yaml:")  # noqa: PT017 - the property is about either outcome


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["deny", "allow", "refund", "money", "a"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["version", "roles", "rules", "when", "then", "tool", "by", "tests", "with", "amount"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=10,
    )
)
def test_no_tree_makes_the_reader_fail(tree: object) -> None:
    """Well-formed YAML of any shape, with the format's own words in any place, is a policy or a PolicyError."""
    text = f"version: 1\nrules: [{_flow(tree)}]\ntests: {_flow(tree)}\nroles: {_flow(tree)}\n"
    try:
        parse(text)
    except PolicyError as error:
        assert str(error).startswith("policy.yaml:")  # noqa: PT017 - the property is about either outcome


def _flow(tree: object) -> str:
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {_flow(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(_flow, tree)) + "]"
    return "null" if tree is None else str(tree)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=6))
def test_every_decimal_is_read_back_exactly(number: Decimal) -> None:
    """A number in the file is that number, to the last digit."""
    assert read_document(f"a: {number:f}").tree == {"a": number}
