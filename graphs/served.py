"""Graphs that somebody else starts and resumes, as LangGraph Server does: every call of one is part of a run.

The server copies a graph, gives the copy its own checkpointer and calls ``astream``. A served graph takes the run's
lease there, drives the graph as it was, and gives the lease up when it ends or parks. That is an entry and an exit
around the whole graph and no node of it: a node cannot see the graph end, and is not run when one after it resumes.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel

from langgraph_control.audit.people.approvals import Approvals
from langgraph_control.errors import RunRefused
from langgraph_control.graphs.bind import bound
from langgraph_control.graphs.ledger import Ledger
from langgraph_control.graphs.runs import Runs
from langgraph_control.graphs.server_users import ServerUsers
from langgraph_control.graphs.serving import called, serving
from langgraph_control.graphs.trip import Graph, Steps, Trip
from langgraph_control.nodes.contexts import inside_run

__all__ = ["served"]

G = TypeVar("G", bound=Pregel[Any, Any, Any, Any])

_RUNS_OWN: Final = frozenset({"durability", "checkpoint_during", "control"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    """What all copies of one served graph share.

    Args:
        ledger: of the Control that serves it.
        kind: the class of the graph as it was.
        name: under which its runs are found again.
        actor: the identity the agent runs under.
        approvals: the approver's side; None where votes are given elsewhere.
    """

    ledger: Ledger
    kind: type[Graph]
    name: str
    actor: str
    approvals: Approvals | None

    def begun(
        self, graph: Graph, given: Any, config: RunnableConfig | None, options: Mapping[str, Any]
    ) -> tuple[Runs, Trip, Steps]:
        """Return what carries a call out, not started.

        Args:
            graph: the served graph, as it was called.
            given: the input, a ``Command``, or None.
            config: the caller's.
            options: what else it was called with.
        """
        call = called(given, config, graph=self.name, actor=self.actor, approvals=self.approvals)
        if graph.checkpointer is None or isinstance(graph.checkpointer, bool):
            raise RunRefused(
                "The graph was called without a checkpointer, and could not wait for anybody.",
                todo="Serve it by something that keeps threads; runs without a thread keep none.",
                code="checkpointer_missing",
            )
        runs = self.ledger.runs()
        mine = ("context", "stream_mode", "subgraphs")
        # A server may wrap our saver, or load it by another Control; only this one's knows which leases are held here.
        ours = getattr(graph.checkpointer, "fences_runs", False) is True
        trip = Trip(
            graph=self.kind(**{**vars(graph), "checkpointer": runs.saver if ours else graph.checkpointer}),
            config=call.config,
            context=options.get("context"),
            stream_mode=options.get("stream_mode"),
            subgraphs=bool(options.get("subgraphs")),
            options={name: value for name, value in options.items() if name not in _RUNS_OWN and name not in mine},
        )
        steps = serving(trip, call, self.ledger.policies, lease_ms=runs.leases.lease_ms, driven_here=runs.leases.driven)
        return runs, trip, steps


class RefusedHere(RunRefused, ValueError):  # noqa: N818 - as its base
    """A :class:`RunRefused` whose text reaches the server's client, which is told only the name of unknown errors."""

    @classmethod
    def of(cls, refused: RunRefused) -> "RefusedHere":
        """Return it for what was raised.

        Args:
            refused: the refusal; its text has no secrets and no payloads.
        """
        return cls(refused.what, safe=refused.safe, todo=refused.todo, code=refused.code)


class _Served(Pregel[Any, Any, Any, Any]):
    """Comes before a graph's own class: takes the run, then has the graph as it was driven."""

    _desk: ClassVar[_Desk]

    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Iterator[Any]:  # noqa: A002 - LangGraph's
        """Run the graph as part of a run, and yield what it streams."""
        if inside_run():
            yield from super().stream(input, config, **options)
            return
        try:
            runs, trip, steps = self._desk.begun(self, input, config, options)
            with closing(runs.drive(trip, steps)) as chunks:
                yield from chunks
        except RunRefused as refused:
            raise RefusedHere.of(refused) from refused

    async def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:  # noqa: A002
        """Do what :meth:`stream` does, on any event loop."""
        if inside_run():
            async for chunk in super().astream(input, config, **options):
                yield chunk
            return
        try:
            runs, trip, steps = self._desk.begun(self, input, config, options)
            async with aclosing(runs.adrive(trip, steps)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except RunRefused as refused:
            raise RefusedHere.of(refused) from refused


def served(
    graph: G, ledger: Ledger, *, name: str, actor: str, approver_dsn: str | None, version: str | None = None
) -> G:
    """Return a checked copy of a graph, each call of which is part of a run.

    Args:
        graph: a compiled graph, without a checkpointer: the server brings one.
        ledger: what the Control keeps open.
        name: under which its runs are found again.
        actor: the identity the agent runs under.
        approver_dsn: the login of a service that may name persons; None to leave votes to others.
        version: of the agent; None where nobody says.

    Raises:
        GraphRefused, ContractError: as :meth:`Control.bind`.
    """
    checked = bound(graph, name=name, version=version)
    kind = type(checked)
    approvals = None if approver_dsn is None else Approvals(approver_dsn, authenticator=ServerUsers())
    if approvals is not None:
        ledger.at_close(approvals.close)
    desk = _Desk(ledger=ledger, kind=kind, name=name, actor=actor, approvals=approvals)
    made: Any = type(kind.__name__, (_Served, kind), {"_desk": desk, "__module__": kind.__module__})
    copied: G = made(**vars(checked))
    return copied
