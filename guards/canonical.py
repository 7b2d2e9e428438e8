"""One form for equal values: equal calls get equal keys, hashes and digests on every machine and in every release.

What counts as equal is decided here, once:

- text is compared in Unicode NFC; a text is never a number ("1.0" may be an order id);
- ``Decimal("1.0")`` is ``Decimal("1.00")``; in keys and hashes ``100``, ``100.0`` and ``Decimal("100")`` are one
  number; ``True`` is not ``1``;
- a moment is its UTC instant; a datetime without a zone is refused, for it names another moment on each machine;
- tuples are lists; sets are lists in a fixed order; Pydantic models, dataclasses and other mappings are objects by
  field; enum members are their values; URLs, paths and IP addresses are their text. A tool that runs again from stored
  arguments gets these plain forms; its argument schema makes its own types of them, as of what a model sends.
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson

from langgraph_control.errors import ArgumentError
from langgraph_control.guards.lifted import (
    ABSENT,
    Absent,
    Json,
    Opaque,
    escaped,
    keep_number,
    lift,
    lower,
    merge_number,
)
from langgraph_control.guards.plain import Value, key_text, normalise, observed

__all__ = [
    "ABSENT",
    "ARGUMENTS_BYTES_MAX",
    "Absent",
    "Identified",
    "Opaque",
    "Value",
    "canonical_bytes",
    "from_canonical",
    "identified",
    "identified_bytes",
    "identity_bytes",
    "normalise",
    "observed",
    "observed_bytes",
    "observed_identity_bytes",
    "plain_bytes",
    "refuse_money_floats",
]

ARGUMENTS_BYTES_MAX: Final = 256 * 1024


def canonical_bytes(value: object, *, at: str = "arguments") -> bytes:
    """Return the canonical JSON of a value: sorted keys, UTF-8, types kept. Equal values give equal bytes.

    Args:
        value: anything :func:`normalise` accepts.
        at: what the value is called in an error.

    Raises:
        ArgumentError: see :func:`normalise`; also ``arguments_too_large`` above 256 KiB.
    """
    return _limited(_dump(lift(normalise(value, at=at), keep_number)), at)


def identity_bytes(value: object, *, at: str = "arguments") -> bytes:
    """Return bytes for keys and hashes: as :func:`canonical_bytes`, with numbers compared by value, not by type.

    Args:
        value: anything :func:`normalise` accepts.
        at: what the value is called in an error.

    Raises:
        ArgumentError: see :func:`canonical_bytes`.
    """
    return _limited(_dump(lift(normalise(value, at=at), merge_number)), at)


class Identified(dict[str, Json]):
    """Arguments by name, each in the form in which keys and hashes see it. Made by :func:`identified`."""

    __slots__ = ()


def identified(arguments: Mapping[str, object], *, at: str = "arguments") -> Identified:
    """Return a call's arguments in the form of :func:`identity_bytes`, once for all keys and hashes of the call.

    Args:
        arguments: anything :func:`normalise` accepts.
        at: what they are called in an error.

    Raises:
        ArgumentError: see :func:`normalise`.
    """
    if isinstance(arguments, Identified):
        return arguments
    plain = normalise(arguments, at=at)
    assert isinstance(plain, dict)  # noqa: S101 - a mapping's plain form
    return Identified({name: lift(value, merge_number) for name, value in plain.items()})


def identified_bytes(arguments: Identified, *, at: str = "arguments") -> bytes:
    """Return what :func:`identity_bytes` returns for the same arguments.

    Args:
        arguments: all of a call's, or some.
        at: what they are called in an error.

    Raises:
        ArgumentError: code ``arguments_too_large``, above 256 KiB.
    """
    return _limited(_dump({escaped(name): form for name, form in arguments.items()}), at)


def observed_identity_bytes(value: object) -> bytes:
    """Return bytes for comparing anything that was seen, numbers by value. Never raises.

    Args:
        value: anything.
    """
    if value is None:
        return b"null"
    return _dump(lift(observed(value), merge_number))


def observed_bytes(value: object, *, bytes_max: int = ARGUMENTS_BYTES_MAX) -> bytes:
    """Return canonical JSON for anything that was seen. Never raises.

    Args:
        value: anything.
        bytes_max: above this size the value is replaced by its size and SHA-256.
    """
    dumped = _dump(lift(observed(value), keep_number))
    if len(dumped) <= bytes_max:
        return dumped
    commitment = f"{len(dumped)} bytes, sha256 {hashlib.sha256(dumped).hexdigest()}"
    return _dump(lift(Opaque(kind=type(value).__name__, why=commitment), keep_number))


def from_canonical(stored: bytes) -> Any:
    """Return the plain value that :func:`canonical_bytes` or :func:`observed_bytes` wrote.

    Args:
        stored: the exact bytes.

    Raises:
        ArgumentError: a newer release wrote them.
    """
    return lower(orjson.loads(stored))


def plain_bytes(plain: Value) -> bytes:
    """Return canonical JSON for values that are plain already, normalised and observed ones together.

    Args:
        plain: made of what :func:`normalise` and :func:`observed` returned; not checked again and not limited.
    """
    return _dump(lift(plain, keep_number))


def refuse_money_floats(arguments: Mapping[str, object], *, tool: str, free_text: Collection[str] = ()) -> None:
    """Refuse a call that moves money when one of its arguments is, or holds, a float.

    A binary float cannot hold 0.10; a digest over what was meant and a payment of what was sent could differ.

    Args:
        arguments: the call's arguments, as the tool would get them.
        tool: the tool's name, for the error.
        free_text: arguments that are not part of the change.

    Raises:
        ArgumentError: code ``money_is_float``; the text names the field. Nothing was done.
    """
    for name, value in arguments.items():
        if name not in free_text and (where := _float_in(normalise(value, at=name), name)):
            raise ArgumentError(
                f"Tool {tool}: {where} is a float where money is declared.",
                todo="Declare the parameter as Decimal (what a model sends is then parsed exactly), "
                "or pass integer minor units or a decimal string.",
                code="money_is_float",
            )


def _float_in(value: Value, where: str) -> str | None:
    if isinstance(value, float):
        return where
    if isinstance(value, dict):
        inner = ((f"{where}.{key_text(key)}", item) for key, item in value.items())
    elif isinstance(value, list):
        inner = ((f"{where}[{index}]", item) for index, item in enumerate(value))
    else:
        return None
    return next((found for place, item in inner if (found := _float_in(item, place))), None)


def _dump(form: Json) -> bytes:
    return orjson.dumps(form, option=orjson.OPT_SORT_KEYS)


def _limited(dumped: bytes, at: str) -> bytes:
    if len(dumped) > ARGUMENTS_BYTES_MAX:
        raise ArgumentError(
            f"{at}: {len(dumped)} bytes are more than the {ARGUMENTS_BYTES_MAX} a call may carry.",
            todo="Pass a reference (an id, a URL) instead of the content.",
            code="arguments_too_large",
        )
    return dumped
