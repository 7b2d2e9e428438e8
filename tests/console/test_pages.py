"""The pages show what waits, what happened and why, and a vote on one is the vote that counts."""

import re
import time
from contextlib import ExitStack
from typing import Any

import orjson
import pytest

from langgraph_control.audit.asking.ledger import Outcome
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.connecting.connection import LedgerConnection
from langgraph_control.audit.names import approval_name, run_name
from langgraph_control.console import pages
from langgraph_control.console.pages import PAGE_RUNS
from langgraph_control.console.trace_link import TraceLink
from langgraph_control.errors import TrailUnavailable
from tests.console.conftest import Served, cast, hidden, served
from tests.support.cut_runs import dropped, over_two_months
from tests.support.desk import Desk, new_trigger, told
from tests.support.postgres import Database
from tests.support.trails import FOR_FINANCE_ALONE, TrailWriter, tamper
from tests.support.waiting import until

PATHS = (
    "/",
    "/?view=all",
    "/decided",
    "/decided?state=denied",
    "/together",
    "/standing-in",
    "/runs",
    "/runs?state=done",
    "/attention",
    "/writes",
    "/record",
)


def asked(desk: Desk, *amounts: int) -> tuple[str, ...]:
    """Have the desk ask for refunds, and return the requests' names."""
    return desk.run(desk.refunding(*amounts), trigger=new_trigger()).approvals


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_there(site: Served, path: str) -> None:
    """Every page of the bar shows itself, whether there is anything on it or not."""
    with site.signed_in() as client:
        answer = client.get(path)
        assert answer.status_code == 200
        assert "<h1>" in answer.text


def test_the_card_shows_what_would_change(desk: Desk, site: Served) -> None:
    """A request's page shows tool, arguments, who asks, who decides and what happens if nobody answers."""
    (name,) = asked(desk, 1234)
    with site.signed_in() as client:
        page = client.get(f"/requests/{name}").text
    for text in ("refund", "1234", "o0", "risk: large", "support-bot", "1 of finance", "It is denied. Nothing is done"):
        assert text in page


def test_a_row_that_was_changed_by_hand_is_not_what_a_page_tells(
    desk: Desk, site: Served, desk_database: Database
) -> None:
    """Who asked is what the entries say, and that the row says something else is said."""
    run = desk.run(desk.refunding(900), trigger=new_trigger())
    tamper(desk_database, "UPDATE control.run SET actor = 'mallory-bot', on_behalf_of = 'the boss'")
    with site.signed_in() as client:
        page = client.get(f"/runs/{run.id}").text
    assert "mallory" not in page
    assert "the boss" not in page
    assert "support-bot" in page
    assert page.count("Differs from its entries:") == 2
    assert "its row has another actor than the entry that started it" in page


def test_a_run_that_goes_on_while_its_page_is_made_is_whole(
    desk: Desk, site: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries that come between reading the chain and its row are read as well, and nothing is missed."""
    run = desk.run(desk.refunding(50), trigger=new_trigger())
    reading = pages._entries

    def one_too_few(*asked: Any) -> tuple[list[Any], bool]:
        rows, whole = reading(*asked)
        return rows[:-1], whole

    monkeypatch.setattr(pages, "_entries", one_too_few)
    with site.signed_in() as client:
        page = client.get(f"/runs/{run.id}").text
    assert 'class="state good">whole' in page
    assert "the run is done" in page


def test_a_run_of_which_retention_dropped_the_beginning_is_whole(site: Served, database: Database) -> None:
    """What is gone by the rules is not called tampered with, and the rest is told."""
    with TrailWriter(database) as trail, LedgerConnection(database.auditor) as auditor:
        trail.publish()
        run = over_two_months(trail)
        dropped(trail, days=45)
        assert next(iter(auditor.entries(run.run_id))).seq > 1
    with served(database.local_approver, site.people) as here, here.signed_in() as client:
        page = client.get(f"/runs/{run_name(run.run_id)}").text
    assert 'class="state good">whole' in page
    assert "tampered with" not in page
    assert "Differs from its entries" not in page


def test_a_vote_here_unlocks_the_write(desk: Desk, site: Served) -> None:
    """Approved in the console, the write runs; the run's page tells the story and that its record is whole."""
    run = desk.run(graph := desk.refunding(900), trigger=new_trigger())
    with site.signed_in() as client:
        answer = cast(client, run.approvals[0], comment="Checked with the warehouse.")
        assert answer.headers["location"] == f"/requests/{run.approvals[0]}?said=granted"
        assert "Approved. It unlocks exactly this write." in client.get(answer.headers["location"]).text
        assert told(desk.run(graph, trigger=run.trigger)) == ["refunded 900"]
        page = client.get(f"/runs/{run.id}").text
        assert "Checked with the warehouse." in page
        assert "ana@acme.example" in page
        assert 'class="state good">whole' in page
        assert "<svg" in page
        assert client.get("/record").status_code == 200


def test_a_runs_page_leads_to_its_trace(desk: Desk, site: Served) -> None:
    """Where the console was told where traces are, a run's page has a link to its own; else it has none."""
    run = desk.run(desk.refunding(902), trigger=new_trigger())
    link = TraceLink("https://jaeger.acme.example/trace/{trace}?uiEmbed=v0")
    place = f"https://jaeger.acme.example/trace/{run.id.removeprefix('run_')}?uiEmbed=v0"
    with served(site.console.store.dsn, site.people, traces=link) as told_where, told_where.signed_in() as client:
        assert f'<a href="{place}" rel="noopener noreferrer">' in client.get(f"/runs/{run.id}").text
    with site.signed_in() as client:
        assert "Trace</dt>" not in client.get(f"/runs/{run.id}").text


def test_a_run_leads_to_the_policy_that_decided(desk: Desk, site: Served) -> None:
    """Its text is shown as it was published, by its hash; what is no hash of ours is not found."""
    run = desk.run(desk.refunding(5), trigger=new_trigger())
    with site.signed_in() as client:
        page = client.get(f"/runs/{run.id}").text
        (path,) = set(re.findall(r"/policies/[0-9a-f]{64}", page))
        text = client.get(path).text
        assert "amount: {gt: 100, lte: 5000}" in text
        for wrong in ("/policies/" + "0" * 64, "/policies/x", "/policies/%00"):
            assert client.get(wrong).status_code == 404


def test_a_no_is_told_to_the_model(desk: Desk, site: Served) -> None:
    """Rejected with a comment, the write is not done and the model is told why."""
    run = desk.run(graph := desk.refunding(901), trigger=new_trigger())
    with site.signed_in() as client:
        assert cast(client, run.approvals[0], "reject", comment="Paid in May.").status_code == 303
        assert "Rejected" in client.get(f"/requests/{run.approvals[0]}?said=rejected").text
    assert "Paid in May." in told(desk.run(graph, trigger=run.trigger))[0]


def test_mine_and_all(desk: Desk, site: Served) -> None:
    """Whoever asked for a change does not find it among what waits for them, and is told why on its page."""
    graph = desk.refunding(777)
    (name,) = desk.run(graph, trigger=new_trigger(), on_behalf_of="ana@acme.example").approvals
    with site.signed_in() as client:
        assert name not in client.get("/").text
        assert name in client.get("/?view=all").text
        page = client.get(f"/requests/{name}").text
        assert "Whoever asked for a change does not approve it." in page
        assert 'value="approve"' not in page
    with site.signed_in("bo") as client:
        assert name in client.get("/").text


def test_a_long_inbox_is_read_page_by_page(desk: Desk, site: Served) -> None:
    """The link to further requests goes on where the page ends."""
    for _ in range(6):
        asked(desk, *range(500, 510))
    with site.signed_in() as client:
        first = client.get("/?view=all").text
        assert first.count('data-item="request"') == 50
        link = first.partition('<a class="button" href="')[2].partition('"')[0].replace("&amp;", "&")
        second = client.get(link).text
    names = {page: {part[:36] for part in page.split("/requests/")[1:]} for page in (first, second)}
    assert names[second]
    assert not names[first] & names[second]


def test_what_is_not_there_is_said(site: Served) -> None:
    """Unknown requests, runs and pages are 404, in words."""
    with site.signed_in() as client:
        for path in (f"/requests/apr_{'0' * 32}", "/requests/x", f"/runs/run_{'0' * 32}", "/runs/x", "/nothing"):
            answer = client.get(path)
            assert answer.status_code == 404, path
            assert "There is no" in answer.text or "That is not the name" in answer.text


def test_writes_are_stopped_and_go_on(desk: Desk, site: Served) -> None:
    """A stop is on the page with who set it and why, and can be lifted there."""
    asked(desk, 500)  # so that the tool was seen
    with site.signed_in() as client:
        csrf = hidden(client.get("/writes").text, "csrf")
        form = {"csrf": csrf, "scope": "tool", "name": "refund", "comment": "Wrong prices."}
        assert client.post("/writes/freeze", data=form).headers["location"] == "/writes?said=frozen"
        page = client.get("/writes").text
        assert "Wrong prices." in page
        assert "ana@acme.example" in page
        assert client.post("/writes/freeze", data={**form, "comment": " "}).status_code == 409
        assert "Held back: <bdi>writes of tool refund</bdi>." in page
        assert "Is it spelled right?" not in page
        client.post("/writes/freeze", data={**form, "scope": "agent", "name": "nobody"})
        page = client.get("/writes").text
        assert "writes of runs whose actor is nobody" in page
        assert "No agent nobody was ever seen" in page
        client.post("/writes/unfreeze", data={**form, "scope": "agent", "name": "nobody"})
        assert client.post("/writes/unfreeze", data=form).headers["location"] == "/writes?said=unfrozen"
        assert "Wrong prices." not in client.get("/writes").text


def test_the_whole_record_is_checked(desk: Desk, site: Served) -> None:
    """All chains are recomputed on request."""
    asked(desk, 500)
    with site.signed_in() as client:
        page = client.post("/record/check", data={"csrf": hidden(client.get("/record").text, "csrf")}).text
    assert "<strong>Whole.</strong>" in page


LINKS = {
    "https://crm.example/orders/17?tab=a%20b": True,
    "http://10.0.0.7:8080/x": True,
    "http://127.0.0.1:8080/x": False,
    "javascript:alert(1)": False,
    "data:text/html,<script>alert(1)</script>": False,
    "//evil.example/x": False,
    "https://crm.example@evil.example/": False,
    "https://crm.example\\\\@evil.example/": False,
    'https://crm.example/" onclick="alert(1)': False,
    "https://crm.example/\u202e": False,
    "https://[::1": False,
    "": False,
}


@pytest.mark.parametrize("link", LINKS)
def test_the_card_links_to_the_record(site: Served, desk_database: Database, link: str) -> None:
    """The contract's address is a link that tells nobody where it came from; what is no plain web address is none."""
    what = {"operation": "update", "impact": "money", "version": "7", "arguments": {}}
    card = orjson.dumps({"what": what, "where": {"target": "order/17", "link": link}})
    with TrailWriter(desk_database) as trail:
        _, claimed = trail.claim(trail.open(new_trigger()), verb="approve", card=card)
    with site.signed_in() as client:
        page = client.get(f"/requests/{approval_name(claimed.approval_id or '')}").text
    assert ("Look at it" in page) is LINKS[link]
    assert (f'<a href="{link}" target="_blank" rel="noopener noreferrer">' in page) is LINKS[link]
    assert page.count("target=") == LINKS[link]
    assert "update" in page
    assert "contract version" in page


def test_what_is_for_a_role_alone_is_on_its_peoples_pages(site: Served, desk_database: Database) -> None:
    """Ana of finance reads what is for finance, by itself and among several; a mark where it is for legal."""
    cards = {"finance": FOR_FINANCE_ALONE, "legal": FOR_FINANCE_ALONE.replace(b'"finance"', b'"legal"')}
    for role, card in cards.items():
        with TrailWriter(desk_database) as trail:
            _, claimed = trail.claim(trail.open(new_trigger()), verb="approve", card=card)
        name = approval_name(claimed.approval_id or "")
        with site.signed_in() as client:
            page, among = client.get(f"/requests/{name}").text, client.get("/together", params={"request": name}).text
            assert "DE77" not in client.get("/").text
        assert "everybody else reads (redacted) there" in page
        assert "All of it is shown to" in among
        for text in (page, among):
            assert ("DE77-1" in text, "DE77-9" in text) == (role == "finance", role == "finance")
        assert 'name="argument-1"' in page  # the order's field; the account has none
        assert 'name="argument-0"' not in page


def test_the_card_says_what_was_done_without_asking(site: Served, desk_database: Database) -> None:
    """A write to the same record that the policy allowed stands on the card, with a link to its run."""
    with TrailWriter(desk_database) as trail:
        before = trail.open(new_trigger())
        claim, _ = trail.claim(before)
        trail.settle(before, claim)
        _, claimed = trail.claim(trail.open(new_trigger()), verb="approve")
    with site.signed_in() as client:
        page = client.get(f"/requests/{approval_name(claimed.approval_id or '')}").text
    done = page.partition('id="done"')[2].partition("</section>")[0]
    assert f'href="/runs/{run_name(before.run_id)}"' in done
    assert "succeeded" in done


def test_the_story_says_what_was_to_change(site: Served, desk_database: Database) -> None:
    """Field by field, with the signals that the decision looked at."""
    with TrailWriter(desk_database) as trail:
        run = trail.open(new_trigger())
        trail.claim(run)
    with site.signed_in() as client:
        page = client.get(f"/runs/{run_name(run.run_id)}").text
    assert "status: &#34;paid&#34; -&gt; &#34;refunded&#34;" in page
    assert "risk: large" in page


def test_what_only_a_person_can_say_is_said_here(site: Served, desk_database: Database) -> None:
    """A lost write is in the queue, is settled with a comment on its run's page, and leaves the queue."""
    with TrailWriter(desk_database) as trail:
        lost = trail.open(new_trigger())
        claim, _ = trail.claim(lost, kind="blind")
        trail.settle(lost, claim, Outcome.LOSE)
        trail.claim(lost, kind="blind")
        trail.release(lost, RunState.NEEDS_HUMAN, reason="needs_human")
    name = run_name(lost.run_id)
    with site.signed_in() as client:
        assert name in client.get("/attention").text
        page = client.get(f"/runs/{name}").text
        form = {"csrf": hidden(page, "csrf"), "key": hidden(page, "key"), "verdict": "happened", "result": "paid"}
        for wrong in ({"comment": ""}, {"comment": "x", "verdict": "perhaps"}, {"comment": "x", "key": "zz"}):
            assert client.post(f"/runs/{name}/resolve", data={**form, **wrong}).status_code == 409
        answer = client.post(f"/runs/{name}/resolve", data={**form, "comment": "It is on the statement."})
        assert answer.headers["location"] == f"/runs/{name}?said=resolved"
        page = client.get(f"/runs/{name}").text
        assert "a person says that it happened" in page
        assert "It is on the statement." in page
        assert 'name="verdict"' not in page


def test_the_longest_wait_is_on_the_first_page(site: Served, desk_database: Database) -> None:
    """With more than a page that need a person, the first page has the longest waits, and a link to the rest."""
    with TrailWriter(desk_database) as trail:
        waits = [trail.open(new_trigger()) for _ in range(PAGE_RUNS + 5)]
        for run in waits:
            trail.release(run, RunState.NEEDS_HUMAN, reason="needs_human")
    names = [run_name(run.run_id) for run in waits]
    with site.signed_in() as client:
        for path in ("/attention", "/runs?state=needs_human"):
            first = client.get(path).text
            link = first.partition('<a class="button" href="')[2].partition('"')[0].replace("&amp;", "&")
            second = client.get(link).text
            shown = [re.findall(r'data-item="run" href="/runs/(run_[0-9a-f]{32})"', page) for page in (first, second)]
            assert len(shown[0]) == PAGE_RUNS
            assert [name for name in (*shown[0], *shown[1]) if name in names] == names
            assert not second.partition('<a class="button" href="')[1]


def test_a_ledger_that_is_away_is_a_page_that_says_what_is_safe(
    desk: Desk, site: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading, nothing was changed; after a vote it is said that the same sent again counts once."""
    (name,) = asked(desk, 500)

    def away(*_args: object, **_options: object) -> None:
        raise TrailUnavailable("The ledger cannot be reached.", todo="Try again.")

    with site.signed_in() as client:
        page = client.get(f"/requests/{name}").text
        form = {"csrf": hidden(page, "csrf"), "digest": hidden(page, "digest"), "decision": "approve"}
        monkeypatch.setattr(site.console.approvals, "approve", away)
        answer = client.post(f"/requests/{name}/vote", data=form)
        assert answer.status_code == 503
        assert "sent again, the same counts once" in answer.text
        monkeypatch.setattr(site.console.store, "call", away)
        answer = client.get("/runs")
        assert answer.status_code == 503
        assert "No write begins that cannot be recorded." in answer.text
        assert "Nothing was changed by looking." in answer.text


def test_all_listeners_share_one_look_a_second(desk: Desk, site: Served) -> None:
    """However many pages are open, the ledger is asked once a second, each is told, and nobody asks when none is."""
    heart = site.console.heart
    with ExitStack() as leaving:
        clients = [leaving.enter_context(site.signed_in(name)) for name in ("ana", "bo", "ana")]
        news = [leaving.enter_context(client.stream("GET", "/events")).iter_lines() for client in clients]
        for lines in news:
            next(line for line in lines if line.startswith("data:"))
        looks, began = heart.looks, time.monotonic()
        asked(desk, 500)
        for lines in news:
            next(line for line in lines if line.startswith("data:"))
        assert heart.looks - looks <= time.monotonic() - began + 2
        assert heart.listeners == 3
    until(lambda: heart.listeners == 0)
    looks = heart.looks
    time.sleep(1.5)
    assert heart.looks == looks


def test_a_person_has_only_so_many_streams(site: Served) -> None:
    """One person's pages hold four streams, in however many sessions; a fifth is refused, somebody else's is not."""
    with ExitStack() as leaving:
        clients = [leaving.enter_context(site.signed_in("ana")) for _ in range(2)] * 2
        streams = [leaving.enter_context(client.stream("GET", "/events")) for client in clients]
        assert [stream.status_code for stream in streams] == [200] * 4
        assert leaving.enter_context(clients[0].stream("GET", "/events")).status_code == 429
        other = leaving.enter_context(site.signed_in("bo"))
        assert leaving.enter_context(other.stream("GET", "/events")).status_code == 200
    until(lambda: site.console.heart.listeners == 0)
    assert set(site.console.listeners.values()) <= {0}


def test_an_open_page_ends_with_its_session(site: Served) -> None:
    """Whoever is signed out is told so on pages that are still open."""
    with site.signed_in() as client:
        session = site.console.sessions.find(client.cookies["control"])
        assert session is not None
        with client.stream("GET", "/events") as stream:
            lines = stream.iter_lines()
            next(line for line in lines if line.startswith("data:"))
            site.console.sessions.close(session)
            assert "event: signed-out" in list(lines)
