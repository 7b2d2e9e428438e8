"""Checking a graph and giving it the name under which its runs are found again."""

from typing import Any, Final, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel

from langgraph_control.errors import GraphRefused
from langgraph_control.graphs.inspection import inspect_graph
from langgraph_control.graphs.order import GRAPH_LENGTH_MAX

__all__ = ["VERSION_LENGTH_MAX", "VERSION_METADATA", "bound", "version_of"]

G = TypeVar("G", bound=Pregel[Any, Any, Any, Any])

VERSION_METADATA: Final = "control_version"
"""Where a bound graph's config says which version of the agent it is; traces and checkpoints show it, too."""

VERSION_LENGTH_MAX: Final = 128


def bound(graph: G, *, name: str, version: str | None = None) -> G:
    """Return a copy of a graph under a name, or say why no run may drive it.

    Args:
        graph: what ``compile()``, ``create_agent`` or ``@entrypoint`` gave.
        name: under which its runs are found again, in every process and release.
        version: of the agent, for the record and for whoever decides; None where nobody says.

    Raises:
        GraphRefused: it is no compiled graph, name or version cannot be used, or it would repeat writes blindly or
            leave them out.
        ContractError: two different writes in it have one name.
    """
    if not isinstance(graph, Pregel):
        raise GraphRefused(
            f"{type(graph).__name__} is no compiled graph.",
            todo="Pass what builder.compile(), create_agent(...) or @entrypoint gives.",
            code="graph_not_compiled",
        )
    if not isinstance(name, str) or not name.strip():
        raise GraphRefused(
            "The graph has no name.",
            todo='Give it one that stays the same over releases: control.bind(graph, name="support").',
            code="graph_name_missing",
        )
    if len(name) > GRAPH_LENGTH_MAX or not name.isprintable():
        raise GraphRefused(
            f"The graph's name is longer than {GRAPH_LENGTH_MAX} characters or holds control characters.",
            todo='Give it a short one that stays the same over releases: control.bind(graph, name="support").',
            code="graph_name_invalid",
        )
    if version is not None and not _is_version(version):
        raise GraphRefused(
            f"The version of the graph {name!r} cannot be used.",
            todo=f'Pass a text of at most {VERSION_LENGTH_MAX} characters, such as "2.4.1", or leave it out.',
            code="graph_version_invalid",
        )
    findings = inspect_graph(graph)
    if findings:
        raise GraphRefused(
            f"The graph {name!r} cannot be bound: " + " ".join(finding.what for finding in findings),
            todo=" ".join(dict.fromkeys(finding.todo for finding in findings)),
            code=findings[0].code,
        )
    config = RunnableConfig(**(graph.config or {}))
    metadata = {one: value for one, value in config.get("metadata", {}).items() if one != VERSION_METADATA}
    if version is not None:
        metadata[VERSION_METADATA] = version
    return graph.copy(update={"name": name, "config": {**config, "metadata": metadata} if metadata else graph.config})


def version_of(graph: Pregel[Any, Any, Any, Any]) -> str | None:
    """Return which version of the agent a bound graph is; None where nobody said.

    Args:
        graph: what ``bind`` gave, or a copy of it.
    """
    version: str | None = (graph.config or {}).get("metadata", {}).get(VERSION_METADATA)
    return version


def _is_version(version: object) -> bool:
    if not isinstance(version, str) or not version.strip():
        return False
    return len(version) <= VERSION_LENGTH_MAX and version.isprintable()
