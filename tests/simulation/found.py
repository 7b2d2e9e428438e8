"""What playing seeds came to."""

from dataclasses import dataclass

__all__ = ["Found"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The end of a row of seeds.

    Args:
        played: how many seeds were played.
        seconds: how long that took.
        seed: the first seed that violated something; None if none did.
        violation: what it violated.
    """

    played: int
    seconds: float
    seed: int | None = None
    violation: str = ""
