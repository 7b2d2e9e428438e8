"""What the simulator finds."""

__all__ = ["Violation"]


class Violation(AssertionError):  # noqa: N818 - it is what the simulator finds
    """An invariant does not hold."""
