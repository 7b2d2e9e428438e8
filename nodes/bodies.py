"""The functions that a tool is made of, and values of theirs that are no answer yet.

A coroutine that nobody awaits, a generator that nobody iterates and a Future that is pending say nothing of the effect:
taken for a result they would be put on record as success. What they stand for may have been scheduled elsewhere, so of
a write nobody knows.
"""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import Future
from typing import Any, Final, TypeGuard

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, StructuredTool

from langgraph_control.errors import ContractError

__all__ = ["NOT_RUN", "answered", "bodies", "check_bodies", "has_not_run", "is_pending"]

NOT_RUN: Final = "the tool returned something that has not run"

_ANSWERS: Final = frozenset({str, dict, bool, int, float, bytes, type(None), ToolMessage})  # looked at no further
_CODE: Final = "result_not_run"


def bodies(tool: BaseTool) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
    """Return the sync and the async body, where the tool has one of its own.

    Without an async one LangChain calls the sync one in a thread.

    Args:
        tool: any tool.
    """
    if isinstance(tool, StructuredTool):
        return tool.func, tool.coroutine
    overrides = type(tool)._arun is not BaseTool._arun  # noqa: SLF001 - a subclass's bodies are these
    return tool._run, (tool._arun if overrides else None)  # noqa: SLF001


def check_bodies(tool: BaseTool) -> None:
    """Check that calling a tool runs it: the body of a generator begins with whoever iterates it, and nobody does.

    Args:
        tool: a tool with a contract.

    Raises:
        ContractError: code ``contract_generator``.
    """
    for body in bodies(tool):
        if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
            raise ContractError(
                f"Tool {tool.name} is a generator: calling it does nothing, and nobody iterates it.",
                todo="Return one value in place of yield; to stream, write to LangGraph's stream writer in the body.",
                code="contract_generator",
            )


def is_pending(value: object) -> TypeGuard[Awaitable[Any]]:
    """Whether a value is to be awaited.

    Args:
        value: what a tool's function returned.
    """
    return type(value) not in _ANSWERS and inspect.isawaitable(value)


def answered(value: Any, *, tool: str) -> Any:
    """Return what a tool's function answered with: the value, or what a finished Future holds.

    Args:
        value: what the function returned.
        tool: its tool's name, for the error.

    Raises:
        ContractError: code ``result_not_run``: the value, or one in the list or pair that it is, has not run. A
            coroutine is closed.
        Exception: what a finished Future failed with.
    """
    if type(value) in _ANSWERS:
        return value
    if isinstance(value, Future) and value.done():
        return answered(value.result(), tool=tool)
    waiting = [one for one in (value if type(value) in {list, tuple} else (value,)) if _is_unrun(one)]
    for one in waiting:
        if inspect.iscoroutine(one):
            one.close()
    if waiting:
        raise ContractError(
            f"Tool {tool} returned something that has not run: a {type(waiting[0]).__name__}.",
            safe="What it stands for may be done later, or never.",
            todo="Await it in an async def, or wait for it, and return what it gives.",
            code="result_not_run",
        )
    return value


def has_not_run(error: BaseException) -> bool:
    """Whether an error is the one of :func:`answered`: what the tool returned may still run, somewhere else.

    Args:
        error: what a call ended with.
    """
    # By its type alone: an exception of others may raise at every touch, and a driver asks before it is settled.
    return type(error) is ContractError and error.code == _CODE


def _is_unrun(value: object) -> bool:
    if type(value) in _ANSWERS:
        return False
    return isinstance(value, (Generator, AsyncGenerator, Future)) or inspect.isawaitable(value)
