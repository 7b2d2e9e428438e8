"""The index: all rules at once come to what each of them comes to by itself."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.conditions import Condition, Facts, Operator, Truth, judge, readied, would_hold
from langgraph_control.guards.judging import Fit, RuleIndex, judge_rule
from langgraph_control.guards.rules import Rule
from langgraph_control.guards.signals import Signals
from tests.support.policies import calls, conditions, rules, signals


@given(st.lists(rules(), max_size=8), calls())
def test_the_index_hears_what_each_rule_says(drawn: list[Rule], call: Signals) -> None:
    """By tool, system and impact, with ranges as one test: the rules that match or may match, in the file's order."""
    placed = [replace(rule, place=f"rules[{place}]") for place, rule in enumerate(drawn)]
    facts = Facts(call)
    one_by_one = [judge_rule(rule, call, facts) for rule in placed]
    assert list(RuleIndex(placed).hear(call, Facts(call))) == [
        judged for judged in one_by_one if judged.fit in {Fit.MATCHED, Fit.UNSURE}
    ]


@given(st.lists(rules(), max_size=4), calls())
def test_a_rule_that_contributes_has_a_sentence(drawn: list[Rule], call: Signals) -> None:
    """What matches or may match says so with its place; what does not says nothing."""
    for rule in drawn:
        judged = judge_rule(rule, call, Facts(call))
        assert (judged.fit in {Fit.MATCHED, Fit.UNSURE}) == judged.reason.startswith(rule.place)
        assert judged.counts <= bool(judged.reason)


@given(st.lists(conditions(), max_size=4), calls())
def test_conditions_made_ready_come_to_the_same(drawn: list[Condition], call: Signals) -> None:
    """All hold, one fails, or something is not known: as when they are asked one by one."""
    truths = {judge(condition, Facts(call)) for condition in drawn}
    facts = Facts(call)
    ready = {test(facts[key]) for key, test in readied(drawn)}
    assert (Truth.FAILS in ready) == (Truth.FAILS in truths)
    assert (ready <= {Truth.HOLDS}) == (truths <= {Truth.HOLDS})


@given(conditions(), st.sampled_from(["DE", "FR", 0, 1, 2, True, False, None]))
def test_what_would_hold_holds(condition: Condition, value: str | int | bool | None) -> None:  # noqa: FBT001
    """Asking about a value is asking about a call that has it."""
    plain = Condition(field="x", operator=condition.operator, operand=condition.operand)
    assert would_hold(plain, value) == (judge(plain, Facts(signals(arguments={"x": value}))) is Truth.HOLDS)


def test_a_field_is_looked_up_once() -> None:
    """What a hundred rules ask about one field is found out once for each way of looking at it."""
    facts = Facts(signals(arguments={"amount": 5}))
    for operand in range(100):
        judge(Condition(field="amount", operator=Operator.GT, operand=operand), facts)
    assert sorted(facts) == ["#amount", "=amount"]
