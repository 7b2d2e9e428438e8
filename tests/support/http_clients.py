"""One write through each HTTP client, as a tool would send it. Whatever the client raises is let out."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import aiohttp
import botocore.session
import httpx
import httpx2
import requests
import requests.adapters
import urllib3
from botocore.config import Config

PATIENCE_SECONDS: Final = 10.0
TLS: Final = ssl.create_default_context()  # one for all clients: loading the certificates takes longer than a call


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What to send.

    Args:
        url: where to.
        method: how; botocore chooses its own.
        connect_seconds: how long to wait for a connection.
        read_seconds: how long to wait for more of an answer.
        options: for the client alone: its own retries, redirects, middlewares.
    """

    url: str
    method: str = "POST"
    connect_seconds: float = PATIENCE_SECONDS
    read_seconds: float = PATIENCE_SECONDS
    options: Mapping[str, Any] = field(default_factory=dict)


def _with_httpx(library: Any, sending: Sending) -> None:
    timeout = library.Timeout(sending.read_seconds, connect=sending.connect_seconds)
    with library.Client(timeout=timeout, verify=TLS, **sending.options) as client:
        client.request(sending.method, sending.url, json={"amount": "25.00"}).raise_for_status()


def _with_async_httpx(library: Any, sending: Sending) -> None:
    async def send() -> None:
        timeout = library.Timeout(sending.read_seconds, connect=sending.connect_seconds)
        async with library.AsyncClient(timeout=timeout, verify=TLS, **sending.options) as client:
            (await client.request(sending.method, sending.url, json={"amount": "25.00"})).raise_for_status()

    asyncio.run(send())


def _with_requests(sending: Sending) -> None:
    timeout = (sending.connect_seconds, sending.read_seconds)
    with requests.Session() as session:
        session.trust_env = False
        if "max_retries" in sending.options:
            session.mount("http://", requests.adapters.HTTPAdapter(**sending.options))
        session.request(sending.method, sending.url, json={"amount": "25.00"}, timeout=timeout).raise_for_status()


def _with_urllib3(sending: Sending) -> None:
    timeout = urllib3.Timeout(connect=sending.connect_seconds, read=sending.read_seconds)
    with urllib3.PoolManager(**sending.options) as pools:
        pools.request(sending.method, sending.url, json={"amount": "25.00"}, timeout=timeout)


def _with_aiohttp(sending: Sending) -> None:
    async def send() -> None:
        timeout = aiohttp.ClientTimeout(sock_connect=sending.connect_seconds, sock_read=sending.read_seconds)
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True, **sending.options) as session,
            session.request(sending.method, sending.url, json={"amount": "25.00"}) as response,
        ):
            await response.read()

    asyncio.run(send())


_SESSION: Final = botocore.session.Session()  # one for all clients: it reads the services' models once


def dynamodb(url: str, *, connect_seconds: float, read_seconds: float, tries: int) -> Any:
    """Return a client for DynamoDB's protocol at an address.

    Args:
        url: where to.
        connect_seconds: how long to wait for a connection.
        read_seconds: how long to wait for more of an answer.
        tries: how often botocore sends a request by itself.
    """
    config = Config(
        connect_timeout=connect_seconds,
        read_timeout=read_seconds,
        retries={"total_max_attempts": tries, "mode": "standard"},
    )
    return _SESSION.create_client(
        "dynamodb",
        region_name="eu-central-1",
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - nobody checks it
        config=config,
    )


def _with_botocore(sending: Sending) -> None:
    client = dynamodb(
        sending.url,
        connect_seconds=sending.connect_seconds,
        read_seconds=sending.read_seconds,
        tries=sending.options.get("tries", 1),
    )
    client.put_item(TableName="refunds", Item={"order": {"S": "A-1"}})


CLIENTS: Final[Mapping[str, Callable[[Sending], None]]] = MappingProxyType(
    {
        "httpx": lambda sending: _with_httpx(httpx, sending),
        "httpx async": lambda sending: _with_async_httpx(httpx, sending),
        "httpx2": lambda sending: _with_httpx(httpx2, sending),
        "httpx2 async": lambda sending: _with_async_httpx(httpx2, sending),
        "requests": _with_requests,
        "urllib3": _with_urllib3,
        "aiohttp": _with_aiohttp,
        "botocore": _with_botocore,
    }
)
"""By name, how to send with each client. A bad status is raised, except by urllib3, which raises none."""
