"""A saga: writes that belong together. Where one cannot be done, those before it are taken back, the last one first.

A graph with a node for each step, and two for the way back: ``compensate`` looks into the ledger and decides what comes
next, ``undo`` does it. Each step and each undo is a governed write of its own: claimed, perhaps approved, verified,
recorded. The graph's state only says how far it has come: what is applied is what the ledger says.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final

from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from langgraph_control.audit.connecting.store import Store
from langgraph_control.errors import NoRun
from langgraph_control.graphs.saga_checks import checked_name, checked_steps, checked_tools
from langgraph_control.nodes.contexts import current_run
from langgraph_control.nodes.hearing import aheard, heard
from langgraph_control.nodes.outside_run import anote_outside, note_outside
from langgraph_control.nodes.run_context import RunContext
from langgraph_control.nodes.saga_places import at_place
from langgraph_control.nodes.saga_steps import (
    COMPENSATE,
    ENDED,
    NEXT,
    UNDO,
    AskUndo,
    CameBack,
    InvokeTool,
    Saga,
    SagaState,
    Step,
    Stopped,
    Then,
)
from langgraph_control.nodes.surroundings import HOOK_SECONDS_MAX
from langgraph_control.nodes.tools import seam_of
from langgraph_control.nodes.wakes import configurable

__all__ = ["saga"]

_DONE: Final[Mapping[str, Any]] = {"outcome": "done", "failed": None, "why": None, "applied": []}

Work = Callable[[SagaState, RunContext], Generator[Any, Any, Then]]


def saga(
    name: str, steps: Sequence[Step] | Mapping[str, Step], *, tools: Sequence[BaseTool]
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return a graph that does all its steps, or takes back those that it did.

    Bind it and run it with ``{"request": {...}}``; or call it inside a tool declared with ``@reads()`` (what runs
    governed tools has no effect of its own) as ``graph.invoke({"request": {...}}, durability="sync")``. A step that
    is refused, rejected, expired or failed for good ends it. Then each step that was done is taken back by what its
    contract's ``undo=`` says, the last one first; what nobody knows is found out before. What cannot be taken back
    waits as ``needs_human``, with the list of what is applied, until a person says what became of it.

    Args:
        name: the saga's, in the record; at most 256 characters.
        steps: functions in their order; each takes what is asked and the results so far, and returns the :class:`Call`
            to make. A step is named as its function; a mapping names them otherwise. After a crash they are asked
            again, and must say the same again.
        tools: the governed tools that steps and ``undo`` hooks name.

    Returns:
        A compiled graph. Its output's ``outcome`` is ``done``, ``undone``, or ``partly_undone`` where a person decided
        that some of it stays; ``failed`` names the step that could not be done, ``why`` says the reason, ``applied``
        lists what is still in effect.

    Raises:
        ContractError: no steps, a step without a name or with one that is taken, or a tool that is not governed.
    """
    named = checked_steps(steps, reserved=(COMPENSATE, UNDO, START, END))
    governed = checked_tools(tools)
    made = Saga(checked_name(name), named, governed)
    order = [*named, END]
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(SagaState)
    for number, step in enumerate(named, start=1):
        node = _node(governed, _step(made, number), following=order[number])
        builder.add_node(step, node, destinations=(order[number], COMPENSATE))
    builder.add_node(COMPENSATE, _node(governed, made.compensating), destinations=(UNDO, COMPENSATE, END))
    builder.add_node(UNDO, _node(governed, made.undoing), destinations=(COMPENSATE,))
    builder.add_edge(START, order[0])
    return builder.compile(name=name)


def _step(made: Saga, number: int) -> Work:
    def work(state: SagaState, run: RunContext) -> Generator[Any, Any, Then]:
        return made.stepping(number, state, run)

    return work


def _node(tools: Mapping[str, BaseTool], work: Work, *, following: str = "") -> RunnableLambda[Any, Any]:
    def do(state: SagaState) -> Command[Any]:
        try:
            steps, answer = work(state, _run()), None
        except NoRun:
            note_outside(lambda: _store(tools))
            raise
        store = _store(tools)
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as ended:
                return _command(ended.value, following)
            answer = _answer(store, request)

    async def ado(state: SagaState) -> Command[Any]:
        try:
            steps, answer = work(state, _run()), None
        except NoRun:
            await anote_outside(lambda: _store(tools))
            raise
        store = _store(tools)
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as ended:
                return _command(ended.value, following)
            answer = await _aanswer(store, request)

    return RunnableLambda(do, ado)


def _answer(store: Store, request: Any) -> Any:
    try:
        match request:
            case InvokeTool():
                with at_place(request.place):
                    return CameBack(value=request.tool.invoke(dict(request.args)))
            case AskUndo():
                return CameBack(value=heard(request.hook, request.action, seconds=HOOK_SECONDS_MAX))
            case _:
                return store.call(request)
    except GraphBubbleUp:
        raise  # it parked, or the run is another worker's
    except Exception as error:
        if not isinstance(request, InvokeTool | AskUndo):
            raise
        return Stopped(error=error)


async def _aanswer(store: Store, request: Any) -> Any:
    try:
        match request:
            case InvokeTool():
                with at_place(request.place):
                    return CameBack(value=await request.tool.ainvoke(dict(request.args)))
            case AskUndo():
                return CameBack(value=await aheard(request.hook, request.action, seconds=HOOK_SECONDS_MAX))
            case _:
                return await store.acall(request)
    except GraphBubbleUp:
        raise  # it parked, or the run is another worker's
    except Exception as error:
        if not isinstance(request, InvokeTool | AskUndo):
            raise
        return Stopped(error=error)


def _command(then: Then, following: str) -> Command[Any]:
    if then.goto == NEXT:
        return Command(goto=following, update={**then.update, **(_DONE if following == END else {})})
    return Command(goto=END if then.goto == ENDED else then.goto, update=dict(then.update))


def _run() -> RunContext:
    run = current_run(configurable())
    if run is None:
        raise NoRun(
            "A saga was invoked outside a run.",
            todo="Start the graph with control.run(graph, input, trigger=..., actor=...).",
        )
    return run


def _store(tools: Mapping[str, BaseTool]) -> Store:
    seam = seam_of(next(iter(tools.values())))
    assert seam is not None  # noqa: S101 - checked when the saga was made
    return seam.store()
