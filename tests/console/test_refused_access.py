"""Whoever is not let in, and every change that comes from no page of ours, is counted on record; without the token."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing

import pytest

from langgraph_control import Approvals
from langgraph_control.audit.asking.operator_requests import Scope
from langgraph_control.audit.asking.requests import FindApproval, FindTenantChain
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.names import approval_name, run_name
from langgraph_control.audit.people.operators import Operators
from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.entry_schemas import problems
from langgraph_control.audit.trail.sentences import sentence
from langgraph_control.audit.trail.tones import Tone
from langgraph_control.console.refusals import Refusals
from langgraph_control.errors import NotAuthenticated
from tests.console.conftest import People, Served, cast, hidden, served, sign_in
from tests.console.test_security import raw
from tests.support.complete_entries import incomplete_entries
from tests.support.desk import Desk, new_trigger
from tests.support.postgres import Database
from tests.support.trails import TrailWriter
from tests.support.waiting import until


def entries(database: Database) -> list[Entry]:
    """Return what is on record of it."""
    with LedgerConnection(database.auditor) as auditor:
        rows = auditor.entries(auditor.ask(FindTenantChain()).run_id)
        return [entry for entry in map(Entry.of, rows) if "access.refused" in entry.events]


def counted(database: Database) -> Counter[str]:
    """Return how often what was refused, by the record."""
    found = Counter[str]()
    for entry in entries(database):
        found.update(entry.body["refused"])
    return found


Attack = Callable[[Served], None]


def _bad_token(site: Served) -> None:
    with site.browser() as client:
        assert sign_in(client, "token-nobody").status_code == 401


def _forged_sign_in(site: Served) -> None:
    with site.browser() as client:
        assert client.post("/sign-in", data={"csrf": "x", "token": "token-ana"}).status_code == 403


def _forged_change(site: Served) -> None:
    with site.signed_in() as client:
        answer = client.post("/writes/freeze", data={"csrf": "x", "scope": "tenant", "comment": "stop"})
        assert answer.status_code == 403


def _from_elsewhere(site: Served) -> None:
    with site.signed_in() as client:
        answer = client.post("/sign-out", data={}, headers={"origin": "https://evil.example"})
        assert answer.status_code == 403


def _rebound(site: Served) -> None:
    with site.browser() as client:
        assert client.get("/", headers={"host": "evil.example"}).status_code == 421


def _without_end(site: Served) -> None:
    with site.signed_in() as client:
        session = site.console.sessions.find(client.cookies["control"])
        assert session is not None
        while site.console.acts.takes(session.key, time.monotonic() + 60):
            pass
        assert client.post("/record/check", data={"csrf": session.csrf}).status_code == 429


def _sent_away(site: Served) -> None:
    with site.signed_in("bo") as client:
        form = {"csrf": hidden(client.get("/writes").text, "csrf"), "scope": "tenant", "comment": "stop"}
        site.people.gone.add("bo@acme.example")
        assert client.post("/writes/freeze", data=form).status_code == 401


def _guessed(site: Served) -> None:
    with site.signed_in() as client:
        form = {"csrf": hidden(client.get("/writes").text, "csrf"), "digest": "0" * 64, "decision": "approve"}
        assert client.post(f"/requests/apr_{'0' * 32}/vote", data=form).status_code == 404


def _other_path(path: str, *, signed_in: bool = True) -> Attack:
    def attack(site: Served) -> None:
        with site.signed_in() as client:
            cookie = f"Cookie: control={client.cookies['control']}\r\n" if signed_in else ""
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n{cookie}Connection: close\r\n\r\n"
        assert raw(site, head.encode()).split(b" ")[1] == b"404"

    return attack


def _other_target(site: Served) -> None:
    with site.browser() as client:
        assert sign_in(client, "token-ana", then="//evil.example").headers["location"] == "/"


def _linked_elsewhere(site: Served) -> None:
    with site.browser() as client:
        page = client.get("/sign-in", params={"then": "/\\evil.example"})
        assert hidden(page.text, "then") == "/"


def _form(path: str, status: int, **fields: str) -> Attack:
    """A form of a session's own that says what none of ours says."""

    def attack(site: Served) -> None:
        with site.signed_in() as client:
            csrf = hidden(client.get("/writes").text, "csrf")
            assert client.post(path, data={"csrf": csrf, "comment": "x", **fields}).status_code == status

    return attack


def _malformed(body: bytes, status: int) -> Attack:
    def attack(site: Served) -> None:
        with site.browser(headers={"origin": site.url, "content-type": "application/x-www-form-urlencoded"}) as client:
            assert client.post("/sign-in", content=body).status_code == status

    return attack


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (_guessed, "unknown_request"),
        (_malformed(b"a=" + b"x" * 70_000, 413), "malformed"),
        (_malformed(b"csrf=1&csrf=2", 400), "malformed"),
        (_malformed(b"a=%ff", 400), "malformed"),
        (_form("/together", 409, decision="maybe"), "malformed"),
        (_form("/writes/freeze", 409, scope="moon"), "malformed"),
        (_form("/writes/unfreeze", 409), "malformed"),
        (_form(f"/runs/run_{'0' * 32}/resolve", 404, verdict="happened"), "run_unknown"),
        (_other_path("/static/..%2fapp.py"), "other_path"),
        (_other_path("/static/../app.py"), "other_path"),
        (_other_path("/static/%2E%2E/%2e%2e/pyproject.toml"), "other_path"),
        (_other_path("/static/%252e%252e%252fapp.py"), "other_path"),
        (_other_path("/static/console.css%00.png"), "other_path"),
        (_other_path("/requests/..%2f..%2fetc"), "other_path"),
        (_other_path("/runs/..%5c..%5cpyproject.toml"), "other_path"),
        (_other_path("/runs/..\\..\\pyproject.toml"), "other_path"),
        (_other_path("/runs/%0d%0aSet-Cookie:%20x=y"), "other_path"),
        (_other_path("/runs/%0d%0aSet-Cookie:%20x=y", signed_in=False), "other_path"),
        (_other_target, "other_target"),
        (_linked_elsewhere, "other_target"),
        (_bad_token, "token_unknown"),
        (_forged_sign_in, "csrf"),
        (_forged_change, "csrf"),
        (_from_elsewhere, "other_origin"),
        (_rebound, "other_host"),
        (_without_end, "rate_limited"),
        (_sent_away, "token_unknown"),
    ],
)
def test_what_the_console_refuses_is_on_record(
    site: Served, desk_database: Database, attack: Attack, reason: str
) -> None:
    """By reason and count, soon."""
    before = counted(desk_database)[reason]
    attack(site)
    site.console.refusals.tell()
    until(lambda: counted(desk_database)[reason] == before + 1)
    assert "token-" not in str([entry.body for entry in entries(desk_database)])
    assert sentence(entries(desk_database)[-1]) == (f"somebody was not let in: {reason} 1", Tone.BAD)


@pytest.mark.parametrize("together", [False, True], ids=["on its page", "among others"])
def test_a_form_about_another_change_is_on_record(site: Served, desk_database: Database, together: bool) -> None:  # noqa: FBT001 - a table
    """Whoever names a digest that the request has not changes nothing, and is counted."""
    with TrailWriter(desk_database) as trail:
        _, claimed = trail.claim(trail.open(new_trigger()), verb="approve")
    assert claimed.approval_id is not None
    name, before = approval_name(claimed.approval_id), counted(desk_database)["other_digest"]
    with site.signed_in() as client:
        if together:
            csrf = hidden(client.get("/together", params={"request": name}).text, "csrf")
            client.post("/together", data={"csrf": csrf, "decision": "approve", "comment": "", name: "0" * 64})
        else:
            assert cast(client, name, digest="0" * 64).status_code == 409
    site.console.refusals.tell()
    until(lambda: counted(desk_database)["other_digest"] == before + 1)
    row = site.console.ask(FindApproval(approval_id=claimed.approval_id))
    assert row is not None
    assert (row.state, row.voters) == ("open", ())


@pytest.mark.parametrize(
    ("about", "act", "fields"),
    [
        ("requests", "vote", {"decision": "maybe"}),
        ("requests", "review", {"verdict": "maybe"}),
        ("runs", "resolve", {"verdict": "maybe"}),
        ("runs", "resolve", {"verdict": "did_not", "key": "../x"}),
    ],
)
def test_a_form_that_says_what_none_says_is_on_record(
    site: Served, desk_database: Database, about: str, act: str, fields: dict[str, str]
) -> None:
    """A word that no page of ours has a button for settles nothing, and is counted as malformed."""
    with TrailWriter(desk_database) as trail:
        run = trail.open(new_trigger())
        _, claimed = trail.claim(run, verb="approve")
    assert claimed.approval_id is not None
    name = approval_name(claimed.approval_id) if about == "requests" else run_name(run.run_id)
    before = counted(desk_database)["malformed"]
    with site.signed_in() as client:
        page = client.get(f"/{about}/{name}").text
        form = {"csrf": hidden(page, "csrf"), "digest": hidden(page, "digest"), "comment": "x"}
        assert client.post(f"/{about}/{name}/{act}", data={**form, **fields}).status_code == 409
    site.console.refusals.tell()
    until(lambda: counted(desk_database)["malformed"] == before + 1)
    row = site.console.ask(FindApproval(approval_id=claimed.approval_id))
    assert row is not None
    assert (row.state, row.voters) == ("open", ())


def test_an_address_that_leads_nowhere_is_no_attempt(site: Served, desk_database: Database) -> None:
    """Mistyped, cut short, or of another program: 404 and no entry."""
    site.console.refusals.tell()
    before = counted(desk_database)
    with site.signed_in() as client:
        for path in ("/x", "/requests/apr_12", "/runs/run_12%20", "/static/none.css", "/icon.ico", "/runs/run_12..."):
            assert client.get(path).status_code == 404
    site.console.refusals.tell()
    assert counted(desk_database) == before


def test_many_are_one_entry(site: Served, desk_database: Database) -> None:
    """Whoever tries without end does not fill the record."""
    refusals = Refusals(site.console.store)
    before = len(entries(desk_database))
    for _ in range(1000):
        refusals.count("csrf")
    assert refusals.tell()
    assert not refusals.tell()
    assert len(entries(desk_database)) == before + 1
    newest = entries(desk_database)[-1]
    assert newest.body["refused"] == {"csrf": 1000}
    assert problems(newest) == ()  # it is as its published schema says


def test_it_is_told_by_itself(desk_database: Database) -> None:
    """The first at once; what comes soon after it at the latest when the console is stopped, and none twice."""
    before = counted(desk_database)["token_unknown"]
    with served(desk_database.local_approver, People()) as site:
        _bad_token(site)
        until(lambda: counted(desk_database)["token_unknown"] == before + 1)
        _bad_token(site)
        _bad_token(site)
    assert counted(desk_database)["token_unknown"] == before + 3


def test_what_cannot_be_told_now_is_told_later(site: Served, desk_database: Database) -> None:
    """A ledger that is away loses none of it."""
    with closing(Store("postgresql://nobody@127.0.0.1:9/none", application_name="test")) as away:
        refusals = Refusals(away)
        refusals.count("csrf")
        refusals.tell()
    refusals._store = site.console.store
    before = counted(desk_database)["csrf"]
    refusals.tell()
    assert counted(desk_database)["csrf"] == before + 1


def test_a_service_puts_it_on_record(desk: Desk) -> None:
    """A credential that is not accepted for a vote or a settlement, wherever people's words come in."""
    before = counted(desk.database)["token_unknown"]
    dsn = desk.database.local_approver
    with Approvals(dsn, authenticator=People()) as approvals, Operators(dsn, authenticator=People()) as operators:
        with pytest.raises(NotAuthenticated):
            approvals.approve("apr_" + "0" * 32, credential="token-nobody")
        with pytest.raises(NotAuthenticated):
            operators.freeze(Scope.TENANT, "", comment="stop", credential="token-nobody")
        with pytest.raises(NotAuthenticated):
            approvals.approve("apr_" + "0" * 32)  # nothing was tried
    assert counted(desk.database)["token_unknown"] == before + 2
    assert incomplete_entries(desk.database, "access") == []
