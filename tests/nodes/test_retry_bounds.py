"""Retries against their bounds, by the pure functions alone: what is decided, what a failure means, how long is waited.

That the ledger holds to the same, whatever it is told, is in ``tests/audit/test_pauses.py``.
"""

from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from uuid import UUID

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_control.audit.asking.ledger import Answer, Claimed
from langgraph_control.guards.classification import classify
from langgraph_control.guards.decisions import Verb
from langgraph_control.guards.failures import Failure, Verdict
from langgraph_control.guards.lifecycle import Kind
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.retries import RETRY_AFTER_SECONDS_MAX
from langgraph_control.guards.retry_rules import Caps, Named
from langgraph_control.guards.routing import route
from langgraph_control.guards.rules import Rule, Then
from langgraph_control.guards.signals import Prior, Progress
from langgraph_control.nodes.attempt import pause_seconds
from langgraph_control.nodes.deciding import Bounds, bounds_of
from langgraph_control.nodes.requests import Ticket
from tests.nodes.test_call import RUN, called
from tests.support.policies import NOW, policy_of, signals

PAUSE_SECONDS_MAX = 31_622_400  # what the ledger takes

REQUEST = httpx.Request("POST", "http://bank/refunds")
MONTH = timedelta(days=31)

spans = st.integers(1, 30) | st.integers(31, 7200) | st.just(86_400)
dates = st.timedeltas(-timedelta(hours=1), MONTH).map(lambda ahead: format_datetime(NOW + ahead, usegmt=True))
headers = st.none() | st.integers(0, 120).map(str) | st.just("9" * 30) | dates | st.sampled_from(["soon", "-5", "1.5"])
errors = st.builds(
    lambda status, header: httpx.HTTPStatusError(
        "failed",
        request=REQUEST,
        response=httpx.Response(status, headers={} if header is None else {"retry-after": header}, request=REQUEST),
    ),
    st.sampled_from([408, 409, 423, 425, 429, 500, 502, 503, 504]),
    headers,
) | st.sampled_from([httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])


@st.composite
def bounded(draw: st.DrawFn) -> Policy:
    """Draw a policy that allows the write, with any bounds of its retries."""
    base, cap = sorted((draw(spans), draw(spans)))
    retries = {
        "attempts": draw(st.integers(1, 12)),
        "base_seconds": base,
        "cap_seconds": cap,
        "give_up_after_seconds": draw(spans),
        "same_failure": draw(st.integers(2, 12)),
    }
    return policy_of(
        [Rule(place="rules[0]", tools=("refund",), then=Then.ALLOW)],
        owners=replace(policy_of([]).owners, default="support"),
        retries=Named(given={"refund": retries}),
        caps=Caps(retry_seconds=draw(spans)),
    )


@settings(max_examples=300)
@given(
    bounded(),
    st.sampled_from([Kind.KEYED, Kind.TRANSACTION]),  # the kinds that are tried again whatever an attempt came to
    st.none() | spans,
    st.lists(st.tuples(errors, st.floats(0, 1), st.floats(0, 60)), min_size=1, max_size=14),
)
def test_no_retry_begins_after_its_time(
    policy: Policy, kind: Kind, deadline: int | None, story: list[tuple[Exception, float, float]]
) -> None:
    """Whatever fails, and whatever pause is asked for, no attempt begins when the deadline or the time for it is over.

    Nor more often than the policy says, nor before the pause is over that the other side asked for.
    """
    call = replace(signals(), kind=kind)
    bounds = bounds_of(called(run=replace(RUN, policy=policy)), call)
    ends = None if deadline is None else NOW + timedelta(seconds=deadline)
    now, waited, same = NOW, 0.0, 0
    last: Failure | None = None
    for attempts, (error, chance, late) in enumerate(story):
        so_far = Progress(
            prior=_prior(last),
            attempts=attempts,
            same_failures=same,
            retrying_seconds=waited,
            run_retrying_seconds=waited,
            deadline=ends,
        )
        decision = route(replace(call, now=now, progress=so_far), policy)
        over = (
            (ends is not None and now >= ends)
            or attempts >= bounds.retries.attempts
            or (attempts > 0 and waited >= min(bounds.retries.give_up_after_seconds, bounds.retry_ms_max / 1000))
            or same >= bounds.retries.same_failure
        )
        assert (decision.verb is Verb.ALLOW) == (not over)
        if over:
            assert decision.verb is Verb.ESCALATE
            return
        failure = classify(error, kind=kind, now=now, attempt=attempts + 1)
        if failure.verdict is Verdict.NOT_DONE_PERMANENT:
            return
        pause = _pause(failure, bounds, attempts=attempts + 1, chance=chance)
        same = same + 1 if last is not None and last.reason == failure.reason else 1
        last = failure
        waited += pause + late
        now += timedelta(seconds=pause + late)


def _prior(last: Failure | None) -> Prior:
    if last is None:
        return Prior.NONE
    return Prior.UNKNOWN if last.verdict is Verdict.UNKNOWN else Prior.NOT_DONE


def _pause(failure: Failure, bounds: Bounds, *, attempts: int, chance: float) -> float:
    wanted = failure.retry_after_seconds or 0.0
    ticket = Ticket(attempt=UUID(int=attempts), started=0.0, now=NOW, chance=chance)
    pause = pause_seconds(wanted, _claimed(attempts), bounds, ticket)
    assert 0 <= wanted <= pause <= max(wanted, bounds.retries.cap_seconds)
    assert pause <= max(RETRY_AFTER_SECONDS_MAX, bounds.retries.cap_seconds) <= PAUSE_SECONDS_MAX
    return pause


def _claimed(attempts: int) -> Claimed:
    return Claimed(
        answer=Answer.GO,
        reason="",
        state="executing",
        attempts=attempts,
        digest=None,
        payload=None,
        result=None,
        error=None,
        wait_ms=0,
        absence_counts=False,
        approval_id=None,
        expires_at=None,
        comment=None,
    )
