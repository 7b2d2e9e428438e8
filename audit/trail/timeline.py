"""A story as lines for people: times, durations and texts that are safe to print. How it looks is the caller's."""

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Final

from langgraph_control.audit.printable import printable
from langgraph_control.audit.trail.reconstruct import Step, Story
from langgraph_control.audit.trail.tones import Tone

__all__ = ["Line", "duration_text", "timeline"]

DETAIL_CHARS_MAX: Final = 200
NOTHING: Final = "(nothing)"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One step, ready to print.

    Args:
        seq: its place in the chain.
        day: the date in UTC; "" where it is that of the line before.
        time: the time of day in UTC.
        who: who did it; "" where it is who was named last.
        what: what happened, with how long it took.
        why: reasons, one text each.
        arguments: the call's arguments as ``name=value``; "" where there are none.
        changes: ``field: before -> after``, one text each.
        details: ``label: text``, one text each.
        ids: likewise.
        tone: how to read it.
    """

    seq: int
    day: str
    time: str
    who: str
    what: str
    why: tuple[str, ...]
    arguments: str
    changes: tuple[str, ...]
    details: tuple[str, ...]
    ids: tuple[str, ...]
    tone: Tone


def timeline(story: Story) -> tuple[Line, ...]:
    """Return a story's steps as lines.

    Args:
        story: from :func:`~langgraph_control.audit.trail.reconstruct.reconstruct`.
    """
    lines: list[Line] = []
    day = who = ""
    for step in story.steps:
        lines.append(_line(step, day_before=day, who_before=who))
        day, who = _day(step), step.who or who
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


def _line(step: Step, *, day_before: str, who_before: str) -> Line:
    took = f" ({duration_text(step.took)})" if step.took is not None else ""
    day = _day(step)
    return Line(
        seq=step.seq,
        day="" if day == day_before else day,
        time=step.at.astimezone(UTC).strftime("%H:%M:%S"),
        who="" if step.who == who_before else printable(step.who),
        what=printable(step.what) + took,
        why=tuple(printable(reason) for reason in step.why),
        arguments=", ".join(_argument(name, text) for name, text in step.arguments),
        changes=tuple(
            f"{printable(field)}: {_short(was) or NOTHING} -> {_short(becomes)}" for field, was, becomes in step.changes
        ),
        details=tuple(f"{printable(label)}: {_short(text)}" for label, text in step.details),
        ids=tuple(f"{printable(label)} {_short(text)}" for label, text in step.ids),
        tone=step.tone,
    )


def _argument(name: str, text: str) -> str:
    return f"{printable(name)}={_short(text)}" if text else printable(name)


def _short(text: str) -> str:
    return printable(text, chars_max=DETAIL_CHARS_MAX)


def _day(step: Step) -> str:
    return step.at.astimezone(UTC).strftime("%Y-%m-%d")
