"""What a contract shows to some roles alone: on the card of who has one of them, and nowhere else."""

import asyncio
import hashlib
import hmac
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
import psycopg
import pytest
from langchain.agents import create_agent
from psycopg import sql

from langgraph_control import Approvals, Control, Policy, Run, writes
from langgraph_control.audit.asking.notices import ServeSinks, TakeNotice
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.requests import FindApproval, Inbox
from langgraph_control.audit.asking.waiting import Parts
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.keeping.erasure import ErasureScope, Selection, erase
from langgraph_control.audit.names import approval_id, run_id
from langgraph_control.audit.people.identity import Identity, NotAuthenticated
from langgraph_control.errors import ArgumentError, ContractError, DatabaseRefused
from langgraph_control.guards.canonical import observed_identity_bytes
from tests.support.desk import GO, How, new_trigger
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls

POLICY = Policy.parse(
    """\
version: 1
roles: {finance: [ana@acme.example], legal: [bo@acme.example], support: [cy@acme.example]}
owner: finance
approve: {within: 1h, on_expiry: deny, not_by: [requester]}
rules:
  - {tool: pay_out, then: approve, by: {finance: 1, legal: 1}}
otherwise:
  - {impact: record, then: allow}
""",
    source="control.yaml",
)
MARK = "(redacted)"
SHOWN = {"customer.iban": "finance", "customer.born": ("finance", "legal"), "note": "legal", "pin": ()}
CUSTOMER = {"name": "Ana B", "iban": "no-DE77-9", "born": "of-1990"}
SECRETS = (b"no-DE77", b"of-1990", b"word-of-old", b"pin-4711")


@pytest.fixture
def sent() -> list[dict[str, Any]]:
    """What payouts were called with."""
    return []


@pytest.fixture
def asked(database: Database, sent: list[dict[str, Any]]) -> Iterator[tuple[Control, Run]]:
    """A payout that waits for finance and legal, and its Control."""
    publish_policy(database.admin, POLICY)
    with Control(POLICY, dsn=database.agent) as control:
        yield control, ask(control, sent)


def ask(control: Control, sent: list[dict[str, Any]], redact: Any = SHOWN, **more: Any) -> Run:
    """Run an agent up to its request."""

    @writes(
        key="order_id",
        impact="money",
        redact=redact,
        read=lambda _: {"customer": {**CUSTOMER, "iban": "no-DE77-1"}, "open": True},
        expect=lambda action: {"customer": dict(action.args["customer"])},
        **more,
    )
    def pay_out(order_id: str, customer: dict[str, str], note: str, pin: str) -> str:
        """Pay out."""
        sent.append({"order_id": order_id, "customer": customer, "note": note, "pin": pin})
        return "paid"

    asks = call("pay_out", order_id="o1", customer=CUSTOMER, note="word-of-old", pin="pin-4711")
    agent = create_agent(ScriptedModel(script=(calls(asks), "done")), control.govern([pay_out]))
    return control.run(control.bind(agent, name="payouts"), GO, trigger=new_trigger(), actor="bot")


def seen(row: Any) -> tuple[Any, Any, Any]:
    """What a card shows: the customer, the note and the pin."""
    arguments = orjson.loads(row.card)["what"]["arguments"]
    return arguments["customer"], arguments["note"], arguments["pin"]


def looked_at(approvals: Approvals, name: str, how: How, **who: Any) -> Any:
    """A request as somebody sees it, in one of the two ways."""
    return asyncio.run(approvals.aget(name, **who)) if how == "sync" else approvals.get(name, **who)


FINANCE = (CUSTOMER, MARK, MARK)
LEGAL = ({**CUSTOMER, "iban": MARK}, "word-of-old", MARK)
ALL = ({**CUSTOMER, "iban": MARK, "born": MARK}, MARK, MARK)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_each_role_sees_what_the_contract_shows_it(asked: tuple[Control, Run], database: Database, how: How) -> None:
    """Ana of finance and Bo of legal each see their parts, before and after as well; Cy of neither sees marks."""
    (name,) = asked[1].approvals
    for person, shown in (("ana", FINANCE), ("bo", LEGAL), ("cy", ALL)):
        with Approvals(database.approver(person)) as approvals:
            row = looked_at(approvals, name, how)
            assert seen(row) == shown
            card = orjson.loads(row.card)
            before = MARK if person != "ana" else "no-DE77-1"
            assert card["diff"] == {"customer": [{**shown[0], "iban": before}, shown[0]]}
            assert card["by_role"] == ["finance", "legal"]
            (listed,) = approvals.inbox()
            assert seen(listed) == ALL


def test_both_approve_what_they_see_and_it_runs_as_it_was_called(
    asked: tuple[Control, Run], database: Database, sent: list[dict[str, Any]]
) -> None:
    """What is hidden from one of them is what the grant is for, all the same."""
    control, run = asked
    for person in ("ana", "bo"):
        with Approvals(database.approver(person)) as approvals:
            approvals.approve(run.approvals[0])
    assert control.resume(run.id).state == "done"
    assert sent == [{"order_id": "o1", "customer": CUSTOMER, "note": "word-of-old", "pin": "pin-4711"}]


def test_it_is_on_the_card_and_nowhere_else(asked: tuple[Control, Run], database: Database) -> None:
    """Neither the interrupt nor an entry nor a payload has it, no other login reads it, and erasing takes it away."""
    control, run = asked
    (name,) = run.approvals
    with_saver = control._ledger.runs().with_saver(control._graphs["payouts"])
    (interrupt,) = with_saver.get_state({"configurable": {"thread_id": run.thread}}).interrupts
    assert interrupt.value["what"]["arguments"]["note"] == MARK
    assert not any(secret.decode() in repr(interrupt.value) for secret in SECRETS)
    for dsn in (database.agent, database.auditor, database.admin):
        with LedgerConnection(dsn) as login:
            rows = [*login.ask(Inbox(limit=9)), login.ask(FindApproval(approval_id=approval_id(name)))]
            entries = login.entries(run_id(run.id))
        assert not any(secret in row.card for row in rows if row for secret in SECRETS)
        assert not any(secret in repr(entries).encode() for secret in SECRETS)
        assert all(orjson.loads(row.card)["by_role"] == ["finance", "legal"] for row in rows if row)
    assert kept(database) == {"approval": [b"no-DE77", b"of-1990", b"word-of-old"]}
    with Approvals(database.approver("ana")) as ana:
        ana.reject(name)
    assert control.resume(run.id).state == "done"
    assert kept(database) == {"approval": [b"no-DE77", b"of-1990", b"word-of-old"]}
    chosen = Selection(scope=ErasureScope.RUN, run_id=run_id(run.id))
    erase(database.admin, chosen, comment="asked for by dora", told=b'"gone"')
    assert kept(database) == {}


def test_no_other_login_is_told_of_it(asked: tuple[Control, Run], database: Database) -> None:
    """Whoever serves notices, an agent or an approver of another role, is given the card as its list shows it."""
    for dsn in (database.agent, database.approver("cy")):
        with LedgerConnection(dsn) as login:
            login.ask(ServeSinks(sinks='[{"sink": "own", "events": ["requested"], "remind_at": 0.5}]'))
            due = login.ask(TakeNotice(sink="own", lease=uuid4(), lease_ms=60_000))
            assert due is not None
            assert due.approval_id == approval_id(asked[1].approvals[0])
            assert not any(secret in due.card for secret in SECRETS)
            assert orjson.loads(due.card)["by_role"] == ["finance", "legal"]


def kept(database: Database) -> dict[str, list[bytes]]:
    """Which tables of the ledger hold which of the secrets."""
    found: dict[str, list[bytes]] = {}
    with psycopg.connect(database.admin) as admin:
        admin.execute("SET bytea_output = 'escape'")
        tables = "SELECT relname::text FROM pg_class WHERE relnamespace = 'control'::regnamespace AND relkind = 'r'"
        for (table,) in admin.execute(tables).fetchall():
            rows = admin.execute(sql.SQL("SELECT t::text FROM control.{} t").format(sql.Identifier(table))).fetchall()
            text = repr(rows).encode()
            held = [secret for secret in SECRETS if secret in text]
            if held:
                found[table] = held
    return found


def test_only_a_persons_own_roles_count(asked: tuple[Control, Run], database: Database) -> None:
    """A person's login shows what is theirs, whoever is named; a service's login says who asks; others get nothing."""
    name = approval_id(asked[1].approvals[0])
    as_ana = Parts(approval_id=name, person="ana@acme.example", groups=["group:finance"])

    def roles(dsn: str, request: Parts = as_ana) -> list[Any]:
        with LedgerConnection(dsn) as login:
            return [part["role"] for part in login.ask(request)]

    nobody = Parts(approval_id=name, person=None, groups=[])
    as_bo = Parts(approval_id=name, person="bo@acme.example", groups=["group:finance"])
    assert roles(database.approver("bo")) == []
    assert roles(database.approver("bo"), nobody) == roles(database.approver("bo"), as_bo) == ["legal"]
    assert roles(database.approver("cy")) == roles(database.approver("cy"), nobody) == []
    assert roles(database.local_approver) == ["finance"]
    assert roles(database.local_approver, nobody) == []
    assert roles(database.admin) == roles(database.auditor) == []
    with pytest.raises(DatabaseRefused):
        roles(database.agent)
    with pytest.raises(DatabaseRefused):
        roles(database.second_tenant_agent)


def test_who_stands_in_sees_it_as_long_as_that_lasts(asked: tuple[Control, Run], database: Database) -> None:
    """Bo stands in for Ana: he sees both parts, and his own alone again once she takes that back."""
    (name,) = asked[1].approvals
    with Approvals(database.approver("ana")) as ana, Approvals(database.approver("bo")) as bo:
        leave = ana.delegate("bo@acme.example", until=datetime.now(UTC) + timedelta(days=1))
        assert seen(bo.get(name)) == (CUSTOMER, "word-of-old", MARK)
        ana.revoke(leave)
        assert seen(bo.get(name)) == LEGAL


def test_a_service_shows_it_to_whom_it_recognises(asked: tuple[Control, Run], database: Database) -> None:
    """With an authenticator, whoever presents a credential sees their part; nobody in particular sees marks."""

    class People:
        def authenticate(self, credential: str) -> Identity:
            if credential != "bo's":
                raise NotAuthenticated("No.", todo="Ask for one.", code="token_unknown")
            return Identity(person="bo@acme.example", issuer="test", subject="bo", credential="0" * 64)

    (name,) = asked[1].approvals
    with Approvals(database.local_approver, authenticator=People()) as service:
        assert seen(service.get(name)) == ALL
        assert seen(service.get(name, as_="ana@acme.example")) == ALL
        assert seen(service.get(name, credential="bo's")) == LEGAL
        with pytest.raises(NotAuthenticated):
            service.get(name, credential="somebody's")
    with Approvals(database.approver("ana"), authenticator=People()) as lent:
        assert seen(lent.get(name, credential="bo's")) == ALL  # Ana's own login tells nobody else what Ana sees


def test_what_can_be_read_cannot_be_edited(asked: tuple[Control, Run], database: Database) -> None:
    """An edit is stored, so it stays refused of what is hidden, also by who sees it."""
    (name,) = asked[1].approvals
    with Approvals(database.approver("ana")) as ana:
        assert orjson.loads(ana.get(name).card)["opened"] == ["customer"]
        for argument in ("customer", "note"):
            with pytest.raises(ArgumentError) as refused:
                ana.edit(name, {argument: "x"})
            assert refused.value.code == "edit_redacted"


def test_the_records_name_is_for_the_role_alone(database: Database, sent: list[dict[str, Any]]) -> None:
    """A record that is named by what is shown to legal alone is named to legal, on the card and in the list."""
    publish_policy(database.admin, POLICY)
    with Control(POLICY, dsn=database.agent) as control:
        run = ask(control, sent, redact={"note": "legal"}, target="note", system="bank")
    where: dict[str, Any] = {}
    for person in ("ana", "bo"):
        with Approvals(database.approver(person)) as approvals:
            where[person] = orjson.loads(approvals.get(run.approvals[0]).card)["where"]["target"]
            assert b"word-of-old" not in approvals.inbox()[0].card
    assert where == {"ana": MARK, "bo": "word-of-old"}


def test_the_records_name_is_not_told_by_what_was_asked_before(database: Database, sent: list[dict[str, Any]]) -> None:
    """Evidence names no request or write that tells such a name in clear; those that hide it alike are found."""

    @writes(key="order_id", impact="money", target="account", system="bank")
    def pay_out(order_id: str, account: str) -> str:
        """Pay out."""
        return "paid"

    @writes(key="order_id", impact="record", target="account", system="bank")
    def label(order_id: str, account: str) -> str:
        """Label an account."""
        return "labelled"

    publish_policy(database.admin, POLICY)
    with Control(POLICY, dsn=database.agent) as control:
        plain = [call(name, order_id="o0", account="word-of-old") for name in ("label", "pay_out")]
        agent = create_agent(
            ScriptedModel(script=(calls(plain[0]), calls(plain[1]), "done")), control.govern([label, pay_out])
        )
        control.run(control.bind(agent, name="plain"), GO, trigger=new_trigger(), actor="bot")
    requests: list[str] = []
    for _ in range(2):
        with Control(POLICY, dsn=database.agent) as control:
            run = ask(control, sent, redact={"note": "legal"}, target="note", system="bank")
            requests += run.approvals
            with Approvals(database.approver("ana")) as ana:
                ana.reject(run.approvals[0])
            assert control.resume(run.id).state == "done"
    with Approvals(database.approver("cy")) as cy:
        found = cy.evidence(requests[1])
    assert [one.approval for one in found.earlier] == requests[:1]
    assert found.writes == ()


def test_a_nul_hides_nothing_from_who_decides(database: Database) -> None:
    """Postgres' JSON holds no NUL; with one in an argument, each sees all that is theirs, exactly."""

    @writes(key="order_id", impact="money", redact={"pin": "finance"})
    def pay_out(order_id: str, note: str, pin: str) -> str:
        """Pay out."""
        return "paid"

    publish_policy(database.admin, POLICY)
    given = {"order_id": "o1", "note": "\\u0000 \\\x00\x00b", "pin": "47\x0011"}
    with Control(POLICY, dsn=database.agent) as control:
        agent = create_agent(ScriptedModel(script=(calls(call("pay_out", **given)), "done")), control.govern([pay_out]))
        run = control.run(control.bind(agent, name="payouts"), GO, trigger=new_trigger(), actor="bot")
    for person, shown in (("ana", given), ("bo", given | {"pin": MARK})):
        with Approvals(database.approver(person)) as approvals:
            assert orjson.loads(approvals.get(run.approvals[0]).card)["what"]["arguments"] == shown


def test_a_hidden_value_cannot_be_guessed_by_the_cards_hash(asked: tuple[Control, Run], database: Database) -> None:
    """What entries hash has a salt in it that only the tenant's secret gives, and that is another for other values."""
    with psycopg.connect(database.admin) as admin:
        row = admin.execute(
            "SELECT a.card, t.secret FROM control.approval a JOIN control.tenant t USING (tenant)"
        ).fetchone()
    assert row is not None
    held, secret = orjson.loads(row[0])["by_role"], bytes(row[1])
    assert [part["role"] for part in held["parts"]] == ["finance", "legal"]

    def salt(key: bytes, parts: Any) -> str:
        whole = b"langgraph-control/card-parts/1" + observed_identity_bytes(parts)
        return hmac.digest(key, whole, hashlib.sha256).hex()

    assert held["salt"] == salt(secret, held["parts"])
    assert len({held["salt"], salt(b"guessed", held["parts"]), salt(secret, held["parts"][:1])}) == 3


ODD = (
    b"5",
    b"[]",
    b'{"by_role":5}',
    b'{"by_role":{"parts":5}}',
    b'{"by_role":{"parts":[5,null,[],{"role":7},{"role":"finance","arguments":5,"diff":[1],"target":7}]}}',
    b'{"what":5,"by_role":{"parts":[{"role":"finance"}]}}',
    b'{"by_role":{"parts":[{"role":"finance"}]},"where":{"target_redacted":true,"target_by_role":true}}',
    b'{"where":5,"by_role":{"parts":[{"role":"finance"}]},"where":{"target_redacted":true,"target_by_role":true}}',
    b'{"by_role":{"parts":[{"role":"finance","arguments":' + b"[" * 3000 + b"]" * 3000 + b"}]}}",
    b'"by_role":',
    b"\xff",
)


@pytest.mark.parametrize("card", ODD, ids=range(len(ODD)))
def test_a_card_of_another_shape_breaks_nothing(asked: tuple[Control, Run], database: Database, card: bytes) -> None:
    """Whatever an agent's login stores as a card, it is listed and can be looked at."""
    with psycopg.connect(database.admin) as admin:
        admin.execute("UPDATE control.approval SET card = %s", (card,))
    with Approvals(database.approver("ana")) as approvals:
        assert len(approvals.inbox()) == 1
        assert b"parts" not in approvals.get(asked[1].approvals[0]).card


def test_many_parts_cost_no_more_than_one_for_each_role(asked: tuple[Control, Run], database: Database) -> None:
    """However many parts an agent's login stores, somebody is given one for each of their roles."""
    (name,) = asked[1].approvals
    parts: list[dict[str, Any]] = [{"role": role, "arguments": {}} for role in ("finance", "legal")] * 10_000
    with psycopg.connect(database.admin) as admin:
        admin.execute("UPDATE control.approval SET card = %s", (orjson.dumps({"by_role": {"parts": parts}}),))
    with LedgerConnection(database.approver("ana")) as ana:
        given = ana.ask(Parts(approval_id=approval_id(name), person=None, groups=[]))
    assert [part["role"] for part in given] == ["finance"]


def test_a_part_fills_marks_and_changes_nothing_else(asked: tuple[Control, Run], database: Database) -> None:
    """A card whose parts say something else than it shows everybody, shows each person what it shows everybody."""
    with psycopg.connect(database.admin) as admin:
        admin.execute(
            "UPDATE control.approval SET card = convert_to(jsonb_set(convert_from(card, 'UTF8')::jsonb, "
            "'{by_role,parts,0,arguments,customer,name}', '\"Eve\"')::text, 'UTF8')"
        )
    with Approvals(database.approver("ana")) as ana:
        assert seen(ana.get(asked[1].approvals[0])) == FINANCE


def test_a_role_that_the_policy_does_not_have_is_said_at_once(database: Database, sent: list[dict[str, Any]]) -> None:
    """A role that is spelled otherwise would show it to nobody."""
    publish_policy(database.admin, POLICY)
    with Control(POLICY, dsn=database.agent) as control, pytest.raises(ContractError) as refused:
        ask(control, sent, redact={"pin": "finanze"})
    assert refused.value.code == "contract_unknown_role"
    assert "pay_out" in str(refused.value)
    assert "finance, legal, support" in str(refused.value)
