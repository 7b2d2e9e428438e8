"""What a simulated agent wants: steps of parallel tasks, each a few governed calls; a model that words things anew."""

import random
from dataclasses import dataclass
from functools import partial

from langgraph_control.nodes.action import Action
from langgraph_control.nodes.contracts import Contract, writes
from tests.simulation.aims import Aim, draw_aim
from tests.simulation.world import FORGETS_AFTER_SECONDS, VISIBLE_WITHIN_SECONDS, World

__all__ = ["TIMEOUT_SECONDS", "TOOLS", "Call", "Scenario", "Task", "contracts_for", "draw"]

TIMEOUT_SECONDS = 10.0
TOOLS = ("keyed", "forgetful", "found", "read_back", "blind", "sql")


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
    """One LangGraph task: calls in order, and perhaps a question of the user's own at its end."""

    calls: tuple[Call, ...]
    asks: bool


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


def contracts_for(world: World) -> dict[str, Contract]:
    """Return one contract per kind of effect, with hooks into this world."""

    def expect(action: Action) -> dict[str, object]:
        return {"refunded": action.args["amount"]}

    write = partial(writes, key="target", impact="money", explain="note", system="record", timeout=TIMEOUT_SECONDS)
    return {
        "keyed": write(keyed_for="30d"),
        "forgetful": write(keyed_for=FORGETS_AFTER_SECONDS, find=world.find, visible_within=VISIBLE_WITHIN_SECONDS),
        "found": write(find=world.find, visible_within=VISIBLE_WITHIN_SECONDS),
        "read_back": write(read=world.read, expect=expect, visible_within=VISIBLE_WITHIN_SECONDS),
        "blind": write(),
        "sql": write(sql=True),
    }


def draw(chance: random.Random) -> Scenario:
    """Return a scenario drawn from a seed."""
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
    return Scenario(
        steps=steps,
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
    )


def _task(chance: random.Random, name: str, first_tool: str, *, may_ask: bool) -> Task:
    calls = tuple(
        Call(
            tool=first_tool if first_tool and number == 0 else chance.choice(TOOLS),
            target=f"order-{name}{number}",
            amount=chance.choice((50, 50, 500)),
            note="",
            call_id="",
        )
        for number in range(chance.choice((1, 1, 2)))
    )
    if chance.random() < 0.2:
        calls += (calls[0],)  # the same change, asked for twice in one task
    return Task(calls=calls, asks=may_ask and chance.random() < 0.25)
