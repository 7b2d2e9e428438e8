"""Where the console is reached: the one address people use, and what follows from it for cookies and requests."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from langgraph_control.errors import ConsoleRefused

__all__ = ["Address", "is_loopback"]

LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The address people type, and what browsers then send.

    Args:
        url: scheme and host, and a port where it is not the scheme's own; no path.
        secure: it is https, so that cookies travel encrypted.
        hosts: what a request's ``Host`` may say.
        origins: what a change's ``Origin`` may say.
    """

    url: str
    secure: bool
    hosts: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, url: str) -> "Address":
        """Read an address.

        Args:
            url: such as ``https://control.acme.example`` or ``http://127.0.0.1:8700``.

        Raises:
            ConsoleRefused: ``console_url``: it is no address of that form. ``console_clear``: people's tokens would
                travel unencrypted.
        """
        parts = urlsplit(url.rstrip("/").lower())
        host = parts.netloc
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query or "@" in host:
            raise ConsoleRefused(
                "The console's address is a scheme, a host and perhaps a port, and nothing else.",
                todo="Write it so: --url https://control.acme.example",
                code="console_url",
            )
        loopback = is_loopback(parts.hostname)
        if parts.scheme == "http" and not loopback:
            raise ConsoleRefused(
                "Over http anybody on the way could read people's tokens.",
                todo="Put the console behind TLS and say where people find it: --url https://…; or stay on 127.0.0.1.",
                code="console_clear",
            )
        port = f":{parts.port}" if parts.port is not None else ""
        hosts = frozenset(f"{name}{port}" for name in LOOPBACK_NAMES) if loopback else frozenset({host})
        return cls(
            url=f"{parts.scheme}://{host}",
            secure=parts.scheme == "https",
            hosts=hosts,
            origins=frozenset(f"{parts.scheme}://{name}" for name in hosts),
        )


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine alone.

    Args:
        host: a name or an address, without a port.
    """
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
