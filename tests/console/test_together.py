"""Several requests on one page: each is shown, each voted on by itself, and what came of each is said."""

import re
from decimal import Decimal
from typing import Any

import httpx
import pytest
from langchain.agents import create_agent

from langgraph_control import Approvals, reads, writes
from langgraph_control.audit.asking.waiting import Votes
from langgraph_control.console.together import CHOSEN_MAX
from tests.console.conftest import Served, cast, hidden
from tests.console.test_security import MARKUP, dangers, explained
from tests.support.desk import Desk, new_trigger
from tests.support.scripted_model import ScriptedModel, call, calls


def asked(desk: Desk, *amounts: int) -> tuple[str, ...]:
    """Names of requests that wait, of one run."""
    return desk.run(desk.refunding(*amounts), trigger=new_trigger()).approvals


def look(client: httpx.Client, *names: str) -> str:
    """The page of several requests."""
    answer = client.get("/together", params={"request": list(names)})
    assert answer.status_code == 200, answer.text
    return answer.text


def boxes(page: str) -> dict[str, str]:
    """The requests that a page lets one vote on, each with the digest it shows."""
    return dict(re.findall(r'name="(apr_[0-9a-f]{32})" value="([0-9a-f]{64})"', page))


def votes_on(site: Served, name: str) -> list[tuple[str, str]]:
    """Who said what, by the ledger."""
    row = site.console.approvals.get(name)
    return [(vote.person, vote.decision) for vote in site.console.store.call(Votes(approval_id=row.approval_id))]


def send(client: httpx.Client, page: str, chosen: dict[str, str], **fields: str) -> httpx.Response:
    """Send the page's form."""
    form = {"csrf": hidden(page, "csrf"), "decision": "approve", "comment": "", "code": "", **chosen}
    return client.post("/together", data={**form, **fields})


def test_each_of_several_is_a_vote_of_its_own(desk: Desk, site: Served) -> None:
    """Those with a tick are granted, each with an entry of its own; the one without a tick stays as it is."""
    first, second, third = asked(desk, 500, 600, 700)
    with site.signed_in() as client:
        page = look(client, first, second, third)
        chosen = boxes(page)
        assert list(chosen) == [first, second, third]
        assert all(f"o{place}" in page and str(amount) in page for place, amount in enumerate((500, 600, 700)))
        answer = send(client, page, {name: chosen[name] for name in (first, third)}, comment="Checked.")
    assert "2 of 2 votes count." in answer.text
    assert [site.console.approvals.get(name).state for name in (first, second, third)] == ["granted", "open", "granted"]
    assert votes_on(site, first) == votes_on(site, third) == [("ana@acme.example", "approve")]
    assert votes_on(site, second) == []


def test_several_are_rejected_with_one_reason(desk: Desk, site: Served) -> None:
    """A no with its code and comment is on each of them."""
    names = asked(desk, 500, 600)
    with site.signed_in() as client:
        page = look(client, *names)
        answer = send(client, page, boxes(page), decision="reject", code="wrong_target", comment="Not these.")
    assert answer.text.count("Rejected. It will not be done, and the model is told.") == 2
    rows = [site.console.approvals.get(name) for name in names]
    assert [(row.state, row.code) for row in rows] == [("denied", "wrong_target")] * 2


def test_one_refusal_says_nothing_about_the_others(desk: Desk, site: Served) -> None:
    """Each vote that does not count is named with its reason; the others count."""
    voted, other, changed = asked(desk, 500, 600, 700)
    with site.signed_in() as client, site.signed_in("bo") as somebody:
        page = look(client, voted, other, changed)
        chosen = boxes(page)
        cast(somebody, voted)
        answer = send(client, page, {**chosen, changed: "0" * 64, "apr_" + "0" * 32: "0" * 64})
    assert answer.status_code == 200
    assert "1 of 4 votes count." in answer.text
    for reason in ("closed already", "which change it is about", "no such request"):
        assert answer.text.count(reason) == 1
    assert site.console.approvals.get(other).state == "granted"
    assert site.console.approvals.get(changed).state == "open"


def test_what_needs_a_closer_look_is_not_voted_on_here(desk: Desk, site: Served) -> None:
    """A disguised text, a closed request, an unknown one: each is shown with why, and has no box."""
    plain, closed = asked(desk, 500, 600)
    run = desk.run(explained(desk, order="o9\u202e", reason="It broke.", record="paid"), trigger=new_trigger())
    (disguised,) = run.approvals
    with site.signed_in() as client:
        cast(client, closed)
        page = look(client, plain, closed, disguised, "apr_" + "0" * 32)
    assert list(boxes(page)) == [plain]
    assert page.count("<strong>Left out.</strong>") == 3
    assert "hides or disguises text" in page


def test_each_says_all_that_its_own_page_says(desk: Desk, site: Served) -> None:
    """Until when, what happens if nobody answers, the kind of change, and what was known, folded."""
    first, second = asked(desk, 500, 600)
    with site.signed_in() as client:
        page = look(client, first, second)
    for text in ("<dt>Until</dt>", "<dt>If nobody answers</dt>", "It is denied. Nothing is done", "<dt>Kind</dt>"):
        assert page.count(text) == 2
    assert page.count("<summary>What was known when it was asked") == 2
    assert page.count("What the run had read") == 2


def test_the_link_and_the_evidence_are_there(desk: Desk, site: Served) -> None:
    """The contract's link to the record, what the run had read, and what was asked about the record before."""

    @reads(system="crm", target="order/{order_id}")
    def look_up(order_id: str) -> str:
        """Look an order up."""
        return "paid"

    @writes(
        key="order_id",
        impact="money",
        system="crm",
        target="order/{order_id}",
        link="https://crm.example/order/{order_id}",
    )
    def refund(order_id: str, amount: Decimal) -> str:
        """Refund an order."""
        return f"refunded {amount}"

    def ask(order: str, amount: str) -> str:
        read = calls(call("look_up", order_id=order, call_id="r"))
        asked = calls(call("refund", order_id=order, amount=amount, call_id="c"))
        model = ScriptedModel(script=(read, asked, "done"))
        graph = desk.control.bind(create_agent(model, desk.control.govern([look_up, refund])), name="crm")
        (name,) = desk.run(graph, trigger=new_trigger()).approvals
        return name

    earlier, name = ask("E-1", "500"), ask("E-1", "501")
    with site.signed_in() as client:
        page = look(client, name)
    assert 'href="https://crm.example/order/E-1"' in page
    assert "look_up, crm, order/E-1: it answered" in re.sub("</?bdi>", "", page)
    assert f'href="/requests/{earlier}"' in page


def test_what_was_changed_is_looked_at_by_itself(desk: Desk, site: Served) -> None:
    """A request in another one's place, one that somebody asked to change, one whose change did not fit: no box."""
    graph, trigger = desk.refunding(500, 600, 700, 800), new_trigger()
    plain, wanted, unfit, edited = desk.run(graph, trigger=trigger).approvals
    with site.signed_in() as client, Approvals(desk.database.approver("ana")) as ana:
        ana.edit(edited, {"amount": "450"})
        ana.edit(unfit, {"amount": "abc"})
        after = desk.run(graph, trigger=trigger).approvals
        (successor,) = set(after) - {plain, wanted, unfit}
        ana.edit(wanted, {"amount": "300"})
        page = look(client, plain, wanted, unfit, successor)
    assert list(boxes(page)) == [plain]
    assert page.count("<strong>Left out.</strong>") == 3
    assert page.count("took the place of another") == 1
    assert page.count("asked for other arguments") == 2


def test_texts_of_a_model_stay_texts(desk: Desk, site: Served) -> None:
    """Markup in what several requests show is text there, and in what is said afterwards."""
    run = desk.run(explained(desk, order=MARKUP, reason=MARKUP, record=MARKUP), trigger=new_trigger())
    with site.signed_in() as client:
        page = look(client, *run.approvals)
        assert dangers(page) == []
        assert "own words" in page
        digest = site.console.approvals.get(run.approvals[0]).digest.hex()
        assert dangers(send(client, page, {run.approvals[0]: digest}).text) == []


def test_not_more_than_people_look_at(desk: Desk, site: Served) -> None:
    """A page shows so many and says how many are left; names that are none of ours are not looked for."""
    names = [f"apr_{number:032x}" for number in range(CHOSEN_MAX + 3)]
    with site.signed_in() as client:
        page = look(client, *names, "../x", "apr_", names[0])
        assert "3 more were chosen" in page
        assert page.count("<strong>Left out.</strong>") == CHOSEN_MAX
        assert "Nothing is chosen" in look(client, "javascript:alert(1)")


def test_the_inbox_offers_boxes_where_one_may_vote(desk: Desk, site: Served) -> None:
    """In one's own list each request has a box; in everybody's there is none."""
    (name,) = asked(desk, 500)
    box = f'name="request" value="{name}"'
    with site.signed_in() as client:
        assert box in client.get("/").text
        assert box not in client.get("/?view=all").text


def test_a_forged_form_votes_on_nothing(desk: Desk, site: Served) -> None:
    """Without the session's secret, from elsewhere, by GET, with a revoked token, or saying neither, nothing counts."""
    (name,) = asked(desk, 500)
    with site.signed_in() as client:
        page = look(client, name)
        chosen = boxes(page)
        assert send(client, page, chosen, csrf="").status_code == 403
        form: dict[str, Any] = {"csrf": hidden(page, "csrf"), "decision": "approve", **chosen}
        assert client.post("/together", data=form, headers={"origin": "https://evil.example"}).status_code == 403
        assert client.get("/together", params=form).status_code == 200
        assert send(client, page, chosen, decision="perhaps").status_code == 409
        assert send(client, page, {}).status_code == 409
        site.people.gone.add("ana@acme.example")
        assert send(client, page, chosen).status_code == 401
    with site.browser() as stranger:
        assert stranger.post("/together", data=form).status_code == 401
    assert votes_on(site, name) == []


def test_each_vote_counts_into_the_limit(desk: Desk, site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Votes beyond what a session may change in a minute are refused one by one."""
    names = asked(desk, 500, 600, 700)
    left = iter([True, True, False])
    with site.signed_in() as client:
        page = look(client, *names)
        monkeypatch.setattr(site.console.acts, "takes", lambda *_: next(left))
        answer = send(client, page, boxes(page))
    assert "2 of 3 votes count." in answer.text
    assert "Too many changes in a short time" in answer.text
    assert [len(votes_on(site, name)) for name in names] == [1, 1, 0]
