"""The tool as the seam: a governed tool is the tool itself with the gate around its body.

Routing cannot go around it: agents, ``ToolNode``, function nodes, the functional API and subagents all end in the
tool's ``func`` or ``coroutine``. What LangGraph injects (state, store, runtime, call id, config) reaches the body as
before.
"""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langchain_core.tools.base import _get_runnable_config_param
from pydantic import PrivateAttr

from langgraph_control.audit.connecting.store import Store
from langgraph_control.errors import ArgumentError, ContractError, NoRun
from langgraph_control.nodes.async_drivers import adrive
from langgraph_control.nodes.bodies import bodies
from langgraph_control.nodes.contracts import Contract, contract_of
from langgraph_control.nodes.drivers import drive
from langgraph_control.nodes.outside_run import anote_outside, note_outside
from langgraph_control.nodes.parameters import tool_parameters
from langgraph_control.nodes.tool_calls import Seam

__all__ = ["GovernedTool", "govern_tool", "seam_of"]

_call_id: Final[ContextVar[str | None]] = ContextVar("langgraph_control_call_id", default=None)


def govern_tool(tool: BaseTool, contract: Contract, *, store: Callable[[], Store]) -> BaseTool:
    """Return the tool with the gate around its body. A governed tool is returned as it is.

    Args:
        tool: any tool; it is left alone.
        contract: what it does to the world.
        store: gives the ledger; called at each governed call in a run, never here.

    Raises:
        ContractError: code ``tool_not_governable``: the tool declares no arguments that could identify a change.
    """
    if isinstance(tool, GovernedTool):
        return tool
    if type(tool) is Tool and tool.args_schema is None:
        raise ContractError(
            f"Tool {tool.name} takes one unnamed text, which cannot identify a change.",
            todo="Declare it with langchain_core.tools.tool, or give it an args_schema.",
            code="tool_not_governable",
        )
    seam = Seam(original=tool, contract=contract, parameters=tool_parameters(tool), store=store)
    fields = {name: getattr(tool, name) for name in BaseTool.model_fields}
    fields["args_schema"] = tool.args_schema if tool.args_schema is not None else tool.get_input_schema()
    func, coroutine = bodies(tool)
    governed = GovernedTool(
        **fields,
        func=None if func is None else _governed(seam, func),
        coroutine=None if coroutine is None else _agoverned(seam, coroutine),
    )
    governed._seam = seam  # noqa: SLF001 - of this module's own class
    if contract_of(governed) is not contract:
        contract(governed)
    return governed


def seam_of(tool: object) -> Seam | None:
    """Return where a governed tool meets the gate; None for anything else.

    Args:
        tool: any object.
    """
    return tool._seam if isinstance(tool, GovernedTool) else None  # noqa: SLF001 - of this module's own class


class GovernedTool(StructuredTool):
    """A tool whose calls go through the gate."""

    _seam: Seam = PrivateAttr()

    def run(self, tool_input: str | dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Run the tool; what it is called with is noted for the record.

        Args:
            tool_input: as for any tool.
            *args: likewise.
            **kwargs: likewise.
        """
        token = _call_id.set(kwargs.get("tool_call_id"))
        try:
            return super().run(tool_input, *args, **kwargs)
        finally:
            _call_id.reset(token)

    async def arun(self, tool_input: str | dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Run the tool; what it is called with is noted for the record.

        Args:
            tool_input: as for any tool.
            *args: likewise.
            **kwargs: likewise.
        """
        token = _call_id.set(kwargs.get("tool_call_id"))
        try:
            return await super().arun(tool_input, *args, **kwargs)
        finally:
            _call_id.reset(token)

    def _run(self, *args: Any, config: RunnableConfig, run_manager: Any = None, **kwargs: Any) -> Any:
        if self.func is None or not _wants_manager(self.func):
            return super()._run(*args, config=config, run_manager=run_manager, **kwargs)
        return self.func(*args, run_manager=run_manager, **_with_config(self.func, config), **kwargs)

    async def _arun(self, *args: Any, config: RunnableConfig, run_manager: Any = None, **kwargs: Any) -> Any:
        if self.coroutine is None or not _wants_manager(self.coroutine):
            return await super()._arun(*args, config=config, run_manager=run_manager, **kwargs)
        return await self.coroutine(*args, run_manager=run_manager, **_with_config(self.coroutine, config), **kwargs)


@functools.lru_cache(maxsize=1024)
def _wants_manager(body: Callable[..., Any]) -> bool:
    """The ``_run`` of a BaseTool subclass may ask for the callback manager, a StructuredTool's function cannot."""
    return "run_manager" in inspect.signature(body).parameters


def _with_config(body: Callable[..., Any], config: RunnableConfig) -> dict[str, Any]:
    name = _get_runnable_config_param(body)
    return {name: config} if name else {}


def _taken_call_id() -> str | None:
    """The id of the call this body was called for; what the body calls in turn is no part of that call."""
    call_id = _call_id.get()
    _call_id.set(None)
    return call_id


def _governed(seam: Seam, body: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(body)
    def governed(*args: Any, **kwargs: Any) -> Any:
        called = seam.called(body, args, kwargs, _taken_call_id())
        try:
            run = called.run()
        except NoRun:
            note_outside(seam.store)
            raise
        if run is None:
            return body(*args, **kwargs)
        try:
            gate, surroundings = called.begun(run)
            step = drive(gate, surroundings)
        except ArgumentError as wrong:
            return called.told(wrong)
        return called.delivered(step)

    return governed


def _agoverned(seam: Seam, body: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(body)
    async def governed(*args: Any, **kwargs: Any) -> Any:
        called = seam.called(body, args, kwargs, _taken_call_id())
        try:
            run = called.run()
        except NoRun:
            await anote_outside(seam.store)
            raise
        if run is None:
            return await body(*args, **kwargs)
        try:
            gate, surroundings = called.begun(run)
            step = await adrive(gate, surroundings)
        except ArgumentError as wrong:
            return called.told(wrong)
        return called.delivered(step)

    return governed
