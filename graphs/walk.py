"""Walk what is reachable from a compiled graph: nodes, and what their functions close over or name as globals.

Bounded, and deliberately modest: it follows functions, methods, tools, runnables, graphs and plain containers, and
treats everything else as a leaf. It reads; it never calls.
"""

import functools
import logging
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel
from langgraph.pregel._read import PregelNode

__all__ = ["OBJECTS_MAX", "Seen", "walk"]

logger = logging.getLogger(__name__)

OBJECTS_MAX: Final = 20_000
"""How many objects are looked at; what lies beyond is not seen, and the log says so."""

# Nothing to be found inside: plain values, and what would lead through half of the interpreter.
_LEAVES: Final = (str, bytes, int, float, types.NoneType, type, types.ModuleType, BaseLanguageModel)

# The globals of these packages' functions lead through the packages themselves, not through the user's program.
_FRAMEWORKS: Final = ("langgraph.", "langchain.", "langchain_core.", "langgraph_control.")


@dataclass(frozen=True, slots=True)
class Seen:
    """Something reachable.

    Args:
        item: the object.
        node: the graph's node it was reached from, with those of outer graphs before it.
    """

    item: Any
    node: str


def walk(start: Any, *, stop: Callable[[Any], bool]) -> Iterator[Seen]:
    """Yield everything reachable from a graph, or from a function, each object once, itself first.

    Args:
        start: a compiled graph, or a function.
        stop: says which objects are not looked into; they are yielded.
    """
    known: dict[int, Any] = {}  # keeps what it has seen alive, so that no id is used twice
    waiting = deque([Seen(start, "")])
    while waiting:
        seen = waiting.popleft()
        if id(seen.item) in known or isinstance(seen.item, _LEAVES):
            continue
        if len(known) == OBJECTS_MAX:
            name = getattr(start, "name", type(start).__name__)
            logger.warning("More than %d objects hang on graph %r; the rest was not checked.", OBJECTS_MAX, name)
            return
        known[id(seen.item)] = seen.item
        yield seen
        if not stop(seen.item):
            waiting.extend(_inside(seen))


def _inside(seen: Seen) -> Iterator[Seen]:
    item = seen.item
    if isinstance(item, Pregel):
        for name, node in item.nodes.items():
            yield Seen(node, f"{seen.node}/{name}" if seen.node else name)
        return
    for part in _parts(item):
        yield Seen(part, seen.node)


def _parts(item: Any) -> Iterator[Any]:
    match item:
        case PregelNode():
            yield from (item.bound, *item.writers, *item.subgraphs)
        case BaseTool():
            yield from (getattr(item, name, None) for name in ("func", "coroutine"))
        case ToolNode():
            yield from item.tools_by_name.values()
            yield from (getattr(item, name, None) for name in ("_wrap_tool_call", "_awrap_tool_call"))
        case Runnable():
            yield from vars(item).values()
        case Mapping():
            yield from item.values()
        case list() | tuple() | AbstractSet():
            yield from item
        case _ if callable(item):
            yield from _parts_of_callable(item)


def _parts_of_callable(item: Any) -> Iterator[Any]:
    match item:
        case types.FunctionType():
            yield from _named_by(item)
        case types.MethodType():
            yield from (item.__func__, item.__self__)
            if not isinstance(item.__self__, BaseTool):  # a tool speaks for itself: `tool.invoke` is the tool
                yield from _attributes(item.__self__)
        case functools.partial():
            yield from (item.func, *item.args, *item.keywords.values())
        case _:
            yield from _attributes(item)
            yield type(item).__call__


def _named_by(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    if not (function.__module__ or "").startswith(_FRAMEWORKS):
        yield from (function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _attributes(owner: Any) -> Iterator[Any]:
    try:
        yield from vars(owner).values()
    except TypeError:  # no __dict__
        return
