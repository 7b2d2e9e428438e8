"""A document as Markdown: every recorded text escaped, so that it is no markup, and nothing in it hidden."""

import re
from collections.abc import Iterator
from typing import Final

from langgraph_control.audit.printable import printable
from langgraph_control.cli.dossier import Document, Pairs, Table, Verbatim

__all__ = ["as_markdown"]

# What means something in CommonMark, in GitHub's tables, or in HTML that a renderer lets through.
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]()#!|<>~&$@]|^[+\-]|:(?=[A-Za-z/])|(?<=[wW]{3})\.)")
TEXT_CHARS_MAX: Final = 10_000


def as_markdown(document: Document) -> str:
    """Return a document as Markdown.

    Args:
        document: what to write.
    """
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Document) -> Iterator[str]:
    yield f"# {_safe(document.title)}"
    for section in document.sections:
        parts = [part for part in section.parts if isinstance(part, Verbatim) or part.rows]
        if section.title and (parts or not section.parts):
            yield from ("", f"{'#' * section.level} {_safe(section.title)}")
        for part in parts:
            yield ""
            yield from _part(part)


def _part(part: Pairs | Table | Verbatim) -> Iterator[str]:
    match part:
        case Pairs():
            yield from (f"- **{_safe(label)}**: {_safe(text)}" for label, text in part.rows)
        case Table():
            yield f"| {' | '.join(map(_safe, part.head))} |"
            yield f"|{'---|' * len(part.head)}"
            yield from (f"| {' | '.join(map(_safe, row))} |" for row in part.rows)
        case Verbatim():
            # Indented code ends with the indentation and needs no fence that its text could close.
            yield from (f"    {_line_of(line)}".rstrip() for line in part.text.splitlines())


def _line_of(line: str) -> str:
    indent = len(line) - len(line.lstrip(" "))
    return " " * indent + printable(line, chars_max=TEXT_CHARS_MAX)


def _safe(text: str) -> str:
    return _MARKUP.sub(r"\\\1", printable(text, chars_max=TEXT_CHARS_MAX))
