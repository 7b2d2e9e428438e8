"""The path that a run took, as a picture: a lane for the run, one for each tool, one for people; time goes right."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.reconstruct import Step
from langgraph_control.audit.trail.tones import Tone

__all__ = ["Path", "Stop", "path_of"]

STOPS_MAX: Final = 120
STEP_PX: Final = 34
LANE_PX: Final = 40
LEFT_PX: Final = 150
TOP_PX: Final = 26
RUN, PEOPLE = "the run", "people"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One entry in the picture.

    Args:
        seq: its place in the chain.
        x: in pixels.
        y: likewise.
        tone: how to read it.
        says: what happened.
    """

    seq: int
    x: int
    y: int
    tone: Tone
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The picture.

    Args:
        width: in pixels.
        height: likewise.
        lanes: name and height of each lane.
        stops: in their order.
        left_out: so many entries at the beginning are not drawn.
    """

    width: int
    height: int
    lanes: tuple[tuple[str, int], ...]
    stops: tuple[Stop, ...]
    left_out: int

    @property
    def line(self) -> str:
        """The points of the line through all stops."""
        return " ".join(f"{stop.x},{stop.y}" for stop in self.stops)


def path_of(entries: Iterable[Entry], steps: Iterable[Step]) -> Path:
    """Draw the path that a run took.

    Args:
        entries: the run's.
        steps: the same, told.
    """
    both = list(zip(entries, steps, strict=True))
    drawn = both[-STOPS_MAX:]
    lanes = list(dict.fromkeys(_lane(entry) for entry, _ in drawn))
    lanes.sort(key=lambda lane: (lane == PEOPLE, lane != RUN))  # stable: tools in the order of their coming
    height_of = {lane: TOP_PX + place * LANE_PX for place, lane in enumerate(lanes)}
    return Path(
        width=LEFT_PX + max(len(drawn), 1) * STEP_PX,
        height=TOP_PX * 2 + max(len(lanes) - 1, 0) * LANE_PX,
        lanes=tuple(height_of.items()),
        stops=tuple(
            Stop(
                seq=step.seq,
                x=LEFT_PX + place * STEP_PX + STEP_PX // 2,
                y=height_of[_lane(entry)],
                tone=step.tone,
                says=step.what,
            )
            for place, (entry, step) in enumerate(drawn)
        ),
        left_out=len(both) - len(drawn),
    )


def _lane(entry: Entry) -> str:
    if entry.fact("person") is not None:
        return PEOPLE
    return entry.fact("tool") or RUN
