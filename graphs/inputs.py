"""A graph's input as it is stored with its run, so that a run which died before its first checkpoint can start again.

Plain values are stored as JSON, which people can read in the record; messages and other objects as LangGraph's own
serializer writes them into checkpoints.
"""

from functools import cache
from typing import Any, Final

import orjson
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Command

from langgraph_control.errors import RunRefused

__all__ = ["INPUT_BYTES_MAX", "decode_input", "encode_input"]

INPUT_BYTES_MAX: Final = 4 * 1024 * 1024
"""How large a stored input may be. Larger things belong into a store, and their name into the input."""

_JSON: Final = "json"


@cache
def _serializer() -> JsonPlusSerializer:
    return JsonPlusSerializer()


def encode_input(value: Any) -> bytes:
    """Return an input as bytes: the name of the form, a line feed, the content.

    Args:
        value: what the graph is to be started with.

    Raises:
        RunRefused: None or a ``Command``, which would go on with something instead of starting it; or not storable.
    """
    if value is None or isinstance(value, Command):
        raise RunRefused(
            f"A run needs an input, and was given {'none' if value is None else 'a Command'}.",
            todo="Pass the graph's input; go on with a run by control.resume(run_id).",
            code="input_missing",
        )
    form, content = (_JSON, orjson.dumps(value)) if _is_plain(value) else _typed(value)
    if len(content) > INPUT_BYTES_MAX:
        raise RunRefused(
            f"The input takes {len(content)} bytes; at most {INPUT_BYTES_MAX} are stored with a run.",
            todo="Put what is large into a store and its name into the input.",
            code="input_too_large",
        )
    return form.encode() + b"\n" + content


def decode_input(stored: bytes) -> Any:
    """Return the input that :func:`encode_input` wrote.

    Args:
        stored: its bytes.
    """
    form, _, content = stored.partition(b"\n")
    if form.decode() == _JSON:
        return orjson.loads(content)
    return _serializer().loads_typed((form.decode(), content))


def _typed(value: Any) -> tuple[str, bytes]:
    try:
        return _serializer().dumps_typed(value)
    except (TypeError, ValueError) as refused:
        raise RunRefused(
            f"The input holds a value that cannot be stored ({type(refused).__name__}).",
            todo="Pass plain values, messages, dataclasses or Pydantic models; pass open resources by context=.",
            code="input_not_storable",
        ) from None


def _is_plain(value: Any) -> bool:
    """Whether JSON brings back exactly this: tuples, subclasses, big and non-finite numbers it would change."""
    match value:
        case None | bool():
            return True
        case str():
            return type(value) is str and _is_text(value)
        case int():
            return type(value) is int and -(2**53) < value < 2**53
        case dict():
            return all(type(name) is str and _is_plain(part) for name, part in value.items())
        case list():
            return all(map(_is_plain, value))
        case _:
            return False


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True
