"""A run for a graph that somebody else starts and resumes, such as LangGraph Server: decisions only, no I/O.

Each call of the graph takes the run's lease, drives the graph until it ends or parks, and gives the lease up, as
``control.run`` does. Which run it is, is found by the thread; whoever resumes decides nothing by that.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from langgraph_control.audit.asking.attempts import FindThreadRun, Ignored
from langgraph_control.audit.asking.requests import FindRun, RunAcquire, RunOpen
from langgraph_control.audit.asking.rows import RunRow
from langgraph_control.audit.names import run_id as run_of_name
from langgraph_control.audit.names import run_name
from langgraph_control.audit.people.approvals import Approvals
from langgraph_control.errors import RunRefused, UnknownRun
from langgraph_control.graphs.advance import Ended
from langgraph_control.graphs.itinerary import Snapshot, ThreadState, found_run, in_force
from langgraph_control.graphs.journey import journey
from langgraph_control.graphs.order import Order, acquiring
from langgraph_control.graphs.policies import Policies
from langgraph_control.graphs.resume_values import read_resume
from langgraph_control.graphs.resumed import Sender, heard, ignored
from langgraph_control.graphs.server_users import credential_of, server_user
from langgraph_control.graphs.thread_view import thread_of
from langgraph_control.graphs.trip import RUN_METADATA, Steps, Trip

__all__ = ["Called", "called", "serving"]

TRIGGER: Final = "trigger"
INTENT: Final = "intent"
ON_BEHALF_OF: Final = "on_behalf_of"

_OURS: Final = ("__control_", "__pregel_")
_SERVERS: Final = frozenset({"__pregel_node_finished"})  # counts nodes; the server refuses it from clients
_THREADS: Final = frozenset({"thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """One call of a served graph, checked.

    Args:
        graph: the name of its runs.
        thread: the thread it was called on.
        config: what to drive with: the caller's, without what names the thread.
        order: the run to begin; None to go on with the thread's.
        resume: the value of the ``Command``; None for none.
        changes: the ``Command`` wants to change the graph's state or course, too.
        sender: who calls.
    """

    graph: str
    thread: str
    config: RunnableConfig
    order: Order | None
    resume: Any = field(default=None, repr=False)
    changes: bool = False
    sender: Sender = field(default_factory=Sender)

    @property
    def says_something(self) -> bool:
        """Whether it wants more than to go on: then that it is refused is on record."""
        return self.resume is not None or self.changes


def called(given: Any, config: RunnableConfig | None, *, graph: str, actor: str, approvals: Approvals | None) -> Called:
    """Check a call of a served graph.

    Trigger and intent are what ``configurable`` or the metadata say; without a trigger it is the server's own run. The
    person it acts for is the server's authenticated user; only where there is none, what the config says.

    Args:
        given: the input, a ``Command``, or None to go on.
        config: the caller's.
        graph: the name of the graph's runs.
        actor: the identity the agent runs under.
        approvals: the approver's side; None where this process takes no votes.

    Raises:
        RunRefused: it has no thread or no trigger, names a checkpoint, or sets what a run keeps to itself.
    """
    known: dict[str, Any] = dict(config or {})
    configurable: Mapping[str, Any] = known.get("configurable") or {}
    metadata: Mapping[str, Any] = known.get("metadata") or {}
    thread = _thread(configurable)
    server_run = _server_run(known, configurable)
    where = {"server_run": server_run} if server_run else {}
    sender = Sender(
        person=server_user(configurable),
        credential=credential_of(configurable, asked_by=server_run or thread),
        approvals=approvals,
        where=where,
    )
    mine = {name: value for name, value in configurable.items() if name not in _THREADS}
    command = given if isinstance(given, Command) else None
    order = None
    if given is not None and command is None:
        said = {**metadata, **configurable}
        order = Order.of(
            given,
            trigger=said.get(TRIGGER) or _own_trigger(server_run),
            intent=said.get(INTENT),
            actor=actor,
            on_behalf_of=sender.person or said.get(ON_BEHALF_OF),
            deadline=None,
            thread=thread,
        )
    return Called(
        graph=graph,
        thread=thread,
        config={**known, "configurable": mine},  # type: ignore[typeddict-item]  # the caller's own, less two names
        order=order,
        resume=None if command is None else command.resume,
        changes=command is not None and bool(command.update or command.goto or command.graph),
        sender=sender,
    )


def serving(
    trip: Trip, call: Called, policies: Policies, *, lease_ms: int, driven_here: Callable[[UUID], bool]
) -> Steps:
    """Begin a thread's run or go on with it, until the graph ends or parks.

    Args:
        trip: what is driven, with its graph.
        call: what was asked for.
        policies: the rules that decide.
        lease_ms: how long the lease lasts.
        driven_here: whether any drive in this process holds a run's lease.

    Raises:
        RunRefused: the thread is busy, has nothing to go on with, or belongs to another graph's run.
        Exception: what the graph raised; the run is kept as ``blocked``.
    """
    policy = yield from in_force(trip, policies)
    opening: RunOpen | RunAcquire
    if call.order is not None:
        yield from _same_thread(call.order, call.thread)
        opening = call.order.opening(policy, call.graph, lease_ms=lease_ms, version=trip.version)
    else:
        acquired = partial(acquiring, policy=policy, lease_ms=lease_ms, version=trip.version)
        opening = yield from _resumed(trip, call, acquired, driven_here)
    ended = yield from journey(opening, trip.answers, owner=policy.owner or "", replaces=policy.replaces)
    if isinstance(ended, Ended) and ended.error is not None:
        ended.error.add_note(f"In run {run_name(trip.lease.run_id)}; it is kept, and goes on when its thread does.")
        raise ended.error
    return None


def _resumed(
    trip: Trip, call: Called, acquired: Callable[[UUID], RunAcquire], driven_here: Callable[[UUID], bool]
) -> Generator[Any, Any, RunAcquire]:
    """Hear what a resume says, and return the request for the lease of the thread's run."""
    run_id: UUID | None = yield FindThreadRun(thread=call.thread)
    if run_id is None:
        yield from _noted_after_the_end(call)
        raise RunRefused(
            "This thread has no run to go on with.",
            todo="Start one: give the graph an input.",
            code="nothing_to_resume",
        )
    row = yield from found_run(FindRun(run_id=run_id))
    if row.graph != call.graph:
        if call.says_something:
            yield from ignored(run_id, Ignored.OTHER_GRAPH, call.sender)
        raise RunRefused(
            f"The thread's run {run_name(run_id)} belongs to the graph {row.graph!r}.",
            todo="Go on with it by the assistant of that graph.",
            code="other_graph",
        )
    if call.changes:
        yield from ignored(run_id, Ignored.STATE_CHANGED, call.sender)
        raise RunRefused(
            "A governed run is not resumed together with a change of its state or course.",
            todo="Resume it without update and goto; to change the state, update the thread first.",
            code="resume_with_changes",
        )
    if driven_here(run_id):
        if call.says_something:
            yield from ignored(run_id, Ignored.RUN_NOT_PARKED, call.sender)
        raise RunRefused(
            f"Run {run_name(run_id)} is driven by this process right now.",
            todo="Wait for the call that drives it.",
            code="run_not_parked",
        )
    if call.resume is not None:
        yield from _hear(trip, call, row)
    return acquired(run_id)


def _noted_after_the_end(call: Called) -> Generator[Any, Any, None]:
    """Put on record, in the last run of the thread, that somebody resumed it after that run's end."""
    snapshot = (yield ThreadState(thread=call.thread)) if call.says_something else None
    try:
        last = run_of_name(((snapshot.metadata if snapshot else None) or {}).get(RUN_METADATA, ""))
    except UnknownRun:
        return  # the thread has had none
    # Whoever can write checkpoints can have one name any run: only one of this very thread is taken for its last.
    row: RunRow | None = yield FindRun(run_id=last)
    if row is not None and row.thread_id == call.thread:
        yield from ignored(row.run_id, Ignored.NOTHING_TO_RESUME, call.sender)


def _hear(trip: Trip, call: Called, row: RunRow) -> Generator[Any, Any, None]:
    said = read_resume(call.resume, thread_of((yield Snapshot(row=row))))
    for word in said.words:
        yield from heard(row.run_id, word, call.sender)
    trip.answers = said.answers


def _same_thread(order: Order, thread: str) -> Generator[Any, Any, None]:
    """Refuse to join a run of another thread: what it streams belongs there."""
    row: RunRow | None = yield FindRun(trigger=order.trigger)
    if row is not None and row.thread_id != thread:
        raise RunRefused(
            f"The trigger belongs to run {run_name(row.run_id)}, which is on another thread.",
            todo="Deliver the same event to the same thread.",
            code="trigger_mismatch",
        )


def _thread(configurable: Mapping[str, Any]) -> str:
    thread = configurable.get("thread_id")
    if not thread:
        raise RunRefused(
            "The graph was called without a thread, and could not wait for anybody.",
            todo="Create a thread, and start the graph on it.",
            code="thread_missing",
        )
    refused = sorted(name for name in configurable if name.startswith(_OURS) and name not in _SERVERS)
    if configurable.get("checkpoint_id"):
        refused.append("checkpoint_id")
    if refused:
        raise RunRefused(
            f"The config sets {', '.join(refused)}, which a run keeps to itself.",
            todo="Leave it out: a run always goes on where its record ends. To try something else, use another thread.",
            code="config_refused",
        )
    return str(thread)


def _server_run(config: Mapping[str, Any], configurable: Mapping[str, Any]) -> str:
    metadata = config.get("metadata") or {}
    found = config.get("run_id") or metadata.get("run_id") or configurable.get("run_id")
    return "" if found is None else str(found)


def _own_trigger(server_run: str) -> str:
    if not server_run:
        raise RunRefused(
            "Nothing says which delivery this is.",
            todo='Name it: config={"configurable": {"trigger": "zendesk/evt-9"}}; the same twice is the same run.',
            code="trigger_missing",
        )
    return f"langgraph/{server_run}"
