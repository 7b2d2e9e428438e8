"""Outbound headers for httpx clients: what a governed write sends carries its key, and ids that lead to its record.

::

    billing = instrument(httpx.Client(base_url="https://billing.example"))

Requests sent from the body of a governed write then carry ``Idempotency-Key``, ``X-Action-Key``, ``X-Run-Id``,
``X-Correlation-Id`` and ``traceparent``; all other requests go out as they are.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, TypeVar

from langgraph_control.errors import ContractError
from langgraph_control.nodes.contexts import current_action, in_a_write

if TYPE_CHECKING:
    import httpx

__all__ = ["instrument"]

Client = TypeVar("Client", bound="httpx.Client | httpx.AsyncClient")

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 section 9.2.1

_ADDED: Final = "langgraph_control.added"


def instrument(client: Client, *, hosts: Collection[str] | None = None) -> Client:
    """Have a client send the current action's headers, and return it.

    A header the caller set is kept. Reads (GET and the like) carry no idempotency key: a lookup is not the change.

    Args:
        client: an ``httpx.Client`` or ``httpx.AsyncClient``; hooks it has stay.
        hosts: the host names that may see the headers, as in URLs; None for the one of the client's ``base_url``. Run
            and intent are business data: they do not go to every host a redirect or a tool may name.

    Raises:
        ContractError: code ``hosts_unknown``: neither ``hosts`` nor a ``base_url`` says who may see the headers.
    """
    import httpx  # here, because only who has a client needs it

    allowed = frozenset(hosts if hosts is not None else {client.base_url.host} - {""})
    if not allowed:
        raise ContractError(
            "Nothing says which hosts may see a run's ids.",
            todo='Pass instrument(client, hosts=["billing.example"]), or give the client a base_url.',
            code="hosts_unknown",
        )

    def add(request: "httpx.Request") -> None:
        _add(request, allowed)

    async def aadd(request: "httpx.Request") -> None:
        _add(request, allowed)

    hook = aadd if isinstance(client, httpx.AsyncClient) else add
    hooks = client.event_hooks
    client.event_hooks = {**hooks, "request": [*hooks["request"], hook]}
    return client


def _add(request: "httpx.Request", allowed: frozenset[str]) -> None:
    # A redirect copies the first request's headers, whatever host it leads to.
    for name in request.extensions.pop(_ADDED, ()):
        request.headers.pop(name, None)
    if request.url.host not in allowed or not in_a_write():
        return
    added = {
        name: value
        for name, value in current_action().headers.items()
        if name not in request.headers and not (name == IDEMPOTENCY_KEY and request.method in SAFE_METHODS)
    }
    request.headers.update(added)
    request.extensions[_ADDED] = tuple(added)
