"""Defaults that a function makes: where one is another with each call, a repeat of a call would be another change."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import Any, Final

from langchain_core.tools import BaseTool
from langchain_core.utils.pydantic import get_fields
from pydantic import BaseModel

from langgraph_control.guards.canonical import observed_identity_bytes

__all__ = ["MadeDefaults", "made_defaults"]

_ALWAYS_EQUAL: Final = frozenset({list, dict, set, frozenset, tuple, str, int, float, bool, bytes, Decimal})
_NO_SCHEMA: Final = frozenset(
    {"cls", "config", "default", "metadata", "serialization"}
)  # of a node's: no values in there


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeDefaults:
    """Arguments of which something, at any depth, is made by a function where it is not given.

    Args:
        by_function: all of them, but for functions that plainly make the same each time, such as ``list``.
        anew: those where it is another one each time, as ``uuid4`` or ``datetime.now`` make it.
    """

    by_function: frozenset[str] = frozenset()
    anew: frozenset[str] = frozenset()


def made_defaults(tool: BaseTool) -> MadeDefaults:
    """Return which of a tool's arguments have defaults that a function makes. Each function is called twice.

    Args:
        tool: any tool; one that declares a JSON Schema has none.
    """
    if isinstance(tool.args_schema, dict):
        return MadeDefaults()
    model: Any = tool.get_input_schema()
    made = {name: [one for one in ways if one not in _ALWAYS_EQUAL] for name, ways in _by_argument(model)}
    return MadeDefaults(
        by_function=frozenset(name for name, ways in made.items() if ways),
        anew=frozenset(name for name, ways in made.items() if any(_differs(way) for way in ways)),
    )


def _by_argument(model: Any) -> Iterator[tuple[str, list[Callable[..., Any]]]]:
    if not issubclass(model, BaseModel):  # of pydantic's version 1
        for name, declared in get_fields(model).items():
            yield name, list(_of_version_1(declared, set()))
        return
    model.model_rebuild(raise_errors=False)  # one that refers to what came after it is not whole yet
    schema: Any = model.__pydantic_core_schema__
    shared = {one["ref"]: one for one in _nodes(schema, {}, set()) if "ref" in one}
    for node in _nodes(schema, {}, set()):
        if node.get("type") == "model-fields":
            for name, declared in node["fields"].items():
                yield name, [one["default_factory"] for one in _nodes(declared, shared, set()) if _makes(one)]
            return


def _nodes(found: Any, shared: Mapping[str, Any], seen: set[str]) -> Iterator[dict[str, Any]]:
    """All nodes of a core schema, from the outside in, those it refers to among them."""
    if isinstance(found, (list, tuple)):
        for one in found:
            yield from _nodes(one, shared, seen)
    if not isinstance(found, dict):
        return
    yield found
    referred = found.get("schema_ref")
    if isinstance(referred, str) and referred in shared and referred not in seen:
        seen.add(referred)
        yield from _nodes(shared[referred], shared, seen)
    for name, one in found.items():
        if name not in _NO_SCHEMA:
            yield from _nodes(one, shared, seen)


def _makes(node: Mapping[str, Any]) -> bool:
    return node.get("type") == "default" and "default_factory" in node


def _of_version_1(declared: Any, seen: set[Any]) -> Iterator[Callable[..., Any]]:
    if declared.default_factory is not None:
        yield declared.default_factory
    inner = declared.type_
    if hasattr(inner, "__fields__") and inner not in seen:
        seen.add(inner)
        for one in get_fields(inner).values():
            yield from _of_version_1(one, seen)


def _differs(way: Callable[..., Any]) -> bool:
    """Whether it makes another value each time, or one that tells the time."""
    try:
        one, other = way(), way()
    except Exception:  # noqa: BLE001 - a user's function may raise anything, or want what only a call has
        return False
    return isinstance(one, (date, time)) or observed_identity_bytes(one) != observed_identity_bytes(other)
