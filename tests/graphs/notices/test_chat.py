"""What apprise is handed reaches the service, and what it cannot hand on is an answer."""

import pytest

from langgraph_control.graphs.notices.chat import Chat
from langgraph_control.guards.notices import NoticeEvent
from tests.guards.test_notices import NOTICE
from tests.support.receivers import Receiver

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # apprise still looks for it


def chat(url: str) -> Chat:
    """A chat at an address of apprise's."""
    return Chat(name="chat", events=tuple(NoticeEvent), attempts=3, timeout_seconds=5.0, url=url)


def test_a_message(place: Receiver) -> None:
    """The service gets title and text, with the console's link."""
    assert chat(place.url.replace("http://", "json://")).send(NOTICE).error is None
    (one,) = place.received
    assert one.data["title"].startswith("Approval is asked for: refund order/A-1")
    assert "https://control.acme.example/requests/apr_1" in one.data["message"]


def test_a_service_that_fails(place: Receiver) -> None:
    """An error of the service is one of ours, without what it said."""
    place.status = 500
    assert chat(place.url.replace("http://", "json://")).send(NOTICE).error == "was not taken"


def test_an_address_that_is_none() -> None:
    """An address that apprise does not know is said, without the address."""
    assert chat("nowhere://token").send(NOTICE).error == "is no address that apprise knows"
