"""Where people look at a record: an address that a contract gives, with the call's arguments in its slots.

Arguments come from models. They fill slots in the path or the query and nothing else: never the host, encoded so that
they end no part of the address. Where an address would mean another place with them, there is none.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlsplit

from langgraph_control.errors import ContractError
from langgraph_control.guards.redaction import paths_inside
from langgraph_control.nodes.contract_checks import template_fields

__all__ = ["check_link", "filled", "is_link"]

LINK_CHARS_MAX: Final = 2000
_STEPS: Final = frozenset({"", ".", ".."})  # as a part of a path: here, or back up


def check_link(link: object) -> None:
    """Check that a link is a web address whose arguments stand in its path or query.

    Args:
        link: what the contract says; None: nothing.

    Raises:
        ContractError: code ``contract_link``.
    """
    if link is not None and not is_link(link):
        raise ContractError(
            "link must be a web address in which arguments stand in the path or the query.",
            todo='Write link="https://crm.example/orders/{order_id}": plain argument names in braces, after the host.',
            code="contract_link",
        )


def is_link(link: object) -> bool:
    """Return whether something is a web address whose slots, plain names in braces, stand in its path or query.

    Args:
        link: anything.
    """
    if not isinstance(link, str) or not link.isascii() or not link.isprintable() or " " in link:
        return False
    try:
        fields = template_fields(link)
        parts = urlsplit(link)
        parts.port  # noqa: B018 - raises for what is no port
    except ValueError:
        return False
    host_is_plain = bool(parts.hostname) and not set("{}@\\") & set(parts.scheme + parts.netloc)
    return parts.scheme in {"https", "http"} and host_is_plain and all(field.isidentifier() for field in fields)


def filled(link: str, args: Mapping[str, Any], *, hidden: Collection[str]) -> str | None:
    """Return a link with a call's arguments; None where one is missing, redacted, or no text or number fit for a link.

    Args:
        link: as :func:`check_link` wants it.
        args: the call's arguments.
        hidden: paths that are not written down.
    """
    values: dict[str, str] = {}
    for name in template_fields(link):
        value = args.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal) or paths_inside(name, hidden):
            return None
        try:
            values[name] = quote(str(value), safe="")
        except UnicodeEncodeError:  # half a character
            return None
        if values[name] in _STEPS:
            return None
    address = link.format_map(values)
    return address if len(address) <= LINK_CHARS_MAX else None
