"""The story in a real browser: a request parks, two people decide by keyboard alone, the write runs, the record tells.

Wherever a Chromium is found. With ``CONTROL_SCREENSHOTS=1`` the pictures in docs/images are made anew.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from langgraph_control.audit.asking.ledger import Outcome
from langgraph_control.audit.asking.operator_requests import Scope
from langgraph_control.audit.asking.rows import RunState
from langgraph_control.audit.names import run_name
from tests.console.browser.conftest import (
    DESKTOP,
    MARKS,
    PHONE,
    POLICY,
    SCHEMES,
    Scheme,
    Shop,
    check_access,
    follow,
    opened,
    picture,
    sign_in,
    tab_to,
    wait_for_scripts,
)
from tests.console.conftest import Served
from tests.support.desk import GO, new_trigger
from tests.support.postgres import Database
from tests.support.trails import TrailWriter

pytestmark = MARKS


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_the_story_by_keyboard_alone(chromium: Browser, site: Served, shop: Shop, size: Any, scheme: Scheme) -> None:
    """Park, inbox, card, first and second approver, executed, timeline: without a mouse, on a desk and on a phone."""
    kind = "desktop" if size is DESKTOP else "phone"
    with (
        opened(chromium, site, size=size, scheme=scheme) as ana,
        opened(chromium, site, size=size, scheme=scheme) as bo,
    ):
        sign_in(ana, "ana")
        expect(ana.get_by_text("Nothing waits for you")).to_be_visible()
        check_access(ana)
        graph, run = shop.asks(f"A-{kind}")
        expect(ana.get_by_role("link", name=f"refund: order/A-{kind}")).to_be_visible()  # by itself
        expect(ana.locator("[data-open-count]")).to_have_text("1")
        picture(ana, f"inbox-{kind}")
        check_access(ana)
        ana.keyboard.press("j")
        ana.keyboard.press("Enter")
        expect(ana.get_by_role("heading", name="refund")).to_be_visible()
        expect(ana.get_by_role("region", name="The model's own words")).to_contain_text("it arrived broken")
        expect(ana.get_by_role("row", name="refunded 0.00 1200")).to_be_visible()
        wait_for_scripts(ana)
        picture(ana, f"card-{kind}")
        check_access(ana)
        ana.keyboard.press("c")
        ana.keyboard.type("Seen the photos.")
        ana.keyboard.press("Escape")
        ana.keyboard.press("a")
        expect(ana.get_by_role("button", name="Approve")).to_be_focused()
        ana.keyboard.press("Enter")
        expect(ana.locator(":focus")).to_have_text("Your vote is counted. More people are needed.")
        check_access(ana)
        assert shop.control.run(graph, GO, trigger=run.trigger, actor="support-bot").state == "needs_approval"

        sign_in(bo, "bo")
        bo.keyboard.press("j")
        bo.keyboard.press("a")  # from the list: opens the card, at its button
        expect(bo.get_by_role("button", name="Approve")).to_be_focused()
        expect(bo.get_by_text("Seen the photos.")).to_be_visible()
        bo.keyboard.press("Enter")
        expect(bo.locator(":focus")).to_have_text("Approved. It unlocks exactly this write.")
        assert shop.control.run(graph, GO, trigger=run.trigger, actor="support-bot").state == "done"
        assert shop.done.count(f"A-{kind}") == 1

        follow(bo, "What the run did so far")
        story = bo.get_by_role("region", name="The story")
        expect(story.get_by_text("approved; more people are needed")).to_be_visible()
        expect(story.get_by_text("approved, and that is enough")).to_be_visible()
        expect(story.get_by_text("the run is done")).to_be_visible()
        expect(bo.get_by_text("their chain of hashes checked just now")).to_be_visible()
        picture(bo, f"run-{kind}")
        check_access(bo)


def change_the_amount(page: Page) -> None:
    """Change what a request asks for, on its page, from 1200 to 450."""
    wait_for_scripts(page)
    page.keyboard.press("e")
    expect(page.locator("#edit summary")).to_be_focused()
    page.keyboard.press("Enter")
    check_access(page)
    page.keyboard.press("Tab")
    expect(page.get_by_label("amount")).to_be_focused()
    expect(page.get_by_label("amount")).to_have_value("1200")
    page.keyboard.press("Control+a")
    page.keyboard.type("450.00")
    page.keyboard.press("Enter")
    expect(page.locator(":focus")).to_contain_text("The run takes it up at its next try")
    check_access(page)


def approve(page: Page, said: str) -> None:
    """Say yes on a request's page, and be told what came of it."""
    wait_for_scripts(page)
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    expect(page.locator(":focus")).to_have_text(said)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_changed_request_by_keyboard_alone(
    chromium: Browser, site: Served, shop: Shop, size: Any, scheme: Scheme
) -> None:
    """Park, inbox, card, edit, a new request, first and second approver, executed, timeline: without a mouse."""
    order = f"H-{'desktop' if size is DESKTOP else 'phone'}-{scheme}"
    graph, run = shop.asks(order)
    (name,) = run.approvals
    with (
        opened(chromium, site, size=size, scheme=scheme) as ana,
        opened(chromium, site, size=size, scheme=scheme) as bo,
    ):
        sign_in(ana, "ana")
        follow(ana, f"refund: order/{order}")
        expect(ana.get_by_role("heading", name=f"refund: order/{order}")).to_be_visible()
        change_the_amount(ana)
        run = shop.control.run(graph, GO, trigger=run.trigger, actor="support-bot")
        assert (run.state, run.approvals == (name,)) == ("needs_approval", False)
        (changed,) = run.approvals
        wait_for_scripts(ana)
        ana.keyboard.press("u")
        tab_to(ana, ana.locator(f"#item-{changed}"))
        expect(ana.locator(f"#item-{name}")).to_have_count(0)
        ana.keyboard.press("Enter")
        follow(ana, "an earlier request")
        expect(ana.get_by_text("Changed by ana@acme.example")).to_be_visible()
        check_access(ana)
        follow(ana, "look at that one")
        expect(ana.get_by_role("row", name="refunded 0.00 450")).to_be_visible()
        approve(ana, "Your vote is counted. More people are needed.")
        expect(ana.get_by_role("button", name="Take my yes back")).to_be_visible()
        check_access(ana)

        sign_in(bo, "bo")
        follow(bo, f"refund: order/{order}")
        expect(bo.get_by_role("row", name="refunded 0.00 450")).to_be_visible()
        approve(bo, "Approved. It unlocks exactly this write.")
        assert shop.control.run(graph, GO, trigger=run.trigger, actor="support-bot").state == "done"
        assert shop.done.count(order) == 1
        follow(bo, "What the run did so far")
        story = bo.get_by_role("region", name="The story")
        expect(story.get_by_text("a person asked for other arguments")).to_be_visible()
        expect(story.get_by_text("approved, and that is enough")).to_be_visible()
        expect(story.get_by_text("the run is done")).to_be_visible()
        check_access(bo)


def test_an_emergency_by_keyboard_alone(chromium: Browser, site: Served, shop: Shop) -> None:
    """One person breaks the glass on a phone, the write runs, and another one accepts that afterwards."""
    graph, run = shop.asks("I-1")
    with opened(chromium, site, size=PHONE, scheme="dark") as cy, opened(chromium, site) as ana:
        sign_in(cy, "cy")
        follow(cy, "All open")
        follow(cy, "refund: order/I-1")
        tab_to(cy, cy.locator("summary", has_text="In an emergency"))
        cy.keyboard.press("Enter")
        cy.keyboard.press("Tab")
        expect(cy.get_by_label("Why it cannot wait")).to_be_focused()
        cy.keyboard.type("The provider closes at noon.")
        check_access(cy)
        cy.keyboard.press("Tab")
        cy.keyboard.press("Enter")
        expect(cy.locator(":focus")).to_contain_text("Approved by you alone.")
        check_access(cy)
        assert shop.control.run(graph, GO, trigger=run.trigger, actor="support-bot").state == "done"

        sign_in(ana, "ana")
        follow(ana, "Needs a person")
        expect(ana.get_by_role("link", name="refund: order/I-1")).to_be_visible()
        check_access(ana)
        follow(ana, "refund: order/I-1")
        expect(ana.get_by_text("The provider closes at noon.")).to_be_visible()
        check_access(ana)
        tab_to(ana, ana.get_by_role("button", name="Accept it"))
        ana.keyboard.press("Enter")
        expect(ana.locator(":focus")).to_contain_text("Your word on the emergency is on record.")
        follow(ana, "Needs a person")
        expect(ana.get_by_role("link", name="refund: order/I-1")).to_have_count(0)


@pytest.fixture
def lost(shared_database: Database) -> str:
    """A run that a person has to get on with: nobody knows what became of its write."""
    with TrailWriter(shared_database) as trail:
        run = trail.open(new_trigger())
        claim, _ = trail.claim(run, kind="blind", tool="mail")
        trail.settle(run, claim, Outcome.LOSE)
        trail.claim(run, kind="blind", tool="mail")
        trail.release(run, RunState.NEEDS_HUMAN, reason="needs_human")
    return run_name(run.run_id)


@pytest.fixture
def _frozen(site: Served) -> Iterator[None]:
    """Writes of an agent that nobody knows are stopped."""
    operators = site.console.operators
    operators.freeze(Scope.AGENT, "nobody", comment="Wrong prices.", credential="token-ana")
    yield
    operators.unfreeze(Scope.AGENT, "nobody", comment="Right again.", credential="token-ana")


@pytest.mark.usefixtures("_frozen")
def test_every_page_can_be_used_by_everybody(chromium: Browser, site: Served, shop: Shop, lost: str) -> None:
    """Axe finds nothing more than minor on any page, light or dark, and none is wider than a phone's screen.

    Each page has on it what it may have: a run to settle, writes that are stopped, an emergency to look at.
    """
    _, run = shop.asks("B-1", reason="\u202egpj.exe \u0440\u0430\u0443")
    name = run.approvals[0]
    alone = shop.asks("B-2")[1].approvals[0]
    site.console.approvals.break_glass(alone, comment="outage", credential="token-cy")
    paths = {
        "/?view=all": name,
        "/decided": alone,
        "/attention": lost,
        "/runs": lost,
        "/runs?state=needs_human": lost,
        "/writes": "Wrong prices.",
        "/record": "Check everything",
        "/standing-in": "Standing in",
        f"/together?request={name}&request={alone}": alone,
        f"/requests/{name}": "Change it first",
        f"/requests/{alone}": "Accept it",
        f"/runs/{run.id}": "The path it took",
        f"/runs/{lost}": "What became of",
        f"/policies/{POLICY.hash}": "not_by: [requester]",
        "/x": "There is no such page.",
    }
    with opened(chromium, site, size=PHONE) as page:
        sign_in(page, "ana")
        for path, has in paths.items():
            page.goto(path)
            assert has in page.content()
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                check_access(page)
        page.goto(f"/requests/{name}")
        expect(page.get_by_text("Look closely.")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        check_access(page)
        page.goto(f"/requests/{name}")
        expect(page.get_by_label("Your token")).to_be_visible()


def test_filters_apply_as_they_change_and_single_keys_can_be_switched_off(
    chromium: Browser, site: Served, shop: Shop
) -> None:
    """A filter changes the list and the address without a further click; the box under Keys switches keys off."""
    shop.asks("G-1")
    with opened(chromium, site) as page:
        sign_in(page, "ana")
        page.get_by_label("Tool").fill("nothing")
        page.keyboard.press("Tab")
        expect(page.get_by_text("No open request is of this tool")).to_be_visible()
        expect(page).to_have_url(re.compile(r"tool=nothing"))
        page.get_by_role("link", name="Show all again").click()
        expect(page.locator("[data-item]").first).to_be_visible()
        wait_for_scripts(page)
        page.keyboard.press("?")
        page.get_by_label("Single keys do something").uncheck()
        page.reload()
        wait_for_scripts(page)
        page.keyboard.press("j")
        expect(page.locator("[data-item]:focus")).to_have_count(0)
        expect(page.locator("[data-item]").first).to_be_visible()


def test_two_clicks_are_one_vote(chromium: Browser, site: Served, shop: Shop) -> None:
    """A double click on Approve sends one form, and shows that it counts."""
    _, run = shop.asks("C-1")
    with opened(chromium, site) as page:
        sign_in(page, "ana")
        page.goto(f"/requests/{run.approvals[0]}")
        page.get_by_role("button", name="Approve").dblclick()
        expect(page.get_by_text("Your vote is counted.")).to_be_visible()
        expect(page.get_by_text("This person has voted on the request already.")).to_be_visible()


def test_a_link_from_elsewhere_opens_for_whoever_is_signed_in(chromium: Browser, site: Served, shop: Shop) -> None:
    """A link in a mail or a chat leads to its request, though the cookie is kept from other sites."""
    _, run = shop.asks("D-1")
    with opened(chromium, site) as page:
        sign_in(page, "ana")
        page.route(
            "http://elsewhere.example/",
            lambda route: route.fulfill(
                content_type="text/html", body=f'<a href="{site.url}/requests/{run.approvals[0]}">the request</a>'
            ),
        )
        page.goto("http://elsewhere.example/")
        page.get_by_role("link", name="the request").click()
        expect(page.get_by_role("heading", name="refund")).to_be_visible()


def test_another_site_cannot_vote_in_the_browser(chromium: Browser, site: Served, shop: Shop) -> None:
    """A form that another site posts from the signed-in browser changes nothing."""
    _, run = shop.asks("E-1")
    name = run.approvals[0]
    button = '<button name="decision" value="approve">win</button>'
    form = f'<form method="post" action="{site.url}/requests/{name}/vote">{button}</form>'
    with opened(chromium, site) as page:
        sign_in(page, "ana")
        page.route("http://elsewhere.example/", lambda route: route.fulfill(content_type="text/html", body=form))
        page.goto("http://elsewhere.example/")
        page.get_by_role("button", name="win").click()
        expect(page.get_by_text("A change has to come from one of the console's own pages")).to_be_visible()
        page.goto(f"/requests/{name}")
        expect(page.get_by_text("0 yes", exact=True)).to_be_visible()


def test_a_ledger_that_goes_away_is_said(chromium: Browser, site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open page says that the ledger is away and what is safe, and takes it back when the ledger is there again."""
    from langgraph_control.errors import TrailUnavailable

    ask = site.console.store.acall

    async def away(*_args: object, **_options: object) -> None:
        raise TrailUnavailable("The ledger cannot be reached.")

    with opened(chromium, site) as page:
        sign_in(page, "ana")
        notice = page.get_by_text("The ledger cannot be reached.").first
        expect(notice).to_be_hidden()
        monkeypatch.setattr(site.console.store, "acall", away)
        expect(notice).to_be_visible()
        expect(page.get_by_text("nothing is written without it")).to_be_visible()
        monkeypatch.setattr(site.console.store, "acall", ask)
        expect(notice).to_be_hidden()


def test_pages_work_without_scripts(chromium: Browser, site: Served, shop: Shop) -> None:
    """Signing in, filtering and voting need no script."""
    _, run = shop.asks("F-1")
    context = chromium.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/sign-in")
    page.get_by_label("Your token").fill("token-bo")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Tool").fill("refund")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="refund: order/F-1").click()
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("Rejected. It will not be done")).to_be_visible()
    context.close()
    assert shop.control.get(run.id).state == "needs_approval"
