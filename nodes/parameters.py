"""The arguments of a tool as its model sees them, whatever way the tool declares them."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, cast

import orjson
from jsonschema import SchemaError
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator, validator_for
from langchain_core.tools import BaseTool
from langchain_core.utils.pydantic import get_fields
from pydantic import BaseModel
from referencing import Registry
from referencing.exceptions import Unresolvable

from langgraph_control.errors import ArgumentError, ContractError
from langgraph_control.nodes.permitted_texts import permitted_texts

__all__ = ["Parameters", "revive_arguments", "tool_parameters", "validate_arguments"]

_NONE_DECLARED: Final = object()
_VARIADIC: Final = {"args": inspect.Parameter.VAR_POSITIONAL, "kwargs": inspect.Parameter.VAR_KEYWORD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a tool takes.

    Args:
        names: the arguments a model may send, in declared order.
        defaults: declared defaults by name; a name without one is required or has none to compare with.
        injected: what LangGraph fills in (state, store, runtime, call id, config): no part of the change.
        schema: the JSON Schema of a tool that declares one (MCP): LangChain does not validate those; None otherwise.
        permitted: a field's path, such as ``lines[].status`` → the texts that the schema permits there by name.
    """

    names: tuple[str, ...]
    defaults: Mapping[str, Any]
    injected: frozenset[str]
    schema: Mapping[str, Any] | None = None
    permitted: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def visible(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that are part of the change: all but the injected ones.

        Args:
            given: what the tool's function is called with.
        """
        return {name: value for name, value in given.items() if name not in self.injected}


def tool_parameters(tool: BaseTool) -> Parameters:
    """Return what a tool takes.

    Args:
        tool: a ``StructuredTool``, a ``BaseTool`` subclass, or a tool that declares a JSON Schema.
    """
    body = _body(tool)
    taken = _signature(body)
    if isinstance(tool.args_schema, dict):
        properties = tool.args_schema.get("properties") or {}
        defaults = {name: about["default"] for name, about in properties.items() if _has_default(about)}
        injected = frozenset(_plain(taken)) - frozenset(properties)
        return Parameters(
            names=tuple(properties),
            defaults=defaults,
            injected=injected,
            schema=tool.args_schema,
            permitted=permitted_texts(tool.args_schema),
        )
    fields = get_fields(tool.get_input_schema())
    visible = get_fields(cast("Any", tool.tool_call_schema))
    names = tuple(name for name in visible if taken.get(name) != _VARIADIC.get(name, "none"))
    injected = (frozenset(fields) | frozenset(_plain(taken))) - frozenset(visible)
    defaults = {name: default for name in names if (default := _default(fields[name])) is not _NONE_DECLARED}
    return Parameters(
        names=names, defaults=defaults, injected=injected, permitted=permitted_texts(_declared(tool.tool_call_schema))
    )


def validate_arguments(tool: BaseTool, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a tool that declares a JSON Schema, once they fit it. Other tools validate themselves.

    Args:
        tool: the tool.
        raw: what the model sent, injected arguments left out.

    Raises:
        ArgumentError: code ``arguments_invalid``; names the field and what the schema wants there, no values. Nothing
            was done: the model can call again.
        ContractError: code ``contract_schema``; the tool's schema is no schema, or refers outside itself.
    """
    if not isinstance(tool.args_schema, dict):
        return dict(raw)
    validator = _validator(_schema_bytes(tool.name, tool.args_schema), tool.name)
    try:
        wrong = best_match(validator.iter_errors(dict(raw)))
    except (Unresolvable, RecursionError, re.error) as unusable:
        raise _unusable_schema(tool.name) from unusable
    if wrong is not None:
        raise ArgumentError(
            f"Tool {tool.name}: {_place(wrong)} {_wanted(wrong)}.",
            todo="Call the tool again with arguments that fit its schema.",
        )
    return dict(raw)


def revive_arguments(tool: BaseTool, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored arguments as the tool's function expects them: models, sets and enums made of their plain forms.

    Args:
        tool: the tool.
        stored: plain values by parameter name, as read back from the ledger.

    Raises:
        ArgumentError: code ``arguments_stored_unfit``: the tool's parameters have changed since the call was stored.
            Nothing was done; start again with a call that fits.
    """
    if isinstance(tool.args_schema, dict):
        return dict(stored)
    schema = cast("Any", tool.tool_call_schema)
    try:
        if issubclass(schema, BaseModel):
            model = schema.model_validate(dict(stored), by_alias=True, by_name=True)
        else:
            model = schema.parse_obj(dict(stored))
    except ValueError as unfit:  # pydantic's ValidationError, of either major version; its text quotes values
        raise ArgumentError(
            f"Tool {tool.name}: its parameters have changed since this call was stored.",
            todo="Start again with a call that fits the tool as it is now.",
            code="arguments_stored_unfit",
        ) from unfit
    made = get_fields(schema)
    return {name: getattr(model, name) if name in made else value for name, value in stored.items()}


def _schema_bytes(name: str, schema: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(schema)
    except TypeError as unusable:
        raise _unusable_schema(name) from unusable


@lru_cache(maxsize=512)
def _validator(schema_bytes: bytes, name: str) -> Validator:
    schema = orjson.loads(schema_bytes)
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as unusable:
        raise _unusable_schema(name) from unusable
    return kind(schema, registry=Registry())  # an empty registry: a "$ref" to the network is refused, not fetched


def _unusable_schema(name: str) -> ContractError:
    return ContractError(
        f"Tool {name} declares arguments by a JSON Schema that cannot be used.",
        todo="Correct the schema at the tool's server; references may only point inside it.",
        code="contract_schema",
    )


def _place(wrong: ValidationError) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in wrong.absolute_path)
    return path.lstrip(".") or "the call"


def _wanted(wrong: ValidationError) -> str:
    """What the schema says, never what was sent: jsonschema's own messages quote the value."""
    said: Any = wrong.validator_value
    match wrong.validator:
        case "type":
            return f"must be {said if isinstance(said, str) else ' or '.join(said)}"
        case "required":
            given = wrong.instance if isinstance(wrong.instance, Mapping) else {}
            return f"lacks {', '.join(name for name in said if name not in given)}"
        case "enum" | "const" | "minimum" | "maximum" | "minLength" | "maxLength" | "pattern" | "format":
            return f"must fit {wrong.validator} {orjson.dumps(said).decode()[:200]}"
        case "additionalProperties" | "unevaluatedProperties":
            return "has an argument the schema does not name"
        case rule:
            return f"breaks the schema's rule {rule!r}"


def _body(tool: BaseTool) -> Callable[..., Any]:
    return getattr(tool, "func", None) or getattr(tool, "coroutine", None) or tool._run  # noqa: SLF001 - a subclass's body


def _signature(body: Callable[..., Any]) -> dict[str, Any]:
    """Parameter kinds by name."""
    try:
        return {name: about.kind for name, about in inspect.signature(body).parameters.items()}
    except (TypeError, ValueError):  # some callables of C have none
        return {}


def _plain(taken: Mapping[str, Any]) -> list[str]:
    """Names that stand for one argument each, not for all the others."""
    return [name for name, kind in taken.items() if kind not in _VARIADIC.values()]


def _declared(model: Any) -> Any:
    """The JSON Schema of a model of either major version; None where a type of the user's has none."""
    try:
        return (model.model_json_schema if hasattr(model, "model_json_schema") else model.schema)(by_alias=False)
    except Exception:  # noqa: BLE001 - a type may have no JSON Schema, or raise anything when asked for it
        return None


def _has_default(about: object) -> bool:
    return isinstance(about, Mapping) and "default" in about


def _default(declared: Any) -> Any:
    """The default of a pydantic field (of either major version), or a marker."""
    required = declared.is_required() if hasattr(declared, "is_required") else declared.required
    if required:
        return _NONE_DECLARED
    try:
        made = (
            declared.get_default(call_default_factory=True)
            if hasattr(declared, "is_required")
            else declared.get_default()
        )
    except Exception:  # noqa: BLE001 - a user's factory may raise anything; then there is no default to compare with
        return _NONE_DECLARED
    return made
