"""Two governed writes of one name in one graph: a write's key has its tool's name, so they had better be one tool.

The ledger knows a change by intent, tool name and identifying arguments. Were two different tools of one name asked for
the same arguments, the second would be given what the first one did, and never run.
"""

import functools
import types
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from langchain_core.tools import BaseTool

from langgraph_control.errors import ContractError
from langgraph_control.nodes.contracts import Contract
from langgraph_control.nodes.tool_calls import Seam

__all__ = ["refuse_shared_names"]

DEPTH_MAX: Final = 4
"""How deep into what a function has closed over two tools are compared; further in, classes are."""

PARTS_MAX: Final = 32
"""Of how many parts a tuple or a mapping is compared; a larger one is data, and not how a tool was set up."""

_PLAIN: Final = (str, bytes, int, float, complex, types.NoneType, Decimal, Enum, frozenset)


def refuse_shared_names(seams: Iterable[Seam]) -> None:
    """See that writes of one name are one tool: one definition, though it may have been made and governed anew.

    Args:
        seams: those of a graph's governed tools. Reads may share a name: none is given what another one found.

    Raises:
        ContractError: two of them are not (``contract_duplicate_tool``).
    """
    first: dict[str, Seam] = {}
    for seam in seams:
        name = seam.original.name
        if not seam.contract.is_write or first.setdefault(name, seam) is seam:
            continue
        if _what(first[name]) != _what(seam):
            raise ContractError(
                f"Two different writes of the graph are named {name!r}. A change is known by its tool's name and "
                "identifying arguments: where both are asked for the same, the second would not be done, and would be "
                "given the first one's result.",
                todo="Rename one of them; or, if they are one tool, govern it once and use that in both places.",
                code="contract_duplicate_tool",
            )


def _what(seam: Seam) -> tuple[Any, ...]:
    return seam.parameters.names, _of_contract(seam.contract), _of(seam.original, DEPTH_MAX)


def _of_contract(contract: Contract) -> tuple[Any, ...]:
    """What the contract says of what is done; how long it may take, and what is shown of it, is no other tool."""
    hooks = (contract.target, contract.read, contract.expect, contract.find, contract.outcome, contract.undo)
    return (
        contract.key,
        contract.impact,
        contract.operation,
        contract.system,
        contract.sql,
        contract.repeatable,
        contract.version,
        *(_of(hook, DEPTH_MAX) for hook in hooks),
    )


def _of(item: Any, depth: int) -> Any:
    """What an object is by its definition: equal for what one definition made anew, with the same plain values."""
    if isinstance(item, _PLAIN):
        return type(item), item
    return (_class(item), *_parts(item, depth - 1)) if depth else (_class(item),)


def _class(item: Any) -> tuple[str, str]:
    kind = item if isinstance(item, type) else type(item)
    return kind.__module__, kind.__qualname__


def _parts(item: Any, depth: int) -> Iterator[Any]:
    match item:
        case BaseTool():
            yield item.name, item.description
            own = type(item).model_fields.keys() - BaseTool.model_fields.keys()
            yield tuple((name, _of(getattr(item, name, None), depth)) for name in sorted(own))
            yield _of(type(item)._run, depth), _of(type(item)._arun, depth)  # noqa: SLF001 - a subclass's bodies
        case types.FunctionType():
            yield item.__module__, item.__code__
            yield tuple(_of(value, depth) for value in item.__defaults__ or ())
            yield tuple(_of(value, depth) for value in _closed_over(item))
        case types.MethodType():
            yield _of(item.__func__, depth), _of(item.__self__, depth)
        case functools.partial():
            yield _of(item.func, depth), _of(item.args, depth), _of(item.keywords, depth)
        case tuple() if len(item) <= PARTS_MAX:
            yield from (_of(value, depth) for value in item)
        case Mapping() if len(item) <= PARTS_MAX:
            yield from sorted(((str(key), _of(value, depth)) for key, value in item.items()), key=lambda pair: pair[0])


def _closed_over(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            yield None
