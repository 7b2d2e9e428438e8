"""What in a graph would repeat writes blindly, leave them out or go around the gate, with the remedy for each."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.tools import BaseTool
from langgraph.pregel import Pregel
from langgraph.pregel._read import PregelNode

from langgraph_control.graphs.shared_names import refuse_shared_names
from langgraph_control.graphs.walk import Seen, walk
from langgraph_control.nodes.contracts import contract_of
from langgraph_control.nodes.tools import GovernedTool, seam_of

__all__ = ["RETRYING", "Finding", "inspect_graph"]

DURABILITY: Final = "__pregel_durability"
RETRYING: Final = "ToolRetryMiddleware"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something `bind` refuses.

    Args:
        code: a stable word.
        what: what it is and where.
        todo: what to write instead.
    """

    code: str
    what: str
    todo: str


def inspect_graph(graph: Pregel[Any, Any, Any, Any]) -> tuple[Finding, ...]:
    """Return what speaks against driving this graph, in the order it was found.

    Args:
        graph: a compiled graph or an entrypoint.

    Raises:
        ContractError: two different writes in it have one name (code ``contract_duplicate_tool``).
    """
    found: dict[Finding, None] = {}
    reached = tuple(walk(graph, stop=_is_behind_the_gate))
    for seen in reached:
        found.update(dict.fromkeys(_findings(seen)))
    refuse_shared_names(seam for seen in reached if (seam := seam_of(seen.item)) is not None)
    return tuple(found)


def _is_behind_the_gate(item: Any) -> bool:
    """Whether what lies inside is the gate's business: a governed write, or what was refused as a whole."""
    if not isinstance(item, BaseTool | types.FunctionType):
        return False
    contract = contract_of(item)
    return contract is not None and contract.is_write


def _findings(seen: Seen) -> Iterator[Finding]:
    item, where = seen.item, f" in node {seen.node!r}" if seen.node else ""
    if isinstance(item, Pregel):
        yield from _of_graph(item, where)
    elif isinstance(item, PregelNode):
        if item.retry_policy:
            yield _retries(f"Node {seen.node!r} has a RetryPolicy")
        if item.cache_policy is not None:
            yield _cached(f"Node {seen.node!r} has a CachePolicy")
    elif isinstance(item, BaseTool):
        yield from _of_tool(item, where)
    elif type(item).__name__ == RETRYING:
        yield _retries(f"{RETRYING} wraps the tools{where}")
    elif isinstance(item, types.FunctionType):
        contract = contract_of(item)
        if contract is not None and contract.is_write:
            yield _outside(item.__name__, where)
    elif type(item).__module__.startswith("langgraph.func"):
        yield from _of_task(item)


def _of_graph(graph: Pregel[Any, Any, Any, Any], where: str) -> Iterator[Finding]:
    if graph.retry_policy:
        yield _retries(f"The graph {graph.name!r}{where} has a RetryPolicy")
    if graph.cache_policy is not None:
        yield _cached(f"The graph {graph.name!r}{where} has a CachePolicy")
    elif graph.cache is not None:
        yield _cached(f"The graph {graph.name!r}{where} has a cache")
    if graph.checkpointer is False and where:  # a run gives the outermost graph a checkpointer
        yield Finding(
            code="subgraph_without_checkpoints",
            what=f"The graph {graph.name!r}{where} is compiled with checkpointer=False: a run is sync, and LangGraph "
            "raises an AttributeError in such a subgraph.",
            todo="Compile it without checkpointer=, so that it uses the run's.",
        )
    durability = ((graph.config or {}).get("configurable") or {}).get(DURABILITY)
    if durability not in (None, "sync"):
        yield Finding(
            code="durability_refused",
            what=f"The graph {graph.name!r}{where} is configured with durability {durability!r}: after a crash whole "
            "steps would be asked for again.",
            todo="Leave durability out of with_config; a run always uses sync.",
        )


def _of_task(task: Any) -> Iterator[Finding]:
    name = getattr(task, "__name__", "")
    if getattr(task, "retry_policy", None):
        yield _retries(f"Task {name!r} has a RetryPolicy")
    if getattr(task, "cache_policy", None) is not None:
        yield _cached(f"Task {name!r} has a CachePolicy")


def _of_tool(tool: BaseTool, where: str) -> Iterator[Finding]:
    contract = contract_of(tool)
    if contract is None:
        yield Finding(
            code="ungoverned_tool",
            what=f"Tool {tool.name!r}{where} has neither @reads nor @writes: nobody knows whether a repeat does harm.",
            todo=f"Declare it with @reads() or @writes(key=…, impact=…), or contracts={{{tool.name!r}: …}}, "
            "and use what control.govern([...]) returns.",
        )
    elif contract.is_write and not isinstance(tool, GovernedTool):
        yield _outside(tool.name, where)


def _outside(name: str, where: str) -> Finding:
    return Finding(
        code="write_outside_gate",
        what=f"{name!r}{where} is declared with @writes, but used without the gate.",
        todo="Use the tool that control.govern([...]) returns, everywhere: for the model and for calling it.",
    )


def _retries(what: str) -> Finding:
    return Finding(
        code="retry_policy",
        what=f"{what}, which repeats whatever it wraps after any error, a write with an unknown outcome included.",
        todo="Remove it: a governed write retries by itself where that is safe. For a model, use model.with_retry().",
    )


def _cached(what: str) -> Finding:
    return Finding(
        code="node_cached",
        what=f"{what}: what it holds would be left out where another run was given the same, a write and the decision "
        "about it included.",
        todo="Remove cache and cache_policy: a governed write gives its stored result by itself. Keep what a read "
        "found in the body of that tool, and what a model answered in the model's own cache.",
    )
