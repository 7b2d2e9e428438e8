"""JSON fetched from an address that an admin wrote down: bounded in size and time, redirected nowhere."""

import ssl
import time
from collections.abc import Callable
from http.client import HTTPException
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

import orjson

__all__ = ["BYTES_MAX", "FETCH_SECONDS", "CannotFetch", "fetch_json", "may_fetch"]

BYTES_MAX: Final = 262_144
FETCH_SECONDS: Final = 5.0
CHUNK: Final = 16_384

Done = TypeVar("Done")


class CannotFetch(Exception):  # noqa: N818 - what happened; the caller says what follows
    """Nothing usable came from an address; the text says why, without what came."""


def may_fetch(url: str) -> bool:
    """Say whether an address may be asked: https, or http on this machine, and no name or password in it.

    Args:
        url: the address.
    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if (
        not host
        or parts.username is not None
        or parts.fragment
        or not url.isascii()
        or not url.isprintable()
        or " " in url
    ):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def fetch_json(url: str, *, seconds: float = FETCH_SECONDS) -> Any:
    """Return the JSON that an address answers with.

    Args:
        url: what :func:`may_fetch` allows.
        seconds: for all of it, from looking up the name to the last byte.

    Raises:
        CannotFetch: it may not be asked, does not answer in time with 200, answers too much, or with something else.
    """
    if not may_fetch(url):
        raise CannotFetch("the address is not https, nor http on this machine")
    text = _within(seconds, lambda: _text(url, seconds))
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise CannotFetch("the answer is no JSON") from None


def _within(seconds: float, work: Callable[[], Done]) -> Done:
    """Do something on a thread that is left behind when it takes too long: looking up a name has no timeout."""
    answers: SimpleQueue[Done | Exception] = SimpleQueue()

    def do() -> None:
        try:
            answers.put(work())
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            answers.put(error)

    Thread(target=do, name="langgraph-control fetch", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise CannotFetch(f"no answer within {seconds:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _text(url: str, seconds: float) -> bytes:
    until = time.monotonic() + seconds
    request = Request(url, headers={"Accept": "application/json", "User-Agent": "langgraph-control"})  # noqa: S310 - may_fetch
    try:
        with _opener(url).open(request, timeout=seconds) as answer:
            if answer.status != 200:  # noqa: PLR2004 - OK
                raise CannotFetch(f"the answer is {answer.status}")
            read = b""
            while chunk := answer.read1(CHUNK):
                read += chunk
                if len(read) > BYTES_MAX:
                    raise CannotFetch(f"the answer has more than {BYTES_MAX} bytes")
                if time.monotonic() > until:
                    raise CannotFetch(f"no whole answer within {seconds:g} s")
            return read
    except HTTPError as error:
        with error:
            raise CannotFetch(f"the answer is {error.code}") from None
    except URLError as error:
        reason = error.reason
        raise CannotFetch(reason if isinstance(reason, str) else type(reason).__name__) from None
    except (OSError, HTTPException, ValueError) as error:
        raise CannotFetch(type(error).__name__) from None


def _opener(url: str) -> OpenerDirector:
    """Return what opens http and https and knows no redirects. The environment's proxy is for other machines."""
    opener = OpenerDirector()
    proxies: dict[str, str] | None = {} if _is_loopback(urlsplit(url).hostname or "") else None
    for handler in (
        ProxyHandler(proxies),
        HTTPHandler(),
        HTTPSHandler(context=ssl.create_default_context()),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
        UnknownHandler(),  # a proxy of another kind
    ):
        opener.add_handler(handler)
    return opener


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
