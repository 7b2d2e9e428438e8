"""What an outcome hook tells of a system counts like what an exception tells: for its breaker and its rate limit."""

import asyncio
from collections.abc import Generator, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from langgraph_control.errors import ContractError
from langgraph_control.guards.retries import RETRY_AFTER_SECONDS_MAX
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.action import Action, Done, NotDone, Outcome, Unknown
from langgraph_control.nodes.async_drivers import adrive
from langgraph_control.nodes.call import GovernedCall
from langgraph_control.nodes.contracts import Contract, writes
from langgraph_control.nodes.drivers import drive
from langgraph_control.nodes.durations import Duration
from langgraph_control.nodes.gate import perform
from langgraph_control.nodes.surroundings import Surroundings
from langgraph_control.nodes.system_news import LIMITED_SECONDS
from tests.nodes.test_hook_answers import HOWS, noted
from tests.support.entered_run import EnteredRun, async_form

TRANSIENT = NotDone(reason="locked", transient=True)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("30s", 30), ("1.5m", 90), (2, 2), (0.5, 0.5), (timedelta(minutes=1), 60), (0, 0), ("0s", 0), (timedelta(0), 0)],
)
def test_a_pause_is_given_as_spans_of_time_are(given: Duration, seconds: float) -> None:
    """Who names a pause says that another try is reasonable; nothing is a pause, too: nobody knows how long."""
    told = NotDone(reason="slow down", retry_after=given)
    assert (told.transient, told.retry_after_seconds) == (True, seconds)


@pytest.mark.parametrize("given", ["7d", 10**12, timedelta.max])
def test_no_system_asks_for_more_than_a_day(given: Duration) -> None:
    """A longer pause than a header could ask for is as long as one could."""
    assert NotDone(reason="slow down", retry_after=given).retry_after_seconds == RETRY_AFTER_SECONDS_MAX


@pytest.mark.parametrize(
    "given",
    [-1, "-1s", "soon", "30", "", True, False, float("nan"), float("inf"), 10**400, -timedelta(1), [], Decimal(1)],
    ids=repr,
)
def test_what_is_no_pause_is_refused_where_it_is_made(given: Any) -> None:
    """The error has a name, and says what to write."""
    with pytest.raises(ContractError) as refused:
        NotDone(reason="slow down", retry_after=given)
    assert refused.value.code == "contract_duration"


def test_without_a_pause_nothing_is_asked_for() -> None:
    """A plain answer asks for no pause and for no other try."""
    assert (NotDone(reason="no").transient, NotDone(reason="no").retry_after_seconds) == (False, None)


class Heard:
    """What a gate noted of systems while it was driven."""

    def __init__(self, run: EnteredRun, *answers: Outcome) -> None:
        self.run = run
        self.answers: Iterator[Outcome] = iter(answers)
        self.noted: list[ask.Noted] = []

    def outcome(self, _: Action) -> Outcome:
        """Answer as told next, then that it is done."""
        return next(self.answers, Done())

    def drive(self, how: str) -> Any:
        """Call a governed body to its end."""
        contract: Contract = writes(key=(), impact="record", system="bank", outcome=self.outcome)
        where = Surroundings(
            store=self.run.store,
            contract=contract,
            tool="note",
            drive=self.run.context.drive,
            body=noted if how == "sync" else async_form(noted),
            given={},
            prepare=dict,
            fit=lambda args: ask.Fits(args=args),
        )
        call = GovernedCall(contract=contract, tool="note", args={}, defaults={}, run=self.run.context)
        gate = self._listening(perform(call))
        return drive(gate, where) if how == "sync" else _driven(gate, where)

    def _listening(self, gate: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        answer: Any = None
        while True:
            try:
                request = gate.send(answer)
            except StopIteration as over:
                return over.value
            if isinstance(request, ask.Noted):
                self.noted.append(request)
            answer = yield request


def _driven(gate: Generator[Any, Any, Any], where: Surroundings) -> Any:
    return asyncio.run(adrive(gate, where))


@pytest.mark.parametrize("how", HOWS)
def test_a_told_transient_failure_is_a_failed_call(how: str, run: EnteredRun) -> None:
    """What the hook says may work later has failed now; what it refuses for good, the system has answered."""
    heard = Heard(run, TRANSIENT)
    assert heard.drive(how).value == "noted"
    assert [(one.failed, one.rate_limited_seconds) for one in heard.noted] == [(True, 0.0), (False, 0.0)]
    assert [body.get("fault") for facts, body in run.entries() if body.get("why") == "locked"] == ["transient"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    ("answer", "failed"), [(NotDone(reason="no such customer"), False), (Unknown(reason="?"), True)]
)
def test_a_refusal_is_an_answer_and_no_word_is_none(how: str, answer: Outcome, failed: bool, run: EnteredRun) -> None:  # noqa: FBT001
    """A refusal for good does not count against the system; an outcome that nobody knows does."""
    heard = Heard(run, answer)
    try:
        heard.drive(how)
    except RuntimeError:  # an unknown outcome parks, and there is no graph to park in
        assert failed
    assert [one.failed for one in heard.noted] == [failed]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("asked", "seconds"), [(0, LIMITED_SECONDS), ("1.2s", 1.2)])
def test_a_told_rate_limit_is_noted_like_429(how: str, asked: Duration, seconds: float, run: EnteredRun) -> None:
    """All workers are told how long to stay away, and the call itself waits as long; it is no failure of the system."""
    heard = Heard(run, NotDone(reason="slow down", retry_after=asked))
    assert heard.drive(how).value == "noted"
    assert [(one.failed, one.rate_limited_seconds) for one in heard.noted] == [(False, seconds), (False, 0.0)]
    (settled,) = [facts for facts, body in run.entries() if body.get("why") == "slow down"]
    assert settled.get("pause_ms", 0) >= (1200 if asked else 0)
