"""What commands print of texts from elsewhere: each character shows as what it is, and disguises are named."""

import unicodedata

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_control.audit.names import approval_name
from langgraph_control.cli.seen import seen, seen_plain, suspicious
from tests.cli.conftest import Command
from tests.support.trails import TrailWriter

DISGUISES = {
    "\x1b[2Jgone": "<U+001B>[2Jgone",
    "\x9b31mred": "<U+009B>31mred",
    "invoice\u202egpj.exe": "invoice<U+202E>gpj.exe",
    "pay\u200bpal": "pay<U+200B>pal",
    "tag\U000e0041": "tag<U+E0041>",
    "two\u00a0words": "two<U+00A0>words",
    "line\u2028break": "line<U+2028>break",
    "to p\u0430ypal": "to p\u0430ypal [one word in letters of Cyrillic and Latin]",
    "to \u0440\u0430\u0443": "to \u0440\u0430\u0443 [Cyrillic letters that look like Latin ones]",
    "\uff50\uff41\uff59": "\uff50\uff41\uff59 [letters that are styled look-alikes of ordinary ones]",
}


@pytest.mark.parametrize("text", DISGUISES)
def test_a_disguise_is_shown(text: str) -> None:
    """Controls, reversals, what has no width and look-alikes are named, with and without colours."""
    assert seen_plain(text) == seen(text).plain == DISGUISES[text]
    assert suspicious(text)


@pytest.mark.parametrize("text", ["refund 1200.00", "Grüße aus 東京", "Привет, мир", "a <b> [c]", "two\n  lines\t."])
def test_an_honest_text_stays(text: str) -> None:
    """Texts of any one alphabet are shown as they are, on one line."""
    assert seen_plain(text) == " ".join(text.split())
    assert not suspicious(text)


@given(st.text())
def test_nothing_reaches_the_terminal_that_it_would_obey(text: str) -> None:
    """Whatever is printed holds no control, format or separator character, and no half of a pair."""
    kinds = {unicodedata.category(character) for character in seen_plain(text)}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_what_is_too_long_is_said_to_be() -> None:
    """A text that is cut says how much is missing."""
    assert seen_plain("ab " * 400, chars_max=10) == "ab ab ab ab… (1188 characters more)"


def test_the_inbox_and_the_card_say_to_look_closely(command: Command, trail: TrailWriter) -> None:
    """A request with a disguise in any of its texts says so on top: in the list, on its card, and with a vote."""
    ana = trail.database.approver("ana")
    arguments = {"invoice": "p\u0430ypal", "note": "\x1b]0;x\x07"}
    card = orjson.dumps({"what": {"arguments": arguments}, "where": {"target": "order\u202e/7"}})
    _, claimed = trail.claim(trail.open(), verb="approve", card=card)
    name = approval_name(claimed.approval_id or "")
    for given_command in (("inbox",), ("card", name), ("approve", name)):
        shown = " ".join(command(*given_command, "--dsn", ana).stdout.split())
        assert "LOOK CLOSELY something here hides or disguises text" in shown
        assert "invoice = p\u0430ypal [one word in letters of Cyrillic and Latin]" in shown
        assert "note = <U+001B>]0;x<U+0007>" in shown
        assert "order<U+202E>/7" in shown


def test_an_ordinary_request_does_not(command: Command, trail: TrailWriter) -> None:
    """Without a disguise there is no such line."""
    trail.claim(trail.open(), verb="approve")
    assert "LOOK CLOSELY" not in command("inbox", "--dsn", trail.database.approver("ana")).stdout
