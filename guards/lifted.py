"""Plain values as JSON that loses nothing, and back: ``Decimal("12.5")`` ↔ ``{"$decimal": "12.5"}``.

JSON knows text, whole numbers up to 2**53, lists and objects; everything else is *lifted* into an object with one
key that begins with a single ``$``. A user's own key that begins with ``$`` gets another one in front, so no two
different values share a form.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from enum import Enum
from typing import Any, Final, TypeAlias
from uuid import UUID

from langgraph_control.errors import ArgumentError

Json: TypeAlias = str | int | float | bool | list["Json"] | dict[str, "Json"] | None

SAFE_INTEGER: Final = 2**53  # beyond it a reader that keeps numbers as doubles (most of them) would see another number
_EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)  # nothing is rounded
_PLAIN_EXPONENTS: Final = 64  # 1E+64 is written out with its zeros, 1E+999999 is not


class Absent(Enum):
    """The one answer "it is certainly not there"; use the member :data:`ABSENT`."""

    ABSENT = "ABSENT"

    def __repr__(self) -> str:
        return self.value


ABSENT: Final = Absent.ABSENT
"""``find``: it certainly did not happen. ``read``: there is no such record. (None means "cannot tell".)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """Stands for an observed value that cannot be written down.

    Args:
        kind: the value's type, by name.
        why: the reason, without the value.
    """

    kind: str
    why: str


def decimal_text(number: Decimal) -> str:
    """Return one text for all Decimals that are equal: no trailing zeros, no exponent where zeros are few.

    Args:
        number: any Decimal. Its context is not used: nothing is rounded.
    """
    if not number.is_finite():  # observed, never an argument
        return str(number)
    if not number:
        return "0"
    stripped = _EXACT.normalize(number)
    exponent = stripped.as_tuple().exponent
    plain = isinstance(exponent, int) and abs(exponent) <= _PLAIN_EXPONENTS
    return format(stripped, "f") if plain else str(stripped)


def keep_number(number: float | Decimal) -> Json:
    """Write a number so that its type comes back too: what was sent, losslessly."""
    if isinstance(number, int):
        return number if -SAFE_INTEGER <= number <= SAFE_INTEGER else {"$int": str(number)}
    if isinstance(number, float):
        return {"$float": repr(number)}
    return {"$decimal": decimal_text(number)}


def merge_number(number: float | Decimal) -> Json:
    """Write a number so that equal numbers are equal, whatever their type: for keys and hashes.

    A float that is no whole number stands for the shortest decimal that reads back as it, so ``12.5`` and
    ``Decimal("12.50")`` are one number, as they are to the person who wrote either.
    """
    if isinstance(number, float):
        number = int(number) if number.is_integer() else Decimal(repr(number))
    return {"$number": decimal_text(Decimal(number))}


def escaped(key: str) -> str:
    """Return a user's own key so that it cannot be taken for a tag.

    Args:
        key: any text.
    """
    return "$" + key if key.startswith("$") else key


def lift(value: Any, number: Callable[[float | Decimal], Json]) -> Json:
    """Return the JSON form of a plain value.

    Args:
        value: what :func:`langgraph_control.guards.canonical.normalise` or ``observed`` returned.
        number: :func:`keep_number` or :func:`merge_number`.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return lift_text(value)
    if isinstance(value, (int, float, Decimal)):
        return number(value)
    if isinstance(value, dict):
        return {escaped(key): lift(item, number) for key, item in value.items()}
    if isinstance(value, list):
        return [lift(item, number) for item in value]
    return lift_scalar(value)


def lift_text(text: str) -> Json:
    """Return the JSON form of a text: itself, unless UTF-8 has no form for it.

    Args:
        text: any text.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: seen in scraped text, no UTF-8 form
        return {"$text": base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()}
    return text


def lift_scalar(value: object) -> Json:
    """Return the JSON form of a moment, an id, bytes, or one of our own marks.

    Args:
        value: a plain value that JSON has no form for.

    Raises:
        TypeError: it is none of these.
    """
    match value:
        case datetime():
            return {"$datetime": value.isoformat(timespec="microseconds")}
        case date():
            return {"$date": value.isoformat()}
        case time():
            return {"$time": value.isoformat(timespec="microseconds")}
        case timedelta():
            return {"$microseconds": str(value // timedelta(microseconds=1))}
        case UUID():
            return {"$uuid": str(value)}
        case bytes():
            return {"$bytes": base64.b64encode(value).decode()}
        case Absent():
            return {"$absent": True}
        case Opaque():
            return {"$opaque": {"kind": value.kind, "why": value.why}}
    raise TypeError(f"not a plain value: {type(value).__name__}")


Tags: TypeAlias = Mapping[str, Callable[[Any], Any]]

PLAIN_TAGS: Final[Tags] = {
    "$int": int,
    "$float": float,
    "$decimal": Decimal,
    "$text": lambda text: base64.b64decode(text).decode("utf-8", "surrogatepass"),
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$microseconds": lambda text: timedelta(microseconds=int(text)),
    "$uuid": UUID,
    "$bytes": base64.b64decode,
    "$absent": lambda _: ABSENT,
    "$opaque": lambda fields: Opaque(kind=fields["kind"], why=fields["why"]),
}


def lower(form: Any, tags: Tags = PLAIN_TAGS) -> Any:
    """Return the value whose JSON form this is; the inverse of :func:`lift` with :func:`keep_number`.

    Args:
        form: parsed JSON.
        tags: what makes a value of the JSON under each tag.

    Raises:
        ArgumentError: the form has a tag this release does not know; a newer release wrote it. Update.
    """
    if isinstance(form, list):
        return [lower(item, tags) for item in form]
    if not isinstance(form, dict):
        return form
    if len(form) == 1:
        ((tag, inner),) = form.items()
        if tag.startswith("$") and not tag.startswith("$$"):
            return _known(tag, tags)(inner)
    return {key[1:] if key.startswith("$$") else key: lower(item, tags) for key, item in form.items()}


def _known(tag: str, tags: Tags) -> Callable[[Any], Any]:
    if tag in tags:
        return tags[tag]
    raise ArgumentError(
        "A stored value has a form that this release does not know.",
        todo="Update langgraph-control to the release that wrote it.",
        code="stored_form_unknown",
    )
