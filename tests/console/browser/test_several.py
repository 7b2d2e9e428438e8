"""Several requests at once, and standing in for each other, in a real browser and by keyboard alone."""

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.console.browser.conftest import (
    DESKTOP,
    MARKS,
    PHONE,
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

pytestmark = MARKS


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_several_requests_by_keyboard_alone(
    chromium: Browser, site: Served, shop: Shop, size: Any, scheme: Scheme
) -> None:
    """Chosen in the inbox, shown one below the other, one left out, the others voted on; news takes no choice away."""
    kind = "desktop" if size is DESKTOP else "phone"
    names = [shop.asks(f"S-{kind}-{number}")[1].approvals[0] for number in range(3)]
    with opened(chromium, site, size=size, scheme=scheme) as page:
        sign_in(page, "ana")
        expect(page.get_by_role("button", name="Look at the chosen ones together")).to_be_hidden()
        for name in names:
            tab_to(page, page.locator(f"#item-{name}"))
            page.keyboard.press("x")
            expect(page.locator(f"#choose-{name}")).to_be_checked()
        shop.asks(f"S-{kind}-later")
        expect(page.get_by_role("link", name=f"refund: order/S-{kind}-later")).to_be_visible()
        for name in names:
            expect(page.locator(f"#choose-{name}")).to_be_checked()
        check_access(page)
        page.keyboard.press("t")
        expect(page.get_by_role("heading", name="3 requests together")).to_be_visible()
        expect(page.get_by_role("row", name="refunded 0.00 1200")).to_have_count(3)
        wait_for_scripts(page)
        picture(page, f"together-{kind}")
        for one in SCHEMES:
            page.emulate_media(color_scheme=one)
            check_access(page)
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("Space")
        expect(page.locator(f"input[name='{names[1]}']")).not_to_be_checked()
        page.keyboard.press("a")
        expect(page.get_by_role("button", name="Approve those")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator(":focus")).to_have_text("2 of 2 votes count.")
        check_access(page)
        page.keyboard.press("u")
        expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
        expect(page.locator(f"#item-{names[1]}")).to_be_visible()
        expect(page.locator(f"#item-{names[0]}")).to_have_count(0)


def test_a_phone_chooses_by_touch(chromium: Browser, site: Served, shop: Shop) -> None:
    """A tap on the box chooses and does not open the request; without scripts it does, too."""
    name = shop.asks("T-1")[1].approvals[0]
    with opened(chromium, site, size=PHONE) as page:
        sign_in(page, "ana")
        page.locator(f"label:has(#choose-{name})").tap()
        expect(page.locator(f"#choose-{name}")).to_be_checked()
        page.get_by_role("button", name="Look at the chosen ones together").tap()
        expect(page.get_by_role("heading", name="1 request together")).to_be_visible()


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_standing_in_by_keyboard_alone(chromium: Browser, site: Served, shop: Shop, size: Any, scheme: Scheme) -> None:
    """Given, listed and ended without a mouse; axe finds nothing serious with the list empty and full."""
    with opened(chromium, site, size=size, scheme=scheme) as page:
        sign_in(page, "ana")
        follow(page, "Standing in")
        expect(page.get_by_role("heading", name="Standing in")).to_be_visible()
        wait_for_scripts(page)
        check_access(page)
        tab_to(page, page.get_by_role("textbox", name="Who (as the policy"))
        page.keyboard.type("di@acme.example")
        page.keyboard.press("Enter")
        expect(page.locator(":focus")).to_contain_text("From now on they vote for you")
        listed = page.get_by_role("region", name="Who votes for whom now")
        expect(listed).to_contain_text("di@acme.example for ana@acme.example")
        for one in SCHEMES:
            page.emulate_media(color_scheme=one)
            check_access(page)
        tab_to(page, page.get_by_role("button", name="End it"))
        page.keyboard.press("Enter")
        expect(page.locator(":focus")).to_contain_text("Ended.")
        expect(page.get_by_text("Nobody stands in for anybody.")).to_be_visible()
