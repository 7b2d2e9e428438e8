"""Checks that users hand in: whatever they answer, a decision only becomes stricter."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.guards.approvals import Requirement
from langgraph_control.guards.checks import Check, Failed, Lacking, Proposal, Question, Stricter, frozen, tightened
from langgraph_control.guards.decisions import Decision, Source, Verb
from langgraph_control.guards.intent import Lack, Missing
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.routing import route
from langgraph_control.guards.signals import Impact, Signals
from tests.support.policies import as_strict, calls, policies, requirements, signals

FINANCE = Requirement(
    quorum={"finance": 1},
    not_by=frozenset(),
    within_seconds=60,
    execute_within_seconds=60,
    on_expiry="deny",
    comment_required=False,
)
MISSING = Missing(field="order_id", why=Lack.NO_TARGET)
ALLOW = Decision(verb=Verb.ALLOW, reasons=("rules say so",), requirement=None, matched=("rules[0]",), policy_hash="h")


@st.composite
def stricter_answers(draw: st.DrawFn) -> Stricter:
    """Draw a decision of a check's own, also ones that are looser than most."""
    verb = draw(st.sampled_from(Verb))
    requirement = draw(requirements()) if verb is Verb.APPROVE else None
    return Stricter(verb=verb, reason="drawn", requirement=requirement)


answers = st.one_of(
    st.none(),
    st.just(Lacking(pieces=(MISSING,))),
    st.just(Question(text="Which order?")),
    stricter_answers(),
    st.just(Failed(error="TimeoutError")),
    st.sampled_from([True, "allow", Verb.ALLOW, {"verb": "allow"}, 0]),
)
named = st.lists(answers.map(lambda answer: ("check", answer)), max_size=4)


@given(policies, calls(), named)
def test_no_check_loosens_a_decision(policy: Policy, call: Signals, given_answers: list[tuple[str, Any]]) -> None:
    """Whatever checks answer, also what is no answer, the decision is at least as strict as the policy's."""
    decision = route(call, policy)
    joined = tightened(decision, given_answers, tool=call.tool)
    assert as_strict(joined, decision)
    assert set(decision.reasons) <= set(joined.reasons)
    assert (joined.requirement is not None) == (joined.verb is Verb.APPROVE)
    assert joined.observed == decision.observed


@given(policies, calls(), named, st.randoms(use_true_random=False))
def test_the_order_of_checks_decides_nothing(
    policy: Policy, call: Signals, given_answers: list[tuple[str, Any]], random: Any
) -> None:
    """Verb, requirement and question are the same in whatever order checks were asked."""
    decision = route(call, policy)
    shuffled = list(given_answers)
    random.shuffle(shuffled)
    one = tightened(decision, given_answers, tool=call.tool)
    other = tightened(decision, shuffled, tool=call.tool)
    assert (one.verb, one.requirement, one.question) == (other.verb, other.requirement, other.question)


@given(policies, calls(), answers)
def test_each_check_is_heard(policy: Policy, call: Signals, answer: Any) -> None:
    """One more answer makes a decision no looser than that answer alone would make an allowed one."""
    joined = tightened(route(call, policy), [("check", answer)], tool=call.tool)
    assert as_strict(joined, tightened(ALLOW, [("check", answer)], tool=call.tool))


@pytest.mark.parametrize(
    ("answer", "verb", "reason"),
    [
        (None, Verb.ALLOW, "rules say so"),
        (Lacking(pieces=(MISSING,)), Verb.DENY, "refund was called before the change can be stated."),
        (Question(text="Which?"), Verb.ASK, "check tone has a question for the user"),
        (Stricter(verb=Verb.ESCALATE, reason="it threatens", owner="legal"), Verb.ESCALATE, "check tone: it threatens"),
        (Stricter(verb=Verb.APPROVE, reason="large", requirement=FINANCE), Verb.APPROVE, "check tone: large"),
        (Stricter(verb=Verb.ALLOW, reason="fine"), Verb.ALLOW, "rules say so"),
        (Failed(error="TimeoutError"), Verb.RETRY_LATER, "check tone could not be made: TimeoutError"),
        ("allow", Verb.RETRY_LATER, "check tone could not be made: it answered with a str"),
    ],
)
def test_what_an_answer_comes_to(answer: object, verb: Verb, reason: str) -> None:
    """A missing piece goes back to the model, a question to the user; what cannot be checked waits."""
    decision = tightened(ALLOW, [("tone", answer)], tool="refund")
    assert decision.verb is verb
    assert decision.reasons[0].startswith(reason)
    assert decision.source is (Source.RULES if verb is Verb.ALLOW else Source.CHECKS)
    assert decision.seconds == (60 if verb is Verb.RETRY_LATER else None)
    assert decision.owner == ("legal" if verb is Verb.ESCALATE else None)
    assert decision.question == ("Which?" if verb is Verb.ASK else None)


def test_a_check_sees_everything_and_changes_nothing() -> None:
    """The view is a copy that cannot be written to, all the way down; what the caller has stays as it is."""
    arguments = {"lines": [{"sku": "A-1"}], "note": "hi"}
    proposal = Proposal(intent="t/1", tool="refund", impact=Impact.MONEY, arguments=arguments, record=None)
    with pytest.raises(TypeError):
        proposal.arguments["note"] = "changed"  # type: ignore[index]
    with pytest.raises(TypeError):
        proposal.arguments["lines"][0]["sku"] = "B-2"
    arguments["note"] = "changed later"
    assert proposal.arguments["note"] == "hi"
    assert frozen({"a": [1, {"b": []}]})["a"][1]["b"] == ()


def test_a_function_is_a_check() -> None:
    """Sync or async, a plain callable of a proposal is one."""

    def polite(proposal: Proposal) -> Question | None:
        return Question(text="Say please?") if "please" not in str(proposal.arguments) else None

    async def kind(proposal: Proposal) -> None:
        assert proposal.tool

    checks: list[Check] = [polite, kind]
    proposal = Proposal(intent="t/1", tool="refund", impact=Impact.MONEY, arguments={}, record={"a": 1})
    assert tightened(ALLOW, [("polite", checks[0](proposal))], tool="refund").verb is Verb.ASK
    assert signals().tool == proposal.tool


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Lacking(pieces=()),
        lambda: Question(text=" "),
        lambda: Stricter(verb=Verb.APPROVE, reason="by whom?"),
        lambda: Stricter(verb=Verb.DENY, reason="and who approves?", requirement=FINANCE),
    ],
)
def test_an_answer_that_says_nothing_cannot_be_made(wrong: Any) -> None:
    """A lack of nothing, an empty question, an approval by nobody are mistakes of the check."""
    with pytest.raises(ValueError, match=r"check|question|approve"):
        wrong()
