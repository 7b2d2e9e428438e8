"""What people say, and whom and what they name, as the ledger takes it: how long it may be, and of which characters.

The limits are those of the ledger's SQL. What it would refuse is refused here, before anything is sent, by the field's
name and the kind of value it holds, never by the value: that may be a secret, or what a terminal obeys. Pure.
"""

import re
from typing import Final

from langgraph_control.errors import ArgumentError

__all__ = [
    "COMMENT_CHARS_MAX",
    "FROZEN_CHARS_MAX",
    "NOTHING_SENT",
    "PERSON_CHARS_MAX",
    "RECORD_CHARS_MAX",
    "check_comment",
    "check_json",
    "check_name",
    "check_stand_in",
    "storable",
]

COMMENT_CHARS_MAX: Final = 10_000

PERSON_CHARS_MAX: Final = 256
"""Of a person's or a role's name."""

FROZEN_CHARS_MAX: Final = 512
"""Of the agent, system or tool whose writes are stopped."""

RECORD_CHARS_MAX: Final = 1024
"""Of a run's trigger, an intent or a record, and of whatever the record is searched for."""

NOTHING_SENT: Final = "Nothing was sent."

_GROUP: Final = "group:"  # how a policy's roles name groups
_NUL_IN_JSON: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def storable(text: str) -> bool:
    """Return whether the record can keep a text: Postgres keeps no NUL, and half a surrogate pair has no UTF-8 form.

    Args:
        text: anything.
    """
    return _unfit(text) is None


def check_comment(comment: object, *, at: str = "comment") -> None:
    """Refuse what can be no comment.

    Args:
        comment: as given; None is no comment, and passes.
        at: what the field is called in an error.

    Raises:
        ArgumentError: ``comment_too_long``; or ``text_invalid``: it is no text that can be kept.
    """
    if comment is None:
        return
    length = len(_text(comment, at))
    if length > COMMENT_CHARS_MAX:
        raise ArgumentError(
            f"{at}: a text of {length:,} characters, and at most {COMMENT_CHARS_MAX:,} are kept.",
            safe=NOTHING_SENT,
            todo="Shorten it; say where the rest can be read.",
            code="comment_too_long",
        )


def check_name(name: object, *, at: str, chars_max: int = PERSON_CHARS_MAX, needed: bool = False) -> None:
    """Refuse what names nobody and nothing that there can be.

    Args:
        name: as given; None names nothing, and passes.
        at: what the field is called in an error.
        chars_max: longer ones are refused.
        needed: an empty one is, too.

    Raises:
        ArgumentError: ``name_too_long``; ``name_missing``; or ``text_invalid``: it is no text that can be kept.
    """
    if name is None:
        return
    length = len(_text(name, at))
    if length > chars_max:
        raise ArgumentError(
            f"{at}: a text of {length:,} characters, and a name has at most {chars_max:,}.",
            safe=NOTHING_SENT,
            todo="Write the name as the policy, the inbox or the record shows it.",
            code="name_too_long",
        )
    if needed and not length:
        raise ArgumentError(
            f"{at}: an empty text, where a name is needed.",
            safe=NOTHING_SENT,
            todo="Write the name as the record shows it.",
            code="name_missing",
        )


def check_stand_in(to: object, *, at: str = "to") -> None:
    """Refuse a name that nobody can sign in under, so that nobody would stand in.

    Args:
        to: as given.
        at: what the field is called in an error.

    Raises:
        ArgumentError: as :func:`check_name`; or ``no_stand_in``: it is blank, cannot be printed, or is a group's.
    """
    name = _text(to, at)
    check_name(name, at=at)
    kind = (
        "a blank text"
        if not name.strip()
        else "a text with characters that do not print"
        if not name.isprintable()
        else "the name of a group"
        if name.strip().lower().startswith(_GROUP)
        else None
    )
    if kind is not None:
        raise ArgumentError(
            f"{at}: {kind}, and it has to be said who stands in: one person.",
            safe=NOTHING_SENT,
            todo="Name them as the policy's roles name people.",
            code="no_stand_in",
        )


def check_json(data: bytes, *, at: str) -> None:
    """Refuse JSON with a text in it that the record cannot keep.

    Args:
        data: canonical, so that it is UTF-8 and writes a NUL in one way only.
        at: what it is called in an error.

    Raises:
        ArgumentError: ``text_invalid``.
    """
    if _NUL_IN_JSON.search(data):
        raise _invalid(at, _unfit("\x00") or "")


def _text(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise _invalid(at, f"a value of type {type(value).__name__}")
    unfit = _unfit(value)
    if unfit is not None:
        raise _invalid(at, unfit)
    return value


def _unfit(text: str) -> str | None:
    """What of a text cannot be kept; None where all of it can."""
    if "\x00" in text:
        return "a text with a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a text that is no UTF-8 (it holds half of a surrogate pair)"
    return None


def _invalid(at: str, kind: str) -> ArgumentError:
    return ArgumentError(
        f"{at}: {kind}, which the record cannot keep.",
        safe=NOTHING_SENT,
        todo="Write it as text in UTF-8, without NUL characters.",
        code="text_invalid",
    )
