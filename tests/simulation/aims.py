"""Situations that chance alone hardly ever produces.

In one seed of four some faults are aimed, so that they meet; the others strike beside them as in every seed.
"""

import random
from dataclasses import dataclass

__all__ = ["Aim", "Reply", "draw_aim", "draw_later_aim"]

AIMED_ODDS = 0.25
LATER_ODDS = 0.08
LOSES_THE_ANSWER = ("late", "cut_off", "answer_lost", "dropped", "broken")
PROVES_NOTHING_HAPPENED = ("refused", "limited", "invalid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What one request to a system of record meets.

    Args:
        fault: how the system misbehaves; "" if it does not.
        seconds: until the worker hears of it; a tool's body that cannot be interrupted waits longer than its time.
    """

    fault: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a seed aims at; nothing by default.

    Args:
        tool: the first change is made with this tool, and the replies are to calls of it; "" if nothing is aimed at.
        replies: what the first of these calls meet, in order.
        stalls_at: the point at which the first worker to come there stalls; "" for none.
        stall_seconds: for how long.
        twin_after: when a second run of the same intent comes, in seconds; None leaves that to chance.
        attended: the operator looks after the runs often, and takes a worker that stalls for dead.
        rewrites: somebody rewrites what a run asks for as soon as nobody knows whether it was done.
        spends: two changes at once of which the budget has room for one.
    """

    tool: str = ""
    replies: tuple[Reply, ...] = ()
    stalls_at: str = ""
    stall_seconds: float = 0.0
    twin_after: float | None = None
    attended: bool = False
    rewrites: bool = False
    spends: bool = False


def draw_aim(chance: random.Random) -> Aim:
    """Return what a seed aims at."""
    if chance.random() >= AIMED_ODDS:
        return Aim()
    return chance.choice((_open_transaction, _refused_repeat, _slow_twins, _sends_after_all))(chance)


def _open_transaction(chance: random.Random) -> Aim:
    """A worker stalls with its effect in an open transaction; another takes over, then the first wants to commit."""
    return Aim(
        tool="sql",
        stalls_at="settle in the transaction",
        stall_seconds=chance.uniform(20, 60),
        twin_after=chance.uniform(10, 30) if chance.random() < 0.5 else None,
        attended=True,
    )


def _refused_repeat(chance: random.Random) -> Aim:
    """The answer to a keyed request is lost, and the same request is refused when it is sent again."""
    lost = Reply(fault=chance.choice(LOSES_THE_ANSWER), seconds=0.01)
    refused = Reply(fault=chance.choice(("invalid", *PROVES_NOTHING_HAPPENED)), seconds=0.01)
    return Aim(tool=chance.choice(("keyed", "forgetful")), replies=(lost, refused), attended=True)


def _slow_twins(chance: random.Random) -> Aim:
    """Two runs want one change. The first is told that it did not happen only when the second is at it, slowly."""
    refused = Reply(fault=chance.choice(PROVES_NOTHING_HAPPENED), seconds=chance.uniform(25, 60))
    slow = Reply(fault=chance.choice(("", "late", "answer_lost")), seconds=chance.uniform(1, 40))
    return Aim(
        tool=chance.choice(("found", "read_back", "forgetful", "sql")),
        replies=(refused, slow),
        twin_after=chance.uniform(10, 25),
        attended=True,
    )


def _sends_after_all(chance: random.Random) -> Aim:
    """The driver gives a call up, a second run looks whether it happened, and only then its thread sends."""
    return Aim(
        tool=chance.choice(("found", "read_back")),
        replies=(Reply(fault="cut_off", seconds=0.01),),
        twin_after=chance.uniform(8, 13),
        attended=True,
    )


def draw_later_aim(chance: random.Random, budgeted: str) -> Aim:
    """Return what a seed without an aim aims at all the same, drawn last: the other seeds play as they did.

    Args:
        chance: what it is drawn from.
        budgeted: the tool whose changes a budget holds.
    """
    drawn = 1 - chance.random()
    if drawn >= LATER_ODDS:
        return Aim()
    if drawn < LATER_ODDS / 2:
        # As often as the same failure is tried: then nobody knows what happened for as long as people take.
        lost = Reply(fault=chance.choice(LOSES_THE_ANSWER), seconds=0.01)
        return Aim(tool=budgeted, replies=(lost,) * 4, attended=True, spends=True)
    late = Reply(fault="late", seconds=0.01)
    return Aim(tool="read_back", replies=(late,), attended=True, rewrites=True)
