"""What a caller asks for with ``run`` or ``stream``, checked before anything happens."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID, uuid4

from langchain_core.runnables import RunnableConfig
from langchain_core.utils.uuid import uuid7

from langgraph_control.audit.asking.requests import RunAcquire, RunOpen
from langgraph_control.audit.asking.wakes import RunSubmit, RunTake
from langgraph_control.audit.names import run_name
from langgraph_control.errors import ContractError, RunRefused
from langgraph_control.graphs.inputs import encode_input
from langgraph_control.guards.policy import Policy
from langgraph_control.nodes.call import body_bytes
from langgraph_control.nodes.durations import seconds_of
from langgraph_control.nodes.tracing import callers_traceparent

__all__ = [
    "GRAPH_LENGTH_MAX",
    "TEXT_LENGTH_MAX",
    "Deadline",
    "Order",
    "acquiring",
    "checked_config",
    "taking",
    "worker_name",
]

TEXT_LENGTH_MAX: Final = 512
"""How long a trigger, an intent, a thread and a name may be, in characters: they are names, not messages."""

GRAPH_LENGTH_MAX: Final = 256
"""How long the name of a graph may be, in characters."""

Deadline: TypeAlias = datetime | timedelta | str

# Whoever sets these in a run's config takes the run to another thread, another checkpoint or another durability.
_OURS: Final = ("thread_id", "checkpoint_", "__control_", "__pregel_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A checked request for a run.

    Args:
        trigger: the delivery; the same twice is the same run.
        intent: the business request.
        actor: the identity the agent runs under.
        on_behalf_of: the person it acts for; None if for itself.
        deadline: nothing new is begun after it.
        thread: the thread it runs on; None for one of its own.
        input: the graph's input, encoded.
    """

    trigger: str
    intent: str
    actor: str
    on_behalf_of: str | None
    deadline: datetime | None
    thread: str | None
    input: bytes = field(repr=False)

    @classmethod
    def of(
        cls,
        given: Any,
        *,
        trigger: str,
        intent: str | None,
        actor: str,
        on_behalf_of: str | None,
        deadline: Deadline | None,
        thread: str | None,
    ) -> "Order":
        """Check what a caller gave.

        Args:
            given: the graph's input.
            trigger: the delivery.
            intent: the business request; None for the trigger.
            actor: who asks.
            on_behalf_of: for whom.
            deadline: a moment with a time zone, a ``timedelta``, or a span such as ``"2h"``.
            thread: the thread; None for one of the run's own.

        Raises:
            RunRefused: one of them cannot be used; the text names it. Nothing was done.
        """
        return cls(
            trigger=_name(trigger, "trigger"),
            intent=_name(trigger if intent is None else intent, "intent"),
            actor=_name(actor, "actor"),
            on_behalf_of=None if on_behalf_of is None else _name(on_behalf_of, "on_behalf_of"),
            deadline=_moment(deadline),
            thread=None if thread is None else _name(thread, "thread"),
            input=encode_input(given),
        )

    def opening(self, policy: Policy, graph: str, *, lease_ms: int, version: str | None = None) -> RunOpen:
        """Return the request that registers this run or joins the one its trigger has.

        Args:
            policy: the rules that decide, which may set a deadline where this order names none.
            graph: the bound graph's name.
            lease_ms: how long the lease lasts.
            version: of the agent, as bound.
        """
        return RunOpen(**self._registering(graph, policy, version), lease_ms=lease_ms)

    def submitting(self, policy: Policy, graph: str) -> RunSubmit:
        """Return the request that registers this run for a worker, or finds the one its trigger has.

        Args:
            policy: the rules of whoever submits; who drives it decides by their own.
            graph: the name it is bound under where workers run.

        Raises:
            RunRefused: the graph's name is no name.
        """
        return RunSubmit(**self._registering(_name(graph, "graph", length_max=GRAPH_LENGTH_MAX), policy))

    def _deadline(self, seconds: int | None) -> datetime | None:
        """The caller's, else the one that the policy sets from now."""
        if seconds is None or self.deadline is not None:
            return self.deadline
        return datetime.now(UTC) + timedelta(seconds=seconds)

    def _registering(self, graph: str, policy: Policy, version: str | None = None) -> dict[str, Any]:
        run_id = uuid7()  # ordered by time, so that what is written together lies together in every index
        thread = self.thread or run_name(run_id)
        return {
            "run_id": run_id,
            "trigger": self.trigger,
            "intent": self.intent,
            "graph": graph,
            "thread": thread,
            "own_thread": self.thread is None,
            "actor": self.actor,
            "on_behalf_of": self.on_behalf_of,
            "deadline": self._deadline(policy.deadline_seconds),
            "input": self.input,
            "holder": _holder(worker_name()),
            "body": body_bytes(
                {
                    "who": {"actor": self.actor, "on_behalf_of": self.on_behalf_of, **_versioned(version)},
                    "why": {"trigger": self.trigger, "intent": self.intent, **_traced()},
                    "policy": policy.hash,
                    "where": {"worker": worker_name(), "graph": graph, "thread_id": thread},
                }
            ),
        }


def acquiring(run_id: UUID, policy: Policy, *, lease_ms: int, version: str | None = None) -> RunAcquire:
    """Return the request for the lease of a known run.

    Args:
        run_id: the run.
        policy: the rules that decide from now on.
        lease_ms: how long the lease lasts.
        version: of the agent that goes on, as bound.
    """
    body = body_bytes({**_going_on(policy, worker_name(), version), "why": _traced() or None})
    return RunAcquire(run_id=run_id, holder=_holder(worker_name()), lease_ms=lease_ms, body=body)


def taking(
    run_id: UUID, policy: Policy, *, graphs: list[str], lease_ms: int, worker: str, version: str | None = None
) -> RunTake:
    """Return the request for the lease of a run, if it is due.

    Args:
        run_id: the run.
        policy: the rules that decide from now on.
        graphs: names of the graphs that can be driven.
        lease_ms: how long the lease lasts.
        worker: what the worker is called in the record.
        version: of the agent that goes on, as bound.
    """
    body = body_bytes(_going_on(policy, worker, version))
    return RunTake(run_id=run_id, graphs=graphs, holder=_holder(worker), lease_ms=lease_ms, body=body)


def _going_on(policy: Policy, worker: str, version: str | None) -> dict[str, Any]:
    said = _versioned(version)
    return {"policy": policy.hash, "where": {"worker": worker}, **({"who": said} if said else {})}


def _versioned(version: str | None) -> dict[str, str]:
    return {} if version is None else {"version": version}


def checked_config(config: RunnableConfig | None) -> RunnableConfig:
    """Return the caller's config, refusing what would take the run away from its thread.

    Args:
        config: callbacks, tags, metadata, recursion limit, and ``configurable`` of the graph's own.

    Raises:
        RunRefused: it sets the thread, a checkpoint, or what this library and LangGraph keep there.
    """
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        raise RunRefused("config is not a mapping.", todo="Pass a RunnableConfig.", code="config_refused")
    configurable = config.get("configurable") or {}
    if not isinstance(configurable, Mapping):
        raise RunRefused(
            'config["configurable"] is not a mapping.',
            todo='Write config={"configurable": {"name": value}}.',
            code="config_refused",
        )
    refused = sorted(name for name in configurable if str(name).startswith(_OURS))
    if "durability" in config:
        refused.append("durability")
    if refused:
        raise RunRefused(
            f"config sets {', '.join(refused)}, which a run keeps to itself.",
            todo='Choose the thread with thread="…"; a run always starts where its record ends, with sync durability.',
            code="config_refused",
        )
    return config


def _traced() -> dict[str, str]:
    """Whose span asks: the run's trace is linked to it."""
    traceparent = callers_traceparent()
    return {} if traceparent is None else {"traceparent": traceparent}


def worker_name() -> str:
    """Return what this process is called in the record: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _holder(worker: str) -> str:
    return f"{worker}/{uuid4().hex[:12]}"


def _name(value: object, field_name: str, *, length_max: int = TEXT_LENGTH_MAX) -> str:
    if not isinstance(value, str) or not value.strip():
        raise RunRefused(
            f"{field_name} is missing or empty.",
            todo=f'Pass {field_name}="…": {_MEANING[field_name]}.',
            code=f"{field_name}_missing",
        )
    if len(value) > length_max or not value.isprintable():
        raise RunRefused(
            f"{field_name} is longer than {length_max} characters or holds control characters.",
            todo="Pass a name, not a message.",
            code=f"{field_name}_invalid",
        )
    return value


_MEANING: Final[Mapping[str, str]] = {
    "trigger": "the delivery that started this, such as an event's id; the same twice is the same run",
    "intent": "the business request, such as a ticket's id",
    "actor": "the identity the agent runs under",
    "on_behalf_of": "the person it acts for",
    "thread": "the conversation's thread; leave it out for a thread of the run's own",
    "graph": "the name that workers bind it under, as in langgraph.json",
}


def _moment(deadline: Deadline | None) -> datetime | None:
    if deadline is None:
        return None
    now = datetime.now(UTC)
    if isinstance(deadline, datetime):
        if deadline.tzinfo is None:
            raise _deadline_refused("has no time zone")
        moment = deadline
    else:
        try:
            moment = now + timedelta(seconds=seconds_of(deadline, field="deadline"))
        except (ContractError, OverflowError):
            raise _deadline_refused("is neither a moment nor a positive span of time") from None
    if moment <= now:
        raise _deadline_refused("has passed")
    return moment


def _deadline_refused(why: str) -> RunRefused:
    return RunRefused(
        f"deadline {why}.",
        todo='Pass a datetime with a time zone in the future, a timedelta, or a span such as "2h".',
        code="deadline_invalid",
    )
