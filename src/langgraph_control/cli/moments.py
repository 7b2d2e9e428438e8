"""Moments as people type them."""

from datetime import UTC, datetime, timedelta

import typer

from langgraph_control.errors import ContractError
from langgraph_control.nodes.durations import seconds_of

__all__ = ["moment_of"]


def moment_of(text: str | None, *, now: datetime) -> datetime | None:
    """Return the moment that was typed: ISO 8601, in UTC where no zone is given; or a span before now, such as ``24h``.

    Args:
        text: as typed; None for nothing.
        now: the time.

    Raises:
        BadParameter: it is neither.
    """
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is not None:
        return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    try:
        return now - timedelta(seconds=seconds_of(text, field="the span"))
    except (ContractError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no moment: write 2026-11-01, 2026-11-01T08:00Z, or a span such as 24h."
        ) from None
