"""What people are shown is what runs on their yes."""

from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import orjson
import psycopg
from langchain.agents.middleware.human_in_the_loop import HITLRequest
from psycopg import sql
from pydantic import TypeAdapter

from langgraph_control.audit.asking.evidence import FindEvidence
from langgraph_control.audit.asking.requests import FindApproval, Inbox
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.guards.signals import Operation
from langgraph_control.nodes import requests as ask
from langgraph_control.nodes.call import GovernedCall, View
from langgraph_control.nodes.card import record_digest
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


REFUND = writes(
    key="order_id",
    impact="message",
    system="crm",
    target="order_id",
    link="https://crm.example/orders/{order_id}",
    version="3",
    read=lambda _: {"paid": True},
)


def stored(run: EnteredRun) -> dict[str, Any]:
    """Return the newest request's card as it is stored."""
    with psycopg.connect(run.database.admin) as admin:
        row = admin.execute("SELECT card FROM control.approval ORDER BY requested_at DESC LIMIT 1").fetchone()
    assert row is not None
    card: dict[str, Any] = orjson.loads(row[0])
    return card


def test_a_card_says_what_and_where(run: EnteredRun) -> None:
    """It names operation, contract version, the link to the record, and when the record was read, with a digest."""
    shown = carried(run, REFUND, order_id="A/1")
    card = stored(run)
    for one in (shown, card):
        assert (one["what"]["operation"], one["what"]["version"]) == ("send", "3")
        assert one["where"] == {"system": "crm", "target": "A/1", "link": "https://crm.example/orders/A%2F1"}
    assert len(card["record"]["digest"]) == 64
    assert datetime.fromisoformat(card["record"]["at"]).tzinfo is not None


def test_a_card_names_the_contracts_operation(run: EnteredRun) -> None:
    """What the contract calls the operation is what approvers read, not what its impact implies."""
    carried(run, replace(REFUND, operation=Operation.CREATE), order_id="A/1")
    assert stored(run)["what"]["operation"] == "create"


def test_the_digest_of_the_record_is_the_records() -> None:
    """Equal records have one digest within a tenant, however their fields are ordered; others have another."""
    run = SimpleNamespace(secret=b"s" * 32)
    call = SimpleNamespace(run=run)

    def digest(before: Any) -> str:
        return record_digest(call, View(before=before))  # type: ignore[arg-type]

    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    run.secret = b"t" * 32
    other = digest({"a": 1})
    run.secret = b"s" * 32
    assert other != digest({"a": 1})


def test_a_redacted_target_is_for_those_who_decide(run: EnteredRun) -> None:
    """A record named by a redacted argument has no link, and is marked, so that it is told to nobody outside."""
    contract = writes(key="iban", impact="message", target="iban", link="https://bank.example/{iban}", redact=("iban",))
    carried(run, contract, iban="DE00-1")
    assert stored(run)["where"] == {"system": None, "target": "DE00-1", "target_redacted": True}


def test_a_redacted_name_is_in_no_entry_and_shown_to_approvers_alone(run: EnteredRun) -> None:
    """The card names such a record to an approver's login; to every other role, and in entries, it is covered."""
    contract = writes(key="iban", impact="message", target="iban", redact=("iban",))
    card = carried(run, contract, iban="DE77-9")
    name = UUID(card["approval"].removeprefix("apr_"))
    seen: dict[str, list[bytes]] = {}
    logins = {"approver": run.database.approver("ana"), "auditor": run.database.auditor, "agent": run.database.agent}
    for role, dsn in {**logins, "admin": run.database.admin}.items():
        with LedgerConnection(dsn) as login:
            listed = next(one for one in login.ask(Inbox(limit=99)) if one.approval_id == name)
            row = login.ask(FindApproval(approval_id=name))
            assert row is not None
            seen[role] = [listed.card, row.card]
            entries, evidence = login.entries(run.context.run_id), login.ask(FindEvidence(approval_id=name))
            told = "".join(str(one) for one in (*entries, evidence))
            assert "DE77-9" not in told
    assert [orjson.loads(card)["where"]["target"] for card in seen.pop("approver")] == ["DE77-9", "DE77-9"]
    for cards in seen.values():
        assert [orjson.loads(card)["where"]["target"] for card in cards] == ["(redacted)", "(redacted)"]
        assert all(b"DE77-9" not in card for card in cards)
    kept = everything(run)
    assert kept.count(b"DE77-9") == 1  # on the card, which can be erased


def test_a_request_has_the_shapes_that_front_ends_know(run: EnteredRun) -> None:
    """The card carries LangChain's review request and Agent Inbox's, redacted as the card is, in JSON primitives."""
    card = carried(run, to="x", note="we refund you](https://evil.example)", iban="DE00-1")
    args = {"to": "x", "note": "we refund you](https://evil.example)", "iban": "(redacted)"}
    review = TypeAdapter(HITLRequest).validate_python(
        {name: card[name] for name in ("action_requests", "review_configs")}
    )
    assert review["action_requests"] == [{"name": "mail", "args": args, "description": card["description"]}]
    assert review["review_configs"] == [{"action_name": "mail", "allowed_decisions": ["approve", "edit", "reject"]}]
    assert card["action_request"] == {"action": "mail", "args": args}
    assert set(card["config"]) == {"allow_accept", "allow_edit", "allow_ignore", "allow_respond"}
    assert card["digest"] in card["description"]
    assert "evil" not in card["description"]
    assert orjson.loads(orjson.dumps(card)) == card
