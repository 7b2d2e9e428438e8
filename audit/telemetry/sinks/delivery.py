"""Bringing a batch to a sink, so that a span it refuses costs only itself. No database, and no clock.

A receiver that takes a part of a batch says how many it refused, not which: halves are sent again until they are found.
What it had taken comes twice by that, under the same ids. If the halves are refused in another number than the whole,
the receiver does not refuse by what a span is (a quota, say): nothing is given up, and all of it is sent again later.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from opentelemetry.sdk.trace import ReadableSpan

from langgraph_control.audit.telemetry.sinks.sink import Answer, Verdict

__all__ = ["Delivery", "Refused", "Send", "deliver"]

Send: TypeAlias = Callable[[Sequence[ReadableSpan]], Answer]

REFUSED_MAX: Final = 16
"""A sink that refuses more than so many, and takes none, is broken; none of the spans is given up for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A span that a sink refused by itself.

    Args:
        span: the span.
        error: what the sink said.
    """

    span: ReadableSpan
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What came of a batch.

    Args:
        refused: what is to be given up; empty unless the batch is done.
        failed: why the batch is not done and is to be sent again as a whole; None where it is done.
    """

    refused: tuple[Refused, ...] = ()
    failed: Answer | None = None


def deliver(
    spans: Sequence[ReadableSpan], send: Send, takes_nothing: Callable[[], bool | None], *, suspect: bool = False
) -> Delivery:
    """Send a batch, and find out which of its spans the sink refuses.

    Args:
        spans: the batch.
        send: sends spans to the sink.
        takes_nothing: whether the sink takes a request without any; None where that cannot be asked.
        suspect: look for the span to blame also where the sink's answer leaves open whether there is one: it has
            answered so several times.
    """
    delivering = _Delivering(send, takes_nothing, suspect=suspect)
    try:
        delivering.bring(spans)
        return Delivery(refused=delivering.given_up())
    except _NotNowError as stopped:
        return Delivery(failed=stopped.answer)


class _NotNowError(Exception):
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


@dataclass(slots=True)
class _Delivering:
    send: Send
    takes_nothing: Callable[[], bool | None]
    suspect: bool
    took_some: bool = False
    refused: list[Refused] = field(default_factory=list)
    suspects: list[Refused] = field(default_factory=list)  # with whom it may be the sink that is wrong

    def bring(self, spans: Sequence[ReadableSpan]) -> int:
        """Send spans, and return how many of them were refused."""
        answer = self.send(spans)
        match answer.verdict:
            case Verdict.TAKEN:
                self.took_some = True
                return 0
            case Verdict.REFUSED if answer.refused is not None:
                return self._find(spans, answer, min(answer.refused, len(spans)))
            case Verdict.DOUBTFUL if not self.suspect:
                raise _NotNowError(answer)
            case Verdict.REFUSED | Verdict.DOUBTFUL:
                return self._try_halves(spans, answer)
            case _:
                raise _NotNowError(answer)

    def given_up(self) -> tuple[Refused, ...]:
        """Return what is to be given up, once everything was sent."""
        if self.suspects and not (self.took_some or self.takes_nothing()):
            raise _NotNowError(Answer(verdict=Verdict.DOUBTFUL, error=self.suspects[0].error))
        return (*self.refused, *self.suspects)

    def _find(self, spans: Sequence[ReadableSpan], answer: Answer, count: int) -> int:
        """Find the spans that were refused; the others it has."""
        if count < len(spans):
            self.took_some = True
        if count == len(spans):
            if count > REFUSED_MAX and not self.took_some:
                raise _NotNowError(answer)
            self.refused += [Refused(span=span, error=answer.error) for span in spans]
            return count
        if count == 0:
            return 0
        middle = len(spans) // 2
        found = self.bring(spans[:middle]) + self.bring(spans[middle:])
        if found != count:
            error = f"{answer.error}; of the same {len(spans)} spans it refused {count}, then {found}"
            raise _NotNowError(replace(answer, verdict=Verdict.AWAY, error=error))
        return found

    def _try_halves(self, spans: Sequence[ReadableSpan], answer: Answer) -> int:
        """Send the halves, of which it has none."""
        if len(spans) == 1:
            self.suspects.append(Refused(span=spans[0], error=answer.error))
            if len(self.suspects) > REFUSED_MAX and not self.took_some:
                raise _NotNowError(answer)
            return 1
        middle = len(spans) // 2
        return self.bring(spans[:middle]) + self.bring(spans[middle:])
