"""A recorded value as people read it: exactly, with quotes that show where a text ends. It is not yet safe to print."""

import json
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from langgraph_control.guards.canonical import observed_bytes

__all__ = ["quoted"]


def quoted(value: Any) -> str:
    """Return a value as text.

    Args:
        value: as :func:`~langgraph_control.guards.canonical.from_canonical` returns it.
    """
    match value:
        case None | bool() | int() | float() | str():
            return json.dumps(value, ensure_ascii=False)
        case Decimal():
            return str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return observed_bytes(value).decode(errors="replace")
