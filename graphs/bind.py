"""Checking a graph and giving it the name under which its runs are found again."""

from typing import Any, TypeVar

from langgraph.pregel import Pregel

from langgraph_control.errors import GraphRefused
from langgraph_control.graphs.inspection import inspect_graph

__all__ = ["bound"]

G = TypeVar("G", bound=Pregel[Any, Any, Any, Any])


def bound(graph: G, *, name: str) -> G:
    """Return a copy of a graph under a name, or say why no run may drive it.

    Args:
        graph: what ``compile()``, ``create_agent`` or ``@entrypoint`` gave.
        name: under which its runs are found again, in every process and release.

    Raises:
        GraphRefused: it is no compiled graph, the name is empty, or it would repeat writes blindly.
    """
    if not isinstance(graph, Pregel):
        raise GraphRefused(
            f"{type(graph).__name__} is no compiled graph.",
            todo="Pass what builder.compile(), create_agent(...) or @entrypoint gives.",
            code="graph_not_compiled",
        )
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise GraphRefused(
            "The graph has no name.",
            todo='Give it one that stays the same over releases: control.bind(graph, name="support").',
            code="graph_name_missing",
        )
    findings = inspect_graph(graph)
    if findings:
        raise GraphRefused(
            f"The graph {name!r} cannot be bound: " + " ".join(finding.what for finding in findings),
            todo=" ".join(dict.fromkeys(finding.todo for finding in findings)),
            code=findings[0].code,
        )
    return graph.copy(update={"name": name})
