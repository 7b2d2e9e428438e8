"""Floats where money moves: parameters that are declared so, and JSON numbers, which arrive so and are exact."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any, Final

from langchain_core.tools import BaseTool
from pydantic import BaseModel

from langgraph_control.errors import ArgumentError

__all__ = ["as_sent", "exactly", "float_parameters"]

_NO_SCHEMA: Final = frozenset({"cls", "config", "default", "metadata", "serialization"})


def float_parameters(tool: BaseTool, *, free_text: Collection[str] = ()) -> list[str]:
    """Return the parameters that are floats, or hold one at any depth, as far as their annotations show it.

    Args:
        tool: any tool; one that declares a JSON Schema has none, for its numbers are taken exactly.
        free_text: parameters that are not part of the change.
    """
    if isinstance(tool.args_schema, dict):
        return []
    model: Any = tool.tool_call_schema
    if not (isinstance(model, type) and issubclass(model, BaseModel)):  # of pydantic's version 1
        return []
    model.model_rebuild(raise_errors=False)
    schema: Any = model.__pydantic_core_schema__
    shared: dict[str, Any] = {}
    if schema.get("type") == "definitions":
        shared = {one["ref"]: one for one in schema["definitions"] if "ref" in one}
        schema = schema["schema"]
    fields = schema.get("schema", {}).get("fields", {})
    return [name for name, one in fields.items() if name not in free_text and _is_float(one, shared, set())]


def _is_float(found: Any, shared: Mapping[str, Any], seen: set[str]) -> bool:
    if isinstance(found, (list, tuple)):
        return any(_is_float(one, shared, seen) for one in found)
    if not isinstance(found, dict):
        return False
    kind = found.get("type")
    if not isinstance(kind, str):  # fields by name
        return any(_is_float(one, shared, seen) for one in found.values())
    if kind.startswith("function-"):  # may make anything of it: the call will tell
        return False
    referred = found.get("schema_ref")
    if isinstance(referred, str) and referred in shared and referred not in seen:
        seen.add(referred)
        return _is_float(shared[referred], shared, seen)
    return kind == "float" or any(_is_float(one, shared, seen) for name, one in found.items() if name not in _NO_SCHEMA)


def exactly(value: Any) -> Any:
    """Return a JSON value with the numbers that were written: 50.5 is read as a float, and was meant as 50.5.

    Args:
        value: what JSON was parsed to.
    """
    match value:
        case float() if isfinite(value):
            return Decimal(repr(value))
        case dict():
            return {name: exactly(one) for name, one in value.items()}
        case list():
            return [exactly(one) for one in value]
        case _:
            return value


def as_sent(value: Any) -> Any:
    """Return what :func:`exactly` was given, for a tool that is to send JSON numbers.

    Args:
        value: plain.

    Raises:
        ArgumentError: code ``money_is_float``: no JSON number of Python's is exactly that. Nothing was done.
    """
    match value:
        case Decimal():
            number = float(value)
            if not isfinite(number) or Decimal(repr(number)) != value:
                raise ArgumentError(
                    "A number has more digits than a JSON number keeps.",
                    todo="Send fewer digits, or declare a decimal string.",
                    code="money_is_float",
                )
            return number
        case dict():
            return {name: as_sent(one) for name, one in value.items()}
        case list():
            return [as_sent(one) for one in value]
        case _:
            return value
