"""Connecting to a name outside, and to nothing inside: the address that is connected to is the one that was checked."""

import contextlib
import ipaddress
import socket
from typing import Final

__all__ = ["InternalAddressError", "connect", "is_public"]

_CARRIERS: Final = tuple(
    map(
        ipaddress.ip_network,
        ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"),
    )
)
"""IPv6 networks whose addresses stand for IPv4 addresses, which could be internal ones."""


class InternalAddressError(Exception):
    """The name leads to an address inside."""


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet's.

    Args:
        address: IPv4 or IPv6, perhaps with a zone.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_global and not found.is_multicast and not any(found in network for network in _CARRIERS)


def connect(host: str, port: int, *, timeout_seconds: float, allow_private: bool) -> socket.socket:
    """Return a connection to a host. The name is looked up once, and what was looked up is what is connected to.

    Args:
        host: a name or an address.
        port: the port.
        timeout_seconds: for each address that is tried, and for each later operation.
        allow_private: whether it may be inside.

    Raises:
        InternalAddressError: one of its addresses is internal; nothing was connected to.
        OSError: it cannot be reached.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not allow_private and not all(is_public(str(address[0])) for *_, address in found):
        raise InternalAddressError
    failed: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in found:
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(timeout_seconds)
            made.connect(address)
            _check(made, allow_private=allow_private)
        except OSError as error:
            failed = error
            made.close()
        except BaseException:
            made.close()
            raise
        else:
            with contextlib.suppress(OSError):
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made
    raise failed


def _check(made: socket.socket, *, allow_private: bool) -> None:
    if not allow_private and not is_public(str(made.getpeername()[0])):
        raise InternalAddressError
