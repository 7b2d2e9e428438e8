"""The table: what was measured, what was wanted, and whether it was met."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.measuring import Figure

__all__ = ["AT_LEAST", "AT_MOST", "TIMES", "Bar", "Line", "rendered"]

AT_MOST: Final = "≤"
AT_LEAST: Final = "≥"
TIMES: Final = "×"  # noqa: RUF001 - what stands behind a ratio
_HOLDS: Final[dict[str, Callable[[float, float], bool]]] = {AT_MOST: operator.le, AT_LEAST: operator.ge}
HEADER: Final = ("", "median", "spread", "bar", "goal")


@dataclass(frozen=True, slots=True)
class Bar:
    """What is wanted of a median.

    Args:
        sense: ``AT_MOST`` or ``AT_LEAST``.
        limit: in the line's unit.
    """

    sense: str
    limit: float

    def met(self, figure: Figure) -> bool:
        """Return whether a figure's median keeps to it.

        Args:
            figure: what was measured.
        """
        return _HOLDS[self.sense](figure.median, self.limit)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Args:
        what: what was measured.
        figure: the values.
        unit: written behind each value.
        bar: what has to be; None for a figure that is only told.
        goal: what would be good.
    """

    what: str
    figure: Figure
    unit: str
    bar: Bar | None = None
    goal: Bar | None = None


def rendered(lines: Sequence[Line]) -> str:
    """Return the table as text.

    Args:
        lines: in order.
    """
    rows = [HEADER, *(_cells(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cells(line: Line) -> tuple[str, ...]:
    figure = line.figure
    spread = "" if len(figure.values) == 1 else f"{_number(figure.low)} - {_number(figure.high)}"
    return (
        line.what,
        f"{_number(figure.median)}{line.unit}",
        spread,
        _verdict(line.bar, line),
        _verdict(line.goal, line),
    )


def _verdict(bar: Bar | None, line: Line) -> str:
    if bar is None:
        return ""
    return f"{bar.sense} {bar.limit:g}{line.unit}: {'met' if bar.met(line.figure) else 'MISSED'}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"  # noqa: PLR2004 - three digits tell enough
