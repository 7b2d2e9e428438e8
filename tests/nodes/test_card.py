"""What people are shown is what runs on their yes."""

from typing import Any

from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.call import GovernedCall
from langgraph_control.nodes.contracts import writes
from langgraph_control.nodes.gate import perform
from langgraph_control.nodes.surroundings import new_ticket
from tests.support.entered_run import EnteredRun

MAIL = writes(key=("to",), impact="message", explain=("note",), redact=("iban",))


def carried(run: EnteredRun, **args: str) -> Any:
    """Carry one call as far as it goes; return the card it parks with, or the arguments that it sends."""
    gate = perform(GovernedCall(contract=MAIL, tool="mail", args=args, defaults={}, run=run.context))
    answer: Any = None
    while True:
        request = gate.send(answer)
        match request:
            case ask.Park(card=card):
                return card
            case ask.Send(args=sent):
                return sent
            case ask.NewTicket():
                answer = new_ticket()
            case ask.ReplayWakes() | ask.Sleep():
                answer = None
            case _:
                answer = run.store.call(request)


def test_a_card_shows_the_words_that_will_run(run: EnteredRun) -> None:
    """A request that is asked for again in other words shows the first ones, as they run; redacted stays redacted."""
    first = carried(run, to="x", note="we refund you", iban="DE00-1")
    again = carried(run, to="x", note="you are a crook", iban="DE00-1")
    assert again["approval"] == first["approval"]
    assert again["what"] == first["what"]
    assert again["why"]["model_says"] == {"note": "we refund you"}
    assert again["what"]["arguments"] == {"to": "x", "note": "we refund you", "iban": "(redacted)"}
    run.approve()
    assert carried(run, to="x", note="you are a crook", iban="DE00-1")["note"] == "we refund you"
