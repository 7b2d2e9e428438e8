"""A story as lines for people: times, durations and texts that are safe to print. How it looks is the caller's."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from langgraph_control.audit.printable import printable
from langgraph_control.audit.reconstruct import Step, Story
from langgraph_control.audit.sentences import Tone

__all__ = ["Line", "duration_text", "timeline"]

DETAIL_CHARS_MAX: Final = 200
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One step, ready to print.

    Args:
        seq: its place in the chain.
        time: when, in UTC: the time of day, with the date where it is not the day of the line before.
        who: who did it; "" where it is who did the step before, too.
        what: what happened, with how long it took.
        why: reasons, one text each.
        details: ``label: text``, one text each.
        tone: how to read it.
    """

    seq: int
    time: str
    who: str
    what: str
    why: tuple[str, ...]
    details: tuple[str, ...]
    tone: Tone


def timeline(story: Story) -> tuple[Line, ...]:
    """Return a story's steps as lines.

    Args:
        story: from :func:`~langgraph_control.audit.reconstruct.reconstruct`.
    """
    lines: list[Line] = []
    before: Step | None = None
    for step in story.steps:
        lines.append(_line(step, before))
        before = step
    return tuple(lines)


def duration_text(length: timedelta) -> str:
    """Return a duration in the two units that matter: ``2 d 3 h``, ``4 min 5 s``, ``1.25 s``, ``12 ms``.

    Args:
        length: how long.
    """
    if length < timedelta(0):
        return f"-{duration_text(-length)}"  # a clock was set back
    if length >= DAY:
        return f"{length // DAY} d {length % DAY // HOUR} h"
    if length >= HOUR:
        return f"{length // HOUR} h {length % HOUR // MINUTE} min"
    if length >= MINUTE:
        return f"{length // MINUTE} min {int((length % MINUTE).total_seconds())} s"
    seconds = length.total_seconds()
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _line(step: Step, before: Step | None) -> Line:
    took = f" ({duration_text(step.took)})" if step.took is not None else ""
    return Line(
        seq=step.seq,
        time=_time(step.at, None if before is None else before.at),
        who="" if before is not None and before.who == step.who else printable(step.who),
        what=printable(step.what) + took,
        why=tuple(printable(reason) for reason in step.why),
        details=tuple(
            f"{printable(label)}: {printable(text, chars_max=DETAIL_CHARS_MAX)}" for label, text in step.details
        ),
        tone=step.tone,
    )


def _time(at: datetime, before: datetime | None) -> str:
    moment = at.astimezone(UTC)
    day_changed = before is None or before.astimezone(UTC).date() != moment.date()
    return moment.strftime("%Y-%m-%d %H:%M:%S" if day_changed else "%H:%M:%S")
