"""Values of any kind as JSON primitives that people can read."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import orjson

from langgraph_control.guards.canonical import observed_bytes

__all__ = ["presentable"]


def presentable(value: Any) -> Any:
    """Return a value as JSON primitives that people can read: decimals and moments as text.

    Args:
        value: an argument, a record, or a part of one.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return str(value)
        case datetime():
            return value.astimezone(UTC).isoformat()
        case date() | time():
            return value.isoformat()
        case Mapping():
            return {str(name): presentable(part) for name, part in value.items()}
        case list() | tuple():
            return [presentable(part) for part in value]
        case _:
            return orjson.loads(observed_bytes(value))
