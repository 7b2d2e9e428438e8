"""Middleware for ``create_agent``: its tools know the run, the model reads refusals, and nothing repeats writes."""

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, TypeAlias

from langchain.agents.middleware import AgentMiddleware, AgentState, ToolCallRequest
from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command

from langgraph_control.errors import ArgumentError, GraphRefused, KeyConflict, WriteRefused
from langgraph_control.graphs.control import Control
from langgraph_control.graphs.inspection import RETRYING
from langgraph_control.graphs.walk import walk
from langgraph_control.nodes.contexts import current_run, within
from langgraph_control.nodes.contracts import Contract, contract_of
from langgraph_control.nodes.wakes import configurable, execution

__all__ = ["ControlMiddleware", "RepeatedOutside"]

Answer: TypeAlias = ToolMessage | Command[Any]

CALLS_MAX: Final = 4096  # of writes under way; what is forgotten is only not refused

# What the model can act on: it chose the arguments, or is told what people or the policy said.
_FOR_THE_MODEL: Final = (ArgumentError, KeyConflict, WriteRefused)


class RepeatedOutside(GraphBubbleUp, GraphRefused):
    """Something around the tools calls a write again. A bubble-up: as an error it would only be tried once more."""


class ControlMiddleware(AgentMiddleware[AgentState[Any], Any, Any]):
    """Put it first in ``create_agent(..., middleware=[ControlMiddleware(control), …])``.

    Around each tool call it enters the run that the call's config names, so that what the tool starts belongs to the
    run, on other threads and in child agents with threads of their own, too. Refusals that code inside a tool meets
    become error messages for the model, and answers carry the id of the call they answer. A write that something
    around the tools would repeat is refused.

    Args:
        control: governs the tools.
        tools: tools for the agent, ungoverned: functions with contracts, or tools.
        contracts: contracts for tools one does not own, by tool name.

    Raises:
        ContractError, PolicyError: as :meth:`Control.govern`.
    """

    def __init__(
        self,
        control: Control,
        tools: Sequence[BaseTool | Callable[..., Any]] = (),
        *,
        contracts: Mapping[str, Contract] | None = None,
    ) -> None:
        super().__init__()
        self.tools = control.govern(tools, contracts=contracts)
        self._looked = False
        self._lock = threading.Lock()
        self._called: OrderedDict[tuple[int, str], object] = OrderedDict()

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Answer]) -> Answer:
        """Carry one tool call out within its run.

        Args:
            request: the call.
            handler: carries it out.

        Raises:
            GraphRefused: code ``retry_policy``: something would repeat the write.
        """
        with self._in_the_run(request, handler):
            try:
                return _tidied(handler(request), request)
            except _FOR_THE_MODEL as refused:
                return _told(refused, request)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Answer]]
    ) -> Answer:
        """Do what :meth:`wrap_tool_call` does, on any event loop."""
        with self._in_the_run(request, handler):
            try:
                return _tidied(await handler(request), request)
            except _FOR_THE_MODEL as refused:
                return _told(refused, request)

    @contextmanager
    def _in_the_run(self, request: ToolCallRequest, handler: Callable[..., Any]) -> Iterator[None]:
        self._refuse_repeats(request, handler)
        run = current_run(configurable())
        if run is None:  # a read may go on; a write refuses by itself
            yield
            return
        with within(run.drive):
            yield

    def _refuse_repeats(self, request: ToolCallRequest, handler: Callable[..., Any]) -> None:
        contract = contract_of(request.tool) if request.tool is not None else None
        if contract is None or not contract.is_write:
            return
        name = request.tool_call["name"]
        if not self._looked:
            if any(type(seen.item).__name__ == RETRYING for seen in walk(handler, stop=_is_a_tool)):
                raise _repeated(f"{RETRYING} stands beside {type(self).__name__} and would repeat {name}.")
            self._looked = True
        if self._is_called_again(request.tool_call["id"]):
            raise _repeated(f"Something around the tools of this agent has called {name} once more for one tool call.")

    def _is_called_again(self, call_id: str | None) -> bool:
        running = execution()
        if running is None or call_id is None:
            return False
        with self._lock:
            known = (id(running), call_id) in self._called
            # The execution is kept, so that its id cannot come to mean another one's.
            self._called[id(running), call_id] = running
            if len(self._called) > CALLS_MAX:
                self._called.popitem(last=False)
        return known


def _is_a_tool(item: Any) -> bool:
    return isinstance(item, BaseTool)


def _repeated(what: str) -> RepeatedOutside:
    return RepeatedOutside(
        what,
        safe="The repeat did not reach the tool.",
        todo="Leave it out: a governed write retries by itself where that is safe, and reads may have a fallback.",
        code="retry_policy",
    )


def _told(refused: Exception, request: ToolCallRequest) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(content=str(refused), tool_call_id=call["id"], name=call["name"], status="error")


def _tidied(answer: Answer, request: ToolCallRequest) -> Answer:
    """The answer as the model can be given it: for this call, and not in the place of an older message."""
    if isinstance(answer, ToolMessage):
        return _addressed(answer, request)
    update: dict[str, Any] = answer.update if isinstance(answer.update, dict) else {}
    messages = update.get("messages")
    if not isinstance(messages, list):
        return answer
    answers = [message for message in messages if isinstance(message, ToolMessage)]
    if len(answers) != 1:  # which of several answers the call, only the tool knows
        return answer
    tidy = [_addressed(message, request) if message is answers[0] else message for message in messages]
    return replace(answer, update={**update, "messages": tidy})


def _addressed(message: ToolMessage, request: ToolCallRequest) -> ToolMessage:
    call = request.tool_call
    changes: dict[str, Any] = {}
    if message.tool_call_id != call["id"]:
        changes["tool_call_id"] = call["id"]
    if message.name is None:
        changes["name"] = call["name"]
    if message.id is not None and message.id in _ids(request.state):
        changes["id"] = None  # add_messages would put it in the place of the older one
    return message.model_copy(update=changes) if changes else message


def _ids(state: Any) -> frozenset[str]:
    messages = state.get("messages") if isinstance(state, Mapping) else getattr(state, "messages", state)
    listed = messages if isinstance(messages, list) else []
    return frozenset(message.id for message in listed if isinstance(message, BaseMessage) and message.id)
