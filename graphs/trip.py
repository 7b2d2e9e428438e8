"""One call of ``run``, ``stream``, ``resume`` or ``get`` while it is under way."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel import Pregel
from langgraph.runtime import RunControl
from langgraph.types import Command, StreamMode

from langgraph_control.audit.connecting.drives import RUN_KEY, drive_name
from langgraph_control.audit.names import run_name
from langgraph_control.graphs.advance import Drive, Driven
from langgraph_control.graphs.bind import version_of
from langgraph_control.graphs.inputs import decode_input
from langgraph_control.graphs.journey import Take
from langgraph_control.graphs.run import Run
from langgraph_control.graphs.unanswered_calls import answered_first
from langgraph_control.guards.policy import Policy
from langgraph_control.nodes.run_memory import RunMemory

__all__ = ["RUN_METADATA", "Graph", "Steps", "Trip"]

Graph: TypeAlias = Pregel[Any, Any, Any, Any]
Steps: TypeAlias = Generator[Any, Any, Run | None]
"""What a call does, as requests to its driver. Returns the run; None where the caller has stopped listening."""

RUN_METADATA: Final = "control_run"
"""In the metadata of every checkpoint a run writes: its name. It finds a run's end on a thread that others share."""


@dataclass(slots=True, kw_only=True)
class Trip:
    """What a call was given, and how far it has come.

    Args:
        graph: the graph to drive, with the ledger's saver; None until it is known, or where nothing is driven.
        answers: the caller's answers to the user's own questions.
        config: the caller's config, checked.
        context: LangGraph's run-scoped context.
        stream_mode: what to stream; empty for nothing, None for the graph's own default.
        subgraphs: whether to stream from subgraphs, too.
        control: stops the graph between two supersteps, if somebody may ask for that.
        options: what else LangGraph is to be called with, by name.
    """

    graph: Graph | None = None
    answers: Mapping[str, Any] = field(default_factory=dict)
    config: RunnableConfig = field(default_factory=RunnableConfig)
    context: Any = None
    stream_mode: StreamMode | list[StreamMode] | None = field(default_factory=list)
    subgraphs: bool = False
    control: RunControl | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    policy: Policy | None = None  # what decides, once it is known
    started: float = 0.0  # monotonic seconds, from before the newest request to the ledger was sent
    taken: Take | None = None  # the lease, once there is one
    memory: RunMemory | None = None  # of the run, likewise
    driven: Driven = field(default_factory=Driven)  # how the newest drive ended
    run: Run | None = None  # what came of it all

    @property
    def lease(self) -> Take:
        """The lease that was given."""
        if self.taken is None:
            raise AssertionError("asked for before the lease was taken")
        return self.taken

    def begins(self, drive: Drive) -> None:
        """Note that the graph runs from now on.

        Args:
            drive: how.
        """
        self.driven = Driven(closed=True)  # unless it comes to an end
        if drive.questions and self.memory is not None:
            self.memory.question_answered()

    @property
    def known_policy(self) -> Policy:
        """The policy that decides while this is driven."""
        if self.policy is None:
            raise AssertionError("driven before it was known what decides")
        return self.policy

    @property
    def known_graph(self) -> Graph:
        """The graph to drive."""
        if self.graph is None:
            raise AssertionError("driven before the graph was found")
        return self.graph

    @property
    def version(self) -> str | None:
        """Which version of the agent is driven; None where nobody said, or it is not known yet."""
        return None if self.graph is None else version_of(self.graph)

    @property
    def saver(self) -> BaseCheckpointSaver[Any]:
        """What keeps the checkpoints of the graph to drive."""
        return cast("BaseCheckpointSaver[Any]", self.known_graph.checkpointer)

    @property
    def result(self) -> Run:
        """What came of a call that was carried out to its end."""
        if self.run is None:
            raise AssertionError("asked for before the end")
        return self.run

    def thread_config(self) -> RunnableConfig:
        """Return the config to drive with: the caller's, on the run's thread, in the run's name."""
        lease = self.lease
        ours = {"thread_id": lease.thread_id, RUN_KEY: drive_name(lease.drive)}
        return {
            **self.config,
            "configurable": {**self.config.get("configurable", {}), **ours},
            "metadata": {**self.config.get("metadata", {}), RUN_METADATA: run_name(lease.run_id)},
        }

    def call(self, drive: Drive) -> dict[str, Any]:
        """Return what to call LangGraph with.

        Args:
            drive: how to drive.
        """
        given: Any = None
        if drive.how == "start":
            given = answered_first(decode_input(self.lease.input), drive.unanswered)
        elif drive.how == "answer":
            given = Command(resume=dict(drive.answers))
        return {
            **self.options,
            "input": given,
            "config": self.thread_config(),
            "context": self.context,
            "stream_mode": self.stream_mode,
            "subgraphs": self.subgraphs,
            # Given explicitly, because that beats whatever the graph's own config says.
            "durability": "sync",
            "control": self.control,
        }
