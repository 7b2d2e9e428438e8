"""A change that cannot be stated is not done: what a call still lacks, and how to say so to the model.

Only what is certain is refused. A placeholder must be the *whole* value, so that a message about a TODO list, or a
subject like "Unknown charge on my card", passes. Words that are values in some systems (`none`, `null`, `test`) are no
placeholders here, and so is no value that a schema permits by name, or that is the argument's own default.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["INTENT", "TARGET", "Lack", "Missing", "ask_for", "is_placeholder", "missing_pieces"]

INTENT: Final = "intent"  # the field name of the run's own intent; no argument's path starts with a space or is empty
TARGET: Final = "target"  # the field name of what a hook could not name


class Lack(StrEnum):
    """Why a change cannot be stated. The codes are stable: they are recorded in the trail."""

    NO_INTENT = "no_intent"  # the run does not say which request the change belongs to
    NO_EXPLANATION = "no_explanation"  # an argument that must say why is absent or blank
    NO_TARGET = "no_target"  # an argument that names the record is absent or blank
    UNKNOWN_TARGET = "unknown_target"  # the contract's hook names no record for these arguments
    PLACEHOLDER = "placeholder"  # a value stands in for one that is not known yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """One piece that a call lacks.

    Args:
        field: the argument's path, ``lines[2].sku``, or ``intent``, or ``target``.
        why: what is wrong with it.
    """

    field: str
    why: Lack


_SENTENCES: Final[Mapping[Lack, str]] = {
    Lack.NO_INTENT: "the run has no intent; whoever started it must say which request the change belongs to",
    Lack.NO_EXPLANATION: "is required: say why the change is right",
    Lack.NO_TARGET: "is required: it names the record to change",
    Lack.UNKNOWN_TARGET: "no record to change was found by these arguments",
    Lack.PLACEHOLDER: "holds a placeholder instead of a value",
}

_WHOLE: Final = frozenset({Lack.NO_INTENT, Lack.UNKNOWN_TARGET})  # their sentences name what they are about

_WORDS: Final = frozenset({"tbd", "tba", "tbc", "todo", "fixme", "xxx", "n/a", "unknown", "placeholder"})
_SHAPES: Final = re.compile(
    r"""
      \?{2,}                              # ???
    | <[^\W\d_][\w .-]{0,60}>             # <order id>, but neither <ana@acme.example> nor <https://...>
    | \{\{[^{}]{1,60}\}\}                 # {{ order_id }}
    | \$\{[^{}]{1,60}\}                   # ${ORDER_ID}
    | (?:your|insert|enter)[_-](?:\w[\w-]*[_-])?(?:NOUN|here)    # your_order_id_here, but not your-order-has-shipped
    | (?:\w[\w-]*[_-])?NOUN[_-]here                            # order_id_here, but not kilroy_was_here
    """.replace("NOUN", "(?:id|name|number|key|token|email|date|amount|value)"),
    re.VERBOSE,
)
_LONGEST_PLACEHOLDER: Final = 80
_INDEX: Final = re.compile(r"\[\d+\]")
_NONE: Final[Mapping[str, Collection[str]]] = MappingProxyType({})


def missing_pieces(
    *,
    intent: str | None,
    arguments: Mapping[str, object],
    explained_by: Collection[str] = (),
    target_named_by: Collection[str] = (),
    target_found: bool = True,
    permitted: Mapping[str, Collection[str]] = _NONE,
    at_default: Collection[str] = (),
) -> tuple[Missing, ...]:
    """Return what the call lacks, in a fixed order; empty where the change can be stated.

    Args:
        intent: the business request the run was started for.
        arguments: the call's arguments, normalised.
        explained_by: arguments that must say why, as the contract's ``explain`` names them.
        target_named_by: arguments that name the record, as the contract's ``target`` uses them.
        target_found: a hook that names the record gave a name, or there is no such hook.
        permitted: field's path, ``lines[].status`` → the texts that its schema permits by name: no placeholders.
        at_default: arguments that are as the tool declares them where they are not given: nobody stood anything in.
    """
    lacks: list[Missing] = []
    if intent is None or not intent.strip() or is_placeholder(intent):
        lacks.append(Missing(field=INTENT, why=Lack.NO_INTENT))
    lacks += (Missing(field=name, why=Lack.NO_TARGET) for name in target_named_by if _is_blank(arguments.get(name)))
    lacks += () if target_found else (Missing(field=TARGET, why=Lack.UNKNOWN_TARGET),)
    lacks += (Missing(field=name, why=Lack.NO_EXPLANATION) for name in explained_by if _is_blank(arguments.get(name)))
    stated = {*explained_by, *target_named_by}  # a default is no reason, and names no record
    open_fields = ((name, value) for name, value in arguments.items() if name in stated or name not in at_default)
    lacks += (
        Missing(field=path, why=Lack.PLACEHOLDER)
        for name, value in open_fields
        for path, text in _texts(value, path=name)
        if is_placeholder(text) and text not in permitted.get(_INDEX.sub("[]", path), ())
    )
    return tuple(lacks)


def ask_for(tool: str, missing: Iterable[Missing]) -> str:
    """Return why it was not done, for the record and the model: which pieces to give, without any value it sent.

    Args:
        tool: the tool's name.
        missing: what :func:`missing_pieces` found, at least one.
    """
    pieces = "; ".join(
        _SENTENCES[piece.why] if piece.why in _WHOLE else f"{piece.field} {_SENTENCES[piece.why]}" for piece in missing
    )
    return (
        f"{tool} was called before the change can be stated. {pieces}. "
        "Find the missing piece or ask for it, then call again; do not guess"
    )


def is_placeholder(text: str) -> bool:
    """Whether the whole text stands in for a value that is not known yet.

    Args:
        text: one argument's text. Case, surrounding blanks and full-width letters make no difference.
    """
    if len(text) > _LONGEST_PLACEHOLDER:
        return False
    plain = unicodedata.normalize("NFKC", text).strip().casefold()
    return plain in _WORDS or _SHAPES.fullmatch(plain) is not None


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _texts(value: object, *, path: str) -> Iterator[tuple[str, str]]:
    """Every text inside a value with its path. Depth is bounded, because arguments are normalised before."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, path=f"{path}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, path=f"{path}[{index}]")
