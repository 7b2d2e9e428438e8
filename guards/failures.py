"""The words for what went wrong with a call: was it sent, what would another try meet, can the effect have happened."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Sent(StrEnum):
    """Was a byte of the request sent?"""

    NO = "no"  # proven: there was never a connection to send it on, or the client refused to
    MAYBE = "maybe"  # nothing proves either
    YES = "yes"  # the other side answered


class Fault(StrEnum):
    """What another try would likely meet."""

    TRANSIENT = "transient"  # a later try may well succeed
    RATE_LIMITED = "rate_limited"  # a later and slower try may well succeed
    PERMANENT = "permanent"  # the same call will fail again


class Verdict(StrEnum):
    """What is known of the effect after a failure."""

    NOT_DONE_TRANSIENT = "not_done_transient"  # proven undone: try again after a back-off
    NOT_DONE_RATE_LIMITED = "not_done_rate_limited"  # proven undone: try again, no sooner than asked
    NOT_DONE_PERMANENT = "not_done_permanent"  # proven undone: do not try again unasked
    UNKNOWN = "unknown"  # it may have happened: verify before anything else


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A classified failure. Safe to record: it holds no message, payload or address."""

    verdict: Verdict
    fault: Fault  # for unknown: what a try would meet once the effect is proven absent
    sent: Sent
    error: str  # the exception's class name
    retry_after_seconds: float | None
    reason: str


Code: TypeAlias = int | str
"""An HTTP status or a JSON-RPC code; or the name of a gRPC status, of an AWS error, or an SQLSTATE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one exception tells of the exchange that raised it, before anything is known of the effect.

    Args:
        fault: what another try would likely meet.
        reason: why, in words that hold nothing of the error's own text.
        sent: was a byte sent?
        undone: proven: nothing was sent, or the other side refused before acting.
        whole: it speaks of all that the call sent. Not so after a redirect or a try of the client's own, nor if it is
            about a read beside the write; then neither status nor contract proves anything.
        status: the HTTP status that was answered, or the one that means the same.
        codes: what a contract may call the answer by, the most telling first.
        retry_after_seconds: the pause that was asked for.
    """

    fault: Fault
    reason: str
    sent: Sent = Sent.MAYBE
    undone: bool = False
    whole: bool = True
    status: int | None = None
    codes: tuple[Code, ...] = ()
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a contract says of an answer, or of an exception of the tool's own.

    Args:
        answer: what a client's exception carries, or the exception's class.
        fault: nothing was done, and another try would meet this. None: it does not tell, whatever it usually means.
    """

    answer: Code | type[Exception]
    fault: Fault | None
