"""Signed webhooks, as Standard Webhooks describes them: POST, JSON, three headers, and no redirect is followed."""

import http.client
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from langgraph_control.audit.deadline import Deadline, what_failed
from langgraph_control.graphs.notices.addresses import InternalAddressError, connect
from langgraph_control.graphs.notices.sink import Told
from langgraph_control.guards.notices import Notice, NoticeEvent, as_json, signatures
from langgraph_control.guards.retries import retry_after

__all__ = ["Webhook"]

PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """An address that is told by a signed POST.

    Args:
        name: what it is called.
        events: what it is told.
        attempts: how often one notice is tried.
        timeout_seconds: how long one try may take, answer included.
        url: where to; never shown, for it may hold a secret.
        secrets: what is signed with, newest first.
        allow_private: whether it may be inside.
        tls: whom to trust; by default what the system trusts.
    """

    name: str
    events: tuple[NoticeEvent, ...]
    attempts: int
    timeout_seconds: float
    url: str = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)
    allow_private: bool = False
    tls: ssl.SSLContext | None = None

    def send(self, notice: Notice) -> Told:
        """POST it, and believe an answer from 200 to 299 alone.

        Args:
            notice: what is told.
        """
        return self.post(notice.id, as_json(notice))

    def post(self, message_id: str, body: bytes) -> Told:
        """POST any message, signed; no redirect is followed and no internal address connected to.

        Args:
            message_id: the same however often it is sent: receivers tell repeats by it.
            body: JSON.
        """
        parts = urlsplit(self.url)
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        now = int(time.time())
        connection = _Connection(self, parts.scheme, parts.hostname or "", parts.port or PORTS[parts.scheme])
        headers = {
            "content-type": "application/json",
            "user-agent": "langgraph-control",
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signatures(self.secrets, message_id=message_id, timestamp=now, body=body),
            "connection": "close",
        }
        with Deadline(self.timeout_seconds, lambda: connection.sock) as deadline:
            try:
                connection.request("POST", target, body=body, headers=headers)
                answer = connection.getresponse()
            except InternalAddressError:
                return Told(error="leads to an internal address; nothing was sent (allow_private: true permits it)")
            except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
                # The last two: a connection that the deadline closed in the middle of something.
                return Told(error=what_failed(error, deadline, self.timeout_seconds))
            finally:
                connection.close()
        return _told(answer)


def _told(answer: http.client.HTTPResponse) -> Told:
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return Told()
    if answer.status < HTTPStatus.BAD_REQUEST:
        return Told(error=f"answered {answer.status}: redirects are not followed; correct the address")
    pause = retry_after(answer.headers.get("retry-after"), datetime.now(UTC))
    return Told(error=f"answered {answer.status}", pause_seconds=pause)


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was checked, with the certificate of the name."""

    def __init__(self, hook: Webhook, scheme: str, host: str, port: int) -> None:
        super().__init__(host, port, timeout=hook.timeout_seconds)
        self.default_port = PORTS[scheme]  # left out of the Host header
        self._hook = hook
        self._tls = (hook.tls or ssl.create_default_context()) if scheme == "https" else None

    def connect(self) -> None:
        """Look up, check and connect."""
        hook = self._hook
        self.sock = connect(
            self.host, self.port, timeout_seconds=hook.timeout_seconds, allow_private=hook.allow_private
        )
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock.do_handshake()
