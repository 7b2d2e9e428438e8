"""The one link that leads out of a page: to the record, as the contract says. The card is written where agents run.

Cookies are kept by host and not by port, and ``SameSite`` takes every port of a host for the same site. A link to
another port of the console's own host would hand the session to whoever listens there: on this machine, maybe an agent.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final
from urllib.parse import urlsplit

from langgraph_control.console.address import Address

__all__ = ["outward_link"]

NAME: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
NUMBER_LAST: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
"""What browsers read as an IPv4 address, be it written as 127.1, 2130706433 or 0x7f.0.0.1 (WHATWG URL, section 3.5)."""


def outward_link(link: object, console: Address) -> str:
    """Return a link that a browser takes for nothing but a web page elsewhere; "" for anything else.

    Args:
        link: as the card has it: not trusted.
        console: where the console is reached.
    """
    if not isinstance(link, str) or not link.isascii() or not link.isprintable() or set(link) & set(' \\"<>'):
        return ""
    try:
        parts = urlsplit(link)
        port = parts.port
    except ValueError:
        return ""
    host = (parts.hostname or "").removesuffix(".")
    if parts.scheme not in {"https", "http"} or "@" in parts.netloc or not _elsewhere(host):
        return ""
    own = urlsplit(console.url)
    same_place = (parts.scheme, port or _port(parts.scheme)) == (own.scheme, own.port or _port(own.scheme))
    return link if host != own.hostname or same_place else ""


def _elsewhere(host: str) -> bool:
    """Whether a host is written plainly, and is not this machine."""
    if ":" in host:
        try:
            address = IPv6Address(host)
        except AddressValueError:
            return False
        return _leaves(address.ipv4_mapped or address)
    if NUMBER_LAST.fullmatch(host):
        try:
            return _leaves(IPv4Address(host))
        except AddressValueError:
            return False
    return NAME.fullmatch(host) is not None and host.rpartition(".")[2] != "localhost"


def _leaves(address: IPv4Address | IPv6Address) -> bool:
    return not address.is_loopback and not address.is_unspecified


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
