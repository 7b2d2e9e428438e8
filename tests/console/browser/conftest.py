"""A shop that asks for refunds, and people who look at its console in a real browser."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from langchain.agents import create_agent
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from langgraph_control import Control, Policy, Run, writes
from langgraph_control.audit.asking.publishing import publish_policy
from tests.console.conftest import People, Served, served
from tests.support.desk import GO, new_trigger
from tests.support.postgres import Database
from tests.support.scripted_model import ScriptedModel, call, calls

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
IMAGES = Path(__file__).parents[3] / "docs" / "images"
DRAWN = os.environ.get("CONTROL_SCREENSHOTS") == "1"

MARKS: Final = [
    pytest.mark.must_run_in_ci,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on the PATH: install one (Debian: apt-get install chromium)"
    ),
]

POLICY = Policy.parse(
    """\
version: 1
roles: {finance: [ana@acme.example, bo@acme.example], oncall: [cy@acme.example]}
owner: finance
approve: {within: 4h, on_expiry: deny, not_by: [requester]}
rules:
  - {tool: refund, when: {amount: {gt: 0, lte: 5000}}, then: approve, by: {finance: 2}, break_glass: oncall}
  - {tool: mail, then: allow}
""",
    source="control.yaml",
)
DESKTOP, PHONE = {"width": 1180, "height": 900}, {"width": 390, "height": 844}

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")

TABS_MAX: Final = 100


@dataclass(frozen=True, kw_only=True)
class Shop:
    """An agent that refunds, and what it did."""

    control: Control
    done: list[str]

    def agent(self, order: str, *, reason: str = "The customer says: it arrived broken") -> Any:
        """Return an agent that asks for one refund."""

        @writes(
            key="order_id",
            impact="money",
            system="billing",
            target="order/{order_id}",
            explain="reason",
            read=lambda _: {"refunded": "0.00", "status": "paid"},
            expect=lambda action: {"refunded": str(action.args["amount"]), "status": "refunded"},
        )
        def refund(order_id: str, amount: Decimal, reason: str) -> str:
            """Refund an order."""
            self.done.append(order_id)
            return f"refunded {amount}, because: {reason}"

        asked = calls(call("refund", order_id=order, amount="1200.00", reason=reason, call_id="c"))
        model = ScriptedModel(script=(asked, "Done."))
        return self.control.bind(create_agent(model, self.control.govern([refund])), name="support")

    def asks(self, order: str, **more: str) -> tuple[Any, Run]:
        """Have an agent ask for a refund, and return both."""
        graph = self.agent(order, **more)
        return graph, self.control.run(graph, GO, trigger=new_trigger(), actor="support-bot")


@pytest.fixture(scope="module")
def shop(shared_database: Database) -> Iterator[Shop]:
    """A shop whose refunds need two people."""
    publish_policy(shared_database.admin, POLICY)
    with Control(POLICY, dsn=shared_database.agent) as control:
        yield Shop(control=control, done=[])


@pytest.fixture(scope="module")
def site(shop: Shop, shared_database: Database) -> Iterator[Served]:
    """Its console."""
    with served(shared_database.local_approver, People()) as one:
        yield one


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


BROKEN_OFF = ("htmx:sendAbort", "htmx:afterRequest")
"""What htmx says of a list that it was fetching when its page was left."""


@contextmanager
def opened(chromium: Browser, site: Served, *, size: Any = DESKTOP, scheme: Scheme = "light") -> Iterator[Page]:
    """Yield a page of a browser of its own; what the browser complains about is a failure."""
    context = chromium.new_context(
        base_url=site.url, viewport=size, color_scheme=scheme, reduced_motion="reduce", has_touch=size is PHONE
    )
    context.set_default_timeout(8000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    yield page
    context.close()
    assert [one for one in complaints if "status of 4" not in one and not one.startswith(BROKEN_OFF)] == []


def sign_in(page: Page, name: str) -> None:
    """Sign in as people do who have no mouse: the field has the focus already."""
    page.goto("/sign-in")
    expect(page.get_by_label("Your token")).to_be_focused()
    page.keyboard.type(f"token-{name}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    wait_for_scripts(page)


def wait_for_scripts(page: Page) -> None:
    """Return once the page has heard the first news: before that, keys may come too early for it."""
    expect(page.locator("[data-open-count]")).to_have_text(re.compile(r"\d"))


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until it has the focus: a focus that is set by a script reaches what the keyboard does not."""
    expect(wanted).to_be_visible()
    for _ in range(TABS_MAX):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    pytest.fail(f"Tab does not reach {wanted}")


def follow(page: Page, link: str) -> None:
    """Go to where a link of the page leads, by keyboard."""
    tab_to(page, page.get_by_role("link", name=link))
    page.keyboard.press("Enter")


def picture(page: Page, name: str) -> None:
    """Keep a picture for the docs, where that was asked for."""
    if DRAWN:
        IMAGES.mkdir(exist_ok=True)
        page.screenshot(path=IMAGES / f"{name}.png")


def check_access(page: Page) -> None:
    """No finding of axe that is more than minor, and nothing wider than the screen."""
    found = [
        (one["id"], one["nodes"][0]["html"])
        for one in Axe().run(page).response["violations"]
        if one["impact"] in {"moderate", "serious", "critical"}
    ]
    assert found == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
