"""A write lost to an error that would only come again is not sent again once it is proven that it did nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.action import ABSENT, Action, Done, NotDone, Unknown
from langgraph_control.nodes.call import GovernedCall
from langgraph_control.nodes.contracts import Contract, writes
from langgraph_control.nodes.gate import perform
from langgraph_control.nodes.hopeless import noted, told
from langgraph_control.nodes.steps import Delivered, Refused
from langgraph_control.nodes.surroundings import new_ticket
from tests.support.entered_run import EnteredRun, entered_run
from tests.support.postgres import Database
from tests.support.trails import TrailWriter

SOON = 0.001  # seconds until an effect shows: less than the gate waits in process
LATER = 20.0  # more than that


@dataclass
class Park(Exception):  # noqa: N818 - says what happened
    """The gate parked with this card."""

    card: Any


class Killed(Exception):  # noqa: N818 - says what happened
    """The worker died in mid-call."""


@dataclass
class Provider:
    """A system of record that can be searched, and what it was sent."""

    answers: list[Callable[[], str]]
    sent: int = 0
    made: list[str] = field(default_factory=list)

    def body(self) -> str:
        """Take a request and answer as told next; the last answer stays."""
        self.sent += 1
        return self.answers[min(self.sent, len(self.answers)) - 1]()

    def find(self, _: Action) -> object:
        """Look the effect up."""
        return self.made[0] if self.made else ABSENT

    def makes(self) -> str:
        """Have the effect."""
        self.made.append("noted")
        return "noted"


def raises(error: BaseException) -> Callable[[], str]:
    """Return an answer that is an error."""

    def answer() -> str:
        raise error

    return answer


BROKEN = raises(ValueError("no such field"))
SILENT = raises(TimeoutError("nobody answered"))


def called(run: EnteredRun, provider: Provider, *, visible: float = SOON, call_id: str = "call_1", **more: Any) -> Any:
    """Carry a call to its end; waiting in process takes no time."""
    contract: Contract = writes(key=(), impact="record", find=provider.find, visible_within=visible, **more)
    gate = perform(GovernedCall(contract=contract, tool="note", args={}, defaults={}, run=run.context, call_id=call_id))
    answer: Any = None
    while True:
        try:
            request = gate.send(answer)
        except StopIteration as over:
            return over.value
        match request:
            case ask.Park(card=card):
                raise Park(card)
            case ask.NewTicket():
                answer = new_ticket()
            case ask.Ask(hook=hook, action=action):
                answer = ask.Heard(value=getattr(contract, hook)(action))
            case ask.Send():
                answer = sent(provider)
            case ask.ReplayWakes() | ask.Sleep():
                answer = None
            case _:
                answer = run.store.call(request)


def sent(provider: Provider) -> ask.Returned | ask.Raised:
    """Call the tool as a driver does."""
    try:
        return ask.Returned(value=provider.body())
    except Killed:
        raise
    except Exception as error:  # noqa: BLE001 - a tool may raise anything
        return ask.Raised(error=error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A run, and the ledger's clock."""

    run: EnteredRun
    clock: TrailWriter


@pytest.fixture
def place(database: Database) -> Iterator[Place]:
    """A run in a database whose time can be moved."""
    with entered_run(database) as run, TrailWriter(database) as clock:
        yield Place(run=run, clock=clock)


def test_a_lost_error_that_would_come_again_is_a_failure(run: EnteredRun) -> None:
    """The write is sent once; read back and not there, it has failed, and the model is told what the tool said."""
    provider = Provider(answers=[BROKEN])
    ended = called(run, provider)
    assert isinstance(ended, Refused)
    assert (ended.code, ended.text) == (
        "failed",
        "note failed and nothing was changed. ValueError: no such field",
    )
    assert provider.sent == 1
    assert run.actions() == [("note", "failed", 2)]
    facts, body = run.entries()[-1]
    assert (facts["outcome"], body["sent"]) == ("fail", "no")


def test_the_same_call_gets_the_stored_failure_and_a_new_one_may_try(run: EnteredRun) -> None:
    """A repeat of the call is told the same without another request; a call of its own is sent."""
    provider = Provider(answers=[BROKEN])
    first = called(run, provider)
    assert called(run, provider).text == first.text
    assert provider.sent == 1
    provider.answers = [provider.makes]
    assert called(run, provider, call_id="call_2") == Delivered(value="noted", replayed=False)
    assert provider.sent == 2


def test_an_error_after_the_effect_is_no_failure(run: EnteredRun) -> None:
    """A tool that had its effect and stumbled over the answer has done it: it is found."""
    provider = Provider(answers=[])

    def stumbles() -> str:
        provider.makes()
        raise ValueError("cannot read the receipt")

    provider.answers = [stumbles]
    assert called(run, provider) == Delivered(value="noted", replayed=True)
    assert provider.sent == 1


def test_what_may_succeed_later_is_tried_again(run: EnteredRun) -> None:
    """An answer that was lost on the way says nothing against another try, once it is proven that nothing happened."""
    provider = Provider(answers=[SILENT, SILENT])
    provider.answers.append(provider.makes)
    assert called(run, provider) == Delivered(value="noted", replayed=False)
    assert provider.sent == 3


def test_a_refusal_that_may_speak_of_an_earlier_attempt_is_settled_by_reading(run: EnteredRun) -> None:
    """A later attempt that is refused may see the effect of an earlier one; where there is none, it has failed."""
    request = httpx.Request("POST", "http://localhost")
    refusal = httpx.HTTPStatusError("no", request=request, response=httpx.Response(422, request=request))
    provider = Provider(answers=[SILENT, raises(refusal)])
    assert called(run, provider).code == "failed"
    assert provider.sent == 2


def test_what_takes_long_to_show_is_remembered(place: Place) -> None:
    """Where absence is believed only after a pause, whoever goes on after it knows what the attempt was lost to."""
    provider = Provider(answers=[BROKEN])
    with pytest.raises(Park):
        called(place.run, provider, visible=LATER)
    place.clock.pass_time(seconds=LATER / 2)
    with pytest.raises(Park):
        called(place.run, provider, visible=LATER)
    place.clock.pass_time(seconds=LATER)
    assert called(place.run, provider, visible=LATER).code == "failed"
    assert provider.sent == 1


def test_an_attempt_without_a_word_inherits_none(place: Place) -> None:
    """What an earlier attempt was lost to says nothing about one whose worker died: that one is tried again."""
    provider = Provider(answers=[BROKEN, raises(Killed())])
    assert called(place.run, provider).code == "failed"
    with pytest.raises(Killed):
        called(place.run, provider, call_id="call_2")
    provider.answers.append(provider.makes)
    place.clock.pass_time(minutes=1)
    assert called(place.run, provider, call_id="call_2") == Delivered(value="noted", replayed=False)
    assert provider.sent == 3


NO_ANSWERS = [Done(), NotDone(reason="not there"), Unknown(reason="who knows"), None, False, [], {}, "", (), set()]


@pytest.mark.parametrize("found", NO_ANSWERS, ids=repr)
def test_what_tells_nothing_is_no_answer_of_find(run: EnteredRun, found: object) -> None:
    """A search without a hit, or an answer of `outcome=`, is not the tool's result: nobody can tell what happened."""
    provider = Provider(answers=[SILENT])
    provider.find = lambda _: found  # type: ignore[method-assign]
    with pytest.raises(Park):
        called(run, provider)
    assert [state for _, state, _ in run.actions()] != ["succeeded"]
    assert provider.sent == 1


def test_a_note_is_its_attempts_alone() -> None:
    """A note is read by the number it was made for, whatever its text holds; other texts are no notes."""
    assert told(noted("3 is no number here", attempt=12), attempt=12) == "3 is no number here"
    assert told(noted("x", attempt=12), attempt=1) is None
    assert told("note failed and nothing was changed.", attempt=1) is None
    assert told(None, attempt=1) is None
