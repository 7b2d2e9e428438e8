"""What people can do in the console beside yes and no: change, take back, give a reason, stand in, break the glass."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from langgraph_control import Control, Policy, Run
from langgraph_control.audit.asking.evidence import FindEvidence
from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.rows import ApprovalRow
from langgraph_control.audit.names import approval_id, approval_name
from langgraph_control.audit.people.words import edits_of
from tests.console.conftest import Served, cast, hidden, sign_in
from tests.console.test_security import EVIL, MARKUP, dangers, explained
from tests.support.desk import Desk, new_trigger, told
from tests.support.postgres import Database
from tests.support.scripted_model import call, calls
from tests.support.trails import TrailWriter

POLICY = Policy.parse(
    """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example], oncall: [cy@acme.example]}
owner: finance
approve: {within: 1h, on_expiry: deny, not_by: [requester]}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 1000}}, then: approve, by: finance, break_glass: oncall}
  - {tool: refund, when: {amount: {gt: 1000, lte: 5000}}, then: approve, by: {finance: 2}, comment: required}
""",
    source="words.yaml",
)


@pytest.fixture(scope="module")
def desk_database(shared_database: Database) -> Database:
    """A ledger whose policy lets one person decide alone in an emergency."""
    publish_policy(shared_database.admin, POLICY)
    return shared_database


@pytest.fixture(scope="module")
def desk(desk_database: Database) -> Iterator[Desk]:
    """A desk whose runs wait for approval."""
    with Control(POLICY, dsn=desk_database.agent) as control:
        yield Desk(database=desk_database, control=control)


def waits(desk: Desk, amount: int = 500) -> tuple[Any, Run]:
    """A graph whose run waits for approval of a refund, and the run."""
    graph = desk.refunding(amount)
    return graph, desk.run(graph, trigger=new_trigger())


def goes_on(desk: Desk, graph: Any, run: Run) -> Run:
    """The run once more, as a worker would drive it."""
    return desk.run(graph, trigger=run.trigger)


def say(client: httpx.Client, name: str, word: str, **fields: str) -> httpx.Response:
    """Open a request and send one of its forms."""
    page = client.get(f"/requests/{name}").text
    form = {"csrf": hidden(page, "csrf"), "digest": hidden(page, "digest"), "comment": ""}
    return client.post(f"/requests/{name}/{word}", data={**form, **fields})


def row(site: Served, name: str) -> ApprovalRow:
    """A request, by the ledger."""
    return site.console.approvals.get(name)


def shown(site: Served, name: str) -> Any:
    """The arguments a request shows."""
    return orjson.loads(row(site, name).card)["what"]["arguments"]


# --- changing ---


def test_an_edit_becomes_a_request_for_that(desk: Desk, site: Served) -> None:
    """Changed in the form, the write is asked about afresh; old and new request lead to each other; that one runs."""
    graph, run = waits(desk)
    (name,) = run.approvals
    with site.signed_in() as client, site.signed_in("bo") as other:
        page = client.get(f"/requests/{name}").text
        assert 'name="argument-0" value="500"' in page
        answer = say(client, name, "edit", **{"argument-1": "o0", "argument-0": "300"}, comment="Only the shipping.")
        assert answer.headers["location"] == f"/requests/{name}?said=edited"
        page = client.get(answer.headers["location"]).text
        assert "The run takes it up at its next try" in page
        assert "Only the shipping." in page
        assert "amount = &#34;300&#34;" in page
        assert row(site, name).state == "open"
        (after,) = goes_on(desk, graph, run).approvals
        assert shown(site, after) == {"order_id": "o0", "amount": "300"}
        page = client.get(f"/requests/{name}").text
        assert f'href="/requests/{after}">look at that one' in page
        assert 'value="approve"' not in page
        page = client.get(f"/requests/{after}").text
        assert f'href="/requests/{name}">an earlier request' in page
        assert re.search("argument amount.*500.*300", page.split('id="since"')[1].split("</section>")[0], re.DOTALL)
        assert "<dt>Changed by</dt><dd><bdi>ana@acme.example" in page
        assert cast(other, after).status_code == 303
        story = client.get(f"/runs/{run.id}").text.partition('id="story"')[2]
        assert "refund: a person asked for other arguments" in story
        assert "with <bdi>amount=&#34;300&#34;</bdi>" in story
        assert "cannot read" not in story
    assert "refunded 300" in told(goes_on(desk, graph, run))[0]


def test_only_what_was_changed_is_sent(desk: Desk, site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields that stay as they were are not part of the edit; a form that changes nothing is refused."""
    _, run = waits(desk)
    sent: list[Any] = []
    edit = site.console.approvals.edit

    def noting(name: str, new: Any, **said: Any) -> Any:
        sent.append(new)
        return edit(name, new, **said)

    monkeypatch.setattr(site.console.approvals, "edit", noting)
    with site.signed_in() as client:
        for fields in ({}, {"argument-1": "o0", "argument-0": "500"}, {"argument-7": "x", "amount": "7"}):
            answer = say(client, run.approvals[0], "edit", **fields)
            assert answer.status_code == 409
            assert "Nothing is changed by this." in answer.text
        assert say(client, run.approvals[0], "edit", **{"argument-1": "o0", "argument-0": "7"}).status_code == 303
    assert sent == [{"amount": "7"}]


def test_what_the_run_does_not_take_is_said(desk: Desk, site: Served) -> None:
    """An edit that the run refuses is on the request's page with the reason, and the request still takes votes."""
    graph, run = waits(desk)
    with site.signed_in() as client:
        assert say(client, run.approvals[0], "edit", **{"argument-1": "another"}).status_code == 303
        assert goes_on(desk, graph, run).approvals == run.approvals
        page = client.get(f"/requests/{run.approvals[0]}").text
        assert "order_id says which change this is and cannot be edited" in page
        assert 'value="approve"' in page


def test_whoever_may_not_vote_may_not_edit(desk: Desk, site: Served) -> None:
    """Cy is not asked: there is no such form, and a made-up one is refused by the ledger."""
    _, run = waits(desk)
    with site.signed_in("cy") as client:
        assert "argument-0" not in client.get(f"/requests/{run.approvals[0]}").text
        answer = say(
            client, run.approvals[0], "edit", digest=row(site, run.approvals[0]).digest.hex(), **{"argument-0": "1"}
        )
        assert answer.status_code == 409
        assert "none of the roles" in answer.text


def test_markup_in_an_edit_stays_text(desk: Desk, site: Served) -> None:
    """Markup and hidden characters in arguments, new values and comments are shown and never obeyed."""
    graph = explained(desk, order="A-1", reason=EVIL, record=EVIL)
    run = desk.run(graph, trigger=new_trigger())
    with site.signed_in() as client:
        for amount in (EVIL, "400"):
            assert say(client, run.approvals[0], "edit", **{"argument-0": amount}, comment=EVIL).status_code == 303
            pages = [client.get(f"/requests/{run.approvals[0]}").text]
            run = goes_on(desk, graph, run)
            pages += [client.get(path).text for path in (f"/requests/{run.approvals[0]}", f"/runs/{run.id}")]
            for page in pages:
                assert dangers(page) == []
                assert "67092481" not in page
                assert not set("\u202e\u2066\u200b\x1b") & set(page)
    assert shown(site, run.approvals[0])["amount"] == "400"


# --- taking back ---


def test_a_yes_is_taken_back(desk: Desk, site: Served) -> None:
    """Whoever said yes finds a button that takes it back; the grant is a request again, and nothing runs."""
    graph, run = waits(desk)
    (name,) = run.approvals
    with site.signed_in() as client, site.signed_in("bo") as other:
        assert "Take my yes back" not in client.get(f"/requests/{name}").text
        cast(client, name)
        assert "Take my yes back" in client.get(f"/requests/{name}").text
        assert "Take my yes back" not in other.get(f"/requests/{name}").text
        digest = row(site, name).digest.hex()
        refused = say(other, name, "withdraw", digest=digest)
        assert (refused.status_code, "has said yes to nothing here" in refused.text) == (409, True)
        answer = say(client, name, "withdraw", comment="Wrong customer?")
        assert answer.headers["location"] == f"/requests/{name}?said=withdrawn"
        assert "Your yes is taken back." in client.get(answer.headers["location"]).text
    assert row(site, name).state == "open"
    assert goes_on(desk, graph, run).state == "needs_approval"


# --- reasons ---


def test_a_no_has_a_reason_that_the_model_is_told(desk: Desk, site: Served) -> None:
    """The reason that was chosen reaches the model, and is on the page; a made-up one is refused."""
    graph, run = waits(desk)
    with site.signed_in() as client:
        assert (
            '<option value="wrong_amount">the amount is wrong</option>'
            in client.get(f"/requests/{run.approvals[0]}").text
        )
        assert cast(client, run.approvals[0], "reject", code="made_up").status_code == 409
        assert cast(client, run.approvals[0], "reject", code="wrong_amount").status_code == 303
        assert "The amount is wrong" in client.get(f"/requests/{run.approvals[0]}").text
    assert "the amount is wrong" in told(goes_on(desk, graph, run))[0]


def test_a_reason_beside_a_yes_is_nothing(desk: Desk, site: Served) -> None:
    """Whoever chose a reason and then approves has approved."""
    _, run = waits(desk)
    with site.signed_in() as client:
        assert cast(client, run.approvals[0], code="wrong_amount").headers["location"].endswith("?said=granted")


# --- emergencies ---


def test_one_person_decides_alone_in_an_emergency(desk: Desk, site: Served) -> None:
    """Whom the policy lets break the glass does so here with a comment; nobody else is offered or allowed it."""
    graph, run = waits(desk)
    (name,) = run.approvals
    digest = row(site, name).digest.hex()
    with site.signed_in("cy") as client, site.signed_in() as ana:
        assert "Break the glass" not in ana.get(f"/requests/{name}").text
        assert say(ana, name, "break-glass", digest=digest, comment="x").status_code == 409
        assert "Break the glass" in client.get(f"/requests/{name}").text
        assert say(client, name, "break-glass").status_code == 409
        answer = say(client, name, "break-glass", comment="The provider closes at noon.")
        assert answer.headers["location"] == f"/requests/{name}?said=broken"
        page = client.get(answer.headers["location"]).text
        assert "yes, alone in an emergency" in page
        assert "1 yes" in page
    assert told(goes_on(desk, graph, run)) == ["refunded 500"]
    _, run = waits(desk, 2000)
    with site.signed_in("cy") as client:
        assert "Break the glass" not in client.get(f"/requests/{run.approvals[0]}").text


# --- forged ---


@pytest.mark.parametrize("word", ["edit", "withdraw", "break-glass", "review"])
def test_forged_words_do_nothing(desk: Desk, site: Served, word: str) -> None:
    """Without the session's secret, from elsewhere, for another digest or with a revoked token nothing is done."""
    _, run = waits(desk)
    (name,) = run.approvals
    path, digest = f"/requests/{name}/{word}", row(site, name).digest.hex()
    person = "cy" if word == "break-glass" else "ana"
    with site.signed_in(person) as client:
        if word == "withdraw":
            cast(client, name)
        elif word == "review":
            site.console.approvals.break_glass(name, comment="x", credential="token-cy")
        before = row(site, name)
        csrf = hidden(client.get(f"/requests/{name}").text, "csrf")
        form = {"csrf": csrf, "digest": digest, "comment": "x", "argument-0": "1", "verdict": "accepted"}
        assert client.post(path, data={**form, "csrf": ""}).status_code == 403
        assert client.post(path, data=form, headers={"origin": "https://evil.example"}).status_code == 403
        assert client.post(path, data={**form, "digest": "0" * 64}).status_code == 409
        assert client.get(path).status_code == 405
        site.people.gone.add(f"{person}@acme.example")
        assert client.post(path, data=form).status_code == 401
        assert client.post(path, data=form).status_code == 401
    with site.browser() as stranger:
        assert stranger.post(path, data=form).status_code == 401
    assert row(site, name) == before
    assert edits_of(site.console.ask, before) == ()


# --- standing in ---


def test_a_stand_in_signs_in_and_votes(desk: Desk, site: Served) -> None:
    """Who is in no role but stands in for somebody signs in, finds the request and decides it, until it is revoked."""
    graph, run = waits(desk)
    with site.browser() as client:
        assert sign_in(client, "token-di").status_code == 401
    until = datetime.now(UTC) + timedelta(hours=1)
    given = site.console.approvals.delegate("di@acme.example", until=until, credential="token-ana")
    with site.signed_in("di") as client:
        assert run.approvals[0] in client.get("/").text
        assert cast(client, run.approvals[0]).headers["location"].endswith("?said=granted")
        assert told(goes_on(desk, graph, run)) == ["refunded 500"]
        site.console.approvals.revoke(given, credential="token-ana")
        assert (
            client.post("/record/check", data={"csrf": hidden(client.get("/record").text, "csrf")}).status_code == 401
        )


# --- looking at emergencies afterwards ---


def test_an_emergency_is_looked_at_afterwards(desk: Desk, site: Served) -> None:
    """It is listed with what needs a person until somebody of those not asked accepts it, or objects and says why."""
    _, run = waits(desk)
    (name,) = run.approvals
    with site.signed_in("cy") as cy, site.signed_in() as ana:
        assert say(cy, name, "break-glass", comment="The provider closes at noon.").status_code == 303
        assert f'href="/requests/{name}"' in ana.get("/attention").text
        digest = row(site, name).digest.hex()
        assert "Accept it" not in cy.get(f"/requests/{name}").text
        assert say(cy, name, "review", digest=digest, verdict="accepted").status_code == 409
        assert "Accept it" in ana.get(f"/requests/{name}").text
        for wrong in ({"verdict": "objected"}, {"verdict": "perhaps", "comment": "x"}, {"comment": "x"}):
            assert say(ana, name, "review", **wrong).status_code == 409
        answer = say(ana, name, "review", verdict="objected", comment="It could have waited.")
        assert answer.headers["location"] == f"/requests/{name}?said=reviewed"
        assert "Accept it" not in ana.get(answer.headers["location"]).text
        assert f'href="/requests/{name}"' not in ana.get("/attention").text
        assert "somebody objects to the emergency afterwards" in ana.get(f"/runs/{run.id}").text
        assert say(ana, name, "review", digest=digest, verdict="accepted").status_code == 409


# --- what counts ---


def test_a_yes_that_counts_no_more_is_said(desk: Desk, site: Served) -> None:
    """Of two yes that were given, the page and the list count those that the ledger counts, and name the others."""
    (name,) = desk.run(desk.refunding(2000), trigger=new_trigger()).approvals
    until = datetime.now(UTC) + timedelta(hours=1)
    given = site.console.approvals.delegate("di@acme.example", until=until, credential="token-bo")
    with site.signed_in() as ana, site.signed_in("di") as di:
        assert cast(di, name, comment="for bo").headers["location"].endswith("?said=counted")
        assert "<dt>So far</dt><dd>1 yes</dd>" in ana.get(f"/requests/{name}").text
        site.console.approvals.revoke(given, credential="token-bo")
        for path in (f"/requests/{name}", "/?view=all", f"/together?request={name}"):
            assert "0 yes (1 more no longer counts)" in ana.get(path).text, path
        assert cast(ana, name, comment="mine").headers["location"].endswith("?said=counted")
        assert "1 yes (1 more no longer counts)" in ana.get(f"/requests/{name}").text


# --- what was known ---


def test_long_names_are_folded_and_not_cut(site: Served, desk_database: Database) -> None:
    """System and record, the business request and who asks stand on the page whole, however long they are."""
    long = {name: f"{name} {'x' * 900} end-of-{name}" for name in ("system", "target")}
    card = orjson.dumps({"what": {"arguments": {}}, "where": long})
    trigger = f"{new_trigger()} {'y' * 900} end-of-intent"
    with TrailWriter(desk_database) as trail:
        _, claimed = trail.claim(trail.open(trigger), verb="approve", card=card)
    assert claimed.approval_id is not None
    name = approval_name(claimed.approval_id)
    with site.signed_in() as client:
        for path in (f"/requests/{name}", f"/together?request={name}"):
            page = client.get(path).text
            for end in ("end-of-system", "end-of-target", "end-of-intent"):
                assert end in page, path


def test_the_card_says_what_was_known(desk: Desk, site: Served) -> None:
    """What the run had read, and what was asked about the record before, stand on the card, as text."""
    first = desk.run(explained(desk, order=MARKUP, reason="It broke.", record="paid"), trigger=new_trigger())
    with site.signed_in() as client:
        page = client.get(f"/requests/{first.approvals[0]}").text
        assert "Nothing, by this tool or another of its system, in the 30 days before." in page
        cast(client, first.approvals[0], "reject")
        looked = calls(call("look", order_id=MARKUP, call_id="l"))
        asked = calls(call("refund", order_id=MARKUP, amount="600", call_id="c"))
        second = desk.run(desk.agent(looked, asked, "done"), trigger=new_trigger())
        page = client.get(f"/requests/{second.approvals[0]}").text
        assert dangers(page) == []
        read = page.partition('id="read"')[2].partition("</section>")[0]
        assert "look" in read
        digest = site.console.ask(FindEvidence(approval_id=approval_id(second.approvals[0]))).reads[0].digest
        assert digest is not None
        assert f'<span class="mono">{digest[:12]}</span>' in read
        third = desk.run(explained(desk, order=MARKUP, reason="Again.", record="new"), trigger=new_trigger())
        page = client.get(f"/requests/{third.approvals[0]}").text
        assert dangers(page) == []
        assert "Record read" in page
        before = page.partition('id="before"')[2].partition("</section>")[0]
        assert f'href="/requests/{first.approvals[0]}"' in before
        assert "<bdi>refund</bdi>, <bdi>denied</bdi>, write <bdi>denied</bdi>" in before
        assert "ana@acme.example:reject" in before
