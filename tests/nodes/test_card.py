"""What people are shown is what runs on their yes."""

from typing import Any

import psycopg
from psycopg import sql

from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.call import GovernedCall
from langgraph_control.nodes.contracts import Contract, writes
from langgraph_control.nodes.gate import perform
from langgraph_control.nodes.surroundings import new_ticket
from tests.support.entered_run import EnteredRun

MAIL = writes(key=("to",), impact="message", explain=("note",), redact=("iban",))
PAYOUT = writes(
    key=("to",),
    impact="message",
    redact=("customer.iban", "lines.card"),
    read=lambda _: {"customer": {"name": "Ana", "iban": "DE00-1"}, "lines": [{"card": "visa-4111", "paid": False}]},
    expect=lambda _: {"customer": {"name": "Ana", "iban": "DE00-2"}, "lines": [{"card": "visa-4112", "paid": True}]},
)


def carried(run: EnteredRun, contract: Contract = MAIL, **args: Any) -> Any:
    """Carry one call as far as it goes; return the card it parks with, or the arguments that it sends."""
    gate = perform(GovernedCall(contract=contract, tool="mail", args=args, defaults={}, run=run.context))
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
            case ask.Ask(hook=hook, action=action):
                answer = ask.Heard(value=getattr(contract, hook)(action))
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


def everything(run: EnteredRun) -> bytes:
    """Return every row of the ledger, as text and with its bytes."""
    tables = "SELECT relname FROM pg_class WHERE relnamespace = 'control'::regnamespace AND relkind = 'r'"
    with psycopg.connect(run.database.admin) as admin:
        admin.execute("SET bytea_output = 'escape'")
        rows = [
            row[0]
            for (table,) in admin.execute(tables).fetchall()
            for row in admin.execute(
                sql.SQL("SELECT t::text FROM control.{} t").format(sql.Identifier(table))
            ).fetchall()
        ]
    return "\n".join(rows).encode()


def test_a_redacted_part_is_nowhere_in_the_database(run: EnteredRun) -> None:
    """What paths name is shown to nobody and stored nowhere, and runs as it was called; its neighbours are shown."""
    args = {"to": "x", "customer": {"name": "Ana", "iban": "DE00-2"}, "lines": [{"card": "visa-4112"}]}
    card = carried(run, PAYOUT, **args)
    assert card["what"]["arguments"] == {
        "to": "x",
        "customer": {"name": "Ana", "iban": "(redacted)"},
        "lines": [{"card": "(redacted)"}],
    }
    assert card["diff"] == {
        "customer": [{"name": "Ana", "iban": "(redacted)"}] * 2,
        "lines": [[{"card": "(redacted)", "paid": False}], [{"card": "(redacted)", "paid": True}]],
    }
    run.approve()
    assert carried(run, PAYOUT, **args) == args
    kept = everything(run)
    assert b"Ana" in kept
    assert b"DE00-" not in kept
    assert b"visa-" not in kept
