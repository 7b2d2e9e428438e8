"""How the commands print: plain text for 80 columns, colour only on a terminal, nothing that a terminal obeys."""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import IO, Any, Final, TextIO, cast
from uuid import UUID

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from langgraph_control.cli.seen import TEXT_CHARS_MAX, seen, seen_plain
from langgraph_control.errors import ControlError

__all__ = ["console", "heading", "indented", "moment", "pairs", "print_error", "print_json", "some"]

WIDTH_PIPED: Final = 80
ERROR_LINE_CHARS_MAX: Final = 2000


def console(file: TextIO | None = None) -> Console:
    """Return a console on standard output that takes no markup from what it prints.

    Args:
        file: another stream.
    """
    stream = file or sys.stdout
    if stream.isatty():
        return Console(file=stream, markup=False, highlight=False, emoji=False)
    trimmed = cast("IO[str]", _Trimmed(stream))
    return Console(file=trimmed, width=WIDTH_PIPED, no_color=True, markup=False, highlight=False, emoji=False)


class _Trimmed:
    """A stream without the spaces with which rich fills up its columns: they mean nothing in a file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(re.sub(r" +$", "", text, flags=re.MULTILINE))

    def flush(self) -> None:
        self._stream.flush()


def heading(out: Console, text: str, *, style: str = "") -> None:
    """Print a line that stands out.

    Args:
        out: where.
        text: anything.
        style: a colour, for terminals.
    """
    out.print(seen(text, style=f"bold {style}".strip()), soft_wrap=True)


def indented(out: Console, text: str, *, by: int = 2, style: str = "") -> None:
    """Print a text, each of its lines indented.

    Args:
        out: where.
        text: anything.
        by: columns.
        style: a colour, for terminals.
    """
    out.print(Padding(seen(text, style=style), (0, 0, 0, by)))


def pairs(
    out: Console, rows: Iterable[tuple[str, str | None]], *, by: int = 2, chars_max: int | None = TEXT_CHARS_MAX
) -> None:
    """Print names and values in two columns; a value that is None or empty is left out with its name.

    Args:
        out: where.
        rows: name and value.
        by: columns before the names.
        chars_max: longer values are cut, and it is said by how much; None: nothing is cut.
    """
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for name, value in rows:
        if value:
            grid.add_row(seen(name), seen(value, chars_max=chars_max))
    if grid.row_count:
        out.print(Padding(grid, (0, 0, 0, by)))


def moment(at: datetime | None) -> str:
    """Return a moment as people read it, in UTC.

    Args:
        at: with a time zone; None for nothing.
    """
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def print_json(value: Any) -> None:
    """Print a value as JSON in ASCII: no text in it can do anything to a terminal.

    Args:
        value: mappings, lists, texts, numbers, moments, ids, bytes.
    """
    sys.stdout.write(json.dumps(value, ensure_ascii=True, indent=2, default=_plain) + "\n")


def print_error(error: ControlError) -> None:
    """Print what happened, what is safe and what to do, and the code, on standard error.

    Args:
        error: any error raised on purpose.
    """
    what, *more = [line for line in error.what.splitlines() if line.strip()] or [error.code]
    rows = [("Error: ", what), *(("       ", line) for line in more)]
    rows += [("Safe:  ", error.safe), ("Next:  ", error.todo), ("Code:  ", error.code)]
    for label, text in rows:
        if text:
            sys.stderr.write(f"{label}{seen_plain(text, chars_max=ERROR_LINE_CHARS_MAX)}\n")


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case UUID() | Decimal():
            return str(value)
        case bytes():
            return value.hex()
        case Mapping():
            return dict(value)
        case _:
            return str(value)


def some(count: int, what: str) -> str:
    """Return how many there are, in words: ``1 run``, ``12 entries``.

    Args:
        count: how many.
        what: one of them, in English.
    """
    many = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{count} {what if count == 1 else many}"
