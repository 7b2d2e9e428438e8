"""The tool as the seam: a governed tool is the tool itself with the gate around its body.

Routing cannot go around it: agents, ``ToolNode``, function nodes, the functional API and subagents all end in the
tool's ``func`` or ``coroutine``. What LangGraph injects (state, store, runtime, call id, config) reaches the body as
before.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langchain_core.utils.pydantic import get_fields

from langgraph_control.audit.store import Store
from langgraph_control.errors import ArgumentError, ContractError, GraphRefused, KeyConflict, NoRun, WriteRefused
from langgraph_control.guards.canonical import canonical_bytes, normalise, refuse_money_floats
from langgraph_control.guards.signals import Impact
from langgraph_control.nodes.async_drivers import adrive
from langgraph_control.nodes.bubbles import RunTakenOver
from langgraph_control.nodes.call import GovernedCall
from langgraph_control.nodes.contexts import current_run, in_a_write
from langgraph_control.nodes.contracts import Contract, contract_of
from langgraph_control.nodes.drivers import Surroundings, drive
from langgraph_control.nodes.gate import perform
from langgraph_control.nodes.occurrence import messages_in_sight, occurrence
from langgraph_control.nodes.parameters import Parameters, tool_parameters, validate_arguments
from langgraph_control.nodes.reading import Found, GovernedRead, NotFound, consult
from langgraph_control.nodes.results import readdress
from langgraph_control.nodes.run_context import RunContext
from langgraph_control.nodes.steps import Delivered, Refused, TakenOver
from langgraph_control.nodes.wakes import configurable

__all__ = ["GovernedTool", "govern_tool"]

_EVIDENCE: Final = {"checkpoint_id": "checkpoint_id", "checkpoint_ns": "checkpoint_ns", "__pregel_task_id": "task_id"}

_call_id: ContextVar[str | None] = ContextVar("langgraph_control_call_id", default=None)


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
    seam = _Seam(original=tool, contract=contract, parameters=tool_parameters(tool), store=store)
    fields = {name: getattr(tool, name) for name in BaseTool.model_fields}
    fields["args_schema"] = tool.args_schema if tool.args_schema is not None else tool.get_input_schema()
    func, coroutine = _bodies(tool)
    governed = GovernedTool(
        **fields,
        func=None if func is None else _governed(seam, func),
        coroutine=None if coroutine is None else _agoverned(seam, coroutine),
    )
    if contract_of(governed) is not contract:
        contract(governed)
    return governed


class GovernedTool(StructuredTool):
    """A tool whose calls go through the gate."""

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
        given = {**kwargs, **_wanted_manager(self.func, run_manager)}
        return super()._run(*args, config=config, run_manager=run_manager, **given)

    async def _arun(self, *args: Any, config: RunnableConfig, run_manager: Any = None, **kwargs: Any) -> Any:
        given = {**kwargs, **_wanted_manager(self.coroutine, run_manager)}
        return await super()._arun(*args, config=config, run_manager=run_manager, **given)


def _wanted_manager(body: Callable[..., Any] | None, run_manager: Any) -> dict[str, Any]:
    """The ``_run`` of a BaseTool subclass may ask for the callback manager, a StructuredTool's function cannot."""
    wants = body is not None and "run_manager" in inspect.signature(body).parameters
    return {"run_manager": run_manager} if wants else {}


def _bodies(tool: BaseTool) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
    """The sync and the async body, where the tool has one of its own. Without an async one LangChain uses a thread."""
    if isinstance(tool, StructuredTool):
        return tool.func, tool.coroutine
    overrides = type(tool)._arun is not BaseTool._arun  # noqa: SLF001 - a subclass's bodies are these
    return tool._run, (tool._arun if overrides else None)  # noqa: SLF001


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seam:
    """What a governed body needs to know of its tool."""

    original: BaseTool
    contract: Contract
    parameters: Parameters
    store: Callable[[], Store]

    def called(self, body: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> "_Called":
        """Return this call of the body, arguments by name."""
        given = dict(kwargs)
        if args:
            given |= inspect.signature(body).bind_partial(*args).arguments
        return _Called(seam=self, body=body, given=given, call_id=_call_id.get())


def _governed(seam: _Seam, body: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(body)
    def governed(*args: Any, **kwargs: Any) -> Any:
        called = seam.called(body, args, kwargs)
        run = called.run()
        if run is None:
            return body(*args, **kwargs)
        try:
            gate, surroundings = called.begun(run)
            return called.delivered(drive(gate, surroundings))
        except ArgumentError as wrong:
            return called.told(wrong)

    return governed


def _agoverned(seam: _Seam, body: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(body)
    async def governed(*args: Any, **kwargs: Any) -> Any:
        called = seam.called(body, args, kwargs)
        run = called.run()
        if run is None:
            return await body(*args, **kwargs)
        try:
            gate, surroundings = called.begun(run)
            return called.delivered(await adrive(gate, surroundings))
        except ArgumentError as wrong:
            return called.told(wrong)

    return governed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Called:
    """One call of a governed body."""

    seam: _Seam
    body: Callable[..., Any]
    given: Mapping[str, Any]
    call_id: str | None

    def run(self) -> RunContext | None:
        """Return the run; None for a read outside one, which nobody has to record."""
        name, contract = self.seam.original.name, self.seam.contract
        run = current_run(configurable())
        if not contract.is_write:
            return run
        if run is None:
            raise NoRun(
                f"Tool {name} changes something and was called outside a run.",
                todo="Start the graph with control.run(graph, input, trigger=..., actor=...).",
            )
        if in_a_write():
            raise ContractError(
                f"Tool {name} was called from inside another governed write.",
                safe=f"{name} was not called; what the outer tool did before is found out by its own contract.",
                todo="Declare the outer tool with reads(): what runs governed tools has no effect of its own.",
                code="write_inside_write",
            )
        durability = configurable().get("__pregel_durability")
        if durability != "sync":
            raise GraphRefused(
                f"Tool {name} changes something, in a graph invoked with durability={durability or 'async'!r}: a crash "
                "could make it forget what it had decided.",
                todo='Run the graph with control.run; invoke a graph of your own inside a tool with durability="sync".',
                code="durability_not_sync",
            )
        return run

    def begun(self, run: RunContext) -> tuple[Any, Surroundings]:
        """Return the gate or the read, not started, and where it runs."""
        seam = self.seam
        args = seam.parameters.visible(self.given)
        where = {name: str(configurable()[key]) for key, name in _EVIDENCE.items() if configurable().get(key)}
        if seam.parameters.schema is not None:
            validate_arguments(seam.original, args)
        gate: Any
        if seam.contract.is_write:
            call = self._write(run, args, where)
            gate, plain = perform(call), call.args
        else:
            read = GovernedRead(
                contract=seam.contract, tool=seam.original.name, args=args, run=run, call_id=self.call_id, where=where
            )
            gate, plain = consult(read), args
        return gate, Surroundings(
            store=seam.store(),
            contract=seam.contract,
            tool=seam.original.name,
            run_id=run.run_id,
            body=self.body,
            given=self.given,
            prepare=functools.partial(self._prepared, plain),
        )

    def _write(self, run: RunContext, args: Mapping[str, Any], where: Mapping[str, str]) -> GovernedCall:
        seam, name = self.seam, self.seam.original.name
        contract = seam.contract
        if contract.impact is Impact.MONEY:
            refuse_money_floats(args, tool=name, free_text=contract.explain)
        identifying = {key: args.get(key) for key in contract.key}
        number = 0
        if contract.repeatable:
            number = occurrence(seam.original, identifying, self.call_id, messages_in_sight(configurable()))
        return GovernedCall(
            contract=contract,
            tool=name,
            # Plain values, so that hooks, rules and the record see the same in a repeat that runs from what is stored.
            args={argument: normalise(value, at=argument) for argument, value in args.items()},
            defaults=seam.parameters.defaults,
            run=run,
            call_id=self.call_id,
            occurrence=number,
            where=where,
        )

    def _prepared(self, plain: Mapping[str, Any], sent: Mapping[str, Any]) -> Mapping[str, Any]:
        """What to call the body with: as it was called, or stored arguments in the types its schema makes of them."""
        if all(sent.get(name, self) is value for name, value in plain.items()) and len(sent) == len(plain):
            return self.given
        if canonical_bytes(dict(sent)) == canonical_bytes(dict(plain)):
            return self.given
        tool, injected = self.seam.original, self.seam.parameters.injected
        kept = {name: value for name, value in self.given.items() if name in injected}
        if isinstance(tool.args_schema, dict):
            return {**kept, **validate_arguments(tool, sent)}
        fields = get_fields(tool.get_input_schema())
        raw = {_alias(fields[name], name): value for name, value in sent.items() if name in fields}
        raw |= {name: value for name, value in kept.items() if name in fields}
        parsed: Any = tool._parse_input(raw, self.call_id)  # noqa: SLF001 - what LangChain itself makes of a model's call
        return {**parsed, **kept}

    def delivered(self, step: object) -> Any:
        """Return what the tool's caller gets."""
        match step:
            case Delivered(value=value):
                return self._formed(readdress(value, self.call_id))
            case Found(value=value):
                return value
            case NotFound(error=error):
                raise error
            case Refused(code=code, text=text):
                if self.call_id is not None:
                    return self._error_message(text)
                raise (KeyConflict if code == "key_conflict" else WriteRefused)(text, safe="", code=code)
            case TakenOver():
                raise RunTakenOver
            case _:
                raise TypeError(f"a gate ended with {type(step).__name__}")

    def told(self, wrong: ArgumentError) -> Any:
        """Tell the model that its arguments cannot be used; anyone else gets the error itself."""
        if self.call_id is None:
            raise wrong
        return self._error_message(str(wrong))

    def _error_message(self, text: str) -> Any:
        return self._formed(
            ToolMessage(content=text, tool_call_id=self.call_id, name=self.seam.original.name, status="error")
        )

    def _formed(self, value: Any) -> Any:
        """A value in the shape that the tool's response format promises LangChain."""
        is_pair = isinstance(value, tuple) and len(value) == 2  # noqa: PLR2004 - content and artifact
        return value if self.seam.original.response_format == "content" or is_pair else (value, None)


def _alias(declared: Any, name: str) -> str:
    alias = getattr(declared, "validation_alias", None) or getattr(declared, "alias", None)
    return alias if isinstance(alias, str) else name
