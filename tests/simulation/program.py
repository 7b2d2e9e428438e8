"""What a simulated agent wants: steps of parallel tasks, each a few governed calls; a model that words things anew."""

import random
from dataclasses import dataclass, replace
from functools import partial

from langchain_core.tools import BaseTool, StructuredTool

from langgraph_control.audit.connecting.store import Store
from langgraph_control.nodes import contracts as contracts_module
from langgraph_control.nodes.action import Action
from langgraph_control.nodes.contracts import Contract, writes
from langgraph_control.nodes.saga_steps import Saga, SagaSoFar
from langgraph_control.nodes.tools import govern_tool
from tests.simulation.aims import Aim, draw_aim, draw_later_aim
from tests.simulation.brakes import BUDGETED
from tests.simulation.world import FORGETS_AFTER_SECONDS, VISIBLE_WITHIN_SECONDS, World

__all__ = [
    "DEFAULTS",
    "SAGA",
    "TIMEOUT_SECONDS",
    "TOOLS",
    "UNDO_TOOLS",
    "Call",
    "Scenario",
    "Task",
    "contracts_for",
    "draw",
    "saga_of",
    "saga_tools",
    "spelled_out",
]

TIMEOUT_SECONDS = 10.0
TOOLS = ("keyed", "forgetful", "found", "read_back", "blind", "sql")
DEFAULTS = {"by": "bank"}
"""What identifies a change, too, and is left to its default by some who word it."""

UNDO_TOOLS = {
    "keyed": "undo_keyed",
    "forgetful": "undo_keyed",
    "found": "undo_found",
    "read_back": "undo_found",
    "blind": "undo_blind",
    "sql": "undo_found",
}
"""What takes back what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One tool call as the model worded it. A resumed task has the same id again; a model asked again gives another."""

    tool: str
    target: str
    amount: int
    note: str
    call_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One LangGraph task: calls in order, and perhaps a question of the user's own at its end.

    Args:
        calls: what is called.
        asks: it ends with a question of the user's own.
        saga: the calls are the steps of one saga.
    """

    calls: tuple[Call, ...]
    asks: bool
    saga: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What one seed plays.

    Args:
        steps: what the model would ask for in each step.
        triggers: the deliveries, each with its moment.
        shared: a second trigger with the same intent asks for the same changes.
        fickle: asked again, the model picks another target.
        swallows: the graph catches every exception around its calls.
        actor: who the agent acts as; a person of the role where self-approval is tried.
        faults: how many faults may strike.
        lag: how long an effect takes to show.
        skews: whether the processes' wall clocks are off.
        resolves: somebody settles what the program leaves to people.
        freezes: somebody stops writes for a while.
        aim: the situation that the seed aims at.
        swept: runs go on only when a worker's sweep finds them due, not when an operator thinks of them.
        deadline: how many seconds after the beginning nothing of the runs is begun any more; None for never.
        doomed: the target whose change the system of record refuses for good; "" for none.
    """

    steps: tuple[tuple[Task, ...], ...]
    triggers: tuple[tuple[float, str], ...]
    shared: bool
    fickle: bool
    swallows: bool
    actor: str
    faults: int
    lag: float
    skews: bool
    resolves: bool
    freezes: bool
    aim: Aim
    swept: bool
    deadline: float | None
    doomed: str


def contracts_for(world: World) -> dict[str, Contract]:
    """Return one contract per kind of effect, with hooks into this world."""

    def expect(action: Action) -> dict[str, object]:
        return {"refunded": action.args["amount"]}

    write = partial(
        writes, key=("target", *DEFAULTS), impact="money", explain="note", system="record", timeout=TIMEOUT_SECONDS
    )
    forward = {
        "keyed": write(keyed_for="30d"),
        "forgetful": write(keyed_for=FORGETS_AFTER_SECONDS, find=world.find, visible_within=VISIBLE_WITHIN_SECONDS),
        "found": write(find=world.find, visible_within=VISIBLE_WITHIN_SECONDS),
        "read_back": write(read=world.read, expect=expect, visible_within=VISIBLE_WITHIN_SECONDS),
        "blind": write(),
        "sql": write(sql=True),
    }
    for name, contract in forward.items():
        forward[name] = replace(contract, undo=partial(_undo, UNDO_TOOLS[name]))
    return forward | {
        "undo_keyed": write(keyed_for="30d"),
        "undo_found": write(find=world.find, visible_within=VISIBLE_WITHIN_SECONDS),
        "undo_blind": write(),
    }


SAGA = "together"


def saga_of(tools: dict[str, BaseTool], calls: int) -> Saga:
    """Return the saga whose steps are so many calls, as a task has them."""

    def step(number: int, so_far: SagaSoFar) -> contracts_module.Call:
        tool, target, amount, note = so_far.request["calls"][number]
        return contracts_module.Call(tool, target=target, amount=amount, note=note)

    return Saga(SAGA, {f"step {number}": partial(step, number) for number in range(calls)}, tools)


def saga_tools(contracts: dict[str, Contract]) -> dict[str, BaseTool]:
    """Return governed tools for a saga, which only carry their contracts: the simulated driver has the effects."""

    def body(target: str, amount: int, note: str, by: str = "bank") -> str:
        """Never called."""
        raise AssertionError(target, amount, note, by)

    def no_store() -> Store:
        raise AssertionError("the simulated driver talks to the ledger")

    return {
        name: govern_tool(StructuredTool.from_function(body, name=name), contract, store=no_store)
        for name, contract in contracts.items()
    }


def spelled_out(call: Call) -> dict[str, str]:
    """Return the defaults that a call names, one wording in two."""
    return {} if call.note.endswith(("0", "2", "4", "6", "8")) else DEFAULTS


def _undo(tool: str, action: Action) -> contracts_module.Call:
    return contracts_module.Call(tool, target=action.args["target"], amount=action.args["amount"], note="taken back")


def draw(chance: random.Random, of_workers: random.Random) -> Scenario:
    """Return a scenario drawn from a seed.

    Args:
        chance: what most is drawn from, and what the seed is played with.
        of_workers: what deadline and sweep are drawn from.
    """
    aim = draw_aim(chance)
    swallows = chance.random() < 0.05
    steps = tuple(
        tuple(
            _task(chance, f"{step}{task}", aim.tool if step == task == 0 else "", may_ask=not swallows)
            for task in range(chance.choice((1, 1, 2)))
        )
        for step in range(chance.choice((1, 1, 2)))
    )
    triggers = [(0.0, "first")]
    if chance.random() < 0.4:
        triggers.append((chance.uniform(0, 40), "first"))
    twin_after = chance.uniform(0, 30) if aim.twin_after is None and chance.random() < 0.3 else aim.twin_after
    if twin_after is not None:
        triggers.append((twin_after, "second"))
    shared = twin_after is not None
    doomed = ""
    if chance.random() < 0.25:
        together = _task(chance, "s", aim.tool, may_ask=False, calls=chance.choice((2, 2, 3)))
        steps += ((replace(together, saga=True),),)
        doomed = chance.choice(("", together.calls[-1].target, together.calls[-1].target, together.calls[0].target))
    scenario = Scenario(
        steps=steps,
        doomed=doomed,
        triggers=tuple(triggers),
        shared=shared,
        fickle=chance.random() < 0.3 and not shared,
        swallows=swallows,
        actor=chance.choice(("bot", "bot", "ana@acme.example")),
        faults=chance.choice((0, 1, 2, 3, 5)),
        lag=chance.choice((0.0, 0.0, chance.uniform(0, VISIBLE_WITHIN_SECONDS / 2))),
        skews=chance.random() < 0.5,
        resolves=chance.random() < 0.5,
        freezes=chance.random() < 0.15,
        aim=aim,
        swept=of_workers.random() < 0.5,
        deadline=of_workers.uniform(1, 150) if of_workers.random() < 0.2 else None,
    )
    return _aimed_later(scenario, of_workers)


def _aimed_later(scenario: Scenario, chance: random.Random) -> Scenario:
    if scenario.aim != Aim():
        return scenario
    aim = draw_later_aim(chance, BUDGETED)
    if aim.spends:
        return replace(scenario, aim=aim, steps=(_alone(BUDGETED, 500, 500), *scenario.steps))
    if aim.rewrites:
        return replace(scenario, aim=aim, steps=(_alone(aim.tool, 50), *scenario.steps))
    return scenario


def _alone(tool: str, *amounts: int) -> tuple[Task, ...]:
    """Return a step of one change a task."""
    return tuple(
        Task(calls=(Call(tool=tool, target=f"order-a{place}", amount=amount, note="", call_id=""),), asks=False)
        for place, amount in enumerate(amounts)
    )


def _task(chance: random.Random, name: str, first_tool: str, *, may_ask: bool, calls: int = 0) -> Task:
    made = tuple(
        Call(
            tool=first_tool if first_tool and number == 0 else chance.choice(TOOLS),
            target=f"order-{name}{number}",
            amount=chance.choice((50, 50, 500)),
            note="",
            call_id="",
        )
        for number in range(calls or chance.choice((1, 1, 2)))
    )
    if not calls and chance.random() < 0.2:
        made += (made[0],)  # the same change, asked for twice in one task
    return Task(calls=made, asks=may_ask and chance.random() < 0.25)
