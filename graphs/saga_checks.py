"""What a saga must be made of, and the errors that say so."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from langchain_core.tools import BaseTool

from langgraph_control.errors import ContractError
from langgraph_control.nodes.contract_checks import check_hooks, check_new_name
from langgraph_control.nodes.saga_steps import Step
from langgraph_control.nodes.tools import seam_of

__all__ = ["checked_name", "checked_steps", "checked_tools"]

NAME_CHARS_MAX: Final = 256

_APART: Final = (":", "|")
"""What LangGraph puts between the names of nodes; it also keeps names that begin with ``__`` for itself."""


def checked_name(name: object) -> str:
    """Return a saga's name.

    Args:
        name: what was given.

    Raises:
        ContractError: code ``saga_name``.
    """
    if isinstance(name, str) and name.strip() and len(name) <= NAME_CHARS_MAX:
        return name
    raise ContractError(
        f"A saga's name must be a text of 1 to {NAME_CHARS_MAX} characters.",
        todo='Name it after what it does, like saga("change_plan", ...).',
        code="saga_name",
    )


def checked_steps(steps: Sequence[Step] | Mapping[str, Step], *, reserved: Collection[str]) -> dict[str, Step]:
    """Return a saga's steps by name, in order.

    Args:
        steps: functions, or a mapping that names them.
        reserved: names of the saga's own nodes.

    Raises:
        ContractError: codes ``saga_steps``, ``saga_step_name`` and ``contract_hook_signature``.
    """
    pairs = _pairs(steps)
    if not pairs or any(step is None for _, step in pairs):
        raise ContractError(
            "A saga has no steps, or one that is None.",
            todo="Give functions that return Call(tool, argument=value, ...), in their order.",
            code="saga_steps",
        )
    named: dict[str, Step] = {}
    for name, step in pairs:
        if not _can_be_named(name) or name in named or name in reserved:
            raise ContractError(
                f"A saga's step cannot be named {name!r}: that is no name of a node, or it is taken.",
                todo="Name each differently, without : and |, not __ first: {'charge': lambda so_far: ...}.",
                code="saga_step_name",
            )
        check_hooks({f"step {name}": step})
        named[name] = step
    return named


def _pairs(steps: object) -> list[tuple[Any, Any]]:
    if isinstance(steps, Mapping):
        return list(steps.items())
    return [(_name_of(step), step) for step in steps] if isinstance(steps, Iterable) else []


def _can_be_named(name: object) -> bool:
    if not isinstance(name, str) or not name.strip() or name == "<lambda>":
        return False
    return not name.startswith("__") and not any(apart in name for apart in _APART)


def _name_of(step: Any) -> Any:
    return getattr(step, "__name__", None)


def checked_tools(tools: Sequence[BaseTool]) -> dict[str, BaseTool]:
    """Return a saga's tools by name.

    Args:
        tools: what was given.

    Raises:
        ContractError: codes ``saga_tools``, ``saga_tool_ungoverned`` and ``contract_duplicate_tool``.
    """
    seen: set[str] = set()
    if not isinstance(tools, Collection) or not tools:
        raise ContractError(
            "A saga has no tools.",
            todo="Pass the governed tools that its steps and their undo hooks name: tools=control.govern([...]).",
            code="saga_tools",
        )
    for tool in tools:
        if seam_of(tool) is None:
            raise ContractError(
                f"The saga's tool {getattr(tool, 'name', type(tool).__name__)} is not governed.",
                todo="Pass what control.govern([...]) returned.",
                code="saga_tool_ungoverned",
            )
        check_new_name(tool.name, seen)
    return {tool.name: tool for tool in tools}
