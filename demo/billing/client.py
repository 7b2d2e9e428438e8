"""How tools and tests reach the billing service: requests as values, one sender for sync and async, and the process."""

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from demo.billing.faults import Fault

TIMEOUT: Final = httpx.Timeout(1.0)
"""Short, so that a lost answer is noticed while people watch."""

START_SECONDS_MAX: Final = 20.0
STOP_SECONDS_MAX: Final = 5.0
_TLS: Final = ssl.create_default_context()  # one for all calls: loading certificates takes longer than a call
_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to the service, not yet sent."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] = field(default_factory=dict)


def refund(order_id: str, amount: str, reason: str) -> Call:
    """Pay back ``amount`` (a decimal string) of an order."""
    return Call(method="POST", path="/refunds", body={"order_id": order_id, "amount": amount, "reason": reason})


def refunds(*, order_id: str | None = None, action_key: str | None = None) -> Call:
    """List the refunds of an order or of an action."""
    asked = {"order_id": order_id, "action_key": action_key}
    return Call(method="GET", path="/refunds", query={name: value for name, value in asked.items() if value})


def order(order_id: str) -> Call:
    """Read an order."""
    return Call(method="GET", path=f"/orders/{quote(order_id, safe='')}")


def email(to: str, text: str) -> Call:
    """Write to a customer. There is no looking up what was sent."""
    return Call(method="POST", path="/emails", body={"to": to, "text": text})


def note(to: str, text: str) -> Call:
    """Add a note to a feed. There is no looking up what was added."""
    return Call(method="POST", path="/notes", body={"to": to, "text": text})


class Billing:
    """A client of the service. Nothing is retried and nothing is hidden: that is the control layer's business.

    Args:
        url: where the service is, e.g. ``http://127.0.0.1:4000``.
        timeout: for each phase of a request.
    """

    def __init__(self, url: str, *, timeout: httpx.Timeout = TIMEOUT) -> None:
        self._url = url
        self._timeout = timeout

    def send(self, call: Call, *, headers: Mapping[str, str] | None = None) -> Any:
        """Send a call and return the body of its answer.

        Args:
            call: what to ask for.
            headers: outbound headers, such as ``X-Action-Key`` and ``Idempotency-Key``.

        Raises:
            httpx.HTTPStatusError: the service refused or failed; the status says which.
            httpx.RequestError: there was no answer; only ``ConnectError``, ``ConnectTimeout`` and ``PoolTimeout`` mean
                that nothing was sent.
        """
        with httpx.Client(base_url=self._url, timeout=self._timeout, verify=_TLS) as client:
            return _body(client.send(_request(client, call, headers)))

    async def asend(self, call: Call, *, headers: Mapping[str, str] | None = None) -> Any:
        """Do the same as :meth:`send` without blocking the loop."""
        async with httpx.AsyncClient(base_url=self._url, timeout=self._timeout, verify=_TLS) as client:
            return _body(await client.send(_request(client, call, headers)))


def _request(client: httpx.Client | httpx.AsyncClient, call: Call, headers: Mapping[str, str] | None) -> httpx.Request:
    return client.build_request(call.method, call.path, json=call.body, params=call.query or None, headers=headers)


def _body(response: httpx.Response) -> Any:
    return response.raise_for_status().json() if response.content or response.is_error else None


class BillingProcess(AbstractContextManager["BillingProcess"]):
    """The service as a child process: started on entry, stopped on exit, and with its parent's death at the latest.

    Args:
        db: the service's SQLite file; by default one in a temporary folder that goes with the process.
        honour_keys: whether the service honours ``Idempotency-Key``.

    Attributes:
        url: where it listens.
    """

    def __init__(self, db: Path | None = None, *, honour_keys: bool = False) -> None:
        self.url = ""
        self._db = db
        self._honour_keys = honour_keys
        self._folder: TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="billing-")
        self._db = self._db or Path(self._folder.name) / "billing.db"
        ready_file = Path(self._folder.name) / "port"
        command = [sys.executable, "-m", "demo.billing", "--db", str(self.db), "--ready-file", str(ready_file)]
        command += ["--parent-pid", str(os.getpid()), *(["--honour-keys"] if self._honour_keys else [])]
        self._process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL)  # noqa: S603 - our own module
        self.url = f"http://127.0.0.1:{self._wait_for_port(ready_file)}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def client(self) -> Billing:
        """A client of this service."""
        return Billing(self.url)

    @property
    def db(self) -> Path:
        """The service's file."""
        if self._db is None:
            raise RuntimeError("the billing service has no file yet; enter the BillingProcess first")
        return self._db

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        if self._process is None:
            raise RuntimeError("the billing service is not running; enter the BillingProcess first")
        return self._process

    def put_order(self, order_id: str, total: str, *, flagged: bool = False, locked: bool = False) -> Any:
        """Create or replace an order of ``total`` (a decimal string)."""
        body = {"total": total, "flagged": flagged, "status": "locked" if locked else "paid"}
        return self.client.send(Call(method="PUT", path=f"/orders/{order_id}", body=body))

    def schedule(self, fault: Fault) -> None:
        """Have a fault played on the next requests it matches."""
        self.client.send(Call(method="POST", path="/faults", body=fault.model_dump(mode="json")))

    def clear_faults(self) -> None:
        """Behave from now on."""
        self.client.send(Call(method="DELETE", path="/faults"))

    def log(self) -> dict[str, int]:
        """Return the service's own count of requests, effects and duplicates, and of late effects still ``pending``."""
        counts: dict[str, int] = self.client.send(Call(method="GET", path="/log"))
        return counts

    def log_page(self, what: str, *, after: str | int = "") -> list[dict[str, Any]]:
        """Return a page of the log: ``requests``, ``effects`` or ``keys``, from behind an id or a key."""
        page: list[dict[str, Any]] = self.client.send(
            Call(method="GET", path=f"/log/{what}", query={"after": str(after)})
        )
        return page

    def _wait_for_port(self, ready_file: Path) -> int:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not ready_file.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise RuntimeError("the billing service did not start; its own output says why")
            time.sleep(0.02)
        return int(ready_file.read_text(encoding="ascii"))
