"""What people are told of a request, and how a receiver knows that it is us who tell. Pure: time and ids come in.

A notice says that there is something to look at, and where; it never carries a way to decide. It holds no argument of
the call, only what names the request: which tool, on which record, who asks, and until when.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import orjson

__all__ = ["Notice", "NoticeEvent", "as_json", "as_subject", "as_text", "secret_bytes", "signatures"]

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - says that what follows is one
SECRET_BYTES: Final = range(24, 65)  # what Standard Webhooks asks for

_LINKS: Final = re.compile(r"(?<=\w)\.(?=\w)|://")
_MARKS: Final = str.maketrans({"<": "(", ">": ")", "@": "(at)", "`": "'", "*": "'", "|": "/", "[": "(", "]": ")"})


class NoticeEvent(StrEnum):
    """What happened to a request."""

    REQUESTED = "requested"  # people are asked
    REMINDER = "reminder"  # a share of the time is over, and nobody has decided
    ESCALATED = "escalated"  # nobody answered in time, and others are asked now
    EXPIRED = "expired"  # nobody answered in time; it is not done
    DECIDED = "decided"  # it was granted or denied, or nobody needs to decide any more
    REVIEW = "review"  # one person decided alone in an emergency, and somebody else is to look at that


_SAYS: Final = {
    NoticeEvent.REQUESTED: "Approval is asked for",
    NoticeEvent.REMINDER: "Approval is still asked for",
    NoticeEvent.ESCALATED: "Nobody answered in time, and others are asked now",
    NoticeEvent.EXPIRED: "Nobody answered in time; it is not done",
    NoticeEvent.REVIEW: "One person approved it alone in an emergency; somebody else looks at that now",
}
_CLOSED: Final = frozenset({NoticeEvent.DECIDED, NoticeEvent.EXPIRED, NoticeEvent.REVIEW})
_OUTCOMES: Final = {
    "granted": "It was approved",
    "denied": "It was rejected",
    "withdrawn": "It was withdrawn; nobody needs to decide",
    "superseded": "Another request took its place",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to tell.

    Args:
        id: the same however often it is sent: receivers tell repeats by it.
        event: what happened.
        outcome: of a decision: granted, denied, withdrawn or superseded.
        at: when it happened.
        approval: the request's name.
        tool: the tool.
        system: the system of record.
        target: the record.
        asked_by: who asks.
        on_behalf_of: for whom.
        expires_at: until when it can be decided.
        link: the request in the console; None where no address is configured.
        checkpoint: the newest signed checkpoint of the record, so that it is kept outside it; None where there is none.
    """

    id: str
    event: NoticeEvent
    outcome: str | None
    at: datetime
    approval: str
    tool: str
    system: str | None
    target: str | None
    asked_by: str
    on_behalf_of: str | None
    expires_at: datetime
    link: str | None
    checkpoint: str | None = None


def as_json(notice: Notice) -> bytes:
    """Return a notice as the body of a webhook: type, timestamp and data, as Standard Webhooks advises.

    Args:
        notice: what is told.
    """
    data: dict[str, Any] = {
        "approval": notice.approval,
        "outcome": notice.outcome,
        "tool": notice.tool,
        "system": notice.system,
        "target": notice.target,
        "asked_by": notice.asked_by,
        "on_behalf_of": notice.on_behalf_of,
        "expires_at": notice.expires_at.astimezone(UTC).isoformat(),
        "link": notice.link,
        "checkpoint": notice.checkpoint,
    }
    told = {name: value for name, value in data.items() if value is not None}
    return orjson.dumps(
        {"type": f"approval.{notice.event}", "timestamp": notice.at.astimezone(UTC).isoformat(), "data": told}
    )


def as_subject(notice: Notice) -> str:
    """Return one line for a mail's subject or a message's title.

    Args:
        notice: what is told.
    """
    where = "" if notice.target is None else f" {_harmless(notice.target)}"
    return f"{_says(notice)}: {_harmless(notice.tool)}{where}"


def as_text(notice: Notice) -> str:
    """Return a notice as plain text. Names from models and records lose what a mail or chat program makes a link of.

    Args:
        notice: what is told.
    """
    asked = notice.asked_by if notice.on_behalf_of is None else f"{notice.asked_by} for {notice.on_behalf_of}"
    where = " ".join(part for part in (notice.system, notice.target) if part)
    until = notice.expires_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    rows = [
        ("what", _harmless(notice.tool)),
        ("where", _harmless(where)),
        ("asked by", _harmless(asked)),
        ("until", "" if notice.event in _CLOSED else until),
        ("request", notice.approval),
        ("look", notice.link or f"langgraph-control card {notice.approval}"),
    ]
    sealed = "" if notice.checkpoint is None else f"\nThe record's newest checkpoint:\n\n{notice.checkpoint}"
    lines = [f"{_says(notice)}.", "", *(f"{name + ':':<10}{value}" for name, value in rows if value)]
    return "\n".join(lines) + "\n" + sealed


def secret_bytes(secret: str) -> bytes | None:
    """Return a webhook secret's bytes; None for what is none: `whsec_` and the base64 of 24 to 64 bytes.

    Args:
        secret: as it is written.
    """
    try:
        found = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if secret.startswith(SECRET_PREFIX) and len(found) in SECRET_BYTES else None


def signatures(secrets: Sequence[bytes], *, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`: one signature for each secret, so that a receiver may know either.

    See https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.

    Args:
        secrets: the newest, and while a secret is being changed the one before, too.
        message_id: the value of `webhook-id`.
        timestamp: the value of `webhook-timestamp`: when it is sent, in seconds since 1970.
        body: exactly what is sent.
    """
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    macs = (hmac.digest(secret, signed, hashlib.sha256) for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)


def _says(notice: Notice) -> str:
    return _SAYS.get(notice.event) or _OUTCOMES.get(notice.outcome or "", "It is closed")


def _harmless(text: str) -> str:
    return _LINKS.sub(lambda found: f"({found[0]})", text.translate(_MARKS))
