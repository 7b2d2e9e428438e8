"""Entries as they are read: facts and body parsed, never trusted to be complete."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import orjson

from langgraph_control.audit.asking.rows import EntryRow

__all__ = ["ENDED_EARLY", "Entry"]

ENDED_EARLY: Final = frozenset({"run.cancelled", "run.replaced"})
"""A run ended before its graph did; what it had not begun is denied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a run's chain, parsed. Total: what cannot be read is empty, for a record may be damaged.

    Args:
        seq: its place, from 1.
        tenant: whose.
        at: the database's time.
        events: the facts' names, such as ``action.decided``; one commit may carry several.
        facts: what the database decided.
        body: what the client said.
        payload: arguments and before-image, canonical bytes; None where there is none any more.
        erased: there was a payload, and it was erased.
    """

    seq: int
    tenant: str
    at: datetime
    events: tuple[str, ...]
    facts: Mapping[str, Any]
    body: Mapping[str, Any]
    payload: bytes | None
    erased: bool

    @classmethod
    def of(cls, row: EntryRow) -> Self:
        """Parse a row."""
        return cls.told(
            seq=row.seq,
            tenant=row.tenant,
            at=row.at,
            facts=row.facts,
            body=row.body,
            payload=row.payload,
            erased=row.commitment is not None and row.payload is None,
        )

    @classmethod
    def told(
        cls,
        *,
        seq: int,
        tenant: str,
        at: datetime,
        facts: str,
        body: bytes,
        payload: bytes | None = None,
        erased: bool = False,
    ) -> Self:
        """Parse what a row says, with or without its payload."""
        parsed = _object(facts.encode())
        events = parsed.get("events")
        return cls(
            seq=seq,
            tenant=tenant,
            at=at,
            events=tuple(event for event in events if isinstance(event, str)) if isinstance(events, list) else (),
            facts=parsed,
            body=_object(body),
            payload=payload,
            erased=erased,
        )

    def fact(self, name: str) -> str | None:
        """Return one of the facts if it is a text.

        Args:
            name: the fact's name.
        """
        value = self.facts.get(name)
        return value if isinstance(value, str) else None

    def said(self, *path: str) -> str | None:
        """Return a part of the body if it is a text.

        Args:
            *path: names from the outside in: ``"who", "actor"``.
        """
        value: Any = self.body
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value if isinstance(value, str) else None

    def said_list(self, name: str) -> tuple[str, ...]:
        """Return the texts of a list in the body.

        Args:
            name: the part's name.
        """
        value = self.body.get(name)
        return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
