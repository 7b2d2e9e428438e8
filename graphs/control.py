"""``Control``: govern tools, bind graphs, run them."""

import asyncio
import io
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.types import StreamMode

from langgraph_control.audit.asking.publishing import publish_policy
from langgraph_control.audit.asking.requests import FindRun
from langgraph_control.audit.names import run_id as id_of_run
from langgraph_control.audit.postgres.local_server import ADMIN, LocalServer
from langgraph_control.errors import ArgumentError, ContractError, RunRefused
from langgraph_control.graphs.bind import bound
from langgraph_control.graphs.govern import governed
from langgraph_control.graphs.itinerary import answered, getting, reloading, resuming, running, submitting
from langgraph_control.graphs.ledger import Ledger
from langgraph_control.graphs.order import Deadline, Order, acquiring, checked_config
from langgraph_control.graphs.policies import Policies
from langgraph_control.graphs.run import Run
from langgraph_control.graphs.subgraph import control_subgraph
from langgraph_control.graphs.trip import Graph, Steps, Trip
from langgraph_control.guards.checks import Check, NamedCheck
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.spoken_texts import RECORD_CHARS_MAX, check_name
from langgraph_control.nodes.contracts import Contract

__all__ = ["Control", "binder_of", "ledger_of"]

G = TypeVar("G", bound=Pregel[Any, Any, Any, Any])
StreamModes = StreamMode | list[StreamMode] | None

_NOTHING: Final[list[StreamMode]] = []
_BINDERS: Final[weakref.WeakKeyDictionary[Graph, weakref.ref[Ledger]]] = weakref.WeakKeyDictionary()


class Control:
    """The control layer of one process: governs tools, binds graphs, drives runs.

    Reads the policy file; opens nothing else before it is used. Close it, or use it in ``with`` or ``async with``; one
    that is not closed ends with the interpreter.

    Args:
        policy: the policy file's path, or a policy that was read already.
        dsn: the agent login's Postgres connection string; by default ``LANGGRAPH_CONTROL_DSN``.
        checks: functions that may make a decision stricter, sync or async; see :mod:`langgraph_control.checks`.
        serde: how LangGraph's checkpoints are stored, such as its ``EncryptedSerializer``; by default in clear.

    Raises:
        PolicyError: the file cannot be read, or is wrong; the text names file, line and key.
        ContractError: code ``check_invalid``: a check cannot be called.
    """

    def __init__(
        self,
        policy: str | Path | Policy,
        *,
        dsn: str | None = None,
        checks: Sequence[Check] = (),
        serde: SerializerProtocol | None = None,
    ) -> None:
        self._graphs: dict[str, Graph] = {}
        self._bound: weakref.WeakSet[Graph] = weakref.WeakSet()
        self._policies = Policies.of(policy)
        self._ledger = Ledger(policies=self._policies, graphs=self._graphs, dsn=dsn, checks=_named(checks), serde=serde)

    @classmethod
    def local(cls, policy: str | Path | Policy, *, checks: Sequence[Check] = ()) -> Self:
        """Return a Control on an embedded Postgres of its own, for development only: its logins trust each other.

        Starts or joins the server, brings its schema up to date, publishes the policy, and says in one line on standard
        error where it runs.

        Args:
            policy: the policy file's path, or a policy that was read already.
            checks: functions that may make a decision stricter.

        Raises:
            PolicyError: the file cannot be read, or is wrong; nothing was started.
            ContractError: code ``check_invalid``: a check cannot be called.
            LocalServerError: the server cannot be started; the text names the remedies.
        """
        control = cls(policy, checks=checks)
        server = LocalServer.start()
        try:
            publish_policy(server.dsn(ADMIN), control.policy)
        except BaseException:
            server.stop()
            raise
        print(server.where, file=sys.stderr)  # noqa: T201 - the promised line; a log line would not be seen by default
        control._policies.publish = partial(publish_policy, server.dsn(ADMIN))
        control._ledger.server = server
        control._ledger.dsn = server.dsn("control_local_agent")
        return control

    @property
    def policy(self) -> Policy:
        """The policy in force: the file's as it was last taken."""
        return self._policies.policy

    def reload(self) -> Policy:
        """Take a changed policy file now, and return the policy in force. Runs that are being driven keep theirs.

        Without it, a changed file is noticed when the next run is started or driven on, and taken if it is correct and
        published.

        Raises:
            PolicyError: the file is wrong, or (code ``policy_unpublished``) not published; what was in force stays.
            TrailUnavailable, SchemaMismatch: the ledger cannot be asked what is published.
        """
        trip = Trip()
        for _ in self._ledger.runs().drive(trip, reloading(trip, self._policies)):
            pass
        return self.policy

    async def areload(self) -> Policy:
        """Do what :meth:`reload` does, on any event loop."""
        trip = Trip()
        async for _ in self._ledger.runs().adrive(trip, reloading(trip, self._policies)):
            pass
        return self.policy

    def govern(
        self,
        tools: Sequence[BaseTool | Callable[..., Any]],
        *,
        contracts: Mapping[str, Contract] | None = None,
    ) -> list[BaseTool]:
        """Return tools whose writes go through the gate, wherever they are called from.

        Args:
            tools: functions declared with ``@reads`` or ``@writes``, and tools.
            contracts: contracts for tools one does not own, by tool name.

        Raises:
            ContractError: a tool without a contract, two tools of one name, or a contract that does not fit its tool.
            PolicyError: the policy allows one of them to move money without an amount bounded on both sides.
        """
        return governed(tools, contracts or {}, policies=self._policies, store=self._ledger.store)

    def bind(self, graph: G, *, name: str, version: str | None = None) -> G:
        """Return a checked copy of a graph that runs may be started with. It has no checkpointer; runs bring theirs.

        Refused is what would repeat writes blindly, or leave them out, as far as the compiled graph shows it: retry
        policies and caches of nodes, tasks and the graph, ``ToolRetryMiddleware``, a configured durability other than
        sync, tools without a contract, writes without the gate, and two different writes of one name, also in
        subgraphs and in what functions have closed over; and subgraphs with ``checkpointer=False``, which break every
        run. What it cannot see: effects that are no tools (an HTTP call in a node), tools looked up by name at run
        time, and what lies behind objects of classes it does not know. A repeat of a governed write is harmless in any
        case.

        Args:
            graph: what ``compile()``, ``create_agent`` or ``@entrypoint`` gave.
            name: under which its runs are found again, in every process and release; the last graph bound under a
                name is the one that ``resume`` drives.
            version: of the agent, such as its package's; recorded with each drive, and shown to whoever decides about
                what it asks for. It takes part in no decision, and a grant outlives it.

        Raises:
            GraphRefused: as above; the text says what to write instead.
            ContractError: two different writes of one name.
        """
        named = bound(graph, name=name, version=version)
        self._graphs[name] = named
        self._bound.add(named)
        _BINDERS[named] = weakref.ref(self._ledger)
        return named

    def subgraph(
        self, tools: Sequence[BaseTool | Callable[..., Any]], state_schema: type[Any] | None = None
    ) -> CompiledStateGraph[Any, Any, Any, Any]:
        """Return control nodes to use in place of ``ToolNode(tools)``: one task per call.

        Args:
            tools: governed tools, or what :meth:`govern` takes.
            state_schema: the outer graph's state; needed as soon as tools read or write more than ``messages``.

        Raises:
            ContractError, PolicyError: as :meth:`govern`.
        """
        return control_subgraph(self.govern(tools), state_schema)

    def run(
        self,
        graph: Pregel[Any, Any, Any, Any],
        input: Any,  # noqa: A002 - what LangGraph calls it
        *,
        trigger: str,
        intent: str | None = None,
        actor: str,
        on_behalf_of: str | None = None,
        deadline: Deadline | None = None,
        thread: str | None = None,
        config: RunnableConfig | None = None,
        context: Any = None,
    ) -> Run:
        """Run a bound graph until it ends or waits for something. The same trigger again joins the same run.

        A run that another worker drives is waited for; one that is done is returned; one that waits is driven on if
        what it waits for has come.

        Args:
            graph: what :meth:`bind` returned.
            input: the graph's input, stored with the run: it starts with what the first delivery brought.
            trigger: the delivery, such as an event's id; at most 512 characters.
            intent: the business request that its writes belong to; by default the trigger.
            actor: the identity the agent runs under.
            on_behalf_of: the person it acts for.
            deadline: nothing new is begun after it: a moment with a time zone, a ``timedelta``, ``"2h"``.
            thread: the conversation's thread; by default one of the run's own.
            config: callbacks, tags, metadata, recursion limit, ``configurable`` of the graph's own.
            context: LangGraph's run-scoped context; not stored.

        Returns:
            The run: print it to see what it waits for.

        Raises:
            RunRefused: an argument cannot be used, the graph is not bound, the thread is busy, or the trigger belongs
                to a run with another intent or graph.
            PolicyError: code ``policy_unpublished``.
            TrailUnavailable, SchemaMismatch: the ledger cannot be used; nothing more was done.
            Exception: what the graph raised; the run is kept as ``blocked`` and goes on with the same call.
        """
        order = Order.of(
            input,
            trigger=trigger,
            intent=intent,
            actor=actor,
            on_behalf_of=on_behalf_of,
            deadline=deadline,
            thread=thread,
        )
        return self._to_its_end(*self._ordered(graph, order, config, context))

    async def arun(
        self,
        graph: Pregel[Any, Any, Any, Any],
        input: Any,  # noqa: A002 - what LangGraph calls it
        *,
        trigger: str,
        intent: str | None = None,
        actor: str,
        on_behalf_of: str | None = None,
        deadline: Deadline | None = None,
        thread: str | None = None,
        config: RunnableConfig | None = None,
        context: Any = None,
    ) -> Run:
        """Do what :meth:`run` does, on any event loop. A cancelled task leaves a run that waits and can be resumed."""
        order = Order.of(
            input,
            trigger=trigger,
            intent=intent,
            actor=actor,
            on_behalf_of=on_behalf_of,
            deadline=deadline,
            thread=thread,
        )
        return await self._ato_its_end(*self._ordered(graph, order, config, context))

    def stream(
        self,
        graph: Pregel[Any, Any, Any, Any],
        input: Any,  # noqa: A002 - what LangGraph calls it
        *,
        trigger: str,
        intent: str | None = None,
        actor: str,
        on_behalf_of: str | None = None,
        deadline: Deadline | None = None,
        thread: str | None = None,
        config: RunnableConfig | None = None,
        context: Any = None,
        stream_mode: StreamModes = None,
        subgraphs: bool = False,
    ) -> Iterator[Any]:
        """Do what :meth:`run` does, and yield what the graph streams meanwhile.

        Where the run stands afterwards is what ``get(trigger=…)`` says: some stream modes never show that a run waits.
        Closing the stream early leaves a run that waits and can be resumed.

        Args:
            graph: as for :meth:`run`, like everything not named here.
            input: likewise.
            trigger: likewise.
            intent: likewise.
            actor: likewise.
            on_behalf_of: likewise.
            deadline: likewise.
            thread: likewise.
            config: likewise.
            context: likewise.
            stream_mode: LangGraph's; by default the graph's own.
            subgraphs: whether to stream from subgraphs, too.

        Raises:
            RunRefused: an argument cannot be used, or the graph is not bound; anything else when the stream is read.
        """
        order = Order.of(
            input,
            trigger=trigger,
            intent=intent,
            actor=actor,
            on_behalf_of=on_behalf_of,
            deadline=deadline,
            thread=thread,
        )
        trip, steps = self._ordered(graph, order, config, context, stream_mode=stream_mode, subgraphs=subgraphs)
        return self._ledger.runs().drive(trip, steps)

    def astream(
        self,
        graph: Pregel[Any, Any, Any, Any],
        input: Any,  # noqa: A002 - what LangGraph calls it
        *,
        trigger: str,
        intent: str | None = None,
        actor: str,
        on_behalf_of: str | None = None,
        deadline: Deadline | None = None,
        thread: str | None = None,
        config: RunnableConfig | None = None,
        context: Any = None,
        stream_mode: StreamModes = None,
        subgraphs: bool = False,
    ) -> AsyncIterator[Any]:
        """Do what :meth:`stream` does, on any event loop."""
        order = Order.of(
            input,
            trigger=trigger,
            intent=intent,
            actor=actor,
            on_behalf_of=on_behalf_of,
            deadline=deadline,
            thread=thread,
        )
        trip, steps = self._ordered(graph, order, config, context, stream_mode=stream_mode, subgraphs=subgraphs)
        return self._ledger.runs().adrive(trip, steps)

    def submit(
        self,
        graph: str,
        input: Any,  # noqa: A002 - what LangGraph calls it
        *,
        trigger: str,
        intent: str | None = None,
        actor: str,
        on_behalf_of: str | None = None,
        deadline: Deadline | None = None,
        thread: str | None = None,
    ) -> Run:
        """Register a run and return at once; a worker that has the graph drives it. The same trigger is the same run.

        Args:
            graph: the name it is bound under where workers run; this process need not have it.
            input: the graph's input, stored with the run.
            trigger: the delivery, such as an event's id; at most 512 characters.
            intent: the business request that its writes belong to; by default the trigger.
            actor: the identity the agent runs under.
            on_behalf_of: the person it acts for.
            deadline: nothing new is begun after it: a moment with a time zone, a ``timedelta``, ``"2h"``.
            thread: the conversation's thread; by default one of the run's own.

        Returns:
            The run: ``waiting`` and ``queued``, or as it stands if its trigger was known.

        Raises:
            RunRefused: an argument cannot be used, the thread is busy, or the trigger belongs to a run with another
                intent or graph.
            PolicyError: code ``policy_unpublished``.
            TrailUnavailable, SchemaMismatch: the ledger cannot be used; nothing was registered that can be relied on.
        """
        order = Order.of(
            input,
            trigger=trigger,
            intent=intent,
            actor=actor,
            on_behalf_of=on_behalf_of,
            deadline=deadline,
            thread=thread,
        )
        return self._to_its_end(*self._submitted(graph, order))

    async def asubmit(
        self,
        graph: str,
        input: Any,  # noqa: A002 - what LangGraph calls it
        *,
        trigger: str,
        intent: str | None = None,
        actor: str,
        on_behalf_of: str | None = None,
        deadline: Deadline | None = None,
        thread: str | None = None,
    ) -> Run:
        """Do what :meth:`submit` does, on any event loop."""
        order = Order.of(
            input,
            trigger=trigger,
            intent=intent,
            actor=actor,
            on_behalf_of=on_behalf_of,
            deadline=deadline,
            thread=thread,
        )
        return await self._ato_its_end(*self._submitted(graph, order))

    def resume(
        self,
        run_id: str,
        answers: Mapping[str, Any] | None = None,
        *,
        config: RunnableConfig | None = None,
        context: Any = None,
    ) -> Run:
        """Drive a run on: after a decision, a crash, a wait, or with answers to the graph's own questions.

        Decisions are not given here but voted on; this only looks whether they have come.

        Args:
            run_id: the run's name, as printed.
            answers: what the user says, by the ids of the run's ``questions``. One to a graph's own interrupt that is
                not pending is ignored; one that tries to decide a request is, too, and goes on record.
            config: as for :meth:`run`.
            context: as for :meth:`run`.

        Raises:
            UnknownRun: there is no such run for this login's tenant.
            RunRefused: this process drives it right now, or has bound no graph of its graph's name.
            OperationRefused: an answer was not taken; code and text say why.
            PolicyError, TrailUnavailable, SchemaMismatch, Exception: as for :meth:`run`.
        """
        return self._to_its_end(*self._resuming(run_id, answers, config, context))

    async def aresume(
        self,
        run_id: str,
        answers: Mapping[str, Any] | None = None,
        *,
        config: RunnableConfig | None = None,
        context: Any = None,
    ) -> Run:
        """Do what :meth:`resume` does, on any event loop."""
        return await self._ato_its_end(*self._resuming(run_id, answers, config, context))

    def answer(self, run_id: str, answers: Mapping[str, str]) -> Run:
        """Keep what the user answered to questions of writes (``qst_…``), and wake the run; a worker drives it on.

        Needs no graph. An answer is told to the model and lets nothing run by itself.

        Args:
            run_id: the run's name, as printed.
            answers: question → what the user said.

        Raises:
            OperationRefused: an answer was not taken; code and text say why.
            UnknownRun: there is no such run for this login's tenant.
            TrailUnavailable, SchemaMismatch: the ledger cannot be asked; nothing was kept that can be relied on.
        """
        return self._to_its_end(Trip(), answered(id_of_run(run_id), _answers(answers)))

    async def aanswer(self, run_id: str, answers: Mapping[str, str]) -> Run:
        """Do what :meth:`answer` does, on any event loop."""
        return await self._ato_its_end(Trip(), answered(id_of_run(run_id), _answers(answers)))

    def get(self, run_id: str | None = None, *, trigger: str | None = None) -> Run:
        """Return where a run stands, without driving it.

        Args:
            run_id: the run's name, as printed; or
            trigger: the delivery that began it.

        Raises:
            UnknownRun: there is no such run for this login's tenant.
            RunRefused: not exactly one of the two was given.
            TrailUnavailable, SchemaMismatch: the ledger cannot be asked.
        """
        return self._to_its_end(Trip(), getting(_which(run_id, trigger)))

    async def aget(self, run_id: str | None = None, *, trigger: str | None = None) -> Run:
        """Do what :meth:`get` does, on any event loop."""
        return await self._ato_its_end(Trip(), getting(_which(run_id, trigger)))

    def receipt(self, run_id: str | None = None, *, trigger: str | None = None, payloads: bool = False) -> bytes:
        """Return the proof of a run, from its first entry to its newest: a file for ``audit verify``.

        Args:
            run_id: the run's name, as printed; or
            trigger: the delivery that began it.
            payloads: whether arguments and before-images go along.

        Raises:
            UnknownRun: there is no such run for this login's tenant.
            RunRefused: not exactly one of the two was given.
            ControlError: no checkpoint covers its newest entry yet (``receipt_unsealed``): ask again when it was
                sealed. Or retention dropped it (``entry_unknown``).
            TrailUnavailable, SchemaMismatch: the ledger cannot be asked.
        """
        # Only who asks for one needs what makes them.
        from langgraph_control.audit.bundles.bundling import run_receipt

        run, file = self.get(run_id, trigger=trigger), io.BytesIO()
        run_receipt(self._ledger.store().call, file, id_of_run(run.id), payloads=payloads)
        return file.getvalue()

    async def areceipt(self, run_id: str | None = None, *, trigger: str | None = None, payloads: bool = False) -> bytes:
        """Do what :meth:`receipt` does, on any event loop."""
        return await asyncio.to_thread(self.receipt, run_id, trigger=trigger, payloads=payloads)

    def close(self) -> None:
        """Close the connections; a development server stops with its last user. Safe to repeat."""
        self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _ordered(
        self,
        graph: Pregel[Any, Any, Any, Any],
        order: Order,
        config: RunnableConfig | None,
        context: Any,
        *,
        stream_mode: StreamModes = _NOTHING,
        subgraphs: bool = False,
    ) -> tuple[Trip, Steps]:
        if not isinstance(graph, Pregel) or graph not in self._bound:
            raise RunRefused(
                "The graph is not bound to this Control.",
                todo='Call graph = control.bind(graph, name="…") and pass what it returns.',
                code="graph_not_bound",
            )
        runs = self._ledger.runs()
        trip = Trip(
            graph=runs.with_saver(graph),
            config=checked_config(config),
            context=context,
            stream_mode=stream_mode,
            subgraphs=subgraphs,
        )
        opened = partial(order.opening, graph=graph.name, lease_ms=runs.leases.lease_ms, version=trip.version)
        return trip, running(trip, self._policies, opened)

    def _submitted(self, graph: str, order: Order) -> tuple[Trip, Steps]:
        trip = Trip()
        return trip, submitting(trip, self._policies, partial(order.submitting, graph=graph))

    def _resuming(
        self, run_id: str, answers: Mapping[str, Any] | None, config: RunnableConfig | None, context: Any
    ) -> tuple[Trip, Steps]:
        runs = self._ledger.runs()
        trip = Trip(answers=_answers(answers), config=checked_config(config), context=context)
        known = id_of_run(run_id)
        steps = resuming(
            trip,
            known,
            self._policies,
            acquired=lambda policy: acquiring(known, policy, lease_ms=runs.leases.lease_ms, version=trip.version),
            bound=runs.bound,
            driven_here=runs.leases.driven,
        )
        return trip, steps

    def _to_its_end(self, trip: Trip, steps: Steps) -> Run:
        for _ in self._ledger.runs().drive(trip, steps):
            pass
        return trip.result

    async def _ato_its_end(self, trip: Trip, steps: Steps) -> Run:
        async for _ in self._ledger.runs().adrive(trip, steps):
            pass
        return trip.result


def ledger_of(control: Control) -> Ledger:
    """Return what a Control keeps open: a worker drives runs through it.

    Args:
        control: the Control.
    """
    return control._ledger  # noqa: SLF001 - this module's own


def binder_of(graph: object) -> Ledger | None:
    """Return the ledger of the Control that bound a graph; None for any other object.

    Args:
        graph: perhaps what :meth:`Control.bind` returned.
    """
    found = _BINDERS.get(graph) if isinstance(graph, Pregel) else None
    return None if found is None else found()


def _named(checks: Sequence[Check]) -> tuple[NamedCheck, ...]:
    for check in checks:
        if not callable(check):
            raise ContractError(
                f"A check is a function of a proposal, and {type(check).__name__} cannot be called.",
                todo="Pass functions: Control(policy, checks=[my_check]).",
                code="check_invalid",
            )
    return tuple(NamedCheck.of(check) for check in checks)


def _answers(answers: object) -> dict[str, Any]:
    if answers is None or isinstance(answers, Mapping):
        return dict(answers or {})
    raise ArgumentError(
        f"answers: a value of type {type(answers).__name__}, where answers by the questions' ids are needed.",
        safe="Nothing was driven.",
        todo='Write answers={"id of the question": "what the user said"}.',
        code="answers_invalid",
    )


def _which(run_id: str | None, trigger: str | None) -> FindRun:
    if (run_id is None) == (trigger is None):
        raise RunRefused(
            "Give a run's name or its trigger.", todo="Write get(run_id) or get(trigger=…).", code="run_not_named"
        )
    if run_id is not None:
        return FindRun(run_id=id_of_run(run_id))
    check_name(trigger, at="trigger", chars_max=RECORD_CHARS_MAX)
    return FindRun(trigger=trigger)
