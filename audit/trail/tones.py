"""How an entry is to be read at a glance."""

from enum import StrEnum

__all__ = ["Tone"]


class Tone(StrEnum):
    """How an entry is to be read at a glance."""

    PLAIN = "plain"  # part of the ordinary course
    GOOD = "good"  # done, granted
    WAITING = "waiting"  # parked, or asked
    BAD = "bad"  # failed, unknown, refused, or for a person
