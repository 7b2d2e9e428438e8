"""Where the link of a card may lead: elsewhere, and to no other port of this machine or of the console's own host."""

import pytest

from langgraph_control.console.address import Address
from langgraph_control.console.links import outward_link

LOCAL, SHARED = Address.of("http://127.0.0.1:8700"), Address.of("https://control.acme.example")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.9.9.9",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "0",
        "0.0.0.0",  # noqa: S104 - an address that nobody may be led to
        "localhost",
        "LOCALHOST",
        "localhost.",
        "crm.localhost",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::]",
        "127.0.0.%31",
        "%6cocalhost",
    ],
)
@pytest.mark.parametrize("console", [LOCAL, SHARED])
def test_no_link_leads_to_this_machine(host: str, console: Address) -> None:
    """However a browser may be told of loopback, a page has no link there: what listens would be sent the session."""
    for scheme in ("http", "https"):
        assert outward_link(f"{scheme}://{host}:9999/x", console) == ""
        assert outward_link(f"{scheme}://{host}/x", console) == ""


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("https://control.acme.example/crm/1", True),
        ("https://control.acme.example:443/crm/1", True),
        ("https://control.acme.example:9999/", False),
        ("https://CONTROL.acme.example.:9999/", False),
        ("http://control.acme.example/", False),
        ("https://crm.acme.example:9999/", True),
        ("https://control.acme.example:port/", False),
    ],
)
def test_no_link_leads_to_another_port_of_the_consoles_host(link: str, leads: bool) -> None:  # noqa: FBT001 - a case
    """Cookies ignore ports, so another port of the console's own host gets no link; its own port and others do."""
    assert (outward_link(link, SHARED) == link) is leads


@pytest.mark.parametrize(
    "link", ["http://10.0.0.7:8080/x", "http://[2001:db8::1]/x", "https://crm.acme.example/a?b=c#d"]
)
def test_records_elsewhere_have_a_link(link: str) -> None:
    """A name or an address of another machine is led to as it is written."""
    assert outward_link(link, LOCAL) == link
