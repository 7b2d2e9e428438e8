"""A worker: a process of its own that drives runs with the real library until it is told to stop, or is killed."""

import asyncio
import functools
import logging
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final, Literal

from langchain_core.messages import AIMessage, ToolMessage

from demo.billing.client import Billing
from langgraph_control import Control, Run
from langgraph_control.audit.connecting.leases import RunLeases
from langgraph_control.graphs import ledger
from langgraph_control.nodes import call as governed_call
from tests.chaos.deaths import Death, arm
from tests.chaos.plans import Job
from tests.chaos.shop import POLICY, open_shop

LEASE_MS: Final = 3_000
LEASE_MARGIN_SECONDS: Final = 1.0
"""Shorter than the library's own (15 s and 5 s), so that more takeovers fit into a minute; nothing else is changed."""

JOBS_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a worker needs to know.

    Args:
        dsn: the agent login's.
        billing_url: where the service is.
        way: how it drives runs.
        death: where it kills itself; None to leave that to others.
    """

    dsn: str
    billing_url: str
    way: Literal["sync", "async"]
    death: Death | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the model was told about one call.

    Args:
        tool: its name.
        target: the business identity.
        done: whether it was told that it is done.
        text: what it was told.
    """

    tool: str
    target: str
    done: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How one delivery went.

    Args:
        trigger: the delivery.
        run_id: the run's name; "" where there is none yet.
        state: where the run stands; "" where that is not known.
        reason: why; for an error its class and code.
        told: what the model was told; only of a run that is done.
    """

    trigger: str
    run_id: str
    state: str
    reason: str
    told: tuple[Told, ...] = ()


def work(conductor: Connection, settings: Settings) -> None:
    """Drive what the conductor sends until it sends None.

    Args:
        conductor: the other end of this worker's own pipe: a killed worker breaks nobody else's.
        settings: as above.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)
    shorten_leases()
    if settings.death is not None:
        arm(settings.death)
    sending = threading.Lock()

    def report(said: Report) -> None:
        with sending:
            conductor.send(said)

    control = Control(POLICY, dsn=settings.dsn)
    with control:
        agent = open_shop(control, Billing(settings.billing_url))
        drive = _drive_async if settings.way == "async" else _drive_sync
        drive(conductor, control, agent, report)


def shorten_leases() -> None:
    """Make this process' leases shorter than the library's."""
    setattr(ledger, "RunLeases", functools.partial(RunLeases, lease_ms=LEASE_MS))  # noqa: B010 - a class by a partial
    setattr(governed_call, "LEASE_MARGIN_SECONDS", LEASE_MARGIN_SECONDS)  # noqa: B010 - a Final, for this process only


def _drive_sync(conductor: Connection, control: Control, agent: Any, report: Callable[[Report], None]) -> None:
    def drive(job: Job) -> None:
        try:
            run = control.run(agent, to_say(job), trigger=job.trigger, intent=job.intent, actor="chaos-bot")
        except Exception as error:  # noqa: BLE001 - whatever it is, the delivery is made again
            report(_failed(job, error))
        else:
            report(reported(run))

    with ThreadPoolExecutor(JOBS_AT_ONCE) as threads:
        while (job := conductor.recv()) is not None:
            threads.submit(drive, job)


def _drive_async(conductor: Connection, control: Control, agent: Any, report: Callable[[Report], None]) -> None:
    async def drive(job: Job) -> None:
        try:
            run = await control.arun(agent, to_say(job), trigger=job.trigger, intent=job.intent, actor="chaos-bot")
        except Exception as error:  # noqa: BLE001 - as above
            report(_failed(job, error))
        else:
            report(reported(run))

    async def drive_all() -> None:
        async with asyncio.TaskGroup() as tasks:
            while (job := await asyncio.to_thread(conductor.recv)) is not None:
                tasks.create_task(drive(job))

    asyncio.run(drive_all())


def to_say(job: Job) -> dict[str, Any]:
    """Return a job as the graph's input.

    Args:
        job: drawn.
    """
    return {"messages": [{"role": "user", "content": job.message}]}


def _failed(job: Job, error: Exception) -> Report:
    named = f"{type(error).__name__} {getattr(error, 'code', '')}".strip()
    return Report(trigger=job.trigger, run_id="", state="", reason=named)


def reported(run: Run) -> Report:
    """Return where a run stands, and what its model was told.

    Args:
        run: as looked at by a process that has its graph.
    """
    messages = run.output["messages"] if run.output else ()
    asked = {
        call["id"]: (call["name"], call["args"]["target"])
        for message in messages
        if isinstance(message, AIMessage)
        for call in message.tool_calls
    }
    told = tuple(
        Told(
            tool=asked[message.tool_call_id][0],
            target=asked[message.tool_call_id][1],
            done=message.status == "success",
            text=str(message.content),
        )
        for message in messages
        if isinstance(message, ToolMessage)
    )
    return Report(trigger=run.trigger, run_id=run.id, state=run.state.value, reason=run.reason, told=told)
