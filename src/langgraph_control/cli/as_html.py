"""A document as one HTML file: no script, nothing from outside, every text escaped and nothing hidden in it."""

from collections.abc import Iterator
from html import escape
from typing import Final

from langgraph_control.cli.dossier import Document, Pairs, Table, Verbatim
from langgraph_control.guards.visible import Mark, Piece, visible

__all__ = ["as_html"]

_HIDES: Final = frozenset({Mark.CONTROL, Mark.BIDI, Mark.INVISIBLE})
_WHOLE: Final = 2**31
"""Nothing is folded: what is printed has no button to unfold it."""

_LOOK: Final = """
body {
  font: 10.5pt/1.45 "DejaVu Sans", "Segoe UI", system-ui, sans-serif;
  color: #16202c; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
}
h1 { font-size: 1.5rem; }
h2 { font-size: 1.15rem; border-bottom: 1px solid #16202c; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
h1, h2, h3, td, dd { overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .5rem 0; }
dt { color: #51606f; }
dd { margin: 0; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; font-size: .9rem; }
th, td { border: 1px solid #d4dbe3; padding: .2rem .4rem; text-align: left; vertical-align: top; }
th { background: #f3f5f8; }
pre {
  white-space: pre-wrap; overflow-wrap: anywhere; background: #f3f5f8; padding: .75rem;
  font: 9pt/1.4 "DejaVu Sans Mono", monospace;
}
.mark { color: #6d1fa0; background: #f3e6fb; font-family: monospace; }
.doubtful { border-bottom: 2px dotted #6d1fa0; font-family: inherit; }
thead { display: table-header-group; }
tr, dt, dd { break-inside: avoid; }
h2, h3 { break-after: avoid; }
@media print {
  body { margin: 0; max-width: none; font-size: 9pt; }
  @page { margin: 15mm; }
}
"""

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def as_html(document: Document) -> str:
    """Return a document as one HTML file.

    Args:
        document: what to write.
    """
    return "".join(_written(document))


def _written(document: Document) -> Iterator[str]:
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield '<meta name="referrer" content="no-referrer">\n'
    yield f"<title>{_plain(document.title)}</title>\n<style>{_LOOK}</style>\n</head>\n<body>\n"
    yield f"<h1>{_shown(document.title)}</h1>\n"
    for section in document.sections:
        parts = [part for part in section.parts if isinstance(part, Verbatim) or part.rows]
        if section.title and (parts or not section.parts):
            yield f"<h{section.level}>{_shown(section.title)}</h{section.level}>\n"
        for part in parts:
            yield from _part(part)
    yield "</body>\n</html>\n"


def _part(part: Pairs | Table | Verbatim) -> Iterator[str]:
    match part:
        case Pairs():
            rows = (f"<dt>{_shown(label)}</dt><dd>{_shown(text)}</dd>" for label, text in part.rows)
            yield f"<dl>{''.join(rows)}</dl>\n"
        case Table():
            head = "".join(f'<th scope="col">{_shown(name)}</th>' for name in part.head)
            yield f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
            for row in part.rows:
                yield f"<tr>{''.join(f'<td>{_shown(cell)}</td>' for cell in row)}</tr>\n"
            yield "</tbody>\n</table>\n"
        case Verbatim():
            yield f"<pre>{_shown(part.text)}</pre>\n"


def _shown(text: str) -> str:
    """A text in which what is hidden is named, and what looks like something else is flagged."""
    if text.isascii() and text.isprintable():
        return escape(text)  # the rule; found out at once
    return f"<bdi>{''.join(map(_piece, visible(text, fold_chars=_WHOLE).pieces))}</bdi>"


def _plain(text: str) -> str:
    return escape("".join(piece.text for piece in visible(text, fold_chars=_WHOLE).pieces).replace("\n", " "))


def _piece(piece: Piece) -> str:
    said = escape(piece.text)
    if piece.mark is Mark.TEXT or piece.mark is Mark.BREAK:
        return said
    if piece.mark in _HIDES:
        return f'<span class="mark" title="{escape(piece.says)}">{said}</span>'
    return f'<span class="mark doubtful" title="{escape(piece.says)}">{said} [{escape(piece.says)}]</span>'
