"""Many tabs of one browser: each can be used, and those that nobody looks at hold no connection."""

from playwright.sync_api import Browser, Page, expect

from langgraph_control.console.app import LISTENERS_EACH_MAX
from tests.console.browser.conftest import MARKS, Shop, opened, sign_in
from tests.console.conftest import Served
from tests.support.waiting import until

pytestmark = MARKS


def look_away(page: Page, *, hidden: bool) -> None:
    """Tell a page that its tab is or is no longer in the background; without a window the browser never does."""
    page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_seven_tabs_can_all_be_used(chromium: Browser, site: Served, shop: Shop) -> None:
    """Seven tabs that are all looked at go wherever their links lead; those without news do so, too."""
    with opened(chromium, site) as first:
        sign_in(first, "ana")
        tabs = [first, *(first.context.new_page() for _ in range(6))]
        for tab in tabs:
            tab.goto("/")
        until(lambda: site.console.heart.listeners == LISTENERS_EACH_MAX)
        for tab in tabs:
            tab.get_by_role("link", name="Runs").click()
            expect(tab.get_by_role("heading", name="Runs")).to_be_visible()
        assert site.console.heart.listeners <= LISTENERS_EACH_MAX
    until(lambda: site.console.heart.listeners == 0)


def test_a_tab_in_the_background_holds_no_connection(chromium: Browser, site: Served, shop: Shop) -> None:
    """A page that is hidden closes its stream, and hears what it missed as soon as it is shown again."""
    with opened(chromium, site) as page:
        sign_in(page, "ana")
        page.goto("/?view=all")
        until(lambda: site.console.heart.listeners == 1)
        look_away(page, hidden=True)
        until(lambda: site.console.heart.listeners == 0)
        shop.asks("T-1")
        expect(page.get_by_role("link", name="refund: order/T-1")).to_have_count(0)
        look_away(page, hidden=False)
        expect(page.get_by_role("link", name="refund: order/T-1")).to_be_visible()
        assert site.console.heart.listeners == 1
