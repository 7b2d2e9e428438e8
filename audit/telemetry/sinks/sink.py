"""What a place that spans go to has in common with the others, and what it may answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["Answer", "SpanSink", "Verdict"]


class Verdict(StrEnum):
    """What came of sending spans."""

    TAKEN = "taken"  # it has all of them
    REFUSED = "refused"  # it is there, and does not want some of them, or not in this form
    AWAY = "away"  # it is down, busy, or set up wrong; none of the spans is to blame
    DOUBTFUL = "doubtful"  # it may be down, or one of the spans may be what it cannot take


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a sink answered.

    Args:
        verdict: what came of it.
        error: why it has not taken everything, without secrets; "" where it has.
        refused: how many of the spans it did not take, having taken the others; None where it took none, or does not
            say.
        pause_seconds: how long it asks to be left alone; None where it does not say.
    """

    verdict: Verdict
    error: str = ""
    refused: int | None = None
    pause_seconds: float | None = None


class SpanSink(Protocol):
    """One place that spans go to."""

    @property
    def name(self) -> str:
        """What it is called in the file and the ledger."""
        ...

    @property
    def batch_spans(self) -> int:
        """How many spans it is sent at once, at most."""
        ...

    @property
    def timeout_seconds(self) -> float:
        """How long it may take to answer."""
        ...

    def send(self, spans: Sequence[ReadableSpan]) -> Answer:
        """Send spans, once. What goes wrong is an answer, not an exception.

        Args:
            spans: what is sent, at most ``batch_spans``.
        """
        ...

    def takes_nothing(self) -> bool | None:
        """Send nothing at all, and return whether it takes that; None where that cannot be asked."""
        ...

    def close(self) -> None:
        """Let go of its connections."""
        ...
