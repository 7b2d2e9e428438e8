"""Texts, times and numbers as the pages show them. No text is trusted: escaped, its hidden characters named."""

from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Final

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from langgraph_control.audit.trail.quoted import quoted
from langgraph_control.audit.trail.timeline import duration_text
from langgraph_control.guards.visible import FOLD_CHARS, Mark, Piece, visible

__all__ = ["LINE_CHARS", "age", "asset", "environment", "line", "moment", "shown", "value_text"]

LINE_CHARS: Final = 160
JUST_NOW: Final = timedelta(seconds=5)
_HIDES: Final = {Mark.CONTROL, Mark.BIDI, Mark.INVISIBLE}


def shown(text: object, fold_chars: int = FOLD_CHARS) -> Markup:
    """Return a text as a block: whole, with what is long folded, and nothing hidden in it.

    Args:
        text: anything.
        fold_chars: longer texts are folded.
    """
    found = visible(str(text), fold_chars=fold_chars)
    head = Markup('<div class="text" dir="auto">{}</div>').format(_pieces(found.head))
    if not found.rest:
        return head
    rest = Markup('<details class="rest"><summary>Show {} more characters</summary>{}</details>')
    block = Markup('<div class="text" dir="auto">{}</div>').format(_pieces(found.rest))
    return head + rest.format(found.rest_chars, block)


def line(text: object, chars_max: int = LINE_CHARS) -> Markup:
    """Return a text on one line, cut where it is long; what is cut is counted.

    Args:
        text: anything.
        chars_max: longer texts are cut.
    """
    found = visible(" ".join(str(text).split()), fold_chars=chars_max)
    more = Markup(" <span class=more>… ({} more)</span>").format(found.rest_chars) if found.rest else Markup()
    return Markup("<bdi>{}{}</bdi>").format(_pieces(found.head), more)


def _pieces(pieces: tuple[Piece, ...]) -> Markup:
    return Markup().join(map(_piece, pieces))


def _piece(piece: Piece) -> Markup:
    match piece.mark:
        case Mark.TEXT | Mark.BREAK:
            return escape(piece.text)
        case mark if mark in _HIDES:
            return Markup('<span class="mark" title="{}">{}</span>').format(piece.says, piece.text)
        case _:
            noted = Markup('<span class="mark doubtful" title="{0}">{1}<span class="note"> [{0}]</span></span>')
            return noted.format(piece.says, piece.text)


def value_text(value: Any) -> str:
    """Return an argument's or a record's value as people read it.

    Args:
        value: JSON primitives.
    """
    match value:
        case str():
            return value
        case None:
            return "(nothing)"
        case bool():
            return "yes" if value else "no"
        case _:
            return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def moment(at: datetime | None) -> Markup:
    """Return a moment in UTC, for people and for programs.

    Args:
        at: with a time zone; None for nothing.
    """
    if at is None:
        return Markup()
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        utc.isoformat(timespec="seconds"), utc.strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def age(at: datetime | None, now: datetime) -> str:
    """Return how long ago or ahead a moment is.

    Args:
        at: the moment; None for nothing.
        now: the time.
    """
    if at is None:
        return ""
    length = timedelta(seconds=round((now - at).total_seconds()))
    if abs(length) < JUST_NOW:
        return "just now"
    said = duration_text(abs(length)).replace(".00", "")
    return f"{said} ago" if length > timedelta(0) else f"in {said}"


@cache
def environment() -> Environment:
    """Return the templates. Everything that is put into one is escaped."""
    made = Environment(
        loader=PackageLoader("langgraph_control.console"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(shown=shown, line=line, moment=moment, age=age, quoted=quoted)
    return made


def asset(name: str) -> bytes:
    """Return a file that pages use.

    Args:
        name: one of ours, never from a request.
    """
    return files("langgraph_control.console").joinpath("static", name).read_bytes()
