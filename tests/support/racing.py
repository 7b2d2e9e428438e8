"""Several processes that drive one run at one instant, each with the whole library of its own."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

from langgraph.graph import START, MessagesState, StateGraph

from langgraph_control import Control, current_action, writes
from tests.support.desk import POLICY
from tests.support.scripted_model import call, calls

SECONDS_MAX: Final = 60.0


def build(control: Control, effects: Path) -> Any:
    """Return a bound graph with one refund, which takes a moment and leaves a line in a file for each time it is done.

    Args:
        control: of this process.
        effects: the file.
    """

    @writes(key="order_id", impact="money")
    def refund(order_id: str, amount: Decimal) -> str:
        """Refund an order."""
        with effects.open("a") as file:
            file.write(f"{current_action().key} {order_id} {amount}\n")
        time.sleep(0.2)  # long enough for all the others to come while it is being done
        return f"refunded {amount} by {os.getpid()}"

    (governed,) = control.govern([refund])

    def pay(state: MessagesState) -> dict[str, Any]:
        (asked,) = state["messages"][-1].tool_calls  # type: ignore[union-attr]
        return {"messages": [governed.invoke({**asked, "type": "tool_call"})]}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    builder.add_node("pay", pay)
    builder.add_edge(START, "pay")
    return control.bind(builder.compile(), name="race")


def given(amount: str) -> dict[str, Any]:
    """Return the graph's input.

    Args:
        amount: to be refunded.
    """
    return {"messages": [calls(call("refund", order_id="o1", amount=amount))]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Racer:
    """What one process is to do.

    Args:
        dsn: the agent login's.
        trigger: the delivery.
        intent: the business request.
        effects: where each effect leaves a line.
        amount: to be refunded.
        way: deliver the trigger, or resume its run.
    """

    dsn: str
    trigger: str
    intent: str
    effects: Path
    amount: str
    way: Literal["run", "resume"] = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """What it got.

    Args:
        run: the run's name.
        state: where the run stands.
        told: what the tool said.
    """

    run: str
    state: str
    told: str


def race(racers: Sequence[Racer]) -> list[Got]:
    """Start a process for each, let all go at once, and return what each of them got.

    Args:
        racers: what they are to do.
    """
    # Forked from a process that has imported everything, once, and does nothing else: no threads, no connections.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "pytest"])
    pipes = [context.Pipe() for _ in racers]
    processes = [
        context.Process(target=_run, args=(theirs, racer), daemon=True)
        for (_, theirs), racer in zip(pipes, racers, strict=True)
    ]
    try:
        for process in processes:
            process.start()
        for ours, _ in pipes:
            _heard(ours)
        for ours, _ in pipes:
            ours.send("go")
        return [_heard(ours) for ours, _ in pipes]
    finally:
        for process in processes:
            process.kill()
            process.join()
        for ours, theirs in pipes:
            ours.close()
            theirs.close()


def _heard(pipe: Any) -> Any:
    assert pipe.poll(SECONDS_MAX)
    return pipe.recv()


def _run(pipe: Any, racer: Racer) -> None:
    with Control(POLICY, dsn=racer.dsn) as control:
        graph = build(control, racer.effects)
        control._ledger.store().session()  # connected, so that nobody is late
        pipe.send("ready")
        pipe.recv()
        if racer.way == "resume":
            run = control.resume(control.get(trigger=racer.trigger).id)
        else:
            run = control.run(graph, given(racer.amount), trigger=racer.trigger, intent=racer.intent, actor="racer")
        told = str(run.output["messages"][-1].content) if run.output else ""
        pipe.send(Got(run=run.id, state=run.state.value, told=told))
        pipe.recv()  # closed by who reads it
