"""What must not work: strangers, other sites, forged and oversized forms, revoked tokens, markup out of records."""

import re
import secrets
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from langchain.agents import create_agent

from langgraph_control import Control, writes
from langgraph_control.audit.asking.waiting import Votes
from langgraph_control.audit.names import approval_id, approval_name, run_name
from langgraph_control.audit.people.identity import Identity
from langgraph_control.audit.trail.verify import verify_all
from langgraph_control.console import acts
from langgraph_control.console.address import Address
from langgraph_control.console.app import console_app
from langgraph_control.console.guarding import CSP, SAFE_HEADERS
from langgraph_control.console.limits import RateLimit
from langgraph_control.console.signing import own_path
from langgraph_control.console.visiting import SIGN_INS_AT_ONCE
from langgraph_control.errors import ConsoleRefused
from langgraph_control.guards.canonical import observed_bytes
from langgraph_control.guards.checks import Proposal, Question
from langgraph_control.guards.run_states import RunState
from langgraph_control.nodes.contracts import NotDone
from tests.console.conftest import Served, cast, hidden, sign_in
from tests.support.desk import POLICY, Desk, new_trigger
from tests.support.scripted_model import ScriptedModel, call, calls
from tests.support.trails import TrailWriter
from tests.support.waiting import until

PAGES = (
    "/",
    "/decided",
    "/runs",
    "/attention",
    "/writes",
    "/record",
    "/events",
    f"/requests/apr_{'0' * 32}",
    "/nothing",
)
ACTS = (
    "/requests/apr_0/vote",
    "/requests/apr_0/edit",
    "/requests/apr_0/withdraw",
    "/requests/apr_0/break-glass",
    "/requests/apr_0/review",
    "/standing-in/give",
    "/standing-in/end",
    "/runs/run_0/resolve",
    "/writes/freeze",
    "/writes/unfreeze",
    "/record/check",
    "/sign-out",
)
CHANGES = (*ACTS, "/together")
"""Of these the last one is also a page."""


def asked(desk: Desk, amount: int = 500) -> str:
    """Have the desk ask for a refund, and return the request's name."""
    return desk.run(desk.refunding(amount), trigger=new_trigger()).approvals[0]


def votes_on(site: Served, name: str) -> list[str]:
    """Return who voted on a request, by the ledger."""
    return [vote.person for vote in site.console.ask(Votes(approval_id=approval_id(name)))]


class Dangers(HTMLParser):
    """Collects what a page must not have: code, styles and frames of its own, handlers, and anything from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one tag as a browser reads it."""
        known = {name: value or "" for name, value in attrs}
        ours = known.get("src", "").startswith("/static/")
        if tag in {"style", "iframe", "object", "embed", "img", "base"} or (tag == "script" and not ours):
            self.found.append(tag)
        self.found += [f"{tag} {name}" for name in known if name == "style" or name.startswith("on")]
        self.found += [
            f"{tag} {name}={known[name]}"
            for name in ("src", "href", "action", "formaction", "hx-get")
            if name in known and not re.match(r"#|/(?![/\\])", known[name])
        ]


def dangers(page: str) -> list[str]:
    """Return what a page holds that it must not."""
    parser = Dangers()
    parser.feed(page)
    return parser.found


# --- who ---


@pytest.mark.parametrize("path", PAGES[:-1])
def test_a_stranger_sees_nothing(site: Served, path: str) -> None:
    """Without a session every page leads to the sign-in, also on loopback."""
    with site.browser() as client:
        answer = client.get(path)
    assert (answer.status_code, answer.headers.get("location", "/sign-in")[:8]) in {
        (303, "/sign-in"),
        (401, "/sign-in"),
    }
    assert "support-bot" not in answer.text


@pytest.mark.parametrize("token", ["", "token-nobody", "token-cy", "x" * 20_000, "a\x00b", "token-ana\nX: y"])
def test_only_people_of_the_policy_sign_in(site: Served, token: str) -> None:
    """Unknown tokens, what is no token, and people in no role stay outside, and get no session."""
    with site.browser() as client:
        answer = sign_in(client, token)
        assert answer.status_code in {400, 401}
        assert "control=" not in answer.headers.get("set-cookie", "")
        assert client.get("/").status_code == 303


def test_the_session_cookie_is_kept_from_scripts_and_other_sites(site: Served) -> None:
    """HttpOnly, SameSite=Strict, for the whole site; Secure and bound to the host wherever the address is https."""
    with site.browser() as client:
        (cookie,) = [
            one for one in sign_in(client, "token-ana").headers.get_list("set-cookie") if one.startswith("control=")
        ]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert len(cookie.partition("=")[2].partition(";")[0]) == 43


def test_over_https_the_cookie_is_secure(site: Served) -> None:
    """With an https address both cookies are Secure and carry the prefix that binds them to the host."""
    from starlette.testclient import TestClient

    from langgraph_control.console.app import console_app
    from langgraph_control.console.visiting import Console

    console = Console(site.console.store.dsn, site.people, Address.of("https://control.acme.example"))
    with TestClient(console_app(console), base_url="https://control.acme.example", follow_redirects=False) as client:
        page = client.get("/sign-in")
        form = {"csrf": hidden(page.text, "csrf"), "token": "token-ana", "then": "/"}
        answer = client.post("/sign-in", data=form, headers={"origin": "https://control.acme.example"})
        cookies = page.headers.get_list("set-cookie") + answer.headers.get_list("set-cookie")
        assert answer.status_code == 303
        assert cookies
        assert all(one.startswith("__Host-control") and "; Secure" in one for one in cookies)
        assert "max-age" in answer.headers["strict-transport-security"]


def test_a_revoked_token_stops_at_once(desk: Desk, site: Served) -> None:
    """A vote in an open session is refused the moment the authenticator refuses the token, and the session is over."""
    name = asked(desk)
    with site.signed_in() as client:
        page = client.get(f"/requests/{name}").text
        site.people.gone.add("ana@acme.example")
        form = {"csrf": hidden(page, "csrf"), "digest": hidden(page, "digest"), "decision": "approve"}
        answer = client.post(f"/requests/{name}/vote", data=form)
        assert answer.status_code == 401
        assert "The token is not known." in answer.text
        site.people.gone.clear()
        assert client.get("/").status_code == 303
    assert votes_on(site, name) == []


def test_a_page_is_shown_no_longer_than_the_authentication_holds(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages ask the authenticator again after a few seconds, and not for each page before."""
    now = datetime.now(UTC)
    monkeypatch.setattr(site.console.sessions, "clock", lambda: now)
    with site.signed_in() as client:
        before = site.people.asked
        client.get("/")
        assert site.people.asked == before
        site.people.gone.add("ana@acme.example")
        now += timedelta(seconds=6)
        assert client.get("/").status_code == 401


@pytest.mark.parametrize("expires_in", [timedelta(minutes=5), None])
def test_sessions_end(site: Served, monkeypatch: pytest.MonkeyPatch, expires_in: timedelta | None) -> None:
    """A session ends with its credential, and after eight hours at the latest."""
    now = datetime.now(UTC)
    monkeypatch.setattr(site.console.sessions, "clock", lambda: now)
    site.people.expires_at = None if expires_in is None else now + expires_in
    with site.signed_in() as client:
        now += (expires_in or timedelta(hours=8)) - timedelta(seconds=1)
        assert client.get("/").status_code == 200
        now += timedelta(seconds=1)
        assert client.get("/").status_code == 303


def test_signing_out_ends_the_session(site: Served) -> None:
    """After signing out the old cookie opens nothing, and the credential is forgotten."""
    with site.signed_in() as client:
        name = client.cookies["control"]
        session = site.console.sessions.find(name)
        assert session is not None
        assert "token-ana" not in repr(session)
        client.post("/sign-out", data={"csrf": session.csrf})
        assert session.credential == ""
        client.cookies.set("control", name)
        assert client.get("/").status_code == 303


def test_a_session_is_never_chosen_by_the_browser(site: Served) -> None:
    """Signing in makes a new name, whatever cookie was there before."""
    with site.browser(cookies={"control": "chosen-by-somebody"}) as client:
        sign_in(client, "token-ana")
        assert all(cookie.value != "chosen-by-somebody" for cookie in client.cookies.jar if cookie.domain)


# --- from where ---


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1", "127.0.0.1:1", "", "localhost.evil.example"]
)
def test_other_hosts_are_refused(site: Served, host: str) -> None:
    """A name that was pointed at this address is not answered."""
    with site.browser() as client:
        answer = client.get("/sign-in", headers={"host": host})
    assert answer.status_code == 421
    assert "form" not in answer.text


def test_every_change_is_among_them(site: Served) -> None:
    """What takes a POST, but for signing in, is held against all of this."""
    guard: Any = console_app(site.console)
    takes = {
        route.path.replace("/requests/{name}", "/requests/apr_0").replace("/runs/{name}", "/runs/run_0")
        for route in guard._app.routes
        if "POST" in route.methods
    }
    assert takes == {*CHANGES, "/sign-in"}


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1:1", "http://127.0.0.1"])
@pytest.mark.parametrize("path", CHANGES)
def test_changes_come_from_our_own_pages(site: Served, path: str, origin: str | None) -> None:
    """A change without our own Origin is refused, with a session and its secret or without."""
    with site.signed_in() as client:
        session = site.console.sessions.find(client.cookies["control"])
        assert session is not None
        del client.headers["origin"]
        headers = {} if origin is None else {"origin": origin}
        answer = client.post(path, data={"csrf": session.csrf, "comment": "x", "scope": "tenant"}, headers=headers)
        assert answer.status_code == 403
        assert client.get("/").status_code == 200


def test_a_change_that_another_site_started_is_refused(site: Served) -> None:
    """What the browser marks as cross-site is refused, whatever its Origin says."""
    with site.signed_in() as client:
        answer = client.post("/sign-out", data={"csrf": "x"}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403


@pytest.mark.parametrize("path", CHANGES)
def test_changes_carry_their_sessions_secret(site: Served, path: str) -> None:
    """A form without the session's secret, or with another session's, is refused."""
    with site.signed_in() as client, site.signed_in("bo") as other:
        another = site.console.sessions.find(other.cookies["control"])
        assert another is not None
        for csrf in ("", "x", another.csrf):
            answer = client.post(path, data={"csrf": csrf, "comment": "x", "scope": "tenant"})
            assert answer.status_code == 403, csrf
            assert "Nothing was done." in answer.text


def test_nobody_is_signed_in_by_another_site(site: Served) -> None:
    """The sign-in form carries a secret bound to the browser's own cookie."""
    with site.browser() as client:
        answer = client.post("/sign-in", data={"csrf": "", "token": "token-ana", "then": "/"})
        assert answer.status_code == 403
        elsewhere = hidden(client.get("/sign-in").text, "csrf")
    with site.browser() as victim:
        victim.get("/sign-in")
        answer = victim.post("/sign-in", data={"csrf": elsewhere, "token": "token-ana", "then": "/"})
        assert answer.status_code == 403


@pytest.mark.parametrize("path", ACTS)
def test_nothing_changes_by_get(site: Served, path: str) -> None:
    """What changes something is no page."""
    with site.signed_in() as client:
        assert client.get(path).status_code == 405


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_other_methods_are_refused(site: Served, method: str) -> None:
    """GET, HEAD and POST are all there is."""
    with site.browser() as client:
        assert client.request(method, "/").status_code == 405


@pytest.mark.parametrize("path", [*PAGES, "/sign-in", "/static/console.css", "/static/nothing"])
def test_every_answer_has_the_safe_headers(site: Served, path: str) -> None:
    """Pages, files, refusals and errors alike forbid framing, sniffing, scripts of others, and keeping."""
    with site.signed_in() as client:
        if path == "/events":
            return
        answer = client.get(path)
        refused = client.get(path, headers={"host": "evil.example"})
    for one in (answer, refused):
        assert {name: one.headers[name] for name in SAFE_HEADERS} == SAFE_HEADERS
        assert one.headers["cache-control"] == (
            "no-cache" if path == "/static/console.css" and one is answer else "no-store"
        )
        assert "server" not in one.headers


def test_pages_hold_nothing_that_the_policy_forbids(desk: Desk, site: Served) -> None:
    """No page has an inline script, style or handler, or takes anything from elsewhere."""
    assert "unsafe" not in CSP
    name = asked(desk)
    run = desk.run(desk.refunding(50), trigger=new_trigger())
    with site.signed_in() as client:
        for path in (*PAGES, f"/requests/{name}", f"/runs/{run.id}", "/sign-in"):
            if path == "/events":
                continue
            page = client.get(path).text
            assert dangers(page) == []


def test_an_error_of_ours_shows_nothing_of_itself(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken page says so with the safe headers, and no word of the cause."""

    def broken(*_args: object) -> None:
        raise RuntimeError("secret-detail")

    with site.signed_in() as client:
        monkeypatch.setattr(site.console, "ask", broken)
        answer = client.get("/runs")
    assert answer.status_code == 500
    assert "secret-detail" not in answer.text
    assert answer.headers["content-security-policy"] == CSP


# --- what ---

MARKUP = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg/onload=alert(3)>"
    "{{8191*8191}}{% raw %}javascript:alert(4)"
)
HIDING = "\u202egpj.exe\u2066 \u200b\x1b[31m \u0440\u0430\u0443 p\u0430y"
EVIL = f"{MARKUP} {HIDING}"


def explained(
    desk: Desk, *, order: str, reason: str, record: str, nested: str = "why", failure: str | None = None
) -> Any:
    """Return an agent whose refund reads a record and comes with the model's own words; it may be told as failed."""

    @writes(
        key="order_id",
        impact="money",
        system="billing",
        target="order/{order_id}",
        explain="reason",
        read=lambda _: {"status": record, record: "as it is"},
        expect=lambda _: {"status": f"refunded {record}", record: "otherwise"},
        outcome=None if failure is None else lambda _: NotDone(reason=failure),
    )
    def refund(order_id: str, amount: Decimal, reason: str, notes: dict[str, Any]) -> str:
        """Refund an order."""
        return f"refunded {reason}"

    notes = {nested: [{nested: nested}]}
    asked = calls(call("refund", order_id=order, amount="500", reason=reason, notes=notes, call_id="c"))
    return desk.control.bind(
        create_agent(ScriptedModel(script=(asked, "done")), desk.control.govern([refund])), name="x"
    )


@pytest.mark.parametrize(
    "field", ["order", "reason", "record", "trigger", "actor", "on_behalf_of", "comment", "nested", "failure"]
)
def test_text_from_elsewhere_stays_text(desk: Desk, site: Served, field: str) -> None:
    """Markup from models, records, failures and people, in nested keys too, is shown and never obeyed."""
    mark = new_mark()
    markup, evil = marked(MARKUP, mark), marked(EVIL, mark)
    texts = {"order": new_trigger(), "reason": "It broke.", "record": "paid"} | (
        {field: evil} if field in {"order", "reason", "record", "nested", "failure"} else {}
    )
    options: dict[str, Any] = {field: markup} if field in {"actor", "on_behalf_of"} else {}
    trigger = f"{new_trigger()} {markup if field == 'trigger' else ''}".strip()
    run = desk.run(explained(desk, **texts), trigger=trigger, **options)
    (name,) = run.approvals
    pages = []
    with site.signed_in() as client:
        pages += [client.get(path).text for path in ("/?view=all", f"/requests/{name}")]
        assert cast(client, name, comment=evil if field == "comment" else "").status_code == 303
        desk.resume(run)
        pages += [client.get(path).text for path in ("/decided", f"/requests/{name}", "/runs", f"/runs/{run.id}")]
    assert unharmed(pages, mark)


def new_mark() -> str:
    """What tells a text from those of other tests: the ledger is the module's, and its pages show them all."""
    return f"alert({secrets.randbelow(10**9)})"


def marked(text: str, mark: str) -> str:
    """Return the markup with a mark of one's own."""
    return text.replace("alert(1)", mark)


def unharmed(pages: list[str], mark: str) -> bool:
    """Whether the text stands on a page, and none of them obeys it or hides what it hides."""
    return any(f"&lt;script&gt;{mark}" in page for page in pages) and not any(
        dangers(page) or "67092481" in page or set("\u202e\u2066\u200b\x1b") & set(page) for page in pages
    )


def test_the_name_of_a_tool_stays_text(desk: Desk, site: Served) -> None:
    """Servers of tools choose their names: on cards, in lists, stories and filters, and where others ask later."""
    mark = new_mark()
    evil = marked(EVIL, mark)
    tool = evil[:256]
    where = {"system": evil[:256], "target": evil}
    card = observed_bytes({"what": {"tool": tool, "impact": "money", "arguments": {evil: evil}}, "where": where})
    with TrailWriter(desk.database) as trail:
        first, second = trail.open(new_trigger()), trail.open(new_trigger())
        pages = []
        with site.signed_in() as client:
            for run in (first, second):
                _, claimed = trail.claim(run, verb="approve", tool=tool, system=where["system"], card=card)
                assert claimed.approval_id is not None
                name = approval_name(claimed.approval_id)
                paths = (
                    "/?view=all",
                    f"/requests/{name}",
                    f"/together?request={name}",
                    f"/runs/{run_name(run.run_id)}",
                )
                pages.append([client.get(path).text for path in paths])
                assert all(unharmed([page], mark) for page in pages[-1])
                if run is first:
                    assert cast(client, name, "reject").status_code == 303
            before = pages[1][1].partition('id="before"')[2].partition("</section>")[0]
            assert f"&lt;script&gt;{mark}" in before
            handed_over, under_way = trail.open(new_trigger()), trail.open(new_trigger())
            trail.claim(handed_over, "mail", verb="escalate", tool=tool, system=where["system"])
            trail.release(handed_over, RunState.NEEDS_HUMAN, "needs_human")
            trail.claim(under_way, "mail", tool=tool, system=where["system"])
            rest = [client.get(path).text for path in ("/decided", "/runs", "/attention", "/writes")]
    assert all(unharmed([page], mark) for page in rest)


def test_a_question_and_its_answer_stay_text(desk: Desk, site: Served) -> None:
    """What a check asks the user, in words that a model may have given it, and what was answered."""
    asked, answered = new_mark(), new_mark()

    def doubts(_: Proposal) -> Question:
        return Question(text=marked(EVIL, asked))

    with Control(POLICY, dsn=desk.database.agent, checks=[doubts]) as control:
        asking = Desk(database=desk.database, control=control)
        run = asking.run(asking.refunding(50), trigger=new_trigger())
        (question,) = run.questions
        with site.signed_in() as client:
            paths = (f"/runs/{run.id}", "/runs", "/attention", "/")
            pages = [client.get(path).text for path in paths]
            assert "The user is asked" in pages[0]
            assert unharmed(pages[:1], asked)
            assert unharmed(pages, asked)
            after = asking.resume(run, answers={question: marked(EVIL, answered)})
            assert after.state is RunState.DONE
            pages = [client.get(path).text for path in paths]
            assert unharmed(pages[:1], asked)
            assert unharmed(pages, answered)


@pytest.mark.parametrize("name", ["tool", "actor", "owner", "after", "before", "state", "said", "view"])
def test_what_is_asked_for_stays_text(site: Served, name: str) -> None:
    """Markup in an address's query is shown as text, or not at all."""
    with site.signed_in() as client:
        for path in ("/", "/decided", "/runs", "/writes"):
            page = client.get(path, params={name: MARKUP}).text
            assert dangers(page) == []
            assert "67092481" not in page


def test_disguised_text_is_marked(desk: Desk, site: Served) -> None:
    """A request with reversed or look-alike text says so on its card and in the list."""
    graph = desk.agent(calls(call("refund", order_id="pay\u202egpj", amount="500", call_id="c")), "done")
    (name,) = desk.run(graph, trigger=new_trigger()).approvals
    with site.signed_in() as client:
        page = client.get(f"/requests/{name}").text
        assert "Look closely." in page
        assert "U+202E" in page
        assert "changes the direction of text: right-to-left override" in page


@pytest.mark.parametrize(
    "then",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/%2f/evil.example",
        "javascript:alert(1)",
        "/runs\r\nSet-Cookie: x=y",
        "/requests/../../x",
        "/sign-out",
        "/runs?x=y",
        "\u2215evil",
    ],
)
def test_a_sign_in_leads_to_our_own_pages_only(site: Served, then: str) -> None:
    """Whatever address is asked for, a sign-in leads to the inbox unless it is exactly one of our pages."""
    assert own_path(then) == "/"
    with site.browser() as client:
        csrf = hidden(client.get("/sign-in", params={"then": then}).text, "csrf")
        answer = client.post("/sign-in", data={"csrf": csrf, "token": "token-ana", "then": then})
        assert answer.headers["location"] == "/"
        assert "x=y" not in answer.headers.get("set-cookie", "")
    assert own_path(f"/requests/apr_{'a' * 32}") == f"/requests/apr_{'a' * 32}"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/%2e%2e/pyproject.toml",
        "/static//etc/passwd",
        "/static/console.css%00.png",
        "/static/htmx.LICENSE.txt",
        "/requests/..%2f..%2fetc",
        "/requests/../../../etc/passwd",
        "/requests/apr_..%2f..%2fpyproject.toml",
        "/runs/%0d%0aSet-Cookie:%20x=y",
        "/runs/..%5c..%5cpyproject.toml",
        "/runs/run_%2e%2e%2f%2e%2e%2fpyproject.toml",
        "/policies/..%2f..%2fpyproject.toml",
        "/policies/%0d%0aSet-Cookie:%20x=y",
    ],
)
@pytest.mark.parametrize("signed_in", [False, True], ids=["a stranger", "signed in"])
def test_no_path_leads_out(site: Served, path: str, signed_in: bool) -> None:  # noqa: FBT001 - a table
    """Names in a path are looked up; they are never made into one, nor into a header."""
    with site.signed_in() as client:
        cookie = f"Cookie: control={client.cookies['control']}\r\n" if signed_in else ""
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n{cookie}Connection: close\r\n\r\n"
        answer = raw(site, head.encode())
    assert answer.split(b" ")[1] in ({b"404"} if signed_in else {b"303", b"404"})
    assert b"set-cookie: x" not in answer.lower()
    assert b"[project]" not in answer
    assert b"root:" not in answer


def raw(site: Served, request: bytes) -> bytes:
    """Send bytes and return what came back."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=15) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/x-www-form-urlencoded", b"a=" + b"x" * 70_000, 413),
        ("application/x-www-form-urlencoded", b"csrf=1&csrf=2", 400),
        ("application/x-www-form-urlencoded", b"&".join(b"f%d=1" % n for n in range(50)), 400),
        ("application/x-www-form-urlencoded", b"\xff\xfe=1", 400),
        ("application/x-www-form-urlencoded", b"a=%ff", 400),
        ("application/x-www-form-urlencoded", b"a=%00", 400),
        ("application/x-www-form-urlencoded", b"novalue", 400),
        ("application/x-www-form-urlencoded", b"", 403),
        ("application/json", b'{"csrf":"x"}', 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("text/plain", b"csrf=x", 415),
        ("", b"csrf=x", 415),
    ],
)
def test_bodies_that_are_no_form_of_ours(site: Served, kind: str, body: bytes, status: int) -> None:
    """Oversized, ambiguous and malformed bodies, and other types, are refused."""
    with site.signed_in() as client:
        assert client.post("/writes/freeze", content=body, headers={"content-type": kind}).status_code == status


def test_a_body_without_an_end_is_cut_off(site: Served) -> None:
    """A chunked body is refused as soon as it is too large, however much is still to come."""
    head = (
        f"POST /writes/freeze HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nOrigin: {site.url}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    ).encode()
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    assert raw(site, head + chunk * 3).split(b" ")[1] == b"413"


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: %b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: %b\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_requests_that_are_none(site: Served, request_line: bytes) -> None:
    """Two hosts, endless addresses and headers, and smuggled bodies are refused."""
    host = f"127.0.0.1:{site.port}".encode()
    sent = request_line.replace(b"%b", host).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    assert raw(site, sent).split(b" ")[1] in {b"400", b"403", b"405", b"414", b"421", b"431"}


# --- how often ---


def test_a_hundred_clicks_are_one_vote(desk: Desk, site: Served) -> None:
    """Of a hundred approvals sent at one moment one vote is counted, and one grant made."""
    name = asked(desk)
    with site.signed_in() as client:
        page = client.get(f"/requests/{name}").text
        form = {"csrf": hidden(page, "csrf"), "digest": hidden(page, "digest"), "decision": "approve", "comment": ""}
        together = threading.Barrier(100)

        def click(_: int) -> int:
            together.wait(20)
            return client.post(f"/requests/{name}/vote", data=form).status_code

        with ThreadPoolExecutor(100) as pool:
            statuses = list(pool.map(click, range(100)))
        story = client.get(
            client.get(f"/requests/{name}").text.partition('href="/runs/')[2].partition('"')[0].join(["/runs/", ""])
        ).text
    assert set(statuses) == {303}
    assert votes_on(site, name) == ["ana@acme.example"]
    assert story.count("<p><bdi>refund: approved, and that is enough") == 1


def test_nobody_is_locked_out_by_somebody_elses_wrong_tokens(site: Served) -> None:
    """Tries that fail are counted, and told so; a token that holds opens a session all the same, and often."""
    with site.browser() as client:
        statuses = [sign_in(client, f"token-{number}").status_code for number in range(12)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
    for _ in range(12):  # behind a proxy everybody comes from one address
        with site.browser() as client:
            assert sign_in(client, "token-ana").status_code == 303
            assert client.get("/").status_code == 200


def test_strangers_take_no_page_away(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sign-ins hang, as on a provider that does not answer, few are looked at at once and pages go on."""
    hanging, most, lock, over = 0, 0, threading.Lock(), threading.Event()
    authenticate = site.people.authenticate

    def slow(credential: str) -> Identity:
        nonlocal hanging, most
        if not credential.startswith("token-slow"):
            return authenticate(credential)
        with lock:
            hanging += 1
            most = max(most, hanging)
        over.wait(20)
        with lock:
            hanging -= 1
        return authenticate(credential)

    def try_it(number: int) -> int:
        with site.browser() as client:
            return sign_in(client, f"token-slow-{number}").status_code

    with site.signed_in() as client, ThreadPoolExecutor(60) as pool:
        monkeypatch.setattr(site.people, "authenticate", slow)
        tries = [pool.submit(try_it, number) for number in range(60)]
        try:
            until(lambda: hanging == SIGN_INS_AT_ONCE)
            assert client.get("/", timeout=5).status_code == 200
        finally:
            over.set()
        assert {one.result() for one in tries} == {401, 429}
    assert most == SIGN_INS_AT_ONCE


def test_a_check_of_the_record_takes_no_page_away(desk: Desk, site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the record is checked, further checks are refused at once, however many, and pages go on; then one may."""
    began, over = threading.Event(), threading.Event()

    def slow(connection: Any) -> Any:
        began.set()
        over.wait(20)
        return verify_all(connection)

    def check(client: httpx.Client, csrf: str) -> httpx.Response:
        return client.post("/record/check", data={"csrf": csrf}, timeout=30)

    with site.signed_in() as client, site.signed_in("bo") as other, ThreadPoolExecutor(60) as pool:
        csrf = hidden(client.get("/record").text, "csrf")
        monkeypatch.setattr(acts, "verify_all", slow)
        first = pool.submit(check, client, csrf)
        try:
            assert began.wait(10)
            tries = [pool.submit(check, client, csrf) for _ in range(45)]
            assert other.get("/", timeout=5).status_code == 200
            answers = [one.result(10) for one in tries]
        finally:
            over.set()
        assert {answer.status_code for answer in answers} == {409}
        assert "is being checked already" in answers[0].text
        assert "<strong>Whole.</strong>" in first.result().text
        assert "<strong>Whole.</strong>" in check(client, csrf).text


def test_a_session_may_not_act_without_end(site: Served) -> None:
    """Beyond a burst a session's changes are refused until some time has passed."""
    with site.signed_in() as client:
        session = site.console.sessions.find(client.cookies["control"])
        assert session is not None
        while site.console.acts.takes(session.key, 0.0):
            pass
        site.console.acts._buckets[session.key].at = sys.float_info.max
        answer = client.post("/record/check", data={"csrf": session.csrf})
    assert answer.status_code == 429
    assert "Nothing was done." in answer.text


def test_a_limit_fills_up_again() -> None:
    """A bucket gives its burst at once, then as many a minute as it was made for, each key by itself."""
    limit = RateLimit(burst=3, per_minute=6)
    assert [limit.takes("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert limit.takes("b", 0.0)
    assert not limit.takes("a", 9.0)
    assert limit.takes("a", 20.0)


# --- where ---


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://control.acme.example", "console_clear"),
        ("http://0.0.0.0:8700", "console_clear"),
        ("ftp://127.0.0.1", "console_url"),
        ("https://user@control.acme.example", "console_url"),
        ("https://control.acme.example/path", "console_url"),
        ("control.acme.example", "console_url"),
    ],
)
def test_an_address_that_would_give_tokens_away_is_refused(url: str, code: str) -> None:
    """Clear http is for this machine alone, and an address is scheme and host."""
    with pytest.raises(ConsoleRefused) as refused:
        Address.of(url)
    assert refused.value.code == code


def test_loopback_has_three_names() -> None:
    """On loopback the machine's own names are answered, on that port, and nothing else."""
    address = Address.of("http://127.0.0.1:8700")
    assert address.hosts == {"127.0.0.1:8700", "localhost:8700", "[::1]:8700"}
    assert not address.secure
    assert Address.of("https://Control.Acme.example").origins == {"https://control.acme.example"}
