"""Pins by name: ``file:PATH``, ``https://…``, ``s3://BUCKET/PREFIX``; and the one that is told by a signed POST."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import orjson

from langgraph_control.audit.seals.pins import FilePin, Pin, S3Pin
from langgraph_control.errors import PinFailed, SealRefused
from langgraph_control.graphs.notices.webhook import PORTS, Webhook
from langgraph_control.guards.notices import secret_bytes

__all__ = ["SECRET_VARIABLE", "WebhookPin", "pins_named"]

SECRET_VARIABLE: Final = "LANGGRAPH_CONTROL_PIN_SECRET"  # noqa: S105 - a variable's name
TIMEOUT_SECONDS: Final = 10.0
LOCK_DAYS_MAX: Final = 36_500


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPin:
    """An address that is told of each checkpoint by a signed POST, as notifications are.

    Args:
        hook: the address, its secrets, and whether it may be inside.
    """

    hook: Webhook

    def __str__(self) -> str:
        """Return the pin's name: the address may hold a secret."""
        return self.hook.name

    def pin(self, note: str) -> None:
        """POST a checkpoint; the same one has the same id, by which the receiver tells repeats.

        Args:
            note: a signed note.

        Raises:
            PinFailed: it was not taken.
        """
        message_id = f"msg_{hashlib.sha256(note.encode()).hexdigest()[:32]}"
        told = self.hook.post(
            message_id,
            orjson.dumps(
                {"type": "checkpoint", "timestamp": datetime.now(UTC).isoformat(), "data": {"checkpoint": note}}
            ),
        )
        if told.error is not None:
            raise PinFailed(
                f"{self} did not take the checkpoint: it {told.error}.",
                todo="Correct the address or its receiver; it is tried again.",
            )


def pins_named(names: Sequence[str]) -> tuple[Pin, ...]:
    """Return the pins that a command line names.

    Args:
        names: each ``file:PATH``, ``https://HOST/…``, or ``s3://BUCKET/PREFIX`` with ``?days=`` and ``?mode=``.

    Raises:
        SealRefused: a name is none of those, or what it needs is not there.
    """
    return tuple(_pin(name) for name in names)


def _pin(name: str) -> Pin:
    try:
        parts = urlsplit(name)
        host = parts.hostname
    except ValueError:
        raise _unknown() from None
    if parts.scheme == "file" and name.removeprefix("file:").removeprefix("//"):
        return FilePin(Path(name.removeprefix("file:").removeprefix("//")).expanduser().absolute())
    if parts.scheme in PORTS and host and "@" not in parts.netloc and not parts.fragment and name.isprintable():
        return _webhook(name, host)
    if parts.scheme == "s3" and parts.netloc:
        return _bucket(parts.netloc, parts.path, parts.query)
    raise _unknown()


def _webhook(url: str, host: str) -> WebhookPin:
    secrets = [secret_bytes(part) for part in os.environ.get(SECRET_VARIABLE, "").split()]
    if not secrets or None in secrets:
        raise SealRefused(
            f"{SECRET_VARIABLE} holds no secret to sign what a webhook is told.",
            todo="Put whsec_ and the base64 of 24 to 64 random bytes there; while it is changed, two, a blank between.",
            code="pin_secret",
        )
    return WebhookPin(
        hook=Webhook(
            name=f"webhook {host}",
            events=(),
            attempts=1,
            timeout_seconds=TIMEOUT_SECONDS,
            url=url,
            secrets=tuple(secret for secret in secrets if secret is not None),
        )
    )


def _bucket(bucket: str, path: str, query: str) -> S3Pin:
    given = parse_qs(query)
    days, mode = given.pop("days", ["3650"])[-1], given.pop("mode", ["COMPLIANCE"])[-1].upper()
    if given or not days.isdecimal() or not 0 < int(days) <= LOCK_DAYS_MAX or mode not in {"COMPLIANCE", "GOVERNANCE"}:
        raise _unknown()
    return S3Pin(bucket=bucket, prefix=path.lstrip("/"), days=int(days), mode=mode)


def _unknown() -> SealRefused:
    return SealRefused(
        "That is no pin.",
        todo="Write file:PATH, https://HOST/PATH, or s3://BUCKET/PREFIX?days=3650&mode=compliance.",
        code="pin_invalid",
    )
